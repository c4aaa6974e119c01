"""Play schedules that nobody chose until one breaks an invariant: `python -m tests.faults.search [SCHEDULES [SEED]]`."""

import os
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.faults.points import NAMES
from tests.faults.schedule import PASSES, TALLY, Schedule, Violated, play, schedules

MEMORY = "/dev/shm"


def check(schedule: Schedule) -> None:
    """Play one schedule on a node of its own, in memory where that is possible: each syncs hundreds of files."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as place:
        play(schedule, Path(place))


def search(examples: int, number: int | None = None) -> None:
    """Raises what a shrunk schedule breaks. With a seed the schedules are the same each time."""
    tried = given(schedules())(check)
    tried = settings(
        max_examples=examples, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )(tried)  # fmt: skip
    (seed(number)(tried) if number is not None else tried)()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    began = time.monotonic()
    try:
        search(count, int(sys.argv[2]) if len(sys.argv) > 2 else None)
    except Violated as found:
        notes = "\n".join(getattr(found, "__notes__", ()))
        print(f"{notes}\n\nviolated: {found}")
    finally:
        took = time.monotonic() - began
        met = sum(name in TALLY for name in NAMES)
        print(
            f"{PASSES['passes']} passes, {sum(TALLY.values())} faults, {met} of {len(NAMES)} failpoints met, {took:.0f} s"
        )
        if count >= 1000:
            print("never met:", ", ".join(sorted(set(NAMES) - TALLY.keys())))
