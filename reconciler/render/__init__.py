"""From a site to what one host should be: variables evaluated, templates rendered, overrides merged. Pure."""

from collections.abc import Mapping
from typing import Any

from reconciler.model import Desired
from reconciler.render.build import render
from reconciler.render.evaluate import World
from reconciler.render.explain import Explanation, explain
from reconciler.render.tokens import bind

__all__ = ["Explanation", "World", "bind", "bind_tree", "explain", "render", "render_tree"]


def render_tree(desired: Desired) -> dict[str, bytes]:
    """What would be below the node's config directory, by path, with secrets as tokens."""
    return {file.path: file.content.encode() for file in desired.files}


def bind_tree(desired: Desired, secrets: Mapping[str, Any]) -> dict[str, bytes]:
    """The same with the secrets' values. Raises Terminal with reason SecretMissing when one has none."""
    return {file.path: bind(file.content, secrets).encode() for file in desired.files}
