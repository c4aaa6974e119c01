"""Changes wait for their maintenance window, drift does not: on a real node, with its clock set."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import docker
import pytest

from tests.scenarios import small
from tests.support.lab import Lab, lines

pytestmark = pytest.mark.engine

BERLIN = ZoneInfo("Europe/Berlin")
WINDOWS = """\
name: win
windows: [{name: nights, time_zone: Europe/Berlin, days: [mon], from: "22:00", to: "05:00"}]
"""
UNTIL = "until 2026-11-23 22:00 CET (window nights)"


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    """A node that has converged in the window, and whose clock now shows the next noon."""
    with Lab(tmp_path / "lab", engine_url, name="win", tls=False) as lab:
        small.first(lab, "win")
        lab.write({"reconciler.yml": WINDOWS})
        lab.push("the first one")
        lab.node.clock = lambda: datetime(2026, 11, 17, 2, 0, tzinfo=BERLIN)  # the window of the week before
        report = lab.reconcile()
        assert report.converged and not report.window, report
        set_clock(lab, 23, 12)
        yield lab


def set_clock(lab: Lab, day: int, hour: int) -> None:
    lab.node.clock = lambda: datetime(2026, 11, day, hour, 0, tzinfo=BERLIN)


def test_a_change_waits_and_drift_does_not(lab: Lab, docker_client: docker.DockerClient) -> None:
    first, before = lab.head, lab.identities()
    lab.write({"config/win.conf": "[DEFAULT]\ncolour = red\n"})
    second = lab.push("another colour")
    report = lab.reconcile()
    assert lines(report) == [] and lab.identities() == before
    assert report.revision == second == lab.node.state.anchor.commit, "validated and accepted all the same"  # type: ignore[union-attr]
    assert {(Path(h.target).name, h.reason, h.message) for h in report.waiting} == {
        ("win.conf", "OutsideWindow", f"waits {UNTIL}"),
        ("rt-win-web", "OutsideWindow", f"waits {UNTIL}"),
    }
    conditions = {c.type: c for c in report.conditions}
    assert (conditions["Ready"].status, conditions["Ready"].reason) == (False, "OutsideWindow")
    assert conditions["Ready"].message == f"2 changes waiting {UNTIL}"
    assert not conditions["Stalled"].status and not conditions["Drifted"].status
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses(second) == [("pending", f"waiting {UNTIL}")]

    # What the commit before asked for is kept up: a killed container, and a file edited by hand.
    docker_client.containers.get("rt-win-side").kill()
    conf = lab.config_root / "rt-win-web/win.conf"
    conf.write_text("[DEFAULT]\ncolour = mine\n")
    lab.close_node()  # the node that knows this is another one
    set_clock(lab, 23, 13)
    report = lab.reconcile()
    assert sorted(lines(report)) == [
        "restart    rt-win-web  (win.conf changed)",
        "start      rt-win-side  (it stopped with exit code 137)",
        "write      rt-win-web/win.conf  (drift: edited on the node)",
    ]
    assert all(outcome.result == "done" for outcome in report.outcomes) and report.waiting
    assert conf.read_text().startswith("[DEFAULT]\ncolour = blue\n"), "the last good state, not the new commit"
    assert lab.node.state.memory().revision == first
    assert lab.reconcile().plan.empty  # type: ignore[union-attr]

    set_clock(lab, 23, 22)
    report = lab.reconcile()
    assert lines(report)[0] == "write      rt-win-web/win.conf  (content changed)"
    assert report.converged and "red" in conf.read_text() and not report.window
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses(second)[-1][0] == "success"
    assert not lab.forge.violations


def test_a_commit_that_changes_nothing_here_does_not_wait(lab: Lab, docker_client: docker.DockerClient) -> None:
    lab.write({"README.md": "about this site"})
    commit = lab.push("words")
    docker_client.containers.get("rt-win-side").kill()
    (lab.config_root / "rt-win-web/win.conf").write_text("mine")
    report = lab.reconcile()
    assert report.converged and len(report.changed) == 3 and all(o.action.drift for o in report.changed)
    assert lab.node.state.memory().revision == commit


def test_a_commit_may_open_its_own_window(lab: Lab) -> None:
    """The way out in an emergency, reviewed like everything else."""
    lab.write({"reconciler.yml": "name: win\n", "config/win.conf": "[DEFAULT]\ncolour = red\n"})
    lab.push("now")
    assert lab.reconcile().converged


def test_drift_waits_too_where_the_site_says_so(lab: Lab, docker_client: docker.DockerClient) -> None:
    lab.write({"reconciler.yml": WINDOWS + "windows_apply_to: everything\n"})
    lab.push("hands off")
    assert lab.reconcile().converged
    docker_client.containers.get("rt-win-side").kill()
    report = lab.reconcile()
    assert lines(report) == [] and [h.target for h in report.drift] == ["rt-win-side"]
    assert {c.type: c.status for c in report.conditions}["Drifted"]
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses()[-1] == ("failed", f"drift: rt-win-side: waits {UNTIL}")
    set_clock(lab, 23, 23)
    assert lab.reconcile().converged


def test_a_half_done_change_is_neither_finished_nor_undone(lab: Lab, docker_client: docker.DockerClient) -> None:
    """The window closed in between: what is down comes back, what the commit changes waits."""
    set_clock(lab, 23, 22)
    lab.edit("globals.yml", "win_image", "side_image: 127.0.0.1:1/nosuch:1\nwin_image")
    lab.push("an image that cannot be had")
    assert lab.reconcile().failed
    before = lab.identities()
    set_clock(lab, 24, 12)
    docker_client.containers.get("rt-win-side").kill()
    report = lab.reconcile()
    verbs = {action.verb for action in report.plan.actions}  # type: ignore[union-attr]
    assert verbs <= {"start", "pull"}
    assert [h.target for h in report.waiting] == ["rt-win-side"]
    lab.edit("globals.yml", "side_image: 127.0.0.1:1/nosuch:1\n", "")
    lab.push("mended")
    set_clock(lab, 30, 22)
    assert lab.reconcile().converged
    assert {name: i[0] for name, i in lab.identities().items()} == {name: i[0] for name, i in before.items()}
