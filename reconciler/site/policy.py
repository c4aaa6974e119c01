"""reconciler.yml → the site's policy, with defaults filled in."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Final

from reconciler import data
from reconciler.catalogue import Catalogue
from reconciler.document.grammar import Grammar, defaults
from reconciler.document.keywords import is_expression
from reconciler.document.words import suggest
from reconciler.document.yaml import Document
from reconciler.errors import MAX_PROBLEMS, Problem, SiteInvalid
from reconciler.model import Container
from reconciler.model.names import QUORUM
from reconciler.releases import RELEASE_STEP
from reconciler.site import pin
from reconciler.site.inventory import Known
from reconciler.site.types import Site

# What plans call a difference: an option of a container, or one of these; registrations have fields of their own.
_FIELDS: Final = frozenset(
    (
        *(field.name for field in dataclasses.fields(Container)),
        "content",
        "mode",
        "foreign",
        "state",
        "running configuration",
    )
)


def load(document: Document | None, catalogue: Catalogue, known: Known, problems: list[Problem]) -> dict[str, Any]:
    """The whole policy: every key is there. `{}` and problems when it is wrong."""
    schema = data.schema("reconciler")
    document = document or Document("reconciler.yml", {})
    found = Grammar(schema).check(document)
    if not found:
        result: dict[str, Any] = defaults(document.data, schema)
        found += itertools.islice(_names(document, result, catalogue), MAX_PROBLEMS)
        found += itertools.islice(_waves(document, known), MAX_PROBLEMS)
        found += itertools.islice(_accepted(document, result, catalogue, known), MAX_PROBLEMS)
    problems += found
    return {} if any(problem.severity == "error" for problem in found) else result


def alone(document: Document) -> dict[str, Any]:
    """The policy of a reconciler.yml that is looked at without its site: grammar and defaults. Raises SiteInvalid."""
    schema = data.schema("reconciler")
    problems = [problem for problem in Grammar(schema).check(document) if problem.severity == "error"]
    if problems:
        raise SiteInvalid(problems)
    result: dict[str, Any] = defaults(document.data, schema)
    return result


def _names(document: Document, policy: dict[str, Any], catalogue: Catalogue) -> Iterator[Problem]:
    """Names in a policy that name nothing."""
    for service in policy["drift"]["services"]:
        if service not in catalogue.services:
            place = document.place(("drift", "services", service), key=True)
            yield place.problem(f"unknown service {service!r}", suggest(service, catalogue.services))
    for field in policy["drift"]["fields"]:
        if field.partition(".")[0] not in _FIELDS:
            place = document.place(("drift", "fields", field), key=True)
            yield place.warning(f"containers and files have no field {field!r}", suggest(field, _FIELDS))
    fixed = [name for name, definition in catalogue.passwords().items() if definition.get("fixed")]
    for index, name in enumerate(policy["changed_by_hand"]):
        place = document.place(("changed_by_hand", index))
        if name not in fixed and name in catalogue.passwords():
            # It may have been needed with an earlier version, whose nodes read this file as well.
            yield place.warning(f"{name} in changed_by_hand is changed by the commit itself", "leave it out")
        elif name not in fixed:
            message = f"{name!r} in changed_by_hand is no secret that a commit cannot change"
            yield place.problem(message, suggest(name, fixed) or "leave it out")
    if policy["requires"] and pin.specifiers(policy["requires"]) is None:
        message = f"{policy['requires']!r} names no versions of this program"
        yield document.place(("requires",)).problem(message, "write for example '>=0.3,<0.4', or one version")
    yield from _times(document, policy)


def _waves(document: Document, known: Known) -> Iterator[Problem]:
    """Hosts and groups of waves that are in no inventory, and waves of one name."""
    data = document.data if isinstance(document.data, dict) else {}
    seen: set[str] = set()
    for number, wave in enumerate((data.get("rollout") or {}).get("waves") or ()):
        where = ("rollout", "waves", number)
        if wave["name"] in seen:
            yield document.place((*where, "name")).problem(f"two waves are called {wave['name']!r}", "rename one")
        seen.add(wave["name"])
        for index, choice in enumerate(wave["hosts"]):
            place = (*where, "hosts", index)
            if isinstance(choice, str):
                yield from known.host(choice, document.place(place))
                continue
            if "group" in choice:
                yield from known.group(choice["group"], document.place((*place, "group")))
            if "first" in choice and "last" in choice:
                yield document.place(place).problem("its first hosts or its last: not both", "write two entries")


def _accepted(document: Document, policy: dict[str, Any], catalogue: Catalogue, known: Known) -> Iterator[Problem]:
    """Checks before an upgrade that somebody answers for and nobody makes: the upgrade would go on waiting."""
    checks = {name for service in catalogue.services.values() for name in service.section("prechecks")}
    checks |= {RELEASE_STEP, QUORUM}
    for index, entry in enumerate(policy["accept"]):
        if entry["check"] not in checks:
            # Another version of this program may make it.
            place = document.place(("accept", index, "check"))
            yield place.warning(
                f"no service has a check {entry['check']!r} before an upgrade", suggest(entry["check"], checks)
            )
        for number, host in enumerate(entry.get("hosts", ())):
            yield from known.host(host, document.place(("accept", index, "hosts", number)))


def check_labels(document: Document | None, site: Site) -> Iterator[Problem]:
    """Waves whose label no host has; `site` is whole otherwise."""
    for number, wave in enumerate(site.policy["rollout"]["waves"] if document else ()):
        for index, choice in enumerate(wave["hosts"]):
            if isinstance(choice, str) or "variable" not in choice:
                continue
            assert document
            place = document.place(("rollout", "waves", number, "hosts", index, "is"))
            values = site.written(choice["variable"])
            if not values:
                yield place.problem(
                    f"no host has a variable {choice['variable']!r}",
                    suggest(choice["variable"], site.names()) or "set it for the hosts, or name a group",
                )
            elif any(is_expression(str(value)) for value in values.values()):
                yield place.problem(
                    f"{choice['variable']} is a template, so that it is no label",
                    "write its value for each host, or name a group",
                )
            elif str(choice["is"]) not in map(str, values.values()):
                yield place.problem(
                    f"{choice['variable']} is {choice['is']!r} on no host",
                    suggest(str(choice["is"]), map(str, values.values())),
                )


def _times(document: Document, policy: dict[str, Any]) -> Iterator[Problem]:
    """Time zones that do not exist, and freezes that end before they begin."""
    for key in ("windows", "freezes"):
        for index, entry in enumerate(policy[key]):
            if entry["time_zone"] not in data.time_zones():
                place = document.place((key, index, "time_zone"))
                near = suggest(entry["time_zone"], data.time_zones()) or "use a name such as Europe/Berlin, or UTC"
                yield place.problem(f"there is no time zone {entry['time_zone']!r}", near)
            if key == "freezes" and entry["to"] < entry["from"]:
                place = document.place((key, index, "to"))
                yield place.problem(f"the freeze ends ({entry['to']}) before it begins ({entry['from']})", "")
