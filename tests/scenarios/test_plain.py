"""Situations that an operator meets, with a real engine, a real git server and a stateful forge."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest
import requests

from reconciler.model import aside
from tests.scenarios.plain import PORT
from tests.support.lab import ADDRESS, Lab, lines, results, wait_for

pytestmark = pytest.mark.engine


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder of the host that is not there. Not below /tmp, where the engine makes what is missing."""
    path = Path(f"/srv/rt-late-{os.getpid()}")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def page() -> str:
    return requests.get(f"http://{ADDRESS}:{PORT}/index.html", timeout=5).text


def test_from_a_push_to_running_containers(empty_lab: Lab) -> None:
    lab = empty_lab
    commit = lab.push("the first page")
    report = lab.reconcile()
    assert lines(report) == [
        "create     rt-side  (new container)",
        "write      rt-web/web.conf  (new file)",
        "write      rt-web/www/index.html  (new file)",
        "create     rt-web  (new container)",
        "create     rt-after  (new container)",
    ]
    assert report.converged and "fine" in page()
    lab.node.reporter.statuses.flush(10)
    assert [state for state, _ in lab.statuses(commit)][-1] == "success"
    assert lab.statuses(commit)[-1][1].startswith("3 containers, 5 changed in ")
    assert not lab.forge.violations


def test_nothing_changed_touches_nothing(lab: Lab) -> None:
    before = lab.identities()
    report = lab.reconcile(deep=True)
    assert report.plan is not None and report.plan.empty and not report.plan.held
    assert lab.identities() == before
    lab.close_node()  # a restart of the program forgets nothing
    assert lab.reconcile().plan.empty  # type: ignore[union-attr]
    assert lab.identities() == before
    lab.node.reporter.statuses.flush(10)
    assert [state for state, _ in lab.statuses()].count("success") == 1


def test_one_option_restarts_one_container(lab: Lab) -> None:
    before = lab.identities()
    lab.write({"config/web.conf": "[DEFAULT]\ncolour = {{ 'red' if true else 'green' }}\n"})
    lab.push("another colour")
    report = lab.reconcile()
    assert lines(report) == [
        "write      rt-web/web.conf  (content changed)",
        "restart    rt-web  (web.conf changed)",
    ]
    assert "-colour = blue\n+colour = red" in report.plan.actions[0].diff  # type: ignore[union-attr]
    after = lab.identities()
    assert after["rt-web"][0] == before["rt-web"][0] and after["rt-web"][1] != before["rt-web"][1]
    assert after["rt-side"] == before["rt-side"] and after["rt-after"] == before["rt-after"]
    # How long that was felt is remembered, for reviews of the next change: less than it took, which had to prove that it stays.
    (felt,) = lab.node.state.interruptions().items()
    assert (
        felt[0] == "rt-web" and felt[1].times == 1 and 0 < felt[1].seconds <= results(report)["restart:rt-web"].seconds
    )


def test_a_configuration_that_does_not_work_comes_back(lab: Lab) -> None:
    """The container stays; its files and its health come back, and later commits still apply."""
    identity = lab.identities()["rt-web"][0]
    lab.edit("globals.yml", 'web_text: "fine"', 'web_text: "broken"')
    bad = lab.push("a page that fails its check")
    report = lab.reconcile()
    outcome = results(report)["restart:rt-web"]
    assert (outcome.result, outcome.reason) == ("rolled-back", "Unhealthy")
    assert "serving" in outcome.message, "the service's own last lines are part of the message"
    assert "fine" in page() and lab.identities()["rt-web"][0] == identity
    lab.node.reporter.statuses.flush(10)
    state, text = lab.statuses(bad)[-1]
    assert state == "failed" and text.startswith("rt-web: its health check fails")
    # While nothing new is pushed nothing is tried again, and what runs is left alone.
    again, before = lab.reconcile(), lab.identities()
    assert again.plan is not None and again.plan.empty
    assert [h.reason for h in again.plan.held] == ["Quarantined"]
    assert lab.reconcile().plan.empty and lab.identities() == before  # type: ignore[union-attr]
    lab.write({"config/web.conf": "[DEFAULT]\ncolour = red\n"})
    lab.edit("globals.yml", 'web_text: "broken"', 'web_text: "fine again"')
    lab.push("repaired")
    assert lab.reconcile().converged and "fine again" in page()


