"""The daemon's parts by themselves: wishes, pauses, turns, what happened, who is there, metrics."""

import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reconciler import errors
from reconciler.daemon import presence, triggers
from reconciler.daemon.backoff import phase
from reconciler.daemon.events import Happenings
from reconciler.daemon.notify import Notifier
from reconciler.daemon.watch import FileWatch
from reconciler.engine import Event
from reconciler.model import Action, Condition, Difference, Held, Outcome, Plan, Verb
from reconciler.reasons import Reason
from reconciler.report import Report, RepositoryStatus
from reconciler.report.metrics import Metrics
from reconciler.system.pacing import Backoff, Bucket, doubled
from reconciler.web import Server
from tests.daemon.node import notify_socket, wait_for

NOW = datetime(2026, 1, 2, 3, 12, 7, tzinfo=UTC)


# --- triggers ---------------------------------------------------------------------------------------------------------


def test_many_wishes_are_one_pass() -> None:
    wishes = triggers.Triggers()
    for kind in ("event", "file", "interval", "event"):
        wishes.put(kind)
    assert wishes.next(1) == triggers.Trigger("interval", polls=True)
    assert wishes.next(0.01) is None


def test_a_burst_of_events_is_waited_for_but_not_long() -> None:
    wishes = triggers.Triggers()
    stop = threading.Event()

    def storm() -> None:
        while not stop.wait(0.02):
            wishes.put("event")

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        wishes.put("event")
        started = time.monotonic()
        assert wishes.next(60) == triggers.Trigger("event", polls=False)
        assert time.monotonic() - started < 30
    finally:
        stop.set()
        thread.join()


def test_a_hangup_does_not_wait_for_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "QUIET", 60.0)
    monkeypatch.setattr(triggers, "PATIENCE", 60.0)
    wishes = triggers.Triggers()
    wishes.put("event")
    wishes.put("hangup")
    started = time.monotonic()
    assert wishes.next(60) == triggers.Trigger("hangup", polls=True)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("beside", "kind"), [(None, "landed"), ("event", "event"), ("file", "file"), ("interval", "interval")]
)
def test_what_landed_gives_a_pass_its_name_only_alone(beside: triggers.Kind | None, kind: triggers.Kind) -> None:
    """A pass for it alone is left out when it was collected before: nothing else that was wished for may be lost with it."""
    wishes = triggers.Triggers()
    wishes.put("landed")
    if beside:
        wishes.put(beside)
    found = wishes.next(1)
    assert found is not None and found.kind == kind


def test_what_happens_all_the_time_is_followed_ever_more_slowly_and_never_lost() -> None:
    now = [0.0]
    wishes = triggers.Triggers(clock=lambda: now[0])
    followed = 0
    for _ in range(30):
        wishes.put("event")
        followed += wishes.next(0.01) is not None
        now[0] += 1.0
    assert followed == 10 + 30 // 6 - 1
    wishes.put("event")
    assert wishes.next(0.01) is None
    wishes.put("interval")  # takes the waiting event along
    assert wishes.next(0.01) == triggers.Trigger("interval", polls=True)
    assert wishes.next(0.01) is None
    wishes.put("event")
    assert wishes.next(0.01) is None
    now[0] += 6.0
    assert wishes.next(0.01) == triggers.Trigger("event", polls=False)  # though nothing new happened
    now[0] += 600.0
    for _ in range(10):
        wishes.put("event")
        assert wishes.next(0.01) is not None


# --- pauses and turns -------------------------------------------------------------------------------------------------


def test_pauses_double_up_to_ten_intervals() -> None:
    backoff = Backoff(60.0, 600.0, random=Random(1))
    pauses = [backoff.failed(0.0) for _ in range(8)]
    for pause, full in zip(pauses, (60, 120, 240, 480, 600, 600, 600, 600), strict=True):
        assert 0.8 * full <= pause <= full
    assert not backoff.is_due(pauses[-1] - 1)
    assert backoff.is_due(pauses[-1])
    backoff.succeeded()
    assert backoff.is_due(0.0)
    assert backoff.failed(0.0, retry_after=1000.0) == 1000.0


def test_pauses_double_up_to_the_longest() -> None:
    assert [doubled(5.0, failures, 60.0) for failures in (0, 1, 2, 3, 4, 5, 10_000)] == [5, 5, 10, 20, 40, 60, 60]


def test_a_bucket_grants_a_few_at_once_and_then_one_by_one() -> None:
    bucket = Bucket(2, 5.0, 0.0)
    for _ in range(2):
        assert bucket.wait(0.0) == 0.0
        bucket.take()
    assert [bucket.wait(now) for now in (0.0, 4.0, 6.0)] == pytest.approx([5.0, 1.0, 0.0])
    assert bucket.wait(1000.0) == 0.0
    bucket.take()
    bucket.take()
    assert bucket.wait(1000.0) == 5.0, "what was not used does not add up beyond its size"


