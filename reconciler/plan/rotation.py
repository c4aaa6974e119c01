"""Secrets that a commit cannot change by itself, because their server keeps them and this program logs in with them."""

from collections.abc import Collection, Mapping

from reconciler.model import Check, Desired


def refused(base: Desired, head: Desired) -> Mapping[str, str]:
    """Of the secrets that differ between what was carried out and what is wanted, those that cannot be changed so: name → what to
    do instead. By the ciphertext: the same value that was encrypted anew is among them."""
    before = base.secrets
    return {
        name: what
        for name, what in head.fixed.items()
        if name in before and head.secrets.get(name) not in (None, before[name])
    }


def changed(base: Desired, head: Desired) -> frozenset[str]:
    """The secrets that both have, and that have another ciphertext in `head`."""
    return frozenset(
        name for name, digest in head.secrets.items() if name in base.secrets and base.secrets[name] != digest
    )


def enters_anew(base: Desired, head: Desired) -> bool:
    """Whether this program logs in to a registrar otherwise than before."""
    before = {registrar.kind: registrar.connection for registrar in base.registrars}
    names = changed(base, head)
    return any(
        before.get(registrar.kind, registrar.connection) != registrar.connection
        or any(holds(value, names) for value in registrar.connection.values())
        for registrar in head.registrars
    )


def registered(base: Desired, head: Desired) -> frozenset[str]:
    """What the host registers (`Registration.id`) with a password that differs; where a user has another name with it, what that user
    may do as well, without which it would be let in and refused everything."""
    names = changed(base, head)
    known = {registration.id for registration in base.registrations}
    own = [registration for registration in head.registrations if registration.owner == head.host]
    users = [one for one in own if any(holds(value, names) for value in one.fields.values())]
    new = {(user.kind, user.fields.get("name")) for user in users if user.id not in known}
    rights = [one for one in own if one.id not in known and (one.kind, one.fields.get("user")) in new]
    return frozenset(registration.id for registration in (*users, *rights))


def awaited(base: Desired, head: Desired) -> tuple[Check, ...]:
    """The logins of this host's services with a password that differs, which another host registers. The administrator's own (no `client`) nobody
    registers: a job or a file of the commit carries it."""
    names = changed(base, head) - head.fixed.keys()
    own = {
        str(value)
        for registration in head.registrations
        if registration.owner == head.host
        for value in registration.fields.values()
    }
    return tuple(
        check
        for check in head.checks
        if check.login
        and check.client
        and any(holds(value, names) and str(value) not in own for value in check.connection.values())
    )


def holds(value: object, names: Collection[str]) -> bool:
    """Whether a value holds one of these secrets."""
    return isinstance(value, str) and "<<secret:" in value and any(f"<<secret:{name}>>" in value for name in names)


def message(name: str, instead: str) -> str:
    """The one wording."""
    return f"{name} cannot be changed by a commit alone: {instead}"
