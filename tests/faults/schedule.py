"""Schedules: commits, what people do on the node, passes in which operations fail; and what has to hold after each of them.

a schedule      a site that the node has converged to, then steps
a step          a commit | something done by hand | a pass, with faults | an operator's word | time
after each      the invariants (`Judge`)
at the end      no faults any more: it converges, and then there is nothing to do
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from reconciler.host.sysctl import BOOT, path_of
from reconciler.model import ASIDE, Container, Desired, File, FileState, Image, Running, State, Verb, aside
from reconciler.plan.differences import differences
from reconciler.reasons import Reason
from reconciler.render.digest import part_digest
from reconciler.report import Report
from reconciler.report.verdict import State as Word
from reconciler.report.verdict import verdict
from reconciler.state import Suspension
from reconciler.system.files import is_leftover
from tests.faults.node import CANARY, Bench
from tests.faults.points import POINTS
from tests.faults.ports import outside
from tests.scenarios.test_properties import NAMES, Draw, by_hand, sites
from tests.scenarios.world import KERNEL, World

# What people and machines do between passes; what would be done to the memory itself is another matter (tests/state).
HAPPENINGS = (
    "killed", "paused", "removed", "restarted", "altered", "limited", "retagged", "image gone", "taken over", "moved aside", "foreign spare",
    "foreign", "edited", "chmod", "linked", "lost", "extra file", "unregistered", "password changed", "kernel set", "boot line lost",
)  # fmt: skip
TALLY: Counter[str] = Counter()  # failpoint → how often it was met, over all schedules of this process
PASSES: Counter[str] = Counter()
# Kinds of faults that say something of what was tried. A host that is full, or an answer that does not come, does not.
_FAIR = (".refused", ".sick", ".ended")
_STOPS = (Verb.REPLACE, Verb.RESTART, Verb.STOP, Verb.REMOVE)
# The last: the other host of the fleet, whose passes nobody plays, may still use it.
_LEFT = ("HoldsData", "PruneReported", "NotAchievable", "Foreign", "StillNeeded")
_HOURS = 7200.0
_QUIET = 14  # passes without a fault until there is nothing to do: each of a few causes may need one of its own


@dataclass(frozen=True, repr=False)
class Step:
    """`what` is "pass", "commit", "hand", "suspend", "resume", "wait", "restart", or "another host goes" and "is done" of the fleet."""

    what: str
    happening: str = ""
    name: str = ""
    site: int = 0
    deep: bool = False
    at: tuple[tuple[int, int], ...] = ()  # number of an operation → choice among its kinds
    named: tuple[tuple[str, int], ...] = ()  # failpoint → how many of its operations until it is its turn

    def __repr__(self) -> str:
        more = [
            f"{name}={getattr(self, name)!r}"
            for name in ("happening", "name", "site", "deep", "at", "named")
            if getattr(self, name)
        ]
        return f"Step({', '.join((repr(self.what), *more))})"


@dataclass(frozen=True, repr=False)
class Schedule:
    """`heads` are what commits change the site to. `fleet`: the node agrees with another host through etcd."""

    base: Desired
    heads: tuple[Desired, ...]
    steps: tuple[Step, ...]
    fleet: bool = False

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(f"\n{self!r}\n")

    def __repr__(self) -> str:
        return "\n".join(
            [
                *(f"site {n}: {_brief(site)}" for n, site in enumerate((self.base, *self.heads))),
                *map(repr, self.steps),
                f"fleet={self.fleet}",
            ]
        )


def _brief(site: Desired) -> str:
    """What is not as usual in a site of the model."""
    parts = [
        f"{c.name} {c.image} {dict(c.environment)} priv={c.privileged} cpu={c.cpu_shares} after={c.depends_on} {c.reload}"
        for c in site.containers
    ]
    parts += [f"{f.path} {f.content} {f.mode:o} {f.on_change}" for f in site.files]
    parts += [f"job {job.inputs} {job.owner} before={job.before} migration={job.migration}" for job in site.jobs]
    parts += [f"{item.id} {item.fields}" for item in site.registrations]
    parts += [f"{setting.id} {setting.fields}" for setting in site.host_settings]
    return f"{site.policy} " + "; ".join(parts)


def passes() -> st.SearchStrategy[Step]:
    """A pass in which one to three operations fail: those of some number, and those of some name."""
    # A pass that changes something has a hundred to three hundred operations.
    at = st.lists(st.tuples(st.integers(1, 150), st.integers(0, 9)), max_size=2, unique_by=lambda pair: pair[0])
    named = st.lists(st.tuples(failpoints(), st.integers(1, 3)), min_size=1, max_size=4)
    return st.builds(
        lambda deep, at, named: Step("pass", deep=deep, at=tuple(at), named=tuple(named)), st.booleans(), at, named
    )


def failpoints() -> st.SearchStrategy[str]:
    """Each point as often as any other, however many kinds it has; those at which a change can be cut in two more often."""
    often = {
        "engine.create": 6,
        "engine.start": 6,
        "engine.rename": 6,
        "engine.remove": 6,
        "engine.healthy": 6,
        "engine.restart": 6,
        "engine.stop": 4,
    }
    points = [
        point
        for point in POINTS
        for _ in range(often.get(point, 1 if point.startswith(("host", "clock", "git", "sops")) else 2))
    ]
    return st.sampled_from(points).flatmap(lambda point: st.sampled_from([f"{point}.{kind}" for kind in POINTS[point]]))


def causes(heads: int) -> st.SearchStrategy[Step]:
    """What gives a pass something to do, or keeps it from it."""
    commit = st.builds(lambda n: Step("commit", site=n), st.integers(0, heads))
    happening = st.builds(lambda w, n: Step("hand", w, n), st.sampled_from(HAPPENINGS), st.sampled_from(NAMES))
    word = st.sampled_from(
        [Step("wait"), Step("restart"), Step("suspend"), Step("resume"), Step("another host goes"), Step("is done")]
    )
    return st.one_of(commit, commit, happening, happening, happening, word)


@st.composite
def schedules(draw: Draw) -> Schedule:
    base = draw(sites("r1"))
    # Half of the commits change a little, so that most of the node has to stay as it is.
    heads = tuple(draw(st.one_of(sites("r2"), _alike(base))) for _ in range(draw(st.integers(1, 2))))
    rounds = st.tuples(st.lists(causes(len(heads)), max_size=2), passes())
    drawn = [step for before, run in draw(st.lists(rounds, min_size=1, max_size=4)) for step in (*before, run)]
    return Schedule(base, heads, (Step("commit", site=1), *drawn), draw(st.booleans()))


@st.composite
def _alike(draw: Draw, base: Desired) -> Desired:
    name = draw(st.sampled_from([container.name for container in base.containers]))
    change: dict[str, Any] = draw(st.sampled_from([{"privileged": None}, {"image": "image:2"}, {"cpu_shares": 256}, {"environment": {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS", "N": "1"}}]))  # fmt: skip
    changed = tuple(_with(c, change) if c.name == name else c for c in base.containers)
    files = tuple(replace(f, content="n") if f.container == name and draw(st.booleans()) else f for f in base.files)
    return replace(base, containers=changed, files=files)


def _with(container: Container, change: dict[str, Any]) -> Container:
    return replace(container, **({"privileged": not container.privileged} if "privileged" in change else change))


class Violated(AssertionError):
    """An invariant does not hold."""


@dataclass
class Judge:
    """What holds, whatever fails. `still` maps containers that nothing asks to change to their id and start time, `worked` each to what it was,
    its files and its image when it worked last; after kills there are several."""

    bench: Bench
    sites: list[Desired]
    still: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, bytes] = field(default_factory=dict)  # files that others put there
    changed: set[str] = field(default_factory=set)  # containers that somebody else did something to, and their files
    worked: dict[str, list[tuple[Container, tuple[File, ...], Image | None]]] = field(default_factory=dict)
    suspended: bool = False
    anchor: int = 0

    def begin(self) -> None:
        """The node has converged to the first site."""
        first, *others = self.sites
        for container in first.containers:
            name = container.name
            if all(_part(site, name) == _part(first, name) for site in others):
                self.still[name] = outside(self.bench.engine.containers[name])

    def touched(self, happening: str, name: str) -> None:
        """Somebody did something: what that is about may be put right from now on."""
        self.changed |= {name, happening}
        if happening in ("retagged", "image gone"):
            self.still.clear()
        self.still.pop(name, None)

    def after(self, report: Report | None, before: Collection[str]) -> None:
        """`before` are the containers that there were when the pass began."""
        bench = self.bench
        for deed in bench.engine.deeds:
            self._hold(deed.ours, f"not ours was changed: {deed}")
            self._hold(deed.seen, f"what could not be looked at was changed: {deed}")
            self._hold(not self.suspended, f"changed while suspended: {deed}")
        bench.engine.deeds.clear()
        for name, kept in self.still.items():
            found = bench.engine.containers.get(name)
            self._hold(
                found is not None and outside(found) == kept,
                f"{name} was to stay as it is: {kept} became {found and outside(found)}",
            )
        desired = {c.name for site in self.sites for c in site.containers}
        wanted = {c.name for c in self.head.containers}
        for name in before:
            base = name.removeprefix(ASIDE)
            there = {base, aside(base)} & bench.engine.containers.keys()
            self._hold(
                bool(there) or base not in desired or base not in wanted or self._was_other(base), f"{base} is gone"
            )
        self._hold(bench.engine.together == [], f"two of the same ran side by side: {bench.engine.together}")
        for path, content in self.theirs.items():
            place = bench.root / path
            self._hold(place.exists() and place.read_bytes() == content, f"{path}, which others put there, was changed")
        self._hold(not (wrong := bench.lost()), f"acknowledged and lost: {wrong}")
        self._hold(not (leaks := bench.leaks()), f"the secret is in {leaks}")
        self._anchor()
        self.note_worked(report)
        if report is not None:
            self.truth(report)
            self._turn(report)
            if report.plan is not None and report.plan.empty:  # and not on the way back
                self.given_up(report)

    def _turn(self, report: Report) -> None:
        """Nothing that works is stopped for a change without a permit, which nobody has while another host has the one place."""
        held = self.bench.web.etcd.has_permit("here")
        if not self.bench.fleet or (self.sites and report.revision == self.bench.repository.commits[0].revision):
            return
        stopped = [
            o.action.id
            for o in report.outcomes
            if o.result != "skipped" and not o.action.drift and o.action.verb in _STOPS
        ]
        self._hold(held or not stopped, f"without its turn: {stopped}")

    def told(self) -> None:
        """In the end the forge shows that the head is carried out, once, and no alert is left that a receiver was told of."""
        bench = self.bench
        if verdict(bench.reports[-1]).state is not Word.CONVERGED:
            return  # somebody else has what is wanted here
        rows = [row for row in bench.web.project.rows if row.sha == bench.repository.commits[-1].revision]
        shown = [row.status for row in rows if not row.retried]
        self._hold(shown == ["success"], f"the forge shows {shown} of the head")
        forgotten = any(name.startswith("state.") for name in bench.faults.happened)
        for before, after in pairwise(bench.web.project.rows):
            same = (before.sha, before.status, before.description) == (after.sha, after.status, after.description)
            self._hold(forgotten or not same, f"posted twice: {after}")
        firing = [name for name, status in bench.web.alerts.items() if status != "resolved"]
        self._hold(forgotten or not firing, f"alerts that never end: {firing}")
        self._hold(not bench.web.etcd.has_permit("here"), "its place was never given back")

    def _was_other(self, name: str) -> bool:
        """Whether the commit that is in force does not want it: a newer one may not have been accepted yet."""
        node = self.bench.node
        anchor = node.state.anchor if node else None
        return anchor is None or name not in {c.name for c in self.bench.repository.desired(anchor.commit).containers}

    @property
    def head(self) -> Desired:
        return self.bench.repository.commits[-1]

    def _anchor(self) -> None:
        kept = self.bench.acknowledged.get("anchor.json")
        if kept:
            now = int(kept["commit"], 16)
            self._hold(now >= self.anchor, f"the anchor went back from {self.anchor} to {now}")
            self.anchor = now

    def truth(self, report: Report) -> None:
        """What a report claims is so."""
        told = verdict(report)
        failure = report.failure or (None, "")
        self._hold(failure[0] != Reason.InternalError, f"not foreseen: {failure[1]} {self.bench.said[-3:]}")
        for outcome in report.outcomes:
            self._hold(outcome.reason != Reason.InternalError, f"not foreseen: {outcome.action.id}: {outcome.message}")
        text = repr((report.outcomes, report.failure, report.plan.held if report.plan else ()))
        self._hold(CANARY not in text, "the secret is in a report")
        if told.state is Word.CONVERGED and report.revision:
            wrong = self.differs(self.bench.repository.desired(report.kept or report.revision), report)
            self._hold(not wrong, f"it says that it has converged, and {wrong}")

    def differs(self, desired: Desired, report: Report) -> list[str]:
        """How the node is not what it should be, looked at directly."""
        bench, wrong = self.bench, []
        held = {h.target for h in report.plan.held} if report.plan else set()
        for container in desired.containers:
            name, running = container.name, bench.engine.containers.get(container.name)
            if name in held:
                continue
            if running is None or running.state is not State.RUNNING:
                wrong.append(f"{name} is {running and running.state}")
            elif unlike := differences(container, running, bench.engine.images.get(container.image)):
                wrong.append(f"{name} differs: {unlike}")
        names = {c.name for c in desired.containers} | {job.name for job in desired.jobs}
        wrong += [
            f"{n} is there" for n, r in bench.engine.containers.items() if r.owned and n not in names and n not in held
        ]
        containers = {container.name for container in desired.containers}
        for file in desired.files:
            place = bench.root / file.path
            if file.container not in containers or file.container in held:  # a job's are written when it is to run
                continue
            if file.path not in held and (place.is_symlink() or not place.exists() or place.read_text() != file.content.replace("<<secret:canary>>", CANARY)):  # fmt: skip
                wrong.append(f"{file.path} is not as wanted")
            elif file.path not in held and place.stat().st_mode & 0o777 != file.mode:
                wrong.append(f"{file.path} has mode {place.stat().st_mode:o}")
            elif file.path not in held and (old := self._reads_another(file)):
                wrong.append(f"{file.container} runs with another {file.path} than there is: {old!r}")
        kept = {file.path for file in desired.files}
        if not self.changed & {"edited", "linked", "taken over"}:  # what somebody wrote is his
            folders = {c.config_directory for site in self.sites for c in site.containers} - self.changed
            there = {
                str(path.relative_to(bench.root)) for folder in folders for path in (bench.root / folder).glob("*")
            }
            wrong += [
                f"{path} is there"
                for path in there - kept - self.theirs.keys() - held
                if not is_leftover(path.rpartition("/")[2])
            ]
        if not self.changed & {"kernel set", "boot line lost"}:
            asked = {setting.id: setting.fields["live"] for setting in desired.host_settings}
            for name in KERNEL:
                found = (bench.place / "machine" / path_of(name.partition(":")[2]).lstrip("/")).read_text().strip()
                if name not in held and found != asked.get(name, "0"):
                    wrong.append(f"{name} is {found}")
                if name not in held and (line := self._boot_line(name)) != asked.get(name, ""):
                    wrong.append(f"{name} is {line or 'not set'} at boot")
        ran = {(job.name, job.inputs) for job in desired.jobs if job.owner == desired.host and job.name not in held}
        if "taken over" not in self.changed:  # by another tool, which counts as having run what its containers need
            wrong += [f"{name} never ran with {inputs}" for name, inputs in ran - bench.engine.ran]
        if report.deep:
            ids = {item.id for item in desired.registrations}
            made = {item.id for site in self.sites for item in site.registrations}
            wrong += [
                f"{name} is registered" for name in made - ids - held if bench.registrars.content.get(name) is not None
            ]
            for item in desired.registrations:
                if item.id not in held and bench.registrars.content.get(item.id) != item.fields:
                    wrong.append(f"{item.id} is {bench.registrars.content.get(item.id)}")
        return wrong

    def _boot_line(self, name: str) -> str:
        """What a setting of the kernel would be after a boot; "": nobody says."""
        path = self.bench.place / f"machine{BOOT}"
        lines = path.read_text().splitlines() if path.exists() else []
        values = dict(line.split(" = ") for line in lines if not line.startswith("#"))
        return values.get(name.partition(":")[2], "")

    def _reads_another(self, file: File) -> bytes | None:
        """The content that the process of a file's container read, where that is another one and it is to be told of a change."""
        running = self.bench.engine.containers.get(file.container)
        if running is None or not running.owned or file.on_change == "none" or file.container in self.changed:
            return None
        read = self.bench.engine.read.get(running.id, {}).get(file.path)
        return read if read != (self.bench.root / file.path).read_bytes() else None

    def given_up(self, report: Report) -> None:
        """What was taken back is what worked before: its options, its files, and that is what runs."""
        quarantined = {h.target for h in (report.plan.held if report.plan else ()) if h.reason is Reason.Quarantined}
        fair = any(name.endswith(_FAIR) for name in self.bench.faults.happened)
        self._hold(fair or not quarantined, f"given up for nothing that it did: {quarantined}")
        for name in quarantined - self.changed:
            running = self.bench.engine.containers.get(name)
            if running is None or name not in self.worked:
                continue
            wrong = [self._unlike(running, *worked) for worked in self.worked[name]]
            self._hold(not all(wrong), f"{name} was taken back, and {wrong}")

    def _unlike(self, running: Running, container: Container, files: Sequence[File], image: Image | None) -> list[str]:
        """How what runs is not as it was when it worked, with what its image was then."""
        found = differences(container, running, image)
        wrong = [f"differs from what worked in {found}"] if found else []
        kept = {file.path for file in files} | self.theirs.keys()
        tried = {file.path for site in self.sites for file in site.files if file.container == container.name}
        wrong += [f"{path} is still there" for path in tried - kept if (self.bench.root / path).exists()]
        wrong += [f"{file.path} is not what it was" for file in files if not self._is_on_disk(file)]
        return wrong or [
            f"runs with what was given up of {f.path}" for f in files if self._reads_another(f) is not None
        ]

    def _is_on_disk(self, file: File) -> bool:
        place = self.bench.root / file.path
        return place.is_file() and place.read_bytes() == file.content.replace("<<secret:canary>>", CANARY).encode()

    def note_worked(self, report: Report | None) -> None:
        """Which containers are as the commit in force says, and have proved themselves. After a kill, or where an answer was lost, nobody may
        have noticed yet."""
        memory = self.bench.acknowledged.get("memory.json", {})
        applied, given_up = memory.get("applied", {}), memory.get("quarantine", {})
        anchor = self.bench.acknowledged.get("anchor.json")
        if anchor is None:
            return
        desired = self.bench.repository.desired(anchor["commit"])
        open_ = {held.target for held in (report.plan.held if report and report.plan else ())}
        open_ |= {path.name for path in (self.bench.settings.state_dir / "rollback").glob("*")}
        open_ |= {o.action.container for o in (report.outcomes if report else ()) if o.result == "rolled-back"}
        unsure = {o.action.container for o in (report.outcomes if report else ()) if o.result != "done"}
        for container in desired.containers:
            name, running = container.name, self.bench.engine.containers.get(container.name)
            proved = running is not None and applied.get(name, {}).get("id") == running.id
            if running is None or running.state is not State.RUNNING or not proved or name in open_:
                continue
            if given_up.get(name) == part_digest(desired, name):
                continue
            own = tuple(file for file in desired.files if file.container == name)
            image = self.bench.engine.images.get(container.image)
            if any(file.path in open_ for file in own) or self._unlike(running, container, own, image):
                continue
            before = self.worked.get(name, []) if report is None or name in unsure else []
            self.worked[name] = [*before, (container, own, image)]

    def _hold(self, true: object, message: str) -> None:
        if not true:
            raise Violated(f"{message}\nafter {self.bench.faults.happened}")


