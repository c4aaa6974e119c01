"""Variables, evaluated when they are asked for: lazily, once, each in the scope of the host it belongs to.

A variable's value may be an expression over other variables, of this host or of another (`hostvars`). What evaluates to
another type than its schema asks for is a problem at the place that set it; a circle of variables is one with its whole chain.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar

from reconciler.catalogue import Service, Variable
from reconciler.catalogue.load import PREFIX
from reconciler.catalogue.types import COMMON
from reconciler.document.content import text as text_of
from reconciler.document.grammar import Grammar, normalise
from reconciler.document.keywords import is_expression
from reconciler.document.sameness import Everybody
from reconciler.document.words import suggest
from reconciler.document.yaml import Document, Path, Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import (
    collect,
    compiling,
    failures,
    header,
    inventory_names,
    methods,
    paths,
    placement,
    tokens,
    values,
)
from reconciler.render.differences import FILES, HOST_FILES
from reconciler.render.faults import FilterError
from reconciler.render.meter import Cost, Exhausted, Meter
from reconciler.render.reads import Reads
from reconciler.render.sharing import ABSENT, Shared, Sharing
from reconciler.render.values import Lazy
from reconciler.site import Host, Layer, Layered, SecretName, Site

T = TypeVar("T")

_MAX_DEPTH: Final = 50
_ONE_NAME: Final = re.compile(r"\s*\{\{\s*([A-Za-z_]\w*)\s*\}\}\s*")
_GLOBALS: Final[Mapping[str, Any]] = methods.FUNCTIONS
_STEPS_PER_CHECK: Final = 20  # of a value against its schema, for every part of it


class CircleError(SiteInvalid):
    """Variables that need each other. Not kept: asked from another end, the circle may not close."""


class World:
    """One site while it is rendered: what has been evaluated so far, for every host.

    `meter` counts what the host takes that is rendered at present. Once a host took too much, nothing is rendered any more.
    `sharing` may be that of another world: what both see alike is worked out once.
    """

    def __init__(self, site: Site, sharing: Sharing | None = None) -> None:
        self.site = site
        self.meter = Meter(len(site.hosts))
        self.exhausted: Problem | None = None
        self.passwords = site.catalogue.passwords()
        self.collected = collect.names(site.catalogue)
        number, part = (sharing or Sharing()).join(site, self.known)
        self.groups = part.groups
        self.hostvars = Hostvars(self)
        self.active: list[tuple[str, str]] = []
        self.rendering = ""  # the host whose files are made, once there is one
        self.enabled: dict[tuple[str, str], tuple[bool, Cost, Reads]] = {}  # (host, service), kept by placement
        self.read: list[str] = []  # files of config/ that templates asked for, since it was last emptied
        # (service, container, or "" for none), kept by placement
        self.first: dict[tuple[str, ...], tuple[str, Cost, Reads]] = {}
        self.shared = Shared(number, part, self._answer, self.read)
        self._hosts: dict[str, Variables] = {}
        self._grammars: dict[str, Grammar] = {}

    @cached_property
    def known(self) -> frozenset[str]:
        """Every name that has a value on some host, or could be given one. `site_…` is known when the site says it anywhere."""
        networks = {f"{network}_interface_address" for host in self.site.hosts.values() for network in host.addresses}
        return frozenset((*self.site.catalogue.variables, *self.passwords, *self.site.names(), *networks))

    @cached_property
    def versioned(self) -> Mapping[str, Variable]:
        """The variables that some releases of OpenStack do not have."""
        return {name: v for name, v in self.site.catalogue.variables.items() if v.since or v.removed_in}

    def begin(self, host: str) -> None:
        """Start to render a host: it pays from now on. What only the one before needed is let go of: of five hundred it would not fit."""
        before = self.rendering
        if before != host and self._hosts.pop(before, None) is not None:
            self.shared.forget(("whole", before))
            for name in self.site.catalogue.services:
                self.enabled.pop((before, name), None)
        self.rendering = host
        self.meter = Meter(len(self.site.hosts))

    def whole(self, host: str, work: Callable[[], T], good: Callable[[], bool]) -> T:
        """What is made of a whole host: the other revision of a plan may have the same. No other host has, or is looked for."""
        return self.shared.unit(("whole", host), host, self.meter, work, good=good)

    def variables(self, host: str) -> "Variables":
        """The variables of a host. Raises KeyError for a host that the inventory does not have."""
        if host not in self._hosts:
            self._hosts[host] = Variables(self, self.site.hosts[host])
        return self._hosts[host]

    def evaluated(
        self, host: str, service: Service, path: tuple[str, ...], raw: Any, names: Mapping[str, Any] | None = None
    ) -> Any:
        """A value of a service's service.yml, where it stands at `path`, as `host` sees it; `names` are seen besides. Raises SiteInvalid."""
        source = Position.within(service.document, path)
        own = {"service": service.name, **(names or {})}
        if path[0] == "containers":
            own.setdefault("container", path[1])
        return evaluate(raw, Scope(self.variables(host), own), source)

    def looked(self, host: str, patterns: tuple[str, ...], containers: tuple[str, ...], service: str) -> None:
        """Note that a unit depends on which files of config/ there are for these patterns, and on what is in them."""
        self.shared.look(host, FILES, *([HOST_FILES] if any("{host}" in pattern for pattern in patterns) else []))
        if self.shared.frame is not None:
            asked = (patterns, containers, service)
            self.shared.note("files", host, asked, self._files(host, *asked))

    def _files(
        self, host: str, patterns: tuple[str, ...], containers: tuple[str, ...], service: str
    ) -> tuple[tuple[str, bytes, str], ...]:
        """The files that patterns mean on a host, with their content, and the secret that each is."""
        site = self.site
        wanted = [
            path for text in patterns for path in paths.expand(text, host=host, containers=containers, service=service)
        ]
        return tuple(
            (path, site.overrides[path], site.sealed[path].name if path in site.sealed else "")
            for path in paths.find(wanted, site.overrides)
        )

    def _answer(self, kind: str, host: str, name: Any) -> Any:
        """What a unit asked of a host, asked again: see `sharing`."""
        if kind == "files":
            self.looked(host, *name)
            return self._files(host, *name)
        if kind == "enabled":
            return placement.enabled(self, host, self.site.catalogue.services[name])
        if kind == "member":
            return self.member(host, name)
        variables = self.variables(host)
        if kind == "address":
            return variables.address(name)
        if kind == "there":
            return name in variables
        try:
            return variables.answer(name, variables[name])
        except KeyError:
            return ABSENT

    def member(self, host: str, group: str) -> bool:
        """Whether a host is in a group."""
        found = host in self.groups.get(group, ())
        self.shared.look(host, ("member", group))
        self.shared.note("member", host, group, found)
        return found

    def grammar(self, name: str, schema: Mapping[str, Any]) -> Grammar:
        """The schema of a variable, ready to check."""
        if name not in self._grammars:
            self._grammars[name] = Grammar(schema)
        return self._grammars[name]


