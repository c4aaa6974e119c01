"""How many changes of the program its tests notice: `make mutation AREA=plan SAMPLE=300 SEED=1`.

    python -m tests.mutation [--sample N] [--seed S] [AREA …]

mutmut changes one thing in one function at a time and runs the tests that go through it; here are the areas, the tests of each, and a sample where all
would take too long. It works in build/mutation on a copy, and a run that was broken off goes on where it was as long as program and tests are the same. Only tests
that need no engine are run, one mutant after the other: two at once would take each other's processes for their own.

Not changed are tables and defaults of modules, which no function holds, and functions with a decorator.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.environments import environment
from tests.support.paths import CHECKOUT

FOLDER = CHECKOUT / "build" / "mutation"
ASKED = 0.85  # of all mutants that were tried
_NOTICED = ("killed", "timeout", "caught by type check")
_UNTRIED = ("not checked", "check was interrupted by user")
_TEXT = re.compile(r'"[^"]*"')
_BATCH = 40  # mutants of one start of mutmut: what is lost when somebody breaks it off is less than that


@dataclass(frozen=True)
class Area:
    """Files to change, and the tests that are to notice."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


# Schedules and properties go through everything; they come last, for what is noticed without them is noticed sooner.
_WHOLE = ("tests/scenarios/test_properties.py", "tests/faults/test_schedules.py")
# Of the reviews' tests those that run in one process: a changed copy does not load in a child.
_PLANNED = ("felt", "leaving", "planning", "release_step", "rotation", "views")
# What is planned after an upgrade, of a host's settings, of files that are no text and of hosts that left is held beside the rest of it.
_BESIDE = (
    "apply/test_upgrade_restart",
    "host/test_settings",
    "host/test_openvswitch",
    "render/test_binary",
    "render/test_leaving",
)
AREAS: Mapping[str, Area] = {
    "plan": Area(("reconciler/plan/*",), ("tests/plan", *(f"tests/{name}.py" for name in _BESIDE), *(f"tests/review/test_{name}.py" for name in _PLANNED), *_WHOLE)),
    "apply": Area(("reconciler/apply/*",), ("tests/apply", *_WHOLE)),
    "rollout": Area(("reconciler/rollout/*",), ("tests/rollout", "tests/review/test_views.py", "tests/web/test_rollout_page.py")),
    "trust": Area(("reconciler/git/trust.py",), ("tests/git/test_trust.py", "tests/git/test_attacks.py", "tests/fleet/test_signed.py")),
    "tokens": Area(("reconciler/render/tokens.py",), ("tests/render/test_tokens.py", "tests/render/test_secret_places.py", "tests/render/test_values.py", "tests/render/test_identifiers.py", "tests/plan/test_redact.py")),
}  # fmt: skip


@dataclass(frozen=True)
class Score:
    """What became of an area's sample, by mutmut's words for it. `words`: how many of those that nothing noticed changed only words."""

    area: str
    there: int
    states: Counter[str]
    words: int

    @property
    def tried(self) -> int:
        return sum(number for state, number in self.states.items() if state not in _UNTRIED)

    @property
    def noticed(self) -> int:
        return sum(self.states[state] for state in _NOTICED)

    @property
    def share(self) -> float:
        return self.noticed / self.tried if self.tried else 0.0


class Mutants:
    """mutmut on a copy of the checkout, for one area."""

    def __init__(self, area: str, python: Path) -> None:
        self.area, self.folder = area, FOLDER / area
        self._program = python.with_name("mutmut")

    def copy(self) -> None:
        """The files that Git tracks as they are here; from nothing when the program or the area's tests differ from last time."""
        names = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout  # fmt: skip
        kept = [name for name in names.split("\0") if name and (CHECKOUT / name).is_file()]
        settings = _settings(AREAS[self.area], sorted({name.partition("/")[0] for name in kept}))
        seal = hashlib.sha256(settings.encode())
        for name in kept:
            if name.startswith(("reconciler/", *AREAS[self.area].tests)):
                seal.update(f"{name}\0".encode() + (CHECKOUT / name).read_bytes())
        stamp = self.folder / "made-of"
        if stamp.exists() and stamp.read_text() == seal.hexdigest():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in kept:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, self.folder / name)
        (self.folder / "setup.cfg").write_text(settings)
        stamp.write_text(seal.hexdigest())

    def make(self) -> dict[str, str]:
        """Make all mutants, and see which tests run which function; name → state. Raises AssertionError."""
        found = self.states()
        if not found:
            # mutmut makes them when it runs some: those of one function.
            said = self._mutmut("run", "--max-children", "1", f"{self._first()}*__mutmut_1")
            found = self.states()
            assert found, f"mutmut made nothing:\n{said[-3000:]}"
        return found

    def _first(self) -> str:
        """The beginning of the names of a module's mutants."""
        path = next(iter(sorted(self.folder.glob(AREAS[self.area].files[0]), key=lambda path: -path.stat().st_size)))
        return ".".join(path.relative_to(self.folder).with_suffix("").parts) + "."

    def try_out(self, names: Sequence[str]) -> None:
        """Run the tests on these."""
        said = self._mutmut("run", "--max-children", "1", *names)
        states = self.states()
        assert not [name for name in names if states[name] in _UNTRIED], said[-3000:]

    def states(self) -> dict[str, str]:
        """Name → what became of it, in mutmut's words; empty before there are any."""
        if not (self.folder / "mutants").exists():
            return {}
        rows = [line.strip().rpartition(": ") for line in self._mutmut("results", "--all", "true").splitlines()]
        return {name: state for name, _, state in rows if "__mutmut_" in name}

    def difference(self, name: str) -> str:
        """What this one changes, as a patch."""
        return self._mutmut("show", name)

    def _mutmut(self, *words: str) -> str:
        """Its output, whatever its exit code: what it says is asked for afterwards."""
        # The same examples each time, so that a mutant is noticed or it is not.
        outside = {**os.environ, "CI": "1", "PYTHONDONTWRITEBYTECODE": "1", "TERM": "dumb", "COLUMNS": "200"}
        done = subprocess.run([self._program, *words], cwd=self.folder, env=outside, capture_output=True, text=True, check=False)  # fmt: skip
        return done.stdout + done.stderr


