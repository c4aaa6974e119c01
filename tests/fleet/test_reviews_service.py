"""Reviews by the real program: a process, its page, its metrics, and what its children are given."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.daemon.node import PROGRAM, wait_for
from tests.fleet.desk import Desk, desk, greeting
from tests.fleet.test_service import once, reporter
from tests.forge.gitlab_server import GitLab
from tests.git import servers
from tests.review.test_hostile import CASES, read


@pytest.fixture
def office(tmp_path: Path, gitlab: GitLab) -> Iterator[Desk]:
    with desk(tmp_path, gitlab) as made:
        yield made


class Watcher:
    """Reads environment and argv of everything that a process starts, as often as it can."""

    def __init__(self, parent: int) -> None:
        self.seen: dict[int, bytes] = {}
        self._parent, self._end = parent, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.is_set():
            parents = {}
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        parents[int(entry.name)] = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                    except (OSError, IndexError, ValueError):
                        continue
            for pid in parents:
                above = parents.get(pid, 0)
                while above not in (self._parent, 0):
                    above = parents.get(above, 0)
                if above == self._parent:
                    self._read(pid)
            time.sleep(0.005)

    def _read(self, pid: int) -> None:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"reconciler.system.run" in words:  # before it is this process's own copy, for as long as a fork takes
                self.seen[pid] = self.seen.get(pid, b"") + words + b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return


def test_the_reporter_reviews(office: Desk, tmp_path: Path) -> None:
    one = office.open("bye", greeting("Bye"), "Say <b>bye</b>")
    secrets = {"RECONCILER_TOKEN": office.token}  # as somebody's unit might hand it over
    with reporter(office.settings, tmp_path, **secrets) as running:
        watcher = Watcher(running.process.pid)
        running.wait("review.finished", seconds=60)
        wait_for(lambda: office.ours(one), "the note")
        assert "+Bye from web1" in office.note(one)
        # Statuses of hosts do not wait for reviews, nor the other way round; SIGHUP asks now.
        bomb = read(next(case for case in CASES if case.stem == "memory-doubling"))[1]
        hostile = office.open("bomb", bomb, "/close\n@all", author="mallory")
        second = office.open("more", greeting("More"))
        office.push("bye", greeting("Howdy"))
        running.hangup()
        running.wait("review.finished", 4, seconds=90)
        watcher.close()
        page = f"http://127.0.0.1:{running.events('reporter.started')[0]['page']}"
        wait_for(lambda: len(office.ours(second)) == 1, "the second note")
        assert "+Howdy from web1" in office.note(one) and "not valid" in office.note(hostile)

        def rows() -> dict[int, Any]:
            shown = requests.get(f"{page}/status.json", timeout=10).json()["reviews"]
            return {row["iid"]: row for row in shown["requests"]}

        wait_for(lambda: [rows()[n]["state"] for n in (1, 2, 3)] == ["valid", "invalid", "valid"], "the page")
        assert rows()[1]["title"] == "Say <b>bye</b>" and "\n" not in rows()[2]["title"]
        assert rows()[1]["url"] == f"{office.gitlab.url}/cloud/site/-/merge_requests/1"
        wait_for(
            lambda: (
                'reconciler_review_merge_requests{state="valid"} 2.0'
                in requests.get(f"{page}/metrics", timeout=10).text
            ),
            "the metrics",
        )
        assert (
            'reconciler_review_duration_seconds_count{state="invalid"} 1.0'
            in requests.get(f"{page}/metrics", timeout=10).text
        )
        # Merged: it stops.
        office.project.merge(1)
        running.hangup()
        running.wait("review.closed", seconds=60)
    started = list(watcher.seen.values())
    assert any(b"ci_child:plan" in data for data in started) and any(b"transport:fetch" in data for data in started)
    for secret in (office.token, office.git_token):
        assert all(secret.encode() not in data for data in started)
    assert office.token not in running.log.read_text()
    assert office.project.quick_actions == []


def test_it_ends_in_the_middle_of_a_review(tmp_path: Path, gitlab: GitLab) -> None:
    """And leaves no child behind; the next one goes on."""
    place = tmp_path / "temporary"
    place.mkdir()
    with desk(tmp_path, gitlab, hosts=250) as office:
        one = office.open("bye", greeting("Bye"))
        with reporter(office.settings, tmp_path, TMPDIR=str(place)) as running:
            wait_for(lambda: _planning(running.process.pid), "planning", 60)
            child = min(_planning(running.process.pid))
            os.kill(child, signal.SIGSTOP)  # as one that takes its time
        wait_for(lambda: not Path(f"/proc/{child}").exists(), "the end of its child")
        assert one.notes == [] and list(place.iterdir()) == []
        with reporter(office.settings, tmp_path) as running:
            running.wait("review.finished", seconds=90)
        assert "+Bye from web1" in office.note(one)


def _planning(parent: int) -> list[int]:
    """The processes that plan behind their wall: each is a child of `parent`, or of the one that waits for it there."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"ci_child:plan" in (entry / "cmdline").read_bytes():
                above = _above(int(entry.name))
                if parent in (above, _above(above)) and "\nSeccomp:\t2\n" in (entry / "status").read_text():
                    found.append(int(entry.name))
        except OSError:
            continue
    return found


def _above(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def test_once(office: Desk) -> None:
    one = office.open("bye", greeting("Bye"), "Bye")
    done = once(office.settings, "--dry-run")
    assert done.returncode == 1 and one.notes == [] and office.gitlab.seen == []
    done = once(office.settings)
    assert "merge request  head" in done.stdout and "2 of 2 hosts change" in done.stdout, done.stdout + done.stderr
    assert "+Bye from web1" in office.note(one)
    found = json.loads(once(office.settings, "--json").stdout)["reviews"]
    assert [(row["iid"], row["state"]) for row in found["requests"]] == [(1, "valid")]


def test_statuses_go_on_while_the_forge_lists_nothing(office: Desk, tmp_path: Path) -> None:
    from tests.forge.standin import Fault

    office.gitlab.fail("GET", "/merge_requests", *[Fault.answer(403, "no")] * 3)
    with reporter(office.settings, tmp_path) as running:
        failed = running.wait("reviews.failed", seconds=60)[0]
        assert failed["reason"] == "ForgeForbidden"
        running.wait("round.finished", seconds=60)
        page = f"http://127.0.0.1:{running.events('reporter.started')[0]['page']}"
        assert (
            requests.get(f"{page}/status.json", timeout=10).json()["reviews"]["problem"]["reason"] == "ForgeForbidden"
        )
        text = requests.get(f"{page}/metrics", timeout=10).text
        assert 'reconciler_errors_total{api="review",reason="ForgeForbidden"} 1.0' in text
    assert {name for name, _, _ in office.statuses(servers.git(office.repository, "rev-parse", "main"))}


def test_what_it_must_have_is_said_at_once(office: Desk) -> None:
    text = office.settings.read_text()
    office.settings.write_text(text[: text.index("[forge]")] + text[text.index("[reporter]") :])
    done = subprocess.run(
        [str(PROGRAM), "reporter", "--config", str(office.settings)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and "review.enabled without [forge]" in done.stderr