class Hostvars(Lazy, Everybody):
    """`hostvars`: inventory name → the variables of that host."""

    __slots__ = ("_world",)

    def __init__(self, world: World) -> None:
        self._world = world

    def __getitem__(self, host: str) -> "Variables":
        return self._world.variables(host)

    def __iter__(self) -> Iterator[str]:
        return iter(self._world.site.hosts)


class Variables(Lazy):
    """Every name that templates of one host can use, by name, evaluated when asked for.

    Raises KeyError for an unknown name and SiteInvalid when evaluating fails.
    """

    # No __slots__: the layers are made when the first variable is asked for, since of most hosts only addresses are.

    def __init__(self, world: World, host: Host) -> None:
        self._world = world
        self._host = host.name
        self._special = inventory_names.names(host, world.groups, world.hostvars)
        self._done: dict[str, Any] = {}
        self._failed: dict[str, SiteInvalid] = {}
        self._costs: dict[str, Cost] = {}
        self._reads: dict[str, Reads] = {}
        self._noted: dict[str, list[str]] = {}  # the files of config/ that a value is of

    @cached_property
    def _layers(self) -> Mapping[str, Layered]:
        return self._world.site.layers(self._host)

    @cached_property
    def _secrets(self) -> Mapping[str, SecretName]:
        return self._world.site.secrets(self._host)

    def __getitem__(self, name: str) -> Any:
        shared = self._world.shared
        if shared.frame is None:
            return self._get(name)
        try:
            value = self._get(name)
        except KeyError:
            shared.note("value", self._host, name, ABSENT)
            raise
        except SiteInvalid:
            shared.spoil()  # a template that comes to no harm from it is worked out anew
            raise
        shared.note("value", self._host, name, self.answer(name, value))
        return value

    def answer(self, name: str, value: Any) -> Any:
        """A value with the files of config/ that it is of, which count as sources of whatever it is written into."""
        return (value, self._noted[name]) if name in self._noted else value

    def _get(self, name: str) -> Any:
        done, ledger = self._done, self._world.shared.ledger
        if name in self._reads:
            ledger.take(self._reads[name])
        if name in self._costs:
            self._world.meter.again(self._host, name, self._costs[name])
        if name in done:
            if name in self._noted:
                self._world.read += self._noted[name]
            return done[name]
        if name in self._failed:
            raise self._failed[name]
        with ledger.about(self._host) as reads:
            self._world.shared.look(self._host, name)
            try:
                value = done[name] = self._find(name)
            except CircleError:
                raise
            except SiteInvalid as error:
                self._failed[name] = error
                self._reads[name] = reads
                raise
        self._reads[name] = reads
        return value

    def __contains__(self, name: object) -> bool:
        found = (
            name in self._layers
            or name in self._special
            or self._is_secret(name)
            or name in self._world.collected
            or self._interface_address(name) is not None
        )
        self._world.shared.look(self._host, name)
        self._world.shared.note("there", self._host, name, found)
        return found

    def __iter__(self) -> Iterator[str]:
        self._world.shared.spoil()
        yield from dict.fromkeys(
            (*self._special, *self._world.collected, *self._layers, *self._secrets, *self._world.passwords)
        )

    def address(self, network: str) -> str:
        """The host's address on a network. Raises FilterError when the inventory declares none that would do."""
        addresses: Mapping[str, str] = self._special["addresses"]
        self._world.shared.look(self._host, ("address", network))
        if network in addresses:
            self._world.shared.note("address", self._host, network, addresses[network])
            return addresses[network]
        self._world.shared.spoil()
        host = self._host
        hint = suggest(network, addresses) or "declare it in inventory.yml"
        raise FilterError(f"the host {host} has no address on the network {network!r} ({hint})")

    def declared(self) -> Mapping[str, object]:
        """The variables of the catalogue, those without a value too."""
        return self._world.site.catalogue.variables

    def layered(self, name: str) -> tuple[Layer, ...]:
        """The layers of a variable, the winning one last; none for a name that is no variable. Not for what is shared."""
        return self._layers[name].layers if name in self._layers else ()

    def _find(self, name: str) -> Any:
        if name in self._special:
            return self._special[name]
        if self._is_secret(name):
            self._require_own(name)
            return tokens.SecretRef(name)
        if name in self._layers:
            return self._evaluate(name)
        if name in self._world.collected:
            return self._guard(name, lambda: self.unit(("collected", name), self._collected(name)))
        network = self._interface_address(name)
        if network is not None:
            return self.address(network)
        raise KeyError(name)

    def _is_secret(self, name: object) -> bool:
        """Whether a secret of that name has a value here, or will get one. An operator fills a `blank` one, or does not want it."""
        declared = self._world.passwords.get(name) if isinstance(name, str) else None
        if declared is not None and declared.get("kind") == "blank":
            return name in self._secrets and self._secrets[str(name)].size > 0
        return name in self._secrets or declared is not None

    def _require_own(self, name: str) -> None:
        """A token means the value of the host whose file it is in, so another host's value has none."""
        other = self._world.rendering
        if other in ("", self._host):
            return
        self._world.shared.spoil()  # it depends on who asks
        theirs = self._world.site.secrets(other).get(name)
        if self._secrets.get(name, theirs) != theirs:
            message = f"the secret {name} of the host {self._host} is not that of {other}, whose file asks for it"
            raise FilterError(f"{message}: give both the same one")

    def _interface_address(self, name: object) -> str | None:
        if not isinstance(name, str):
            return None  # a template may subscript with anything
        network = name.removesuffix("_interface_address")
        return network if network != name and network in self._special["addresses"] else None

    def _evaluate(self, name: str) -> Any:
        layered = self._layers[name]
        if not _has_expression(layered.value):
            return layered.value
        place = layered.place
        variable = self._world.site.catalogue.variables.get(name)
        said = layered.value

        def work() -> Any:
            result = evaluate(said, Scope(self), Position(place))
            return self._checked(name, result, variable.schema, place) if variable else result

        key = ("variable", name, said if isinstance(said, str) else id(said))
        return self._guard(name, lambda: self.unit(key, work, alive=said))

    def unit(
        self,
        key: tuple[Any, ...],
        work: Callable[[], T],
        *,
        alive: Any = None,
        inside: bool = False,
        good: Callable[[], bool] = lambda: True,
    ) -> T:
        """Work about this host that others may share: see `Shared.unit`."""
        world = self._world
        return world.shared.unit(key, self._host, world.meter, work, inside=inside, alive=alive, good=good)

    def _collected(self, name: str) -> Callable[[], Any]:
        return lambda: collect.collect(self._world, self._host, name)

    def _guard(self, name: str, work: Any) -> Any:
        """Run `work`, which evaluates `name`, on the watch for circles."""
        active = self._world.active
        step = (self._host, name)
        if step in active or len(active) >= _MAX_DEPTH:
            circle = [*active[active.index(step) :], step] if step in active else [*active[:6], *active[-2:]]
            chain = " → ".join(variable for _, variable in circle)
            what = "need each other" if step in active else f"refer to each other more than {_MAX_DEPTH} deep"
            place = self._layers[name].place if name in self._layers else Place("")
            raise CircleError([place.problem(f"variables {what}: {chain}", "give one of them a value")])
        active.append(step)
        noted = len(self._world.read)
        try:
            with self._world.meter.record(self._host, name) as cost:
                return work()
        finally:
            active.pop()
            self._costs[name] = cost
            if len(self._world.read) > noted:
                self._noted[name] = self._world.read[noted:]

    def _checked(self, name: str, value: Any, schema: Mapping[str, Any], place: Place) -> Any:
        """A value in its variable's type. Raises SiteInvalid when it is of another."""
        if tokens.is_held(value):
            return value
        kinds = schema.get("type")
        if kinds == "string" and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self._world.meter.spend(_STEPS_PER_CHECK * (1 + _size(value)))
        value = normalise(value, schema)
        problems = self._world.grammar(name, schema).check(Document(place.file, value))
        if problems:
            raise SiteInvalid(
                [place.problem(f"{name!r} {item.message} once evaluated", item.hint) for item in problems]
            )
        return value

    def known(self) -> frozenset[str]:
        """Every name that has a value on some host, or could be given one."""
        return self._world.known

    def site(self) -> Site:
        """The site that the host belongs to."""
        return self._world.site

    def begin_file(self) -> None:
        """From now on `read_files` tells what is read."""
        self._world.read.clear()

    def read_files(self) -> tuple[str, ...]:
        """The files of config/ that templates asked for, each as `config/…`."""
        return tuple(dict.fromkeys(f"config/{path}" for path in self._world.read))

    def reading(self, path: str) -> None:
        """Note that a file of config/ was read for the file that is made at present."""
        self._world.read.append(path)

    def looked(self, patterns: Iterable[str], containers: Iterable[str], service: str) -> None:
        """Note which files of config/ a unit depends on."""
        self._world.looked(self._host, tuple(patterns), tuple(containers), service)

    @property
    def host(self) -> str:
        """The host's name in the inventory."""
        return self._host

    def pay(self) -> Meter:
        """Who pays for what is evaluated."""
        return self._world.meter


