"""The site of docs/: every page is there, and the search knows every variable of a service."""

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
    for variable in ("keystone_internal_port", "nova_discover_hosts_interval", "enable_proxysql"):
        assert f'"{variable}"' in index or variable in index, variable
    assert "http://" not in (first.parent / "_static/searchtools.js").read_text(), "nothing is fetched from elsewhere"
