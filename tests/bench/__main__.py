"""`python -m tests.bench [--quick] [NAME…]`: measure all figures, or those named.

`python -m tests.bench --docs RESULT.json` puts the figures of an earlier run into docs/performance.md.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console

from tests.bench import cycles, polling, resident, sites, table, trials
from tests.bench.measure import Context, Figure, Row
from tests.support import engine
from tests.support.paths import CHECKOUT

FIGURES: Final[Mapping[str, Figure]] = {
    "noop": cycles.noop,
    "converge": cycles.converge,
    "change": cycles.change,
    "poll": polling.poll,
    "drift": resident.drift,
    "idle": resident.idle,
    "recovery": resident.recovery,
    "flight": trials.flight,
    "validate": sites.validate,
    "render": sites.render,
    "plan": sites.plan,
    "smoke": cycles.smoke,
}
_MARK: Final = "<!-- from here on by `python -m tests.bench --docs` -->\n\n"
_NOT_BY_DEFAULT: Final = frozenset({"smoke"})


def main(words: list[str]) -> int:
    """Measure, print, save. Exits with 1 when a budget was missed, 2 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure against docs/performance.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(FIGURES)}")
    parser.add_argument(
        "--quick", action="store_true", help="few runs, smaller sizes: minutes instead of a quarter of an hour"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the JSON")
    parser.add_argument("--docs", type=Path, metavar="RESULT.json", help="put these figures into docs/performance.md")
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
    try:
        found, failed = _measure(
            asked.names or [name for name in FIGURES if name not in _NOT_BY_DEFAULT], url, asked.quick, console
        )
        about = {**table.machine(url), "quick": asked.quick}
    finally:
        engine.release(user)
    path = table.save(found, about, asked.out)
    missed = [f"{name}: {row.part.strip()}" for name, rows in found.items() for row in rows if row.missed]
    console.print(f"written to {path}" + (f"; over budget: {', '.join(missed)}" if missed else ""))
    return 2 if failed else int(bool(missed))


def _write_docs(result: Path) -> int:
    document = CHECKOUT / "docs" / "performance.md"
    head, _, _ = document.read_text().partition(_MARK)
    about = {name: (figure.__doc__ or "").strip().splitlines()[0] for name, figure in FIGURES.items()}
    document.write_text(f"{head}{_MARK}{table.markdown(json.loads(result.read_bytes()), about)}")
    print(f"written to {document}")
    return 0


def _measure(names: list[str], url: str, quick: bool, console: Console) -> tuple[dict[str, list[Row]], bool]:
    found: dict[str, list[Row]] = {}
    failed = False
    for name in names:
        figure = FIGURES[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="rt-bench-") as folder:
            Path(folder).chmod(0o755)
            try:
                found[name] = list(figure(Context(url, Path(folder), quick)))
            except Exception as error:  # the other figures are still worth having
                failed = True
                print(f"error: {name}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
        about = (figure.__doc__ or "").strip().splitlines()[0]
        table.show(name, f"{about} ({time.monotonic() - began:.0f} s)", found[name], console)
    return found, failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
