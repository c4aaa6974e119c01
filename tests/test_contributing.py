"""What a newcomer is told is so: the hooks are `make check`, the paths and names of CONTRIBUTING.md exist."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.paths import CHECKOUT

GUIDE = (CHECKOUT / "CONTRIBUTING.md").read_text()


def recipe(target: str) -> list[str]:
    """The programs of .venv that a target of the Makefile runs, with their first argument."""
    text = (CHECKOUT / "Makefile").read_text()
    lines = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert lines
    return re.findall(r"\$\(BIN\)/([a-z-]+(?: [a-z-]+)?)", lines[1])


def test_the_hooks_run_what_make_check_runs_and_download_nothing() -> None:
    (repository,) = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    programs = [re.fullmatch(r"\.venv/bin/([a-z-]+)( [a-z]+)?.*", entry) for entry in entries]
    assert [f"{found[1]}{found[2] or ''}" for found in programs if found] == [
        word.partition(" -")[0].rstrip() for word in recipe("check")
    ]


def test_the_guide_names_what_exists() -> None:
    for path in re.findall(r"`((?:reconciler|tests|services|docs)/[\w/.-]*)`", GUIDE):
        assert (CHECKOUT / path).exists(), path
    for path in re.findall(r"\]\(([\w/.]+\.md)\)", GUIDE):
        assert (CHECKOUT / path).exists(), path
    makefile = (CHECKOUT / "Makefile").read_text()
    for target in {*re.findall(r"`make ([a-z-]+)", GUIDE), *re.findall(r"^    make ([a-z-]+)", GUIDE, re.MULTILINE)}:
        assert f"\n{target}:" in makefile, target


def test_types_are_checked_in_tests_too() -> None:
    mypy = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert mypy["strict"] and set(mypy["files"]) == {"reconciler", "tests"}


PAGES = sorted(
    path.relative_to(CHECKOUT)
    for path in (
        CHECKOUT / "README.md",
        CHECKOUT / "CONTRIBUTING.md",
        *(CHECKOUT / "docs").rglob("*.md"),
        *(CHECKOUT / "services").rglob("*.md"),
    )
)


def headings(path: Path) -> set[str]:
    """The anchors of a page, as forges make them of its headings."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (CHECKOUT / page).read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (CHECKOUT / page).parent / name if name else CHECKOUT / page
        assert path.exists(), target
        assert not anchor or anchor in headings(path), target
