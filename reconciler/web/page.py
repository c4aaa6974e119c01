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
def page(source: str = "status.json") -> tuple[bytes, str]:
    """The file, which shows what is at `source`, and its Content-Security-Policy."""
    style = asset(__package__, "status.css")
    script = asset(__package__, "rollout.js") + asset(__package__, "status.js")
    policy = (
        f"default-src 'none'; {only_these(style, script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    content = asset(__package__, "status.html").replace("status.json", source)
    content = content.replace("/*style*/", style).replace("/*script*/", script)
    return content.encode(), policy


def handlers(
    document: Callable[[], Mapping[str, Any]], path: str = "/", source: str = "status.json"
) -> dict[str, Handler]:
    """The page, at `path`, and its data beside it. `document` gives JSON-able values."""

    def html(request: Request) -> Answer:
        content, policy = page(source)
        return Answer(200, content, "text/html; charset=utf-8", {"Content-Security-Policy": policy}, tagged=True)

    def data(request: Request) -> Answer:
        return Answer(200, json_text(document()).encode() + b"\n", "application/json", tagged=True)

    return {path: html, f"/{source}": data}
