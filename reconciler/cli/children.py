"""What verbs do with a site's content, as functions for `run.python`: a plain JSON argument, what was read, a plain JSON answer.

`source` and `base` in an argument are sources of `git.content`; their files are the second argument.
"""

from collections.abc import Mapping
from typing import Any

from reconciler import errors
from reconciler.catalogue import Catalogue
from reconciler.codec import to_json
from reconciler.document.numbers import spelled
from reconciler.git.content import WORK_TREE
from reconciler.plan import preview
from reconciler.reasons import Reason
from reconciler.render import Sharing, World, render, stand_in
from reconciler.render import explain as explained
from reconciler.review import claims, power
from reconciler.review.ci_child import policy_changes, refusals
from reconciler.secrets import sops
from reconciler.site import Site, authorities, kolla_build, upgrade, users
from reconciler.site.assigned import assigned
from reconciler.site.layout import GLOBALS
from reconciler.site.overrides import unread
from reconciler.site.passwords import is_password_file
from reconciler.site.upgrade import said
from reconciler.source import made, prepare, prepare_child
from reconciler.source.site_child import Content, files, gather, load, share, warm
from reconciler.source.site_child import render as render_host
from reconciler.system.alarm import Alarm

__all__ = [
    "encrypted",
    "every",
    "explain",
    "gather",
    "kinds",
    "passwords",
    "plan",
    "representatives",
    "sealed",
    "tls",
    "upgraded",
    "validate",
    "warm",
]

Gathered = Mapping[str, Content | errors.SiteInvalid]


