"""Whether services refer only to what exists: services, containers, jobs, groups, templates; and names taken twice."""

import graphlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.catalogue.types import COMMON, Catalogue, Service
from reconciler.document.keywords import is_expression
from reconciler.document.words import suggest
from reconciler.document.yaml import Path, Place
from reconciler.errors import Problem

# Sections whose names are shared by all services, and what one entry is called in messages.
_UNIQUE: Final = {
    "containers": "container",
    "jobs": "job",
    "frontends": "frontend",
    "scrape": "scrape target",
    "collects": "collection",
}
_GROUPED: Final = ("containers", "frontends", "scrape", "logs", "checks")
_INCLUDED: Final = re.compile(r"""['"]([^'"\n]+)['"]""")


def check_references(catalogue: Catalogue, names: Iterable[str]) -> list[Problem]:
    """What is wrong with the services `names` in the whole catalogue. Expressions are not followed."""
    world = _World.of(catalogue)
    names = list(names)
    problems = _taken_twice(catalogue)
    problems += _passwords(catalogue, frozenset(names))
    for name in names:
        service = catalogue.services[name]
        problems += _requires(service, catalogue)
        problems += _groups(service, world)
        problems += _containers(service, world)
        problems += _jobs(service, world)
        problems += _prechecks(service)
        problems += _maintenance(service)
        problems += _host(service, world)
        problems += _needs(service, world)
        problems += _templates(service, world)
        problems += _contributions(service, catalogue)
        problems += _rollouts(service, world)
        problems += _refusals(service, catalogue)
    problems += _rollout_circle(catalogue, frozenset(names))
    return list(dict.fromkeys(problems))  # what several containers share is reported once


@dataclass(frozen=True, slots=True)
class _World:
    """Names that any service may refer to."""

    containers: frozenset[str]
    jobs: frozenset[str]
    groups: frozenset[str]
    named: frozenset[str]  # templates that any service names, and expressions in their place
    common: frozenset[str]  # the templates that every service has
    included: frozenset[str]  # what these include, which a service may have for itself

    @classmethod
    def of(cls, catalogue: Catalogue) -> "_World":
        services = catalogue.services.values()
        groups = catalogue.groups()
        common = catalogue.services.get(COMMON)
        return cls(
            frozenset(name for service in services for name in service.section("containers")),
            frozenset(name for service in services for name in service.section("jobs")),
            frozenset(groups) | {parent for parents in groups.values() for parent in parents} | {"all"},
            frozenset(
                name for service in services for name in (*(name for _, name in _named(service)), *_included(service))
            ),
            frozenset(common.templates if common else ()),
            frozenset(_included(common) if common else ()),
        )


def _texts(value: Any) -> Iterator[tuple[int, str]]:
    """The items of a list that are plain words, with their index."""
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, str) and not is_expression(item):
            yield index, item


