"""kill -9 of the daemon while commits come. Slow: `RT_KILLS` says how often, `RT_SECONDS` after how long it may end before that, and another
`RT_SEED` gives other moments, so that pieces add up."""

import os

import pytest

from tests.daemon.conftest import node  # noqa: F401 - a fixture
from tests.daemon.node import TestNode
from tests.faults.kills import storm

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_nothing_that_no_commit_changes_notices(node: TestNode) -> None:  # noqa: F811
    kills, seconds = int(os.environ.get("RT_KILLS", "100")), float(os.environ.get("RT_SECONDS", "3600"))
    told = storm(node, kills, seed=int(os.environ.get("RT_SEED", "1")), longest=seconds)
    print(f"\n{told.kills} kills, {told.commits} commits, {told.seconds:.0f} s, died after {dict(told.moments)}")
    assert told.kills == kills or told.seconds >= seconds
