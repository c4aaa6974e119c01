"""Every incident is told as the table of docs/operations.md says, and ends well. Many minutes: `pytest -m slow tests/incidents`."""

from pathlib import Path

import pytest

from tests.incidents.__main__ import beds
from tests.incidents.mishaps import MISHAPS
from tests.incidents.play import play

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]


@pytest.mark.parametrize("engine", [False, True], ids=["control plane", "engine"])
def test_what_happens_is_told_and_ends_well(
    tmp_path: Path, engine_url: str, kolla_images: dict[str, str], engine: bool
) -> None:
    wanted = [mishap for mishap in MISHAPS if mishap.engine == engine]
    played = []
    for bed, mishaps in beds(tmp_path, engine_url, wanted):
        with bed, bed.serving():
            played += [play(bed, mishap) for mishap in mishaps]
    assert len(played) == len(wanted)
    assert [row for row in played if not row.expected] == []
