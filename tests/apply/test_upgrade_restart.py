"""What chose at its start what it says to others is restarted once every host has gone to the release."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model import Container, Desired, Image, Order, Verb
from tests.apply.bed import Node
from tests.apply.fake import Killed
from tests.scenarios.world import World

OLD = Desired(
    "site",
    "here",
    "r1",
    "/etc/kolla",
    (Container("conductor", "i", service="nova"), Container("proxy", "i", service="nova")),
    release="2025.1",
    orders=(Order("conductor", upgrade_restart=True),),
)
NEW = replace(
    OLD, revision="r2", release="2026.1", containers=tuple(replace(one, image="new") for one in OLD.containers)
)
CAUSE = "every host has 2026.1 now, and it chose before what it says to others"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A host that went to another release, and some of the others did not yet."""
    made = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    made.converge(OLD)
    made.with_all = False
    assert [action.cause for action in made.plan(NEW).actions if action.verb is Verb.REPLACE] == [
        "image differs (restarted once more when every host has it)",
        "image differs",
    ]
    made.converge(NEW)
    return made


def started(node: Node) -> dict[str, object]:
    return {name: running.started_at for name, running in node.engine.containers.items()}


def test_once_and_not_before(node: Node) -> None:
    before = started(node)
    for _ in range(2):
        node.converge(NEW)
    assert node.plan(NEW).empty and started(node) == before
    node.with_all = True
    node.converge(NEW)
    assert [(a.verb, a.target, a.cause, a.drift) for a in node.plan(NEW).actions] == [
        (Verb.RESTART, "conductor", CAUSE, False)
    ]
    node.converge(NEW)
    after = started(node)
    assert after["conductor"] != before["conductor"] and after["proxy"] == before["proxy"]
    for _ in range(2):
        node.converge(NEW)
    assert node.plan(NEW).empty and started(node) == after


def test_what_was_started_since_is_left_alone(node: Node) -> None:
    """By another commit, after the last host had the release and before this one had heard of it."""
    node.with_all = True
    node.converge(NEW)
    changed = replace(
        NEW, revision="r3", containers=(replace(NEW.containers[0], environment={"A": "b"}), NEW.containers[1])
    )
    assert [(a.verb, a.cause) for a in node.plan(changed).actions] == [(Verb.REPLACE, "environment.A differs")]
    node.converge(changed)
    node.converge(changed)
    assert node.plan(changed).empty


def test_a_newer_commit_in_the_middle_forgets_nothing(node: Node) -> None:
    """It starts the process anew while hosts of the former release are there still."""
    changed = replace(
        NEW, revision="r3", containers=(replace(NEW.containers[0], environment={"A": "b"}), NEW.containers[1])
    )
    node.converge(changed)
    node.with_all = True
    node.converge(changed)
    assert [(a.verb, a.target) for a in node.plan(changed).actions] == [(Verb.RESTART, "conductor")]


def test_a_kill_before_the_upgrade_counts_as_carried_out_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    node.converge(OLD)
    carried_out = node.state.converged

    def killed(*given: Any) -> None:
        carried_out(*given)
        raise Killed

    monkeypatch.setattr(node.state, "converged", killed)
    with pytest.raises(Killed):
        node.converge(NEW)
    monkeypatch.undo()
    node.converge(NEW)
    assert [(a.verb, a.target) for a in node.plan(NEW).actions] == [(Verb.RESTART, "conductor")]


def test_no_release_nothing(tmp_path: Path) -> None:
    """Neither a first convergence nor another image of the same release is an upgrade."""
    node = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    node.converge(OLD)
    node.converge(OLD)
    assert node.plan(OLD).empty
    same = replace(NEW, release="2025.1")
    for _ in range(3):
        node.converge(same)
    assert node.plan(same).empty