def _settings(area: Area, top: Sequence[str]) -> str:
    """setup.cfg for mutmut. What hangs is ended by the processor time that it takes; the clock says nothing on a machine with more to do."""
    lists = {
        "source_paths": ["reconciler"],
        "only_mutate": area.files,
        "also_copy": [name for name in top if name != "reconciler"],
        "pytest_add_cli_args_test_selection": area.tests,
        "pytest_add_cli_args": ["-m", "not slow and not engine and not images", "-p", "no:cacheprovider"],
    }
    lines = ["[mutmut]", "timeout_multiplier=60", "timeout_constant=2", "use_git_change_detection=false"]
    for name, values in lists.items():
        lines += [f"{name}=", *(f"    {value}" for value in values)]
    return "\n".join(lines) + "\n"


def measure(area: str, sample: int, seed: int, python: Path) -> Score:
    """Try `sample` mutants of an area that `seed` chooses (0: all of them); what was tried before counts."""
    mutants = Mutants(area, python)
    mutants.copy()
    found = mutants.make()
    names = sorted(found)
    chosen = names if not sample or sample >= len(names) else sorted(random.Random(seed).sample(names, sample))
    left = [name for name in chosen if found[name] in _UNTRIED]
    for start in range(0, len(left), _BATCH):
        print(f"{area}: {len(chosen) - len(left) + start} of {len(chosen)} tried", flush=True)
        mutants.try_out(left[start : start + _BATCH])
    found = mutants.states()
    lives = tuple(name for name in chosen if found[name] not in (*_NOTICED, *_UNTRIED))
    patches = [mutants.difference(name) for name in lives]
    (FOLDER / f"{area}.txt").write_text("\n".join(patches))
    return Score(area, len(names), Counter(found[name] for name in chosen), sum(map(only_words, patches)))


def only_words(patch: str) -> bool:
    """Whether a patch changes nothing but what is between quotation marks in one line."""
    sides = [[_TEXT.sub("", line[1:]) for line in patch.splitlines() if line.startswith(mark) and line[:3] != mark * 3] for mark in "-+"]  # fmt: skip
    return sides[0] == sides[1]


def _environment() -> Path:
    """Its Python. The program's children are started anew with nothing but what is installed: they run this checkout, in which nothing is changed."""
    folder = environment(FOLDER / "environment", Path(__file__).with_name("mutation.lock"))
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "checkout.pth").write_text(f"{CHECKOUT}\n")
    return folder / "bin" / "python"


def main(arguments: list[str] | None = None) -> int:
    """See the module. Returns 1 when an area is below what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, default=300, metavar="N", help="mutants of each area (300; 0: all)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which ones (1)")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)} (all)")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.areas) - AREAS.keys()):
        parser.error(f"no such area: {', '.join(unknown)} (there are {', '.join(AREAS)})")
    python = _environment()
    scores = [measure(area, given.sample, given.seed, python) for area in given.areas or AREAS]
    for score in scores:
        others = ", ".join(f"{number} {state}" for state, number in sorted(score.states.items()))
        print(
            f"{score.area}: {score.noticed} of {score.tried} noticed ({score.share:.1%}); {score.there} there; {others}"
        )
        print(f"    what lives: {FOLDER / score.area}.txt")
    return int(any(score.share < ASKED for score in scores))


if __name__ == "__main__":
    sys.exit(main())
