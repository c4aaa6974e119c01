"""`python -m tests.day` carries the day out and prints what it shows; `--write docs/tutorial.md` writes the tutorial.

Exit codes: 0 everything happened; 1 something did not, and what.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.day import pictures, steps, tutorial
from tests.day.bed import Day, DayFailed, refuse_collisions
from tests.support import engine


def main() -> int:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m tests.day", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the tutorial; its pictures go to images/ beside it")
    file = parser.parse_args().write
    url = engine.ensure("day").url
    try:
        refuse_collisions(url)
        with tempfile.TemporaryDirectory(prefix="day-") as folder, Day(Path(folder, "day"), url) as day:
            for number, step in enumerate(steps.STEPS, 1):
                began = time.monotonic()
                step(day)
                if file:
                    pictures.take(day, step, file.parent / "images")
                print(f"{number}. {steps.headline(step)} ({time.monotonic() - began:.0f} s)", flush=True)
            if file:
                file.write_text(tutorial.text(day))
            else:
                print("\n\n".join(map(str, day.blocks.values())))
    except (DayFailed, AssertionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        engine.release("day")
    return 0


if __name__ == "__main__":
    sys.exit(main())
