"""The status page: one HTML file, the same for every node and for a fleet; its script fetches status.json and shows that.

The script puts values into the page as text only, and the policy lets nothing but this very style and script run.
"""

import base64
import hashlib
import ipaddress
import socket
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from reconciler.text import json_text
from reconciler.web.server import Answer, Handler, Request


@cache
def page() -> tuple[bytes, str]:
    """The file, and its Content-Security-Policy."""
    style, script = _asset("status.css"), _asset("status.js")
    policy = (
        f"default-src 'none'; style-src 'sha256-{_hash(style)}'; script-src 'sha256-{_hash(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    content = _asset("status.html").replace("/*style*/", style).replace("/*script*/", script)
    return content.encode(), policy


def handlers(document: Callable[[], Mapping[str, Any]], names: Collection[str] = ()) -> dict[str, Handler]:
    """The page and its data. `document` gives JSON-able values; `names` are this host's, beside that of its system."""
    known = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    def guarded(handler: Handler) -> Handler:
        def guard(request: Request) -> Answer:
            if _ours(request.headers.get("host", ""), known):
                return handler(request)
            text = b"this page is only given away under an address, localhost or the host's own name\n"
            return Answer(421, text)

        return guard

    def html(request: Request) -> Answer:
        content, policy = page()
        return Answer(200, content, "text/html; charset=utf-8", {"Content-Security-Policy": policy}, tagged=True)

    def data(request: Request) -> Answer:
        content = json_text(document()).encode()
        return Answer(200, content + b"\n", "application/json", tagged=True)

    return {"/": guarded(html), "/status.json": guarded(data)}


def _ours(host: str, known: Collection[str]) -> bool:
    """Whether the page may be asked for under this Host header. A name of somebody else's that was made to lead here must
    not work: his page could read ours in the browser of whoever visits it."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ipaddress.ip_address(name)
    except ValueError:
        return host.rpartition(":")[0].lower() in known or host.lower() in known
    return True


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
