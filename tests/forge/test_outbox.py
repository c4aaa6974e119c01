import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.forge import Forge, State, Status, StatusReporter
from reconciler.forge.outbox import material

from .conftest import COMMIT, CONTEXT, success
from .gitlab_server import GitLab
from .standin import Fault

Connect = Callable[..., Forge]


class Clock:
    """Seconds that pass only when told to, on top of the real ones."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped


@contextmanager
def reporter(forge: Forge, store: Path, **options: Any) -> Iterator[StatusReporter]:
    made = StatusReporter(forge, store, **{"jitter": 0.0, **options})
    try:
        yield made
    finally:
        made.close(0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "posted.json"


def rows(gitlab: GitLab) -> list[tuple[str, str | None]]:
    return [(r.status, r.description) for r in gitlab.projects["cloud/site"].rows]


def wait(reporter: StatusReporter, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, reporter.statistics
        time.sleep(0.01)


def test_only_what_is_news(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    with reporter(connect_to(gitlab), store) as it:
        for status in (
            success("applying", state="pending"),
            success("applying more", state="pending"),
            success("38 containers, 0 changed in 0.2 s"),
            success("38 containers, 0 changed in 1.7 s"),
            success("applying", state="pending"),
            success("38 containers, 2 changed in 31 s"),
            success("keystone: health check failed", state="failed"),
            success("38 containers, 0 changed in 0.2 s"),
        ):
            it.submit(status, "main")
            assert it.flush(5)
        assert rows(gitlab) == [
            ("success", "38 containers, 0 changed in 0.2 s"),
            ("success", "38 containers, 2 changed in 31 s"),
            ("failed", "keystone: health check failed"),
            ("success", "38 containers, 0 changed in 0.2 s"),
        ]
        assert (it.statistics.posted, it.statistics.skipped, it.statistics.failed) == (5, 3, 0)


def test_a_thousand_times_the_same_is_one_post(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    with reporter(connect_to(gitlab), store) as it:
        for number in range(1000):
            it.submit(success(f"38 containers, 0 changed in {number} ms"), "main")
            if number % 100 == 0:
                it.flush(5)
        assert it.flush(5)
    assert gitlab.count("POST") == 1


def test_the_caller_says_what_is_equal(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    with reporter(connect_to(gitlab), store) as it:
        for text, key in (("a", "same"), ("b", "same"), ("b", "other")):
            it.submit(success(text), "main", key)
            it.flush(5)
    assert rows(gitlab) == [("success", "a"), ("success", "b")]


def test_only_the_newest_waits(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    with reporter(connect_to(gitlab), store, jitter=600.0) as it:
        it.submit(success("applying", state="pending"), "main")
        it.submit(success("bad", state="failed"), "main")
        it.submit(success("good"), "main")
        it.submit(success("other", context="reconciler/site/node2"), "main")
        time.sleep(0.1)
        assert gitlab.seen == [], "jitter comes before the first request"
        assert it.statistics.queued == 2
        assert it.flush(5)
    assert rows(gitlab) == [("success", "good"), ("success", "other")]


def test_restart_with_memory_asks_nobody(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success(), "main")
        it.flush(5)
    before = len(gitlab.seen)
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success(), "main")
        assert it.flush(5)
        assert it.statistics.skipped == 1
    assert len(gitlab.seen) == before


def test_a_second_process_hides_nothing_and_loses_nothing(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    """As the daemon and `reconciler reconcile`: each began with what the file held then."""
    other = "reconciler/site/node2"
    with reporter(connect_to(gitlab), store) as one, reporter(connect_to(gitlab), store) as two:
        for it, status in (
            (one, success("38 containers")),
            (two, success("keystone: health check failed", state="failed")),
            (two, success("3 containers", context=other)),
            (one, success("38 containers")),
            (two, success("38 containers")),
        ):
            it.submit(status, "main")
            assert it.flush(5)
        assert (one.statistics.posted, two.statistics.posted, two.statistics.skipped) == (2, 2, 1)
        store.unlink()
        one.submit(success("38 containers"), "main")
        assert one.flush(5) and one.statistics.skipped == 1, "what a process knows it needs no file for"
        one.submit(success("39 containers"), "main")
        assert one.flush(5)
    before = len(gitlab.seen)
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success("39 containers"), "main")
        it.submit(success("3 containers", context=other), "main")
        assert it.flush(5) and it.statistics.skipped == 2
    assert len(gitlab.seen) == before


@pytest.mark.parametrize("memory", [None, b"", b"{", b"[]", b'{"contexts": {"a": [{"x": 1}]}, "full": []}', b"\xff"])
@pytest.mark.parametrize("text", ["38 containers, 0 changed in 9.9 s", "drift: " + "keystone " * 60])
def test_restart_without_memory_posts_nothing(
    gitlab: GitLab, connect_to: Connect, store: Path, memory: bytes | None, text: str
) -> None:
    connect_to(gitlab).post_status(success(text.replace("9.9", "0.2")), "main")
    if memory is not None:
        store.write_bytes(memory)
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success("applying", state="pending"), "main")
        it.flush(5)
        it.submit(success(text), "main")
        assert it.flush(5)
    assert gitlab.count("POST") == 1
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success("something else"), "main")
        assert it.flush(5)
    assert rows(gitlab)[-1] == ("success", "something else")


def test_a_branch_that_was_tried_and_left(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    gitlab.projects["cloud/site"].add_commit("b" * 40, "testing/node1")
    with reporter(connect_to(gitlab), store) as it:
        for commit, ref in ((COMMIT, "main"), ("b" * 40, "testing/node1"), (COMMIT, "main")):
            it.submit(success(commit=commit), ref)
            it.flush(5)
    assert len(rows(gitlab)) == 2
    assert gitlab.count("GET", "/statuses") == 1, "only an empty memory asks"


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_a_post(
    gitlab: GitLab, connect_to: Connect, store: Path, token_file: Path, when: str, tmp_path: Path
) -> None:
    program = f"""
