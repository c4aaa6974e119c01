"""docs/operations.md explains every word that the program can show, and docs/dependencies.md every dependency."""

import re
import tomllib

from reconciler.alerts.messages import _SECTIONS
from tests.alerts.reasons import PROGRAM, collect
from tests.support.paths import CHECKOUT

OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()


def section(title: str) -> str:
    return OPERATIONS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_reason_is_explained_once_and_none_is_made_up() -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in section("Reasons").splitlines() if "| `" in line
    ]
    assert all(len(row) == 4 and row[2] and row[3] for row in rows)
    explained = [row[0].strip("`") for row in rows]
    used = collect()
    missing = {word: sorted(files) for word, files in used.items() if word not in explained}
    assert missing == {}, (
        "explain them in docs/operations.md, or say in tests/alerts/reasons.py why they are no reasons"
    )
    assert set(explained) - used.keys() == set(), "no longer in the program"
    assert len(explained) == len(set(explained))


def test_the_collector_sees_reasons_wherever_they_are() -> None:
    used = collect()
    # A keyword, a table, a place in a call, a default, a condition's message, a held item.
    for word in ("SettingsInvalid", "GitTimeout", "Unhealthy", "EngineRefused", "Suspended", "Quarantined", "Busy"):
        assert word in used, word
    assert "HostConfig" not in used and "StateDirectory" not in used


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
