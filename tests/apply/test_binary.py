"""Files that are no text on a node: written byte for byte, healed, taken back, and known after a restart."""

import base64
from dataclasses import replace
from pathlib import Path

from reconciler.model import Container, Desired, File, Image, Running, Verb
from reconciler.state import StateDirectory
from tests.apply.bed import Node
from tests.scenarios.world import World

PATH = "app/logo.png"
OLD = bytes(range(256)) + b"\r\n\0 <<secret:nobody>> \n\rno newline at the end"
NEW = OLD[::-1] + b"\xff"


def site(data: bytes, revision: str) -> Desired:
    logo = File(PATH, base64.b64encode(data).decode(), container="app", format="text", encoding="base64")
    app = Container("app", "image:1", config_directory="app")
    return Desired("site", "here", revision, "/etc/kolla", containers=(app,), files=(logo,))


def on_disk(node: Node) -> bytes:
    return (node.root / PATH).read_bytes()


def lines(node: Node, desired: Desired) -> list[str]:
    return [action.line for action in node.plan(desired).actions]


def test_from_the_first_write_to_the_one_that_is_taken_back(tmp_path: Path) -> None:
    node = Node(tmp_path, World(images={"image:1": Image("image:1")}))
    base, head = site(OLD, "r1"), site(NEW, "r2")
    node.converge(base)
    assert on_disk(node) == OLD
    assert lines(node, base) == [], "what is there is compared byte for byte"

    (node.root / PATH).write_bytes(OLD.replace(b"\r\n", b"\n"))
    wanted, outcomes = node.converge(base)
    (write, restart) = wanted.actions
    assert (write.verb, write.cause, restart.verb) == (Verb.WRITE, "drift: edited on the node", Verb.RESTART)
    assert {outcome.result for outcome in outcomes} == {"done"} and on_disk(node) == OLD

    def sick(running: Running) -> str:
        return "its health check fails" if on_disk(node) == NEW else ""

    node.engine.sick = sick
    _, outcomes = node.converge(head)
    assert "rolled-back" in {outcome.result for outcome in outcomes} and on_disk(node) == OLD
    node.engine.sick = lambda running: ""
    node.converge(replace(head, revision="r3", files=site(OLD + NEW, "r3").files))
    assert on_disk(node) == OLD + NEW

    node.converge(replace(base, revision="r4", files=()))
    assert not (node.root / PATH).exists(), "what this program wrote goes with the entry"


def test_the_last_good_state_brings_it_back_after_a_restart(tmp_path: Path) -> None:
    """The state directory is all that there is: no repository, no object of Git."""
    node = Node(tmp_path, World(images={"image:1": Image("image:1")}))
    node.converge(site(OLD, "r1"))
    node.state = StateDirectory(tmp_path / "state")
    good = node.state.memory().last_good
    assert good is not None and good.files[0].data == OLD
    (node.root / PATH).unlink()
    node.converge(good)
    assert on_disk(node) == OLD
