"""What waits for each other on one host: containers and jobs, be it by way of a registration, an identifier or a setting of the host."""

import graphlib
from collections.abc import Iterable, Mapping

from reconciler.model import Container, File, HostSetting, Job, Registrar, Registration, shared_with
from reconciler.render import tokens


def find(
    containers: Iterable[Container],
    jobs: Iterable[Job],
    files: Iterable[File],
    registrations: Iterable[Registration],
    registrars: Iterable[Registrar],
    settings: Iterable[HostSetting],
) -> list[str]:
    """Names that wait for each other, with the first at the end again; empty when none do."""
    needs: dict[str, set[str]] = {c.name: {*c.depends_on, *shared_with(c)} for c in containers}
    for job in jobs:
        inside = {job.inside} - {"", *job.before}  # where it is yet to be made it goes after it
        needs.setdefault(job.name, set()).update(job.after, inside)
        for name in job.before:
            needs.setdefault(name, set()).add(job.name)
    behind = {registrar.kind: registrar.needs for registrar in registrars}
    for registration in registrations:
        for name in registration.before:
            needs.setdefault(name, set()).update(behind.get(registration.kind, ()))
    for file in files:
        for name in tokens.identifiers(file.content):
            needs.setdefault(file.container, set()).update(behind.get(name.partition(":")[0], ()))
    for setting in settings:
        for name in setting.before if setting.inside else ():
            needs.setdefault(name, set()).add(setting.inside)
    return _circle(needs)


def _circle(needs: Mapping[str, set[str]]) -> list[str]:
    """Some circle in a graph, with its first name at the end again; empty when there is none."""
    try:
        graphlib.TopologicalSorter({name: sorted(needs[name]) for name in sorted(needs)}).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1][:0:-1]  # the library names each before what needs it
        first = circle.index(min(circle))
        return [*circle[first:], *circle[: first + 1]]
    return []
