"""One host's desired state out of a site: every service that is switched on, every container whose group has the host."""

import dataclasses
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.catalogue import Service
from reconciler.document.grammar import suggest
from reconciler.document.yaml import Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.model import Check, Container, Desired, File, Job, Mount, Registrar, Registration, shared_with, to_json
from reconciler.render import checks, collect, containers, files, jobs, logins, option_rules, register, tokens
from reconciler.render.containers import CONFIG_FILES
from reconciler.render.evaluate import Scope, World
from reconciler.render.explanation import no_host
from reconciler.render.fields import Fields
from reconciler.site import Site

_CONFIG_ROOT: Final = "/etc/kolla"
_REGION: Final = "RegionOne"


def render(site: Site, host: str, revision: str, world: World | None = None) -> Desired:
    """What should be on `host` at `revision`. Secrets are tokens.

    Pure: the same arguments give the same result anywhere. `world` may be one `World(site)` for many hosts, which saves
    evaluating the same variables again. Raises SiteInvalid with every problem of every template, and for a host that the
    inventory does not have.
    """
    if host not in site.hosts:
        raise SiteInvalid([no_host(site, host)])
    return _Builder(world or World(site), host).desired(revision)


@dataclass(slots=True)
class _Parts:
    """One service while its host is built."""

    service: Service
    containers: dict[str, Fields] = field(default_factory=dict)  # on this host
    specs: dict[str, Container] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    implicit: set[str] = field(default_factory=set)  # jobs that say nothing of `before`