import os
from pathlib import Path
from reconciler.forge import ForgeSettings, Status, StatusReporter, connect
forge = connect(ForgeSettings("gitlab", {gitlab.url!r}, "cloud/site", Path({str(token_file)!r})))
real = forge.post_status
def post_status(status, ref):
    if {when!r} == "after":
        real(status, ref)
    os._exit(9)
forge.post_status = post_status
it = StatusReporter(forge, Path({str(store)!r}), jitter=0.0)
it.submit(Status({COMMIT!r}, {CONTEXT!r}, "success", "38 containers, 0 changed in 0.2 s"), "main")
it.flush(10)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 9
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success(), "main")
        assert it.flush(5)
        it.submit(success(), "main")
        assert it.flush(5)
    assert rows(gitlab) == [("success", "38 containers, 0 changed in 0.2 s")]


def test_a_hanging_server_delays_nobody(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    gitlab.fail("GET", "/user", Fault("hang", seconds=20))
    it = StatusReporter(connect_to(gitlab, timeout=15.0), store, jitter=0.0)
    it.submit(success(), "main")
    wait(it, lambda: gitlab.count("GET") == 1)
    begin = time.monotonic()
    for number in range(1000):
        it.submit(success(f"{number} containers"), "main")
    assert it.statistics.queued == 2
    assert time.monotonic() - begin < 10
    assert it.close(0.2) is False
    assert time.monotonic() - begin < 12


def test_trouble_is_tried_again_later(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    clock = Clock()
    gitlab.fail("POST", "/statuses/", Fault.answer(503, "maintenance"))
    with reporter(connect_to(gitlab, retry_for=0.0), store, clock=clock) as it:
        it.submit(success(), "main")
        wait(it, lambda: it.statistics.failed == 1)
        assert it.statistics.last_reason == "ForgeBusy"
        assert "maintenance" in it.statistics.last_error
        it.submit(success("another", context="reconciler/site/node2"), "main")
        assert not it.flush(0.2), "the back-off holds for every context, and for a flush"
        assert gitlab.count("POST") == 1
        clock.skipped += 10
        assert it.flush(5)
        assert it.statistics.posted == 2
        assert it.statistics.last_error == ""
    assert sorted(rows(gitlab)) == [("success", "38 containers, 0 changed in 0.2 s"), ("success", "another")]


def test_retry_after_holds(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    clock = Clock()
    gitlab.fail("POST", "/statuses/", Fault.answer(429, retry_after="3600"))
    with reporter(connect_to(gitlab), store, clock=clock) as it:
        it.submit(success(), "main")
        wait(it, lambda: it.statistics.failed == 1)
        clock.skipped += 3590
        assert not it.flush(0.2)
        clock.skipped += 30
        assert it.flush(5)
    assert len(rows(gitlab)) == 1


def test_the_job_limit_is_remembered(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    project = gitlab.projects["cloud/site"]
    project.job_limit = 0
    for _ in range(2):
        with reporter(connect_to(gitlab), store) as it:
            for number in range(3):
                it.submit(success(f"{number} containers"), "main")
                assert it.flush(5)
    assert gitlab.count("POST") == 1
    project.job_limit = 10
    project.add_commit("b" * 40)
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success(commit="b" * 40), "main")
        assert it.flush(5)
    assert len(rows(gitlab)) == 1


def test_forbidden_is_tried_rarely(gitlab: GitLab, connect_to: Connect, store: Path, token: str) -> None:
    clock, project = Clock(), gitlab.projects["cloud/site"]
    project.protected.add("main")
    maintainer = gitlab.tokens[token]
    object.__setattr__(maintainer, "level", 30)
    with reporter(connect_to(gitlab), store, clock=clock) as it:
        for number in range(5):
            it.submit(success(f"{number} containers"), "main")
            wait(it, lambda: it.statistics.failed == 1)
            clock.skipped += 60
        assert not it.flush(0.2)
        assert it.statistics.last_reason == "ForgeForbidden"
        assert (gitlab.count("POST"), len(project.pipelines)) == (1, 1)
        object.__setattr__(maintainer, "level", 40)
        clock.skipped += 3600
        assert it.flush(5)
    assert rows(gitlab) == [("success", "4 containers")]


def test_one_refused_context_holds_up_no_other(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    with reporter(connect_to(gitlab), store) as it:
        it.submit(success(commit="f" * 40), "main")
        wait(it, lambda: it.statistics.failed == 1)
        it.submit(success(context="reconciler/site/node2"), "main")
        wait(it, lambda: it.statistics.posted == 1)
        assert it.statistics.queued == 1


def test_no_disk_is_no_reason_not_to_report(gitlab: GitLab, connect_to: Connect, tmp_path: Path) -> None:
    with reporter(connect_to(gitlab), tmp_path / "missing" / "posted.json") as it:
        for _ in range(3):
            it.submit(success(), "main")
            assert it.flush(5)
    assert len(rows(gitlab)) == 1


def test_the_thread_outlives_surprises(gitlab: GitLab, connect_to: Connect, store: Path) -> None:
    clock = Clock()
    with reporter(connect_to(gitlab), store, clock=clock) as it:
        it.submit(Status("not a commit", "odd", "success"), "main")
        wait(it, lambda: it.statistics.failed == 1)
        assert it.statistics.last_error == "ValueError"
        it.submit(success(), "main")
        wait(it, lambda: it.statistics.posted == 1)
        assert it.close(0) is False
        it.submit(success("late"), "main")
        assert it.statistics.queued == 0


def test_the_file_holds_no_secret_and_stays_small(gitlab: GitLab, connect_to: Connect, store: Path, token: str) -> None:
    project = gitlab.projects["cloud/site"]
    with reporter(connect_to(gitlab), store) as it:
        for number in range(8):
            project.add_commit(f"{number:040x}")
            it.submit(success(commit=f"{number:040x}"), "main")
            it.flush(5)
    content = json.loads(store.read_text())
    assert len(content["contexts"][CONTEXT]) == 3
    assert token not in store.read_text()
    assert {p.name for p in store.parent.iterdir() if "posted" in p.name} == {"posted.json", "posted.lock"}


def test_material() -> None:
    assert material("38 containers, 0 changed in 0.2 s") == "38 containers, 0 changed in"
    assert material("in 1.5s, 20 ms, 3 min, 2h") == material("in 9s, 1 ms, 1 min, 1h")
    assert material("2 hosts") != material("3 hosts")
    assert material("38 containers") != material("39 containers")


STEPS = st.lists(
    st.tuples(st.sampled_from(["pending", "success", "failed"]), st.sampled_from(["a", "b"]), st.booleans()), max_size=8
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_history_leaves_no_row_twice(
    gitlab: GitLab, connect_to: Connect, store: Path, steps: list[tuple[State, str, bool]]
) -> None:
    """Whatever is submitted, with restarts in between: no two rows in a row are equal, and the last result shows."""
    gitlab.projects["cloud/site"].rows.clear()
    store.unlink(missing_ok=True)
    for state, text, forget in steps:
        if forget:
            store.unlink(missing_ok=True)
        with reporter(connect_to(gitlab), store) as it:
            it.submit(success(text, state=state), "main")
            assert it.flush(5)
    shown = rows(gitlab)
    assert all(one != two for one, two in itertools.pairwise(shown))
    results = [(state, text) for state, text, _ in steps if state != "pending"]
    assert [row for row in shown if row[0] != "pending"][-1:] == results[-1:]
    assert all(status != "pending" for status, _ in shown[1:])
