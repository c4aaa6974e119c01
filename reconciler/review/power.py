"""What a change gives away: power over a host, a part in what others are let in with, images from elsewhere. Pure.

What the catalogue itself says is the program's own, and known: a service that is switched on has the power that its service.yml asks for.
What a site adds to it counts, and everything of a service of the site's own.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.catalogue import Catalogue, Service
from reconciler.catalogue.types import COMMON
from reconciler.model import Action, Check, Container, Desired, Mount, Plan, Precheck, Registration, Verb
from reconciler.options import powers
from reconciler.options.powers import Power
from reconciler.registrations import kinds
from reconciler.registrations.protocol import CONFIDENTIAL
from reconciler.render.collect import SECTIONS
from reconciler.review.types import Group

_MADE: Final = frozenset({Verb.CREATE, Verb.REPLACE, Verb.UPDATE, Verb.RUN})
_MOUNT: Final = re.compile(r"(?<![\w./@-])([\w./@-]+):(/[\w./-]*)(?::([a-zA-Z,]+))?")
_ROOT: Final = "/@config"  # stands for the config root in what the catalogue says
_ROOT_SAID: Final = re.compile(r"\{\{ *node_config(?:_directory)? *\}\}")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_PART: Final = re.compile(r"~ *'(_\w+)'")  # of a name that is put together
_SEVERAL: Final = 3  # services
_HUB: Final = "docker.io"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a site had already, whichever of its hosts: where its images are from, which service's files name which secret, and who has
    which power: (container, words), (check, container), (registration, "")."""

    places: tuple[str, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    powers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """A secret that a service's file names on a host. `another`: another service says that it is its own."""

    service: str
    secret: str
    host: str
    another: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A check that runs something in a container of another service, or one before an upgrade that sees paths of the host."""

    check: str
    container: str
    words: str
    host: str


def ground(before: Desired, *, joins: bool) -> Ground:
    """What one host had. Its powers are asked for only where another host `joins`."""
    parts, holds = _parts(before), _Holds(before)
    had = (
        *((part.name, one.words.replace(_ROOT, before.config_root, 1)) for part in parts for one in holds.of(part)),
        *((check.name, check.container) for check in (*before.checks, *before.readiness)),
        *((check.name, check.container) for check in before.prechecks),
        *((one.id, "") for one in before.registrations),
    ) if joins else ()  # fmt: skip
    return Ground(
        tuple({place(part.image) for part in parts}),
        tuple({(file.service, _base(name)) for file in before.files for name in file.secrets}),
        had,
    )


def together(found: Iterable[Ground]) -> Ground:
    """That of all hosts."""
    every = list(found)
    return Ground(
        tuple(sorted({one for ground in every for one in ground.places})),
        tuple(sorted({one for ground in every for one in ground.secrets})),
        tuple(sorted({one for ground in every for one in ground.powers})),
    )


class Known:
    """What a catalogue says of its own services. Built once for a site; a service that the site brings is not known."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._texts: dict[tuple[str, str], str] = {}
        self._mounts: dict[tuple[str, str], frozenset[Power]] = {}
        self._words: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self._owners: dict[str, set[str]] = {}
        for password in catalogue.password_definitions():
            self._owners.setdefault(password.name, set()).add(password.service)

    def says(self, service: str, name: str, power: Power) -> bool:
        """Whether the catalogue itself gives a container or job of one of its services this power."""
        if self._shipped(service) is None:
            return False
        text = self._text(service, name)
        if power.option == "volumes":
            if (service, name) not in self._mounts:
                found = (Mount(source, target, mode or "rw") for source, target, mode in _MOUNT.findall(text))
                self._mounts[service, name] = frozenset(_mounted(Container("", "", mounts=tuple(found))))
            return power in self._mounts[service, name]
        word = power.what or power.option
        return re.search(rf"(?<![\w./-])(?:CAP_)?{re.escape(word)}(?![\w./-])", text, re.IGNORECASE) is not None

    def names(self, service: str, secret: str) -> bool:
        """Whether one of the catalogue's services uses a secret by what the catalogue says, if only in two parts: `service ~ '_password'`."""
        if self._shipped(service) is None:
            return False
        if service not in self._words:
            text = self._text(service, "")
            self._words[service] = frozenset(_WORD.findall(text)), frozenset(_PART.findall(text))
        words, ends = self._words[service]
        return secret in words or any(secret.endswith(end) and secret.removesuffix(end) in words for end in ends)

    def is_another_s(self, service: str, secret: str) -> bool:
        """Whether another service says of a secret that it is its own."""
        return bool(self._owners.get(secret, set()) - {service})

    def registers(self, one: Registration) -> bool:
        """Whether the catalogue itself asks for a registration: not out of a list of the site's."""
        shipped = self._shipped(one.service)
        return shipped is not None and '"each"' not in json.dumps(shipped.section("registrations").get(one.kind))

    def is_shipped(self, service: str) -> bool:
        return self._shipped(service) is not None

    def _shipped(self, service: str) -> Service | None:
        found = self._catalogue.services.get(service)
        return found if found and found.origin == "catalogue" else None

    def _text(self, service: str, name: str) -> str:
        """What the catalogue says of a container or job, "" for the whole service, with the defaults of every variable that it names, as one text."""
        if (service, name) not in self._texts:
            found = self._catalogue.services[service]
            text = _written(_declared(found, name)) if name else self._whole(found)
            self._texts[service, name] = _ROOT_SAID.sub(_ROOT, text + self._defaults(text))
        return self._texts[service, name]

    def _whole(self, service: Service) -> str:
        """service.yml, templates, those of `common` that it names, and what it gathers from other services."""
        text = _written(service.document.data) + "".join(service.templates.values())
        common = self._shipped(COMMON)
        open_ = dict(common.templates) if common else {}
        while used := [name for name in open_ if name in text]:
            text += "".join(open_.pop(name) for name in used)
        gathered = {**SECTIONS, **dict.fromkeys(self._catalogue.collections(), "contributes")}
        for name, section in gathered.items():
            if name in text:
                others = (one for one in self._catalogue.services.values() if one.origin == "catalogue")
                text += "".join(_written(one.section(section)) for one in others)
        return text

    def _defaults(self, text: str) -> str:
        added, open_ = {}, [text]
        while open_:
            for word in _WORD.findall(open_.pop()):
                variable = self._catalogue.variables.get(word)
                if variable and word not in added and self._shipped(variable.service):
                    added[word] = _written(variable.default)
                    open_.append(added[word])
        return "".join(added.values())


def marked(plan: Plan, before: Desired | None, after: Desired, known: Known) -> Plan:
    """The plan of a host with what each action gains, and the risk `power` where more than the catalogue says is gained."""
    if not any(action.verb in (*_MADE, Verb.REGISTER) for action in plan.actions):
        return plan
    old = {part.name: part for part in _parts(before)} if before else {}
    parts = {part.name: part for part in _parts(after)}
    asked = {one.id: one for one in after.registrations}
    had, has = _Holds(before or after), _Holds(after)
    usual: frozenset[Power] | None = None
    actions = []
    for action in plan.actions:
        if action.verb in _MADE and (part := parts.get(action.target)):
            earlier = had.of(old[part.name]) if part.name in old else powers.USUAL
            found = powers.more(earlier, has.of(part))
            words = tuple(power.words.replace(_ROOT, after.config_root, 1) for power in found)
            action = replace(action, gains=words)
            if more := [power for power in found if not known.says(part.service, part.name, power)]:
                usual = _usual(old.values(), had, known) if usual is None else usual
                action = action if usual.issuperset(more) else _risky(action)
        elif action.verb is Verb.REGISTER and action.target in asked and _lets(asked[action.target], before, known):
            action = _risky(action)
        actions.append(action)
    return replace(plan, actions=tuple(actions))


def _usual(parts: Collection[Container], had: "_Holds", known: Known) -> frozenset[Power]:
    """What the site itself gave most containers of a host, of several services, as `default_extra_volumes` does: one more has nothing new."""
    users: dict[Power, list[str]] = {}
    for part in parts:
        for power in had.of(part):
            if not known.says(part.service, part.name, power):
                users.setdefault(power, []).append(part.service)
    return frozenset(
        power for power, services in users.items() if 2 * len(services) > len(parts) and len({*services}) >= _SEVERAL
    )


def _risky(action: Action) -> Action:
    return replace(action, risks=(*action.risks, "power"))


def _lets(one: Registration, before: Desired | None, known: Known) -> bool:
    """Whether a registration lets somebody in, or gives them rights, as none did before."""
    kind = kinds.of(one.kind)
    if not (kind and one.type in kind.types and kind.types[one.type].grants) or known.registers(one):
        return False
    if before is None or one.id not in {*before.registered_elsewhere, *(old.id for old in before.registrations)}:
        return True
    return any(old.id == one.id and _rights(old) != _rights(one) for old in before.registrations)


def named(after: Desired, known: Known, existing: Collection[str]) -> Iterator[Named]:
    """The secrets that files of a host name, but for those that are new to the site, and that the catalogue uses there itself."""
    pairs = {(file.service, _base(name)): None for file in after.files for name in file.secrets}
    for service, secret in pairs:
        if secret in existing and not known.names(service, secret):
            yield Named(service, secret, after.host, known.is_another_s(service, secret))


def commands(before: Desired | None, after: Desired, known: Known) -> Iterator[Command]:
    """Checks of the site's own that do what they did not: run something in a container of another service, or see the host's paths."""
    owners = {part.name: part.service for part in after.containers}
    old = {_runs(check) for check in (*before.checks, *before.readiness)} if before else set()
    for check in (*after.checks, *after.readiness):
        foreign = check.container and owners.get(check.container, check.service) != check.service
        if foreign and not known.is_shipped(check.service) and _runs(check) not in old:
            said = " ".join((*check.command, check.script)).strip()
            yield Command(check.name, check.container, f"the check {check.name} of another service: {said}", after.host)
    earlier = {check.name: check for check in before.prechecks} if before else {}
    for asked in after.prechecks:
        if asked.mounts and not known.is_shipped(asked.service):
            had = _seen(earlier[asked.name]) if asked.name in earlier else ()
            if gains := powers.more(had, _seen(asked)):
                words = ", ".join(power.words for power in gains)
                yield Command(
                    asked.name, asked.container, f"the check {asked.name} before an upgrade: {words}", after.host
                )


def _seen(asked: Precheck) -> tuple[Power, ...]:
    return powers.of(Container("", "", network_mode="none", mounts=asked.mounts))


class _Holds:
    """What power containers of a host hold: over the host, and over what is another service's there."""

    def __init__(self, desired: Desired) -> None:
        self._root = desired.config_root.rstrip("/") + "/"
        self._owners: dict[str, set[str]] = {}  # folder or file at the top of the config root → whose files it has
        for file in desired.files:
            self._owners.setdefault(file.path.partition("/")[0], set()).add(file.container)
        self._users: dict[str, set[str]] = {}  # volume → services that have it
        for part in _parts(desired):
            for mount in part.mounts:
                self._users.setdefault(mount.source, set()).add(part.service)

    def of(self, part: Container) -> tuple[Power, ...]:
        found = [mount for mount in part.mounts if not self._is_own(part, mount)]
        rooted = [
            replace(mount, source=f"{_ROOT}/{mount.source.removeprefix(self._root)}")
            if mount.source.startswith(self._root)
            else mount
            for mount in found
        ]
        kept = replace(part, mounts=tuple(rooted))
        # One that several services have is there to be shared, as that of the logs is.
        volumes = tuple(
            Power("volumes", mount.source)
            for mount in found
            if not mount.source.startswith("/") and len(self._users[mount.source] - {part.service}) == 1
        )
        return (*powers.of(kept), *volumes)

    def _is_own(self, part: Container, mount: Mount) -> bool:
        """Whether it is the folder, or a file, that the program makes for this container alone."""
        if not mount.source.startswith(self._root):
            return False
        top = mount.source.removeprefix(self._root).strip("/").partition("/")[0]
        return self._owners.get(top) == {part.name}


def _mounted(part: Container) -> Iterator[Power]:
    """What its mounts alone can give, in the words of `_Holds`."""
    yield from powers.of(part)
    yield from (Power("volumes", mount.source) for mount in part.mounts if not mount.source.startswith("/"))


# --- of all hosts ----------------------------------------------------------------------------------------------------


def elsewhere(groups: Iterable[Group], had: Ground) -> dict[str, tuple[str, ...]]:
    """Images that are pulled from where none of the site's was from → hosts."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for action in group.plan.actions:
            if action.verb is Verb.PULL and place(action.target) not in had.places:
                found.setdefault(action.target, []).extend(group.hosts)
    return {image: tuple(dict.fromkeys(hosts)) for image, hosts in sorted(found.items())}


def learned(found: Iterable[Named], had: Ground) -> dict[str, tuple[str, ...]]:
    """ "service: secret" → hosts: what is another's and was named by no file of the service so far."""
    known, users = frozenset(had.secrets), dict[str, set[str]]()
    for service, secret in had.secrets:
        users.setdefault(secret, set()).add(service)
    result: dict[str, list[str]] = {}
    for one in found:
        others = users.get(one.secret, set()) - {one.service}
        if (one.service, one.secret) not in known and (one.another or others):
            result.setdefault(f"{one.service}: {one.secret}", []).append(one.host)
    return {text: tuple(hosts) for text, hosts in sorted(result.items())}


def ordered(found: Iterable[Command], had: Ground, joined: Sequence[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(container, what is run in it) → hosts. One that joins runs what the others do."""
    known, result = frozenset(had.powers), dict[tuple[str, str], list[str]]()
    for one in found:
        if not (one.host in joined and (one.check, one.container) in known):
            result.setdefault((one.container, one.words), []).append(one.host)
    return {key: tuple(hosts) for key, hosts in result.items()}


def of_joined(groups: Iterable[Group], had: Ground, joined: Sequence[str]) -> tuple[Group, ...]:
    """The groups, where what other hosts had already is no power that one gains by joining them: that it joins is a risk of its own."""
    known, new = frozenset(had.powers), frozenset(joined)
    return tuple(_calmed(group, known) if new.issuperset(group.hosts) else group for group in groups)


def _calmed(group: Group, known: frozenset[tuple[str, str]]) -> Group:
    actions = tuple(
        replace(action, risks=tuple(risk for risk in action.risks if risk != "power"))
        if all((action.target, words) in known for words in action.gains or ("",))
        else action
        for action in group.plan.actions
    )
    return replace(group, plan=replace(group.plan, actions=actions))


def place(image: str) -> str:
    """Registry and namespace of an image: all but the last part of its name."""
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    if not (slash and ({".", ":"} & {*first} or first == "localhost")):
        first, rest = _HUB, name
    return f"{first}/{rest.rpartition('/')[0] or ('library' if first == _HUB else '')}".rstrip("/")


def _parts(desired: Desired) -> list[Container]:
    """Containers, and those that jobs make, under their names."""
    made = (replace(job.container, name=job.name) for job in desired.jobs if not job.inside)
    return [*desired.containers, *made]


def _declared(service: Service, name: str) -> Any:
    """What service.yml says of a container or job; of one whose name is made, what it says of all."""
    containers, job = service.section("containers"), service.section("jobs").get(name)
    if isinstance(job, Mapping):
        return [job, containers.get(str(job.get("container")))]
    return containers.get(name) or containers


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _base(secret: str) -> str:
    """A part of a secret counts as all of it."""
    return secret.partition(".")[0]


def _rights(one: Registration) -> dict[str, Any]:
    return {name: value for name, value in one.fields.items() if name != CONFIDENTIAL}


def _runs(check: Check) -> tuple[Any, ...]:
    return check.container, check.command, check.script
