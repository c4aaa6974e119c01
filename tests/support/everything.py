"""All tests, those of many minutes too, in pieces of which some run side by side, because most of them mostly wait.

    python -m tests.support.everything [--without NAME] [PYTEST_ARGS…]

A piece is a file with slow tests, or half of the default run. What a piece prints is in build/test-all/, and on the terminal if it failed.
A run that was broken off goes on where it was as long as the checkout is the same commit: what passed is not run again. `--without vm` leaves
out the pieces whose names begin so, for another time. A test that was skipped is told with its reason. The exit code is 0 when every piece
has passed.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

import docker

from tests.support import engine, halves

_LOGS = Path("build/test-all")
_ENDED = _LOGS / "ended.json"
_LONGEST = 2 * 3600.0  # seconds that a piece may take
_LAST_WORDS = 120.0  # and to put away what it made, once it is told to end
# Of these folders one piece runs at a time: it is several machines by itself.
_LARGE = ("tests/vm", "tests/clusters", "tests/scenarios")
# What begins first, because it is long or because others of its folder wait for it: beginnings of names.
_FIRST = (
    "vm",
    "clusters",
    "default-computing",
    "faults",
    "default-waiting",
    "scenarios",
    "migration",
    "packaging",
    "fuzz",
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One run of pytest: its name, what it is told to run, and the folder of which no other piece may run meanwhile."""

    name: str
    selection: tuple[str, ...]
    alone: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a piece ended: pytest's exit code, its counts, why tests were skipped, and the seconds it took."""

    name: str
    code: int
    counts: dict[str, int]
    skipped: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        how = "passed" if self.code == 0 else "FAILED"
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        return f"{how}  {self.seconds:6,.0f} s  {self.name}: {counts or f'ended with {self.code}'}"


def pieces() -> list[Piece]:
    """What there is to run, in the order in which it begins."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "slow", "tests"], capture_output=True, text=True
    )
    if listed.returncode:
        raise SystemExit(listed.stdout + listed.stderr)
    files = dict.fromkeys(line.partition("::")[0] for line in listed.stdout.splitlines() if "::" in line)
    found = [
        Piece("default-computing", halves.COMPUTING),
        Piece("default-waiting", halves.WAITING, "tests/scenarios"),
        *(
            Piece(
                file.removeprefix("tests/").removesuffix(".py").replace("/", "-"),
                ("-m", "slow", file),
                next((folder for folder in _LARGE if file.startswith(f"{folder}/")), ""),
            )
            for file in files
        ),
    ]

    def place(piece: Piece) -> int:
        return next((place for place, name in enumerate(_FIRST) if piece.name.startswith(name)), len(_FIRST))

    return sorted(found, key=place)


class Run:
    """Pieces that wait, run and have ended."""

    def __init__(self, waiting: list[Piece], arguments: list[str], before: list[Ended], commit: str) -> None:
        self.waiting = waiting
        self.commit = commit
        self.arguments = arguments
        self.running: set[Piece] = set()
        self.ended = before
        self.stopped = False
        self.changed = threading.Condition()

    def work(self) -> None:
        """Take one piece after the other until none is left; what several threads do."""
        while piece := self._next():
            log, counts = _LOGS / f"{piece.name}.log", _LOGS / f"{piece.name}.xml"
            command = [sys.executable, "-m", "pytest", *piece.selection, f"--junitxml={counts}", *self.arguments]
            began = time.monotonic()
            with log.open("wb") as told:
                # In a group of its own: an interrupt of the terminal would reach it twice, and cut short what it puts away.
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.STDOUT, process_group=0
                )
            code = self._wait(process)
            ended = Ended(piece.name, code, *_counted(counts), time.monotonic() - began)
            with self.changed:
                self.running.remove(piece)
                self.ended.append(ended)
                _note(self.ended, self.commit)
                self.changed.notify_all()
                if code:
                    print(log.read_text(errors="replace"))
                print(f"{time.strftime('%H:%M:%S')}  {ended}  ({len(self.waiting)} wait)", flush=True)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code; what is told to end, by an interrupt or because it takes too long, and does not, is killed."""
        latest = time.monotonic() + _LONGEST
        while True:
            try:
                return process.wait(1)
            except subprocess.TimeoutExpired:
                if not self.stopped and time.monotonic() < latest:
                    continue
            process.send_signal(signal.SIGINT)
            try:
                return process.wait(_LAST_WORDS) or 1
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return process.wait()

    def _next(self) -> Piece | None:
        with self.changed:
            while self.waiting and not self.stopped:
                taken = {piece.alone for piece in self.running} - {""}
                for piece in self.waiting:
                    if piece.alone not in taken:
                        self.waiting.remove(piece)
                        self.running.add(piece)  # from here on nobody else takes one that goes on alone
                        return piece
                self.changed.wait()
            return None

    def stop(self) -> None:
        """End what runs, as an interrupt of the terminal does, and begin nothing."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def _counted(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Passed, failed and skipped tests of a piece, and why some were skipped."""
    try:
        suite = next(ElementTree.parse(path).iter("testsuite"))
    except (OSError, ElementTree.ParseError, StopIteration):
        return {}, ()
    number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    why = tuple(sorted({item.get("message", "") for item in suite.iter("skipped")}))
    passed = number["tests"] - failed - number["skipped"]
    return {"passed": passed, "failed": failed, "skipped": number["skipped"]}, why


