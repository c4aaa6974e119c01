"""`python -m tests.bench [--quick] [NAME…]`: measure all figures, or those named.

`python -m tests.bench --docs RESULT.json…` puts the figures of earlier runs into docs/performance.md; of a figure that several have, the last counts.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console

from tests.bench import cloud, cycles, polling, resident, sites, table, trials
from tests.bench.measure import Context, Figure, Measured, Part
from tests.support import engine
from tests.support.paths import CHECKOUT


def _figure(measure: Part) -> Figure:
    """One that is measured as a whole."""
    return Figure((measure.__doc__ or "").strip().splitlines()[0], {"all": measure})


FIGURES: Final[Mapping[str, Figure]] = {
    "noop": _figure(cycles.noop),
    "converge": cycles.CONVERGE,
    "change": _figure(cycles.change),
    "poll": _figure(polling.poll),
    "drift": _figure(resident.drift),
    "idle": _figure(resident.idle),
    "recovery": _figure(resident.recovery),
    "flight": _figure(trials.flight),
    "validate": sites.VALIDATE,
    "render": sites.RENDER,
    "plan": sites.PLAN,
    "cloud": _figure(cloud.cloud),
    "smoke": _figure(cycles.smoke),
}
_MARK: Final = "<!-- from here on by `python -m tests.bench --docs` -->\n\n"
_NOT_BY_DEFAULT: Final = frozenset({"cloud", "smoke"})


def main(words: list[str]) -> int:
    """Measure, print, save. Exits with 1 when a budget was missed, 2 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure against docs/performance.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(FIGURES)}")
    parser.add_argument(
        "--quick", action="store_true", help="few runs, smaller sizes: minutes instead of a quarter of an hour"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON")
    parser.add_argument(
        "--docs", type=Path, nargs="+", metavar="RESULT.json", help="put these figures into docs/performance.md"
    )
    asked = parser.parse_args(words)
    if asked.docs:
        return _write_docs(asked.docs)
    if unknown := set(asked.names) - FIGURES.keys():
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    wide = {} if sys.stdout.isatty() else {"width": 180}
    console = Console(highlight=False, **wide)  # type: ignore[arg-type]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    user = f"session-{os.getpid()}"
    try:
        url = engine.ensure(user).url
    except engine.EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    about = {**table.machine(url), "quick": asked.quick}
    names = asked.names or [name for name in FIGURES if name not in _NOT_BY_DEFAULT]
    now, found = datetime.now(UTC), dict[str, Measured]()
    try:
        for name in names:
            found[name] = _measure(name, url, asked.quick)
            table.show(name, FIGURES[name].about, found[name], console)
            path = table.save(found, about, asked.out, now)  # whatever ends the rest, this much is kept
    finally:
        engine.release(user)
    missed = [f"{name}: {row.part.strip()}" for name, one in found.items() for row in one.rows if row.missed]
    failed = [f"{name} ({part})" for name, one in found.items() for part in one.failed]
    told = (
        f"; {words}: {', '.join(rows)}" for words, rows in (("over budget", missed), ("not measured", failed)) if rows
    )
    console.print(f"written to {path}" + "".join(told))
    return 2 if failed else int(bool(missed))


def _write_docs(results: Sequence[Path]) -> int:
    document = CHECKOUT / "docs" / "performance.md"
    head, _, _ = document.read_text().partition(_MARK)
    about = {name: figure.about for name, figure in FIGURES.items()}
    document.write_text(
        f"{head}{_MARK}{table.markdown([json.loads(result.read_bytes()) for result in results], about)}"
    )
    print(f"written to {document}")
    return 0


def _measure(name: str, url: str, quick: bool) -> Measured:
    """Every part of a figure. What a part yielded before it failed counts."""
    found = Measured()
    for part, measure in FIGURES[name].parts.items():
        with tempfile.TemporaryDirectory(prefix="rt-bench-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            try:
                for row in measure(Context(url, Path(folder), quick)):
                    found.rows.append(row)
            except Exception as error:  # the others are still worth having
                found.failed[part] = f"{type(error).__name__}: {error}".strip()[:2000]
                print(f"error: {name} ({part}): {found.failed[part]}", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
