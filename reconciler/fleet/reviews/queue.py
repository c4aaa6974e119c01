"""Which merge requests are to be reviewed now, and whose turn it is first. Pure: time and what is remembered are arguments."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from reconciler.forge import OpenRequest
from reconciler.reasons import Reason
from reconciler.system.pacing import doubled

State = Literal["valid", "invalid", "failed", "waiting"]
STATES: Final[tuple[State, ...]] = ("valid", "invalid", "failed", "waiting")
_LONGEST_PAUSE = 3600.0  # seconds
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the newest whole review of `head` came to: whether it is valid, in one line that holds nothing of the branch, and
    which kinds of risk it has. `since` is when the plan got each kind (`gate.since`); None: no review of it was valid so far."""

    head: str
    valid: bool
    text: str
    risks: tuple[str, ...] = ()
    since: Mapping[str, float] | None = None

    @property
    def had(self) -> Mapping[str, float] | None:
        """As `since`, also of what was noted without it."""
        return dict.fromkeys(self.risks, 0.0) if self.since is None and self.valid else self.since


@dataclass(frozen=True, slots=True)
class Told:
    """The status that was posted last: at which commit, under which name, its state and text, and in the name of which branch."""

    head: str
    context: str
    state: str
    text: str
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What is remembered of one open merge request; times in seconds since the epoch.

    `head`, `base`, `target` (the commit that the target branch was at) and `rules` are what the newest review was made of,
    "" where there is none yet; `site` is what it is merged into (`clone.Seen.into`), "" where it was planned from the merge base and so
    whatever the target has. `tried` is the head that the last `failures` tries were about; `reason` and `text` say what came
    out, of the review or of the try. `arrived` is since when a head has been listed, and `missing` says who has not seen it yet.
    """

    head: str = ""
    base: str = ""
    target: str = ""
    rules: str = ""
    state: State = "waiting"
    text: str = ""
    reason: Reason | None = None
    at: float = 0.0
    tried: str = ""
    failures: int = 0
    retry_at: float = 0.0
    outcome: Outcome | None = None
    told: Told | None = None
    arrived: tuple[str, float] = ("", 0.0)
    missing: str = ""
    site: str = ""


def is_due(request: OpenRequest, known: Reviewed | None, target: str, rules: str, now: float) -> bool:
    """Whether there is something new to say. A head that failed waits until its time, a newer head does not."""
    if known is None:
        return True
    if known.failures and known.tried == request.head:
        return not known.at <= now < known.retry_at  # one that failed later than now did before the clock was set back
    # What has no base was refused as it is: it waits for another head, wherever the target goes.
    return (known.head, known.rules) != (request.head, rules) or (known.base != "" and known.target != target)


def in_order(
    requests: Iterable[OpenRequest], known: Mapping[int, Reviewed], spent: Mapping[str, int]
) -> list[OpenRequest]:
    """Authors take turns, who has had fewer reviews in this hour (`spent`) first; of one author what was looked at longest
    ago. So nobody's hundred branches keep another's one from being reviewed."""
    turns, ranked = Counter(spent), []
    for one in sorted(requests, key=lambda r: (known[r.iid].at if r.iid in known else 0.0, r.iid)):
        ranked.append((turns[one.author], one))
        turns[one.author] += 1
    return [one for _, one in sorted(ranked, key=lambda pair: pair[0])]


def pause(interval: float, failures: int, share: float) -> float:
    """Seconds until what failed is tried again: doubled each time, an hour at most, less up to a fifth by `share` (0 to 1)."""
    return doubled(2 * interval, failures, _LONGEST_PAUSE) * (1.0 - 0.2 * share)
