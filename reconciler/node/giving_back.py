"""A host goes back to kolla-ansible: its units run the containers again that were taken over from it, and nothing is stopped."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler import apply, errors
from reconciler.engine import Engine
from reconciler.model import Container, Desired
from reconciler.node.host import UNITS
from reconciler.reasons import Reason
from reconciler.state import Hold, StateDirectory

# What kolla-ansible leaves the engine to do when a container ends: its units see to that.
_POLICY = "no"


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What there is to give back. `adopted` are containers that are as kolla-ansible made them, with their unit; `made` are those that
    this program made, which kolla-ansible makes anew; `files` are files that it wrote below the config root."""

    adopted: tuple[tuple[Container, str], ...]
    made: tuple[str, ...]
    files: tuple[str, ...]


def look(state: StateDirectory, engine: Engine, units: Path = UNITS) -> Inheritance:
    """What this node keeps. Raises errors.ReconcilerError: the engine or the state cannot be read."""
    memory = state.memory()
    desired = memory.last_good or Desired("", "", "", "/", ())
    view = engine.observe(desired, deep=False, extra_names=memory.applied)
    unseen = {item.partition(":")[2]: why for item, why in view.unknown.items() if item.startswith("container:")}
    if unseen:
        name, why = next(iter(unseen.items()))
        raise errors.Transient(f"{name} cannot be looked at: {why}", reason=Reason.Unknown)
    adopted, made = [], []
    for name, running in sorted(view.containers.items()):
        applied = memory.applied.get(name)
        if running.owned:
            made.append(name)
        elif applied and applied.id == running.id and name in memory.taken:
            unit = memory.taken[name] or f"kolla-{name}-container.service"
            adopted.append((running.spec, unit if (units / unit).is_file() else ""))
    kept = {path for one in memory.as_made.values() for path in one.files}
    root, wrote = desired.config_root, {file.path for file in desired.files} - kept
    return Inheritance(tuple(adopted), tuple(made), tuple(sorted(path for path in wrote if Path(root, path).is_file())))


def give_back(found: Inheritance, state: StateDirectory, engine: Engine, roots: Iterable[str]) -> None:
    """Let the units run what was taken over, and forget this installation. Raises errors.ReconcilerError; it may be called again.

    First the unit, which then waits for the container that runs; then the engine need not start it any more.
    """
    systemd = apply.Systemd()
    for container, unit in found.adopted:
        if unit:
            systemd.give_back(unit)
            engine.update(replace(container, restart_policy=_POLICY))
    if not found.made:
        Hold(state, roots).forget()
