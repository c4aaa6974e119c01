"""endpoint SERVICE/INTERFACE/REGION · project DOMAIN/NAME · user DOMAIN/NAME · role_assignment DOMAIN/USER/PROJECT/ROLE, with
`system` for the whole system."""

from dataclasses import dataclass

from reconciler.model import Registration
from reconciler.registrations.keys import malformed, said


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role of a user in a project; the project is None for the whole system."""

    domain: str
    user: str
    project: str | None
    role: str


def in_domain(registration: Registration) -> tuple[str, str]:
    """Domain and name."""
    if found := said(registration, "domain", "name"):
        return found[0], found[1]
    domain, slash, rest = registration.key.partition("/")
    if not slash:
        raise malformed(registration)
    return domain, rest


def endpoint(registration: Registration) -> tuple[str, str, str]:
    """Service, interface and region."""
    if found := said(registration, "service", "interface", "region"):
        return found[0], found[1], found[2]
    parts = registration.key.rsplit("/", 2)
    if len(parts) != 3:
        raise malformed(registration)
    return parts[0], parts[1], parts[2]


def role_assignment(registration: Registration) -> Assignment:
    """Who has which role where."""
    if found := said(registration, "domain", "user", "role"):
        project = registration.fields.get("project")
        return Assignment(
            found[0], found[1], None if registration.fields.get("system") else str(project or ""), found[2]
        )
    domain, _, rest = registration.key.partition("/")
    parts = rest.rsplit("/", 2)
    if len(parts) != 3:
        raise malformed(registration)
    user, target, role = parts
    return Assignment(domain, user, None if target == "system" else target, role)
