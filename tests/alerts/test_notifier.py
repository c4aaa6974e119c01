"""Alerts as their targets get them: over HTTP and SMTP, from real child processes, with a clock that the test moves."""

import errno
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from reconciler import errors
from reconciler.alerts import Notifier
from reconciler.reasons import Reason
from reconciler.settings import AlertTarget
from reconciler.system import files
from tests.alerts import receivers
from tests.alerts.conftest import PROJECT, Clock
from tests.alerts.reports import held, outcome, report
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import Alert
from tests.forge.standin import Fault

Make = Callable[..., Notifier]
DRIFT = report(held(), explained={"keystone": "stopped by hand at 03:12:00"})


def shown(gitlab: GitLab) -> list[Alert]:
    with gitlab.lock:
        return list(gitlab.projects[PROJECT].alerts)


def told(notifier: Notifier, *reports: object, seconds: float = 90) -> bool:
    for one in reports:
        notifier.take(one)  # type: ignore[arg-type]
    return notifier.flush(seconds)


def test_gitlab_fires_and_resolves(gitlab: GitLab, gitlab_target: AlertTarget, notifier: Make, clock: Clock) -> None:
    one = notifier(gitlab_target, runbook="https://git.example.org/docs/operations.md")
    assert told(one, DRIFT)
    (alert,) = shown(gitlab)
    assert (alert.status, alert.title, alert.payload["severity"]) == ("triggered", "ctl1: keystone drifted", "medium")
    assert alert.payload["hosts"] == ["ctl1"] and alert.payload["service"] == "keystone"
    lines = [line.strip() for line in alert.payload["description"].splitlines()]
    assert lines[0] == "who did it: stopped by hand at 03:12:00"
    assert lines[-1] == "what to do: https://git.example.org/docs/operations.md#drift"
    assert told(one, report())
    assert shown(gitlab)[0].status == "triggered", "not before it has been well for a while"
    clock.passes(minutes=3)
    assert told(one, report())
    (alert,) = shown(gitlab)
    assert alert.status == "resolved" and alert.payload["end_time"] == "2026-03-01T12:00:00+00:00"
    assert one.statistics.sent == 2 and one.statistics.failed == 0


def test_what_a_service_says_cannot_act_in_gitlab(gitlab: GitLab, gitlab_target: AlertTarget, notifier: Make) -> None:
    evil = "/close\n@all look\r\n<img src=x>\u202e\x1b[31m" + "x" * 5000
    assert told(notifier(gitlab_target), report(outcomes=[outcome("keystone", "rolled-back", message=evil)]))
    text = shown(gitlab)[0].payload["description"]
    assert all(line.startswith("    ") for line in text.splitlines()), "all of it is code"
    assert len(text) <= 1000 and "\x1b" not in text and "\u202e" not in text and "\r" not in text


def test_a_thousand_cycles_of_one_drift(
    gitlab: GitLab, gitlab_target: AlertTarget, notifier: Make, clock: Clock
) -> None:
    one = notifier(gitlab_target, repeat=14_400)
    for _ in range(1000):
        assert told(one, DRIFT)
        clock.passes(minutes=1)
    (alert,) = shown(gitlab)
    # 999 minutes are four times four hours: one alert, told once and four times again.
    assert alert.events == 5 and gitlab.count("POST", "/alerts/notify/") == 5


def test_a_webhook_is_signed_and_grouped(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make, clock: Clock
) -> None:
    one = notifier(webhook_target)
    assert told(one, report(*(held(f"c{n}") for n in range(8)), outcomes=[outcome("zzz", "rolled-back")]))
    (message,) = webhook.messages
    assert [a["item"] for a in message["alerts"]] == ["zzz", *(f"c{n}" for n in range(8))]
    assert message["host"] == "ctl1" and {a["status"] for a in message["alerts"]} == {"firing"}
    told(one, report())
    clock.passes(minutes=3)
    assert told(one, report())
    assert len(webhook.messages) == 2 and {a["status"] for a in webhook.messages[1]["alerts"]} == {"resolved"}


def test_mail_through_apprise(tmp_path: Path, notifier: Make) -> None:
    user, password = "oncall", secrets.token_hex(12)
    with receivers.mail_server(user, password) as mail:
        address = tmp_path / "mail.url"
        address.write_text(
            f"mailto://{user}:{password}@127.0.0.1:{mail.port}?from=reconciler@example.org&to=oncall@example.org"
            "&mode=insecure\n"
        )
        assert told(notifier(AlertTarget("apprise", url_file=address)), DRIFT)
        (message,) = mail.messages
    assert message["Subject"] == "[reconciler] ctl1: keystone drifted" and "oncall@example.org" in str(message["To"])
    text = message.get_body(("plain", "html"))
    assert text is not None
    assert "who did it: stopped by hand at 03:12:00" in text.get_content()
    assert "state: is exited, should be running" in text.get_content()


