"""An operator's verb and the daemon write to one state at the same time: nothing of either is lost, and neither waits for what is dead."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from reconciler import errors
from reconciler.gates import other_tool
from reconciler.model import Failure, OtherTool, Registration
from reconciler.node.node import Node
from reconciler.plan import recurring
from reconciler.reasons import Blame, Reason
from reconciler.state import StateDirectory, folder
from tests.faults.node import Bench

NOW = datetime.now(UTC)
PROGRAM = Path(sys.executable).with_name("reconciler")
FAILURE = Failure(Reason.Unhealthy, "it ended", Blame.CONFIGURATION, NOW)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.create()
    return made


@contextmanager
def other(state: StateDirectory, does: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with that state, which has said that it begins."""
    script = f"""
        import sys
        from pathlib import Path
        from reconciler.model import Registration
        from reconciler.state import StateDirectory
        state = StateDirectory(Path({str(state.path)!r}))
        def say(word):
            print(word, flush=True)
        """
    words = [sys.executable, "-c", textwrap.dedent(script) + textwrap.dedent(does)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "begins\n"
            yield process
        finally:
            process.kill()


HOLDS = """
    with state.alone():
        say("begins")
        sys.stdin.read()
    """


def registration(number: object) -> Registration:
    return Registration("keystone", "user", f"default/u{number}", {})


def operator(state: StateDirectory, *words: str) -> str:
    """A verb of the real program."""
    settings = state.path.parent / "reconciler.toml"
    settings.write_text(f'host = "here"\nstate_dir = "{state.path}"\n[git]\nurl = "file:///nowhere"\n')
    done = subprocess.run(
        [PROGRAM, *words, "--config", settings], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


# --- nothing is lost -----------------------------------------------------------------------------------------------


def test_what_threads_here_and_a_process_there_note_is_all_kept(state: StateDirectory) -> None:
    does = """
        say("begins")
        for number in range(40):
            state.registered(Registration("keystone", "user", f"default/uthere{number}", {}))
            state.release("web")
            state.history.record({"at": "", "there": number})
            state.claim(f"there{number}")
        say("ends")
        """
    with other(state, does) as process, ThreadPoolExecutor(3) as threads:

        def noted(number: int) -> None:
            state.registered(registration(number))
            state.history.record({"at": "", "here": number})
            state.claim(f"here{number}")

        list(threads.map(noted, range(60)))
        assert process.stdout and process.stdout.readline() == "ends\n"
    wanted = {registration(number).key for number in (*range(60), *(f"there{number}" for number in range(40)))}
    assert {one.key for one in state.memory().registered} == wanted
    assert len(state.history.newest(1000)) == 100
    assert state.owner and len(state.owner.also) == 100


def test_a_retry_beside_a_pass_counts_and_undoes_nothing(state: StateDirectory) -> None:
    """In the middle of a pass, which keeps other passes out, by a process that has read the memory before."""
    state.quarantine("web", "digest", FAILURE)
    assert state.memory().quarantine == {"web": "digest"}
    stop = Event()

    def fly() -> int:
        number = 0
        while not stop.is_set():
            state.registered(registration(number))
            number += 1
        return number

    with state.cycle(), ThreadPoolExecutor(1) as threads:
        flight = threads.submit(fly)
        try:
            assert operator(state, "retry", "web").startswith("to be tried again: web")
        finally:
            stop.set()
        assert len(state.memory().registered) == flight.result()
    assert not state.memory().quarantine and not state.memory().failures


def test_what_a_pass_makes_of_an_older_look_does_not_bring_back_what_an_operator_ended(state: StateDirectory) -> None:
    often = tuple(NOW - timedelta(minutes=minute) for minute in range(recurring.MOST, 0, -1))
    state.healed(lambda before: {"web": often})
    state.other_tool(lambda before: OtherTool(2, NOW, ("web",), ("web",)))
    seen = state.memory()
    assert recurring.too_often(seen.healed["web"], NOW) and other_tool.gives_way(seen.other_tool)
    operator(state, "retry", "web")
    assert operator(state, "resume").startswith("resumed")
    state.healed(lambda healed: recurring.noted(healed, {"web"}, NOW))
    state.other_tool(lambda before: other_tool.seen(before, {"web"}, NOW))
    found = state.memory()
    assert found.healed == {"web": (NOW,)} and not other_tool.gives_way(found.other_tool)


def test_a_claim_counts_for_a_process_that_runs(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        node = bench.start()
        node.require_state()
        assert not node.engine.also
        StateDirectory(node.state.path).claim("cafe")
        node.require_state()
        assert node.engine.also == ("cafe",)


def test_no_other_cycle_comes_between_the_end_of_a_flight_and_the_word_of_it(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        node, told = bench.start(), list[Any]()
        flight: Any = SimpleNamespace(
            ended=Event(), drop=lambda *_: None, shorten=lambda _: None, containers=(), lingers=5.0
        )

        def tell(self: Node, ended: Any, revision: str) -> None:
            with pytest.raises(errors.Transient) as caught, StateDirectory(node.state.path).cycle():
                pass
            told.append((ended, caught.value.reason))

        flight.ended.set()
        node.flights.flying = (flight,)
        stack = node.flights._held[id(flight)] = ExitStack()
        stack.enter_context(node.state.cycle())
        with mock.patch.object(Node, "_tell_end", tell):
            node._end_flights()
        assert told == [(flight, Reason.Busy)]
        with StateDirectory(node.state.path).cycle():
            pass


# --- who has the lock is dead, stopped, or there is none -----------------------------------------------------------


def test_what_a_killed_process_held_is_free(state: StateDirectory) -> None:
    with other(state, HOLDS) as process:
        process.kill()
        process.wait()
        state.registered(registration(1))
    assert len(state.memory().registered) == 1


def test_a_stopped_process_holds_writers_for_a_while_and_readers_never(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.registered(registration(1))
    key = state.identify().key
    with other(state, HOLDS) as process, ThreadPoolExecutor(1) as threads:
        process.send_signal(signal.SIGSTOP)
        writing = threads.submit(state.registered, registration(2))
        operator(state, "status")
        assert len(state.memory().registered) == 1 and state.identify().key == key and not writing.done()
        monkeypatch.setattr(folder, "_WRITING_WAIT", 0.2)
        with state.cycle(), pytest.raises(errors.Transient) as caught:
            StateDirectory(state.path).registered(registration(3))
        assert caught.value.reason == Reason.Busy and "lslocks" in str(caught.value)
        assert process.stdin
        process.stdin.close()
        process.send_signal(signal.SIGCONT)
        writing.result(30)
    assert [one.key for one in state.memory().registered] == ["default/u1", "default/u2"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EACCES])
def test_without_a_lock_nothing_is_written_and_all_is_read(state: StateDirectory, number: int) -> None:
    state.registered(registration(1))
    key = state.identify().key
    opened = os.open

    def refused(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).endswith("writing.lock"):
            raise OSError(number, os.strerror(number))
        return opened(path, *arguments, **more)

    before = (state.path / "memory.json").read_bytes()
    with mock.patch.object(os, "open", refused):
        for writes in (
            lambda: state.registered(registration(2)),
            lambda: state.history.record({"at": ""}),
            lambda: state.claim("cafe"),
        ):
            with pytest.raises(errors.Transient) as caught:
                writes()
            assert caught.value.reason == Reason.StateReadOnly
        assert len(state.memory().registered) == 1 and state.identify().key == key
        state.recovered("web")  # nothing to note, so nothing is asked for
        state.plain(no_more=["a"])
        state.healed(lambda healed: recurring.noted(healed, (), NOW))
        state.other_tool(lambda before: other_tool.seen(before, (), NOW))
    assert (state.path / "memory.json").read_bytes() == before
    state.registered(registration(2))
    assert len(state.memory().registered) == 2


def test_a_directory_put_in_the_place_of_the_state_gets_no_lock(state: StateDirectory) -> None:
    state.take()
    state.path.rename(state.path.with_name("before"))
    with pytest.raises(errors.Terminal) as gone:
        state.registered(registration(1))
    assert gone.value.reason == Reason.StateLost and not state.path.exists()
    state.path.mkdir()
    with pytest.raises(errors.Terminal) as exchanged:
        state.registered(registration(1))
    assert exchanged.value.reason == Reason.StateLost and not list(state.path.iterdir())
    state.let_go()
