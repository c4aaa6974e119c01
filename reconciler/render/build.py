"""One host's desired state out of a site: every service that is switched on, every container whose group has the host."""

import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from reconciler.catalogue import Service
from reconciler.document.words import suggest
from reconciler.document.yaml import Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.model import (
    Check,
    Container,
    Desired,
    File,
    HostSetting,
    Job,
    Maintenance,
    Mount,
    Order,
    Precheck,
    Registrar,
    Registration,
    shared_with,
)
from reconciler.options import rules
from reconciler.render import (
    checks,
    circles,
    containers,
    files,
    host,
    jobs,
    orders,
    prechecks,
    registering,
    repeat,
    tokens,
)
from reconciler.render.containers import CONFIG_FILES
from reconciler.render.evaluate import World
from reconciler.render.explanation import no_host
from reconciler.render.fields import Fields
from reconciler.render.held import Held
from reconciler.render.meter import Exhausted, Run, Running
from reconciler.render.seen import Parts, Seen
from reconciler.site import Site, authorities
from reconciler.site.layout import GLOBALS

_CONFIG_ROOT: Final = "/etc/kolla"


def render(site: Site, host: str, revision: str, world: World | None = None) -> Desired:
    """What should be on `host` at `revision`. Secrets are tokens.

    Pure: the same arguments give the same result anywhere. `world` may be one `World(site)` for many hosts, which saves
    evaluating the same variables again; it makes no difference to what the host may take (`meter`). Raises SiteInvalid with every
    problem of every template, for a host that the inventory does not have, and for one that takes too much.
    """
    if host not in site.hosts:
        raise SiteInvalid([no_host(site, host)])
    world = world or World(site)
    if world.exhausted:
        raise SiteInvalid([world.exhausted])
    world.begin(host)
    try:
        with Running(Run(world.meter, world.variables(host))):
            return _Builder(world, host).desired(revision)
    except Exhausted as error:
        world.exhausted = error.problem
        raise SiteInvalid([error.problem]) from None


