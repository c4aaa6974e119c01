"""Figures about a whole cloud of genuine containers on one host: what `make demo-cloud` makes, without what its users do."""

import contextlib
import io
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import docker
from rich.console import Console

from reconciler.model import Container
from reconciler.node.cycle import reconcile
from reconciler.report.cycle import Report
from tests.bench import floors
from tests.bench.bed import warm
from tests.bench.cycles import MS, bare_calls, noops
from tests.bench.measure import Context, Row, Stopwatch, repeat
from tests.bench.polling import bare_poll
from tests.demo import bed as beds
from tests.demo.show import Show
from tests.demo_cloud import steps
from tests.demo_cloud.__main__ import PLAY
from tests.support.lab import lines

_PLOT: Final = replace(PLAY.plot, folder="bench-cloud")
_FIRST: Final = 1800.0  # seconds
_SHARES: Final[Mapping[str, str]] = {"validate": "the images' own checkers", "run": "jobs: databases made and migrated"}


def cloud(context: Context) -> Iterator[Row]:
    """From an empty engine to what the first commit says, the same containers anew beside their data, and a pass with nothing to do."""
    with contextlib.closing(docker.APIClient(base_url=context.engine_url, timeout=120)) as client:
        _tidy(client)
        if found := beds.collisions(client, _PLOT.owner, _PLOT.containers, _PLOT.volumes):
            raise RuntimeError(f"the engine has these under the names of the cloud: {', '.join(found)}")
        os.environ[beds.MARK] = str(_PLOT.root)
        try:
            yield from _cloud(context)
        finally:
            _tidy(client)
            del os.environ[beds.MARK]


def _tidy(client: Any) -> None:
    """Remove what an earlier run left."""
    beds.clean(_PLOT.root, client, _PLOT.owner)
    beds.unlink(_PLOT.links)


def _cloud(context: Context) -> Iterator[Row]:
    with beds.Bed(_PLOT, context.engine_url) as bed:
        quiet = Show()
        quiet.console = Console(file=io.StringIO(), soft_wrap=True)
        steps.make_site(bed, quiet)
        first, reports = _converge(bed)
        target = bed.target().desired
        files = len(target.files)
        anew, others = Stopwatch(), []
        bare: list[float] = []
        for _ in range(context.runs(3, 1)):
            bare.append(_bare(bed, target.containers))
            with anew.lap():
                others += _converge(bed)[1]
        runs = context.runs(20, 5)
        with warm(bed) as node, floors.Engine(context.engine_url) as engine:
            watch = noops(node, runs, poll=True)
            lists = repeat(runs, engine.look, scale=MS)
            asked = bare_poll(bed, runs)
        parallel = bed.node.settings.engine.parallel
    about = f"create + start of the containers, docker-py, {parallel} at a time; nothing is waited for"
    yield Row(f"first convergence: {len(target.containers)} containers, {files} files, {len(target.jobs)} jobs", "s", (first,), None,
              tuple(bare), about)  # fmt: skip
    for verb, words in _SHARES.items():
        yield Row(f"  all together, some at a time: {words}", "s", (_spent(reports, verb),))
    yield Row("all containers anew, their data kept", "s", anew.get("total"), None, tuple(bare), "the same")
    yield Row("a pass with nothing to do, beside them", "ms", watch.get("total", scale=MS), None,
              tuple(a + b for a, b in zip(lists, asked, strict=True)), "poll + two lists, bare")  # fmt: skip


def _converge(bed: beds.Bed) -> tuple[float, list[Report]]:
    """Seconds until a pass found the node to be as HEAD says, and what was done for it."""
    began, found = time.monotonic(), list[Report]()
    while not (found and _ready(found[-1])):
        if time.monotonic() - began > _FIRST:
            raise RuntimeError(f"the cloud did not converge within {_FIRST:g} s: {lines(found[-1])}")
        found.append(reconcile(bed.node, trigger="start"))
    return time.monotonic() - began, found


def _ready(report: Report) -> bool:
    """Whether it converged and everything works."""
    return any(one.type == "Ready" and one.status for one in report.conditions)


def _spent(reports: list[Report], verb: str) -> float:
    """Seconds, one action after the other."""
    return sum(told.seconds for report in reports for told in report.outcomes if told.action.verb.value == verb)


def _bare(bed: beds.Bed, containers: tuple[Container, ...]) -> float:
    """As `bare_calls`; the switch makes its devices anew each time."""
    beds.unlink(_PLOT.links)
    try:
        return bare_calls(bed, containers, bed.node.settings.engine.parallel)
    finally:
        beds.unlink(_PLOT.links)