def validate(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source", "all_hosts": bool} → {"problems", "hosts": count, "rendered": names}."""
    try:
        return _validated(files(gathered, "source"), all_hosts=argument["all_hosts"])
    except errors.SiteInvalid as error:
        return {"problems": to_json(sorted(set(error.problems))), "hosts": 0, "rendered": []}


def upgraded(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source", "release"} → `upgrading.Rewritten`: the site's files of variables as the release wants them, and what is wrong with the site then.

    Raises errors.Terminal (ReleaseStepRefused, ReleaseUnknown).
    """
    content = files(gathered, "source")
    catalogue, release = _catalogue(content), argument["release"]
    known = [str(one) for one in catalogue.variables[upgrade.RELEASE].schema.get("enum", ())]
    if known and release not in known:
        message = f"this program does not know the release {release!r} (it knows {', '.join(known)})"
        raise errors.Terminal(message, reason=Reason.ReleaseUnknown)
    found = upgrade.upgraded(content, catalogue, release)
    if found.refused:
        raise errors.Terminal(found.refused, reason=Reason.ReleaseStepRefused)
    new = {**content, **{path: text.encode() for path, text in found.files.items()}}
    told = {key: to_json(getattr(found, key)) for key in ("files", "done", "left")}
    return {**told, "problems": _validated(new, all_hosts=False)["problems"]}


def _validated(content: Content, *, all_hosts: bool) -> dict[str, Any]:
    """{"problems", "hosts": count, "rendered": names}."""
    try:
        site = load(content)
    except errors.SiteInvalid as error:
        return {"problems": to_json(sorted(set(error.problems))), "hosts": 0, "rendered": []}
    problems = set(site.warnings)
    alike = kinds_of(site)
    hosts = list(site.hosts) if all_hosts else [hosts[0] for hosts in alike]
    world = World(site)
    sources: dict[str, set[str]] = {}  # host → what its files were made of
    for host in hosts:
        with Alarm(prepare.HOST_SECONDS, f"the host {host}") as alarm:
            try:
                made = render(site, host, WORK_TREE, world)
                sources[host] = {source for file in made.files for source in file.sources}
            except errors.SiteInvalid as error:
                problems.update(error.problems)
        if alarm.rang or world.exhausted:
            break  # so would every other host, and each would take as long
    if len(sources) == len(hosts):
        problems.update(unread(_nobodys(site, alike, sources), site.hosts, site.catalogue))
    return {"problems": to_json(sorted(problems)), "hosts": len(site.hosts), "rendered": hosts}


def _nobodys(site: Site, alike: list[list[str]], sources: Mapping[str, set[str]]) -> list[str]:
    """The overrides that no host reads. A host that was not rendered reads what the one reads that stands for it."""
    standing = {host: hosts[0] for hosts in alike for host in hosts}
    read = {source for found in sources.values() for source in found}
    read |= {f"config/{path}" for path in authorities.files(site)}
    result = []
    for path in site.overrides:
        own = next((part for part in path.split("/")[:-1] if part in site.hosts), "")
        stands = own if own in sources else standing.get(own, "")
        here = sources[stands] if own else read
        if f"config/{path.replace(own, stands) if own else path}" not in here:
            result.append(path)
    return result


def kinds(argument: Mapping[str, Any], gathered: Gathered) -> list[str]:
    """{"source"} → one host of each kind."""
    return representatives(load(files(gathered, "source")))


def representatives(site: Site) -> list[str]:
    """One host of each kind."""
    return [hosts[0] for hosts in kinds_of(site)]


def kinds_of(site: Site) -> list[list[str]]:
    """The hosts by their kind: the same groups, networks, own variables and own override files make two hosts alike."""
    own: dict[str, set[str]] = {}
    for path in site.overrides:
        for name in path.split("/")[:-1]:
            if name in site.hosts:
                own.setdefault(name, set()).add(path.replace(name, "{host}"))
    firsts = {hosts[0] for hosts in site.groups.values() if hosts}  # they own jobs and registrations
    kinds: dict[Any, list[str]] = {}
    for name, host in site.hosts.items():
        duties = frozenset(group for group in host.groups if site.groups.get(group, ("",))[:1] == (name,))
        kind = (
            host.groups,
            frozenset(host.addresses),
            frozenset(host.facts),
            site.alone(name),
            frozenset(own.get(name, ())),
            duties if name in firsts else None,
        )
        kinds.setdefault(kind, []).append(name)
    return list(kinds.values())


def explain(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source", "host", "name"} → {"name", "host", "value", "secret", "layers": […], "problems"}."""
    site = load(files(gathered, "source"))
    with Alarm(prepare.HOST_SECONDS, argument["name"]):
        found = explained(site, argument["host"], argument["name"])
    variable = site.catalogue.variables.get(found.name)
    return {
        "name": found.name,
        "host": found.host,
        "value": spelled(found.value),
        "secret": found.secret,
        "description": variable.description if variable else "",
        "layers": [
            {"origin": layer.origin, "value": spelled(layer.value), "place": str(layer.place)} for layer in found.layers
        ],
        "problems": to_json(found.problems),
    }


def every(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source", "hosts": names or [], "revision", …} → {"hosts": all names, "made": the desired state of each of its share}."""
    site = load(files(gathered, "source"))
    world = World(site)
    made = [to_json(render_host(site, host, argument["revision"], world)) for host in share(argument, site.hosts)]
    return {"hosts": list(site.hosts), "made": made}


def plan(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source", "base": source or None, "hosts": names or [], "revision", "made": place or None, …} → {"hosts": all names, "plans":
    one for each of its share, "policy": differences, and what they mean for a rollout: "rollout", "claims", "joined"}.

    `made` is the base's desired state as another program made it; a host that is not in it has the base's by this one.
    """
    site = load(files(gathered, "source"))
    foreign = files(gathered, "made") if argument.get("made") else {}
    base = None
    try:
        base = _base_site(argument["base"], gathered)
    except errors.Terminal:
        if not foreign:
            raise  # to this program it may mean nothing, and there is what it meant to the other one
    plans, problems, asked = [], [], []
    sharing, known = Sharing(), power.Known(site.catalogue)
    world, earlier = World(site, sharing), World(base, sharing) if base is not None else None
    for host in share(argument, site.hosts):
        start = str((argument["base"] or {}).get("commit") or "base")
        between = render_host(base, host, start, earlier) if base is not None and host in base.hosts else None
        before = made.of(foreign, host, start) or between
        after = render_host(site, host, argument["revision"], world)
        found = power.marked(preview(before, after, bind=stand_in, between=between), before, after, known)
        plans.append(to_json(found))
        asked.append(claims.of(after, found, prepare_child.budgets(site, after)))
        problems += refusals(site, before, after)
    if problems:
        raise errors.SiteInvalid(sorted(set(problems)))
    policy = policy_changes(base.policy, site.policy) if base is not None else []
    return {
        "hosts": list(site.hosts),
        "plans": plans,
        "policy": to_json(policy),
        "rollout": to_json(prepare_child.rollout(site, {})) if base is not None else None,
        "claims": to_json(claims.merged(asked)),
        "joined": [host for host in site.hosts if base is not None and host not in base.hosts],
    }


def _base_site(source: Mapping[str, str] | None, gathered: Gathered) -> Site | None:
    """The site to compare with. One that is not valid counts as a problem of the base, and says so."""
    if source is None:
        return None
    try:
        return load(files(gathered, "base"), pinned=False)
    except errors.SiteInvalid as error:
        raise errors.Terminal(
            f"the revision to compare with ({source.get('commit', '')[:12]}) is not valid itself: {error} (give another "
            "one with --base, or --base nothing)",
            reason=Reason.BaseInvalid,
        ) from None


def passwords(argument: Mapping[str, Any], gathered: Gathered) -> list[dict[str, Any]]:
    """{"source", "services": names or []} → their definitions, each with its "name" and "service", of the catalogue and the site's own services."""
    with Alarm(prepare.LOAD_SECONDS, "reading the services"):
        catalogue = _catalogue(files(gathered, "source"))
    wanted = set(argument["services"])
    if unknown := wanted - catalogue.services.keys():
        raise errors.Terminal(f"there is no service {', '.join(sorted(unknown))}", reason=Reason.ServiceUnknown)
    return [
        {"name": found.name, "kind": "random", **found.definition, "service": found.service}
        for found in catalogue.password_definitions()
        if not wanted or found.service in wanted
    ]


def renamed(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, str]:
    """{"source", "variable"} → `site.users.Renamed`."""
    content = files(gathered, "source")
    return to_json(users.renamed(content, _catalogue(content), argument["variable"]))  # type: ignore[no-any-return]


def building(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source"} → `site.kolla_build.Build`."""
    content = files(gathered, "source")
    return to_json(kolla_build.read(content, _catalogue(content)))  # type: ignore[no-any-return]


def pinned(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source", "values": variable → text} → {"text": globals.yml with them; None where it cannot be rewritten, "elsewhere": the files that set
    one of them as well}."""
    content, values = files(gathered, "source"), argument["values"]
    others = {name for name, path, _ in said(content) if path[-1] in values and (name, len(path)) != (GLOBALS, 1)}
    return {"text": assigned(content.get(GLOBALS, b""), values), "elsewhere": sorted(others)}


def sealed(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source", "file"} → {"names": {dotted name: whether it is set}, "recipients", "text": what sops is given of it} of an
    encrypted file of the site."""
    content, name = files(gathered, "source"), argument["file"]
    found, examined = sops.ciphertexts(content[name], name=name), sops.examine(content[name], name=name)
    return {
        "names": {key: bool(text) for key, text in found.items()},
        "recipients": examined.recipients,
        "text": examined.text.decode(),
    }


def encrypted(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source"} → {"files": {encrypted file: whether it is one secret as a whole}, "hosts": {name: {"key", "reads": files}}}.

    A host reads its password files, and of those below config/ all but what lies in another host's folder.
    """
    content = files(gathered, "source")
    site = load(content)
    found = {name: False for name in sorted(content) if is_password_file(name) and content[name].strip()}
    found |= {f"config/{path}": True for path in site.sealed}
    hosts = {}
    for name, host in site.hosts.items():
        others = site.hosts.keys() - {name}
        whole = [f"config/{path}" for path in site.sealed if not others & set(path.split("/")[:-1])]
        hosts[name] = {"key": host.report_key, "reads": [*site.password_files(name), *whole]}
    return {"files": found, "hosts": hosts}


_TLS = (
    "kolla_enable_tls_external", "kolla_enable_tls_internal", "kolla_enable_tls_backend", "rabbitmq_enable_tls",
    "kolla_external_fqdn", "kolla_external_vip_address", "kolla_internal_fqdn", "kolla_internal_vip_address", "letsencrypt_managed_certs",
)  # fmt: skip


def tls(argument: Mapping[str, Any], gathered: Gathered) -> dict[str, Any]:
    """{"source"} → {"site", "values": what the load balancer's first host has for _TLS, "hosts": {name: its names and addresses}, "keys": theirs}."""
    site = load(files(gathered, "source"))
    first = next(iter(site.groups.get("loadbalancer", ())), next(iter(site.hosts)))
    values = {}
    for name in _TLS:
        with Alarm(prepare.HOST_SECONDS, name):
            found = explained(site, first, name)
        if found.problems:
            raise errors.SiteInvalid(found.problems)
        values[name] = spelled(found.value)
    hosts = {name: [name, *dict.fromkeys(host.addresses.values())] for name, host in site.hosts.items()}
    return {
        "site": site.policy["name"],
        "values": values,
        "hosts": hosts,
        "keys": [h.report_key for h in site.hosts.values() if h.report_key],
    }


def _catalogue(content: Content) -> Catalogue:
    from reconciler.catalogue.load import combine
    from reconciler.catalogue.load import read as read_services

    problems: list[errors.Problem] = []
    own = {path.removeprefix("services/"): data for path, data in content.items() if path.startswith("services/")}
    whole = prepare.shipped()
    if own:
        whole = combine(whole, read_services(own, "site", problems, shipped=whole), problems)
    if any(problem.severity == "error" for problem in problems):
        raise errors.SiteInvalid(problems)
    return whole