def _part(site: Desired, name: str) -> Any:
    """All that makes up a container."""
    container = next((c for c in site.containers if c.name == name), None)
    return container, [f for f in site.files if f.container == name]


def play(schedule: Schedule, folder: Path, kind: type[Bench] = Bench) -> Bench:
    """Carry a schedule out and judge it. Raises Violated, or whatever the program lets through."""
    with kind(folder, fleet=schedule.fleet) as bench:
        try:
            _play(schedule, bench)
        finally:
            TALLY.update(bench.faults.happened)
            PASSES["passes"] += len(bench.reports)
        return bench


def _play(schedule: Schedule, bench: Bench) -> None:
    made = [bench.of(site) for site in (schedule.base, *schedule.heads)]
    judge = Judge(bench, made)
    bench.repository.push(made[0])
    quiet(bench, judge)
    judge.begin()
    for step in schedule.steps:
        if step.what == "pass":
            before = tuple(bench.engine.containers)
            report = bench.run(deep=step.deep, at=dict(step.at), named=step.named)
            judge.after(report, before)
        elif step.what == "commit":
            bench.repository.push(made[min(step.site, len(made) - 1)])
        elif step.what == "hand":
            hand(bench, judge, step)
        else:
            _word(bench, judge, step.what)
    if judge.suspended:
        _word(bench, judge, "resume")
    bench.faults.over()
    bench.web.etcd.hold(None)
    if bench.fleet:  # a host that is not well takes no newer commit under the places that it holds
        _let_go(bench, judge, NAMES)
    report = quiet(bench, judge)
    wrong = judge.differs(judge.head, report)
    judge._hold(not wrong, f"in the end {wrong}")
    bench.leave()
    for _ in range(2):  # what is over is told once it has been so for a while
        bench.later(_HOURS)
        bench.run(deep=True)
    judge.told()
    calm = {name: outside(running) for name, running in bench.engine.containers.items()}
    again = bench.run(deep=True)
    judge._hold(
        again is not None and again.plan is not None and again.plan.empty,
        f"a new process would do {again and again.plan}",
    )
    judge._hold(calm == {n: outside(r) for n, r in bench.engine.containers.items()}, "a new process touched something")
    _free(bench, judge)
    left = [str(path) for path in bench.place.rglob("*") if is_leftover(path.name)]
    left += [str(path) for path in (bench.settings.state_dir / "rollback").glob("*")]
    judge._hold(not left, f"left over: {left}")