class _Builder(Seen):
    def __init__(self, world: World, host: str) -> None:
        super().__init__(world, host)
        self.files: list[File] = []
        self.taken: dict[str, File] = {}  # these by path
        self.folders: set[str] = set()  # and the folders they are in
        self.config_root = _CONFIG_ROOT
        self.release = self.variable("openstack_release", "")

    def desired(self, revision: str) -> Desired:
        """All of it, or SiteInvalid."""
        self._check_releases()
        # The other revision of a plan may well have the same of this very host.
        made = self.world.whole(self.host, self._made, lambda: not self.problems)
        held = Held(self.world, self.host, made.files, made.registrations, made.registrars, self.problems)
        secrets = held.secrets()
        if self.problems:
            raise SiteInvalid(_unique(self.problems))
        here = self.site.hosts[self.host]
        return dataclasses.replace(
            made,
            revision=revision,
            addresses=dict(here.addresses),
            names=here.names,
            secrets=secrets,
            checks=held.asks(made.checks, secrets),
            fixed=held.said(secrets, "fixed"),
            meanwhile=held.said(secrets, "meanwhile"),
            groups=here.groups,
            policy=self.site.policy,
            release=self.release,
        )

    def _made(self) -> Desired:
        """What templates and the catalogue make of the host; the rest of it is left out."""
        self.config_root = self._config_root()
        every = [Parts(service) for service in self.site.catalogue.services.values() if self.enabled(service)]
        for parts in every:
            self._containers(parts)
        for parts in every:
            self._jobs(parts)
        made = self._ordered(every)
        providers = registering.providers(self, every)
        registrations, registrars, elsewhere = registering.registrations(self, every, providers)
        on_host = host.all_of(self, every)
        self._circles(made, every, registrations, registrars, on_host)
        Held(self.world, self.host, self.files, registrations, registrars, self.problems).check()
        new_clients = {check.name: check for check in registering.logins_of(self, every, providers)}
        probes = sorted((*self._checks(every, providers), *new_clients.values()), key=lambda check: check.name)
        return Desired(
            site=self.site.name,
            host=self.host,
            revision="",
            config_root=self.config_root,
            containers=tuple(sorted(made, key=lambda container: container.name)),
            files=tuple(sorted(self.files, key=lambda file: file.path)),
            jobs=tuple(sorted((job for parts in every for job in parts.jobs), key=lambda job: job.name)),
            registrations=tuple(sorted(registrations, key=lambda registration: registration.id)),
            registrars=tuple(sorted(registrars, key=lambda registrar: registrar.kind)),
            registered_elsewhere=elsewhere,
            checks=tuple(check for check in probes if check.routine),
            readiness=tuple(check for check in probes if not check.routine),
            orders=self._orders(every),
            host_settings=on_host,
            prechecks=tuple(sorted(self._prechecks(every), key=lambda check: check.name)),
            authorities=self._authorities(),
            maintenance=tuple(sorted(self._maintenance(every), key=lambda step: step.name)),
        )

    def _authorities(self) -> str:
        self.world.looked(self.host, (authorities.PATTERN,), (), "")
        return authorities.certificates(self.world.site)

    # --- services --------------------------------------------------------------------------------------------------

    def _check_releases(self) -> None:
        """What the site sets and the release of this host does not have."""
        variables = self.world.variables(self.host)
        for name, variable in self.world.versioned.items():
            if why := variable.absent(self.release):
                said = [layer for layer in variables.layered(name) if layer.origin != "catalogue"]
                self.problems += [
                    layer.place.problem(f"{name!r} does nothing: {why}", variable.advice) for layer in said
                ]

    def _config_root(self) -> str:
        """Where files go, in one spelling. Whether a host lets it be there is for that host to say."""
        text = self.variable("node_config_directory", self.variable("node_config", _CONFIG_ROOT))
        if not text.startswith("/") or ".." in text.split("/") or not text.isprintable() or not text.strip("/"):
            variables = self.world.variables(self.host)
            name = "node_config_directory" if "node_config_directory" in variables else "node_config"
            layers = variables.layered(name)
            place = layers[-1].place if layers else Place(GLOBALS)
            hint = "write an absolute path such as /etc/kolla, without '..'"
            self.problems.append(place.problem(f"{text!r} is not a folder for configuration files", hint))
            return _CONFIG_ROOT
        return "/" + posixpath.normpath(text).lstrip("/")

    # --- containers ------------------------------------------------------------------------------------------------

    def _containers(self, parts: Parts) -> None:
        service = parts.service
        here = self._here(service)
        for one in self.repeated(service, "containers") if here else ():
            name = one.name
            if (one.key, name) in here:
                fields = self.fields(service, one.raw, ("containers", one.key), container=name, **one.names)
                parts.containers[name] = fields
                parts.named.setdefault(one.key, []).append(name)
                spec, made = self._container(fields, name, service)
                self._take(made, fields)
                parts.specs[name] = spec

    def _here(self, service: Service) -> list[tuple[str, str]]:
        """The containers of a service that are on this host, each with the key of its entry. Most services have none on most hosts."""

        def work() -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            for one in self.repeated(service, "containers"):
                name = one.name
                fields = self.fields(service, one.raw, ("containers", one.key), container=name, **one.names)
                if any(name == other for _, other in found) or (name != one.key and name in section.raw):
                    fields.problem(None, f"the container {name!r} is there twice", "give them names that differ")
                if fields.flag("enabled", True) and self.host in self.members(fields):
                    found.append((one.key, name))
            return found

        section = self.fields(service, service.section("containers"), ("containers",))
        return section.shared("here", (), work) if section.raw else []

    def _container(self, fields: Fields, name: str, service: Service) -> tuple[Container, tuple[File, ...]]:
        """A container and its files; worked out once for all hosts that see it alike."""

        def work() -> tuple[Container, tuple[File, ...]]:
            # Its options are alike on more hosts than its files.
            spec = fields.shared("options", (name,), lambda: containers.container(fields, name, service.name))
            directory = containers.directory(fields, name)
            owner = files.Owner(name, directory, service.name, spec.kolla, (name,), self.site, self.host)
            made = files.make(fields.each("files"), owner)
            spec = dataclasses.replace(spec, validation=files.validation(fields, owner))
            spec = self._configured(spec, fields, fields.each("permissions"), owner, made)
            return spec, tuple(made.files)

        return fields.shared("container", (name, self.config_root), work)

    def _checks(self, every: list[Parts], providers: Mapping[str, checks.Provider]) -> Iterator[Check]:
        for parts in every:
            script = self._script(parts.service)
            for one in self.repeated(parts.service, "checks"):
                name = one.name
                fields = self.fields(parts.service, one.raw, ("checks", one.key), **one.names)
                if self.host not in self.members(fields):
                    continue
                if made := checks.check(fields, name, parts.service.name, script, providers):
                    yield made

    def _script(self, service: Service) -> Callable[[Fields], str]:
        """Renders the template that a part of a service names as its script."""
        return lambda part: files.script_of(part, self.site, service.name)

    def _prechecks(self, every: list[Parts]) -> Iterator[Precheck]:
        """Those of containers that are on this host."""
        for parts, name, target, fields in self._of_containers(every, "prechecks"):
            everywhere = "host" in fields or fields.text("once", "cluster") == "host"
            if everywhere or self.first(parts.service, target) == self.host:
                yield prechecks.precheck(fields, name, parts.service.name, self._script(parts.service))

    def _maintenance(self, every: list[Parts]) -> Iterator[Maintenance]:
        """Those of containers that are on this host."""
        for parts, name, _, fields in self._of_containers(every, "maintenance"):
            yield prechecks.maintenance(fields, name, parts.service.name, self._script(parts.service))

    def _of_containers(self, every: list[Parts], section: str) -> Iterator[tuple[Parts, str, str, Fields]]:
        """The entries of a section that are switched on and about a container on this host, or about the host itself: the service, the
        entry's name, the container, its fields."""
        for parts in every:
            for name, raw in parts.service.section(section).items():
                target = str(raw.get("container", "")) if isinstance(raw, dict) else ""
                fields = self.fields(parts.service, raw, (section, name), container=target)
                if (target in parts.specs or "host" in fields) and fields.flag("enabled", True):
                    yield parts, name, target, fields

    def _configured(
        self,
        spec: Container,
        fields: Fields,
        permissions: list[Fields],
        owner: files.Owner,
        made: files.Made,
    ) -> Container:
        """The container with its config directory and the binds; config.json joins what was `made`."""
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
                    secrets=tuple(sorted(tokens.secrets(text))),
                    sources=(fields.document.name,),
                )
            )
            bind = Mount(f"{self.config_root}/{owner.directory}", CONFIG_FILES, "ro")
            own: tuple[Mount, ...] = (
                () if any(mount.target.rstrip("/") == CONFIG_FILES for mount in spec.mounts) else (bind,)
            )
        else:
            own = tuple(Mount(f"{self.config_root}/{path}", target, "ro") for path, target in made.binds)
        directory = owner.directory if made.files else ""
        return dataclasses.replace(spec, mounts=(*own, *spec.mounts), config_directory=directory)

    def _take(self, made: Iterable[File], fields: Fields) -> None:
        for file in made:
            path = file.path
            if self.taken.get(path) == file:
                continue  # the same for another place in the container
            if path in self.taken:
                other = self.taken[path].container
                fields.problem(None, f"the file {path} is also made for {other}", "give one another name")
            above = [path[: at.start()] for at in re.finditer("/", path)]
            clash = path if path in self.folders else next((folder for folder in above if folder in self.taken), "")
            if clash:
                fields.problem(None, f"{clash} is a file and a folder of other files", "give one another name")
            self.taken[path] = file
            self.folders.update(above)
            self.files.append(file)

    # --- jobs ------------------------------------------------------------------------------------------------------

    def _jobs(self, parts: Parts) -> None:
        service = parts.service
        before: dict[str, str] = {}  # key → the one for the host that left before
        for one in self._every_job(service):
            name, raw = one.name, one.raw
            target = str(raw.get("container", "")) if isinstance(raw, dict) else ""
            if (
                target in service.section("containers")
                and raw.get("once") != "host"
                and (of := self.cluster(service, target))
            ):
                name = f"{name}_{of}"  # there is one for each, and they are known by their names
            fields = self.fields(service, raw, ("jobs", one.key), container=target, job=name, **one.names)
            if name != one.key or one.names:
                parts.named.setdefault(one.key, []).append(name)
            if target not in service.section("containers"):
                hint = suggest(target, service.section("containers"))
                fields.problem("container", f"the service has no container {target!r}", hint)
            elif "each" in service.section("containers")[target]:
                hint = "write a container of its own for it, which may be switched off, or one that is not repeated"
                fields.problem("container", f"{target} is repeated, so that it is not clear which one is meant", hint)
            elif not fields.flag("enabled", True):
                continue
            elif target in parts.containers:
                made = self._job(parts, fields, name, target)
                if made.left:  # one at a time: each changes who is a member
                    made = dataclasses.replace(made, after=(*made.after, *filter(None, [before.get(one.key)])))
                    before[one.key] = name
                parts.jobs.append(made)
                parts.job_fields[name] = fields
                if "before" not in fields and "after" not in fields.below("rollout"):
                    parts.implicit.add(name)  # one that goes after others' containers is not what they wait for
            elif "leaves" not in fields and not self.first(service, target):
                if "cluster" not in service.section("containers")[target]:
                    self._nobody(fields, name, service, target)
                elif parts.containers:
                    self._alone(parts, target)

    def _every_job(self, service: Service) -> Iterator[repeat.Instance]:
        """The jobs of a service; those by which the others forget who left once for each of them."""
        for one in self.repeated(service, "jobs"):
            if not (isinstance(one.raw, dict) and "leaves" in one.raw):
                yield one
                continue
            target = str(one.raw.get("container", ""))
            raw = service.section("containers").get(target, {})
            said = self.fields(service, one.raw, ("jobs", one.key), container=target).below("leaves")
            if "group" not in said:
                said = self.fields(service, raw, ("containers", target), container=target)
            groups = set(said.texts("group")) if "group" in said else {"all"}
            for left in self.site.left.values():
                if left.groups & groups:
                    yield repeat.Instance(f"{one.key}_{left.host.name}", one.key, one.raw, {"item": left.item})

    def _nobody(self, fields: Fields, name: str, service: Service, container: str) -> None:
        """Report a job that would run nowhere although its container is switched on, as this host sees it. What each host does before
        a container of its own is for none where the container is nowhere."""
        if fields.text("once") == "host":
            return
        raw = service.section("containers")[container]
        if self.fields(service, raw, ("containers", container), container=container).flag("enabled", True):
            message = f"the job {name} runs nowhere: no host has the container {container}"
            hint = f"give {container} a group with hosts, or switch the job off with `enabled`"
            fields.problem("container", message, hint)

    def _alone(self, parts: Parts, container: str) -> None:
        """Report that this host, which has containers of a service, is in a cluster in which nobody does what is done once."""
        service = parts.service
        word = service.section("containers")[container]["cluster"]
        where = service.document.place(("containers", container, "cluster"))
        named = f"the cluster {of!r}" if (of := self.cluster(service, container)) else "the cluster without a name"
        message = f"{self.host} has {', '.join(parts.containers)} in {named} of {container}, and no host of that has {container}"
        hint = f"{word} says which it is ({where}): give the host another, or {container} to a host of that one"
        self.problems.append(self.site.hosts[self.host].place.problem(message, hint))

    def _job(self, parts: Parts, fields: Fields, name: str, target: str) -> Job:
        service, below = parts.service, parts.containers[target]
        combined = jobs.combined(fields, below)
        spec = containers.container(combined, name, service.name)
        runs_on = self.host if fields.text("once", "cluster") == "host" else self.first(service, target)
        if fields.flag("inside"):
            spec = jobs.inside(fields, spec)
            return jobs.job(fields, name, spec, "", runs_on, service.name, self.site.secrets(self.host))
        added = {mount.target: mount for mount in containers.mounts(fields, "volumes")}
        taken = [mount for mount in containers.mounts(below, "volumes") if mount.target not in added]
        spec = dataclasses.replace(spec, mounts=(*taken, *added.values()), healthcheck=None)
        directory = name.replace("_", "-")
        owner = files.Owner(name, directory, service.name, spec.kolla, (target, name), self.site, self.host)
        own = [*fields.each("files"), *jobs.secret_environment(fields, combined)]
        names = {_written_name(entry) for entry in own}
        inherited = [entry for entry in below.each("files") if _written_name(entry) not in names]
        made = files.make([*inherited, *own], owner)
        permissions = (fields if "permissions" in fields else below).each("permissions")
        spec = self._configured(spec, combined, permissions, owner, made)
        if runs_on == self.host:  # only the owner of a job needs its files, and the secrets in them
            self._take(made.files, combined)
        command = containers.config_command(combined) if spec.kolla else ""
        return jobs.job(fields, name, spec, command, runs_on, service.name, self.site.secrets(self.host))

    def _orders(self, every: list[Parts]) -> tuple[Order, ...]:
        """What containers and jobs of this host wait for on others, by name."""
        found = []
        for parts in every:
            own = {**parts.containers, **{job.name: parts.job_fields[job.name] for job in parts.jobs}}
            keys = {name: key for key, names in parts.named.items() for name in names if name != key}
            for name, fields in own.items():
                service = parts.service if name in parts.containers else None
                order = orders.order(self.world, self.host, fields, name, keys.get(name, ""), self.first, service)
                if order.after or order.upgrade_after or order.at_once or order.members or order.upgrade_restart:
                    found.append(order)
        return tuple(sorted(found, key=lambda order: order.name))

    # --- order -----------------------------------------------------------------------------------------------------

    def _ordered(self, every: list[Parts]) -> list[Container]:
        """The containers with what they wait for, and the jobs likewise; only what is on this host."""
        present = {name for parts in every for name in parts.specs}
        named = {key: names for parts in every for key, names in parts.named.items()}

        def spelt(names: Iterable[str]) -> tuple[str, ...]:
            """The names, those of what is repeated in the place of its key."""
            return tuple(one for name in names for one in named.get(name, [name]))

        everything = present | {job.name for parts in every for job in parts.jobs}
        by_service = {parts.service.name: tuple(parts.specs) for parts in every}
        result = []
        for parts in every:
            section = self.fields(parts.service, parts.service.document.data, ())
            required = [name for service in section.texts("requires") for name in by_service.get(service, ())]
            for name, spec in parts.specs.items():
                wanted = (*required, *spelt(parts.containers[name].texts("depends_on")))
                needs = jobs.existing(tuple(other for other in wanted if other != name), present)
                fields = parts.containers[name]
                for key, message, hint in rules.guests(present, spec, shared_with(spec)):
                    fields.problem(key if key in fields else None, message, hint)
                result.append(dataclasses.replace(spec, depends_on=needs))
            parts.jobs = [
                dataclasses.replace(
                    job,
                    before=tuple(parts.specs)
                    if job.name in parts.implicit
                    else jobs.existing(spelt(job.before), everything),
                    after=jobs.existing((*required, *spelt(job.after)), everything),
                )
                for job in parts.jobs
            ]
        return result

    def _circles(
        self,
        made: list[Container],
        every: list[Parts],
        registrations: list[Registration],
        registrars: list[Registrar],
        on_host: Iterable[HostSetting],
    ) -> None:
        """Report containers and jobs that wait for each other, be it by way of a registration, an identifier or a setting of the host."""
        here = [job for parts in every for job in parts.jobs]
        circle = circles.find(made, here, self.files, registrations, registrars, on_host)
        if circle:
            where = next(
                parts for parts in every if circle[0] in parts.specs or circle[0] in {j.name for j in parts.jobs}
            )
            section = "containers" if circle[0] in where.specs else "jobs"
            place = where.service.document.place((section, circle[0]), key=True)
            chain = " → ".join(circle)
            self.problems.append(
                place.problem(
                    f"these wait for each other: {chain}", "see depends_on, requires, before, after, and id_of in files"
                )
            )


def _written_name(file: Fields) -> str:
    """What a file is called; as it is written where it is there once for every item."""
    return str(file.raw.get("name")) if "each" in file else file.text("name")


def _unique(problems: list[Problem]) -> list[Problem]:
    return list({(item.file, item.line, item.column, item.message): item for item in problems}.values())
