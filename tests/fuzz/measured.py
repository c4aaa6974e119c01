"""Doing something in a process of its own, to see what it took."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.paths import CHECKOUT


@dataclass(frozen=True)
class Taken:
    """What came of it; processor seconds of the process and of those that it waited for, and peak memory in MiB.

    The kernel counts what the parent had at the fork as a peak of the child: a fork tells what it took more than that, a program
    is started by a small one.
    """

    answer: Any
    cpu: float
    wall: float
    memory: float


def forked(work: Callable[[], Any]) -> Taken:
    """`work`, whose answer is JSON-able, in a fork of this process."""
    reading, writing = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(60)
            os.close(reading)
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            before = _memory("VmRSS")
            answer = work()
            with os.fdopen(writing, "w") as pipe:
                json.dump((answer, _memory("VmHWM") - before), pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, f"the fork ended with {status}"
    answer, memory = json.loads(text)
    return Taken(answer, usage.ru_utime + usage.ru_stime, time.monotonic() - started, memory)


def _memory(name: str) -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


_START = (
    "import json, resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, text=True);"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
    "print(json.dumps([done.returncode, done.stdout + done.stderr, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))"
)


def program(arguments: Sequence[str | Path]) -> Taken:
    """`reconciler` with arguments; the answer is its exit code and what it printed."""
    command = [sys.executable, "-c", _START, sys.executable, "-m", "reconciler", *map(str, arguments)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=True)
    code, printed, cpu, memory = json.loads(done.stdout)
    return Taken((code, printed), cpu, time.monotonic() - started, memory)
