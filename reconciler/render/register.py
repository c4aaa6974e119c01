"""Registrations of a service, and the registrars they go to.

    kind       type             key                       fields
    mariadb    database         name                      name, character_set?, collation?
               user             name@host                 name, host, password?
               grant            name@host:database.table  user, host, database, table, privileges, grant_option
    rabbitmq   vhost            name                      name
               user             name                      name, password?, tags
               permission       user@vhost                user, vhost, configure, write, read
    keystone   domain           name                      name, description?
               service          name                      name, type, description
               endpoint         service/interface/region  service, type, interface, region, url
               project          domain/name               name, domain, description?
               role             name                      name
               user             domain/name               name, domain, password?, email?
               role_assignment  domain/user/target/role   user, domain, role, and project or system: "all"

A back end reads the fields; what is withdrawn may have its key only. A table is always `*`: a grant is for a whole database. In
the key of a role on the system, `system` stands for the project. Privileges are upper case and sorted. Fields with `?` are
there only when the service gives them.
"""

from collections.abc import Iterator
from typing import Any, Final

from reconciler.model import Registrar, Registration
from reconciler.render.fields import Fields

KINDS: Final = ("mariadb", "rabbitmq", "keystone")
EARLY: Final = ("mariadb", "rabbitmq")  # what jobs and containers of a service count on

_CONFIDENTIAL: Final = "password"  # the one field that may hold a secret: no message, plan or report has it

Item = tuple[str, str, dict[str, Any]]  # type, key, fields


def registrations(
    section: Fields, kind: str, *, service: str, owner: str, before: tuple[str, ...], region: str
) -> list[Registration]:
    """What a service registers of one kind. `section` is `registrations` of its service.yml."""
    part = section.below(kind)
    if kind not in section or not part.flag("enabled", True):
        return []
    items = _keystone(part, region) if kind == "keystone" else {"mariadb": _mariadb, "rabbitmq": _rabbitmq}[kind](part)
    result: dict[str, Registration] = {}
    for type_, key, fields in items:
        made = Registration(kind, type_, key, fields, service=service, owner=owner, before=before)
        if made.id in result and result[made.id] != made:
            section.problem(kind, f"{type_} {key} is registered twice, in different words", "remove one of them")
        result[made.id] = made
    return list(result.values())


def registrar(part: Fields, kind: str, present: set[str]) -> Registrar | None:
    """Where registrations of `kind` go. `part` is one entry of `provides`; None when it is switched off."""
    if not part.flag("enabled", True):
        return None
    found = connection(part)
    for key in ("url", "auth_url"):
        if "@" in str(found.get(key) or "").partition("://")[2].partition("/")[0]:
            part.problem(
                key, f"{key} holds a user or a password, and every message names it", "say username and password"
            )
    return Registrar(kind, found, tuple(name for name in part.texts("needs") if name in present))


def connection(part: Fields) -> dict[str, Any]:
    """What one entry of `provides` says of reaching it; its password may hold a secret."""
    return {
        key: part.value(key, secret=key == _CONFIDENTIAL)
        for key in part.raw
        if key not in ("needs", "enabled", "clients")
    }


def _enabled(part: Fields, key: str) -> Iterator[tuple[Fields, str]]:
    for entry in part.each(key):
        if entry.flag("enabled", True):
            name = entry.text("name")
            if not name:
                entry.problem(None, f"an entry of {key} has no name")
                continue
            yield entry, name


def _given(entry: Fields, *keys: str) -> dict[str, Any]:
    return {
        key: entry.text(key, secret=key == _CONFIDENTIAL) for key in keys if entry.value(key, secret=True) is not None
    }


def _mariadb(part: Fields) -> Iterator[Item]:
    for entry, name in _enabled(part, "databases"):
        yield "database", name, {"name": name, **_given(entry, "character_set", "collation")}
    for entry, name in _enabled(part, "users"):
        host = entry.text("host", "%")
        account = f"{name}@{host}"
        yield "user", account, {"name": name, "host": host, **_given(entry, "password")}
        for grant in entry.each("grants"):
            database, table = grant.text("database", "*"), grant.text("table", "*")
            if table != "*":
                grant.problem("table", "privileges on one table are not supported", "leave table out")
            fields = {
                "user": name,
                "host": host,
                "database": database,
                "table": table,
                "privileges": sorted({text.upper() for text in grant.texts("privileges")}),
                "grant_option": grant.flag("grant_option"),
            }
            yield "grant", f"{account}:{database}.{table}", fields


def _rabbitmq(part: Fields) -> Iterator[Item]:
    for _, name in _enabled(part, "vhosts"):
        yield "vhost", name, {"name": name}
    for entry, name in _enabled(part, "users"):
        yield "user", name, {"name": name, **_given(entry, "password"), "tags": sorted(entry.texts("tags"))}
        for permission in entry.each("permissions"):
            vhost = permission.text("vhost", "/")
            rights = {key: permission.text(key) for key in ("configure", "write", "read")}
            yield "permission", f"{name}@{vhost}", {"user": name, "vhost": vhost, **rights}


def _keystone(part: Fields, region: str) -> Iterator[Item]:
    region = part.text("region", region)
    for entry, name in _enabled(part, "domains"):
        yield "domain", name, {"name": name, **_given(entry, "description")}
    for entry, name in _enabled(part, "services"):
        yield from _service(entry, name, region)
    for entry, name in _enabled(part, "projects"):
        domain = entry.text("domain", "default")
        yield "project", f"{domain}/{name}", {"name": name, "domain": domain, **_given(entry, "description")}
    for _, name in _enabled(part, "roles"):
        yield "role", name, {"name": name}
    for entry, name in _enabled(part, "users"):
        domain = entry.text("domain", "default")
        yield "user", f"{domain}/{name}", {"name": name, "domain": domain, **_given(entry, "password", "email")}
        yield from _assignments(entry, name, domain)


def _service(entry: Fields, name: str, region: str) -> Iterator[Item]:
    type_ = entry.text("type")
    yield "service", name, {"name": name, "type": type_, "description": entry.text("description")}
    region = entry.text("region", region)
    for interface, url in entry.mapping("endpoints").items():
        if url:
            fields = {"service": name, "type": type_, "interface": interface, "region": region, "url": str(url)}
            yield "endpoint", f"{name}/{interface}/{region}", fields


def _assignments(entry: Fields, name: str, domain: str) -> Iterator[Item]:
    project = entry.text("project")
    if entry.texts("roles") and not project:
        entry.problem(
            "roles", f"the user {name} has roles and no project to have them in", "name a project, or use system_roles"
        )
    for role in entry.texts("roles"):
        fields = {"user": name, "domain": domain, "role": role, "project": project}
        yield "role_assignment", f"{domain}/{name}/{project}/{role}", fields
    for role in entry.texts("system_roles"):
        fields = {"user": name, "domain": domain, "role": role, "system": "all"}
        yield "role_assignment", f"{domain}/{name}/system/{role}", fields
