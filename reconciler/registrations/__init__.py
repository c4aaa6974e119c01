"""Databases, users and endpoints as desired state: observed, converged, withdrawn.

One module per kind of registrar, each the home of its client: PyMySQL for MariaDB, RabbitMQ's management API, Keystone's
API v3 through keystoneauth. All in this process: no tool container, no secret on an argv or in a log.
"""

from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry

__all__ = ["Proofs", "Registry"]
