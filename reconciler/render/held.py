"""What stands in a host's files, registrations and connections for something else: secrets and identifiers. Which are in use, which are
missing or where they must not be, and how large texts become with them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.document.words import suggest
from reconciler.errors import Problem
from reconciler.model import Check, File, Registrar, Registration
from reconciler.registrations import kinds
from reconciler.render import register, tokens
from reconciler.render.evaluate import World
from reconciler.render.faults import Refused
from reconciler.render.meter import Exhausted
from reconciler.site import SecretName, passwords

_NAMED: Final = 4  # secrets that are missing for the same reason, each with who needs it
_MAX_BINARY: Final = 16 << 20  # bytes; what a child answers has 32 MiB, where they are base64


@dataclass(frozen=True, slots=True)
class Held:
    """What was made for one host. What is wrong goes to `problems`."""

    world: World
    host: str
    files: Sequence[File]
    registrations: Sequence[Registration]
    registrars: Sequence[Registrar]
    problems: list[Problem]

    def check(self) -> None:
        """Report what must not be where it is, and what is too large."""
        self._identifiers()
        self._weighed()
        # One that is missing has no size, and is a problem of its own (`secrets`): what is made with it is delivered to nobody.
        missing = dict.fromkeys(self._used(), 0)
        self._bound(missing | {name: secret.size for name, secret in self.world.site.secrets(self.host).items()})

    def secrets(self) -> Mapping[str, str]:
        """Name → digest of the ciphertext for every secret in use; the ones that are missing are problems."""
        used = self._used()
        known = self.world.site.secrets(self.host)
        missing: dict[str, str] = {}
        self._empty(used, known)
        for name in sorted(used.keys() - known.keys()):
            # A pair is generated as a whole: both of its halves, known by dotted names, are one thing that is missing.
            whole = name.partition(".")[0]
            missing.setdefault(whole if whole in self.world.passwords and whole not in known else name, used[name])
        hints: dict[str, list[str]] = {}
        for name in missing:
            hints.setdefault(self._filled(name, known), []).append(name)
        for hint, names in hints.items():
            first, *others = (f"the secret {name!r} is missing; {missing[name]} needs it" for name in names)
            if len(names) > _NAMED:
                shown = ", ".join(names[:_NAMED])
                # Other hosts lack others for the same reason: the hint alone tells them apart, so that one of them is shown.
                first, others = "many secrets are missing", []
                hint = f"{hint}; {self.host} needs {len(names)} of them: {shown} and {len(names) - _NAMED} more"
            self.problems.extend(Problem("passwords.yml", 0, 0, message, hint) for message in (first, *others))
        if used:
            self._require_opened()
        return {name: known[name].digest for name in sorted(used) if name in known}

    def _empty(self, used: Mapping[str, str], known: Mapping[str, SecretName]) -> None:
        """Report secrets that have a name and no value: whoever is let in with an empty password is anybody."""
        for name in sorted(used.keys() & known.keys()):
            if not known[name].size:
                message, hint = f"the secret {name!r} is empty; {used[name]} needs it", self._filled(name, known)
                self.problems.append(known[name].place.problem(message, hint))

    def _used(self) -> dict[str, str]:
        """Every secret in use → who uses it."""
        used: dict[str, str] = {}
        for file in self.files:
            for name in file.secrets:
                used.setdefault(name, file.sources[0] if file.sources else file.path)
        for registration in self.registrations:
            for name in _secrets(registration.fields):
                used.setdefault(name, f"the registration {registration.id}")
        for registrar in self.registrars:
            for name in _secrets(registrar.connection):
                used.setdefault(name, f"the connection to {registrar.kind}")
        return used

    def _identifiers(self) -> None:
        """Report identifiers of what no service registers, and those that are somewhere else than in a file."""
        known = {item.id for item in self.registrations if register.has_identifier(item)}
        for file in self.files:
            place = file.sources[0] if file.sources else file.path
            for name in sorted(tokens.identifiers(file.content) - known):
                message = f"{file.path} has the identifier of {name}, and no service of this site registers that"
                kind = kinds.of(name.partition(":")[0])
                if name in {item.id for item in self.registrations} or (kind and name.split(":")[1] not in kind.types):
                    message = f"{file.path} has the identifier of {name}, and no {name.split(':')[1]} of {name.split(':')[0]} has one"
                hint = suggest(name, known) or "register it below `registrations` of a service, as plans show it"
                self.problems.append(Problem(place, 0, 0, message, hint))
        fields = [(f"the registration {item.id}", item.fields) for item in self.registrations]
        for what, found in [
            *fields,
            *((f"the connection to {item.kind}", item.connection) for item in self.registrars),
        ]:
            if held := sorted({name for text in _texts(found) for name in tokens.identifiers(text)}):
                message = f"{what} cannot use {', '.join(held)}: identifiers are for files of containers and jobs"
                self.problems.append(Problem("", 0, 0, message))

    def _filled(self, name: str, known: Iterable[str]) -> str:
        """How a secret gets its value; one that no service declares may be a slip of the pen for one of `known`."""
        declared = self.world.passwords.get(name)
        if declared is None and (near := suggest(name, known)):
            return near
        if declared is not None and declared.get("kind") != "blank":
            return "run `reconciler secrets generate`"
        return f"nothing generates it: write `{name}: …` with `sops edit passwords.yml`"

    def _require_opened(self) -> None:
        """Report password files that this host has to open and, by the key that the inventory declares for it, cannot."""
        key = self.world.site.hosts[self.host].report_key
        sealed = self.world.site.sealed_for(name for file in self.files for name in file.secrets)
        for name, recipients in {**self.world.site.recipients(self.host), **sealed}.items():
            if key and not passwords.opens(recipients, key):
                message = (
                    f"{self.host} cannot open it: it is encrypted for other ssh keys than the report_key of that host"
                )
                hint = f"run `reconciler secrets recipients add {self.host}` where a key that opens it is at hand"
                self.problems.append(Problem(name, 0, 0, message, hint))

    def _weighed(self) -> None:
        """Report more bytes that are no text than what a host gets at once may have: they go through memory and into last-good.json."""
        binary = {file.path: len(file.data) for file in self.files if file.encoding}
        if (size := sum(binary.values())) > _MAX_BINARY:
            largest = max(binary, key=lambda path: binary[path])
            place = next(file.sources[0] for file in self.files if file.path == largest)
            message = (
                f"the files of {self.host} that are no text have {size / (1 << 20):.1f} MiB, with a copy for every container and job, "
                f"and {_MAX_BINARY >> 20} MiB are the limit"
            )
            self.problems.append(Problem(place, 0, 0, message, "bring the large ones to the host in another way"))

    def _bound(self, sizes: Mapping[str, int]) -> None:
        """Report texts that would be too large with their secrets; what they would be counts as made."""
        where = [(file.path, file.content) for file in self.files if "<<" in file.content]
        where += [(f"the registration {item.id}", text) for item in self.registrations for text in _texts(item.fields)]
        where += [
            (f"the connection to {item.kind}", text) for item in self.registrars for text in _texts(item.connection)
        ]
        sources = {file.path: file.sources[0] for file in self.files if file.sources}
        for name, text in where:
            place = sources.get(name, name)
            try:
                size = tokens.bound_size(text, sizes)
            except Refused as error:
                self.problems.append(Problem(place, 0, 0, f"{name}: {error}"))
                continue
            except Exhausted as error:
                error.at(place, 1, 1)
                raise
            if size > tokens.MAX_BOUND:
                message = f"{name} would have {size >> 20} MiB with its secrets, and the limit is {tokens.MAX_BOUND >> 20} MiB"
                self.problems.append(Problem(place, 0, 0, message, "use them fewer times"))
            self.world.meter.spend(1, size)

    def asks(self, checks: Iterable[Check], secrets: Mapping[str, str]) -> tuple[Check, ...]:
        """The checks without logins with a password for which the host has no other use: none comes to a host for the sake of a check. `secrets` is
        what it uses."""
        return tuple(one for one in checks if not one.login or _secrets(dict(one.connection)) <= secrets.keys())

    def said(self, secrets: Mapping[str, str], what: str) -> Mapping[str, str]:
        """What their definitions say under `what`, of those that say it."""
        defined = self.world.passwords
        texts = {name: defined[name].get(what) for name in secrets if name in defined}
        return {name: " ".join(str(text).split()) for name, text in texts.items() if text}


def _secrets(value: Any) -> set[str]:
    return {name for text in _texts(value) for name in tokens.secrets(text)}


def _texts(value: Any) -> Iterator[str]:
    """Every text in data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
