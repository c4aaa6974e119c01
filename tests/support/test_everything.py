"""`make test-all`: several pieces at a time, one of a folder of machines; what passed is not run again, what failed is."""

import signal
import threading
from pathlib import Path

import pytest

from tests.support import everything
from tests.support.everything import Ended, Piece, Run
from tests.support.lab import wait_for

_PASSES = "import pathlib, time\ndef test_it():\n    with open({log!r}, 'a') as log: log.write('{name} begins\\n')\n    time.sleep(0.3)\n    with open({log!r}, 'a') as log: log.write('{name} ends\\n')\n"
_OTHERS = "import pytest\ndef test_red():\n    assert 0\ndef test_away():\n    pytest.skip('no card here')\n"
_ARGUMENTS = ["-p", "no:cacheprovider", "--noconftest"]
_POLITE = """
import pathlib, time
def test_it():
    try:
        pathlib.Path({folder!r}, "polite runs").touch()
        time.sleep(60)
    finally:
        pathlib.Path({folder!r}, "put away").touch()
"""
_DEAF = """
import pathlib, signal, time
def test_it():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pathlib.Path({folder!r}, "deaf runs").touch()
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(everything, "_LOGS", tmp_path)
    monkeypatch.setattr(everything, "_ENDED", tmp_path / "ended.json")
    monkeypatch.setattr(everything, "_commit", lambda: "abc")
    return tmp_path


def _run(pieces: list[Piece], before: list[Ended]) -> Run:
    run = Run(pieces, _ARGUMENTS, before, "abc")
    workers = [threading.Thread(target=run.work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return run


def test_pieces_of_a_folder_run_one_after_the_other_and_what_failed_runs_again(folder: Path) -> None:
    log = folder / "log.txt"
    pieces = []
    for name in ("one", "two", "three"):
        (folder / f"test_{name}.py").write_text(_PASSES.format(log=str(log), name=name))
        pieces.append(Piece(name, (str(folder / f"test_{name}.py"),), "machines"))
    (folder / "test_red.py").write_text(_OTHERS)
    red = Piece("red", (str(folder / "test_red.py"),))

    first = _run([*pieces, red], [])
    ended = {item.name: item for item in first.ended}
    assert ended.keys() == {"one", "two", "three", "red"}
    assert [item.code for item in ended.values()].count(0) == 3 and ended["red"].code == 1
    assert ended["red"].counts == {"passed": 0, "failed": 1, "skipped": 1} and "no card here" in ended["red"].skipped[0]
    words = log.read_text().split()
    assert words[0::4] == words[2::4] and words[1::4] == ["begins"] * 3, "no two at a time"

    passed = everything._passed(everything._commit())
    assert {item.name for item in passed} == {"one", "two", "three"}


def test_nobody_takes_a_piece_beside_one_that_was_just_taken(folder: Path) -> None:
    run = Run([Piece("one", (), "machines"), Piece("two", (), "machines"), Piece("three", ())], [], [], "abc")
    taken = [run._next(), run._next()]
    assert [piece.name for piece in taken if piece] == ["one", "three"]
    assert [piece.name for piece in run.waiting] == ["two"]


def test_an_interrupt_lets_a_piece_put_away_what_it_made_and_one_that_does_not_end_is_killed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everything, "_LAST_WORDS", 20.0)
    (folder / "test_polite.py").write_text(_POLITE.format(folder=str(folder)))
    (folder / "test_deaf.py").write_text(_DEAF.format(folder=str(folder)))
    pieces = [Piece(name, (str(folder / f"test_{name}.py"),)) for name in ("polite", "deaf", "later")]
    run = Run(pieces, _ARGUMENTS, [], "abc")
    workers = [threading.Thread(target=run.work) for _ in range(2)]
    for worker in workers:
        worker.start()
    wait_for("both pieces", lambda: (folder / "polite runs").exists() and (folder / "deaf runs").exists())
    run.stop()
    for worker in workers:
        worker.join()
    assert {item.name: item.code for item in run.ended} == {"polite": 2, "deaf": -signal.SIGKILL}
    assert (folder / "put away").exists() and [piece.name for piece in run.waiting] == ["later"]


def test_what_passed_of_another_commit_counts_for_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything._note([Ended("one", 0, {"passed": 3}, ("why",), 2.0)], "abc")
    assert everything._passed(everything._commit()) == [Ended("one", 0, {"passed": 3}, ("why",), 2.0)]
    monkeypatch.setattr(everything, "_commit", lambda: "another")
    assert everything._passed(everything._commit()) == []
    everything._note([Ended("one", 0, {"passed": 3}, (), 2.0)], "abc")
    assert everything._passed("abc") == [], "the checkout was changed meanwhile"
    monkeypatch.setattr(everything, "_commit", lambda: "")
    everything._note([Ended("one", 0, {"passed": 3}, (), 2.0)], "")
    assert everything._passed(everything._commit()) == [], "not of what is not committed"
