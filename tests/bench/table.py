"""Results for people and for later: a table, and bench-results/<date>.json."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reconciler.text import printable
from tests.bench.measure import Measured
from tests.support.lab import CHECKOUT


def machine(engine_url: str) -> dict[str, Any]:
    """What the figures were measured on."""
    client = docker.APIClient(base_url=engine_url, timeout=30)
    try:
        version, info = client.version(), client.info()
    finally:
        client.close()
    processor = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    return {
        "processor": processor or platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": int(Path("/proc/meminfo").read_text().split()[1]) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": f"Docker {version['Version']}, {info['Driver']}, cgroup v{info.get('CgroupVersion', '1')}",
        "load_before": os.getloadavg()[0],
    }


def show(name: str, about: str, found: Measured, console: Console) -> None:
    """One figure's table; columns end where they must when the output is no terminal."""
    table = Table(title=f"{name}: {about}", title_justify="left", expand=False, box=None, pad_edge=False)
    table.add_column("what", no_wrap=True)
    for heading in ("median", "min – max", "budget", "floor"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("floor is", no_wrap=True)
    for row in found.rows:
        style = "red" if row.missed else "green" if row.budget is not None else ""
        note = "; ".join(text for text in (row.floor_is, row.note) if text)
        table.add_row(
            row.part,
            f"[{style}]{_number(row.median)} {row.unit}[/]" if style else f"{_number(row.median)} {row.unit}",
            f"{_number(min(row.values))} – {_number(max(row.values))}" if len(row.values) > 1 else "",
            f"≤ {row.budget:g}" + (" MISSED" if row.missed else "") if row.budget is not None else "",
            _number(sorted(row.floor)[len(row.floor) // 2]) if row.floor else "",
            note,
        )
    for part, why in found.failed.items():
        table.add_row(f"[red]{part}: not measured[/]", "", "", "", "", escape(printable(why, limit=100)))
    console.print(table)
    console.print()


def markdown(contents: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> str:
    """The tables of docs/performance.md, out of what `save` wrote; `about` says what each figure is. What a later one has
    measured takes the place of an earlier one's, and says when."""
    newest = {name: content for content in contents for name in (*content["figures"], *content.get("failed", {}))}
    first = contents[0]
    machine = first["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mib'] // 1024} GiB; Linux {machine['kernel']}, "
        f"Python {machine['python']}, {machine['engine']}. Load before: {machine['load_before']:.1f}. {_when(first)}.",
    ]
    for name, content in newest.items():
        lines += ["", f"### {name}", "", about.get(name, ""), ""]
        if content is not first:
            lines += [
                f"Measured on {_when(content)}, with a load of {content['machine']['load_before']:.1f} before.",
                "",
            ]
        lines += ["| what | median | min – max | budget | floor | floor is |", "|---|--:|--:|--:|--:|---|"]
        for row in content["figures"].get(name, ()):
            missed = row["budget"] is not None and row["median"] > row["budget"]
            cells = (
                row["part"].replace("  ", "&nbsp;&nbsp;"),
                f"{_number(row['median'])} {row['unit']}",
                f"{_number(row['min'])} – {_number(row['max'])}" if row["runs"] > 1 else "",
                (f"≤ {row['budget']:g}" + (" **missed**" if missed else "")) if row["budget"] is not None else "",
                _number(row["floor"]) if row["floor"] is not None else "",
                "; ".join(text for text in (row["floor_is"], row["note"]) if text),
            )
            lines.append("| " + " | ".join(cells) + " |")
        lines += [f"| {part}: **not measured** | | | | | |" for part in content.get("failed", {}).get(name, {})]
    return "\n".join(lines) + "\n"


def _when(content: Mapping[str, Any]) -> str:
    return f"{content['at'][:10]}, commit {content['commit'][:12]}"


def save(found: Mapping[str, Measured], about: Mapping[str, Any], folder: Path, now: datetime) -> Path:
    """Write everything below `folder`, named after the time `now`; returns the file."""
    commit = subprocess.run(
        ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    content = {
        "at": now.isoformat(timespec="seconds"),
        "commit": commit,
        "machine": dict(about),
        "figures": {name: [row.to_json() for row in one.rows] for name, one in found.items()},
        "failed": {name: one.failed for name, one in found.items() if one.failed},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%dT%H%M%S}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
