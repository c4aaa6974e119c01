"""Both renders as keys and values, and the comparison of the two."""

import difflib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from reconciler.codec import to_json
from reconciler.model import Container, Desired
from reconciler.render import bind, bind_tree, render
from tests.parity import environment, meaning
from tests.parity.convert import Converted
from tests.parity.oracle import Render

Verdict = Literal["equal", "explained", "different", "missing", "extra"]
VERDICTS: tuple[Verdict, ...] = ("equal", "explained", "different", "missing", "extra")
WHOLE = "(all)"  # the key of a container, file or registration that only one side has


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One key of one thing on one host. `host` is "" for what a cluster has once; `thing` is `container NAME`, `file PATH`,
    `registration ID` or `host NAME`."""

    host: str
    thing: str
    key: str


@dataclass(slots=True)
class Side:
    """What one program makes of a site."""

    values: dict[Item, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)  # thing → service or role

    def add(self, host: str, thing: str, keys: Mapping[str, str], service: str) -> None:
        """A thing with its keys."""
        self.services.setdefault(thing, service)
        self.values[Item(host, thing, WHOLE)] = "there"
        for key, value in keys.items():
            self.values[Item(host, thing, key)] = value


# --- containers ----------------------------------------------------------------------------------------------------

_PLAIN = ("image", "command", "privileged", "ipc_mode", "pid_mode", "cgroupns_mode")
_SHIFTS = {"b": 0, "k": 10, "m": 20, "g": 30}  # of the units of a size
_SETS = ("cap_add", "security_opt", "tmpfs")


def _kolla_container(args: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a container as kolla-ansible's module would ask the engine for it."""
    options = args.get("common_options") or {}
    environment = {**(options.get("environment") or {}), **(args.get("environment") or {})}
    environment["KOLLA_SERVICE_NAME"] = args["name"].replace("_", "-")
    keys = {f"environment/{name}": "" if value is None else str(value) for name, value in environment.items()}
    for name in _PLAIN:
        keys[name] = str(args.get(name) or "")
    keys["privileged"] = str(str(args.get("privileged")).lower() in ("true", "yes", "1")).lower()
    for name in _SETS:
        keys[name] = " ".join(sorted(str(value) for value in args.get(name) or () if value))
    for volume in args.get("volumes") or ():
        if volume:
            source, target, *mode = str(volume).split(":")
            words = set(",".join(mode).split(",")) - {""}
            words = words if words & {"ro", "rw"} else words | {"rw"}
            keys[_mount(target)] = f"{source.rstrip('/') or '/'} {','.join(sorted(words))}"
    keys |= {f"label/{name}": str(value) for name, value in (args.get("labels") or {}).items()}
    for name, value in (args.get("dimensions") or {}).items():
        if name == "ulimits":
            keys |= {f"ulimit/{limit}": f"{pair['soft']} {pair['hard']}" for limit, pair in value.items()}
        else:
            size = re.fullmatch(r"(\d+)([bkmg])b?", str(value).lower())
            keys[f"limit/{name}"] = str(int(size[1]) << _SHIFTS[size[2]]) if size else str(value)
    check = args.get("healthcheck") or {}
    if check and check.get("test") not in ("NONE", ["NONE"]):
        test = check["test"]
        keys["healthcheck/test"] = json.dumps(
            [str(word) for word in test] if isinstance(test, list) else ["CMD-SHELL", test]
        )
        keys |= {f"healthcheck/{name}": str(int(value)) for name, value in check.items() if name != "test"}
    return keys


