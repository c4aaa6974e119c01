"""What a registrar is to the rest of the program: a kind, which says what can be registered, and a back end, which does it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from reconciler.model import Registration

if TYPE_CHECKING:
    from reconciler.registrations.proofs import Proofs

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 15.0
DIFFERS: Final = "<differs>"  # stands for a secret that is not the desired one
CONFIDENTIAL: Final = "password"  # the one field that may hold a secret: no message, plan or report has it

MAX_IDENTIFIER: Final = 255  # characters
_IDENTIFIER: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_IDENTIFIER}}}")

Observed = Mapping[str, Any] | None
Item = tuple[str, str, dict[str, Any]]  # type, key, fields


class Section(Protocol):
    """A mapping of service.yml, its values evaluated (`render/fields.py`)."""

    def value(self, key: str, default: Any = None, *, secret: bool = False) -> Any: ...
    def text(self, key: str, default: str = "", *, secret: bool = False) -> str: ...
    def texts(self, key: str) -> tuple[str, ...]: ...
    def flag(self, key: str, default: bool = False) -> bool: ...
    def integer(self, key: str, default: int | None = 0) -> int | None: ...
    def mapping(self, key: str) -> dict[str, Any]: ...
    def each(self, key: str) -> Sequence["Section"]: ...
    def repeated(self) -> Sequence["Section"]: ...
    def problem(self, key: str | None, message: str, hint: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a registrar is, with secrets bound."""

    values: Mapping[str, Any]

    def text(self, *names: str, default: str = "") -> str:
        """The first of these values that is set, as text."""
        for name in names:
            value = self.values.get(name)
            if value not in (None, ""):
                return str(value)
        return default

    @property
    def user(self) -> str:
        return self.text("username", "user")

    @property
    def password(self) -> str:
        return self.text("password")

    @property
    def verify(self) -> bool | str:
        """As requests takes it: the CA file, or whether certificates are checked at all (`verify: false`)."""
        if str(self.values.get("verify", True)).lower() in ("false", "no", "0"):
            return False
        return self.text("ca_file") or True

    @property
    def authorities(self) -> str:
        """Certificates (PEM) that are believed beside those of `verify`; none where nothing is checked."""
        return self.text("authorities") if self.verify else ""


class Backend(Protocol):
    """A registrar. Registrations come with secrets bound. Every method may raise Transient or Terminal."""

    @property
    def target(self) -> str:
        """What a message calls it: kind and address."""

    def observe(self, registrations: Sequence[Registration]) -> dict[str, Observed]:
        """Registration.id → its fields as they are; the desired value itself where both mean the same."""

    def log_in(self) -> None:
        """Be let in anew with the connection's own credentials, as a new client would."""

    def converge(self, registration: Registration) -> None: ...
    def withdraw(self, registration: Registration) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class Identifies(Protocol):
    """A back end of a kind with types that are `identified`."""

    def identify(self, registrations: Sequence[Registration]) -> dict[str, str | None]:
        """Registration.id → the identifier; None: it does not exist. Secrets are not bound. Raises as a Backend does."""


@runtime_checkable
class Overlaps(Protocol):
    """A back end that lets a user in with a new password and with the former one, while those who have it become fewer.

    `observe` has `model.FORMER` for such a user: the seconds for which that has been so. Registrations come with secrets bound. Both raise as
    a Backend does.
    """

    def overlap(self, registration: Registration) -> None:
        """As `converge`; a password that is replaced counts on beside the new one."""

    def end_former(self, registration: Registration) -> None:
        """Let a user in with nothing but the password that it is to have."""


@dataclass(frozen=True, slots=True)
class Type:
    """One type of what a kind registers: the types that have to be there before it; whether it holds data, and stays; whether the registrar
    gives each an identifier that others know it by; whether it lets somebody in, or gives them rights; and, of a user that has one
    password at a time, what becomes of clients while hosts take another one into use one after the other."""

    after: tuple[str, ...] = ()
    holds_data: bool = False
    identified: bool = False
    grants: bool = False
    shuts_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of registrar, by the name that service.yml has for it. Without I/O: `backend` alone opens connections.

    `grammar` is the schema of its part of `registrations`. `read` makes registrations of that part, given the site's region.
    `early`: jobs and containers of a service count on what it registered. `backend` imports its client when it is called: most
    hosts register nothing, and their daemons stay small. `as_user` is the connection of a new client that is a registered user, given
    the administrator's and the fields of the registration.
    """

    name: str
    types: Mapping[str, Type]
    grammar: Mapping[str, Any]
    read: Callable[[Section, str], Iterator[Item]]
    backend: Callable[[Connection, "Proofs"], Backend]
    early: bool = False
    as_user: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]


def own_credentials(connection: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """For `Kind.as_user`: the same place, the user's name and password."""
    return {**connection, "username": fields["name"], CONFIDENTIAL: fields[CONFIDENTIAL]}


def is_identifier(value: object) -> bool:
    """Whether a registrar's answer can be an identifier: nothing that means something in any file."""
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def enabled(part: Section, section: str, key: str = "name") -> Iterator[tuple[Section, str]]:
    """The entries of a list that are not switched off, each with its name, which it has under `key`."""
    for entry in (one for said in part.each(section) for one in said.repeated()):
        if entry.flag("enabled", True):
            name = entry.text(key)
            if not name:
                entry.problem(None, f"an entry of {section} has no {key}")
                continue
            yield entry, name


def given(entry: Section, *keys: str) -> dict[str, Any]:
    """Those of the keys that are said, as text."""
    return {
        key: entry.text(key, secret=key == CONFIDENTIAL) for key in keys if entry.value(key, secret=True) is not None
    }
