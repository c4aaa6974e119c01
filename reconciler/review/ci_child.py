"""What `ci` does with sites in a limited child process: validate, render and plan; nothing of a site leaves it but plans.

Functions here take and give plain JSON values, for `run.python`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.codec import to_json
from reconciler.document import yaml
from reconciler.document.yaml import Document
from reconciler.errors import Problem, SiteInvalid
from reconciler.model import OURS, Desired, Difference
from reconciler.plan import leaving, preview, release_step, rotation
from reconciler.plan.acknowledged import entries
from reconciler.render import Sharing, World, render, stand_in
from reconciler.render.collect import collect
from reconciler.review import claims, gate, members, merging, power, readers
from reconciler.review.claims import Claims
from reconciler.review.grouping import Collector
from reconciler.review.members import Members
from reconciler.review.shape import readable
from reconciler.site import Site, policy
from reconciler.source import made as prepared
from reconciler.source import prepare, prepare_child, site_child
from reconciler.source.site_child import gather, warm
from reconciler.system.alarm import Alarm
from reconciler.text import json_text

__all__ = ["gather", "hosts", "plan", "policy_changes", "rules", "site_name", "warm"]

_MAX_PROBLEMS = 1000
_MAX_BOTH = 1000  # files that both sides of a merge changed


def plan(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> dict[str, Any]:
    """Load both sites, plan every n-th host. Problems of a site are part of the answer; see `_Child`."""
    child = _Child(argument)
    try:
        content, child.both = _content(argument, gathered)
        if child.both:
            return child.answer()
        with Alarm(argument["load_seconds"], "reading the name of the site"):
            child.site = site_name(content) or ""
        child.head = site_child.load(content, argument["load_seconds"])
    except SiteInvalid as error:
        child.problems += error.problems
        return child.answer()
    if argument["base"]:
        try:
            before = site_child.files(gathered, "base")
            child.base = site_child.load(before, argument["load_seconds"], pinned=False)
            child.readers = readers.given((before, child.base), (content, child.head))
        except SiteInvalid as error:
            child.base_problems += error.problems
    if argument.get("made"):
        child.made, child.base_problems = site_child.files(gathered, "made"), []
    child.plan_share()
    return child.answer()


def _content(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> tuple[Mapping[str, bytes], tuple[str, ...]]:
    """The files of the head, or what they come to on the base, and which of them nobody can tell of. Raises errors.SiteInvalid."""
    content = site_child.files(gathered, "head")
    if not argument.get("merges") or isinstance(gathered["base"], SiteInvalid):
        return content, ()
    if isinstance(gathered.get("fork"), SiteInvalid):
        return content, (".",)
    found, both = merging.merged(gathered.get("fork") or {}, content, gathered["base"])
    return found, both[:_MAX_BOTH]


def hosts(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> list[Any]:
    """{"source"} → [the site's name, its hosts]."""
    site = site_child.load(site_child.files(gathered, "source"))
    return [site.name, list(site.hosts)]


def rules(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "name"} → `gate.Rules` of its reconciler.yml, whatever the rest of the site is like."""
    name = argument["name"]
    try:
        content = site_child.files(gathered, "source")
        name = site_name(content) or name
        with Alarm(prepare.LOAD_SECONDS, "reading reconciler.yml"):
            document = yaml.load(content.get("reconciler.yml", b""), "reconciler.yml")
            found = gate.rules(
                name, policy.alone(Document("reconciler.yml", {}) if document.data is None else document)
            )
    except SiteInvalid as error:
        found = gate.unreadable(name, str(error.problems[0]))
    answer: dict[str, Any] = to_json(found)
    return answer


def site_name(content: Mapping[str, bytes]) -> str | None:
    """The name that reconciler.yml gives, as far as it can be read."""
    try:
        data = yaml.load(content.get("reconciler.yml", b""), "reconciler.yml").data
    except SiteInvalid:
        return None
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


class _Child:
    """One child's work: its share of the hosts, one after the other; what is kept of each is small."""

    def __init__(self, argument: Mapping[str, Any]) -> None:
        self.argument = argument
        self.site = ""
        self.head: Site | None = None
        self.base: Site | None = None
        self.sharing = Sharing()  # of both revisions: most of them is alike
        self.worlds: dict[str, World] = {}
        self.problems: list[Problem] = []
        self.base_problems: list[Problem] = []
        self.groups = Collector()
        self.rotated: dict[str, list[str]] = {}
        self.lighter: dict[str, list[str]] = {}
        self.upgrades: dict[str, list[str]] = {}
        self.acknowledged: list[list[Any]] = []
        self.frontends: list[dict[str, Any]] | None = None
        self.backends: dict[str, list[str]] = {}
        self.haproxy = False
        self.claims: list[Claims] = []
        self.members: list[Members] = []
        self.slow = False
        self.both: tuple[str, ...] = ()
        self.readers: dict[str, str] = {}
        self.known: power.Known | None = None
        self.grounds: list[power.Ground] = []
        self.named: list[power.Named] = []
        self.commands: list[power.Command] = []
        self.made: Mapping[str, bytes] = {}  # the base as another program made it

    def plan_share(self) -> None:
        assert self.head is not None
        for host in site_child.share(self.argument, self.head.hosts, also=self.base.hosts if self.base else ()):
            self._host(host)
            if self.slow or len(self.problems) > _MAX_PROBLEMS:
                break  # each host more would take as long

    def _host(self, host: str) -> None:
        assert self.head is not None
        if host not in self.head.hosts:
            return  # its node finds that the inventory does not know it, and changes nothing
        after = self._render(self.head, host, "head", self.problems)
        before = None
        if self.base is not None and host in self.base.hosts:
            made = self._render(self.base, host, "base", self.base_problems)
            before = replace(made, revision=self.argument["base"]["commit"]) if made else None
        if after is None or self.base_problems:
            return
        with self._alarm(f"planning the host {host}"):
            start = (self.argument["base"] or {}).get("commit", "")
            between, before = before, prepared.of(self.made, host, start) or before
            self._plan(host, before, after, between)
            self._note_backends(host, after)

    def _alarm(self, what: str) -> Alarm:
        """Of its own for each revision and for what is between them: what one takes is never called the other's fault."""
        return Alarm(self.argument["host_seconds"], what)

    def _render(self, site: Site, host: str, revision: str, problems: list[Problem]) -> Desired | None:
        with self._alarm(f"the host {host}") as alarm:
            made = self._rendered(site, host, revision, problems)
        self.slow |= alarm.rang
        return made

    def _rendered(self, site: Site, host: str, revision: str, problems: list[Problem]) -> Desired | None:
        try:
            if revision not in self.worlds:
                self.worlds[revision] = World(site, self.sharing)
            made = prepare.stamped(render(site, host, revision, self.worlds[revision]))
        except SiteInvalid as error:
            problems += error.problems
            return None
        problems += _strays(made)
        return made

    def _plan(self, host: str, before: Desired | None, after: Desired, between: Desired | None) -> None:
        assert self.head is not None
        found = preview(before, after, bind=stand_in, between=between)
        self.known = self.known or power.Known(self.head.catalogue)
        plan = power.marked(readable(found, before, after), before, after, self.known)
        self._given(before, after)
        for name, digest in before.secrets.items() if before else ():
            if after.secrets.get(name, digest) != digest:
                self.rotated.setdefault(name, []).append(host)
        going = frozenset(action.target for action in plan.actions if "prune" in action.risks)
        if going:
            self.acknowledged += [[*entry, host] for entry in entries(after.policy, host) if entry[1] == going]
        if before and before.release not in ("", after.release):
            self.upgrades.setdefault(f"{before.release} → {after.release}", []).append(host)
        for name in _lighter(before, after):
            self.lighter.setdefault(name, []).append(host)
        self.claims.append(claims.of(after, plan, prepare_child.budgets(self.head, after)))
        self.members.append(members.of(before, after, plan))
        self.problems += refusals(self.head, before, after)
        self.groups.add(self.head.hosts[host], replace(plan, revision=self.argument["head"]["commit"]))

    def _given(self, before: Desired | None, after: Desired) -> None:
        """What the host had, and what of the site as a whole is given to it besides actions."""
        assert self.head is not None and self.known is not None
        if before:  # as another program made it, maybe, where this one cannot read the base
            joins = self.base is None or not self.base.hosts.keys() >= self.head.hosts.keys()
            self.grounds.append(power.ground(before, joins=joins))
        existing = (
            {name.partition(".")[0] for name in self.base.passwords}
            if self.base
            else {*before.secrets}
            if before
            else ()
        )
        self.named += power.named(after, self.known, existing)
        self.commands += power.commands(before, after, self.known)

    def _note_backends(self, host: str, after: Desired) -> None:
        """Which containers of a host answer behind haproxy. A frontend is called like its container, as in keystone_internal; one
        with standbys breaks connections and is left out."""
        if self.frontends is None:
            try:
                self.frontends = collect(self.worlds["head"], host, "frontends")
            except SiteInvalid:  # no template asked for them here, and so nobody said that they are wrong
                return
        self.haproxy |= any(container.name == "haproxy" for container in after.containers)
        for entry in self.frontends:
            own = [
                c.name for c in after.containers if c.service == entry["service"] and entry["name"].startswith(c.name)
            ]
            if own and not entry["active_passive"]:
                self.backends.setdefault(max(own, key=len), [member["host"] for member in entry["members"]])

    def answer(self) -> dict[str, Any]:
        head, base = self.head, self.base
        old, new = (list(base.hosts) if base else []), (list(head.hosts) if head else [])
        wanted = self.argument["hosts"]
        return {
            "site": head.name if head else self.site,
            "hosts": [host for host in new if not wanted or host in wanted],
            "joined": [host for host in new if base and host not in base.hosts],
            "left": [host for host in old if head and host not in head.hosts],
            "groups": to_json(self.groups.rows),
            "rotated": self.rotated,
            "lighter": self.lighter,
            "upgrades": self.upgrades,
            "backends": self.backends,
            "haproxy": self.haproxy,
            "rollout": to_json(prepare_child.rollout(head, {})) if head else None,
            "claims": to_json(claims.merged(self.claims)),
            "ground": to_json(power.together(self.grounds)),
            "named": to_json(self.named),
            "commands": to_json(self.commands),
            "members": to_json(members.merged([*self.members, _unsaid(base, head)])),
            "acknowledged": [[base, sorted(names), host] for base, names, host in self.acknowledged],
            "acknowledge": [_entry(entry, head, base) for entry in head.policy["acknowledge"]] if head else [],
            "policy": [to_json(d) for d in (*policy_changes(base.policy, head.policy), *readers.believed(base, head))]
            if base and head
            else [],
            "warnings": to_json(head.warnings) if head else [],
            "problems": to_json(self.problems[:_MAX_PROBLEMS]),
            "base_problems": to_json(self.base_problems[:_MAX_PROBLEMS]),
            "both": list(self.both),
            "readers": self.readers,
            "rekeyed": readers.rekeyed(base, head) if base and head else [],
        }


def _strays(desired: Desired) -> list[Problem]:
    """Files that a node would refuse to write, because they are not below its config root or are this program's own there."""
    root = desired.config_root
    return [
        Problem(
            file.sources[0] if file.sources else file.path,
            0,
            0,
            f"the file {file.path!r} is this program's own in {root}"
            if file.path.startswith(OURS)
            else f"the file {file.path!r} is not below {root}",
        )
        for file in desired.files
        if file.path.startswith(("/", OURS)) or {"", ".", ".."} & set(file.path.split("/"))
    ]


def _unsaid(base: Site | None, head: Site | None) -> Members:
    """The hosts of the base that the head has no more, and does not say that they left."""
    if base is None or head is None:
        return Members()
    gone = [host for name, host in base.hosts.items() if name not in head.hosts and name not in head.left]
    return Members(unsaid={host.name: members.line(host) for host in gone})


def _entry(entry: Mapping[str, Any], head: Site, base: Site | None) -> list[Any]:
    """An acknowledgement of the head: its base, containers and hosts, and whether it is new."""
    old = base.policy["acknowledge"] if base else []
    return [entry["base"], sorted(entry["remove"]), entry["hosts"] or list(head.hosts), entry not in old]


def _lighter(before: Desired | None, after: Desired) -> list[str]:
    """Containers that count for less from now on, such as `web: data_plane`: what restarts them next warns of less."""
    old = {container.name: container for container in before.containers} if before else {}
    return [
        f"{new.name}: {flag}"
        for new in after.containers
        for flag in ("data_plane", "stateful")
        if new.name in old and getattr(old[new.name], flag) and not getattr(new, flag)
    ]


def refusals(head: Site, before: Desired | None, after: Desired) -> list[Problem]:
    """What the node would refuse of a host of `head`: changes of secrets, a step between releases, too many members that leave."""
    if before is None:
        return []
    by_hand = after.policy.get("changed_by_hand", ())
    found = [
        Problem("passwords.yml", 0, 0, rotation.message(name, instead))
        for name, instead in rotation.refused(before, after).items()
        if name not in by_hand
    ]
    if step := release_step.refused([before.release], after):
        found.append(head.layers(after.host)["openstack_release"].place.problem(step))
    if why := leaving.refused(before, after):
        found.append(Problem("inventory.yml", 0, 0, why))
    return found


def policy_changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """The settings of reconciler.yml that differ, by dotted name."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += policy_changes(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(Difference(f"{prefix}{name}", _said(new), _said(old)))
    return found


def _said(value: Any) -> str:
    if value is None:
        return "(not set)"
    return value if isinstance(value, str) else json_text(value)