def _things() -> set[str]:
    """Containers and volumes of the engine."""
    found = engine.find()
    if found is None:
        return set()
    with contextlib.closing(docker.DockerClient(base_url=found.url)) as client:
        return {f"{kind} {name}" for kind, name, _ in engine.things(client)}


def _commit() -> str:
    """The commit that the checkout is, "" where something in it is not committed."""
    state = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return "" if state.returncode or state.stdout else head.stdout.strip()


def _note(ended: list[Ended], commit: str) -> None:
    """Keep what has ended of a run that began at a commit, for one that goes on; of a checkout that changed meanwhile nothing counts."""
    known = {"commit": commit if commit == _commit() else "", "ended": [asdict(item) for item in ended]}
    _ENDED.write_text(json.dumps(known, indent=1) + "\n")


def _passed(commit: str) -> list[Ended]:
    """What passed of a commit in a run that was broken off."""
    try:
        known = json.loads(_ENDED.read_text())
    except FileNotFoundError:
        return []
    if not commit or known["commit"] != commit:
        return []
    return [Ended(**{**item, "skipped": tuple(item["skipped"])}) for item in known["ended"] if item["code"] == 0]


def main(arguments: list[str]) -> int:
    """Run every piece; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.everything")
    parser.add_argument("--without", metavar="NAME", action="append", default=[], help="leave out pieces that begin so")
    given, others = parser.parse_known_args(arguments)
    _LOGS.mkdir(parents=True, exist_ok=True)
    began, before, commit = time.monotonic(), _things(), _commit()
    passed = _passed(commit)
    all_of_it, done = pieces(), {item.name for item in passed}
    left_out = [piece for piece in all_of_it if piece.name.startswith(tuple(given.without)) and piece.name not in done]
    run = Run(
        [piece for piece in all_of_it if piece.name not in done and piece not in left_out], others, passed, commit
    )
    workers = [threading.Thread(target=run.work) for _ in range((os.cpu_count() or 1) + 1)]
    print(
        f"{len(all_of_it)} pieces, {len(done)} of which passed before, {len(left_out)} left out, "
        f"{len(workers)} at a time; what each prints is in {_LOGS}/",
        flush=True,
    )
    # A shell's background job is deaf to interrupts, and so would be its pieces; who ends it so gets the same as at a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        run.stop()
        for worker in workers:
            worker.join()
    left = sorted(_things() - before)
    counts = {name: sum(item.counts.get(name, 0) for item in run.ended) for name in ("passed", "failed", "skipped")}
    bad = [item for item in run.ended if item.code]
    for item in run.ended:
        for why in item.skipped:
            print(f"skipped in {item.name}: {why}")
    for thing in left:
        print(f"tests left in the engine: {thing}")
    print(*bad, sep="\n")
    print(
        f"{len(run.ended)} of {len(all_of_it)} pieces, {len(bad)} failed: "
        + ", ".join(f"{count:,} {name}" for name, count in counts.items())
        + f", in {(time.monotonic() - began) / 60:.0f} minutes"
        + (f" after {len(done)} pieces that had passed before" if done else "")
    )
    return int(bool(bad or left or len(run.ended) != len(all_of_it)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
