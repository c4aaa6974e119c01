"""The site of docs/: every page is there, and the search knows every variable of a service."""

import re
from pathlib import Path

import pytest

from tests.packaging import site
from tests.support.paths import CHECKOUT


@pytest.mark.slow
def test_every_page_is_there_and_can_be_searched(tmp_path: Path) -> None:
    first = site.build(tmp_path / "site")
    for page in (CHECKOUT / "docs").rglob("*.md"):
        made = (first.parent / page.relative_to(CHECKOUT / "docs")).with_suffix(".html")
        assert made.exists(), made
    index = (first.parent / "searchindex.js").read_text()
    for variable in (
        "keystone_internal_port",
        "nova_discover_hosts_interv",
        "enable_proxysql",
    ):  # as the search stems words
        assert f'"{variable}"' in index, variable
    assert not [
        page
        for page in first.parent.rglob("*.html")
        if re.search(r'(?:src|rel="stylesheet"[^>]*href)="https?:', page.read_text())
    ], "fetched from elsewhere"
