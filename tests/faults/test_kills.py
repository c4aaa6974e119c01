"""kill -9 of the daemon while commits come. Slow: `RT_KILLS` says how often."""

import os

import pytest

from tests.daemon.conftest import node  # noqa: F401 - a fixture
from tests.daemon.node import TestNode
from tests.faults.kills import storm

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_nothing_that_no_commit_changes_notices(node: TestNode) -> None:  # noqa: F811
    kills = int(os.environ.get("RT_KILLS", "100"))
    told = storm(node, kills, seed=1, longest=3600.0)
    print(f"\n{told.kills} kills, {told.commits} commits, {told.seconds:.0f} s, died after {dict(told.moments)}")
    assert told.kills == kills
