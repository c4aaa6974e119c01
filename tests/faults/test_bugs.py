"""The harness is proved by bugs that are put into the program on purpose: each is found, and without one nothing is."""

import pytest

from tests.faults.bugs import BUGS, Bug, first, found, planted
from tests.faults.search import check
from tests.faults.tour import CALM, tour


def test_each_fits_into_the_program_as_it_is() -> None:
    for bug in BUGS:
        with planted(bug):
            pass


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_is_found(bug: Bug) -> None:
    assert found(bug)[0]


@pytest.mark.slow
def test_without_a_bug_nothing_is_found() -> None:
    check(CALM)
    for name, turn in sorted({pair for bug in BUGS for pair in first(bug.near)}):
        check(tour(name, turn))
