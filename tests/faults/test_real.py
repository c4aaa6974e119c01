"""Schedules on a real engine. Slow: `RT_SCHEDULES` says how many."""

import os

import pytest

from reconciler.model import Container, Desired, File
from tests.faults import real
from tests.faults.bugs import BUGS, planted
from tests.faults.schedule import Schedule, Step, Violated

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_whatever_fails_on_a_real_engine(engine_url: str) -> None:
    wanted, seed = int(os.environ.get("RT_SCHEDULES", "20")), int(os.environ.get("RT_SEED", "1"))
    with real.engine(engine_url) as place:
        assert real.search(place, wanted, seed, 3600.0) == wanted


def _site(number: int, image: str) -> Desired:
    container = Container("api", image, service="one", config_directory="api")
    return Desired(
        "site", "here", f"r{number}", "/etc/kolla", (container,), (File("api/x.conf", "a", container="api"),)
    )


def test_it_finds_a_bug(engine_url: str) -> None:
    """Two of the same that run side by side are seen on a real engine, too."""
    change = Schedule(_site(0, "image:1"), (_site(1, "image:2"),), (Step("commit", site=1), Step("pass", deep=True)))
    with real.engine(engine_url) as place:
        real.check(place, change)
        bug = next(bug for bug in BUGS if bug.name.startswith("the old one still runs"))
        with planted(bug), pytest.raises(Violated, match="two of the same"):
            real.check(place, change)
