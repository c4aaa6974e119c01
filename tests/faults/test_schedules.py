"""Whatever fails, in whatever order: what was not to be touched stays, what was acknowledged is kept, the status is true, and it ends."""

import pytest
from hypothesis import given

from tests.faults import table
from tests.faults.points import NAMES, POINTS
from tests.faults.schedule import TALLY, Schedule, schedules
from tests.faults.search import check, search
from tests.faults.tour import tour
from tests.scenarios.test_properties import quick


@quick(60)
@given(schedules())
def test_whatever_fails(schedule: Schedule) -> None:
    check(schedule)


# One failpoint of each port and each way to fail, of those that the harness found something with among them.
SOME = (
    "kept.list.emfile", "kept.open.eio", "kept.remove.erofs", "state.open.eio", "state.create.emfile", "state.create.enospc", "state.rename.killed-before",
    "config.write.killed-after", "config.rename.killed-after", "host.write.killed-after", "engine.create.lost", "engine.rename.killed-after",
    "engine.healthy.sick", "engine.remove.half", "registrar.converge.half", "host.put.lost", "git.fetch.garbage", "sops.decrypt.refused",
)  # fmt: skip


@pytest.mark.parametrize(("name", "turn"), [*((name, 1) for name in SOME), ("config.write.killed-after", 6)])
def test_one_failpoint(name: str, turn: int) -> None:
    before = TALLY[name]
    check(tour(name, turn))  # the sixth file is the one that says what was accepted
    assert TALLY[name] == before + 1, "it is met"


def test_there_are_enough_failpoints_and_each_is_one() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 60
    assert {name.rpartition(".")[0] for name in NAMES} == POINTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_failpoint(name: str) -> None:
    before = TALLY[name]
    check(tour(name))
    assert TALLY[name] == before + 1, "it is met"


@pytest.mark.slow
def test_ten_thousand_schedules() -> None:
    search(10_000)


def test_the_page_lists_them() -> None:
    assert table.written(page := table.PAGE.read_text()) == page, "run python -m tests.faults.table"
