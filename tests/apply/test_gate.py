"""What answered before a change has to answer after it; what did not, or fails because of something beneath, blames nobody."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Event

import pytest

from reconciler import errors
from reconciler.model import Check, CheckResult, Container, Desired, Memory
from reconciler.node.health_gate import Gate

DB = Container("db", "i", service="db")
CACHE = Container("cache", "i", service="cache")
IDENTITY = Container("identity", "i", service="identity", depends_on=("db", "cache"))
IMAGES = Container("images", "i", service="images", depends_on=("identity",))
CHECKS = (
    Check("db login", "db", login="mariadb"),
    Check("identity api", "identity", http="http://identity"),
    Check("identity login", "identity", login="keystone"),
    Check("images api", "images", http="http://images"),
)
SITE = Desired("s", "h", "r", "/etc/kolla", (DB, CACHE, IDENTITY, IMAGES), checks=CHECKS)


class Bed:
    """A gate over checks that fail when told to; what it makes, and what it notes, is kept."""

    def __init__(
        self, changed: Sequence[str], memory: Memory | None = None, checks: tuple[Check, ...] = CHECKS
    ) -> None:
        self.down: set[str] = set()
        self.made: list[list[str]] = []
        self.noted: dict[str, object] = {}
        self.cut = Event()
        self.gate = Gate(
            replace(SITE, checks=checks),
            memory or Memory(),
            changed,
            self.make,
            self.noted.__setitem__,
            lambda name: self.cut,
        )

    def make(self, checks: Sequence[Check], patience: float, stop: Event) -> list[CheckResult]:
        self.made.append([check.name for check in checks])
        return [CheckResult(c.name, c.service, c.name not in self.down, "it says no") for c in checks]


def test_what_answered_before_has_to_answer_after() -> None:
    bed = Bed(["identity"])
    bed.gate.before(IDENTITY)
    assert bed.noted == {"identity": ("identity api", "identity login", "images api")}
    assert bed.gate.is_open("identity") and bed.gate.after(IDENTITY).ok
    bed.down = {"identity login"}
    verdict = bed.gate.after(IDENTITY)
    assert (verdict.ok, verdict.reason) == (False, "NotAnswering")
    assert verdict.message == "is healthy, and what answered before does not any more: identity login: it says no"
    bed.gate.settled("identity")
    assert bed.noted["identity"] is None and not bed.gate.is_open("identity")


def test_cut_short_it_says_nothing_and_what_answered_before_stays_noted() -> None:
    bed = Bed(["identity"])
    bed.gate.before(IDENTITY)
    bed.down = {"identity api"}
    bed.cut.set()
    with pytest.raises(errors.Transient) as caught:
        bed.gate.after(IDENTITY)
    assert caught.value.reason == "Interrupted" and bed.noted["identity"] and bed.gate.is_open("identity")


def test_what_did_not_answer_before_blames_nobody() -> None:
    bed = Bed(["identity"])
    bed.down = {"identity api", "identity login", "images api"}
    bed.gate.before(IDENTITY)
    assert not bed.gate.is_open("identity") and bed.gate.after(IDENTITY).ok


def test_what_rests_on_it_counts_unless_it_is_changed_itself() -> None:
    bed = Bed(["db"])
    bed.gate.before(DB)
    assert set(bed.noted["db"]) == {check.name for check in CHECKS}  # type: ignore[call-overload]
    bed = Bed(["db", "identity", "images"])
    bed.gate.before(DB)
    assert bed.noted == {"db": ("db login",)}


def test_the_last_of_a_service_answers_for_all_of_it() -> None:
    """A rotated password: what is restarted first knows it, what answers is still to be restarted."""
    keys = Container("keys", "i", service="identity")
    identity = replace(IDENTITY, depends_on=("db", "cache", "keys"))
    inside = Check("keys are there", "identity", container="keys", script="true")
    site = replace(SITE, containers=(DB, CACHE, keys, identity, IMAGES), checks=(*CHECKS, inside))
    noted: dict[str, object] = {}

    def make(checks: Sequence[Check], patience: float, stop: Event) -> list[CheckResult]:
        return [CheckResult(check.name, check.service, True, "") for check in checks]

    both = Gate(site, Memory(), ["keys", "identity"], make, noted.__setitem__, lambda name: Event())
    both.before(keys)
    both.before(identity)
    assert noted == {
        "keys": ("keys are there",),
        "identity": ("identity api", "identity login", "images api", "keys are there"),
    }
    noted.clear()
    Gate(site, Memory(), ["keys"], make, noted.__setitem__, lambda name: Event()).before(keys)
    assert noted == {"keys": ("identity api", "identity login", "images api", "keys are there")}


def test_what_fails_because_of_something_beneath_is_not_judged() -> None:
    bed = Bed(["identity"])
    bed.gate.before(IDENTITY)
    bed.down = {"identity login", "db login"}
    with pytest.raises(errors.Transient) as caught:
        bed.gate.after(IDENTITY)
    assert caught.value.reason == "DependencyNotAnswering"
    assert "identity cannot be judged: identity login: it says no; but db login: it says no" in str(caught.value)


def test_what_was_noted_before_a_kill_counts() -> None:
    """The change is on the disk already: what answers now is no measure any more."""
    bed = Bed([], Memory(answered={"identity": ("identity login",)}))
    bed.down = {"identity login"}
    bed.gate.before(IDENTITY)
    assert bed.made == [] and bed.noted == {}
    assert not bed.gate.after(IDENTITY).ok


def test_one_sample_for_a_whole_apply_and_none_where_nothing_is_at_risk() -> None:
    bed = Bed(["cache", "identity", "images"])
    for container in (CACHE, IDENTITY, IMAGES):
        bed.gate.before(container)
    assert len(bed.made) == 1 and "cache" not in bed.noted


def test_a_load_balancer_that_sees_it_down_is_no_excuse() -> None:
    """It is beneath, and what it sees is what the change did."""
    watcher = Check("backends", "db", container="db", command=("c",), watches=("identity", "cache"))
    bed = Bed(["identity"], checks=(*CHECKS, watcher))
    bed.gate.before(IDENTITY)
    bed.down = {"identity login", "backends"}
    assert not bed.gate.after(IDENTITY).ok
    bed.down = {"identity login", "backends", "db login"}
    with pytest.raises(errors.Transient):
        bed.gate.after(IDENTITY)


def test_a_load_balancer_is_not_blamed_for_whom_it_is_told_of_before_they_start() -> None:
    """It forwards to a service that the same apply makes, and that waits for it."""
    watcher = Check("backends", "db", container="db", command=("c",), watches=("images",))
    for changed, blamed in ((["db", "images"], False), (["db"], True)):
        bed = Bed(changed, checks=(*CHECKS, watcher))
        bed.gate.before(DB)
        bed.down = {"backends"}
        assert bed.gate.after(DB).ok is not blamed, changed


def test_what_was_wrong_beneath_before_the_change_is_no_excuse() -> None:
    """It answered in spite of that."""
    bed = Bed(["identity"])
    bed.down = {"db login"}
    bed.gate.before(IDENTITY)
    bed.down = {"db login", "identity login"}
    assert not bed.gate.after(IDENTITY).ok