class _Builder:
    def __init__(self, world: World, host: str) -> None:
        self.world = world
        self.site = world.site
        self.host = host
        world.rendering = host
        self.problems: list[Problem] = []
        self.files: list[File] = []
        self.config_root = self._config_root()

    def desired(self, revision: str) -> Desired:
        """All of it, or SiteInvalid."""
        every = [_Parts(service) for service in self.site.catalogue.services.values() if self._enabled(service)]
        for parts in every:
            self._containers(parts)
        for parts in every:
            self._jobs(parts)
        made = self._ordered(every)
        self._open_secrets(every)
        registrations, registrars = self._registrations(every)
        self._circles(made, every, registrations, registrars)
        secrets = self._secrets(registrations, registrars)
        new_clients = {check.name: check for check in self._logins(every)}
        probes = tuple(sorted((*self._checks(every), *new_clients.values()), key=lambda check: check.name))
        if self.problems:
            raise SiteInvalid(_unique(self.problems))
        host = self.site.hosts[self.host]
        return Desired(
            site=self.site.name,
            host=self.host,
            revision=revision,
            config_root=self.config_root,
            containers=tuple(sorted(made, key=lambda container: container.name)),
            files=tuple(sorted(self.files, key=lambda file: file.path)),
            jobs=tuple(sorted((job for parts in every for job in parts.jobs), key=lambda job: job.name)),
            registrations=tuple(sorted(registrations, key=lambda registration: registration.id)),
            registrars=tuple(sorted(registrars, key=lambda registrar: registrar.kind)),
            checks=probes,
            addresses=dict(host.addresses),
            secrets=secrets,
            fixed=self._fixed(secrets),
            groups=host.groups,
            policy=self.site.policy,
        )

    # --- services --------------------------------------------------------------------------------------------------

    def _enabled(self, service: Service) -> bool:
        try:
            return collect.enabled(self.world, self.host, service)
        except SiteInvalid as error:
            self.problems += error.problems
            return False

    def _fields(self, service: Service, raw: Any, path: tuple[str, ...], **names: str) -> Fields:
        scope = Scope(self.world.variables(self.host), {"service": service.name, **names})
        return Fields(raw, scope, service.document, path, self.problems)

    def _variable(self, name: str, default: str) -> str:
        variables = self.world.variables(self.host)
        try:
            return str(variables[name]) if name in variables else default
        except SiteInvalid as error:
            self.problems += error.problems
            return default

    def _config_root(self) -> str:
        """Where files go, in one spelling. Whether a host lets it be there is for that host to say."""
        text = self._variable("node_config_directory", self._variable("node_config", _CONFIG_ROOT))
        if not text.startswith("/") or ".." in text.split("/") or not text.isprintable() or not text.strip("/"):
            variables = self.world.variables(self.host)
            name = "node_config_directory" if "node_config_directory" in variables else "node_config"
            layers = variables.layered(name)
            place = layers[-1].place if layers else Place("globals.yml")
            hint = "write an absolute path such as /etc/kolla, without '..'"
            self.problems.append(place.problem(f"{text!r} is not a folder for configuration files", hint))
            return _CONFIG_ROOT
        return "/" + posixpath.normpath(text).lstrip("/")

    # --- containers ------------------------------------------------------------------------------------------------

    def _containers(self, parts: _Parts) -> None:
        service = parts.service
        for name, raw in service.section("containers").items():
            fields = self._fields(service, raw, ("containers", name), container=name)
            if not fields.flag("enabled", True) or self.host not in self._members(fields):
                continue
            parts.containers[name] = fields
            spec = containers.container(fields, name, service.name)
            directory = containers.directory(fields, name)
            owner = files.Owner(name, directory, service.name, spec.kolla, (name,), self.site, self.host)
            made = files.make(fields.each("files"), owner)
            spec = dataclasses.replace(spec, validation=files.validation(fields, owner))
            parts.specs[name] = self._configured(spec, fields, fields.each("permissions"), owner, made)

    def _checks(self, every: list[_Parts]) -> Iterator[Check]:
        for parts in every:
            for name, raw in parts.service.section("checks").items():
                fields = self._fields(parts.service, raw, ("checks", name))
                if self.host in self._members(fields) and (made := checks.check(fields, name, parts.service.name)):
                    yield made

    def _logins(self, every: list[_Parts]) -> Iterator[Check]:
        """Of the services that have containers on this host."""
        providers: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for parts in every:
            for kind, raw in parts.service.section("provides").items():
                connection = logins.provider(self._fields(parts.service, raw, ("provides", kind)))
                if connection is not None:
                    providers[kind] = (parts.service.name, connection)
                    if parts.specs:
                        yield logins.administrator(kind, parts.service.name, connection)
        for parts in every:
            if parts.specs and parts.service.section("registrations"):
                yield from logins.users(iter(self._registered(parts)), providers)

    def _members(self, fields: Fields) -> Iterable[str]:
        group = fields.text("group", "all")
        if group not in self.site.groups:
            fields.problem("group", f"no group {group!r} in the inventory", suggest(group, self.site.groups))
            return ()
        return self.site.groups[group]

    def _configured(
        self, spec: Container, fields: Fields, permissions: list[Fields], owner: files.Owner, made: files.Made
    ) -> Container:
        """The container with its config directory: the files themselves, config.json, and the binds."""
        if spec.kolla:
            command = containers.config_command(fields)
            text = files.config_json(command, made.entries, permissions)
            made.files.append(
                File(
                    path=f"{owner.directory}/config.json",
                    content=text,
                    mode=0o660,
                    container=owner.name,
                    service=owner.service,
                    secrets=tuple(sorted(tokens.names(text))),
                    sources=(fields.document.name,),
                )
            )
            bind = Mount(f"{self.config_root}/{owner.directory}", CONFIG_FILES, "ro")
            own: tuple[Mount, ...] = (
                () if any(mount.target.rstrip("/") == CONFIG_FILES for mount in spec.mounts) else (bind,)
            )
        else:
            own = tuple(Mount(f"{self.config_root}/{path}", target, "ro") for path, target in made.binds)
        self._take(made.files, fields)
        directory = owner.directory if made.files else ""
        return dataclasses.replace(spec, mounts=(*own, *spec.mounts), config_directory=directory)

    def _take(self, made: list[File], fields: Fields) -> None:
        taken = {file.path: file for file in self.files}
        for file in made:
            if file.path in taken:
                other = taken[file.path].container
                fields.problem(None, f"the file {file.path} is also made for {other}", "give one another name")
            taken[file.path] = file
            self.files.append(file)
        folders = {path[: at.start()] for path in taken for at in re.finditer("/", path)}
        mine = {file.path for file in made}
        for path in sorted(taken.keys() & folders):
            if path in mine or any(other.startswith(f"{path}/") for other in mine):
                fields.problem(None, f"{path} is a file and a folder of other files", "give one another name")

    # --- jobs ------------------------------------------------------------------------------------------------------

    def _jobs(self, parts: _Parts) -> None:
        service = parts.service
        for name, raw in service.section("jobs").items():
            target = str(raw.get("container", "")) if isinstance(raw, dict) else ""
            fields = self._fields(service, raw, ("jobs", name), container=target, job=name)
            if target not in service.section("containers"):
                hint = suggest(target, service.section("containers"))
                fields.problem("container", f"the service has no container {target!r}", hint)
            if target in parts.containers and fields.flag("enabled", True):
                parts.jobs.append(self._job(parts, fields, name, target))
                if "before" not in fields:
                    parts.implicit.add(name)

    def _job(self, parts: _Parts, fields: Fields, name: str, target: str) -> Job:
        service, below = parts.service, parts.containers[target]
        combined = jobs.combined(fields, below)
        spec = containers.container(combined, name, service.name)
        added = {mount.target: mount for mount in containers.mounts(fields, "volumes")}
        taken = [mount for mount in containers.mounts(below, "volumes") if mount.target not in added]
        spec = dataclasses.replace(spec, mounts=(*taken, *added.values()), healthcheck=None)
        directory = name.replace("_", "-")
        owner = files.Owner(name, directory, service.name, spec.kolla, (target, name), self.site, self.host)
        own = fields.each("files")
        names = {entry.text("name") for entry in own}
        inherited = [entry for entry in below.each("files") if entry.text("name") not in names]
        made = files.make([*inherited, *own], owner)
        permissions = (fields if "permissions" in fields else below).each("permissions")
        first = self.site.groups[below.text("group", "all")][0]
        runs_on = self.host if fields.text("once", "cluster") == "host" else first
        before = len(self.files)
        spec = self._configured(spec, combined, permissions, owner, made)
        if runs_on != self.host:
            del self.files[before:]  # only its owner needs them, and the secrets in them
        command = containers.config_command(combined) if spec.kolla else ""
        return jobs.job(fields, name, spec, command, runs_on, service.name, self.site.secrets(self.host))

    # --- order -----------------------------------------------------------------------------------------------------

    def _ordered(self, every: list[_Parts]) -> list[Container]:
        """The containers with what they wait for, and the jobs likewise; only what is on this host."""
        present = {name for parts in every for name in parts.specs}
        everything = present | {job.name for parts in every for job in parts.jobs}
        by_service = {parts.service.name: tuple(parts.specs) for parts in every}
        result = []
        for parts in every:
            section = self._fields(parts.service, parts.service.document.data, ())
            required = [name for service in section.texts("requires") for name in by_service.get(service, ())]
            for name, spec in parts.specs.items():
                wanted = (*required, *parts.containers[name].texts("depends_on"))
                needs = jobs.existing(tuple(other for other in wanted if other != name), present)
                fields = parts.containers[name]
                for key, message, hint in option_rules.guests(present, spec, shared_with(spec)):
                    fields.problem(key if key in fields else None, message, hint)
                result.append(dataclasses.replace(spec, depends_on=needs))
            parts.jobs = [
                dataclasses.replace(
                    job,
                    before=tuple(parts.specs) if job.name in parts.implicit else jobs.existing(job.before, everything),
                    after=jobs.existing((*required, *job.after), everything),
                )
                for job in parts.jobs
            ]
        return result

    def _circles(
        self,
        made: list[Container],
        every: list[_Parts],
        registrations: list[Registration],
        registrars: list[Registrar],
    ) -> None:
        """Report containers and jobs that wait for each other, be it by way of a registration."""
        needs: dict[str, set[str]] = {c.name: {*c.depends_on, *shared_with(c)} for c in made}
        for job in (job for parts in every for job in parts.jobs):
            needs.setdefault(job.name, set()).update(job.after)
            for name in job.before:
                needs.setdefault(name, set()).add(job.name)
        behind = {registrar.kind: registrar.needs for registrar in registrars}
        for registration in registrations:
            for name in registration.before:
                needs.setdefault(name, set()).update(behind.get(registration.kind, ()))
        circle = _circle(needs)
        if circle:
            where = next(
                parts for parts in every if circle[0] in parts.specs or circle[0] in {j.name for j in parts.jobs}
            )
            section = "containers" if circle[0] in where.specs else "jobs"
            place = where.service.document.place((section, circle[0]), key=True)
            chain = " → ".join(circle)
            self.problems.append(
                place.problem(f"these wait for each other: {chain}", "see depends_on, requires, before, after")
            )

    # --- registrations ---------------------------------------------------------------------------------------------

    def _registrations(self, every: list[_Parts]) -> tuple[list[Registration], list[Registrar]]:
        """What this host registers, and where that goes. The same thing may be asked for by several services."""
        present = {name for parts in every for name in parts.specs}
        found: dict[str, Registration] = {}
        for parts in every:
            if parts.service.section("registrations"):
                for item in self._registered(parts):
                    first = found.setdefault(item.id, item)
                    if first.fields != item.fields:
                        place = parts.service.document.place(("registrations", item.kind))
                        message = f"{item.type} {item.key} is registered by {first.service} too, in different words"
                        self.problems.append(place.problem(message, "make them the same"))
                    waiting = tuple(dict.fromkeys((*first.before, *item.before)))
                    found[item.id] = dataclasses.replace(first, before=waiting)
        made = [item for item in found.values() if item.owner == self.host]
        kinds = {registration.kind for registration in made}
        registrars = []
        for parts in every:
            for kind, raw in parts.service.section("provides").items():
                if kind in kinds or parts.specs:
                    registrar = register.registrar(self._fields(parts.service, raw, ("provides", kind)), kind, present)
                    registrars += [registrar] if registrar else []
        return made, registrars

    def _registered(self, parts: _Parts) -> list[Registration]:
        service, owner = parts.service, self._owner(parts)
        section = self._fields(service, service.section("registrations"), ("registrations",))
        waiting = (*parts.specs, *(job.name for job in parts.jobs))
        region = self._variable("openstack_region_name", _REGION)
        made: list[Registration] = []
        for kind in register.KINDS:
            before = waiting if kind in register.EARLY and kind not in service.section("provides") else ()
            made += register.registrations(
                section, kind, service=service.name, owner=owner, before=before, region=region
            )
        return made

    def _owner(self, parts: _Parts) -> str:
        """The host that converges a service's registrations: the first one of its first container's group."""
        service = parts.service
        for name, raw in service.section("containers").items():
            fields = self._fields(service, raw, ("containers", name), container=name)
            members = tuple(self._members(fields))
            if members and fields.flag("enabled", True):
                return members[0]
        return next(iter(self.site.hosts))

    # --- secrets ---------------------------------------------------------------------------------------------------

    def _open_secrets(self, every: list[_Parts]) -> None:
        """Report secrets in what the engine is asked for, which it shows to everybody who can ask it."""
        for parts in every:
            specs = [("containers", spec) for spec in parts.specs.values()]
            specs += [("jobs", job.container) for job in parts.jobs]
            for section, spec in specs:
                for name in (item.name for item in dataclasses.fields(spec)):
                    secrets = _held(to_json(getattr(spec, name)))
                    if secrets:
                        place = parts.service.document.place((section, spec.name, name))
                        message = f"{name} would show the secret {', '.join(sorted(secrets))} to `docker inspect`"
                        self.problems.append(place.problem(message, "give it in a file"))

    def _secrets(self, registrations: list[Registration], registrars: list[Registrar]) -> Mapping[str, str]:
        """Name → digest of the ciphertext for every secret in use; the ones that are missing are problems."""
        used: dict[str, str] = {}  # name → who uses it
        for file in self.files:
            for name in file.secrets:
                used.setdefault(name, file.sources[0] if file.sources else file.path)
        for registration in registrations:
            for name in _held(registration.fields):
                used.setdefault(name, f"the registration {registration.id}")
        for registrar in registrars:
            for name in _held(registrar.connection):
                used.setdefault(name, f"the connection to {registrar.kind}")
        known = self.site.secrets(self.host)
        for name in sorted(used.keys() - known.keys()):
            hint = suggest(name, known) or "run `reconciler secrets generate`"
            self.problems.append(
                Problem("passwords.yml", 0, 0, f"the secret {name!r} is missing; {used[name]} needs it", hint)
            )
        return {name: known[name].digest for name in sorted(used) if name in known}

    def _fixed(self, secrets: Mapping[str, str]) -> Mapping[str, str]:
        defined = self.site.catalogue.passwords()
        texts = {name: defined[name].get("fixed") for name in secrets if name in defined}
        return {name: " ".join(str(text).split()) for name, text in texts.items() if text}


def _held(value: Any) -> set[str]:
    if isinstance(value, str):
        return tokens.names(value)
    if isinstance(value, Mapping):
        return {name for item in value.values() for name in _held(item)}
    if isinstance(value, list | tuple):
        return {name for item in value for name in _held(item)}
    return set()


def _circle(needs: Mapping[str, set[str]]) -> list[str]:
    """Some circle in a graph, with its first name at the end again; empty when there is none."""
    state: dict[str, int] = {}

    def visit(name: str, path: list[str]) -> list[str]:
        state[name] = 1
        for other in sorted(needs.get(name, ())):
            if state.get(other) == 1:
                return [*path[path.index(other) :], other]
            if other not in state:
                found = visit(other, [*path, other])
                if found:
                    return found
        state[name] = 2
        return []

    for name in sorted(needs):
        if name not in state:
            found = visit(name, [name])
            if found:
                return found
    return []


def _unique(problems: list[Problem]) -> list[Problem]:
    return list({(item.file, item.line, item.column, item.message): item for item in problems}.values())
