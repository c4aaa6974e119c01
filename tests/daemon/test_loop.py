"""What both main loops share."""

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from reconciler import errors
from reconciler.daemon import loop
from reconciler.daemon.notify import Notifier
from reconciler.daemon.triggers import Triggers
from reconciler.reasons import Reason
from reconciler.report import RepositoryStatus
from reconciler.web import Answer, Request


@pytest.fixture
def kept() -> Iterator[None]:
    """The process's own handlers come back."""
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.parametrize(
    ("number", "kind", "ends"),
    [(signal.SIGTERM, "stop", True), (signal.SIGINT, "stop", True), (signal.SIGHUP, "hangup", False)],
)
def test_a_signal_is_a_wish(kept: None, number: signal.Signals, kind: str, ends: bool) -> None:
    triggers, stop = Triggers(), threading.Event()
    loop.on_signals(triggers, stop)
    os.kill(os.getpid(), number)
    trigger = triggers.next(30)
    assert trigger is not None and (trigger.kind, stop.is_set()) == (kind, ends)


def _raises(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "event", "reason"),
    [
        (errors.Terminal("the disk is full", reason=Reason.FileUnwritable), "round.failed", Reason.FileUnwritable),
        (errors.Transient("it hangs", reason=Reason.GitTimeout), "round.failed", Reason.GitTimeout),
        (ValueError("nobody foresaw it"), "round.crashed", Reason.InternalError),
        (MemoryError(), "round.crashed", Reason.InternalError),
    ],
)
def test_a_turn_that_fails_is_told_and_survived(error: Exception, event: str, reason: Reason) -> None:
    counted: list[Reason] = []
    with capture_logs() as logs:
        loop.survive("round", _raises(error), failed=counted.append, notify=Notifier())
    assert counted == [reason]
    assert [entry["event"] for entry in logs] == [event]


def test_what_ends_the_process_is_not_survived() -> None:
    counted: list[Reason] = []
    with pytest.raises(KeyboardInterrupt):
        loop.survive("round", _raises(KeyboardInterrupt()), failed=counted.append, notify=Notifier())
    assert not counted


def test_a_git_server_that_fails_is_spared_until_it_answers() -> None:
    pauses = loop.SourcePauses(3600)
    assert pauses.is_due()
    with capture_logs() as logs:
        pauses.take(RepositoryStatus(False, "", Reason.GitTimeout, "slow"))
        pauses.take(RepositoryStatus(False, "", Reason.GitTimeout, "slow", retry_after=36_000.0))
    assert not pauses.is_due()
    assert [(entry["event"], entry["failures"]) for entry in logs] == [("source.backoff", 1), ("source.backoff", 2)]
    assert logs[1]["seconds"] >= 36_000
    pauses.take(RepositoryStatus(True, "a" * 40))
    assert pauses.is_due()


def test_a_taken_port_is_told_and_no_reason_to_end() -> None:
    def get(_: Request) -> Answer:
        return Answer(200, b"", "text/plain")

    assert loop.listen("", {"/": get}) is None
    first = loop.listen("127.0.0.1:0", {"/": get}, names=("n0",))
    assert first is not None
    try:
        with capture_logs() as logs:
            assert loop.listen(f"127.0.0.1:{first.port}", {"/": get}) is None
        assert [entry["event"] for entry in logs] == ["metrics.failed"]
    finally:
        first.close()
