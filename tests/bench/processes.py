"""What other processes use: memory and processor time, as Linux counts them."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB. `rss` counts shared pages in full, `pss` by their share, `private` is what would be free without the process."""

    rss: float
    pss: float
    private: float


def memory(pid: int) -> Memory:
    """What a process has in memory now."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        sizes[name.rstrip(":")] = int(value)
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return Memory(sizes["Rss"] / 1024, sizes["Pss"] / 1024, private / 1024)


def processor_seconds(pid: int) -> float:
    """Processor time of all threads of a process (without its children), to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # the kernel's number for that process's CPU clock


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that ended: wall-clock and processor seconds, and the peak of its and its children's memory together in MiB."""

    code: int
    seconds: float
    processor: float
    peak: float
    output: str


def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], most: float = 600.0) -> Ran:
    """Run a program to its end, or kill it after `most` seconds, and look at its whole process tree every 50 ms."""
    began = time.perf_counter()
    with (cwd / ".bench-output").open("w+b") as output:
        process = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        ended, peak = threading.Event(), [0]

        def sample() -> None:
            while not ended.wait(_SAMPLE_SECONDS):
                peak[0] = max(peak[0], _tree(process.pid))

        sampler = threading.Thread(target=sample)
        sampler.start()
        killer = threading.Timer(most, process.kill)
        killer.start()
        try:
            _, status, usage = _wait(process)
        finally:
            killer.cancel()
            ended.set()
            sampler.join()
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Ran(status, seconds, usage, peak[0] / MIB, text)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int, float]:
    import os

    pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return pid, process.returncode, usage.ru_utime + usage.ru_stime


def _tree(pid: int) -> int:
    """Resident bytes of a process and all below it."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError, ValueError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * 4096
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return total