class Scope(Lazy):
    """The names of one rendering: its own, those that kolla-ansible's role has (`roles`: name → the service that says what it is), then
    the host's, then the functions that templates know."""

    __slots__ = ("own", "roles", "variables")

    def __init__(
        self, variables: Variables, own: Mapping[str, Any] | None = None, roles: Mapping[str, Service] | None = None
    ) -> None:
        self.variables = variables
        self.own = own or {}
        self.roles = roles or {}

    def __getitem__(self, name: str) -> Any:
        if name in self.own:
            return self.own[name]
        if name in self.roles:
            return self._role_name(name)
        try:
            return self.variables[name]
        except KeyError:
            return _GLOBALS[name]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self.own, *self.variables, *self.roles, *_GLOBALS))

    def of_site(self, service: str) -> "Scope":
        """The names that a file of config/ sees, which a service reads: it may be a copy of a template of kolla-ansible's."""
        return Scope(self.variables, self.own, self.variables.site().catalogue.role_names(service))

    def _role_name(self, name: str) -> Any:
        service, path = self.roles[name], ("role_names", name)
        source = Position.within(service.document, path)
        found = evaluate(service.section("role_names")[name], Scope(self.variables, self.own), source)
        self.variables.pay().spend(1 + _size(found))
        if found is None:
            raise KeyError(name)
        return found

    # What `lookups.Sources` asks for.

    def unheard(self, name: str) -> str | None:
        """None when a name has a value on some host, or might have one; else what to do about it."""
        if name in self or name in self.roles or name in self.variables.known():
            return None
        if refusal := self.variables.site().catalogue.refusal(name):
            return refusal
        return (
            suggest(name, {*self, *self.variables.known()})
            or "declare it in the variables.yml of a service, or call it site_…"
        )

    def template(self, name: str, more: Mapping[str, Any]) -> str:
        """The rendered template of the present service, or of `common`. Raises FilterError when neither has it."""
        services = self.variables.site().catalogue.services
        own = str(self.own.get("service", COMMON))
        for service in (own, COMMON):
            found = services.get(service)
            if found and name in found.templates:
                return self._nested(found, name, Scope(self.variables, {**self.own, **more}, self.roles))
        known = {name for service in (own, COMMON) if service in services for name in services[service].templates}
        raise FilterError(f"neither {own} nor {COMMON} has a template {name[:60]!r}{values.suggestion(name, known)}")

    def _nested(self, service: Service, name: str, scope: "Scope") -> str:
        """A rendered template of a service: what many files have alike is often in one of its own."""
        path = f"{PREFIX[service.origin]}/{service.name}/templates/{name}"

        def work() -> str:
            return render_text(service.templates[name], scope, path)

        if self.roles or not all(map(values.is_plain, scope.own.values())):
            return work()
        own = tuple((key, repr(value)) for key, value in scope.own.items())
        return self.variables.unit(("template", path, self.variables.pay().nesting, own), work, inside=True)

    def override(self, path: str) -> str:
        """The rendered file of config/. Raises FilterError when it is not there."""
        files = self.variables.site().overrides
        self.variables.looked((path,), (), "")
        if path not in files:
            raise FilterError(f"the site has no config/{path[:200]}: ask first_override() whether it is there")
        self.variables.reading(path)
        if path in self.variables.site().sealed:
            return tokens.SecretRef(self.variables.site().sealed[path].name)
        name = f"config/{path}"
        return render_text(text_of(files[path], name), self.of_site(str(self.own.get("service", ""))), name)

    def overrides(self, patterns: list[str]) -> list[str]:
        """The paths below config/ that are there, in the order of the patterns."""
        host, service, files = (
            self.variables.host,
            str(self.own.get("service", "")),
            self.variables.site().overrides,
        )
        containers = [str(self.own[key]) for key in ("container", "job") if key in self.own]
        wanted = [
            path for text in patterns for path in paths.expand(text, host=host, containers=containers, service=service)
        ]
        self.variables.looked(patterns, containers, service)
        self.variables.pay().spend(
            len(wanted) * (1 + (len(files) if any(paths.WILDCARD in path for path in wanted) else 0))
        )
        return paths.find(wanted, files)


