"""The texts of a catalogue, compiled before anybody asks: what they are, and the file that holds them. Pure.

The file begins with what it was made for and a digest of the rest, and is of use to nobody else: `read` gives its texts only where
both are right. Everything in it is found by its whole text, so a catalogue that says something else finds nothing of it.
"""

import hashlib
import marshal
from collections.abc import Iterator
from typing import Any, Final

import jinja2

from reconciler.catalogue import Catalogue
from reconciler.render import environment, header
from reconciler.render.environment import Key, Translated
from reconciler.render.faults import FilterError

_MARK: Final = b"reconciler: compiled texts 1\n"
_DIGEST: Final = 32  # bytes


def make(catalogue: Catalogue, compiler: bytes) -> bytes:
    """The file with every text of a catalogue; `compiler` is a digest of all that decides what becomes of a text, 32 bytes."""
    found: dict[Key, tuple[Any, ...]] = {}
    for key in _keys(catalogue):
        try:
            found[key] = tuple(environment.translated(*key))
        except jinja2.TemplateSyntaxError:  # told where it is used, with its place
            continue
    body = marshal.dumps(found)
    return _MARK + compiler + hashlib.sha256(body).digest() + body


def read(content: bytes, compiler: bytes) -> dict[Key, Translated] | None:
    """What `make` put into a file; None for one of another compiler, and for one that is not whole.

    A digest keeps out what was cut short or is old, not what somebody forged.
    """
    head, body = content[: len(_MARK) + 2 * _DIGEST], content[len(_MARK) + 2 * _DIGEST :]
    if head != _MARK + compiler + hashlib.sha256(body).digest():
        return None
    return {key: Translated(*value) for key, value in marshal.loads(body).items()}  # noqa: S302


def _keys(catalogue: Catalogue) -> Iterator[Key]:
    """What rendering asks `environment.compiled` for."""
    for service in catalogue.services.values():
        yield from _values(service.document.data)
        for template in service.templates.values():
            try:
                options, body = header.split(template)
            except FilterError:
                continue
            if options or environment.is_template(body):
                yield body, False, options
    for variable in catalogue.variables.values():
        yield from _values(variable.default)


def _values(value: Any, native: bool = True) -> Iterator[Key]:
    """Every expression in a value. What a file holds is always text."""
    if isinstance(value, str):
        if environment.is_template(value):
            yield value, native, ()
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, name != "content")
    elif isinstance(value, list):
        for item in value:
            yield from _values(item)
