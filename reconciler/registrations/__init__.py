"""Databases, users and endpoints as desired state: observed, converged, withdrawn.

One folder per kind of registrar, behind one protocol (`protocol.py`), in one list (`kinds.py`). The folder says, without I/O, what can
be registered and how service.yml says it; its back end is the home of the client: PyMySQL for MariaDB, RabbitMQ's management API,
Keystone's API v3 through keystoneauth. All in this process: no tool container, no secret on an argv or in a log.
"""
