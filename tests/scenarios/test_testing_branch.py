"""One host tries what was pushed to its testing branch, and goes back to the branch by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.report import Report
from tests.git import servers
from tests.scenarios import small
from tests.support.lab import Lab, lines

pytestmark = pytest.mark.engine

TESTING = "testing/ctl1"
CONF = "config/try.conf"


def red(word: str = "red") -> dict[str, str]:
    return {CONF: f"[DEFAULT]\ncolour = {word}\n"}


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    """A node that may try its testing branch, and has converged to the branch."""
    with Lab(tmp_path / "lab", engine_url, name="try") as lab:
        lab.config.write_text(lab.config.read_text().replace("[git]\n", "[git]\ntesting = true\n"))
        small.first(lab, "try")
        lab.push("the first one")
        assert lab.reconcile().converged
        yield lab


def push(lab: Lab, files: dict[str, str], message: str, *, branch: str = TESTING, on: str = "") -> str:
    """Commit on top of `on` (default: what the branch is at, or else main is at) and move the branch there."""
    tip = servers.git(lab.repository, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
    return servers.commit(lab.repository, files, message, branch=branch, parents=[on or tip or lab.head])


def colour(lab: Lab) -> str:
    return (lab.config_root / "rt-try-web/try.conf").read_text().split("=")[1].split()[0]


def condition(report: Report) -> tuple[bool, str]:
    found = next(c for c in report.conditions if c.type == "Testing")
    return found.status, found.message


def test_a_testing_branch_is_tried_shown_and_left(lab: Lab) -> None:
    main = lab.head
    tried = push(lab, red(), "try red")
    assert lab.reconcile().converged and colour(lab) == "red"
    state, report = lab.node.state, lab.node.state.report or {}
    assert state.anchor and state.anchor.commit == main, "the anchor never leaves the branch"
    assert (report["revision"], report["testing"], report["subject"]) == (tried, TESTING, "try red")
    assert {c["type"]: (c["status"], c["message"]) for c in report["conditions"]}["Testing"] == (
        True,
        f"{TESTING} at {tried[:12]}",
    )
    assert state.history.newest(1)[0]["testing"] == TESTING
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    status, text = lab.statuses(tried)[-1]
    assert status == "success" and text.startswith("testing branch testing/ctl1: 2 containers, 2 changed")
    with lab.forge.lock:
        rows = [row for project in lab.forge.projects.values() for row in project.rows if row.sha == tried]
    assert {row.ref for row in rows} == {TESTING}
    # As after a crash: another process finds it as it was, and touches nothing.
    before = lab.identities()
    lab.close_node()
    again = lab.reconcile()
    assert again.converged and again.revision == tried and lab.identities() == before

    servers.git(lab.repository, "update-ref", "-d", f"refs/heads/{TESTING}")
    back = lab.reconcile()
    assert back.converged and back.refusal is None and (back.revision, back.testing) == (main, "")
    assert colour(lab) == "blue" and condition(back) == (False, "") and state.trial is None
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert [status for status, _ in lab.statuses(main)].count("success") == 1, "nothing new is said about main"
    assert not lab.forge.violations


def test_when_main_takes_it_nothing_is_touched(lab: Lab) -> None:
    push(lab, red(), "try red")
    tried = push(lab, {"README.md": "why"}, "and say why")
    assert lab.reconcile().converged
    before = lab.identities()
    servers.git(lab.repository, "update-ref", "refs/heads/main", tried)
    report = lab.reconcile()
    assert report.converged and lines(report) == [] and (report.revision, report.testing) == (tried, "")
    assert lab.identities() == before and lab.node.state.anchor.commit == tried  # type: ignore[union-attr]
    # A merge commit on top, with the branch still there.
    lab.head = push(lab, red("green"), "merged, and more", branch="main", on=tried)
    report = lab.reconcile()
    assert report.converged and report.revision == lab.head and colour(lab) == "green"


def test_a_branch_that_main_has_left_behind_is_refused(lab: Lab) -> None:
    old, tried = lab.head, push(lab, red(), "try red")
    assert lab.reconcile().converged
    lab.head = push(lab, {"README.md": "news"}, "main moves on", branch="main", on=old)
    report = lab.reconcile()
    assert (report.revision, report.testing) == (lab.head, "") and colour(lab) == "blue"
    assert report.refusal and (report.refusal.commit, report.refusal.reason) == (tried, "TestingBranchBehind")
    assert "rebase it" in report.refusal.message
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses(tried)[-1][0] == "failed"
    # Rebased (a testing branch may be rewritten), it is tried again.
    tried = push(lab, red(), "try red", on=lab.head)
    report = lab.reconcile()
    assert report.converged and report.revision == tried and report.refusal is None


def test_an_invalid_one_changes_nothing(lab: Lab) -> None:
    before = lab.identities()
    bad = push(lab, {"globals.yml": "no_such_variable: 1\n"}, "a mistake")
    report = lab.reconcile()
    assert report.refusal and (report.refusal.commit, report.refusal.reason) == (bad, "SiteInvalid")
    assert (report.revision, report.testing) == (lab.head, "") and lab.identities() == before
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses(bad)[-1][0] == "failed" and lab.statuses(bad)[-1][1].startswith("refused: ")


def test_only_where_the_settings_allow_it_and_only_its_own(lab: Lab) -> None:
    push(lab, red(), "for another host", branch="testing/ctl2")
    push(lab, red("green"), "below its own name", branch="testing/ctl1/more")
    report = lab.reconcile()
    assert report.converged and lines(report) == [] and report.revision == lab.head
    servers.git(lab.repository, "update-ref", "-d", "refs/heads/testing/ctl1/more")
    push(lab, red(), "try red")
    assert lab.reconcile().testing == TESTING
    lab.close_node()
    lab.config.write_text(lab.config.read_text().replace("testing = true\n", ""))
    report = lab.reconcile()
    assert (report.revision, report.testing) == (lab.head, "") and colour(lab) == "blue"