def _entries(service: Service, section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, entry in service.section(section).items():
        if isinstance(entry, dict):
            yield name, entry


def _unknown(service: Service, path: Path, what: str, name: str, known: Iterable[str]) -> Problem:
    return service.document.place(path).problem(f"unknown {what} {name!r}", suggest(name, known))


def _taken_twice(catalogue: Catalogue) -> list[Problem]:
    problems = []
    for section, what in _UNIQUE.items():
        seen: dict[str, Place] = {}
        for service in catalogue.services.values():
            for name in service.section(section):
                place = service.document.place((section, name), key=True)
                if name in seen:
                    hint = f"first at {seen[name]}"
                    problems.append(place.problem(f"the {what} {name!r} is in two services", hint))
                seen.setdefault(name, place)
    return problems


def _requires(service: Service, catalogue: Catalogue) -> list[Problem]:
    data = service.document.data
    required = data.get("requires") if isinstance(data, dict) else None
    return [
        _unknown(service, ("requires", index), "service", name, catalogue.services)
        for index, name in _texts(required)
        if name not in catalogue.services
    ]


def _passwords(catalogue: Catalogue, names: frozenset[str]) -> list[Problem]:
    """Several services may need one password; then they must agree on what it is. Reported where one of `names` does not."""
    problems = []
    first: dict[str, Any] = {}
    for password in catalogue.password_definitions():
        earlier = first.setdefault(password.name, password)
        if password.service in names or earlier.service in names:
            same = {**password.definition, "description": ""} == {**earlier.definition, "description": ""}
            if not same:
                hint = f"first at {earlier.place}"
                message = f"the password {password.name!r} is of another kind in another service"
                problems.append(password.place.problem(message, hint))
        user = password.definition.get("user", "")
        if password.service in names and user and user not in catalogue.variables:
            message = f"the user of the password {password.name!r} is in no variable {user!r}"
            problems.append(password.place.problem(message, suggest(user, catalogue.variables)))
    return problems


def _groups(service: Service, world: _World) -> list[Problem]:
    return [
        problem
        for section in _GROUPED
        for name, entry in _entries(service, section)
        for problem in _unknown_groups(service, (section, name, "group"), entry, world)
    ]


def _unknown_groups(service: Service, path: Path, entry: Any, world: _World) -> Iterator[Problem]:
    """The groups that an entry says at `path` and nobody has."""
    said = entry.get("group") if isinstance(entry, dict) else None
    listed = [(path, said)] if isinstance(said, str) else [((*path, i), text) for i, text in _texts(said)]
    for where, group in listed:
        if not is_expression(group) and group not in world.groups:
            problem = _unknown(service, where, "group", group, world.groups)
            hint = problem.hint or "declare it under groups:"
            yield Problem(problem.file, problem.line, problem.column, problem.message, hint)


def _containers(service: Service, world: _World) -> list[Problem]:
    problems: list[Problem] = []
    for name, container in _entries(service, "containers"):
        problems += _drained(service, name, container)
        for index, other in _texts(container.get("depends_on")):
            if other not in world.containers:
                path = ("containers", name, "depends_on", index)
                problems.append(_unknown(service, path, "container", other, world.containers))
            elif other == name:
                place = service.document.place(("containers", name, "depends_on", index))
                problems.append(place.problem("a container cannot depend on itself", "remove it"))
    return problems


def _drained(service: Service, name: str, container: Mapping[str, Any]) -> Iterator[Problem]:
    """What a drain stops besides is of the same service: nobody else's is taken down without its own word."""
    drain, own = container.get("drain"), service.section("containers")
    for index, other in _texts(drain.get("stop") if isinstance(drain, dict) else None):
        path = ("containers", name, "drain", "stop", index)
        if other not in own:
            yield _unknown(service, path, "container", other, own)
        elif other == name:
            yield service.document.place(path).problem(
                "it is stopped anyway", "name what answers load balancers for it"
            )


def _prechecks(service: Service) -> list[Problem]:
    own = service.section("containers")
    return [
        service.document.place(("prechecks", name)).problem("is missing 'container', or 'host'", "")
        for name, check in _entries(service, "prechecks")
        if not {"container", "host"} & check.keys()
    ] + [
        _unknown(service, ("prechecks", name, "container"), "container", container, own)
        for name, check in _entries(service, "prechecks")
        if isinstance(container := check.get("container"), str) and container not in own
    ]


def _maintenance(service: Service) -> list[Problem]:
    own = service.section("containers")
    return [
        _unknown(service, ("maintenance", name, "container"), "container", container, own)
        for name, step in _entries(service, "maintenance")
        if isinstance(container := step.get("container"), str) and container not in own
    ]


def _jobs(service: Service, world: _World) -> list[Problem]:
    problems = []
    own = service.section("containers")
    for name, job in _entries(service, "jobs"):
        container = job.get("container")
        if container is None:
            place = service.document.place(("jobs", name))
            problems.append(place.problem("is missing 'container'", ""))
        if isinstance(container, str) and not is_expression(container) and container not in own:
            problems.append(_unknown(service, ("jobs", name, "container"), "container", container, own))
        problems += _leaving(service, name, job)
        known = world.containers | world.jobs
        for key in ("before", "after"):
            for index, other in _texts(job.get(key)):
                if other not in known:
                    problems.append(_unknown(service, ("jobs", name, key, index), "container or job", other, known))
        if name in world.containers:
            place = service.document.place(("jobs", name), key=True)
            problems.append(place.problem(f"{name!r} is a container's name too", "rename the job"))
    return problems


def _leaving(service: Service, name: str, job: Mapping[str, Any]) -> Iterator[Problem]:
    """What a job cannot say that is there once for every host that left."""
    for key, instead in (
        ("each", "it is there once for every host that left"),
        ("creates", "it makes nothing"),
        ("name", ""),
    ):
        if "leaves" in job and key in job:
            place = service.document.place(("jobs", name, key), key=True)
            yield place.problem(f"a job with 'leaves' has no {key!r}", instead or f"it is called {name}_HOST")
    if "leaves" in job and job.get("once", "cluster") != "cluster":
        place = service.document.place(("jobs", name, "once"))
        yield place.problem("a host is forgotten once for the cluster", "leave 'once' out")


def _host(service: Service, world: _World) -> list[Problem]:
    own = service.section("containers")
    problems = []
    for section, entries in service.section("host").items():
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            path: Path = ("host", section, number)
            for index, name in _texts(entry.get("containers") if isinstance(entry, dict) else None):
                if name not in own:
                    problems.append(_unknown(service, (*path, "containers", index), "container", name, own))
            problems += _unknown_groups(service, (*path, "group"), entry, world)
    return problems


def _needs(service: Service, world: _World) -> list[Problem]:
    return [
        _unknown(service, ("provides", kind, "needs", index), "container", name, world.containers)
        for kind, provider in _entries(service, "provides")
        for index, name in _texts(provider.get("needs"))
        if name not in world.containers
    ]


def _waits(service: Service, *keys: str) -> Iterator[tuple[str, str, Path]]:
    """What containers and jobs wait for on other hosts: (who, for whom, where that is written)."""
    for section in ("containers", "jobs"):
        for name, entry in _entries(service, section):
            for key in keys or ("after", "upgrade_after"):
                for index, other in _texts(_rollout(entry).get(key)):
                    yield name, other, (section, name, "rollout", key, index)


def _rollout(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    part = entry.get("rollout")
    return part if isinstance(part, dict) else {}


def _rollouts(service: Service, world: _World) -> list[Problem]:
    known = world.containers | world.jobs
    return (
        [
            _unknown(service, path, "container or job", other, known)
            for _, other, path in _waits(service, "after")
            if other not in known
        ]
        + [
            _unknown(service, path, "container", other, world.containers)
            for _, other, path in _waits(service, "upgrade_after")
            if other not in world.containers
        ]
        + [
            _unknown(service, (section, name, "rollout", "ready", index), "check", check, service.section("checks"))
            for section in ("containers", "jobs")
            for name, entry in _entries(service, section)
            for index, check in _texts(_rollout(entry).get("ready"))
            if check not in service.section("checks")
        ]
    )


def _rollout_circle(catalogue: Catalogue, names: frozenset[str]) -> list[Problem]:
    """Containers and jobs whose hosts would wait for each other for ever, reported where one of the services `names` says so."""
    waits: dict[str, set[str]] = {}
    places: dict[str, tuple[str, Place]] = {}
    for service in catalogue.services.values():
        for name, other, path in _waits(service):
            waits.setdefault(name, set()).add(other)
            places.setdefault(name, (service.name, service.document.place(path)))
    try:
        graphlib.TopologicalSorter({name: sorted(others) for name, others in sorted(waits.items())}).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        involved = [places[name] for name in circle if name in places and places[name][0] in names]
        if involved:
            message = f"hosts would wait for each other for ever: {' → '.join(reversed(circle))}"
            return [involved[0][1].problem(message, "take one of them out of a rollout's `after`")]
    return []


def _refusals(service: Service, catalogue: Catalogue) -> list[Problem]:
    return [
        service.document.place(("refuses", name), key=True).problem(
            f"{name!r} is a variable", f"declared at {catalogue.variables[name].place}"
        )
        for name in service.section("refuses")
        if name in catalogue.variables
    ]


def _contributions(service: Service, catalogue: Catalogue) -> list[Problem]:
    known = catalogue.collections()
    return [
        service.document.place(("contributes", name), key=True).problem(
            f"no service collects {name!r}", suggest(name, known) or "one that does says so under collects:"
        )
        for name in service.section("contributes")
        if name not in known
    ]


def _scripts(service: Service) -> Iterator[tuple[Path, str]]:
    """What checks name as their script and containers as their image's checker, each with its path; expressions too."""
    for name, container in _entries(service, "containers"):
        part = container.get("validate")
        if isinstance(part, str):
            yield ("containers", name, "validate"), part
        elif isinstance(part, dict) and isinstance(script := part.get("script"), str):
            yield ("containers", name, "validate", "script"), script
    for section in ("prechecks", "maintenance"):
        for name, one in _entries(service, section):
            if isinstance(script := one.get("script"), str):
                yield (section, name, "script"), script
    for name, check in _entries(service, "checks"):
        part = check.get("command")
        if isinstance(part, dict) and isinstance(script := part.get("script"), str):
            yield ("checks", name, "command", "script"), script


def _file_templates(service: Service) -> Iterator[tuple[Path, str]]:
    """What files name as their template, each with its path; expressions, also for all files of an owner, too."""
    for section in ("containers", "jobs"):
        for name, owner in _entries(service, section):
            files = owner.get("files")
            if isinstance(files, str):
                yield (section, name, "files"), files
            for index, file in enumerate(files if isinstance(files, list) else ()):
                template = file.get("template") if isinstance(file, dict) else file
                if isinstance(template, str):
                    yield (section, name, "files", index, "template"), template
    of_host = service.section("host").get("files")
    for index, file in enumerate(of_host if isinstance(of_host, list) else ()):
        if isinstance(file, dict) and isinstance(template := file.get("template"), str):
            yield ("host", "files", index, "template"), template


def _named(service: Service) -> Iterator[tuple[Path, str]]:
    yield from _scripts(service)
    yield from _file_templates(service)


def _included(service: Service) -> set[str]:
    """What templates may include: every text in quotes in them."""
    return {name for text in service.templates.values() for name in _INCLUDED.findall(text)}


def _templates(service: Service, world: _World) -> list[Problem]:
    """Templates that are not there, and those that nothing uses (a template may include another by its name)."""
    problems: list[Problem] = []
    used = _included(service) | world.included
    for path, name in _named(service):
        used.add(name)
        if not is_expression(name) and name not in world.common and name not in service.templates:
            problems.append(_unknown(service, path, "template", name, {*service.templates, *world.common}))
    if service.name == COMMON:
        used |= world.named
    if any(map(is_expression, used)):
        return problems
    folder = service.document.name.rpartition("/")[0]
    for template in service.templates:
        if template not in used:
            place = Place(f"{folder}/templates/{template}")
            problems.append(place.warning("no file uses this template", "remove it, or name it under files:"))
    return problems
