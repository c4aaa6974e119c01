"""What rests on what on one host, by the names that reports use. Pure.

container           the containers it waits for or shares a namespace with, what must be set or done before it, and what their
                    services' checks tell of them
job                 what it runs after, and what must be registered before it
registration        its registrar
setting of the host nothing
KIND registrations  the containers that their registrar needs
check NAME          the containers that answer it, and the checks of the same service that ask for less
"""

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.model import Check, Desired, shared_with

Graph = Mapping[str, tuple[str, ...]]  # item → what it rests on directly
CHECK: Final = "check "
REGISTRAR: Final = " registrations"  # ends the name of a registrar


def graph(desired: Desired) -> Graph:
    """What each container, job, registration, registrar and check of a host rests on directly."""
    found: dict[str, list[str]] = {}
    service = {container.name: container.service for container in desired.containers}
    services = {**service, **{job.name: job.service for job in desired.jobs}}

    def rests(item: str, *beneath: str) -> None:
        found.setdefault(item, []).extend(name for name in beneath if name != item)

    for check in desired.checks:
        # What a container says of itself explains it. What watches others explains nobody.
        if check.container and not check.watches:
            rests(check.container, CHECK + check.name)
    for container in desired.containers:
        below = [name for name in (*container.depends_on, *shared_with(container)) if name in service]
        rests(container.name, *below)
        for other in {service[name] for name in below} - {container.service}:
            rests(container.name, *_told_of(desired, other, container.service))
    for job in desired.jobs:
        rests(job.name, *(name for name in job.after if name in services))
        for name in job.before:
            rests(name, job.name)
    for registration in desired.registrations:
        rests(registration.id, registration.kind + REGISTRAR)
        if registration.owner == desired.host:
            for name in registration.before:
                rests(name, registration.id)
    for setting in desired.host_settings:
        for name in setting.before:
            rests(name, setting.id)
    for registrar in desired.registrars:
        needs = [name for name in registrar.needs if name in service]
        rests(registrar.kind + REGISTRAR, *needs)
        for other in {service[name] for name in needs}:
            rests(registrar.kind + REGISTRAR, *_told_of(desired, other, ""))
    for check in desired.checks:
        rests(CHECK + check.name, *_beneath_check(check, desired, service))
    return {item: tuple(dict.fromkeys(names)) for item, names in found.items()}


def beneath(whole: Graph, item: str) -> frozenset[str]:
    """Everything that `item` rests on, however deep; without itself."""
    found: set[str] = set()
    waiting = [item]
    while waiting:
        for name in whole.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return frozenset(found - {item})


def _told_of(desired: Desired, service: str, client: str) -> Iterator[str]:
    """The checks of `service` that concern everybody who rests on it, and those that concern `client` alone."""
    told = (c for c in desired.checks if c.service == service and not c.watches)
    return (CHECK + check.name for check in told if check.client in ("", client))


def _beneath_check(check: Check, desired: Desired, service: Mapping[str, str]) -> Iterator[str]:
    if check.container in service:
        yield check.container
    of = {*check.watches} if check.container else {check.service, *check.watches}
    yield from (name for name, owner in service.items() if owner in of)
    for registrar in desired.registrars:
        if registrar.kind == check.login:
            yield from (name for name in registrar.needs if name in service)
    for other in desired.checks:
        if other.service == check.service and not (other.client or other.watches) and _asks(other) < _asks(check):
            yield CHECK + other.name


def _asks(check: Check) -> int:
    """How much has to work for the check to succeed: what asks less explains what asks more."""
    if check.container:
        return 0
    if check.tcp:
        return 1
    if check.login:
        return 3
    return 4 if check.credentials else 2
