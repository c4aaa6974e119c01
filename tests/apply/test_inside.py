"""A job whose command is run in a container that runs."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.apply import Actions
from reconciler.model import Container, Job


@pytest.mark.parametrize(
    ("there", "runs", "expected", "asked"),
    [
        (False, False, (0, ""), []),
        (True, False, (1, "app does not run"), []),
        (True, True, (3, "said"), [("app", ("kick", "c"), 7.0)]),
    ],
)
def test_it_is_asked_where_it_runs(there: bool, runs: bool, expected: tuple[int, str], asked: list[Any]) -> None:
    """Before its container was ever made there is nothing to be done; one that is stopped has to run first."""
    seen: list[Any] = []

    def execute(name: str, command: tuple[str, ...], timeout: float) -> tuple[int, str]:
        seen.append((name, command, timeout))
        return 3, "said"

    engine = SimpleNamespace(exists=lambda name: there, runs=lambda name: runs, execute=execute)
    job = Job("j", Container("j", "i", command=("kick", "c")), "d", timeout=7.0, inside="app")
    assert Actions._inside(cast(Any, SimpleNamespace(_engine=engine)), job) == expected
    assert seen == asked
