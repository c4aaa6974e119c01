"""The three reasons for which a registration fails."""

import re

from reconciler.errors import ReconcilerError, Terminal, Transient
from reconciler.foreign import line
from reconciler.model import Registration
from reconciler.reasons import Reason

_SAID = re.compile(r"certificate verify failed: ([^()]{1,200}) \(_ssl")


def untrusted(text: str) -> str:
    """What to say where TLS does not believe the other side. `text`: the error, with why not."""
    why = f": {line(found[1])}" if (found := _SAID.search(text)) else ""
    return (
        f"its certificate is not trusted{why} (the site's own authorities are those in config/certificates/ca; the address that is asked has "
        "to be one that the certificate is for)"
    )


def unreachable(target: str, why: str, retry_after: float | None = None) -> Transient:
    """It does not answer, or not now."""
    return Transient(
        f"{target} cannot be used: {line(why)}", reason=Reason.RegistrarUnreachable, retry_after=retry_after
    )


def denied(target: str, user: str, why: str = "") -> Terminal:
    """It does not let us in, or not do this."""
    more = f": {line(why)}" if why else ""
    return Terminal(
        f"{target} denies access to {user!r}{more} (check the password and the rights of that user)",
        reason=Reason.RegistrarDenied,
    )


def refused(target: str, why: str) -> Terminal:
    """It understood and said no."""
    return Terminal(f"{target} refuses: {line(why)}", reason=Reason.RegistrarRefused)


def not_yet(target: str, why: str) -> Transient:
    """Something that this needs is not there, or changed meanwhile: the next cycle looks again."""
    return Transient(f"{target}: {line(why)}", reason=Reason.RegistrarRefused)


def holds_data(registration: Registration) -> Terminal:
    """We remove no data."""
    return Terminal(
        f"{registration.type} {registration.key!r} holds data and is not removed (remove it by hand if that is meant)",
        reason=Reason.HoldsData,
    )


def unknown_type(registration: Registration) -> Terminal:
    return Terminal(
        f"{registration.kind} has no registrations of type {registration.type!r} ({registration.key!r})",
        reason=Reason.RegistrarRefused,
    )


def of_status(target: str, user: str, status: int, why: str, retry_after: float | None = None) -> ReconcilerError:
    """The error that an HTTP status says."""
    text = f"HTTP {status}" + (f", {why}" if why else "")
    if status in (401, 403):
        return denied(target, user, text)
    if status in (408, 425, 429) or status >= 500:
        return unreachable(target, text, retry_after)
    if status == 409:
        return not_yet(target, text)
    return refused(target, text)
