"""Figures about cycles: nothing to do, everything to do, one thing to do."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import docker
from docker import errors as docker_errors

from reconciler.engine import options
from reconciler.git import remote
from reconciler.model import Container
from reconciler.node import aims
from reconciler.node.cycle import reconcile
from reconciler.node.node import Node
from tests.bench import floors
from tests.bench.bed import FILES, bed, container, warm
from tests.bench.measure import Context, Figure, Row, Stopwatch, repeat
from tests.bench.polling import bare_poll
from tests.git import servers
from tests.support.lab import Lab, lines

MS = 1000.0


def noop(context: Context) -> Iterator[Row]:
    """A pass over 60 containers and 300 files that finds nothing to do, in the state in which the daemon is."""
    count = 60
    with bed(context.folder, context.engine_url, count) as lab, floors.Engine(context.engine_url) as engine:
        runs = context.runs(40, 10)
        with warm(lab) as node:
            watch, quiet = noops(node, runs, poll=True), noops(node, runs, poll=False)
            lists = repeat(runs, engine.look, scale=MS)
            asked = bare_poll(lab, runs)
        cold = noops(lab.node, max(runs // 4, 3), poll=True)
        close = repeat(max(runs // 4, 3), engine.look_closely, scale=MS)
    floor = tuple(a + b for a, b in zip(lists, asked, strict=True))
    yield Row(f"whole pass, {count} containers, {count * FILES} files", "ms", watch.get("total", scale=MS), 100, floor,
              "poll + two lists, bare")  # fmt: skip
    yield Row(
        "  of it: asking the git server (https)", "ms", watch.get("poll", scale=MS), None, asked, "the same POST, bare"
    )
    yield Row("  of it: observe", "ms", watch.get("observe", scale=MS), None, lists, "both lists, bare")
    yield Row("  of it: plan", "ms", watch.get("plan", scale=MS))
    yield Row("  of it: report", "ms", watch.get("report", scale=MS))
    yield Row("pass for an event, no poll", "ms", quiet.get("total", scale=MS), 100, lists, "both lists, bare")
    yield Row("whole pass, nothing kept (no events)", "ms", cold.get("total", scale=MS), None, close,
              "list + inspect of each, bare, one after the other")  # fmt: skip


def smoke(context: Context) -> Iterator[Row]:
    """The same with three containers: shows that measuring works, not how fast anything is."""
    with bed(context.folder, context.engine_url, 3) as lab, warm(lab) as node:
        watch = noops(node, 3, poll=True)
    yield Row("whole pass, 3 containers", "ms", watch.get("total", scale=MS), 150)


def noops(node: Node, runs: int, *, poll: bool) -> Stopwatch:
    """Passes that find nothing to do, and how long their parts take."""
    watch = Stopwatch()
    parts: dict[str, tuple[object, str]] = {
        "poll": (node.follower.poller, "poll"),
        "observe": (node.observer, "observe"),
        "plan": (node.planner, "plan"),
        "report": (node, "conclude"),
    }
    with watch.on(parts):
        for _ in range(runs):
            with watch.lap():
                report = reconcile(node, trigger="interval", deep=False, poll=poll)
            assert report.converged and not report.outcomes, report
    return watch


def _converge(context: Context, stability: float) -> Iterator[Row]:
    """`stability`: seconds each container must stay up. The floor adds them once: all may be waited for together."""
    count = 10 if context.quick else 30
    watch, floor, ratios, applied = Stopwatch(), [], [], []
    for number in range(context.runs(3, 1)):
        folder = context.folder / f"{number}-{stability:g}"
        with bed(folder, context.engine_url, count, converge=False, stability=stability) as lab:
            parallel = lab.node.settings.engine.parallel
            with watch.on({"apply": (lab.node, "begin")}), watch.lap():
                report = reconcile(lab.node, trigger="start")
            assert report.converged, lines(report)
            target = lab.target()
            floor.append(bare_calls(lab, target.desired.containers, parallel) + stability)
        ratios.append(watch.laps["total"][-1] / floor[-1])
        applied.append(watch.laps["apply"][-1] / floor[-1])
    window = f" and {stability:g} s of stability" if stability else ""
    about = f"create + start, docker-py, {parallel} at a time{', and those seconds once' if stability else ''}"
    yield Row(f"first convergence of {count} containers, {count * FILES} files{window}", "s", watch.get("total"), None,
              tuple(floor), about)  # fmt: skip
    yield Row("  of it: apply (files written, health looked at)", "s", watch.get("apply"))
    yield Row("  whole first cycle ÷ floor", "×", tuple(ratios), 1.3)
    yield Row("  apply ÷ floor", "×", tuple(applied))


CONVERGE: Final = Figure(
    "An empty node becomes what its first commit says, against the engine calls that this cannot do without.",
    {
        "at once": lambda context: _converge(context, 0.0),
        "and stays up": lambda context: _converge(context, 3.0),
    },
)


def bare_calls(lab: Lab, containers: tuple[Container, ...], parallel: int) -> float:
    """Seconds for creating and starting the same containers under other names, without us. None of either is there afterwards."""
    owner = f"{lab.name}-bare/{lab.host}"
    bodies = {f"{c.name}-bare": options.create(c, owner=owner) for c in containers}
    with contextlib.closing(docker.APIClient(base_url=lab.engine_url, timeout=120)) as client:
        client.ping()
        # As many containers run in both cases.
        remove(client, [c.name for c in containers])
        time.sleep(1.0)  # what the engine still tidies up
        try:
            began = time.perf_counter()
            floors.create_and_start(client, bodies, parallel)
            return time.perf_counter() - began
        finally:
            remove(client, list(bodies))


def remove(client: Any, names: list[str]) -> None:
    """Remove containers, several at a time."""

    def one(name: str) -> None:
        with contextlib.suppress(docker_errors.NotFound):
            client.remove_container(name, force=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, names))


def change(context: Context) -> Iterator[Row]:
    """One option of one container out of 60 changes in the repository; the daemon has just been woken."""
    count = 20 if context.quick else 60
    runs = context.runs(9, 3)
    watch = Stopwatch()
    with bed(context.folder, context.engine_url, count) as lab, warm(lab) as node:
        before = lab.identities()
        parts: dict[str, tuple[object, str]] = {
            "poll": (node.follower.poller, "poll"),
            "fetch": (remote, "fetch"),
            "prepare": (aims, "prepare"),
            "observe": (node.observer, "observe"),
            "plan": (node.planner, "plan"),
            "apply": (node, "begin"),
        }
        for number in range(runs):
            lab.write({"config/bench/rt-bench-00.conf": f"[DEFAULT]\nround = {number + 1}\n"})
            lab.push(f"round {number + 1}")
            with watch.on(parts), watch.lap():
                report = reconcile(node, trigger="interval")
            verbs = [outcome.action.verb.value for outcome in report.changed]
            assert report.converged and verbs == ["write", "restart"], lines(report)
        after = lab.identities()
        assert {name for name in after if after[name] != before[name]} == {container(0)}
        fetched = _bare_fetch(lab, runs)
        restarted = _bare_restart(lab, runs)
        asked = bare_poll(lab, runs)
    yield Row(f"push to restarted container (1 of {count})", "ms", watch.get("total", scale=MS))
    yield Row("  of it: poll", "ms", watch.get("poll", scale=MS), None, asked, "the same POST, bare")
    yield Row("  of it: fetch (own process)", "ms", watch.get("fetch", scale=MS), None, fetched, "git fetch")
    yield Row("  of it: read, validate, render (own process)", "ms", watch.get("prepare", scale=MS))
    yield Row("  of it: observe", "ms", watch.get("observe", scale=MS))
    yield Row("  of it: plan", "ms", watch.get("plan", scale=MS))
    yield Row("  of it: apply: write, restart, healthy", "ms", watch.get("apply", scale=MS), None, restarted,
              "restart, docker-py")  # fmt: skip


def _bare_fetch(lab: Lab, runs: int) -> tuple[float, ...]:
    """git's own fetch of one new commit from the same server into a bare clone, in milliseconds."""
    clone = servers.make_repo(lab.root / "floor.git")
    token = (lab.root / "token").read_text()
    url = lab.server.url("site.git").replace("https://", f"https://oauth2:{token}@")
    words = (
        "-c",
        f"http.sslCAInfo={lab.server.ca_file}",
        "fetch",
        "-q",
        "--no-auto-gc",
        url,
        "+refs/heads/main:refs/heads/main",
    )
    servers.git(clone, *words)
    taken: list[float] = []
    for number in range(runs):
        servers.commit(lab.repository, {"config/floor.txt": f"{number}\n"}, "for git")
        taken += repeat(1, lambda: servers.git(clone, *words), scale=MS)
    return tuple(taken)


def _bare_restart(lab: Lab, runs: int) -> tuple[float, ...]:
    with contextlib.closing(docker.APIClient(base_url=lab.engine_url, timeout=120)) as client:
        return repeat(runs, lambda: client.restart(container(0), timeout=1), scale=MS)
