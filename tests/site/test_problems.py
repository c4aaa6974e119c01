"""What is said about a wrong site. The files in problems/ are the specification: a site, and what is printed about it."""

from pathlib import Path

import pytest

from reconciler import catalogue, site
from reconciler.errors import SiteInvalid
from tests.site import archive
from tests.support import sealed

CASES = sorted((Path(__file__).parent / "problems").glob("*.txt"))
INVENTORY = "hosts: {ctl1: {addresses: {network: 10.0.0.1}, groups: [control]}}\n"


def report(files: dict[str, bytes], shipped: catalogue.Catalogue) -> str:
    """What `reconciler validate` would print."""
    try:
        problems = site.load(files, shipped).warnings
    except SiteInvalid as error:
        problems = error.problems
    return "".join(f"{'warning: ' if problem.severity == 'warning' else ''}{problem}\n" for problem in problems)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_site_is_judged_as_its_fixture_says(path: Path, shipped: catalogue.Catalogue) -> None:
    _, files = archive.split(sealed.fill(path.read_text()))
    expected = files.pop("problems")
    if "no-inventory" not in path.stem:
        files.setdefault("inventory.yml", INVENTORY)
    assert report(archive.encode(files), shipped) == expected


def test_fixtures_were_found() -> None:
    assert len(CASES) > 20
