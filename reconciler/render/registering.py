"""What a host registers, where that goes, what others register there, and who is let in by it."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from reconciler.catalogue import Service
from reconciler.document.words import suggest
from reconciler.errors import SiteInvalid
from reconciler.model import Check, Registrar, Registration
from reconciler.registrations import kinds
from reconciler.render import checks, logins, placement, register
from reconciler.render.fields import Fields
from reconciler.render.seen import Parts, Seen

_REGION: Final = "RegionOne"


def providers(seen: Seen, every: list[Parts]) -> dict[str, checks.Provider]:
    """How a new client reaches each registrar, by its name."""
    found: dict[str, checks.Provider] = {}
    # The catalogue's first: what is there twice is said where the site can change it.
    for parts in sorted(every, key=lambda parts: parts.service.origin != "catalogue"):
        for name, raw in parts.service.section("provides").items():
            part = seen.fields(parts.service, raw, ("provides", name))
            connection = logins.provider(part)
            if connection is None:
                continue
            if name in found:
                hint = f"call one of them {name}{kinds.NAMED}NAME, here and where it is meant"
                part.problem(None, f"{found[name][0]} provides {name} as well", hint)
            found[name] = (parts.service.name, connection)
    return found


def logins_of(seen: Seen, every: list[Parts], providers: Mapping[str, checks.Provider]) -> Iterator[Check]:
    """Of the services that have containers on this host."""
    here = {parts.service.name for parts in every if parts.specs}
    for name, (service, connection) in providers.items():
        if service in here:
            yield logins.administrator(name, service, connection)
    for parts in every:
        if parts.specs and parts.service.section("registrations"):
            yield from logins.users(iter(_registered(seen, parts, providers)), providers)


def registrations(
    seen: Seen, every: list[Parts], providers: Collection[str]
) -> tuple[list[Registration], list[Registrar], tuple[str, ...]]:
    """What this host registers, where that goes, and what others register there (`Desired.registered_elsewhere`). The same thing may be
    asked for by several services."""
    present = {name for parts in every for name in parts.specs}
    found: dict[str, Registration] = {}
    # What all register is not that of a cluster, which the others do not see.
    for parts in sorted(every, key=lambda parts: _in_clusters(parts.service)):
        if parts.service.section("registrations"):
            for item in _registered(seen, parts, providers):
                first = found.setdefault(item.id, item)
                if first.fields != item.fields:
                    place = parts.service.document.place(("registrations", item.kind))
                    message = f"{item.type} {item.key} is registered by {first.service} too, in different words"
                    seen.problems.append(place.problem(message, "make them the same"))
                waiting = tuple(dict.fromkeys((*first.before, *item.before)))
                if waiting != first.before:
                    found[item.id] = dataclasses.replace(first, before=waiting)
    made = [item for item in found.values() if item.owner == seen.host]
    asked = {registration.kind for registration in made}
    registrars = []
    for parts in every:
        for name, raw in parts.service.section("provides").items():
            if name in asked or parts.specs:
                registrar = register.registrar(seen.fields(parts.service, raw, ("provides", name)), name, present)
                registrars += [registrar] if registrar else []
    others = [item for item in found.values() if item.owner != seen.host]
    if registrars:
        others += [*_registered_by_others(seen, every, providers), *_registered_in_clusters(seen, every, providers)]
    reached = {registrar.kind for registrar in registrars}
    return made, registrars, tuple(sorted({item.id for item in others if item.kind in reached}))


def _registered_by_others(seen: Seen, every: list[Parts], providers: Collection[str]) -> Iterator[Registration]:
    """What services register that are switched off on this host only."""
    here = {parts.service.name for parts in every}
    for service in seen.site.catalogue.services.values():
        if service.name not in here and service.section("registrations") and (owner := _owner(seen, service)):
            # What is wrong with it is reported where that host is rendered.
            yield from _registered(Seen(seen.world, owner), Parts(service), providers)


def _registered_in_clusters(seen: Seen, every: list[Parts], providers: Collection[str]) -> Iterator[Registration]:
    """What the services of this host register in clusters that it is not in."""
    for parts in every:
        service = parts.service
        section = seen.fields(service, service.section("registrations"), ("registrations",))
        names = {section.below(said).text("container") for said in section.raw} & {*service.section("containers")}
        owners = {host for name in names for host in placement.clusters(seen.world, service, name).values()}
        for owner in sorted(owners - {seen.host}):
            found = _registered(Seen(seen.world, owner), Parts(service), providers)
            yield from (item for item in found if item.owner != seen.host)


def _registered(seen: Seen, parts: Parts, providers: Collection[str]) -> list[Registration]:
    service = parts.service
    section = seen.fields(service, service.section("registrations"), ("registrations",))
    owners = {said: _registers(seen, service, section.below(said)) for said in section.raw}
    waiting = (*parts.specs, *(job.name for job in parts.jobs))
    region = seen.variable("openstack_region_name", _REGION)
    provided = service.section("provides")

    def before(registrar: str) -> tuple[str, ...]:
        kind = kinds.of(registrar)
        return waiting if kind and kind.early and registrar not in provided else ()

    made = section.shared(
        "registrations",
        (*sorted(providers), *sorted(owners.items()), region),
        lambda: [*register.registrations(section, providers, service=service.name, owners=owners, region=region)],
    )
    return [dataclasses.replace(item, before=early) if (early := before(item.kind)) else item for item in made]


def _registers(seen: Seen, service: Service, part: Fields) -> str:
    """The host that converges one section of what a service registers: of the container's cluster that it names, or of all."""
    name = part.text("container")
    if name and name not in service.section("containers"):
        part.problem(
            "container", f"the service has no container {name!r}", suggest(name, service.section("containers"))
        )
        return ""
    return seen.first(service, name) if name else _owner(seen, service)


def _owner(seen: Seen, service: Service) -> str:
    """The host that converges a service's registrations; empty where nobody does."""
    try:
        return placement.owner(seen.world, service)
    except SiteInvalid as error:
        seen.problems += error.problems
        return seen.host


def _in_clusters(service: Service) -> bool:
    """Whether a service registers something for each cluster of a container."""
    return any("container" in part for part in service.section("registrations").values() if isinstance(part, dict))