def _free(bench: Bench, judge: Judge) -> None:
    """What cannot prove itself as long as somebody else has its name, or that of its spare, has its previous files for as long. Once that one
    is gone it does, and they go."""
    kept = {path.name for path in (bench.settings.state_dir / "rollback").glob("*")}
    if _let_go(bench, judge, kept):
        quiet(bench, judge)


def _let_go(bench: Bench, judge: Judge, names: Collection[str]) -> bool:
    """Somebody removes what is his under these names, and those of their spares. Returns whether there was anything."""
    found = {name for one in names for name in (one, aside(one)) if name in bench.engine.containers}
    theirs = {name for name in found if not bench.engine.containers[name].owned}
    if theirs:
        world = World(containers=bench.engine.containers, images=bench.engine.images)
        for name in theirs:
            del world.containers[name]
            judge.touched("removed", name)
        bench.engine.become(world)
    return bool(theirs)


def quiet(bench: Bench, judge: Judge) -> Report:
    """Passes without faults until there is nothing to do; what was given up is tried again when an operator says so."""
    report, did = None, []
    for number in range(_QUIET):
        bench.later(_HOURS)
        before = tuple(bench.engine.containers)
        report = bench.run(deep=True)
        judge.after(report, before)
        judge._hold(report is not None, f"a pass without a fault failed: {bench.said[-2:]}")
        assert report is not None
        did.append([a.line for a in report.plan.actions] if report.plan else [str(report.failure)])
        if report.plan and report.plan.empty and report.failure is None and not _open(report, bench):
            return report
        if number == 3 and bench.node:
            bench.node.state.release()
    raise Violated(f"it never ends: {did[-3:]} {_open(report, bench) if report else ''} after {bench.faults.happened}")


