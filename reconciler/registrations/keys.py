"""Who a registration is about: from its fields, which say it plainly, else from its key.

What is withdrawn may have a key only. A key is then cut at the side on which separators are least likely to be part of a name. Each
kind has functions for its own types (`keys.py` in its folder); all raise Terminal with reason RegistrarRefused for a key that
cannot be cut.
"""

from reconciler.errors import Terminal
from reconciler.model import Registration
from reconciler.reasons import Reason


def name(registration: Registration) -> str:
    """Of what has a name and nothing else."""
    return str(registration.fields.get("name") or registration.key)


def said(registration: Registration, *fields: str) -> tuple[str, ...]:
    """These fields as text; empty unless all of them are there."""
    if not all(registration.fields.get(field) for field in fields):
        return ()
    return tuple(str(registration.fields[field]) for field in fields)


def pair(registration: Registration, first: str, second: str, separator: str, *, last: bool = False) -> tuple[str, str]:
    """The two fields of these names, or the two parts of the key."""
    if found := said(registration, first, second):
        return found[0], found[1]
    return cut(registration, registration.key, separator, last=last)


def cut(registration: Registration, text: str, separator: str, *, last: bool = False) -> tuple[str, str]:
    """The two parts of a text out of the key: it is cut at the first separator, or at the `last`."""
    before, found, after = text.rpartition(separator) if last else text.partition(separator)
    if not found:
        raise malformed(registration)
    return before, after


def malformed(registration: Registration) -> Terminal:
    """For a key that cannot be cut."""
    return Terminal(
        f"{registration.id} does not say what it is about: its key lacks a part", reason=Reason.RegistrarRefused
    )
