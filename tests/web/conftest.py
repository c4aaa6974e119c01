from collections.abc import Iterator

import pytest

from tests.conftest import _unavailable
from tests.review.browser import Browser, browser, missing


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    if absent := missing():
        _unavailable(f"a browser is missing: run `apt-get install --no-install-recommends {absent}`")
    with browser() as found:
        yield found
