"""The registry: which back end takes a registration, secrets bound on the way in, tokens put back on the way out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, Final, TypeVar

import structlog
import tenacity

from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.log import frames
from reconciler.model import Actual, Check, Registrar, Registration, State
from reconciler.reasons import Reason
from reconciler.registrations import kinds
from reconciler.registrations.failures import unreachable
from reconciler.registrations.proofs import PROOFS, Proofs
from reconciler.registrations.protocol import (
    DIFFERS,
    Backend,
    Connection,
    Identifies,
    Observed,
    Overlaps,
    is_identifier,
)
from reconciler.secret import Secret

log = structlog.get_logger()

Answer = TypeVar("Answer")

PATIENCE: Final = 60.0  # seconds: the load balancer may need a moment to notice a service that just started


class Registry:
    """Where databases, users and endpoints are kept. Safe to call from several threads; connections are kept and shared.

    `bind` replaces secret tokens in a text by their values. `patience` is how many seconds `converge` and `withdraw` try
    again while a registrar cannot be reached. `former`: the registrars as they were before a change that they may not know of yet; `later`: as
    they are to be by one that this host has not come to, and another host may have carried to them. One that denies the credentials is entered with
    those; they are closed with this one. `authorities` (PEM) are believed beside the usual ones. Make one per desired state, and close it.
    """

    def __init__(
        self,
        registrars: Sequence[Registrar],
        bind: Callable[[str], str],
        *,
        patience: float = PATIENCE,
        proofs: Proofs = PROOFS,
        former: "Registry | None" = None,
        later: "Registry | None" = None,
        authorities: str = "",
    ) -> None:
        self._registrars = {registrar.kind: registrar for registrar in registrars}
        self._bind, self._patience, self._proofs = bind, patience, proofs
        self._former, self._later, self._other = former, later, former or later
        self.authorities = authorities
        self._entered: set[str] = set()  # kinds that let us in with the credentials that are to be
        self._known: set[str] = set()  # kinds that let a new client in with them: what counted before does no more
        self._backends: dict[str, Backend] = {}
        self._secrets: set[Secret] = set()
        self._lock = Lock()

    def close(self) -> None:
        """Let go of connections. The registry may be used again."""
        with self._lock:
            backends, self._backends = self._backends, {}
        for backend in backends.values():
            backend.close()
        if self._other is not None:
            self._other.close()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- observe -----------------------------------------------------------------------------------------------------

    def observe(
        self, registrations: Iterable[Registration], actual: Actual
    ) -> tuple[dict[str, Observed], dict[str, str]]:
        """How the registrations are now, and what could not be told.

        The first maps Registration.id to fields as observed (None: it does not exist), for every kind whose registrar
        answers. A field that means what is desired has the desired value itself, a token where desired state has one. The
        second maps `registrar:KIND` to why that kind is missing from the first. Raises nothing of the hierarchy.
        """
        return self._asked(registrations, actual, self._observe_kind)

    def identify(
        self, registrations: Iterable[Registration], actual: Actual
    ) -> tuple[dict[str, str | None], dict[str, str]]:
        """The identifiers that registrars gave them, None for what does not exist; and what could not be told, as `observe` says it."""
        return self._asked(registrations, actual, self._identify_kind)

    def _asked(
        self,
        registrations: Iterable[Registration],
        actual: Actual,
        ask: Callable[[str, Sequence[Registration]], dict[str, Answer]],
    ) -> tuple[dict[str, Answer], dict[str, str]]:
        """What each kind answers, all asked at the same time."""
        kinds: dict[str, list[Registration]] = {}
        for registration in registrations:
            kinds.setdefault(registration.kind, []).append(registration)
        answers: dict[str, Answer] = {}
        unknown: dict[str, str] = {}

        def look(kind: str) -> dict[str, Answer]:
            if why := self._down(kind, actual):
                raise Transient(why, reason=Reason.RegistrarUnreachable)
            with self._understood(kind):
                return ask(kind, kinds[kind])

        if not kinds:
            return answers, unknown
        with ThreadPoolExecutor(len(kinds), "observe-registrations") as pool:
            for kind, future in [(kind, pool.submit(look, kind)) for kind in kinds]:
                try:
                    answers |= future.result()
                except ReconcilerError as error:
                    unknown[f"registrar:{kind}"] = str(error)
        return answers, unknown

    def _down(self, kind: str, actual: Actual) -> str:
        """Why the registrar need not be asked: a container of this host that it needs does not run."""
        registrar = self._registrars.get(kind)
        for name in registrar.needs if registrar else ():
            running = actual.containers.get(name)
            if running is not None and running.state is not State.RUNNING:
                return f"{kind} cannot be asked: the container {name} is {running.state.value}"
        return ""

    def _observe_kind(self, kind: str, registrations: Sequence[Registration]) -> dict[str, Observed]:
        bound = [self._bound(registration) for registration in registrations]
        found = self._through(kind, lambda backend: backend.observe(bound))
        observed = {
            registration.id: _unbound(registration, wanted, found[registration.id])
            for registration, wanted in zip(registrations, bound, strict=True)
        }
        if not all(_is_plain(value) for fields in observed.values() if fields for value in fields.values()):
            raise TypeError("a field is no text, number or list of texts")
        return observed

    def _identify_kind(self, kind: str, registrations: Sequence[Registration]) -> dict[str, str | None]:
        def identify(backend: Backend) -> Mapping[str, str | None]:
            if not isinstance(backend, Identifies):
                raise TypeError("it gives no identifiers")
            return backend.identify(registrations)

        found = dict(self._through(kind, identify))
        if not all(value is None or is_identifier(value) for value in found.values()):
            raise TypeError("an identifier is a word")
        return found

    @contextmanager
    def _understood(self, kind: str, backend: Backend | None = None) -> Iterator[None]:
        """Whatever a registrar answers is its own matter: what makes no sense to us must not end the pass for all others."""
        try:
            yield
        except ReconcilerError:
            raise
        except Exception as error:
            log.error("registrar.odd", kind=kind, error=type(error).__name__, frames=frames(error))
            why = f"it answers with what makes no sense ({type(error).__name__}; the log says where)"
            raise unreachable((backend or self._own(kind)).target, why) from None

    def log_in(self, check: Check) -> None:
        """Be let in as a new client with what `check` says; as this program itself (no `client`) also with what counts later, and with what
        counted before as long as the registrar knew nothing else. Raises as `converge` does, without trying again."""
        kind = check.login
        try:
            self._enter(kind, check.connection)
        except Terminal as error:
            others = [self._later, None if kind in self._known else self._former]
            if error.reason is not Reason.RegistrarDenied or check.client:
                raise
            if not any(other and other._lets_in(kind, self._as_of(other, check)) for other in others):
                raise
        else:
            if not check.client:  # what a service is let in with says nothing of this program's own
                self._known.add(kind)

    def _as_of(self, other: "Registry", check: Check) -> Mapping[str, Any]:
        """The connection of a check, as the user whom `other` has in the place of this one's: a changed password may have another name with it."""
        own, others = (
            one._registrars[check.login].connection if check.login in one._registrars else {} for one in (self, other)
        )
        name, asked = "username", check.connection
        same = name in others and asked.get(name) == own.get(name)
        return {**asked, name: others[name]} if same else asked

    def _lets_in(self, kind: str, connection: Mapping[str, Any]) -> bool:
        """Raises as `log_in` does, but for a denial."""
        try:
            self._enter(kind, connection)
        except Terminal as error:
            if error.reason is not Reason.RegistrarDenied:
                raise
            return False
        return True

    def _enter(self, kind: str, connection: Mapping[str, Any]) -> None:
        backend = self._made(kind, self._bound_value(dict(connection)))
        try:
            with self._understood(kind, backend):
                backend.log_in()
        finally:
            backend.close()

    def credentials(self, check: Check) -> tuple[str, str]:
        """Name and password in the connection of `check`."""
        values = Connection(self._bound_value(dict(check.connection)))
        return values.user, values.password

    # --- converge and withdraw ---------------------------------------------------------------------------------------

    def converge(self, registration: Registration, *, overlap: bool = False) -> None:
        """Make it as desired by the smallest change; nothing when it is. `overlap`: others have the former password still, which counts on
        until `end_former` where the registrar can have two.

        Raises Transient or Terminal with reason RegistrarUnreachable, RegistrarDenied or RegistrarRefused.
        """
        wanted = self._bound(registration)

        def change(backend: Backend) -> None:
            if overlap and isinstance(backend, Overlaps):
                backend.overlap(wanted)
            else:
                backend.converge(wanted)

        self._persist(registration.kind, change)

    def is_there(self, registration: Registration) -> bool:
        """Whether it exists, as it is to be or otherwise. Raises as `converge` does."""
        wanted, found = self._bound(registration), list[bool]()

        def ask(backend: Backend) -> None:
            found.append(backend.observe([wanted])[registration.id] is not None)

        self._persist(registration.kind, ask)
        return found[-1]

    def end_former(self, registration: Registration) -> None:
        """Let a user in with nothing but the password that it is to have. Raises as `converge` does."""
        wanted = self._bound(registration)

        def end(backend: Backend) -> None:
            if isinstance(backend, Overlaps):
                backend.end_former(wanted)

        self._persist(registration.kind, end)

    def withdraw(self, registration: Registration) -> None:
        """Remove it; nothing when it is gone. Only kind, type and key count. Raises as `converge` does, and Terminal with
        reason HoldsData for databases and virtual hosts."""
        self._persist(registration.kind, lambda backend: backend.withdraw(registration))

    def _persist(self, kind: str, action: Callable[[Backend], None]) -> None:
        def attempt() -> None:
            with self._understood(kind):
                self._through(kind, action)

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(self._patience),
            wait=tenacity.wait_exponential(multiplier=0.3, max=5.0) + tenacity.wait_random(0, 0.5),
            retry=tenacity.retry_if_exception(_unreachable),
            reraise=True,
        )
        retrying(attempt)

    # --- secrets -----------------------------------------------------------------------------------------------------

    def _through(self, kind: str, action: Callable[[Backend], Answer]) -> Answer:
        """What `action` gives, once more where the credentials that were let in until now are denied."""
        try:
            return action(self._backend(kind))
        except Terminal as error:
            if error.reason is not Reason.RegistrarDenied or kind not in self._entered:
                raise
            self._entered.discard(kind)
            return action(self._backend(kind))

    def _backend(self, kind: str) -> Backend:
        backend = self._own(kind)
        if self._other is None or kind in self._entered or kind not in self._other._registrars:
            return backend
        try:
            backend.log_in()
        except Terminal as error:
            if error.reason is not Reason.RegistrarDenied:
                raise
            return self._other._own(kind)
        self._entered.add(kind)
        return backend

    def _own(self, kind: str) -> Backend:
        with self._lock:
            if kind not in self._backends:
                registrar = self._registrars.get(kind)
                if registrar is None:
                    raise _not_taken(kind)
                self._backends[kind] = self._made(kind, self._bound_value(dict(registrar.connection)))
            return self._backends[kind]

    def _made(self, kind: str, values: Mapping[str, Any]) -> Backend:
        """A back end of its own, with these values bound."""
        found = kinds.of(kind)
        if found is None:
            raise _not_taken(kind)
        return found.backend(Connection({"authorities": self.authorities, **values}), self._proofs)

    def _bound(self, registration: Registration) -> Registration:
        return replace(registration, fields=self._bound_value(dict(registration.fields)))

    def _bound_value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: self._bound_value(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._bound_value(item) for item in value]
        if not isinstance(value, str):
            return value
        text = self._bind(value)
        if text != value:
            self._secrets.add(Secret(text))  # as long as it lives, it is taken out of what the registrar says
        return text


def _not_taken(kind: str) -> Terminal:
    return Terminal(
        f"no service of this site takes {kind} registrations (one has to say `provides: {kind}`)",
        reason=Reason.RegistrarRefused,
    )


def _unreachable(error: BaseException) -> bool:
    return isinstance(error, Transient) and error.reason == Reason.RegistrarUnreachable


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, (str, int, float))


def _unbound(registration: Registration, bound: Registration, found: Observed) -> Observed:
    """What was found, in the words of desired state; a value with a secret in it is never shown."""
    if found is None:
        return None
    result = dict(found)
    for name, wanted in registration.fields.items():
        if name in result and result[name] == bound.fields[name]:
            result[name] = wanted
        elif name in result and bound.fields[name] != wanted and not str(result[name]).startswith(DIFFERS):
            result[name] = DIFFERS
    return result
