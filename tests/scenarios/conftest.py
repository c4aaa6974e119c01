"""A lab with the plain site, converged once per module; tests go on from wherever the one before left it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios import plain
from tests.support.lab import Lab


@pytest.fixture
def empty_lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    """A lab whose site is written and not yet pushed."""
    with Lab(tmp_path / "lab", engine_url) as lab:
        plain.first(lab)
        yield lab


@pytest.fixture
def lab(empty_lab: Lab) -> Lab:
    """A lab that has converged to the plain site."""
    empty_lab.push("the first page")
    report = empty_lab.reconcile()
    assert report.converged, report
    return empty_lab
