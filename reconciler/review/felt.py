"""What users will feel of a change: for how long each container did not answer when it was restarted before. Pure.

A figure is one that a node measured, or it is not there.
"""

from dataclasses import dataclass
from statistics import median

from reconciler.model import Interruption, Verb
from reconciler.phrases import count
from reconciler.review.types import Review, changes

_FELT = (Verb.RESTART, Verb.REPLACE)


@dataclass(frozen=True, slots=True)
class Felt:
    """One container that is restarted or replaced on `hosts`. `seconds` is None where nobody measured it, on these hosts or on
    others; `elsewhere` says that it was others. `behind` says what those feel who come through haproxy, "" when nobody does."""

    container: str
    hosts: tuple[str, ...]
    seconds: float | None = None
    times: int = 0
    elsewhere: bool = False
    behind: str = ""

    @property
    def words(self) -> str:
        """Such as `about 9 s (measured 3 times), behind haproxy: none`."""
        if self.seconds is None:
            said = "not measured yet"
        else:
            where = " on other hosts" if self.elsewhere else ""
            said = f"{_about(self.seconds)} (measured {count(self.times, 'time')}{where})"
        return said + (f", behind haproxy: {self.behind}" if self.behind else "")


def felt(review: Review) -> list[Felt]:
    """Every container that is interrupted, what takes longest first."""
    touched: dict[str, list[str]] = {}
    for change in changes(review):
        if change.action.verb in _FELT:
            touched.setdefault(change.action.target, []).extend(change.hosts)
    found = [_one(review, name, tuple(dict.fromkeys(hosts))) for name, hosts in touched.items()]
    return sorted(found, key=lambda one: (one.seconds is None, -(one.seconds or 0.0), one.container))


def _one(review: Review, name: str, hosts: tuple[str, ...]) -> Felt:
    known = {host: one[name] for host, one in review.measured.items() if name in one}
    here = [one for host, one in known.items() if host in hosts]
    figures = here or list(known.values())
    behind = _behind(review, name, hosts)
    if not figures:
        return Felt(name, hosts, behind=behind)
    return Felt(name, hosts, _typical(figures), sum(one.times for one in figures), not here, behind)


def _typical(figures: list[Interruption]) -> float:
    return median([one.seconds for one in figures])


def _behind(review: Review, name: str, hosts: tuple[str, ...]) -> str:
    members = review.backends.get(name, ())
    if len(members) < 2 or not set(members) & set(hosts):
        return ""
    others = [host for host in members if host not in hosts]
    if others:
        return f"none, as long as {count(len(others), 'other backend')} of {len(members)} answers"
    return f"none only while one of its {len(members)} backends answers, and this change interrupts all of them"


def _about(seconds: float) -> str:
    if seconds < 1:
        return "less than 1 s"
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"
