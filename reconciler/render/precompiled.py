"""The texts of a catalogue, compiled before anybody asks. Pure.

Each is found by all of it, so a catalogue that says something else finds nothing of what was made of another one.
"""

import marshal
from collections.abc import Iterator
from typing import Any

import jinja2

from reconciler.catalogue import Catalogue
from reconciler.render import compiling, header
from reconciler.render.compiling import Key, Translated
from reconciler.render.faults import FilterError


def make(catalogue: Catalogue) -> bytes:
    """Every text of a catalogue, compiled, for `read` of the same program and Python."""
    found: dict[Key, tuple[Any, ...]] = {}
    for key in _keys(catalogue):
        try:
            found[key] = tuple(compiling.translated(*key))
        except jinja2.TemplateSyntaxError:  # told where it is used, with its place
            continue
    return marshal.dumps(found)


def read(content: bytes) -> dict[Key, Translated]:
    """What `make` made. It holds code: it has to come from where the program comes from, and from there unharmed."""
    return {key: Translated(*value) for key, value in marshal.loads(content).items()}  # noqa: S302


def _keys(catalogue: Catalogue) -> Iterator[Key]:
    """What rendering asks `compiling.compiled` for."""
    for service in catalogue.services.values():
        yield from _values(service.document.data)
        for template in service.templates.values():
            try:
                options, body = header.split(template)
            except FilterError:
                continue
            if options or compiling.is_template(body):
                yield body, False, options
    for variable in catalogue.variables.values():
        yield from _values(variable.default)


def _values(value: Any, native: bool = True) -> Iterator[Key]:
    """Every expression in a value. What a file holds is always text."""
    if isinstance(value, str):
        if compiling.is_template(value):
            yield value, native, ()
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, name != "content")
    elif isinstance(value, list):
        for item in value:
            yield from _values(item)
