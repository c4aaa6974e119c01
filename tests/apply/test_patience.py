"""How long a start is waited for: a first one as long as its service allows, and what worked before no longer than its check does."""

from dataclasses import replace
from pathlib import Path

from reconciler.model import Container, Desired, Image
from tests.apply.bed import Node, Unhurried
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


class Said(Unhurried):
    """What was said of a start."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def at(self, container: str, text: str) -> None:
        self.words.append(text)


def test_who_waits_is_told_how_long_that_may_be(tmp_path: Path) -> None:
    """Only where it is longer than anybody expects: all that time it looks as if the start had failed."""
    node = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    node.progress = said = Said()
    copies = replace(FIRST.containers[0], start_timeout=900.0)
    node.converge(replace(FIRST, containers=(copies,)))
    node.state.took("keystone", 1.0)
    node.converge(replace(SECOND, containers=(replace(copies, image="new"),)))
    waits = [text for text in said.words if text.startswith("waiting for keystone to become healthy")]
    assert waits == [
        "waiting for keystone to become healthy, for up to 15 min",
        "waiting for keystone to become healthy",
    ]
