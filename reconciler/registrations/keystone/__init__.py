"""Keystone: its catalogue, who may do what where, and who else says who somebody is.

    type               key                       fields
    domain             name                      name, description?
    service            name                      name, type, description
    endpoint           service/interface/region  service, type, interface, region, url
    project            domain/name               name, domain, description?
    role               name                      name
    user               domain/name               name, domain, password?, email?
    role_assignment    domain/user/target/role   user, domain, role, and project, on_domain: the domain, or system: "all"
    mapping            name                      name, rules: JSON
    identity_provider  name                      name, domain, description, remote_ids
    protocol           provider/name             name, provider, mapping

In the key of a role on the system, `system` stands for the project; in that of a role on the domain, `domain`. Fields with `?` are
there only when the service gives them; what is withdrawn may have its key only.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.registrations.keystone.grammar import GRAMMAR
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.protocol import (
    Backend,
    Connection,
    Item,
    Kind,
    Section,
    Type,
    enabled,
    given,
    own_credentials,
)

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # a name that is part of an address
_FAILED: Final = object()
_SCOPE: Final = frozenset(("project", "project_name", "project_domain", "system_scope", "user_domain"))


def _read(part: Section, region: str) -> Iterator[Item]:
    region = part.text("region", region)
    for entry, name in enabled(part, "domains"):
        yield "domain", name, {"name": name, **given(entry, "description")}
    for entry, name in enabled(part, "services"):
        yield from _service(entry, name, region)
    for entry, name in enabled(part, "projects"):
        domain = entry.text("domain", "default")
        yield "project", f"{domain}/{name}", {"name": name, "domain": domain, **given(entry, "description")}
    for _, name in enabled(part, "roles"):
        yield "role", name, {"name": name}
    for entry, name in enabled(part, "users"):
        domain = entry.text("domain", "default")
        yield "user", f"{domain}/{name}", {"name": name, "domain": domain, **given(entry, "password", "email")}
        yield from _assignments(entry, name, domain)
    for entry, name in enabled(part, "assignments", key="user"):
        yield from _assignments(entry, name, entry.text("domain", "default"))
    yield from _federation(part)


def _federation(part: Section) -> Iterator[Item]:
    for entry, name in enabled(part, "mappings"):
        if _segment(entry, name):
            yield "mapping", name, {"name": name, "rules": _rules(entry, name)}
    for entry, name in enabled(part, "identity_providers"):
        if not _segment(entry, name):
            continue
        about = {"domain": entry.text("domain", "default"), "description": entry.text("description")}
        yield "identity_provider", name, {"name": name, **about, "remote_ids": sorted(set(entry.texts("remote_ids")))}
        for speaks, protocol in enabled(entry, "protocols"):
            if _segment(speaks, protocol):
                fields = {"name": protocol, "provider": name, "mapping": speaks.text("mapping")}
                yield "protocol", f"{name}/{protocol}", fields


def _segment(entry: Section, name: str) -> bool:
    good = bool(_SEGMENT.fullmatch(name)) and name.strip(".") != ""
    if not good:
        entry.problem("name", f"{name!r} is part of addresses", "use letters, digits, `_`, `.` and `-`, 64 at most")
    return good


def _rules(entry: Section, name: str) -> str:
    """As JSON, whatever the order of keys was. What else is wrong with them Keystone says."""
    rules = entry.value("rules", _FAILED)
    if rules is _FAILED:  # and reported
        return "[]"
    if not isinstance(rules, list) or not rules or not all(map(_is_rule, rules)):
        message = (
            f"the rules of the mapping {name} are no list of objects with `local` and `remote`, each of which is a list"
        )
        entry.problem("rules", message, "write them as for `openstack mapping create --rules`")
        return "[]"
    return spelled(rules)


def _is_rule(rule: object) -> bool:
    return isinstance(rule, dict) and all(isinstance(rule.get(part), list) for part in ("local", "remote"))


def _service(entry: Section, name: str, region: str) -> Iterator[Item]:
    type_ = entry.text("type")
    yield "service", name, {"name": name, "type": type_, "description": entry.text("description")}
    region = entry.text("region", region)
    for interface, url in entry.mapping("endpoints").items():
        if url:
            fields = {"service": name, "type": type_, "interface": interface, "region": region, "url": str(url)}
            yield "endpoint", f"{name}/{interface}/{region}", fields


def _assignments(entry: Section, name: str, domain: str) -> Iterator[Item]:
    project = entry.text("project")
    if entry.texts("roles") and not project:
        entry.problem(
            "roles",
            f"the user {name} has roles and no project to have them in",
            "name a project, or use domain_roles or system_roles",
        )
    for role in entry.texts("roles"):
        fields = {"user": name, "domain": domain, "role": role, "project": project}
        yield "role_assignment", f"{domain}/{name}/{project}/{role}", fields
    for role in entry.texts("domain_roles"):
        fields = {"user": name, "domain": domain, "role": role, "on_domain": domain}
        yield "role_assignment", f"{domain}/{name}/domain/{role}", fields
    for role in entry.texts("system_roles"):
        fields = {"user": name, "domain": domain, "role": role, "system": "all"}
        yield "role_assignment", f"{domain}/{name}/system/{role}", fields


def _as_user(connection: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without a scope: that the user is let in is all that is asked."""
    own = {key: value for key, value in connection.items() if key not in _SCOPE}
    return {**own_credentials(own, fields), "user_domain": fields["domain"], "unscoped": True}


def spelled(rules: Any) -> str:
    """Rules of a mapping as they are compared, and shown in a plan."""
    return json.dumps(rules, sort_keys=True, ensure_ascii=False)


def _backend(connection: Connection, proofs: Proofs) -> Backend:
    from reconciler.registrations.keystone.backend import Keystone

    return Keystone(connection, proofs)


KIND: Final = Kind(
    name="keystone",
    types={
        "domain": Type(identified=True),
        "service": Type(identified=True),
        "role": Type(identified=True),
        "project": Type(after=("domain",), identified=True),
        "user": Type(
            after=("domain", "project"),
            identified=True,
            grants=True,
            shuts_out="its tokens end now, and whoever has the former one is not let in until its own turn",
        ),
        "endpoint": Type(after=("service",)),
        "role_assignment": Type(after=("domain", "user", "project", "role"), grants=True),
        "mapping": Type(grants=True),
        "identity_provider": Type(after=("domain",), grants=True),
        "protocol": Type(after=("identity_provider", "mapping"), grants=True),
    },
    grammar=GRAMMAR,
    read=_read,
    backend=_backend,
    as_user=_as_user,
)
