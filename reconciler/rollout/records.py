"""What hosts keep in the store, and what one of them reads of it in a pass. Pure.

Keys, below `/reconciler/<site>/`, none with a lease but `present/`:

    roll                            the commit being rolled, the last wave that is open, who failed, a halt
    permit/<host>                   which places a host claims, and for which commit
    budget/<budget>/<number>        a place and who holds it
    proof/<commit>/<wave>/<host>    a host that converged and stayed healthy, and what is left there because it goes after other hosts
    excused/<commit>/<host>         a host that an operator does not wait for
    released/<host>                 who gave back by hand what a host held, and why; for people
    job/<name>                      a job that the cluster runs once: what with, on whom, and what became of it
    registered/<host>               what a host has registered with others, for whoever owns that next
    fact/<job>/<host>               whether a host has what the job would make; goes with the host's presence
    accepted                        that an operator has accepted an etcd which was restored or made anew; for nodes that saw a newer one
    present/<host>                  a host that was heard of lately

A claim compares the revision of `roll`, so it holds against a newer commit, a halt and an opened wave at once.

A place is its host's as long as that host's permit names it: whoever writes one of the two writes both, in one transaction.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

ROLL: Final = "roll"
ACCEPTED: Final = "accepted"
_PLACE: Final = re.compile(r"budget/[^/]+/[0-9]+")


def permit_key(host: str) -> str:
    return f"permit/{host}"


def place_key(budget: str, number: int) -> str:
    return f"budget/{budget}/{number}"


def budget_of(place: str) -> str:
    """The budget that a place's key belongs to."""
    return place.split("/")[1]


def proof_key(commit: str, wave: int, host: str) -> str:
    return f"{proof_prefix(commit)}{wave}/{host}"


def proof_prefix(commit: str) -> str:
    """Below which all proofs of a commit are."""
    return f"proof/{commit}/"


def excuse_key(commit: str, host: str) -> str:
    return f"excused/{commit}/{host}"


def release_key(host: str) -> str:
    return f"released/{host}"


def presence_key(host: str) -> str:
    return f"present/{host}"


def job_key(job: str) -> str:
    return f"job/{job}"


def registered_key(host: str) -> str:
    return f"registered/{host}"


def fact_key(job: str, host: str) -> str:
    return f"fact/{job}/{host}"


@dataclass(frozen=True, slots=True)
class Said:
    """What an operator said, and when: ISO 8601, UTC. For people."""

    by: str = ""
    why: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Halt:
    """Nothing of this commit starts any more. `by`: a host, or an operator's name; `at`: ISO 8601, UTC, for people."""

    by: str
    why: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Roll:
    """The commit being rolled. `failed`: hosts that it did not become healthy on, since it began. Raises ValueError for a wave that none
    has."""

    commit: str
    opened: int = 0
    failed: tuple[str, ...] = ()
    halt: Halt | None = None
    resumed: str = ""  # by whom and why a halt of this commit was lifted; for people

    def __post_init__(self) -> None:
        if self.opened < 0:
            raise ValueError("a wave's number is negative")


@dataclass(frozen=True, slots=True)
class Permit:
    """A claim on `places`, each a key, by one installation of a host.

    `heals`: it puts right what was proved already. `lent`: why an operator took it for a maintenance of any kind; it is given back by
    hand. Raises ValueError for what is no place.
    """

    commit: str
    places: tuple[str, ...]
    installation: str
    heals: bool = False
    lent: str = ""

    def __post_init__(self) -> None:
        if not all(map(_PLACE.fullmatch, self.places)):
            raise ValueError("a place has another key")

    @property
    def budgets(self) -> frozenset[str]:
        return frozenset(map(budget_of, self.places))


@dataclass(frozen=True, slots=True)
class Place:
    """Who holds a place, and the store's revision of it: it changes whenever the holder takes it along to another commit."""

    host: str
    revision: int = 0
    lent: bool = False


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job that the cluster runs once. `inputs`: digest of what it runs with, as `host` renders it; `nonce` is on the label of the run's
    container. `commit`: the newest for which this is said; `message`: why it failed."""

    inputs: str
    host: str
    state: Literal["running", "done", "failed"]
    nonce: str = ""
    installation: str = ""
    commit: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a host has seen the store: which cluster it is, its revision, and the id of the last acceptance (`ACCEPTED`) that counted."""

    cluster: str
    revision: int
    accepted: str = ""

    def lost(self, cluster: str, revision: int) -> str:
        """What is wrong with a store that is now at `revision` of `cluster`: it may have forgotten who holds what. "" when nothing is."""
        if cluster != self.cluster:
            return f"etcd is another cluster than before ({cluster}, and {self.cluster} at revision {self.revision} before)"
        if revision < self.revision:
            return f"etcd is at revision {revision}, and was at {self.revision} before"
        return ""


@dataclass(frozen=True, slots=True)
class View:
    """What one read of the store gave to a host. Revision 0: there is no such key.

    `places`: per budget that was asked for, those that are taken, by number. `proved` and `missing` are about the last open wave;
    `missing` is None where nobody looked who it is, because more are missing than may be absent.
    """

    roll: Roll | None = None
    roll_revision: int = 0
    permit: Permit | None = None
    permit_revision: int = 0
    places: Mapping[str, Mapping[int, Place]] = field(default_factory=dict)
    is_proved: bool = False  # this host, at the commit being rolled
    left: frozenset[str] = frozenset()  # what its proof says is left there
    proved: int = 0
    missing: frozenset[str] | None = None
    present: frozenset[str] = frozenset()
    # Of those this host has to wait for by name (those before it in an ordered wave, the others of an address): who is proved.
    proved_hosts: frozenset[str] = frozenset()
    holders: frozenset[str] | None = None  # every host that has a permit; None: nobody looked
    # The permits of hosts that the inventory no longer has, with their revisions.
    gone: Mapping[str, tuple[Permit, int]] = field(default_factory=dict)
    partial: bool = False  # only what concerns this host was read, because it could claim nothing now; then `taken` is
    taken: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # budget → how many places are taken, one holder
    jobs: Mapping[str, JobRecord] = field(default_factory=dict)  # of those that were asked for
    excuses: Mapping[str, Said] = field(default_factory=dict)  # whom nobody waits for: who said so, and why
    released: Said | None = None  # who gave back by hand what this host held, where it was asked for

    @property
    def excused(self) -> frozenset[str]:
        """Whom an operator does not wait for."""
        return frozenset(self.excuses)

    def holds(self, host: str) -> bool:
        """Whether a host holds any of the places that were read."""
        return any(place.host == host for taken in self.places.values() for place in taken.values())


@dataclass(frozen=True, slots=True)
class Transaction:
    """All or nothing: every key of `compares` has that revision (0: does not exist), then everything is written.

    Compared are revisions, never values: a stale holder's value may be equal.
    """

    compares: Mapping[str, int]
    puts: Mapping[str, Any] = field(default_factory=dict)
    deletes: tuple[str, ...] = ()
    delete_below: tuple[str, ...] = ()
