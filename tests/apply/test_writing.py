"""Files of a plan: what is written has its owner and mode, and nothing goes that somebody else wrote."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.model import Action, Container, Desired, Difference, File, Image, Job, Outcome, Verb
from reconciler.reasons import Reason
from tests.apply.bed import Node
from tests.scenarios.world import World

USER, GROUP = 42401, 42402
WEB = Container("web", "i", service="web", config_directory="web")
FILE = File("web/x.conf", "a", mode=0o640, owner=USER, group=GROUP, container="web")
SITE = Desired("site", "here", "r1", "/etc/kolla", (WEB,), files=(FILE,))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, World(images={"i": Image("i")}))


def act(node: Node, verb: Verb, path: str, desired: Desired = SITE, container: str = "web", **how: Any) -> Outcome:
    (outcome,) = node.act(desired, Action(verb, path, "", container=container, **how))
    return outcome


def owned(path: Path) -> tuple[int, int, str]:
    found = path.stat()
    return found.st_uid, found.st_gid, f"{stat.S_IMODE(found.st_mode):o}"


def test_a_file_and_its_folder_belong_to_whom_it_says(node: Node) -> None:
    assert act(node, Verb.WRITE, "web/x.conf").result == "done"
    assert (node.root / "web/x.conf").read_text() == "a"
    assert owned(node.root / "web/x.conf") == (USER, GROUP, "640") and owned(node.root / "web") == (USER, GROUP, "770")
    top = replace(FILE, path="top.conf", container="")
    assert act(node, Verb.WRITE, "top.conf", replace(SITE, files=(top,)), "").result == "done"
    assert owned(node.root / "top.conf") == (USER, GROUP, "640")


def test_one_whose_mode_alone_differs_gets_it(node: Node) -> None:
    act(node, Verb.WRITE, "web/x.conf")
    (node.root / "web/x.conf").chmod(0o600)
    (node.root / "web").chmod(0o700)
    assert act(node, Verb.CHMOD, "web/x.conf").result == "done"
    assert owned(node.root / "web/x.conf")[2] == "640" and owned(node.root / "web")[2] == "770"


def test_a_link_in_its_place_goes_and_what_it_leads_to_stays(node: Node, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("kept")
    (node.root / "web").mkdir()
    (node.root / "web/x.conf").symlink_to(theirs)
    refused = act(node, Verb.WRITE, "web/x.conf")
    assert refused.reason is Reason.FileUnsafe, "one that came since the look is left alone"
    linked = (Difference("mode", "0640", "0777"), Difference("kind", "file", "symlink"))
    assert act(node, Verb.WRITE, "web/x.conf", differences=linked).result == "done"
    assert not (node.root / "web/x.conf").is_symlink() and (node.root / "web/x.conf").read_text() == "a"
    assert theirs.read_text() == "kept"


def test_what_nobody_puts_to_the_test_keeps_its_word_when_only_its_mode_differs(node: Node) -> None:
    """The new time of the file does not say that it holds what the container has not read."""
    node.converge(SITE)
    (node.root / "web/x.conf").chmod(0o600)
    assert [action.verb for action in node.plan(SITE).actions] == ["chmod"]
    node.converge(SITE)
    assert node.plan(SITE).empty
    assert node.state.memory().applied["web"].files == node.target(SITE).files_digest["web"]


def test_without_its_container_there_is_nobody_to_remember_it_of(node: Node) -> None:
    act(node, Verb.WRITE, "web/x.conf")
    assert act(node, Verb.CHMOD, "web/x.conf").result == "done" and not node.state.memory().applied


def test_files_are_kept_together_before_the_first_of_them_changes(node: Node) -> None:
    more = replace(FILE, path="web/y.conf")
    both = replace(SITE, files=(FILE, more))
    node.converge(both)
    changed = replace(both, revision="r2", files=(replace(FILE, content="b"), replace(more, content="b")))
    seen: list[tuple[str, frozenset[str]]] = []
    restore = node.engine.restart

    def restart(name: str, timeout: int | None = None) -> None:
        seen.append((name, node.rollback.kept()))
        restore(name, timeout)

    node.engine.restart = restart  # type: ignore[method-assign]
    node.engine.sick = lambda running: "no" if (node.root / "web/y.conf").read_text() == "b" else ""
    node.converge(changed)
    assert seen[0] == ("web", frozenset({"web"}))
    assert [(node.root / path).read_text() for path in ("web/x.conf", "web/y.conf")] == ["a", "a"]


def test_those_of_what_nothing_puts_to_the_test_are_not_kept(node: Node) -> None:
    """Nothing would ever tell that they work."""
    node.converge(SITE)
    act(node, Verb.WRITE, "web/x.conf", replace(SITE, files=(replace(FILE, content="b"),)))
    assert not node.rollback.kept() and (node.root / "web/x.conf").read_text() == "b"


# --- what goes ---------------------------------------------------------------------------------------------------------------

NOTHING = replace(SITE, containers=(), files=())


def test_what_this_program_wrote_goes_and_its_folder_with_it(node: Node) -> None:
    node.converge(SITE)
    assert act(node, Verb.DELETE, "web/x.conf", NOTHING).result == "done"
    assert not (node.root / "web").exists()
    assert act(node, Verb.DELETE, "web/x.conf", NOTHING).result == "done", "it is gone already"


def test_what_somebody_else_wrote_stays(node: Node) -> None:
    node.converge(SITE)
    (node.root / "web/x.conf").write_text("by hand")
    outcome = act(node, Verb.DELETE, "web/x.conf", NOTHING)
    assert (outcome.result, outcome.reason) == ("failed", Reason.NotOwned)
    assert (node.root / "web/x.conf").read_text() == "by hand"
    (node.root / "web/unknown.conf").write_text("never seen")
    assert act(node, Verb.DELETE, "web/unknown.conf", NOTHING).reason is Reason.NotOwned


def test_a_folder_with_files_of_others_stays(node: Node) -> None:
    node.converge(SITE)
    (node.root / "web/theirs").write_text("theirs")
    assert act(node, Verb.DELETE, "web/x.conf", NOTHING).result == "done"
    assert [path.name for path in (node.root / "web").iterdir()] == ["theirs"]


@pytest.mark.parametrize("desired", [replace(SITE, files=()), replace(NOTHING, jobs=(Job("web", WEB, "d"),))])
def test_the_folder_of_a_container_or_job_that_is_wanted_stays(node: Node, desired: Desired) -> None:
    """It is mounted."""
    node.converge(SITE)
    assert act(node, Verb.DELETE, "web/x.conf", desired).result == "done"
    assert list((node.root / "web").iterdir()) == []


def test_one_that_goes_comes_back_with_the_container_that_needed_it(node: Node) -> None:
    more = (replace(FILE, path="web/y.conf"),)
    node.converge(replace(SITE, files=(FILE, *more)))
    node.engine.sick = lambda running: "" if (node.root / "web/x.conf").exists() else "has no file"
    without = replace(SITE, revision="r2", files=more)
    _, outcomes = node.converge(without)
    assert [(one.action.verb, one.result) for one in outcomes] == [("delete", "done"), ("restart", "rolled-back")]
    assert (node.root / "web/x.conf").read_text() == "a" and owned(node.root / "web/x.conf") == (USER, GROUP, "640")