def _our_container(made: Container) -> dict[str, str]:
    keys = {f"environment/{name}": value for name, value in made.environment.items()}
    for name in _PLAIN:
        value = getattr(made, name)
        keys[name] = " ".join(value) if isinstance(value, tuple) else str(value or "")
    keys["privileged"] = str(made.privileged).lower()
    for name in _SETS:
        value = getattr(made, name)
        words = (
            [f"{key}:{item}" if item else key for key, item in value.items()] if isinstance(value, Mapping) else value
        )
        keys[name] = " ".join(sorted(words))
    for mount in made.mounts:
        keys[_mount(mount.target)] = f"{mount.source.rstrip('/') or '/'} {mount.mode}"
    keys |= {f"label/{name}": value for name, value in made.labels.items()}
    keys |= {f"ulimit/{limit.name}": f"{limit.soft} {limit.hard}" for limit in made.ulimits}
    shown = to_json(made)
    limits = ("mem_limit", "mem_reservation", "memswap_limit", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus")
    limits += (  # type: ignore[assignment]
        "cpuset_mems",
        "kernel_memory",
        "blkio_weight",
        "pids_limit",
        "shm_size",
        "devices",
        "cap_drop",
        "sysctls",
    )
    limits += ("ports", "user", "entrypoint", "working_dir", "hostname", "dns", "extra_hosts", "init", "read_only")  # type: ignore[assignment]
    keys |= {f"limit/{name}": str(shown[name]) for name in limits if shown.get(name)}
    if made.network_mode != "host":
        keys["network_mode"] = made.network_mode
    if made.healthcheck and made.healthcheck.test != ("NONE",):
        keys["healthcheck/test"] = json.dumps(list(made.healthcheck.test))
        for name in ("interval", "timeout", "retries", "start_period"):
            keys[f"healthcheck/{name}"] = f"{getattr(made.healthcheck, name):g}"
    return keys


def _mount(target: str) -> str:
    return f"mount/{target.rstrip('/') or '/'}"


# --- kolla-ansible's side ------------------------------------------------------------------------------------------

_LOADED_AT_BOOT = "/etc/modules-load.d/"
_BOOTSTRAP = "kolla_keystone_bootstrap"
_REGISTERED = ("mysql_db", "mysql_user", "rabbitmq_user", "rabbitmq_vhost")


def theirs(rendered: Render, root: str = "/etc/kolla") -> Side:
    """What kolla-ansible wrote and would have asked for."""
    side = Side()
    folders: dict[tuple[str, str], str] = {}
    for line in rendered.journal:
        args = line["args"]
        role = line["role"].replace("_", "-")
        if line["module"] == "kolla_container" and args.get("action") == "compare_container":
            side.add(line["host"], f"container {args['name']}", _kolla_container(args), role)
            for volume in args.get("volumes") or ():
                if str(volume).startswith(root + "/"):
                    folders[line["host"], str(volume).split(":")[0].rstrip("/")] = role
        elif line["module"] == "kolla_toolbox":
            for name, keys in _registered(args.get("module_name", ""), args.get("module_args") or {}):
                side.add("", f"registration {name}", keys, role)
            for thing, keys in _switched(args.get("module_name", ""), args.get("module_args") or {}):
                side.add(line["host"], f"host {thing}", keys, role)
        elif line["module"] == "command" and _BOOTSTRAP in str(args.get("_raw_params")):
            for name, keys in _bootstrapped(str(args["_raw_params"])):
                side.add("", f"registration {name}", keys, role)
        elif line["module"] == "sysctl" and args.get("state") != "absent":
            side.add(line["host"], f"host sysctl {args['name']}", {"value": str(args["value"])}, role)
        elif line["module"] == "modprobe":
            side.add(
                line["host"],
                f"host module {args['name'].replace('-', '_')}",
                {"params": str(args.get("params", ""))},
                role,
            )
    for host, files in rendered.files.items():
        for path, written in files.items():
            folder = "/".join(path.split("/")[:4])
            if path.startswith(root + "/"):
                if (host, folder) not in folders:
                    continue  # of a one-shot container
                thing = f"file {path[len(root) + 1 :]}"
                role = written.role.replace("_", "-") if _collected(path) else folders[host, folder]
            elif path.startswith(_LOADED_AT_BOOT):
                continue  # as the module that it loads
            else:
                thing, role = f"host file {path}", written.role.replace("_", "-")
            if written.text.strip():  # one that says nothing is none
                keys = {"(mode)": f"{written.mode:04o}", **meaning.read(path, written.text)}
                side.add(host, thing, keys, role or "common")
    return side


def _collected(path: str) -> bool:
    """Whether a file in one service's folder is about another one."""
    return "/services.d/" in path or ("/proxysql/" in path and path.split("/")[-2] in ("users", "rules"))


def _switched(module: str, args: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """What a call of kolla_toolbox sets in Open vSwitch, as we name it."""
    kind = module.rpartition(".")[2]
    if args.get("state") == "absent":
        return
    if kind == "openvswitch_bridge":
        yield f"bridge {args['bridge']}", {"fail_mode": str(args["fail_mode"])}
    elif kind == "openvswitch_port":
        yield f"port {args['port']}", {"bridge": str(args["bridge"])}
    elif kind == "openvswitch_db":
        value = args["value"]
        text = str(value).lower() if isinstance(value, bool) or value in ("True", "False") else str(value)
        yield f"ovs {args['col']}:{args['key']}", {"value": text}


def _registered(module: str, args: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """What a call of kolla_toolbox registers: our own names and fields for it."""
    name = str(args.get("name", ""))
    kind = module.rpartition(".")[2]
    if args.get("state") == "absent":
        return
    if kind == "catalog_service":
        fields = {"type": args["service_type"], "description": args.get("description") or ""}
        yield f"keystone:service:{name}", fields
    elif kind == "endpoint":
        where = f"{args['service']}/{args['endpoint_interface']}/{args['region']}"
        yield f"keystone:endpoint:{where}", {"url": args["url"]}
    elif kind == "project":
        yield f"keystone:project:{args['domain']}/{name}", {}
    elif kind == "identity_domain":
        yield f"keystone:domain:{name}", {}
    elif kind == "identity_user":
        yield f"keystone:user:{args['domain']}/{name}", {"password": str(args.get("password", ""))}
    elif kind == "identity_role":
        yield f"keystone:role:{name}", {}
    elif kind == "role_assignment":
        target = args.get("project") or ("system" if args.get("system") else "domain")
        yield f"keystone:role_assignment:default/{args['user']}/{target}/{args['role']}", {}
    elif kind == "mysql_db":
        yield f"mariadb:database:{name}", {}
    elif kind == "mysql_user":
        host = args.get("host", "localhost")
        yield f"mariadb:user:{name}@{host}", {"password": str(args.get("password") or "")}
        for part in str(args.get("priv") or "").split("/"):
            where, _, privileges = part.partition(":")
            if where:
                listed = sorted(word.strip().upper() for word in privileges.split(","))
                yield f"mariadb:grant:{name}@{host}:{where}", {"privileges": ",".join(listed)}
    elif kind == "rabbitmq_vhost":
        yield f"rabbitmq:vhost:{name}", {}
    elif kind == "rabbitmq_user":
        user, vhost = args["user"], args.get("vhost", "/")
        tags = ",".join(sorted(filter(None, str(args.get("tags") or "").split(","))))
        yield f"rabbitmq:user:{user}", {"password": str(args["password"]), "tags": tags}
        yield f"rabbitmq:vhost:{vhost}", {}
        permissions = {word: str(args.get(f"{word}_priv")) for word in ("configure", "write", "read")}
        yield f"rabbitmq:permission:{user}@{vhost}", permissions


def _bootstrapped(command: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The endpoints of Keystone that its bootstrap makes in a region."""
    *_, internal, public, region = command.split()
    for interface, url in (("internal", internal), ("public", public)):
        yield f"keystone:endpoint:keystone/{interface}/{region}", {"url": url}


# --- our side ------------------------------------------------------------------------------------------------------


def ours(converted: Converted, secrets: Mapping[str, Any]) -> Side:
    """What we make of the same site. Jobs and their folders are left out, as kolla-ansible's one-shots are."""
    side = Side()
    for host in converted.site.hosts:
        desired = render(converted.site, host, "0" * 40)
        jobs = {job.name for job in desired.jobs}
        for container in desired.containers:
            side.add(host, f"container {container.name}", _our_container(container), container.service)
        bound = bind_tree(desired, secrets)
        for file in desired.files:
            text = bound[file.path].decode()
            if file.container not in jobs and text.strip():
                path = f"{desired.config_root}/{file.path}"
                keys = {"(mode)": f"{file.mode:04o}", **meaning.read(path, text)}
                side.add(
                    host, f"file {file.path}", keys, _about(path, converted.site.catalogue.services) or file.service
                )
        _our_registrations(desired, secrets, side)
        _our_host(desired, side)
    return side


def _about(path: str, services: Collection[str]) -> str:
    """The service that a file in another one's folder is about: `glance-api.cfg` is about glance."""
    name = path.rpartition("/")[2].partition(".")[0] if _collected(path) else ""
    while name and name not in services:
        name = name.rpartition("-")[0]
    return name


def _our_registrations(desired: Desired, secrets: Mapping[str, Any], side: Side) -> None:
    kept = {
        "service": ("type", "description"),
        "endpoint": ("url",),
        "user": ("password", "tags"),
        "grant": ("privileges",),
        "permission": ("configure", "write", "read"),
    }
    for registration in desired.registrations:
        keys = {}
        for name in kept.get(registration.type, ()):
            if name in registration.fields:
                value = registration.fields[name]
                keys[name] = ",".join(sorted(value)) if isinstance(value, list | tuple) else bind(str(value), secrets)
        if registration.fields.get("grant_option"):
            keys["privileges"] = ",".join(sorted([*keys["privileges"].split(","), "GRANT"]))
        side.add("", f"registration {registration.id}", keys, registration.service)


def _our_host(desired: Desired, side: Side) -> None:
    for setting in desired.host_settings:
        service, name, said = setting.service, setting.name, setting.fields
        if setting.kind == "sysctl":
            side.add(desired.host, f"host sysctl {name}", {"value": said["live"]}, service)
        elif setting.kind == "module":
            side.add(desired.host, f"host module {name}", {"params": said.get("parameters", "")}, service)
        elif setting.inside:
            side.add(desired.host, f"host {setting.kind} {name}", dict(said), service)
        elif setting.kind == "file":
            keys = {"(mode)": said["mode"], **meaning.read(name, said["content"])}
            side.add(desired.host, f"host file {name}", keys, service)


# --- the comparison ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reason:
    """A reviewed difference: what it is about, and why it may stay."""

    service: str
    thing: str
    key: str
    why: Literal["ours", "oracle", "meaningless"]
    reason: str
    theirs: str = "*"
    ours: str = "*"
    sites: tuple[str, ...] = ()
    releases: tuple[str, ...] = environment.RELEASES

    def covers(self, site: str, release: str, found: "Found") -> bool:
        """Whether it is about this difference."""
        return (
            release in self.releases
            and (not self.sites or site in self.sites)
            and _fits(found.item.thing, self.thing)
            and _fits(found.item.key, self.key)
            and _fits(found.theirs if found.theirs is not None else "", self.theirs)
            and _fits(found.ours if found.ours is not None else "", self.ours)
        )

    @property
    def text(self) -> str:
        return f"{self.service}: {self.thing}: {self.key}"


def _fits(text: str, pattern: str) -> bool:
    """`*` is any text; every other character is itself."""
    return pattern == "*" or re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def load_reasons(path: Path, sites: Collection[str] = ()) -> list[Reason]:
    """The reviewed differences of all releases.

    Raises ValueError for one that is about a whole file, gives no reason, or names a release or one of `sites` that there is not.
    """
    reasons = []
    for service, entries in (yaml.safe_load(path.read_text()) or {}).items():
        for entry in entries:
            about = f"{path.name}: {service}: {entry.get('thing')}"
            known = {"thing", "key", "why", "reason", "theirs", "ours", "sites", "releases"}
            if not {"thing", "key", "why", "reason"} <= entry.keys() or entry.keys() - known:
                raise ValueError(f"{path.name}: {service}: needs thing, key, why and reason: {entry}")
            if entry["why"] not in ("ours", "oracle", "meaningless"):
                raise ValueError(f"{about}: why is ours, oracle or meaningless, not {entry['why']!r}")
            for name, possible in (("sites", sites), ("releases", environment.RELEASES)):
                if possible and (strange := set(entry.get(name, ())) - set(possible)):
                    raise ValueError(f"{about}: {name}: there is no {', '.join(map(str, sorted(strange)))}")
            for key in entry["key"] if isinstance(entry["key"], list) else [entry["key"]]:
                if not str(key).strip("*"):
                    raise ValueError(f"{about}: says nothing about which key")
                reasons.append(
                    Reason(
                        service,
                        entry["thing"],
                        str(key),
                        entry["why"],
                        entry["reason"],
                        theirs=str(entry.get("theirs", "*")),
                        ours=str(entry.get("ours", "*")),
                        sites=tuple(entry.get("sites", ())),
                        releases=tuple(entry.get("releases", environment.RELEASES)),
                    )
                )
    return reasons


@dataclass(frozen=True, slots=True)
class Found:
    """One compared key. None where a side does not have it."""

    item: Item
    service: str
    role: str
    verdict: Verdict
    theirs: str | None = None
    ours: str | None = None
    reason: Reason | None = None


def compare(
    site: str, their: Side, our: Side, reasons: Iterable[Reason] = (), release: str = environment.RELEASES[0]
) -> list[Found]:
    """Every key of both sides, with the verdict on it.

    What only one side has is one difference under the key WHOLE, and its keys follow that one's verdict.
    """
    listed = list(reasons)
    found = []
    for item in sorted({*their.values, *our.values}):
        role = their.services.get(item.thing, "")
        told = role if _collected(f"/{item.thing.partition(' ')[2]}") else ""
        service = told or our.services.get(item.thing) or _home(item.thing, our) or role
        left, right = their.values.get(item), our.values.get(item)
        whole = Item(item.host, item.thing, WHOLE)
        alone = (whole in their.values) != (whole in our.values)
        verdict: Verdict = "equal"
        reason = None
        if left != right:
            verdict = "missing" if right is None else "extra" if left is None else "different"
            asked = whole if alone else item
            probe = Found(asked, service, role, verdict, their.values.get(asked), our.values.get(asked))
            # One of its own service goes before one that is about several.
            fitting = [entry for entry in listed if entry.covers(site, release, probe)]
            reason = min(fitting, key=lambda entry: entry.service not in (service, role), default=None)
        elif item == whole:
            continue
        found.append(Found(item, service, role, "explained" if reason else verdict, left, right, reason))
    return found


def _home(thing: str, our: Side) -> str:
    """Our service for a file that we lack, if we have its container."""
    kind, _, path = thing.partition(" ")
    if kind != "file" or _collected("/" + path):
        return ""
    return our.services.get(f"container {path.partition('/')[0].replace('-', '_')}", "")


def table(found: Iterable[Found]) -> str:
    """A line per service and a total."""
    return summary("service", ((entry.service or "(none)", entry.verdict) for entry in found))


def summary(title: str, verdicts: Iterable[tuple[str, Verdict]]) -> str:
    """A line per name with how many of each verdict it has, and a total."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, verdict in verdicts:
        counts[name][verdict] += 1
    width = max(24, *(len(name) + 2 for name in (title, *counts)))
    lines = [f"{title:<{width}}" + "".join(f"{verdict:>11}" for verdict in VERDICTS) + f"{'agreed':>9}"]
    for name, row in [*sorted(counts.items()), ("total", sum(counts.values(), Counter()))]:
        share = 100 * (row["equal"] + row["explained"]) / row.total() if row else 100.0
        lines.append(f"{name:<{width}}" + "".join(f"{row[verdict]:>11}" for verdict in VERDICTS) + f"{share:>8.2f}%")
    return "\n".join(lines)


def listing(found: Iterable[Found], explained: bool = False) -> Iterator[str]:
    """Every difference: where it is, theirs and ours. What is the same on several hosts is said once."""
    merged: dict[tuple[str, str, str, str, str | None, str | None, str], list[str]] = {}
    for entry in found:
        if entry.verdict == "equal" or (entry.verdict == "explained" and not explained):
            continue
        why = f"  ({entry.reason.why}: {entry.reason.reason})" if entry.reason else ""
        said = (
            entry.service,
            entry.item.thing,
            entry.item.key,
            entry.verdict,
            entry.theirs,
            entry.ours,
            why,
        )
        merged.setdefault(said, []).append(entry.item.host)
    alone = {(said[1], said[3]) for said in merged if said[2] == WHOLE}
    last = ("", "")
    for (service, thing, key, verdict, left, right, why), hosts in sorted(
        merged.items(), key=lambda pair: [str(word) for word in pair[0]]
    ):
        if key != WHOLE and (thing, verdict) in alone:
            continue
        if (service, thing) != last:
            yield f"\n{service}: {thing}"
            last = (service, thing)
        where = f"  [{', '.join(hosts)}]" if hosts != [""] else ""
        yield f"  {verdict:<9} {key}{where}{why}"
        if key == meaning.PROGRAM:
            yield from _changed(left, right)
        elif key != WHOLE:
            yield f"            theirs: {_shown(left)}"
            yield f"            ours:   {_shown(right)}"


def _changed(left: str | None, right: str | None) -> Iterator[str]:
    """The lines of a program that differ: `-` theirs, `+` ours."""
    lines = difflib.unified_diff((left or "").splitlines(), (right or "").splitlines(), lineterm="", n=0)
    for line in lines:
        if not line.startswith(("---", "+++", "@@")):
            yield f"            {line[0]} {line[1:]}"


def _shown(value: str | None) -> str:
    if value is None:
        return "-"
    return value.replace("\n", " | ") if value else "(empty)"


def stale(reasons: Iterable[Reason], found: Mapping[tuple[str, str], Iterable[Found]]) -> Iterator[str]:
    """What reasons claim and nothing bears out: a release, or a site, that they name and have nothing to explain of.

    `found` is by site and release. A reason that names no sites has to explain something of each of its releases, at any site.
    """
    used = {(entry.reason, *where) for where, every in found.items() for entry in every if entry.reason}
    for reason in reasons:
        at = [(site, release) for told, site, release in used if told == reason]
        for release in reason.releases:
            if release not in [other for _, other in at]:
                yield f"{reason.text}: of {release}"
        for site in reason.sites:
            if site not in [other for other, _ in at]:
                yield f"{reason.text}: at {site}"
