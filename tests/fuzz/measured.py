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
    """What came of it; processor seconds and peak memory in MiB of the process and of those that it waited for."""

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
            answer = work()
            with os.fdopen(writing, "w") as pipe:
                json.dump(answer, pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, f"the fork ended with {status}"
    return Taken(json.loads(text), usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024)


def program(arguments: Sequence[str | Path]) -> Taken:
    """`reconciler` with arguments; the answer is its exit code and what it printed."""
    command = [sys.executable, "-m", "reconciler", *map(str, arguments)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=CHECKOUT)
    assert process.stdout is not None
    text = process.stdout.read().decode()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Taken((process.returncode, text), cpu, time.monotonic() - started, usage.ru_maxrss / 1024)
