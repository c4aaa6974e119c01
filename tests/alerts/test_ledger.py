"""Who is told what, and when: time is an argument here, and nothing is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.alerts import alerts_of, ledger
from reconciler.alerts.items import coverage
from reconciler.alerts.ledger import Delivery, Ledger, Pace
from reconciler.codec import from_json, to_json
from reconciler.reasons import Reason
from reconciler.report import Report
from tests.alerts.reports import START, held, outcome, report

PACE = Pace(repeat=4 * 3600.0, settle=120.0, per_hour=60)
MINUTE = timedelta(minutes=1)
DRIFT, WELL = report(held()), report()


@dataclass
class Told:
    """A target that always answers."""

    pace: Pace = PACE
    book: Ledger = field(default_factory=Ledger)
    said: list[tuple[str, str, int]] = field(default_factory=list)

    def cycle(self, seen: Report, now: datetime) -> list[tuple[str, str, int]]:
        """One report, and what is said because of it or because time went by."""
        self.book = ledger.observe(
            self.book, alerts_of(seen, now), coverage(seen), now, identity="here", deep=seen.deep
        )
        return self.tell(now)

    def tell(self, now: datetime) -> list[tuple[str, str, int]]:
        due = ledger.due(self.book, "t", now, self.pace)[: ledger.room(self.book, "t", now, self.pace)]
        self.book = ledger.told(self.book, "t", due, now, sure=True, messages=len(due))
        self.book = ledger.tidied(self.book, ["t"], now, self.pace)
        self.book = from_json(Ledger, to_json(self.book))  # a restart after each step changes nothing
        new = [(d.item, d.status, d.times) for d in due]
        self.said += new
        return new  # type: ignore[return-value]


def test_a_thousand_cycles_of_one_drift_are_one_alert_and_its_reminders() -> None:
    target = Told()
    for cycle in range(1000):
        target.cycle(DRIFT, START + cycle * MINUTE)
    # 999 minutes are four times four hours.
    assert target.said == [("keystone", "firing", times) for times in (1, 2, 3, 4, 5)]


def test_it_is_resolved_once_it_has_been_well_for_a_while() -> None:
    target = Told()
    target.cycle(DRIFT, START)
    assert target.cycle(WELL, START + MINUTE) == []
    assert target.cycle(WELL, START + 2.9 * MINUTE) == []
    assert target.cycle(WELL, START + 3 * MINUTE) == [("keystone", "resolved", 1)]
    target.cycle(WELL, START + 6 * MINUTE)
    assert target.book == Ledger({}, target.book.sent), "what is over and told is forgotten"


def test_what_comes_and_goes_is_one_alert() -> None:
    target = Told()
    for cycle in range(100):
        target.cycle(DRIFT if cycle % 2 else WELL, START + cycle * MINUTE)
    assert target.said == [("keystone", "firing", 1)]


def test_what_comes_back_after_it_was_resolved_is_a_new_alert() -> None:
    target = Told()
    target.cycle(DRIFT, START)
    first = target.book.entries["keystone"]
    target.cycle(WELL, START + MINUTE)
    target.cycle(WELL, START + 5 * MINUTE)
    assert target.cycle(DRIFT, START + 6 * MINUTE) == [("keystone", "firing", 1)]
    again = target.book.entries["keystone"]
    assert again.fingerprint == first.fingerprint and again.since == START + 6 * MINUTE


def test_what_heals_within_its_patience_is_never_told() -> None:
    failing = report(outcomes=[outcome("keystone", "failed")])
    target = Told()
    target.cycle(failing, START)
    target.cycle(failing, START + 4 * MINUTE)
    for cycle in range(5, 20):
        target.cycle(WELL, START + cycle * MINUTE)
    assert target.said == [] and target.book.entries == {}


def test_what_lasts_is_told_without_another_cycle() -> None:
    target = Told()
    target.cycle(report(outcomes=[outcome("keystone", "failed")]), START)
    assert ledger.next_due(target.book, ["t"], START, PACE) == START + 5 * MINUTE
    assert target.tell(START + 5 * MINUTE) == [("keystone", "firing", 1)]


def test_a_cycle_that_knows_nothing_resolves_nothing() -> None:
    target = Told()
    target.cycle(DRIFT, START)
    for cycle in range(1, 60):
        target.cycle(report(failure=(Reason.EngineTimeout, "slow")), START + cycle * MINUTE)
    assert target.said[0] == ("keystone", "firing", 1)
    assert ("keystone", "resolved", 1) not in target.said
    target.cycle(WELL, START + 60 * MINUTE)
    assert ("keystone", "resolved", 1) in target.cycle(WELL, START + 63 * MINUTE)


def test_a_shallow_pass_does_not_resolve_what_only_a_deep_one_sees() -> None:
    item = "mariadb:database:nova"
    target = Told()
    for cycle in range(31):
        target.cycle(report(held(item), deep=True) if cycle % 10 == 0 else WELL, START + cycle * MINUTE)
    assert target.said == [(item, "firing", 1)]
    target.cycle(report(deep=True), START + 40 * MINUTE)
    assert target.cycle(WELL, START + 43 * MINUTE) == [(item, "resolved", 1)]


def test_who_did_it_is_kept_by_a_process_that_did_not_hear_it() -> None:
    target = Told()
    target.cycle(report(held(), explained={"keystone": "stopped by hand at 03:12:00"}), START)
    target.cycle(DRIFT, START + MINUTE)
    assert target.book.entries["keystone"].alert.cause == "stopped by hand at 03:12:00"


def test_an_hour_has_room_for_so_many_and_the_rest_comes_later() -> None:
    many = report(*(held(f"c{n:02}") for n in range(25)))
    target = Told(Pace(per_hour=10))
    assert len(target.cycle(many, START)) == 10
    assert target.cycle(many, START + MINUTE) == []
    assert ledger.next_due(target.book, ["t"], START + MINUTE, target.pace) == START + timedelta(hours=1)
    assert len(target.tell(START + timedelta(hours=1))) == 10
    assert len(target.tell(START + timedelta(hours=2))) == 5
    assert len({item for item, _, _ in target.said}) == 25


def test_the_most_severe_comes_first() -> None:
    seen = report(held("aaa"), outcomes=[outcome("zzz", "rolled-back")])
    assert [item for item, _, _ in Told().cycle(seen, START)] == ["zzz", "aaa"]


def test_a_clock_that_was_set_back_does_not_silence_us() -> None:
    target = Told()
    target.cycle(DRIFT, START)
    earlier = START - timedelta(days=400)
    assert target.cycle(DRIFT, earlier) == [("keystone", "firing", 2)]
    assert target.cycle(DRIFT, earlier + MINUTE) == []


def test_the_host_and_the_item_make_the_fingerprint() -> None:
    assert ledger.fingerprint("a", "b") == ledger.fingerprint("a", "b")
    assert len({ledger.fingerprint(*pair) for pair in (("a", "b"), ("a", "c"), ("b", "b"), ("ab", ""))}) == 4


def test_a_target_that_is_gone_from_the_settings_holds_nothing_up() -> None:
    target = Told()
    target.cycle(DRIFT, START)
    book = ledger.tidied(target.book, ["other"], START, PACE)
    assert book.entries["keystone"].told == {} and book.sent == {}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([(), ("a",), ("b",), ("a", "b")]), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_whatever_happens_a_target_ends_up_knowing_how_things_are(
    steps: Sequence[tuple[tuple[str, ...], bool]], per_hour: int
) -> None:
    """Firing and resolved take turns per item, and once nothing changes any more the target was told the truth."""
    target = Told(Pace(repeat=1e9, settle=120.0, per_hour=per_hour))
    now, wrong = START, ()
    for wrong, deep in steps:  # type: ignore[assignment]
        now += MINUTE
        target.cycle(report(*(held(item) for item in wrong), deep=deep), now)
    for _ in range(20):
        now += 60 * MINUTE
        target.cycle(report(*(held(item) for item in wrong), deep=True), now)
    for item in ("a", "b"):
        heard = [status for name, status, _ in target.said if name == item]
        assert heard == [("firing", "resolved")[n % 2] for n in range(len(heard))]
        assert (heard[-1:] == ["firing"]) == (item in wrong)


def test_what_was_not_tried_is_taken_back() -> None:
    book = ledger.observe(Ledger(), alerts_of(DRIFT, START), coverage(DRIFT), START, identity="", deep=False)
    due: tuple[Delivery, ...] = ledger.due(book, "t", START, PACE)
    announced = ledger.told(book, "t", due, START, sure=False)
    assert not announced.entries["keystone"].told["t"].sure
    assert ledger.restored(announced, "t", due).entries == book.entries
