"""What is worth a request to the forge: transitions, and the fewer the longer a commit has been talked about.

A rollout over 1,000 hosts changes its counts every second. What is said about one commit under one name is therefore spaced:
the first result at once, the next not before a minute, then two, four … an hour. Of groups only the first result and its
first turn into the other are free, and everything else comes out of a small allowance that they share: whatever the hosts
do, a commit costs less than 50 requests in its first hour.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.fleet.inventory import Fleet
from reconciler.fleet.judge import View, aggregate, overdue, worst
from reconciler.fleet.memory import Said
from reconciler.phrases import count
from reconciler.report import StatusText
from reconciler.report.summary import AHEAD
from reconciler.system.pacing import doubled

MOST_GROUPS = 12  # with more of them, the summary alone is posted
_FIRST_GAP, _LONGEST_GAP = 60.0, 3600.0  # seconds
_ALLOWANCE = 2  # results of groups beyond those that are free
_SPENT_GAP = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """One status that could be posted. `environment` is where a forge shows deployments of the same ("": nowhere); `branch` where the commit is
    ("": the followed one)."""

    context: str
    environment: str
    text: StatusText
    steady: bool = True
    shared: bool = False  # whether it is a group's
    branch: str = ""

    @property
    def name(self) -> str:
        """What it is remembered by: the same context may have something to say of the head and of a commit that is not merged."""
        return f"{self.context}@{self.branch}" if self.branch else self.context


def announcements(fleet: Fleet, head: str, views: Sequence[View], now: datetime, patience: float) -> list[Announcement]:
    """Everything that a round could say: the summary, then each host, or with many hosts each group."""
    base = f"reconciler/{fleet.site}"
    groups = {
        group: [found for found in views if found.member.group == group]
        for group in dict.fromkeys(found.member.group for found in views)
    }
    # With many hosts the site as a whole is deployed: a deployment per host would be a request per host.
    environment = fleet.site if fleet.aggregated else ""
    summary = _summary(head, views, groups, now, patience)
    found = [Announcement(base, environment, summary, aggregate(views, now, patience).steady)]
    if not fleet.aggregated:
        return found + [said for one in views if (said := _host(base, fleet.site, head, one, now, patience))]
    if len(groups) <= MOST_GROUPS:
        for group, members in groups.items():
            whole = aggregate(members, now, patience)
            if whole.state != "pending":
                text = StatusText(head, whole.state, whole.text, whole.key)
                name = f"group/{group}"
                found.append(Announcement(f"{base}/{name}", "", text, whole.steady, shared=True))
    return found


def announcements_ahead(fleet: Fleet, commit: str, branch: str, views: Sequence[View]) -> list[Announcement]:
    """What hosts have said of the head of a branch that is not merged, and all of them together: a failure as soon as one has something against
    it, a success when each host has said that it has not; between them nothing, for who is not set up to say something would hold it for ever."""
    base = f"reconciler/{fleet.site}"
    said = [(one.member.host, one.ahead) for one in views if one.ahead and one.ahead.commit == commit]
    held = [(host, text) for host, text in said if text.state == "failed"]
    found = []
    if held:
        (host, text), among = held[0], f"{len(held)} of {count(len(views), 'host')}"
        words = f"{AHEAD}held on {among}, {len(said)} were heard: {host}: {text.description.removeprefix(AHEAD)}"
        found.append(StatusText(commit, "failed", words, f"held {' '.join(name for name, _ in held)}"))
    elif views and len(said) == len(views):
        words = f"{AHEAD}nothing holds it on {count(len(views), 'host')}"
        found.append(StatusText(commit, "success", words, "passed"))
    told = [Announcement(base, "", text, branch=branch) for text in found]
    if fleet.aggregated:
        return told
    return told + [Announcement(f"{base}/{host}", "", text, branch=branch) for host, text in said]


def _summary(
    head: str, views: Sequence[View], groups: Mapping[str, Sequence[View]], now: datetime, patience: float
) -> StatusText:
    whole = aggregate(views, now, patience)
    if whole.state == "pending":
        # GitLab never changes the text of a pending status: it has to stay true until there is a result.
        text = f"{count(len(views), 'host')} to converge"
        return StatusText(head, "pending", text, "pending")
    where = worst(groups) if len(groups) > 1 else ""
    return StatusText(head, whole.state, f"{whole.text} ({where})" if where else whole.text, whole.key)


def _host(base: str, site: str, head: str, found: View, now: datetime, patience: float) -> Announcement | None:
    """What the host would have said itself; None when it has nothing to say about this commit."""
    name, environment = f"{base}/{found.member.host}", f"{site}/{found.member.host}"
    if overdue(found, now, patience):
        key = f"unknown {found.reason}"
        return Announcement(name, environment, StatusText(head, "failed", f"unknown: {found.message}", key))
    return Announcement(name, environment, found.status) if found.status else None


class Announcer:
    """Decides which announcements are due. `said` is what was said before, by name; it is kept up to date here."""

    def __init__(self, said: Mapping[str, Said]) -> None:
        self.said = dict(said)

    def due(self, could: Iterable[Announcement], now: float, *, again: bool = False) -> list[Announcement]:
        """Those to be posted now; they count as said. `now` in seconds since the epoch.

        `again`: also what was said already, for whoever cannot know whether it got through.
        """
        chosen = []
        for one in could:
            before = self._before(one)
            if before and (before.state, before.key) == (one.text.state, one.text.key):
                chosen += [one] if again else []
            elif self._is_due(one, before, now):
                self.said[one.name] = _after(one, before, now)
                chosen.append(one)
        return chosen

    def _before(self, one: Announcement) -> Said | None:
        """What was said about this very commit."""
        known = self.said.get(one.name)
        return known if known and known.commit == one.text.commit else None

    def _is_due(self, one: Announcement, before: Said | None, now: float) -> bool:
        """First match wins."""
        if before is None:
            return True
        if one.text.state == "pending":
            return False
        if before.state == one.text.state and not one.steady:
            return False
        if before.results == 0:
            return True
        gap = doubled(_FIRST_GAP, before.results, _LONGEST_GAP)
        free = before.state != one.text.state and before.flips == 0
        if one.shared and not free and self._spent(one.text.commit) >= _ALLOWANCE:
            gap = _SPENT_GAP
        return now >= before.at + gap

    def _spent(self, commit: str) -> int:
        """Results of groups about a commit, beyond those that are free."""
        groups = [said for name, said in self.said.items() if said.commit == commit and "/group/" in name]
        return sum(max(0, said.results - 1 - min(said.flips, 1)) for said in groups)


def _after(one: Announcement, before: Said | None, now: float) -> Said:
    results, flips = (before.results, before.flips) if before else (0, 0)
    flips += before is not None and results > 0 and before.state != one.text.state
    results += one.text.state != "pending"
    return Said(one.text.commit, one.text.state, one.text.key, now, results, flips)
