"""What verbs do with a site's content, as functions for `run.python`: one plain JSON argument, one plain JSON answer.

A source of content is {"directory": path}, or {"repository": path, "commit": 40 hex digits, "path": folder}.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler import errors, prepare, sops
from reconciler.catalogue import Catalogue
from reconciler.git import tree
from reconciler.model import to_json
from reconciler.render import render as render_host
from reconciler.site import Site

Source = Mapping[str, str]
WORK_TREE = "work tree"  # stands for the revision of content that is in no commit


def read(source: Source) -> dict[str, bytes]:
    """The files of a site. Raises errors.SiteInvalid, errors.Terminal."""
    if "directory" in source:
        return tree.read_worktree(Path(source["directory"]))
    return tree.read(Path(source["repository"]), source["commit"], source["path"])


def validate(argument: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "all_hosts": bool} → {"problems": rows, "hosts": count, "rendered": names}."""
    try:
        site = prepare.load(read(argument["source"]))
    except errors.SiteInvalid as error:
        return {"problems": _rows(error.problems), "hosts": 0, "rendered": []}
    problems = set(site.warnings)
    hosts = list(site.hosts) if argument["all_hosts"] else representatives(site)
    for host in hosts:
        try:
            render_host(site, host, WORK_TREE)
        except errors.SiteInvalid as error:
            problems.update(error.problems)
    return {"problems": _rows(problems), "hosts": len(site.hosts), "rendered": hosts}


def representatives(site: Site) -> list[str]:
    """One host of each kind: the same groups, networks, own variables and own override files make two hosts alike."""
    own: dict[str, set[str]] = {}
    for path in site.overrides:
        for name in path.split("/")[:-1]:
            if name in site.hosts:
                own.setdefault(name, set()).add(path.replace(name, "{host}"))
    firsts = {hosts[0] for hosts in site.groups.values() if hosts}  # they own jobs and registrations
    kinds: dict[Any, str] = {}
    for name, host in site.hosts.items():
        variables = frozenset(key for key, found in site.layers(name).items() if found.layers[-1].origin == "host")
        duties = frozenset(group for group in host.groups if site.groups.get(group, ("",))[:1] == (name,))
        kind = (
            host.groups,
            frozenset(host.addresses),
            frozenset(host.facts),
            variables,
            frozenset(own.get(name, ())),
            duties if name in firsts else None,
        )
        kinds.setdefault(kind, name)
    return list(kinds.values())


def explain(argument: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "host", "name"} → {"name", "host", "value", "secret", "layers": […], "problems": rows}."""
    from reconciler.render import explain as explained

    site = prepare.load(read(argument["source"]))
    found = explained(site, argument["host"], argument["name"])
    variable = site.catalogue.variables.get(found.name)
    return {
        "name": found.name,
        "host": found.host,
        "value": found.value,
        "secret": found.secret,
        "description": variable.description if variable else "",
        "layers": [{"origin": layer.origin, "value": layer.value, "place": str(layer.place)} for layer in found.layers],
        "problems": _rows(found.problems),
    }


def render(argument: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "host", "keys": None or sops.Keys as JSON} → {"config_root", "files": [[path, content, mode]]}.

    Without keys secrets stay tokens.
    """
    from reconciler.render import bind

    content = read(argument["source"])
    site = prepare.load(content)
    _require_host(site, argument["host"])
    desired = render_host(site, argument["host"], WORK_TREE)
    secrets: Mapping[str, str] | None = None
    if argument["keys"] is not None:
        keys = sops.Keys.from_json(argument["keys"])
        secrets = prepare.decrypt(site, content, argument["host"], desired, keys)
    return {
        "config_root": desired.config_root,
        "files": [
            [file.path, file.content if secrets is None else bind(file.content, secrets), file.mode]
            for file in desired.files
        ],
    }


def hosts(argument: Mapping[str, Any]) -> list[str]:
    """{"source"} → the names of all hosts."""
    return list(prepare.load(read(argument["source"])).hosts)


def plan(argument: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "base": source or None, "hosts": names, "revision"} → {"plans": one per host, "policy": differences}.

    A host that only the base has is planned as one that nothing is wanted of.
    """
    from reconciler.ci_child import policy_changes, rotations
    from reconciler.plan import preview
    from reconciler.render import bind
    from reconciler.render.digest import part_digest

    site = prepare.load(read(argument["source"]))
    base = _base_site(argument["base"])
    plans, problems = [], []
    for host in argument["hosts"]:
        before = render_host(base, host, "base") if base is not None and host in base.hosts else None
        after = render_host(site, host, argument["revision"])
        plans.append(to_json(preview(before, after, bind=bind, part_digest=part_digest)))
        problems += rotations(before, after)
    if problems:
        raise errors.SiteInvalid(sorted(set(problems)))
    policy = policy_changes(base.policy, site.policy) if base is not None else []
    return {"plans": plans, "policy": [to_json(item) for item in policy]}


def _base_site(source: Source | None) -> Site | None:
    """The site to compare with. One that is not valid counts as a problem of the base, and says so."""
    if source is None:
        return None
    try:
        return prepare.load(read(source))
    except errors.SiteInvalid as error:
        raise errors.Terminal(
            f"the revision to compare with ({source.get('commit', '')[:12]}) is not valid itself: {error} (give another "
            "one with --base, or --base nothing)",
            reason="BaseInvalid",
        ) from None


def passwords(argument: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{"source", "services": names or []} → [{"name", "kind", "length", "service"}] of the catalogue with the site's own services."""
    catalogue = _catalogue(read(argument["source"]))
    wanted = set(argument["services"])
    if unknown := wanted - catalogue.services.keys():
        raise errors.Terminal(f"there is no service {', '.join(sorted(unknown))}", reason="ServiceUnknown")
    return [
        {"name": found.name, "kind": "random", **found.definition, "service": found.service}
        for found in catalogue.password_definitions()
        if not wanted or found.service in wanted
    ]


def _catalogue(content: Mapping[str, bytes]) -> Catalogue:
    from reconciler.catalogue.load import combine
    from reconciler.catalogue.load import read as read_services

    problems: list[errors.Problem] = []
    own = {path.removeprefix("services/"): data for path, data in content.items() if path.startswith("services/")}
    whole = combine(prepare.shipped(), read_services(own, "site", problems), problems) if own else prepare.shipped()
    if any(problem.severity == "error" for problem in problems):
        raise errors.SiteInvalid(problems)
    return whole


def _require_host(site: Site, host: str) -> None:
    if host not in site.hosts:
        known = ", ".join(sorted(site.hosts)[:8])
        raise errors.Terminal(f"inventory.yml has no host {host!r} (it has {known})", reason="HostUnknown")


def _rows(problems: Iterable[errors.Problem]) -> list[Sequence[Any]]:
    ordered = sorted(problems, key=lambda p: (p.file, p.line, p.column, p.message))
    return [[p.file, p.line, p.column, p.message, p.hint, p.severity] for p in ordered]


def desired(argument: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "host", "keys"} → {"desired", "secrets"}, as `prepare.prepare_child` gives for a commit."""
    content = read(argument["source"])
    site = prepare.load(content)
    _require_host(site, argument["host"])
    wanted = render_host(site, argument["host"], WORK_TREE)
    keys = sops.Keys.from_json(argument["keys"])
    return {
        "desired": to_json(wanted),
        "secrets": prepare.decrypt(site, content, argument["host"], wanted, keys),
    }
