"""How long a start is waited for: a first one as long as its service allows, and what worked before no longer than its check does."""

from dataclasses import replace
from pathlib import Path

from reconciler.model import Container, Desired, Image
from tests.apply.bed import Node
from tests.scenarios.world import World

FIRST = Desired("site", "here", "r1", "/etc/kolla", (Container("keystone", "i", service="keystone"),))
SECOND = replace(FIRST, revision="r2", containers=(replace(FIRST.containers[0], image="new"),))


def test_a_first_start_and_what_is_never_put_back_have_their_time(tmp_path: Path) -> None:
    node = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    node.converge(FIRST)
    assert node.engine.patient == [True]
    node.converge(replace(SECOND, containers=(replace(SECOND.containers[0], rollback="never"),)))
    assert node.engine.patient == [True, True]


def test_what_worked_and_what_is_put_back_have_not(tmp_path: Path) -> None:
    node = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    node.converge(FIRST)
    node.state.took("keystone", 1.0)
    node.engine.sick = lambda running: "is not well"
    (outcome,) = (found for found in node.converge(SECOND)[1] if found.result == "rolled-back")
    assert "the old one is back" in outcome.message and node.engine.patient == [True, False, False]
