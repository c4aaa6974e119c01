"""What repeats itself is said once; what is new is said."""

import re
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import docker

from reconciler import report as reporting
from reconciler.model import Action, Outcome, Verb
from reconciler.reasons import Reason
from reconciler.report import Report
from reconciler.report.verdict import about
from reconciler.state import StateDirectory
from tests.alerts import reports
from tests.daemon.node import TestNode, service, wait_for


def failed(message: str, seconds: float = 1.0) -> Report:
    write = Outcome(Action(Verb.WRITE, "web/web.conf", "content changed", container="web"), "done", seconds=seconds)
    start = Outcome(Action(Verb.RESTART, "web", "web.conf changed"), "failed", Reason.StartTimeout, message, seconds)
    return reports.report(outcomes=(write, start))


def test_a_failure_that_repeats_itself_is_one_entry(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    moments = [reports.START + timedelta(minutes=number) for number in range(40)]
    for number, moment in enumerate(moments):
        told = replace(failed(f"web: not healthy within {number} s\nlast words {number}", number), started_at=moment)
        entry = reporting.history_entry(told)
        assert entry
        state.history.record(entry, reporting.is_repetition)
    (only,) = state.history.newest()
    assert only["again"] == 39 and only["at"] == moments[0].isoformat() and only["last"] == moments[-1].isoformat()
    # Anything else is another entry: another reason, another commit, and success however often.
    for told in (
        failed("web: its health check fails"),
        replace(failed("web: its health check fails"), revision=reports.NEWER),
        reports.report(failure=(Reason.EngineUnreachable, "no engine")),
    ):
        entry = reporting.history_entry(told)
        assert entry
        state.history.record(entry, reporting.is_repetition)
    healed = reporting.history_entry(reports.report(outcomes=(reports.outcome("web", "done"),)))
    assert healed
    for _ in range(2):
        state.history.record(healed, reporting.is_repetition)
    assert [entry.get("again", 0) for entry in state.history.newest()] == [0, 0, 0, 0, 0, 39]


def test_a_restart_loop_is_one_entry_whenever_it_is_looked_at(tmp_path: Path) -> None:
    """Each of its starts and ends leads to a pass, which sees it between two starts or not."""
    state = StateDirectory(tmp_path)
    seen = [
        ("it is restarting", "web: cannot go on (ended with exit code 3 and was started again 3 times)\ncannot go on"),
        ("it has not proved itself yet", "web: ended and was started again 4 times"),
    ]

    def looked(cause: str, message: str, target: str = "web") -> None:
        outcome = Outcome(Action(Verb.START, target, cause), "failed", Reason.RestartLoop, message)
        entry = reporting.history_entry(reports.report(outcomes=(outcome,)))
        assert entry
        state.history.record(entry, reporting.is_repetition)

    for cause, message in seen * 10:
        looked(cause, message)
    assert [entry.get("again", 0) for entry in state.history.newest()] == [19]
    looked(*seen[0], target="db")
    assert [entry.get("again", 0) for entry in state.history.newest()] == [0, 19], "another container is news"


def test_a_text_is_not_said_to_be_about_what_it_begins_with() -> None:
    assert about("mariadb", "mariadb: its health check fails") == "mariadb: its health check fails"
    assert about("mariadb", "mariadb cannot be judged") == "mariadb cannot be judged"
    assert about("maria", "mariadb: its health check fails") == "maria: mariadb: its health check fails"
    told = failed("web: its health check fails")
    for text in (
        *(condition.message for condition in told.conditions),
        *(status.description for status in reporting.status_text(told)),
    ):
        assert "web: web" not in text


def test_an_accepted_commit_that_changes_nothing_is_one_line(node: TestNode) -> None:
    name = node.name("web")
    node.push_site(name)
    node.run("reconcile")
    before = node.run("history").stdout
    node.push({"README.md": "for people\n"}, "a word for people")
    node.run("reconcile")
    said = node.run("history").stdout
    assert "a word for people: accepted, nothing to change here" in said.splitlines()[0] and said.endswith(before)
    node.run("reconcile")
    assert node.run("history").stdout == said, "once"
    node.push(service(name, node.image, text="bye"))
    node.run("reconcile")
    assert "done in" in node.run("history").stdout.splitlines()[0]


def test_an_accepted_commit_that_is_held_back_is_not_said_to_change_nothing(node: TestNode) -> None:
    name = node.name("web")
    node.push_site(name)
    node.run("reconcile")
    node.run("suspend", "--reason", "new disks")
    node.push(service(name, node.image, text="bye"), "another word")
    node.run("reconcile")
    said = node.run("history").stdout.splitlines()[0]
    assert f"another word: accepted, 2 changes held back (Suspended: {name}/greeting: new disks)" in said, said
    node.push({"README.md": "for people\n"}, "a word for people")
    node.run("resume")
    node.run("reconcile")
    assert "done in" in node.run("history").stdout.splitlines()[0]


def test_only_news_is_logged(node: TestNode) -> None:
    node.push_site(node.name("web"))
    with node.daemon() as daemon:
        daemon.settled()
        for _ in range(3):
            passes = len(daemon.events("cycle.finished"))
            daemon.hangup()
            daemon.wait("cycle.finished", passes + 1)
        levels = [row["level"] for row in daemon.events("cycle.finished")]
        assert levels[0] == "info" and levels[-2:] == ["debug", "debug"], levels


def test_the_unit_and_the_folder_of_the_settings_do_not_disagree() -> None:
    """systemd warns at each start when a folder has another mode than ConfigurationDirectoryMode."""
    from reconciler import data

    assert "ConfigurationDirectory" not in data.path("systemd", "reconciler.service").read_text()


def test_a_restart_by_hand_is_told_though_it_leaves_nothing_to_do(
    node: TestNode, docker_client: docker.DockerClient
) -> None:
    name = node.name("web")
    node.push_site(name)
    with node.daemon() as daemon:
        daemon.settled()
        time.sleep(1.0)  # our own start is no news
        docker_client.containers.get(name).restart(timeout=1)
        # A pass between its two halves sees a container that was stopped.
        told = re.compile(rf"{name} was (?:re)?(?:started|stopped) by hand at ")
        wait_for(lambda: bool(told.search(node.run("history").stdout)), "the history", 30)
        assert re.search(rf"{name}  (?:re)?(?:started|stopped) by hand", node.run("events").stdout)
        node.push(service(name, node.image, text="bye"))
        daemon.hangup()
        daemon.wait("action.done", 4)
        time.sleep(1.0)
        said = node.run("history").stdout
        since, restarted, _ = said.partition("(greeting changed)")  # newest first
        assert restarted and "by hand" not in since, said