def test_hosts_have_turns_of_their_own_within_the_splay() -> None:
    turns = {host: phase(host, 60.0, 0.2) for host in (f"cmp{number}" for number in range(200))}
    assert turns == {host: phase(host, 60.0, 0.2) for host in turns}
    assert all(0 <= turn < 12 for turn in turns.values())
    assert len({int(turn) for turn in turns.values()}) == 12


# --- what happened ----------------------------------------------------------------------------------------------------


def _event(action: str, seconds: float = 0.0, **attributes: str) -> Event:
    return Event(NOW + timedelta(seconds=seconds), "container", action, "keystone", "id", attributes)


def _drift(target: str) -> Plan:
    return Plan("ctl1", "abc", actions=(Action(Verb.START, target, "it stopped", drift=True),))


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ([_event("kill", signal="9"), _event("die", 0.1, exitCode="137")], "killed by hand (signal 9)"),
        ([_event("die", exitCode="137")], "its process was killed (signal 9), not through the engine"),
        (
            [_event("oom"), _event("die", 0.1, exitCode="137")],
            "the kernel killed it, because it had used up its memory",
        ),
        ([_event("die", exitCode="3")], "ended by itself (exit code 3)"),
        ([_event("kill", signal="15"), _event("die", 1, exitCode="0"), _event("stop", 1)], "stopped by hand"),
        ([_event("kill", signal="9"), _event("die", 1, exitCode="137"), _event("destroy", 2)], "removed by hand"),
        ([_event("oom"), _event("pause", 1)], "paused by hand"),
    ],
)
def test_what_happened_in_words(told: list[Event], text: str) -> None:
    happenings = Happenings()
    for event in told:
        happenings.heard(event)
    local = told[-1].time.astimezone()
    assert happenings.explain(_drift("keystone")) == {"keystone": f"{text} at {local:%H:%M:%S}"}
    assert happenings.explain(_drift("mariadb")) == {}


def test_a_rename_is_about_the_old_name() -> None:
    happenings = Happenings()
    happenings.heard(Event(NOW, "container", "rename", "other", "id", {"oldName": "/keystone"}))
    assert "renamed by hand to other" in happenings.explain(_drift("keystone"))["keystone"]


def test_what_we_did_ourselves_explains_nothing() -> None:
    happenings = Happenings()
    happenings.heard(_event("kill", signal="15"))
    happenings.heard(_event("die", 1, exitCode="0"))
    happenings.touched("keystone/keystone.conf")
    happenings.forget({"keystone", "keystone/keystone.conf"}, NOW, datetime.now(UTC))
    assert happenings.recent == ()
    happenings.heard(_event("restart", 2))  # told late
    assert happenings.recent == ()


def test_an_editor_writes_once() -> None:
    happenings = Happenings()
    happenings.touched("keystone/keystone.conf")
    happenings.touched("keystone/keystone.conf")
    assert [str(found).partition(" at ")[0] for found in happenings.recent] == ["changed on the disk"]


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_are_watched_and_looking_at_them_is_not_a_change(tmp_path: Path) -> None:
    root = tmp_path / "kolla"
    name, marks = "keystone/keystone.conf", [f"keystone/{n}.conf" for n in range(6)]
    unused, seen = iter(marks), list[str]()
    watch = FileWatch(seen.append)

    def told() -> set[str]:
        """What was told since the last call. Tellings come in order: with that of a file changed last, all are there."""
        mark = next(unused)
        (root / mark).write_text("last")
        wait_for(lambda: mark in seen, "what comes after", 60)
        found = set(seen) - set(marks)
        seen.clear()
        return found

    try:
        watch.follow(root, [name])  # not there yet
        (root / "keystone").mkdir(parents=True)
        file = root / name
        file.write_text("a")
        watch.follow(root, [name, *marks])
        told()
        file.read_text()
        (root / "keystone/other").write_text("nobody's")
        assert told() == set()
        file.write_text("b")
        assert told() == {name}, "a write"
        file.chmod(0o600)
        assert told() == {name}, "a new mode"
        temporary = root / "keystone/.temporary"
        temporary.write_text("c")
        temporary.rename(file)
        assert told() == {name}, "a replacement"
        file.unlink()
        assert told() == {name}, "a deletion"
    finally:
        watch.close()


# --- presence and systemd ---------------------------------------------------------------------------------------------


def test_one_at_a_time(tmp_path: Path) -> None:
    assert presence.find(tmp_path) is None
    first = presence.Presence(tmp_path)
    with pytest.raises(errors.Terminal) as caught:
        presence.Presence(tmp_path)
    assert caught.value.reason == "AlreadyRunning"
    assert presence.find(tmp_path) is not None
    first.close()
    assert presence.find(tmp_path) is None
    assert presence.wake(tmp_path) is False


