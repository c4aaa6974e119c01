"""How a change will go from host to host: waves, budgets, who runs what for all, where workloads feel it. Pure.

Whether a node asks the others at all its settings say, which no review can read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reconciler.phrases import count
from reconciler.review.ranges import compact
from reconciler.review.types import Review, changes
from reconciler.rollout.outlook import Outlook, Turn, outlook
from reconciler.rollout.policy import Rollout

# The words in which every part of a review announces it.
FELT = "a restart that workloads feel"
EARLY = "before its wave, because what comes after it changes sooner on"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A container of the data plane that is stopped on `hosts`, at most on `at_once` of them at the same time; `budget` says what
    holds it there, "" when nothing but the waves does."""

    container: str
    hosts: tuple[str, ...]
    at_once: int
    budget: str

    def words(self, show: Callable[[str], str] = str) -> str:
        """Such as `a restart that workloads feel, on 4 hosts at once at most (budget nova_libvirt)`; `show` escapes a name."""
        by = f"budget {show(self.budget)}" if self.budget else "no budget holds it, only the waves do"
        return f"{FELT}, on {count(self.at_once, 'host')} at once at most ({by})"


@dataclass(frozen=True, slots=True)
class Duty:
    """A job that `owner` runs once for the cluster. `early`: hosts of the waves before its own that change what should come after the job."""

    job: str
    owner: str
    wave: str
    early: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """How a change goes."""

    outlook: Outlook
    duties: tuple[Duty, ...]
    interrupted: tuple[Interrupted, ...]

    @property
    def words(self) -> str:
        """How long it takes, in one sentence."""
        found = self.outlook
        if not found.seconds:
            return f"Nothing has to prove itself for a while before the next goes: {_steps(found)}."
        stays = f"after each of which the hosts stay well for {duration(found.bake)}"
        return f"It takes {duration(found.seconds)} at least: {_steps(found)}, {stays}."


def course(review: Review) -> Course | None:
    """None: there is nobody to agree with, nothing to agree upon, or not every host was planned."""
    if review.rollout is None or len(review.rollout.hosts) < 2 or not review.changed:
        return None
    if not review.rollout.hosts <= set(review.hosts):
        return None
    found = outlook(review.rollout, review.changed, review.claims.touched, review.joined)
    if not found.turns:
        return None  # new hosts alone: they wait for nobody, and nobody for them
    return Course(found, tuple(_duties(review, review.rollout)), tuple(_interrupted(review, found)))


def _duties(review: Review, rollout: Rollout) -> Iterator[Duty]:
    for job, owner in sorted(review.claims.owners.items()):
        own = rollout.wave_of(owner)
        if own is None:
            continue
        before = {host for wave in rollout.waves[:own] for host in wave.hosts} - set(review.joined)
        early = tuple(dict.fromkeys(host for host in review.claims.waits.get(job, ()) if host in before))
        yield Duty(job, owner, rollout.waves[own].name, early)


def _interrupted(review: Review, found: Outlook) -> list[Interrupted]:
    stopped: dict[str, list[str]] = {}
    for change in changes(review):
        if "data-plane" in change.action.risks:
            stopped.setdefault(change.action.container or change.action.target, []).extend(change.hosts)
    assert review.rollout
    result = []
    for name, hosts in sorted(stopped.items()):
        own = tuple(dict.fromkeys(hosts))
        most = max((min(turn.at_once, len(set(turn.hosts) & set(own))) for turn in found.turns), default=0)
        # Hosts that are new go when they like; what they stop nobody felt before.
        budget = review.rollout.budgets.get(review.claims.budgeted.get(name, ""))
        most = min(most or len(own), budget.at_most) if budget else most or len(own)
        result.append(Interrupted(name, own, most, budget.name if budget else ""))
    return result


def pace(turn: Turn) -> str:
    """How a wave goes: `2 at once`, `one by one, in this order`."""
    said = "one by one" if turn.at_once == 1 else f"{turn.at_once} at once"
    return f"{said}, in this order" if turn.in_order else said


def named(turn: Turn) -> str:
    """The hosts of a wave, one by one where their order counts."""
    return ",".join(turn.hosts) if turn.in_order else compact(turn.hosts)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 120:
        return f"{seconds:g} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def _steps(found: Outlook) -> str:
    waves = f" in {count(len(found.turns), 'wave')}" if len(found.turns) > 1 else ""
    return f"{count(found.steps, 'step')}{waves}"
