"""The benchmark itself runs, and a pass that finds nothing to do touches nothing."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from reconciler.node.cycle import reconcile
from tests.bench import __main__ as bench
from tests.bench import processes, table
from tests.bench.bed import bed, warm
from tests.bench.measure import Context, Figure, Row
from tests.support import engine
from tests.support.lab import CHECKOUT, Lab, wait_for


def test_what_fails_is_told_and_the_rest_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def half(context: Context) -> Iterator[Row]:
        yield Row("the first row", "s", (1.0, 2.0, 3.0), 5.0)
        raise RuntimeError("the engine went away")

    def whole(context: Context) -> Iterator[Row]:
        assert not list(context.folder.iterdir()), "a folder of its own"
        (context.folder / "site").mkdir()
        yield Row("another row", "s", (9.0,), 5.0)

    figures = {
        "one": Figure("One.", {"a": half, "b": whole, "c": whole}),
        "two": Figure("Two.", {"all": half}),
        "three": Figure("Three.", {"all": whole}),
    }
    monkeypatch.setattr(bench, "FIGURES", figures)
    monkeypatch.setattr(engine, "ensure", lambda user: SimpleNamespace(url="unix:///nowhere"))
    monkeypatch.setattr(engine, "release", lambda user: None)
    monkeypatch.setattr(table, "machine", lambda url: _MACHINE)
    assert bench.main(["--out", str(tmp_path)]) == 2
    (written,) = tmp_path.glob("*.json")
    found = json.loads(written.read_text())
    assert {name: [row["part"] for row in rows] for name, rows in found["figures"].items()} == {
        "one": ["the first row", "another row", "another row"],
        "two": ["the first row"],
        "three": ["another row"],
    }
    assert found["failed"] == {
        name: {part: "RuntimeError: the engine went away"} for name, part in (("one", "a"), ("two", "all"))
    }
    told = capsys.readouterr()
    assert "not measured: one (a), two (all)" in " ".join(told.out.split())
    assert "error: one (a): RuntimeError: the engine went away" in told.err
    about = {name: figure.about for name, figure in figures.items()}
    text = table.markdown([found], about)
    assert "| a: **not measured** | | | | | |" in text and "| another row | 9 s |  | ≤ 5 **missed** |  |  |" in text

    later = {**found, "at": "2030-01-02T00:00:00", "figures": {"two": found["figures"]["three"]}, "failed": {}}
    text = table.markdown([found, later], about)
    assert text.count("### two\n") == 1 and text.count("Measured on 2030-01-02") == 1
    assert "not measured" in text and "| all: **not measured**" not in text, "the later one has measured it"


_MACHINE = {
    "processor": "A", "cores": 2, "memory_mib": 2048, "kernel": "6", "python": "3", "engine": "Docker", "load_before": 0.0,
}  # fmt: skip


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    done = processes.run(["sleep", "1000"], cwd=tmp_path, env={"PATH": "/bin:/usr/bin"}, most=0.5)
    assert done.code == -9


@pytest.mark.engine
def test_two_cheap_figures(tmp_path: Path, engine_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--out", str(tmp_path), "poll", "smoke"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # 1 is a missed budget, which a busy machine may cause; 2 would be a figure that could not be measured.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    (written,) = tmp_path.glob("*.json")
    found = json.loads(written.read_text())["figures"]
    assert set(found) == {"poll", "smoke"}
    sizes = {row["part"]: row for row in found["poll"]}
    over_https = next(row for part, row in sizes.items() if part.startswith("one poll over https"))
    assert 0 < over_https["median"] <= over_https["budget"] == 1024
    assert all(row["min"] <= row["median"] <= row["max"] for rows in found.values() for row in rows)
    assert "budget" in done.stdout


@pytest.mark.engine
def test_a_pass_with_nothing_to_do_writes_nothing(tmp_path: Path, engine_url: str) -> None:
    with bed(tmp_path / "lab", engine_url, 3) as lab, warm(lab) as node:
        assert node.reporter.statuses is not None
        statuses = node.reporter.statuses
        wait_for("statuses posted", lambda: statuses.statistics.queued == 0)
        lab.reconcile(deep=True)
        before, identities, since = _files(lab), lab.identities(), time.time()
        for number in range(3):
            report = reconcile(node, trigger="interval", deep=number == 2)
            assert report.converged and not report.outcomes
        time.sleep(0.2)
        assert _files(lab) == before
        assert _events(lab, since) == []
        assert lab.identities() == identities
        # The same looking does see a write: otherwise all of this would prove nothing.
        (lab.config_root / "rt-bench-00" / "config.json").write_text("edited\n")
        assert reconcile(node, trigger="event").converged
        assert _files(lab) != before
        assert "restart" in _events(lab, since)


def _files(lab: Lab) -> dict[str, tuple[int, int, int, int]]:
    """Every file and folder of the node, with what changes when somebody writes: inode, size, both times."""
    found = {}
    for root in (lab.state, lab.config_root):
        for path in [root, *sorted(root.rglob("*"))]:
            stat = path.lstat()
            found[str(path)] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


def _events(lab: Lab, since: float) -> list[str]:
    """What the engine was asked to do to our containers."""
    client: Any = docker.APIClient(base_url=lab.engine_url, timeout=60)  # its annotations know no fractions of a second
    with contextlib.closing(client):
        stream = client.events(
            since=f"{since:.9f}",
            until=f"{time.time():.9f}",
            decode=True,
            filters={"label": f"io.reconciler.site={lab.name}/{lab.host}"},
        )
        return [event["Action"] for event in stream]