def _open(report: Report, bench: Bench) -> list[str]:
    """What is held back and should not be in the end. What somebody else has, under a name of ours, is his."""
    theirs = {name.removeprefix(ASIDE) for name, running in bench.engine.containers.items() if not running.owned}
    held = report.plan.held if report.plan else ()
    return [
        f"{h.target}: {h.reason}"
        for h in held
        if h.reason not in _LEFT and not (h.reason is Reason.NotOwned and h.target in theirs)
    ]


def _word(bench: Bench, judge: Judge, what: str) -> None:
    """An operator, or time."""
    if what == "restart":
        bench.leave()
    elif what == "wait":
        bench.later(_HOURS)
    elif what in ("another host goes", "is done"):
        bench.web.etcd.hold("there" if what == "another host goes" else None)
    else:
        if bench.node is None:
            bench.node = bench.start()
        if what == "suspend":
            bench.node.state.suspend(Suspension("an operator looks", datetime.now(UTC)))
        else:
            bench.node.state.resume()
            bench.acknowledged.pop("suspend.json", None)
        judge.suspended = what == "suspend"


def hand(bench: Bench, judge: Judge, step: Step) -> None:
    """Something is done to the node behind its back: by the model's words, carried over to this disk."""
    paths = {
        str(path.relative_to(bench.root)): path
        for path in bench.root.rglob("*")
        if not path.is_dir() and not path.name.startswith(".")
    }
    seen = {path: _state(place) for path, place in paths.items()}
    world = World(
        containers=bench.engine.containers,
        images=bench.engine.images,
        files=dict(seen),
        registrations=dict(bench.registrars.content),
        kernel={name: {"live": "0"} for name in KERNEL},
        now=bench.clock.now,
    )
    by_hand(world, step.happening, step.name, judge.head)
    bench.engine.become(world)
    bench.clock.now = world.now
    for path in seen.keys() - world.files.keys():
        paths[path].unlink()
    for path, state in world.files.items():
        if seen.get(path) != state:
            (bench.root / path).unlink(missing_ok=True)
            bench.moments.put(path, state)
    # What others put there they may have changed, linked away or removed as well.
    judge.theirs = {
        path: state.content or b""
        for path, state in world.files.items()
        if state.kind == "file" and (path in judge.theirs or (path.endswith("/extra") and path not in seen))
    }
    bench.registrars.content.update(world.registrations)
    if step.happening == "kernel set":
        (bench.place / "machine/proc/sys/net/a").write_text("7\n")
    if step.happening == "boot line lost":
        for place in (bench.place / "machine/etc/sysctl.d").glob("*"):
            place.unlink()
    judge.touched(step.happening, step.name)


def _state(place: Path) -> FileState:
    found = place.lstat()
    kind: Any = "symlink" if place.is_symlink() else "file"
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return FileState(
        None if kind == "symlink" else place.read_bytes(),
        found.st_mode & 0o777,
        found.st_uid,
        found.st_gid,
        modified,
        kind,
    )
