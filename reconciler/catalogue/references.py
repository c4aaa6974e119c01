"""Whether services refer only to what exists: services, containers, jobs, groups, templates; and names taken twice."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.catalogue.types import Catalogue, Service
from reconciler.document.grammar import suggest
from reconciler.document.keywords import is_expression
from reconciler.document.yaml import Path, Place
from reconciler.errors import Problem

# Sections whose names are shared by all services, and what one entry is called in messages.
_UNIQUE: Final = {"containers": "container", "jobs": "job", "frontends": "frontend", "scrape": "scrape target"}
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
        problems += _needs(service, world)
        problems += _templates(service, catalogue)
    return problems


@dataclass(frozen=True, slots=True)
class _World:
    """Names that any service may refer to."""

    containers: frozenset[str]
    jobs: frozenset[str]
    groups: frozenset[str]

    @classmethod
    def of(cls, catalogue: Catalogue) -> "_World":
        services = catalogue.services.values()
        groups = catalogue.groups()
        return cls(
            frozenset(name for service in services for name in service.section("containers")),
            frozenset(name for service in services for name in service.section("jobs")),
            frozenset(groups) | {parent for parents in groups.values() for parent in parents} | {"all"},
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
    return problems


def _groups(service: Service, world: _World) -> list[Problem]:
    problems = []
    for section in _GROUPED:
        for name, entry in _entries(service, section):
            group = entry.get("group")
            if isinstance(group, str) and not is_expression(group) and group not in world.groups:
                problem = _unknown(service, (section, name, "group"), "group", group, world.groups)
                hint = problem.hint or "declare it under groups:"
                problems.append(Problem(problem.file, problem.line, problem.column, problem.message, hint))
    return problems


def _containers(service: Service, world: _World) -> list[Problem]:
    problems = []
    for name, container in _entries(service, "containers"):
        for index, other in _texts(container.get("depends_on")):
            if other not in world.containers:
                path = ("containers", name, "depends_on", index)
                problems.append(_unknown(service, path, "container", other, world.containers))
            elif other == name:
                place = service.document.place(("containers", name, "depends_on", index))
                problems.append(place.problem("a container cannot depend on itself", "remove it"))
    return problems


def _jobs(service: Service, world: _World) -> list[Problem]:
    problems = []
    own = service.section("containers")
    for name, job in _entries(service, "jobs"):
        container = job.get("container")
        if isinstance(container, str) and not is_expression(container) and container not in own:
            problems.append(_unknown(service, ("jobs", name, "container"), "container", container, own))
        known = world.containers | world.jobs
        for key in ("before", "after"):
            for index, other in _texts(job.get(key)):
                if other not in known:
                    problems.append(_unknown(service, ("jobs", name, key, index), "container or job", other, known))
        if name in world.containers:
            place = service.document.place(("jobs", name), key=True)
            problems.append(place.problem(f"{name!r} is a container's name too", "rename the job"))
    return problems


def _needs(service: Service, world: _World) -> list[Problem]:
    return [
        _unknown(service, ("provides", kind, "needs", index), "container", name, world.containers)
        for kind, provider in _entries(service, "provides")
        for index, name in _texts(provider.get("needs"))
        if name not in world.containers
    ]


def _templates(service: Service, catalogue: Catalogue) -> list[Problem]:
    """Templates that are not there, and those that nothing uses (a template may include another by its name)."""
    problems: list[Problem] = []
    used: set[str] = set()
    dynamic = False
    for section, name, owner in _owners(service):
        files = owner.get("files")
        dynamic = dynamic or is_expression(files)
        for index, file in enumerate(files if isinstance(files, list) else ()):
            template = file.get("template") if isinstance(file, dict) else None
            if is_expression(template) or is_expression(file):
                dynamic = True
            elif isinstance(template, str):
                used.add(template)
                if template not in service.templates:
                    path = (section, name, "files", index, "template")
                    problems.append(_unknown(service, path, "template", template, service.templates))
    problems += _scripts(service, catalogue)
    for other in catalogue.services.values() if service.name == "common" else (service,):
        for *_, script in _checkers(other):
            dynamic = dynamic or is_expression(script)
            if other is service or script not in other.templates:
                used.add(script)
    included = {name for text in service.templates.values() for name in _INCLUDED.findall(text)}
    folder = service.document.name.rpartition("/")[0]
    for template in service.templates:
        if template not in used | included and not dynamic:
            place = Place(f"{folder}/templates/{template}")
            hint = "remove it, or name it under files: or validate.script:"
            problems.append(place.warning("no file uses this template", hint))
    return problems


def _scripts(service: Service, catalogue: Catalogue) -> list[Problem]:
    """Checkers' scripts that are neither this service's templates nor those of `common`."""
    common = catalogue.services.get("common")
    known = {*service.templates, *(common.templates if common else ())}
    return [
        _unknown(service, (section, name, "validate", "script"), "template", script, known)
        for section, name, script in _checkers(service)
        if script not in known and not is_expression(script)
    ]


def _checkers(service: Service) -> Iterator[tuple[str, str, str]]:
    """Section, name and script of what has an image's checker with a script; an expression stands for any script."""
    for section, name, owner in _owners(service):
        check = owner.get("validate")
        script = check.get("script") if isinstance(check, dict) else check
        if isinstance(script, str) and (check is not script or is_expression(script)):
            yield section, name, script


def _owners(service: Service) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Section, name and entry of whatever may have files."""
    for section in ("containers", "jobs"):
        for name, owner in _entries(service, section):
            yield section, name, owner
