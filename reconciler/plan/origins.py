"""What made desired state another: a commit, or a program whose catalogue means something else by the same commit. Pure."""

from collections.abc import Mapping

from reconciler.model import Container, Desired, File, HostSetting, Job, Registration
from reconciler.options import normal

Part = Container | File | HostSetting | Job | Registration


def name_of(part: Part) -> str:
    """What plans call it."""
    if isinstance(part, File):
        return part.path
    return part.id if isinstance(part, Registration | HostSetting) else part.name


def words_of(part: Part) -> object:
    """What is asked of it, in a form to be compared; secrets are tokens."""
    if isinstance(part, Container):
        return normal.digest(part)
    if isinstance(part, File):
        return part.encoding, part.content, part.mode, part.owner, part.group
    return part.inputs if isinstance(part, Job) else part.fields


def parts(desired: Desired | None) -> dict[str, Part]:
    """By name, everything that can be carried out."""
    if desired is None:
        return {}
    found: tuple[Part, ...] = (
        *desired.jobs,
        *desired.containers,
        *desired.files,
        *desired.registrations,
        *desired.host_settings,
    )
    return {name_of(part): part for part in found}


def words(desired: Desired | None) -> dict[str, object]:
    """Name → what is asked of it."""
    return {name: words_of(part) for name, part in parts(desired).items()}


def program_change(before: Desired | None, after: Desired) -> str:
    """How the programs that made the two differ, "" when they do not: `reconciler 0.3.1 → 0.3.2`."""
    if before is None or (before.program, before.catalogue) == (after.program, after.catalogue):
        return ""
    if before.program != after.program:
        return f"reconciler {before.program or 'before 0.1.0'} → {after.program}"
    return f"catalogue {before.catalogue[:12]} → {after.catalogue[:12]}"


def by_program(before: Desired | None, after: Desired, between: Desired | None) -> Mapping[str, str]:
    """Name → why, for everything that another program changes: containers (by their files too), images, files, jobs, registrations, settings
    of the host.

    `between` is the commit of `before` as the program of `after` renders it; None where that is not known. It is `after` itself
    when the commit is the same.
    """
    change = program_change(before, after)
    if not change or before is None:
        return {}
    between = after if before.revision == after.revision else between
    old, new = words(before), words(after)
    middle = words(between) if between else new
    result: dict[str, str] = {}
    for name in old.keys() | new.keys():
        if old.get(name) == new.get(name) or old.get(name) == middle.get(name):
            continue
        if between is None:
            result[name] = f"{change}, or the commit"
        else:
            result[name] = change if middle.get(name) == new.get(name) else f"{change}, and the commit"
    return {**_concerned(result, before, after), **result}


def _concerned(changed: Mapping[str, str], before: Desired, after: Desired) -> dict[str, str]:
    """What is touched because of a part that changed: the container of a file, the image of a container or job."""
    had = {container.image for container in _containers(before)}
    result = {file.container: changed[file.path] for d in (before, after) for file in d.files if file.path in changed}
    for job in after.jobs:
        if job.name in changed and job.container.image not in had:
            result[job.container.image] = changed[job.name]
    for container in after.containers:
        if container.name in changed and container.image not in had:
            result[container.image] = changed[container.name]
    return result


def _containers(desired: Desired) -> tuple[Container, ...]:
    return (*desired.containers, *(job.container for job in desired.jobs))
