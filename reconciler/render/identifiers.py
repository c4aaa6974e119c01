"""Ansible's filters that make identifiers out of something else: the same input gives the same result, on every machine. Pure."""

import re
import uuid
from random import Random
from typing import Any, Final

from reconciler.render import meter, tokens, values
from reconciler.render.faults import FilterError, Refused
from reconciler.render.operations import FILTERS, Anything, Items, Text, Value, Whole

_NAMESPACE: Final = uuid.UUID("361E6D51-FAEC-444A-9079-341386DA8E2E")  # Ansible's own
_PREFIX: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){0,4}")
_UNSEEDED: Final = (
    "needs seed=…: without one every rendering would give another result, and a site has to mean the same everywhere"
)


@FILTERS.add("password_hash", carries=True)
def _password_hash(value: Text, hashtype: Text = "sha512", salt: Anything = None, rounds: Whole = 12) -> str:
    """The hash of a password, which is made when the file is written: here the password is not known."""
    if hashtype not in ("bcrypt", "blowfish"):
        raise FilterError(f"makes bcrypt only, not {hashtype[:40]!r}: password_hash('bcrypt', salt=…)")
    if salt is None:
        raise Refused(
            "needs salt=…: without one every rendering would give another hash (a password of the kind bcrypt_salt)"
        )
    if rounds not in tokens.BCRYPT_ROUNDS:
        raise FilterError(f"takes 4 to 12 rounds, not {rounds}")
    salted = values.demand(salt)
    if not isinstance(salted, str) or "$" in salted:
        raise FilterError("a salt is a text of 22 letters, digits, . and /")
    return values.limited(tokens.wrap("bcrypt", f"{rounds}${salted}${value}"))


@FILTERS.add("to_uuid")
def _to_uuid(value: Text, namespace: Text = "") -> str:
    """A UUID (version 5) of a text, in Ansible's namespace or another."""
    meter.spend(10 + (len(value) >> 6))
    try:
        space = uuid.UUID(namespace) if namespace else _NAMESPACE
    except ValueError:
        raise FilterError(f"{namespace[:60]!r} is not a UUID") from None
    return str(uuid.uuid5(space, value))


@FILTERS.add("random_mac", "community.general.random_mac")
def _random_mac(value: Text, seed: Anything = None) -> str:
    """A MAC address that begins with `value`, as Ansible makes it of the same seed."""
    prefix = value.lower()
    if not _PREFIX.fullmatch(prefix):
        raise FilterError(f"{value[:60]!r} is not the beginning of a MAC address, such as 52:54:00")
    number = _seeded(seed).randint(68719476736, 1099511627775)
    missing = 2 * (6 - len(prefix.split(":")))
    return prefix + re.sub("(..)", r":\1", f"{number:x}"[:missing])


@FILTERS.add("random")
def _random(value: Value, start: Whole = 0, step: Whole = 1, seed: Anything = None) -> Any:
    """One item of a list, or a number below `value`, as Ansible chooses with the same seed."""
    chosen = _seeded(seed)
    if isinstance(value, int) and not isinstance(value, bool):
        return chosen.randrange(start, value, step)
    items = values.items(value)
    if not items:
        raise FilterError("there is nothing to choose from")
    return chosen.choice(items)


@FILTERS.add("extract")
def _extract(value: Value, container: Value, morekeys: Anything = None) -> Any:
    """What a list or mapping has under a key, and what that has under further keys."""
    keys = [] if morekeys is None else values.items(morekeys) if isinstance(morekeys, list | tuple) else [morekeys]
    found = container
    for key in (value, *keys):
        found = values.item(values.demand(found), values.demand(key))
        if found is values.MISSING:
            raise FilterError(f"there is no {values.text_of(key)[:60]!r} in it")
    return found


@FILTERS.add("product")
def _product(value: Items, *others: Items) -> list[Any]:
    """Every combination of one item of each list."""
    made: list[tuple[Any, ...]] = [()]
    for part in (value, *others):
        values.bound(len(made) * len(part), values.MAX_ITEMS, "items")
        meter.spend(len(made) * len(part), 80 * len(made) * len(part))
        made = [(*row, item) for row in made for item in part]
    return list(made)


def _seeded(seed: Any) -> Random:
    meter.spend(2000, 3000)
    if seed is None:
        raise Refused(_UNSEEDED)
    seed = values.demand(seed)
    if tokens.is_held(seed):
        raise Refused("cannot be seeded with a secret, because its value is not known here")
    if not isinstance(seed, str | int | float):
        raise FilterError(f"a seed is a text or a number, not {values.kind(seed)}")
    return Random(seed if isinstance(seed, str) else values.bounded(seed))  # noqa: S311  # not for secrets
