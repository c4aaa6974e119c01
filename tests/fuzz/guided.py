"""Hostile inputs that reach what none did before: libFuzzer's bytes make the choices of a kind's grammar (`hostile.Choices`).

    python -m tests.fuzz.guided SECONDS [KIND …]     for each kind; what is refused and new goes into the corpus

Atheris is in an environment of its own (guided.lock), with the locked versions of what the program needs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus, hostile
from tests.support.environments import environment
from tests.support.paths import CHECKOUT, cache

KEPT = 60  # of a kind, at most: the shortest of each refusal first
_CHILD = """
import sys
import atheris
with atheris.instrument_imports(include=["reconciler"], enable_loader_override=False):
    from tests.fuzz import hostile
kind = hostile.KINDS[sys.argv[1]]
def one(data):
    kind.meet(kind.make(hostile.Choices(data)))
atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
atheris.Fuzz()
"""


def search(kind: str, seconds: int) -> list[corpus.Input]:
    """What was refused among the inputs that reached new code. Raises AssertionError with what libFuzzer says of a defect."""
    python = environment(cache() / "guided", CHECKOUT / "tests/fuzz/guided.lock") / "bin/python"
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found")
        found.mkdir()
        done = subprocess.run(
            [
                python, "-c", _CHILD, kind, str(found), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=2048",
                f"-artifact_prefix={folder}/", "-print_final_stats=1",
            ],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(CHECKOUT), "TMPDIR": folder}, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        tried = [line.rpartition(" ")[2] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(f"{kind}: {tried[-1] if tried else '?'} tried, {len(list(found.iterdir()))} reached something new")
        inputs = [hostile.KINDS[kind].make(hostile.Choices(path.read_bytes())) for path in sorted(found.iterdir())]
    return [corpus.Input(kind, "guided", data) for data in inputs]


def chosen(inputs: list[corpus.Input], there: list[corpus.Input]) -> list[corpus.Input]:
    """Those that are refused and not there yet, the shortest of each refusal first."""
    known = {entry.data for entry in there}
    by_refusal: dict[str, list[corpus.Input]] = {}
    for entry in sorted(inputs, key=lambda entry: len(entry.data)):
        said = hostile.KINDS[entry.kind].meet(entry.data)
        if said.startswith("refused") and entry.data not in known:
            known.add(entry.data)
            by_refusal.setdefault(corpus.signature(said), []).append(entry)
    return [found[turn] for turn in range(KEPT) for found in by_refusal.values() if turn < len(found)][:KEPT]


def main() -> None:
    """See the module."""
    seconds, kinds = int(sys.argv[1]), sys.argv[2:] or list(hostile.KINDS)
    for kind in kinds:
        there = corpus.load(kind)
        new = chosen(search(kind, seconds), there)
        corpus.save(kind, [*there, *new])
        print(f"{kind}: {len(new)} kept")
    hostile.forget()


if __name__ == "__main__":
    main()
