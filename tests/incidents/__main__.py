"""`python -m tests.incidents [NAME…]` plays the incidents, or those named, and prints the table; a quarter of an hour and more.

`--docs` puts the table into docs/operations.md. Exit code 1: something was not said, or did not become well again.
"""

import argparse
import dataclasses
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from tests.incidents import table
from tests.incidents.bed import Bed, Watched
from tests.incidents.mishaps import MISHAPS, Mishap
from tests.incidents.own_engine import Engine, SmallBed
from tests.incidents.play import Played, play
from tests.support import engine


def main(words: list[str]) -> int:
    """Play, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.incidents", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(mishap.name for mishap in MISHAPS))
    parser.add_argument("--out", type=Path, help="also write everything that was seen, as JSON")
    parser.add_argument("--docs", type=Path, nargs="+", metavar="RESULT.json", help="put the table of earlier runs into docs/operations.md; of an incident that is in several, the last counts")  # fmt: skip
    asked = parser.parse_args(words)
    if asked.docs:
        rows = {row["name"]: row for path in asked.docs for row in json.loads(path.read_text())}
        table.into_docs(
            [Played(**{**rows[m.name], "did": tuple(rows[m.name]["did"])}) for m in MISHAPS if m.name in rows]
        )
        return 0
    if unknown := set(asked.names) - {mishap.name for mishap in MISHAPS}:
        parser.error(f"no such incident: {', '.join(sorted(unknown))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    user = f"session-{os.getpid()}"
    wanted = [mishap for mishap in MISHAPS if not asked.names or mishap.name in asked.names]
    played: list[Played] = []
    url = engine.ensure(user).url
    try:
        with tempfile.TemporaryDirectory(prefix="rt-i-") as folder:
            Path(folder).chmod(0o755)
            for bed, mishaps in beds(Path(folder), url, wanted):
                with bed, bed.serving():
                    for mishap in mishaps:
                        played.append(play(bed, mishap))
                        print(table.told(played[-1]), flush=True)
                        if asked.out:
                            asked.out.write_text(json.dumps([dataclasses.asdict(row) for row in played], indent=1))
    finally:
        engine.release(user)
    print(table.markdown(played))
    return int(not all(row.expected for row in played))


def beds(folder: Path, url: str, wanted: Sequence[Mishap]) -> Iterator[tuple[Watched, Sequence[Mishap]]]:
    """What each is played on, where there is anything to play."""
    if large := [mishap for mishap in wanted if not mishap.engine]:
        yield Bed(folder / "lab", url), large
    if small := [mishap for mishap in wanted if mishap.engine]:
        own = Engine(folder / "e")
        with own.running():
            yield SmallBed(folder / "small", own), small


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
