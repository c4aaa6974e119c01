"""From a site to what one host should be: variables evaluated, templates rendered, overrides merged. Pure.

Modules are imported when they are first asked for: who only binds tokens, as the daemon does, needs no Jinja2.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from reconciler.model import Desired
from reconciler.render import tokens
from reconciler.render.tokens import bind, stand_in

if TYPE_CHECKING:
    from reconciler.render.build import render
    from reconciler.render.evaluate import World
    from reconciler.render.explanation import Explanation, explain
    from reconciler.render.formats import write
    from reconciler.render.sharing import Sharing

__all__ = [
    "Explanation",
    "Sharing",
    "World",
    "bind",
    "bind_tree",
    "explain",
    "render",
    "render_tree",
    "stand_in",
    "write",
]


_HOMES = {
    "render": "build",
    "World": "evaluate",
    "Sharing": "sharing",
    "Explanation": "explanation",
    "explain": "explanation",
    "write": "formats",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def render_tree(desired: Desired) -> dict[str, bytes]:
    """What would be below the node's config directory, by path, with secrets as tokens."""
    return {file.path: file.data for file in desired.files}


def bind_tree(desired: Desired, secrets: Mapping[str, Any]) -> dict[str, bytes]:
    """The same with the secrets' values, quoted as each file's format asks for; bytes of a secret that is no text are the whole of a
    file. Raises as `write`."""
    from reconciler.render.formats import write

    return {
        file.path: file.data if file.encoding else write(file, secrets).encode(errors=tokens.ESCAPED)
        for file in desired.files
    }
