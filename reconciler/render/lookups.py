"""What templates can ask of the site they are in: other templates, and the files of the site's config/ folder. Pure.

The functions see the rendering that calls them (`meter.current`), whose names know the rest (`Sources`).
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from reconciler.render import meter, tokens, values
from reconciler.render.faults import FilterError, Refused

MAX_NESTING: Final = 10  # templates inside one another
_PURE: Final = ("vars", "template", "file", "first_found")
_DEFAULT: Final = object()


class Sources(Protocol):
    """What the names of a rendering know beside the names themselves."""

    def template(self, name: str, more: Mapping[str, Any]) -> str:
        """The rendered template of the present service, or of `common`."""

    def override(self, path: str) -> str:
        """The rendered file of the site's config/ folder."""

    def overrides(self, patterns: list[str]) -> list[str]:
        """The paths below config/ that are there, in the order of the patterns."""

    def unheard(self, name: str) -> str | None:
        """None when a name has a value on some host, or might have one; else what to do about it."""


def template(name: Any, /, **more: Any) -> str:
    """Another template of this service (or of `common`), rendered; `more` are names that it sees beside the file's own."""
    wanted = _text("template", name)
    names = {key: values.demand(value) for key, value in more.items()}
    return _nested("template", lambda: _sources().template(wanted, names))


def override(path: Any, /) -> str:
    """A file of the site's config/ folder, rendered."""
    wanted = _text("override", path)
    return _nested("override", lambda: _sources().override(wanted))


def overrides(*patterns: Any) -> list[str]:
    """The paths below config/ that patterns mean and that are there."""
    found = _sources().overrides([_text("overrides", pattern) for pattern in _flat(patterns)])
    return values.items(found)


def first_override(*patterns: Any) -> str:
    """The first of them, or the empty text."""
    found = overrides(*patterns)
    return found[0] if found else ""


def id_of(registration: Any, /) -> str:
    """What stands for the identifier that the cloud gave to something that the site registers, until the file is written."""
    wanted = _text("id_of", registration)
    try:
        return tokens.identifier(wanted)
    except ValueError as error:
        raise FilterError(f"id_of(): {error}") from None


def lookup(kind: Any, *arguments: Any, default: Any = _DEFAULT, **named: Any) -> Any:
    """Ansible's, as far as it depends on the site alone."""
    word = _text("lookup", kind).removeprefix("ansible.builtin.")
    if word not in _PURE:
        hint = "it would read the machine that renders, and a site has to mean the same everywhere"
        raise Refused(f"lookup({word[:40]!r}) is not available: {hint}. There are {', '.join(_PURE)}")
    if named:
        raise FilterError(f"lookup({word!r}) takes no argument {next(iter(named))[:40]!r}")
    if word == "first_found":
        return first_override(*arguments)
    if len(arguments) != 1:
        raise FilterError(f"lookup({word!r}) takes one name")
    if word == "vars":
        return _variable(_text("lookup", arguments[0]), default)
    return template(arguments[0]) if word == "template" else override(arguments[0])


def _variable(name: str, default: Any) -> Any:
    names = meter.current().names
    try:
        return names[name]
    except KeyError:
        if default is not _DEFAULT:
            return default
        raise FilterError(f"there is no variable {name[:60]!r}{values.suggestion(name, names)}") from None


def _nested(name: str, work: Any) -> str:
    payer = meter.current().meter
    if payer.nesting >= MAX_NESTING:
        raise Refused(f"{name}(): templates are inside one another more than {MAX_NESTING} deep")
    payer.nesting += 1
    try:
        return values.limited(work())
    finally:
        payer.nesting -= 1


def _sources() -> Sources:
    return cast(Sources, meter.current().names)


def _text(function: str, value: Any) -> str:
    value = values.demand(value)
    if not isinstance(value, str):
        raise FilterError(f"{function}() takes a text, not {values.kind(value)}")
    return value


def _flat(patterns: tuple[Any, ...]) -> list[Any]:
    result: list[Any] = []
    for pattern in patterns:
        result += values.items(pattern) if isinstance(pattern, list | tuple) else [pattern]
    return result
