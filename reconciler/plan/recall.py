"""What the node's memory says: which configuration is in force, whether what runs has it, which schema was migrated."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from reconciler.model import Actual, Container, Desired, File, Memory, Running

Stale = Literal["", "reload", "restart"]


def quarantined(desired: Desired, memory: Memory, part_digest: Mapping[str, str]) -> frozenset[str]:
    """Containers whose present configuration failed on this node before and was rolled back."""
    failed = memory.quarantine
    return frozenset(
        c.name for c in desired.containers if c.name in failed and failed[c.name] == part_digest.get(c.name)
    )


def in_force(desired: Desired, memory: Memory, failed: Collection[str]) -> dict[str, Container]:
    """The containers as this node keeps them: of those in `failed` the last that worked, if there was one."""
    good = worked(memory)
    return {c.name: good.get(c.name, c) if c.name in failed else c for c in desired.containers}


def worked(memory: Memory) -> dict[str, Container]:
    """The containers as they worked last."""
    good = {c.name: c for c in memory.last_good.containers} if memory.last_good else {}
    return good | {name: one.container for name, one in memory.worked.items()}


def migrated(desired: Desired, memory: Memory) -> frozenset[str]:
    """Services whose schema is newer, or is about to be, than what worked last: going back to that is not safe.

    Compared with the last good state and not with the plan, because the migration may have been run by an apply that was
    interrupted.
    """
    before = {job.name: job.inputs for job in memory.last_good.jobs} if memory.last_good else {}
    return frozenset(job.service for job in desired.jobs if job.migration and before.get(job.name) != job.inputs)


def staleness(running: Running, files: Sequence[File], wanted: str, name: str, actual: Actual, memory: Memory) -> Stale:
    """What a container still needs to take the files that are on the disk: an apply may have been interrupted in between.

    `wanted` is the digest of its files, the part for restarts and the part for reloads with a dot between them.
    """
    if not wanted:
        return ""
    applied = memory.applied.get(name)
    if applied and applied.files and (applied.id, applied.started_at) == (running.id, running.started_at):
        if applied.files == wanted:
            return ""
        return "reload" if applied.files.partition(".")[0] == wanted.partition(".")[0] else "restart"
    # Started by somebody else (the engine, an operator, another tool): it has what was on the disk at that moment.
    asked = set()
    for file in files:
        state = actual.files.get(file.path)
        if state and running.started_at and state.modified > running.started_at:
            asked.add(file.on_change)
    return "restart" if "restart" in asked else "reload" if "reload" in asked else ""
