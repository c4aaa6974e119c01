"""Figures about the daemon as a process: how soon it notices, what it costs when nothing happens, how soon it is back."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import docker

from tests.bench.bed import bed, container
from tests.bench.measure import Context, Row, repeat
from tests.bench.processes import memory, processor_seconds
from tests.support.lab import Lab, wait_for

COUNT = 60
# Seconds between two mishaps: the daemon follows ten bursts of events a minute and no more, and its own healing is a second.
_SPACING = 13.0


def drift(context: Context) -> Iterator[Row]:
    """A container is killed, a file is edited; the daemon hears of it by itself."""
    count = 10 if context.quick else COUNT
    runs = context.runs(5, 2)
    with bed(context.folder, context.engine_url, count) as lab, lab.daemon():
        _passes(lab, 1)
        with _events(lab) as seen:
            died = [_kill(lab, seen, container(number), by_hand=False) for number in range(runs)]
        edited = [_edit(lab, container(number)) for number in range(runs)]
    with bed(context.folder / "floor", context.engine_url, 3) as lab, _events(lab) as seen:
        floor = [_kill(lab, seen, container(0), by_hand=True) for _ in range(runs)]
    yield Row(f"container killed to container started again (1 of {count})", "s", tuple(died), 1.0, tuple(floor),
              "docker start on the die event")  # fmt: skip
    yield Row("configuration file edited to file as it was", "s", tuple(edited), 1.0)


@contextlib.contextmanager
def _events(lab: Lab) -> Iterator[list[tuple[str, str, float]]]:
    """(container, action, time in seconds by the engine) of what happens, as it happens."""
    seen: list[tuple[str, str, float]] = []
    client: Any = docker.APIClient(base_url=lab.engine_url, timeout=None)  # type: ignore[arg-type]
    stream = client.events(decode=True, filters={"type": "container", "event": ["die", "start"]})

    def read() -> None:
        with contextlib.suppress(Exception):
            for event in stream:
                seen.append((event["Actor"]["Attributes"]["name"], event["Action"], event["timeNano"] / 1e9))

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.3)
    try:
        yield seen
    finally:
        stream.close()
        thread.join(10)
        client.close()


def _kill(lab: Lab, seen: list[tuple[str, str, float]], name: str, *, by_hand: bool) -> float:
    """Seconds from the engine's word that the container died to its word that it runs."""

    def moment(action: str) -> float:
        return next((at for who, what, at in seen if (who, what) == (name, action)), 0.0)

    seen.clear()
    with contextlib.closing(docker.APIClient(base_url=lab.engine_url, timeout=60)) as client:
        client.kill(name)
        wait_for(f"the death of {name}", lambda: moment("die"), pause=0.001)
        if by_hand:
            client.start(name)
    wait_for(f"{name} started again", lambda: moment("start"), pause=0.005)
    taken = moment("start") - moment("die")
    time.sleep(0.2 if by_hand else _SPACING)
    return taken


def _edit(lab: Lab, name: str) -> float:
    path = lab.config_root / name / "config.json"
    before = path.read_bytes()
    path.write_text("edited by hand\n")
    taken = wait_for(f"{path} as it was", lambda: path.read_bytes() == before, pause=0.005)
    time.sleep(_SPACING)
    return taken