def test_a_configuration_that_was_taken_back_is_tried_again_when_it_comes_again(lab: Lab) -> None:
    """After a commit that asked for another: what was at fault may have been mended meanwhile, and its author asks for it."""
    fine, broken = 'web_text: "fine"', 'web_text: "broken"'
    for _ in range(2):
        lab.edit("globals.yml", fine, broken)
        lab.push("a page that fails its check")
        assert results(lab.reconcile())["restart:rt-web"].result == "rolled-back"
        lab.edit("globals.yml", broken, fine)
        lab.push("as it was")
        report = lab.reconcile()
        assert report.converged and not report.changed, "what worked runs already"
    assert not lab.node.state.memory().quarantine and not lab.node.state.memory().failures


def test_a_replacement_that_does_not_start_comes_back(lab: Lab) -> None:
    identity = lab.identities()["rt-web"][0]
    lab.edit("globals.yml", "node_config", "web_command: [nosuchprogram]\nnode_config")
    lab.push("a command that does not exist")
    report = lab.reconcile()
    outcome = results(report)["replace:rt-web"]
    assert outcome.result == "rolled-back" and "nosuchprogram" in outcome.message
    assert results(report).keys() == {"replace:rt-web"}
    assert lab.identities().keys() == {"rt-web", "rt-side", "rt-after"}
    assert lab.identities()["rt-web"][0] == identity and "fine" in page()


@pytest.mark.parametrize(
    ("setting", "reason", "words"),
    [
        ("web_volumes: ['/srv/nowhere/file:/x:ro']", "MountMissing", "nowhere"),
        ("web_dimensions: {{ulimits: {{nofile: {{soft: 99999999, hard: 99999999}}}}}}", "UlimitRefused", "rlimit"),
        ("web_command: [httpd, -f, -p, '{address}:{port}1']", "Unhealthy", ""),
    ],
    ids=["missing bind", "limit too high", "never answers"],
)
def test_a_container_that_cannot_start(lab: Lab, setting: str, reason: str, words: str) -> None:
    """The engine's own reason within seconds, and the old container is back."""
    identity = lab.identities()["rt-web"][0]
    text = setting.format(address=ADDRESS, port=1900)
    lab.edit("globals.yml", "node_config", f"{text}\nnode_config")
    commit = lab.push("cannot start")
    started = time.monotonic()
    outcome = results(lab.reconcile())["replace:rt-web"]
    took = time.monotonic() - started
    assert (outcome.result, outcome.reason) == ("rolled-back", reason), outcome.message
    assert words in outcome.message and lab.identities()["rt-web"][0] == identity
    if reason != "Unhealthy":
        assert took < 60, f"{took:.1f} s"
    lab.node.reporter.statuses.flush(10)
    assert lab.statuses(commit)[-1][0] == "failed"


def test_memory_that_is_not_enough_for_what_runs_comes_back(lab: Lab) -> None:
    """An update of the container that stays is put to the test like any other change."""
    full = f"x=$(yes | head -c 24000000); httpd -f -p {ADDRESS}:{PORT} -h /www & wait"
    limit = "web_dimensions: {{mem_limit: {0}m, memswap_limit: {0}m}}".format
    lab.edit("globals.yml", "node_config", f'web_command: [sh, -c, "{full}"]\n{limit(96)}\nnode_config')
    lab.push("keeps much in memory")
    assert results(lab.reconcile())["replace:rt-web"].result == "done"
    lab.edit("globals.yml", limit(96), limit(8))
    lab.push("with less than that")
    outcome = results(lab.reconcile())["update:rt-web"]
    # The older cgroups say no, the newer ones end the process.
    assert (outcome.result, outcome.reason in ("MemoryInUse", "ExitedEarly", "RestartLoop")) == ("rolled-back", True), (
        outcome
    )
    client = docker.DockerClient(base_url=lab.engine_url)
    try:
        assert client.api.inspect_container("rt-web")["HostConfig"]["Memory"] == 96 << 20 and "fine" in page()
    finally:
        client.close()
    before = lab.identities()
    assert [h.reason for h in lab.reconcile().plan.held] == ["Quarantined"]  # type: ignore[union-attr]
    assert lab.identities() == before


