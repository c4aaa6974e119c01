"""The status page: one HTML file, the same for every node and for a fleet; its script fetches status.json and shows that.

The script puts values into the page as text only, and the policy lets nothing but this very style and script run.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from reconciler.data import asset, only_these
from reconciler.text import json_text
from reconciler.web.message import Answer, Handler, Request


@cache
def page() -> tuple[bytes, str]:
    """The file, and its Content-Security-Policy."""
    style, script = asset(__package__, "status.css"), asset(__package__, "status.js")
    policy = (
        f"default-src 'none'; {only_these(style, script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    content = asset(__package__, "status.html").replace("/*style*/", style).replace("/*script*/", script)
    return content.encode(), policy


def handlers(document: Callable[[], Mapping[str, Any]]) -> dict[str, Handler]:
    """The page and its data. `document` gives JSON-able values."""

    def html(request: Request) -> Answer:
        content, policy = page()
        return Answer(200, content, "text/html; charset=utf-8", {"Content-Security-Policy": policy}, tagged=True)

    def data(request: Request) -> Answer:
        return Answer(200, json_text(document()).encode() + b"\n", "application/json", tagged=True)

    return {"/": html, "/status.json": data}
