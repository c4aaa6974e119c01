"""What a node remembers between passes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.model.desired import Container, Desired, HostKept, Registration
from reconciler.model.plan import Difference
from reconciler.model.told import Told
from reconciler.reasons import Blame, Reason


@dataclass(frozen=True, slots=True)
class JobResult(Told):
    """What the node remembers of a job's last run."""

    inputs: str
    succeeded: bool
    finished_at: datetime
    message: str = ""
    claim: str = ""  # the nonce with which it was claimed for the cluster
    lost: bool = False  # it did not fail: what it had done is gone, `message` says with what


@dataclass(frozen=True, slots=True)
class Asked(Told):
    """When a check before an upgrade was made last, for which release and commit, and what it found; "": it passed."""

    release: str
    revision: str
    at: datetime
    message: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """With what a container was last (re)started here: lets a half-done apply be finished, never repeated."""

    id: str
    started_at: datetime | None
    files: str  # digest of the bound contents of its files


@dataclass(frozen=True, slots=True)
class Failure(Told):
    """Why a container did not take a change. `again`: when to try once more at the latest."""

    reason: Reason
    message: str
    blames: Blame
    again: datetime
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Interruption:
    """How long a container did not answer when it was restarted or replaced on one host: the median of the last `times` times."""

    seconds: float
    times: int


@dataclass(frozen=True, slots=True)
class AsMade:
    """How a container was when it was taken over as another tool had made it: its id, the digest of all that was asked of it then,
    the options that differed from that, and path → digest of every file of its folder, or wanted there ("": absent)."""

    id: str
    part: str
    differences: tuple[Difference, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OtherTool:
    """That the tool from which containers were taken over manages them again: how many times it was at work, when it last took one
    back, which ones that time, and which it has now."""

    runs: int
    last: datetime
    containers: tuple[str, ...]
    holding: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Worked:
    """What a container was asked to be when it was so and worked. `part` is the digest of everything that made it up."""

    container: Container
    part: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What the node remembers between cycles, as planning needs it."""

    applied: Mapping[str, Applied] = field(default_factory=dict)
    jobs: Mapping[str, JobResult] = field(default_factory=dict)
    quarantine: Mapping[str, str] = field(default_factory=dict)  # container → digest of the desired part that failed
    failures: Mapping[str, Failure] = field(default_factory=dict)  # container → why it is in quarantine
    last_good: Desired | None = None
    # Container → what worked of commits that came after `last_good` and were not carried out whole: that is what it goes back to.
    worked: Mapping[str, Worked] = field(default_factory=dict)
    registered: tuple[Registration, ...] = ()  # what this node registered, to see what is no longer wanted
    host_settings: Mapping[str, HostKept] = field(default_factory=dict)  # by id: what this node set on its host
    # `kind:target` as in Actual.unknown → what still differed right after the action that should have put it right.
    unachieved: Mapping[str, tuple[Difference, ...]] = field(default_factory=dict)
    # Container → the checks that answered before the change that it has to prove itself after.
    answered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    revision: str = ""  # revision of the last complete apply; tells drift from change
    # Container → seconds that it took to become healthy, the longest of late.
    took: Mapping[str, float] = field(default_factory=dict)
    # Files that this node has written whole, and never with a secret since: what is on the disk may be shown.
    plain: frozenset[str] = frozenset()
    # Container → seconds from when it was stopped until it answered, of its last restarts and replacements, the newest last.
    interruptions: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    # Container → when it was interrupted of late because of drift, though it worked.
    healed: Mapping[str, tuple[datetime, ...]] = field(default_factory=dict)
    # Container that was taken over → the unit of another tool that ran it ("": none).
    taken: Mapping[str, str] = field(default_factory=dict)
    as_made: Mapping[str, AsMade] = field(default_factory=dict)
    other_tool: OtherTool | None = None
    prechecks: Mapping[str, Asked] = field(default_factory=dict)  # by name: those before an upgrade
    proved: bool = (
        False  # whether this host was ever proved with a commit beside others: from then on it stops members that count
    )
    upgraded: bool = False  # this host went to another release, and others may be of the one before
    # Container → when its process was started, that chose what it says to others while there were some of the release before.
    pinned: Mapping[str, datetime] = field(default_factory=dict)
    # Containers that this program stopped for an operator: starting them again is no healing that policy may forbid.
    put_down: frozenset[str] = frozenset()
    schema_release: str = ""  # the newest release of OpenStack of which a schema migration was begun here; "": none was
