"""Registrations of a service, and the registrars they go to: what service.yml says, read as its kind has it.

What there is to say of each kind is in its folder of `registrations/`. A registrar goes by the name that `provides` has for it: the
kind's, or `kind@name` for one of several. Registrations name it likewise; the kind's name alone means the one without a name, or else
the only one there is.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from reconciler.model import Registrar, Registration
from reconciler.registrations import kinds
from reconciler.registrations.protocol import CONFIDENTIAL
from reconciler.render.fields import Fields

_NOT_CONNECTION: Final = ("needs", "enabled", "clients")


def registrations(
    section: Fields, providers: Collection[str], *, service: str, owners: Mapping[str, str], region: str
) -> Iterator[Registration]:
    """What a service registers, without what waits for it. `section` is `registrations` of its service.yml, `providers` are the
    registrars that there are, `owners` the hosts that converge what is below each key of the section; nobody does where that is ""."""
    result: dict[str, Registration] = {}
    for said in section.raw:
        part, kind, owner = section.below(said), kinds.of(said), owners[said]
        # The grammar says of an unknown kind.
        if kind is None or not owner or not part.flag("enabled", True) or part.flag("existing"):
            continue
        registrar = _registrar(section, said, providers)
        for type_, key, fields in kind.read(part, region):
            made = Registration(registrar, type_, key, fields, service=service, owner=owner)
            if made.id in result and result[made.id] != made:
                section.problem(said, f"{type_} {key} is registered twice, in different words", "remove one of them")
            result[made.id] = made
    yield from result.values()


def _registrar(section: Fields, said: str, providers: Collection[str]) -> str:
    """The registrar that is meant. Nobody may provide one of that kind: then it is not known which, and the plan says so."""
    alike = sorted(name for name in providers if name.partition(kinds.NAMED)[0] == said)
    if kinds.NAMED in said:
        if said not in providers:
            known = ", ".join(sorted(name for name in providers if kinds.of(name) is kinds.of(said))) or "none"
            section.problem(said, f"no service of this site provides {said}", f"there is: {known}")
        return said
    if said in alike or not alike:
        return said
    if len(alike) > 1:
        section.problem(
            said, f"there are several registrars of this kind: {', '.join(alike)}", "write which one is meant"
        )
    return alike[0]


def registrar(part: Fields, name: str, present: set[str]) -> Registrar | None:
    """Where registrations go that name this registrar. `part` is one entry of `provides`; None when it is switched off."""
    if not part.flag("enabled", True):
        return None
    found = connection(part)
    for key in ("url", "auth_url"):
        if "@" in str(found.get(key) or "").partition("://")[2].partition("/")[0]:
            part.problem(
                key, f"{key} holds a user or a password, and every message names it", "say username and password"
            )
    return Registrar(name, found, tuple(name for name in part.texts("needs") if name in present))


def has_identifier(registration: Registration) -> bool:
    """Whether the registrar gives it an identifier that others need."""
    kind = kinds.of(registration.kind)
    return bool(kind and registration.type in kind.types and kind.types[registration.type].identified)


def connection(part: Fields) -> dict[str, Any]:
    """What one entry of `provides` says of reaching it; its password may hold a secret."""
    return {key: part.value(key, secret=key == CONFIDENTIAL) for key in part.raw if key not in _NOT_CONNECTION}