def test_a_port_that_is_taken(lab: Lab) -> None:
    client = docker.DockerClient(base_url=lab.engine_url)
    thief = client.containers.run(
        "reconciler-test/busybox:1",
        ["httpd", "-f", "-p", f"{ADDRESS}:18442"],
        name="rt-thief",
        network_mode="host",
        detach=True,
    )
    try:
        lab.edit("globals.yml", "node_config", f"web_command: [httpd, -f, -p, '{ADDRESS}:18442']\nnode_config")
        lab.push("a port that somebody has")
        outcome = results(lab.reconcile())["replace:rt-web"]
        assert (outcome.result, outcome.reason) == ("rolled-back", "PortInUse"), outcome.message
        # The configuration is not at fault: it waits, less and less often interrupting what works, with the reason in the headline.
        before = lab.identities()
        held = lab.reconcile()
        assert lines(held) == [] and lab.identities() == before
        ready = {condition.type: condition for condition in held.conditions}["Ready"]
        assert ready.reason == "PortInUse" and "the host is" in ready.message and "UTC" in ready.message
        lab.node.clock = lambda: datetime.now(UTC) + timedelta(seconds=70)
        assert results(lab.reconcile())["replace:rt-web"].reason == "PortInUse"
        assert lab.node.state.memory().failures["rt-web"].tries == 2
    finally:
        thief.remove(force=True)
        client.close()


def test_what_the_host_lacks_is_no_verdict_about_the_configuration(lab: Lab, elsewhere: Path) -> None:
    """Mending the host is enough; and what never worked is not said to have been rolled back."""
    late = elsewhere
    identity = lab.identities()["rt-web"][0]
    lab.edit("globals.yml", "node_config", f"web_volumes: ['{late}/file:/x:ro']\nnode_config")
    lab.push("binds what is not there yet")
    assert results(lab.reconcile())["replace:rt-web"].result == "rolled-back"
    assert lines(lab.reconcile()) == [] and lab.identities()["rt-web"][0] == identity
    late.mkdir()
    (late / "file").touch()
    mended = lab.reconcile()
    assert lines(mended) == ["replace    rt-web  (mounts./x differs)"] and mended.converged
    assert not lab.node.state.memory().failures and not lab.node.state.memory().quarantine


def test_what_never_worked_is_tried_again_and_not_rolled_back(empty_lab: Lab, elsewhere: Path) -> None:
    lab, late = empty_lab, elsewhere
    lab.edit("globals.yml", "node_config", f"web_volumes: ['{late}/file:/x:ro']\nnode_config")
    lab.push("binds what is not there yet")
    for _ in range(3):
        report = lab.reconcile()
        assert {outcome.result for outcome in report.failed} == {"failed"}, report.outcomes
        ready = {condition.type: condition for condition in report.conditions}["Ready"]
        assert ready.reason == "MountMissing" and "rolled back" not in ready.message
    late.mkdir()
    (late / "file").touch()
    assert lab.reconcile().converged and "fine" in page()


def test_a_wrong_tag_touches_nothing(lab: Lab) -> None:
    before = lab.identities()
    lab.edit("globals.yml", "node_config", "side_image: 127.0.0.1:1/nosuch:1\nnode_config")
    lab.write({"config/web.conf": "[DEFAULT]\ncolour = red\n"})
    commit = lab.push("an image from nowhere, and a good change")
    report = lab.reconcile()
    assert lab.identities() == before
    assert "colour = blue" in (lab.config_root / "rt-web/web.conf").read_text(), "not even a file was written"
    outcome = results(report)["pull:127.0.0.1:1/nosuch:1"]
    assert outcome.reason == "RegistryUnreachable" and "127.0.0.1:1" in outcome.message
    lab.node.reporter.statuses.flush(10)
    assert "127.0.0.1:1/nosuch:1" in lab.statuses(commit)[-1][1]


def test_a_service_switched_off_and_on(lab: Lab) -> None:
    lab.edit("globals.yml", "node_config", "enable_after: false\nnode_config")
    lab.push("without the dependent one")
    report = lab.reconcile()
    assert lines(report) == ["remove     rt-after  (no longer part of the site)"] and report.converged
    lab.edit("globals.yml", "enable_after: false", "enable_web: false")
    lab.push("nothing at all")
    report = lab.reconcile()
    assert lines(report) == [] and {h.reason for h in report.plan.held} == {"PruneGuard"}  # type: ignore[union-attr]
    assert lab.identities().keys() == {"rt-web", "rt-side"}, "an empty render never means remove all"