def idle(context: Context) -> Iterator[Row]:
    """Memory and processor time of the daemon while nothing changes, with a pass every 60 s as by default."""
    with bed(context.folder, context.engine_url, COUNT) as lab:
        with lab.daemon() as process:
            pid = process.pid
            _passes(lab, 1)
            per_pass = _per_pass(lab, pid, context.runs(30, 10))
            done, before, began = len(_finished(lab)), processor_seconds(pid), time.monotonic()
            time.sleep(60 if not context.quick else 20)
            waking = (processor_seconds(pid) - before) / (time.monotonic() - began) * 60
            assert len(_finished(lab)) == done, "a pass came in between"
            found, threads = memory(pid), len(os.listdir(f"/proc/{pid}/task"))
        if not context.quick:
            lab.config.write_text(lab.config.read_text().replace("interval = 3600", "interval = 60"))
            observed, passes = _observed(lab, 300.0)
    yield Row(f"resident memory, {COUNT} containers", "MiB", (found.rss,), 60, _interpreter(),
              "a Python that does nothing", note=f"{threads} threads")  # fmt: skip
    yield Row("  its share (PSS)", "MiB", (found.pss,))
    yield Row("  private", "MiB", (found.private,))
    shares = tuple(100 * (value + waking) / 60 for value in per_pass)
    yield Row("share of one core: (one pass + a minute without one) ÷ 60 s", "%", shares, 0.2)
    yield Row("  processor time of one pass, with its poll", "ms", tuple(1000 * value for value in per_pass))
    yield Row("  processor time of a minute without a pass", "ms", (1000 * waking,))
    if not context.quick:
        yield Row(f"  as observed over 300 s, {passes} passes", "%", (100 * observed,))


def _observed(lab: Lab, seconds: float) -> tuple[float, int]:
    """Share of one core over that time, from 5 s after the first pass, and how many passes were in it."""
    (lab.root / "daemon.log").unlink()
    with lab.daemon() as process:
        _passes(lab, 1)
        time.sleep(5)
        done, before, began = len(_finished(lab)), processor_seconds(process.pid), time.monotonic()
        time.sleep(seconds)
        used = processor_seconds(process.pid) - before
        return used / (time.monotonic() - began), len(_finished(lab)) - done


def _interpreter() -> tuple[float, ...]:
    """MiB resident of the same Python without any of our imports."""
    import subprocess

    with subprocess.Popen([sys.executable, "-I", "-c", "input()"], stdin=subprocess.PIPE) as process:
        time.sleep(0.5)
        found = memory(process.pid).rss
        process.communicate(b"\n")
    return (found,)


def _per_pass(lab: Lab, pid: int, count: int) -> tuple[float, ...]:
    """Processor seconds of single passes, each asked for with SIGHUP."""
    taken = []
    for _ in range(count):
        done, before = len(_finished(lab)), processor_seconds(pid)
        os.kill(pid, signal.SIGHUP)
        _passes(lab, done + 1)
        time.sleep(0.05)  # what follows the log line: metrics, systemd
        taken.append(processor_seconds(pid) - before)
    return tuple(taken)


def recovery(context: Context) -> Iterator[Row]:
    """The daemon is killed and started again; how long until its first pass is through."""
    count = 20 if context.quick else COUNT
    runs = context.runs(5, 2)
    taken, inside = [], []
    with bed(context.folder, context.engine_url, count) as lab:
        before = lab.identities()
        for _ in range(runs):
            (lab.root / "daemon.log").unlink(missing_ok=True)
            began = time.monotonic()
            with lab.daemon() as process:
                _passes(lab, 1)
                taken.append(time.monotonic() - began)
                process.kill()
                process.wait()
            inside.append(float(_finished(lab)[0]["seconds"]))
        assert lab.identities() == before
        floor = repeat(runs, lambda: lab.run("version"))
    yield Row(f"start after kill -9 to end of the first pass, {count} containers", "s", tuple(taken), None, floor,
              "`reconciler version`")  # fmt: skip
    yield Row("  of it: the pass (renders again, in its own process)", "s", tuple(inside))


def _finished(lab: Lab) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in lab.log().splitlines() if '"cycle.finished"' in line and line.endswith("}")]
    bad = [row for row in rows if not row["ready"]]
    assert not bad, bad
    return rows


def _passes(lab: Lab, count: int) -> None:
    wait_for(f"{count} passes; the log says {lab.log()[-2000:]}", lambda: len(_finished(lab)) >= count, 60, pause=0.01)