_NOWHERE: Final = Place("")


class Position(NamedTuple):
    """Where a value that is evaluated was written: at a place, or at a path of a document."""

    place: Place
    document: Document | None = None
    path: Path = ()

    @classmethod
    def within(cls, document: Document, path: Path) -> "Position":
        """At a path of a document. The place is looked for when somebody asks for it."""
        return cls(_NOWHERE, document, path)

    def at(self, step: str | int) -> "Position":
        """Below it."""
        return Position(self.place, self.document, (*self.path, step)) if self.document else self

    def where(self) -> Place:
        return self.document.place(self.path) if self.document else self.place


def evaluate(value: Any, scope: Scope, source: Position) -> Any:
    """`value` with every expression in it evaluated; a text that is one whole expression keeps the type of its value.

    Raises SiteInvalid with the place in `source`.
    """
    if isinstance(value, str):
        if not is_expression(value):
            return value
        try:
            name = _ONE_NAME.fullmatch(value)
            if name and name[1] in scope.variables:  # most expressions: nothing to compile
                return values.plain(scope[name[1]])
            return compiling.compiled(value, True).run(scope, scope.variables.pay())
        except SiteInvalid:
            raise
        except Exhausted as error:
            place = source.where()
            error.at(place.file, place.line, place.column)
            raise
        except Exception as error:  # whatever an expression can raise
            place = source.where()
            failures.refuse(error, scope, place.file, max(place.line, 1), place.column)
    if isinstance(value, dict):
        return {key: evaluate(item, scope, source.at(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [evaluate(item, scope, source.at(index)) for index, item in enumerate(value)]
    return value


def render_text(text: str, scope: Scope, name: str, first_line: int = 1) -> str:
    """A template's text. `name` is the file it is from. Raises SiteInvalid with file and line."""
    try:
        payer = scope.variables.pay()
        options, body = header.split(text)
        first_line += body is not text
        if not options and not compiling.is_template(body):
            payer.spend(1, len(body))
            return body
        return values.whole(str(compiling.compiled(body, False, options).run(scope, payer)))
    except SiteInvalid as error:
        raise failures.used_by(error, name) from None
    except Exhausted as error:
        error.at(name, first_line + failures.line_of(error) - 1, 1)
        raise
    except Exception as error:  # whatever a template can raise
        failures.refuse(error, scope, name, first_line, 1)


def _size(value: Any) -> int:
    """How many parts a plain value has."""
    if isinstance(value, dict | list):
        return len(value) + sum(map(_size, value.values() if isinstance(value, dict) else value))
    return 0


def _has_expression(value: Any) -> bool:
    if isinstance(value, str):
        return is_expression(value)
    if isinstance(value, dict):
        return any(map(_has_expression, value.values()))
    return isinstance(value, list) and any(map(_has_expression, value))
