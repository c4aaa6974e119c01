"""Hours of work, and what they leave: `python -m tests.faults.soak [--simulated HOURS] [--hours HOURS]`.

Simulated hours are passes of the modelled node, one for every half minute, with a commit every hour and something done by hand every ten
minutes. Real hours are the daemon on the test engine, with a commit every minute. Memory, descriptors, threads and what lies on the
disk are sampled all through; the first tenth is for warming up, and what grows after that is told.
"""

import argparse
import contextlib
import gc
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.daemon.node import PROGRAM, TestNode
from tests.faults.kills import Node as Ten
from tests.faults.node import Bench
from tests.faults.schedule import Judge, Step, hand
from tests.faults.search import MEMORY
from tests.faults.tour import CALM
from tests.images import build
from tests.support import engine

_PASS, _CHURN, _COMMIT = 30.0, 600.0, 3600.0  # simulated seconds
_EVERY = 60.0  # real seconds from one commit to the next
_HANDS = (("killed", "api"), ("edited", "db/x.conf"), ("removed", "proxy"), ("restarted", "agent"))


@dataclass(frozen=True)
class Sample:
    """`memory` and `disk` in KiB; `files` on the disk."""

    hour: float
    memory: int
    descriptors: int
    threads: int
    disk: int
    files: int


def sample(hour: float, pid: int, folder: Path) -> Sample:
    """Of a process, and of the folder that it keeps."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    sizes = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                sizes.append(path.stat().st_size)
    handles = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(hour, int(status["VmRSS"].split()[0]), handles, int(status["Threads"]), sum(sizes) >> 10, len(sizes))


def simulated(hours: float) -> list[Sample]:
    """The modelled node, in this process."""
    samples = []
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as place,
        Bench(Path(place), fleet=True) as bench,
    ):
        sites = [bench.of(site) for site in (CALM.base, *CALM.heads)]
        bench.repository.push(sites[0])
        judge = Judge(bench, sites)
        for number in range(int(hours * 3600 / _PASS)):
            now = number * _PASS
            if now % _COMMIT == 0 and number:
                bench.repository.push(sites[int(now / _COMMIT) % 2])
            if now % _CHURN == 0 and number:
                hand(bench, judge, Step("hand", *_HANDS[int(now / _CHURN) % len(_HANDS)]))
            bench.later(_PASS)
            bench.run(deep=number % 10 == 0)
            # What the bench keeps for its own judgement is no part of the program.
            bench.reports.clear()
            bench.said.clear()
            bench.engine.deeds.clear()
            bench.faults.happened.clear()
            if number % 60 == 0:
                gc.collect()
                samples.append(sample(now / 3600, os.getpid(), bench.settings.state_dir))
    return samples


@contextlib.contextmanager
def _node() -> Iterator[TestNode]:
    found = engine.ensure("soak")
    with contextlib.closing(docker.DockerClient(base_url=found.url)) as client, tempfile.TemporaryDirectory() as place:
        node = TestNode(Path(place), found.url, build.busybox(client))
        try:
            yield node
        finally:
            for name in node.containers:
                for called in (name, f"reconciler-aside-{name}"):
                    with contextlib.suppress(docker.errors.NotFound):
                        client.containers.get(called).remove(force=True)
    engine.release("soak")


def real(hours: float, tell: Callable[[Sample], None]) -> list[Sample]:
    """The daemon, on the test engine, until the time is over or somebody interrupts it."""
    samples, began = [], time.monotonic()
    with _node() as node:
        ten = Ten(node)
        ten.push()
        log = node.folder / "daemon.log"
        environment = {**os.environ, "RECONCILER_CONFIG": str(node.settings_file)}
        with log.open("wb") as stream:
            daemon = subprocess.Popen([str(PROGRAM), "run"], stdout=stream, stderr=stream, env=environment)
        over = threading.Event()
        try:
            while (passed := time.monotonic() - began) < hours * 3600 and daemon.poll() is None:
                samples.append(sample(passed / 3600, daemon.pid, node.state_dir))
                tell(samples[-1])
                ten.push()
                over.wait(_EVERY)
        except KeyboardInterrupt:
            pass
        finally:
            daemon.terminate()
            daemon.wait(60)
            ten.client.close()
    return samples


def told(samples: Sequence[Sample]) -> str:
    """What the first sample after warming up was, and what grew since."""
    steady = samples[len(samples) // 10 :]
    lines = [f"{len(samples)} samples over {samples[-1].hour:.2f} h"]
    for name in ("memory", "descriptors", "threads", "disk", "files"):
        values = [getattr(one, name) for one in steady]
        lines.append(f"{name:>12}: {values[0]} to {values[-1]}, at most {max(values)}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--simulated", type=float, default=0.0)
    asked = parser.parse_args()
    if asked.simulated:
        print(told(simulated(asked.simulated)), flush=True)
    if asked.hours:
        print(told(real(asked.hours, lambda one: print(one, flush=True))), flush=True)
