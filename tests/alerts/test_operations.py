"""docs/operations.md explains every word that the program can show, and docs/dependencies.md every dependency."""

import re
import tomllib

from reconciler.alerts.messages import _SECTIONS
from reconciler.reasons import Reason
from tests.support.paths import CHECKOUT
from tests.support.reasons import page

PROGRAM = CHECKOUT / "reconciler"
OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()


def section(title: str) -> str:
    return OPERATIONS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_tables_of_reasons_are_those_of_the_program() -> None:
    assert page(OPERATIONS) == OPERATIONS, "`make docs` makes them anew"
    rows = [line for line in section("Reasons").splitlines() if line.startswith("| `")]
    assert len(rows) == len(Reason)


def test_every_event_of_the_log_is_explained() -> None:
    events = {
        event
        for path in PROGRAM.rglob("*.py")
        for event in re.findall(r'\blog\.(?:debug|info|warning|error)\(\s*"([^"]+)"', path.read_text())
    }
    documented = set(re.findall(r"`([^`]+)`", section("Log")))
    assert events and events - documented == set()


def test_every_file_of_the_state_is_explained() -> None:
    listed = re.findall(r"^    (\S+\.jsonl?|\S+/) ", (PROGRAM / "state" / "store.py").read_text(), re.MULTILINE)
    assert len(listed) > 5 and [name for name in listed if f"`{name}`" not in section("State")] == []


def test_direct_alerts_link_sections_that_exist() -> None:
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", OPERATIONS, re.MULTILINE)}
    assert set(_SECTIONS.values()) <= headings


def test_every_dependency_says_why_it_is_here() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=!~\[; ]", line)[0] for line in listed}
    text = (CHECKOUT / "docs" / "dependencies.md").read_text()
    rows = {n for cell in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE) for n in re.findall(r"`([^`]+)`", cell)}
    assert rows == names
