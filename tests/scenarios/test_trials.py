"""The two trials of `trials.py`, judged."""

import contextlib
from collections.abc import Iterator

import docker
import pytest

from tests.demo.bed import collisions
from tests.scenarios import trials
from tests.support.lab import HOST, SITE, Lab

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine_url: str, kolla_images: dict[str, str]) -> Iterator[Lab]:
    with contextlib.closing(docker.APIClient(base_url=engine_url)) as client:
        there = collisions(client, owner=f"{SITE}/{HOST}")
        assert not there, f"the names of the control plane are taken: {', '.join(there)}"
    with Lab(tmp_path_factory.mktemp("trials") / "lab", engine_url, canaries=False) as lab, trials.following(lab):
        yield lab


def test_mishaps_while_a_wrong_commit_is_proved(lab: Lab) -> None:
    found = trials.mishaps(lab)
    print(found)
    assert found.keystone["reason"] in ("Superseded", "Unhealthy"), "it was cut short, or taken back before"
    assert found.mending[0] == "success"
    assert found.wrong[0] in ("canceled", "failed")
    # Generous, because the machine may be busy; the bench measures.
    assert found.down < 10 and found.accepted < 30


def test_a_wrong_commit_alone(lab: Lab) -> None:
    found = trials.alone(lab)
    print(found)
    first = found.outcome["message"].splitlines()[0]
    assert first.startswith("keystone: ") and "nosuch" in first, found.outcome["message"]
    assert "nosuch" in found.status[1] and found.rolled_back < 100
    assert not [line for line in found.outcome["message"].splitlines() if line.startswith("+ ")], (
        "no trace of the shell"
    )
