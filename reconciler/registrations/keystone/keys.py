"""endpoint SERVICE/INTERFACE/REGION · project DOMAIN/NAME · user DOMAIN/NAME · protocol PROVIDER/NAME ·
role_assignment DOMAIN/USER/PROJECT/ROLE, with `system` for the whole system, and `domain` for the user's domain itself."""

from dataclasses import dataclass
from typing import Literal

from reconciler.model import Registration
from reconciler.registrations.keys import cut, malformed, pair, said


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role of a user: in a project, on its domain, or on the whole system. Which of the three, `target` says."""

    domain: str
    user: str
    target: Literal["project", "domain", "system"]
    project: str
    role: str


def in_domain(registration: Registration) -> tuple[str, str]:
    """Domain and name."""
    return pair(registration, "domain", "name", "/")


def endpoint(registration: Registration) -> tuple[str, str, str]:
    """Service, interface and region."""
    if found := said(registration, "service", "interface", "region"):
        return found[0], found[1], found[2]
    parts = registration.key.rsplit("/", 2)
    if len(parts) != 3:
        raise malformed(registration)
    return parts[0], parts[1], parts[2]


def protocol(registration: Registration) -> tuple[str, str]:
    """Identity provider and name."""
    return pair(registration, "provider", "name", "/")


def role_assignment(registration: Registration) -> Assignment:
    """Who has which role where."""
    if found := said(registration, "domain", "user", "role"):
        domain, user, role = found
        if registration.fields.get("system"):
            return Assignment(domain, user, "system", "", role)
        if registration.fields.get("on_domain"):
            return Assignment(domain, user, "domain", "", role)
        return Assignment(domain, user, "project", str(registration.fields.get("project") or ""), role)
    domain, rest = cut(registration, registration.key, "/")
    parts = rest.rsplit("/", 2)
    if len(parts) != 3:
        raise malformed(registration)
    user, target, role = parts
    if target in ("system", "domain"):
        return Assignment(domain, user, "system" if target == "system" else "domain", "", role)
    return Assignment(domain, user, "project", target, role)