def test_a_killed_container_is_healed(lab: Lab) -> None:
    client = docker.DockerClient(base_url=lab.engine_url)
    client.containers.get("rt-web").kill()
    client.containers.get("rt-side").remove(force=True)
    client.close()
    report = lab.reconcile()
    assert lines(report) == [
        "create     rt-side  (the container is gone)",
        "start      rt-web  (it stopped with exit code 137)",
    ]
    assert report.converged and all(outcome.action.drift for outcome in report.outcomes)


def test_a_file_edited_by_hand_is_healed(lab: Lab) -> None:
    path = lab.config_root / "rt-web/web.conf"
    path.write_text("[DEFAULT]\ncolour = mine\n")
    path.chmod(0o666)
    (lab.config_root / "rt-web/extra").write_text("not ours")
    report = lab.reconcile()
    assert lines(report) == [
        "write      rt-web/web.conf  (drift: edited on the node)",
        "restart    rt-web  (web.conf changed)",
    ]
    assert report.plan is not None and [(held.target, held.reason) for held in report.plan.held] == [
        ("rt-web/extra", "Foreign")
    ]
    assert (lab.config_root / "rt-web/extra").read_text() == "not ours"
    assert (
        report.converged
        and path.read_text().startswith("[DEFAULT]\ncolour = blue\n")
        and path.stat().st_mode & 0o777 == 0o644
    )


def test_drift_can_be_reported_instead(lab: Lab) -> None:
    lab.write({"reconciler.yml": "name: lab\ndrift: {mode: report}\n"})
    lab.push("look, do not touch")
    assert lab.reconcile().converged
    client = docker.DockerClient(base_url=lab.engine_url)
    client.containers.get("rt-side").kill()
    report = lab.reconcile()
    assert lines(report) == [] and [h.target for h in report.drift] == ["rt-side"]
    assert client.containers.get("rt-side").status == "exited"
    client.close()
    lab.node.reporter.statuses.flush(10)
    assert lab.statuses()[-1][0] == "failed" and lab.statuses()[-1][1].startswith("drift: rt-side")
    # A commit about something else is carried out, and counts as such; the drift stays what it is, and what follows is drift too.
    lab.write({"config/web.conf": "[DEFAULT]\ncolour = red\n"})
    head = lab.push("another colour")
    report = lab.reconcile()
    assert [line.split()[:2] for line in lines(report)] == [["write", "rt-web/web.conf"], ["restart", "rt-web"]]
    assert [h.target for h in report.drift] == ["rt-side"] and lab.node.state.memory().revision == head
    (lab.config_root / "rt-web/web.conf").write_text("[DEFAULT]\ncolour = mine\n")
    assert {h.target for h in lab.reconcile().drift} == {"rt-side", "rt-web/web.conf"}


def test_an_invalid_push_is_refused_whole(lab: Lab) -> None:
    before, good = lab.identities(), lab.head
    lab.edit("globals.yml", "web_text", "web_txt")
    lab.write({"config/wbe.conf": "[DEFAULT]\na = 1\n"})
    bad = lab.push("two mistakes")
    report = lab.reconcile()
    assert report.refusal is not None and report.revision == good
    text = "\n".join(report.refusal.problems)
    assert "globals.yml:3:1" in text and "web_text" in text, text
    assert "config/wbe.conf" in text and "web.conf" in text
    assert lab.identities() == before
    lab.node.reporter.statuses.flush(10)
    assert lab.statuses(bad)[-1][0] == "failed" and lab.statuses(bad)[-1][1].startswith("refused: ")
    # The last good state is still enforced.
    client = docker.DockerClient(base_url=lab.engine_url)
    client.containers.get("rt-side").kill()
    client.close()
    assert [o.result for o in lab.reconcile().outcomes] == ["done"]
    lab.edit("globals.yml", "web_txt", "web_text")
    lab.write({"config/wbe.conf": None})
    lab.push("repaired")
    assert lab.reconcile().converged


def test_a_rewritten_branch_is_refused(lab: Lab) -> None:
    from tests.git import servers

    old = lab.head
    stranger = servers.commit(lab.repository, {"globals.yml": "a: 1\n"}, "another history", parents=[])
    report = lab.reconcile()
    assert report.refusal is not None and report.refusal.reason == "HistoryRewritten"
    assert (report.revision, report.refusal.commit) == (old, stranger)
    assert "anchor accept" in report.refusal.message


