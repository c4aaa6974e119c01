"""What a host keeps of a halt, its end, an excuse and a release: once each, with who and why."""

from dataclasses import replace

from reconciler.rollout.heard import Heard, news
from reconciler.rollout.records import Halt, Roll, Said, View

COMMIT = "b" * 40
OP = Said("op", "the network is being moved", "2026-03-01T12:00:00+00:00")
HALTED = View(Roll(COMMIT, halt=Halt(OP.by, OP.why, OP.at)))


def told(view: View, before: Heard) -> tuple[list[str], Heard]:
    found, after = news(view, "cmp7", before)
    return [f"{one.target} was {one.text}" for one in found], after


def test_a_halt_is_news_once_and_again_when_it_is_another() -> None:
    first, known = told(HALTED, {})
    assert first == ["the rollout was halted by op: the network is being moved"]
    assert told(HALTED, known) == ([], known)
    assert told(replace(HALTED, partial=True), known) == ([], known)
    other = View(Roll(COMMIT, halt=Halt("cmp1", "it says bad")))
    assert told(other, known)[0] == ["the rollout was halted by cmp1: it says bad"]
    newer = View(Roll("c" * 40, halt=Halt(OP.by, OP.why, OP.at)))
    assert told(newer, known)[0] == first


def test_its_end_is_news_and_the_same_halt_afterwards_too() -> None:
    resumed = View(Roll(COMMIT, resumed="op: it is back (2026-03-01T13:00:00+00:00)"))
    known = told(HALTED, {})[1]
    found, known = told(resumed, known)
    assert found == ["the rollout was resumed by op: it is back (2026-03-01T13:00:00+00:00)"]
    assert told(resumed, known)[0] == []
    again = View(Roll(COMMIT, halt=Halt(OP.by, OP.why, OP.at), resumed=resumed.roll.resumed if resumed.roll else ""))
    assert told(again, known)[0] == ["the rollout was halted by op: the network is being moved"]


def test_who_is_excused_is_kept_also_while_it_is_not_read() -> None:
    excused = View(Roll(COMMIT), excuses={"cmp9": Said("op", "its disk is changed", OP.at)})
    found, known = told(excused, {})
    assert found == ["cmp9 was excused by op: its disk is changed"]
    assert told(View(Roll(COMMIT), partial=True), known) == ([], known)
    assert told(excused, known)[0] == []
    gone = told(View(Roll("c" * 40)), known)[1]  # another commit excuses nobody
    assert told(excused, gone)[0] == found


def test_places_that_were_given_back_by_hand() -> None:
    released = View(Roll(COMMIT), released=Said("op", "switched off", OP.at))
    found, known = told(released, {})
    assert found == ["cmp7 was released by op: switched off"]
    assert told(View(Roll(COMMIT)), known) == ([], known) and told(released, known)[0] == []
    later = replace(released, released=Said("op", "switched off", "2026-03-02T12:00:00+00:00"))
    assert told(later, known)[0] == found


def test_nothing_was_said() -> None:
    assert news(View(), "cmp7", {}) == ((), {})
