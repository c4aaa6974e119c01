"""permission USER@VHOST"""

from reconciler.model import Registration
from reconciler.registrations.keys import pair


def permission(registration: Registration) -> tuple[str, str]:
    """User and virtual host."""
    return pair(registration, "user", "vhost", "@")
