"""Containers that stay as another tool made them, until something asks for another thing than when they were taken over. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.codec import to_json
from reconciler.model import (
    Actual,
    AsMade,
    Container,
    Desired,
    Difference,
    File,
    FileState,
    Held,
    Job,
    Memory,
    Plan,
    Running,
    Verb,
)
from reconciler.phrases import count, few
from reconciler.plan.differences import differences
from reconciler.plan.meaning import differing
from reconciler.reasons import Reason

# What its unit did is done by the engine now, without touching the container.
TAKEN_OVER = frozenset({"restart_policy"})


def of(
    container: Container,
    running: Running,
    found: Sequence[Difference],
    files: Mapping[str, FileState],
    wanted: Sequence[File],
    part: str,
) -> AsMade:
    """How a container is that is taken over as it is: `found` are the options that differ, `files` all that lies below the config
    root, `wanted` its files as they would be, `part` is what `asked` gives."""
    folder = f"{container.config_directory}/"
    paths = {file.path for file in wanted} | {path for path in files if folder != "/" and path.startswith(folder)}
    return AsMade(
        id=running.id,
        part=part,
        differences=tuple(d for d in found if d.field not in TAKEN_OVER),
        files={path: state_digest(files.get(path)) for path in sorted(paths)},
    )


def asked(container: Container, wanted: Sequence[File], contents: str) -> str:
    """The digest of all that is asked of a container. `contents` is that of its files, so a secret that is only encrypted anew asks
    for nothing else."""
    files = [[file.path, file.mode, file.owner, file.group] for file in wanted]
    text = json.dumps([to_json(replace(container, depends_on=())), files, contents], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def state_digest(state: FileState | None) -> str:
    """Of everything that can be seen of a file; "" when there is none."""
    if state is None:
        return ""
    if state.content is None:
        return state.kind
    digest = hashlib.sha256(state.content).hexdigest()
    return f"{state.mode:o}:{state.owner}:{state.group}:{digest}"


def valid(memory: Memory, name: str, running: Running | None, part: str) -> AsMade | None:
    """How a container was when it was taken over, as long as it is still that one and nothing else is asked of it."""
    made = memory.as_made.get(name)
    return made if made and running and (made.id, made.part) == (running.id, part) else None


def told(
    container: Container, made: AsMade, found: Sequence[Difference], files: Mapping[str, FileState],
    wanted: Sequence[File], contents: Mapping[str, bytes],
) -> Held | None:  # fmt: skip
    """What is other than the site says and stays so; None when it all says the same."""
    options = tuple(d for d in found if d in made.differences)
    texts = []
    for file in wanted:
        state = files.get(file.path)
        if made.files.get(file.path) != state_digest(state):
            continue  # it is no more what was found
        if state is None or state.content is None:
            texts.append(Difference(file.path, "present", state.kind if state else "absent"))
        elif keys := differing(file.path, contents[file.path], state.content):
            texts.append(Difference(file.path, "as rendered", f"differs in {few(keys)}"))
    if not options and not texts:
        return None
    parts = [count(len(options), "option") + f" ({few([d.field for d in options])})"] if options else []
    names = [d.field.removeprefix(f"{container.config_directory}/") for d in texts]
    parts += [count(len(texts), "file") + f" ({few(names)})"] if texts else []
    message = f"stays as it was made (adoption: as-made) until the site asks something else of it; it differs in {' and '.join(parts)}"
    return Held(container.name, Reason.AsMade, message, (*options, *texts))


def ran_before(
    job: Job, containers: Sequence[Container], running: Mapping[str, Running], memory: Memory, *, theirs: bool = True
) -> bool:
    """Whether a job that this program never ran was run by the tool that made the containers it is for: all those of its service here
    are there, and were taken over, or with `theirs` are still that tool's. It makes nobody forget a host that left."""
    if job.name in memory.jobs or job.left:
        return False
    names = [name for name in job.before if any(c.name == name for c in containers)]
    names = names or [c.name for c in containers if c.service == job.service]
    found = [(name, running.get(name)) for name in names]
    return bool(found) and all(one and (name in memory.taken or (theirs and not one.owned)) for name, one in found)


def taken(desired: Desired, plan: Plan, actual: Actual, files_digest: Mapping[str, str]) -> dict[str, AsMade]:
    """How the containers are that a plan takes over as they are, by name. `files_digest` as in `Basis`."""
    if desired.policy.get("adoption") != "as-made":
        return {}
    adopted = {action.target for action in plan.actions if action.verb is Verb.ADOPT}
    result = {}
    for container in desired.containers:
        running = actual.containers.get(container.name)
        if container.name in adopted and running is not None and not running.owned:
            found = differences(container, running, actual.images.get(container.image))
            files = [file for file in desired.files if file.container == container.name]
            part = asked(container, files, files_digest.get(container.name, ""))
            result[container.name] = of(container, running, found, actual.files, files, part)
    return result
