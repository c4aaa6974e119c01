"""permission USER@VHOST"""

from reconciler.model import Registration
from reconciler.registrations.keys import malformed, said


def permission(registration: Registration) -> tuple[str, str]:
    """User and virtual host."""
    if found := said(registration, "user", "vhost"):
        return found[0], found[1]
    user, at, vhost = registration.key.partition("@")
    if not at:
        raise malformed(registration)
    return user, vhost