def test_suspended_means_untouched_and_observed(lab: Lab) -> None:
    lab.run("suspend", "--reason", "the rack is being moved")
    lab.write({"config/web.conf": "[DEFAULT]\ncolour = red\n"})
    lab.push("later, please")
    before = lab.identities()
    report = lab.reconcile()
    assert report.suspended == "the rack is being moved" and lab.identities() == before
    assert {h.reason for h in report.plan.held} == {"Suspended"}  # type: ignore[union-attr]
    lab.run("resume")
    assert lab.reconcile().converged


def test_a_failing_server_keeps_the_last_good_state(lab: Lab) -> None:
    lab.node.follower.poller.close()
    (lab.root / "token").write_text(secrets.token_hex(16))
    client = docker.DockerClient(base_url=lab.engine_url)
    client.containers.get("rt-side").kill()
    client.close()
    report = lab.reconcile()
    assert not report.source.ok and report.source.reason == "GitAuthFailed"
    assert [o.action.id for o in report.changed] == ["start:rt-side"]


def test_what_converged_and_does_not_answer_is_said(lab: Lab) -> None:
    before = lab.identities()
    lab.edit("globals.yml", 'web_text: "fine"', 'web_text: "fine"\nweb_expected: never')
    commit = lab.push("a check that cannot pass")
    for deep in (None, False):  # a pass that is not deep looks again at what failed
        report = lab.reconcile(deep=deep)
        ready = next(c for c in report.conditions if c.type == "Ready")
        assert (ready.status, ready.reason) == (False, "NotAnswering") and "without 'never'" in ready.message
        assert report.converged, "everything is as the commit says all the same"
    lab.node.reporter.statuses.flush(10)
    assert lab.statuses(commit)[-1][0] == "failed" and "check page:" in lab.statuses(commit)[-1][1]
    lab.edit("globals.yml", "web_expected: never", "web_expected: fine")
    lab.push("a check that passes")
    report = lab.reconcile()
    assert next(c for c in report.conditions if c.type == "Ready").status
    assert [(check.name, check.ok) for check in report.checks] == [("page", True)]
    assert lab.identities() == before


def test_a_forge_that_hangs_delays_nothing(lab: Lab) -> None:
    from tests.forge.standin import Fault

    lab.write({"config/web.conf": "[DEFAULT]\ncolour = red\n"})
    lab.push("while the forge sleeps")
    lab.forge.fail("POST", "/statuses/", Fault(503), Fault(503))  # type: ignore[arg-type]
    started = time.monotonic()
    assert lab.reconcile().converged
    assert time.monotonic() - started < 60
    lab.node.reporter.statuses.flush(30)


def test_an_interrupted_replace_is_finished(lab: Lab) -> None:
    """Killed in the middle: the old one moved aside, the new one not there yet."""
    client = docker.DockerClient(base_url=lab.engine_url)
    client.containers.get("rt-web").rename(aside("rt-web"))
    identity = lab.identities()[aside("rt-web")][0]
    report = lab.reconcile()
    assert lines(report) == ["rename     rt-web  (an interrupted replace had moved it aside)"]
    assert lab.identities()["rt-web"][0] == identity
    client.close()


def test_somebody_elses_containers_are_left_alone(lab: Lab) -> None:
    client = docker.DockerClient(base_url=lab.engine_url)
    stranger = client.containers.run("reconciler-test/busybox:1", ["sleep", "600"], detach=True, network_mode="host")
    try:
        lab.edit("globals.yml", "node_config", "enable_after: false\nnode_config")
        lab.push("one less")
        lab.reconcile()
        stranger.reload()
        assert stranger.status == "running"
    finally:
        stranger.remove(force=True)
        client.close()


def test_the_daemon_takes_a_push_and_heals(empty_lab: Lab) -> None:
    lab = empty_lab
    first = lab.push("the first page")
    with lab.daemon() as process:
        wait_for("the first commit is converged", lambda: "success" in dict(lab.statuses(first)), 60)
        client = docker.DockerClient(base_url=lab.engine_url)
        client.containers.get("rt-side").kill()
        wait_for("the killed container runs again", lambda: client.containers.get("rt-side").status == "running", 60)
        path = Path(lab.config_root / "rt-web/web.conf")
        path.write_text("[DEFAULT]\ncolour = mine\n")
        wait_for("the edited file is put right", lambda: "blue" in path.read_text(), 60)
        client.close()
        assert process.poll() is None
    assert process.returncode == 0, lab.log()[-2000:]
