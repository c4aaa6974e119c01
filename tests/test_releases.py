"""Which steps between releases of OpenStack are supported, and what is said of the others."""

from datetime import date

import pytest

from reconciler import releases
from reconciler.model import Desired, Memory
from reconciler.plan import release_step


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("2025.1", "2025.1", ""),
        ("2025.1", "2025.2", ""),
        ("2025.2", "2026.1", ""),
        ("2025.1", "2026.1", ""),
        ("2025.1", "2026.2", "go to 2026.1, then 2026.2"),
        ("2025.2", "2026.2", "go to 2026.1, then 2026.2"),
        ("2025.2", "2027.1", "go to 2026.1, then 2027.1"),
        ("2023.1", "2026.1", "go to 2024.1, then 2025.1, then 2026.1"),
        ("2022.1", "2023.1", "go to 2022.2, then 2023.1"),
        ("2026.1", "2025.1", "there is no way back"),
        ("2026.1", "2025.2", "there is no way back"),
        ("", "2025.1", ""),
        ("zed", "2025.1", ""),
    ],
)
def test_steps(before: str, after: str, said: str) -> None:
    found = releases.refusal(before, after)
    assert said in found and bool(said) is bool(found), found
    if found:
        assert before in found and after in found


ENTRY = {"check": "release-step", "who": "operator", "why": "the backup was put back", "until": "2026-12-01"}


@pytest.mark.parametrize(
    ("good", "schema", "after", "accept", "refused"),
    [
        ("2025.1", "", "2026.1", [], False),
        ("2025.1", "2026.1", "2026.1", [], False),
        ("2025.1", "2026.1", "2025.1", [], True),
        ("2025.1", "2026.1", "2026.2", [], True),
        ("2025.1", "2026.1", "2027.1", [], True),
        ("", "", "2026.1", [], False),
        ("2025.1", "2026.1", "2025.1", [ENTRY], False),
        ("2025.1", "2026.1", "2025.1", [{**ENTRY, "hosts": ["h"]}], False),
        ("2025.1", "2026.1", "2025.1", [{**ENTRY, "hosts": ["another"]}], True),
        ("2025.1", "2026.1", "2025.1", [{**ENTRY, "check": "another"}], True),
        ("2025.1", "2026.1", "2025.1", [{**ENTRY, "until": "2026-11-26"}], True),
        ("2025.1", "2026.1", "2025.1", [{**ENTRY, "until": "2026-11-27"}], False),
    ],
)
def test_an_upgrade_that_did_not_end_counts(
    good: str, schema: str, after: str, accept: list[dict[str, object]], refused: bool
) -> None:
    memory = Memory(last_good=Desired("s", "h", "r", "/etc/kolla", release=good), schema_release=schema)
    desired = Desired("s", "h", "r2", "/etc/kolla", release=after, policy={"accept": accept})
    found = release_step.refused(release_step.known(memory), desired, date(2026, 11, 27))
    assert bool(found) is refused, found