def test_a_cycle_that_hangs_loses_its_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with notify_socket(tmp_path) as messages:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        seconds = 1.0
        notifier = Notifier(cycle_seconds=seconds)
        with notifier.working():
            assert notifier.period

            def ended() -> bool:
                messages()  # what nobody takes would fill the socket
                return not any(thread.name == "watchdog" for thread in threading.enumerate())

            wait_for(ended, "the signs end", 60)
            # How many come depends on the machine; that they come, no faster than asked for, and end while the work goes on, does not.
            assert 1 <= messages().count("WATCHDOG=1") <= seconds / notifier.period + 1
        notifier.ready("a\nb")
        assert "READY=1\nSTATUS=a b" in messages()


def test_systemd_is_told_in_the_abstract_name_space_too_and_need_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"reconciler-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}")
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notifier = Notifier()
        notifier.stopping()
        assert systemd.recv(100) == b"STOPPING=1"
    notifier.ready("nobody listens any more")
    monkeypatch.delenv("NOTIFY_SOCKET")
    Notifier().ready("nobody ever did")


def test_a_watchdog_meant_for_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier().period is None


# --- metrics ----------------------------------------------------------------------------------------------------------


def _report(**fields: Any) -> Report:
    values = {
        "site": "s", "host": "h", "revision": "abc", "started_at": NOW, "seconds": 1.5, "trigger": "interval",
        "deep": False, "source": RepositoryStatus(True, "abc"), **fields,
    }  # fmt: skip
    return Report(**values)  # type: ignore[arg-type]


def test_metrics_for_node_exporter_go_through_no_link(tmp_path: Path) -> None:
    """It may be a container, which can write to the folder."""
    victim, file = tmp_path / "victim", tmp_path / "folder/reconciler.prom"
    victim.write_text("the host's")
    file.parent.mkdir()
    for name in (f"reconciler.prom.{os.getpid()}.{threading.get_ident()}", "reconciler.prom"):
        (file.parent / name).symlink_to(victim)
    with pytest.raises(errors.Terminal) as caught:
        Metrics().write(file)
    assert caught.value.reason == "FileUnsafe"
    file.unlink()
    before = os.umask(0o077)  # the unit's
    try:
        Metrics().write(file)
    finally:
        os.umask(before)
    assert "reconciler_condition" in file.read_text() and file.stat().st_mode & 0o777 == 0o644
    assert victim.read_text() == "the host's"


def test_metrics_of_a_cycle() -> None:
    metrics = Metrics()
    start = Action(Verb.START, "keystone", "it stopped", service="keystone", drift=True)
    write = Action(Verb.WRITE, "nova/nova.conf", "changed", container="nova", service="nova", drift=True)
    held = Held("glance", Reason.DriftReported, "differs", (Difference("image", "a", "b"),), drift=True)
    report = _report(
        plan=Plan("h", "abc", (start, write), (held,)),
        outcomes=(Outcome(start, "done"), Outcome(write, "failed", Reason.DiskFull, "no room")),
        conditions=(Condition("Ready", False, Reason.DiskFull, "no room", NOW),),
        source=RepositoryStatus(False, "", Reason.GitTimeout, "slow"),
        containers=7,
    )
    metrics.report(report, {"glance": "glance"})
    metrics.statuses(2, 3, Reason.ForgeBusy)
    metrics.statuses(0, 3, None)
    value = metrics.registry.get_sample_value
    assert value("reconciler_condition", {"type": "Ready"}) == 0
    assert value("reconciler_drifted_items", {"kind": "file", "service": "nova"}) == 1
    assert value("reconciler_drifted_items", {"kind": "container", "service": "glance"}) == 1
    assert value("reconciler_drifted_items", {"kind": "container", "service": "keystone"}) is None
    assert value("reconciler_errors_total", {"api": "git", "reason": "GitTimeout"}) == 1
    assert value("reconciler_errors_total", {"api": "other", "reason": "DiskFull"}) == 1
    assert value("reconciler_errors_total", {"api": "forge", "reason": Reason.ForgeBusy}) == 3
    assert value("reconciler_actions_total", {"verb": "start", "result": "done"}) == 1
    assert value("reconciler_managed_containers") == 7
    assert value("reconciler_last_success_timestamp_seconds") == 0
    metrics.report(_report(revision="def", plan=Plan("h", "def")))
    assert value("reconciler_revision_info", {"site": "s", "host": "h", "revision": "abc"}) is None
    assert value("reconciler_revision_info", {"site": "s", "host": "h", "revision": "def"}) == 1
    assert value("reconciler_drifted_items", {"kind": "file", "service": "nova"}) is None
    assert value("reconciler_last_success_timestamp_seconds") == NOW.timestamp() + 1.5


@pytest.mark.parametrize("address", ["127.0.0.1:notaport", "203.0.113.1:80", "nonsense"])
def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        Server(address, {})
    assert caught.value.reason == "MetricsAddress"