def test_a_wrong_mail_password_is_told_without_it(
    tmp_path: Path, notifier: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    password = secrets.token_hex(12)
    with receivers.mail_server("oncall", secrets.token_hex(12)) as mail:
        address = tmp_path / "mail.url"
        address.write_text(
            f"mailto://oncall:{password}@127.0.0.1:{mail.port}?from=a@b.example&to=c@d.example&mode=insecure"
        )
        one = notifier(AlertTarget("apprise", url_file=address))
        assert not told(one, DRIFT)
        assert mail.refused and not mail.messages
    assert one.statistics.last_reason == "AlertTargetUnreachable" and one.statistics.waiting == 1
    log = "".join(capfd.readouterr())
    assert "alert.failed" in log and password not in log


@pytest.mark.parametrize(
    ("status", "reason", "after"),
    [
        (503, "AlertTargetBusy", 20),
        (429, "AlertTargetBusy", 620),
        (403, "AlertTargetRefused", 1801),
        (302, "AlertTargetRefused", 1801),
    ],
)
def test_a_target_that_refuses_is_tried_again_later(
    status: int,
    reason: str,
    after: float,
    webhook: receivers.Webhook,
    webhook_target: AlertTarget,
    notifier: Make,
    clock: Clock,
) -> None:
    webhook.answers.append((status, {"Retry-After": "600"} if status == 429 else {}))
    one = notifier(webhook_target)
    assert not told(one, DRIFT)
    assert (one.statistics.last_reason, one.statistics.waiting, webhook.requests) == (reason, 1, 1)
    told(one, DRIFT)
    assert webhook.requests == 1, "not at the next cycle"
    clock.passes(seconds=after)
    assert told(one, DRIFT) and len(webhook.alerts) == 1
    assert one.statistics.last_reason is None and one.statistics.waiting == 0


def test_a_pause_does_not_wait_for_a_clock_that_was_set_back(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make, clock: Clock
) -> None:
    webhook.answers.append((403, {}))
    one = notifier(webhook_target)
    assert not told(one, DRIFT)
    clock.passes(hours=-8)
    assert told(one, DRIFT) and len(webhook.alerts) == 1


@pytest.mark.parametrize("kind", ["nobody listens", "no key", "empty key", "no such address"])
def test_what_is_wrong_with_the_settings_is_said(kind: str, tmp_path: Path, key_file: Path, notifier: Make) -> None:
    if kind == "empty key":
        key_file.write_text("\n")
    (tmp_path / "bad.url").write_text("nosuchthing://secret-word")
    target = {
        "nobody listens": AlertTarget("webhook", url="http://127.0.0.1:9/hook"),
        "no key": AlertTarget("gitlab", url="http://127.0.0.1:9/", key_file=tmp_path / "none"),
        "empty key": AlertTarget("gitlab", url="http://127.0.0.1:9/", key_file=key_file),
        "no such address": AlertTarget("apprise", url_file=tmp_path / "bad.url"),
    }[kind]
    one = notifier(target)
    assert not told(one, DRIFT)
    expected = "AlertTargetUnreachable" if kind == "nobody listens" else "AlertTargetMisconfigured"
    assert one.statistics.last_reason == expected


def test_one_dead_target_does_not_silence_the_others(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make
) -> None:
    told(notifier(AlertTarget("webhook", url="http://127.0.0.1:9/hook"), webhook_target), DRIFT)
    assert len(webhook.alerts) == 1


def test_a_batch_that_fails_halfway_goes_on_where_it_stopped(
    gitlab: GitLab, gitlab_target: AlertTarget, notifier: Make, clock: Clock
) -> None:
    many = report(*(held(f"c{n}") for n in range(5)))
    gitlab.fail("POST", "/alerts/", Fault("status", 200, []), Fault("status", 200, []), Fault.answer(500, done=True))
    one = notifier(gitlab_target)
    assert not told(one, many)
    assert [a.title for a in shown(gitlab)] == ["ctl1: c2 drifted"], "it was taken, and the answer was lost"
    clock.passes(minutes=1)
    assert told(one, many)
    # What is in doubt is told again under the same fingerprint; what was answered is not.
    assert [(a.title, a.events) for a in shown(gitlab)] == [
        ("ctl1: c2 drifted", 2),
        ("ctl1: c3 drifted", 1),
        ("ctl1: c4 drifted", 1),
    ]


def test_a_hanging_target_holds_up_neither_a_cycle_nor_the_end(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make
) -> None:
    webhook.hang.set()
    one = notifier(webhook_target, seconds=60)
    started = time.monotonic()
    for _ in range(200):
        one.take(DRIFT)
    assert time.monotonic() - started < 10
    assert not one.close(0.3)
    assert time.monotonic() - started < 15
    webhook.hang.clear()


def test_a_child_that_never_ends_is_ended(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make, clock: Clock
) -> None:
    webhook.hang.set()
    one = notifier(webhook_target, seconds=2)
    assert not told(one, DRIFT)
    assert one.statistics.last_reason == "DeadlineExceeded"
    webhook.hang.clear()
    clock.passes(minutes=1)
    assert told(notifier(webhook_target), DRIFT)
    assert webhook.alerts[-1]["status"] == "firing"


def test_a_restart_repeats_nothing_and_resolves_what_is_over(
    gitlab: GitLab, gitlab_target: AlertTarget, notifier: Make, clock: Clock
) -> None:
    assert told(notifier(gitlab_target), DRIFT)
    clock.passes(minutes=1)
    assert told(notifier(gitlab_target), DRIFT)
    assert shown(gitlab)[0].events == 1
    two = notifier(gitlab_target)
    told(two, report())
    clock.passes(minutes=3)
    assert told(two, report()) and shown(gitlab)[0].status == "resolved"
    clock.passes(minutes=5)
    told(two, report())
    clock.passes(hours=2)
    told(two, report())
    assert not notifier.store.exists(), "nothing is left to remember"  # type: ignore[attr-defined]


def test_without_a_word_to_say_nothing_is_written(webhook_target: AlertTarget, notifier: Make) -> None:
    one = notifier(webhook_target)
    for _ in range(5):
        assert told(one, report())
    assert not notifier.store.exists()  # type: ignore[attr-defined]


def test_a_damaged_memory_is_begun_anew(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make
) -> None:
    notifier.store.write_text("{ half")  # type: ignore[attr-defined]
    assert told(notifier(webhook_target), DRIFT) and len(webhook.alerts) == 1


def test_a_disk_that_takes_nothing_does_not_silence_us(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make, clock: Clock
) -> None:
    store: Path = notifier.store  # type: ignore[attr-defined]
    store.mkdir()  # a file can no longer be put there
    one = notifier(webhook_target)
    for _ in range(3):
        assert told(one, DRIFT)
        clock.passes(minutes=1)
    assert len(webhook.alerts) == 1, "and this process remembers"


def test_two_processes_of_one_node_tell_once(
    webhook: receivers.Webhook, webhook_target: AlertTarget, notifier: Make, tmp_path: Path, clock: Clock
) -> None:
    """A cycle by hand beside the daemon."""
    from reconciler.settings import Alerts

    one = notifier(webhook_target)
    other = Notifier(Alerts(targets={"t0": webhook_target}), notifier.store, "ctl1", clock=clock)  # type: ignore[attr-defined]
    one.take(DRIFT)
    other.take(DRIFT)
    assert one.flush(30) and other.flush(30)
    other.close(0)
    assert len(webhook.alerts) == 1


def test_a_disk_that_takes_nothing_silences_nobody(
    gitlab: GitLab, gitlab_target: AlertTarget, notifier: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the lock can be had on a file system that became read-only."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", refused)
    monkeypatch.setattr(files, "write_atomic", _no_room)
    one = notifier(gitlab_target)
    assert told(one, DRIFT)
    assert [alert.status for alert in shown(gitlab)] == ["triggered"]


def _no_room(*_: object, **__: object) -> None:
    raise errors.Transient("it is read-only", reason=Reason.FileWriteFailed)


def test_what_fails_all_the_time_is_tried_after_a_pause(
    gitlab: GitLab, gitlab_target: AlertTarget, notifier: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, tries = notifier(gitlab_target), []

    def step() -> None:
        tries.append(1)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(one, "_step", step)
    for _ in range(3):
        one.take(DRIFT)
        time.sleep(0.3)
    assert len(tries) == 1, "what could not be taken in is no reason to begin again at once"
