"""What a change of a variable reaches: which containers are made anew or restarted, and what else follows. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from reconciler.catalogue.types import Catalogue, Service

# What the reader of the reference sees of a section, apart from containers and jobs.
_SECTIONS: Final = {"registrations": "registrations", "checks": "checks", "host": "the host"}
_EXPRESSION: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPLATE: Final = re.compile(r"""(?:include|template\()\s*['"]([^'"\n]+)['"]""")
# Names that templates see of all services at once → the section they come from.
_GATHERED: Final = {"frontends": "frontends", "scrape_targets": "scrape", "log_inputs": "logs"}


class Effects:
    """Every name of a catalogue with what is made of it. Names are followed through defaults, templates and collections; a name that
    is only mentioned counts, so that what is said is rather too much than too little."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def of(self, variable: str) -> tuple[str, ...]:
        """What a change of the variable reaches, containers first: `("keystone", "keystone_fernet", "registrations")`."""
        return self._reached.get(variable, ())

    @cached_property
    def _reached(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {}
        for thing, words in self._things():
            for name in self._closure(words):
                found.setdefault(name, {})[thing] = None
        last = [*_SECTIONS.values()]
        return {name: tuple(sorted(things, key=lambda thing: (thing in last, thing))) for name, things in found.items()}

    def _things(self) -> Iterator[tuple[str, set[str]]]:
        """Everything that can change, with the names in its own definition and templates."""
        for service in self._catalogue.services.values():
            enabled = _enabled(service)
            for name, definition in service.section("containers").items():
                words = _words(definition) | enabled
                words |= {f"{name}_{part}" for part in ("image_full", "dimensions", "default_volumes", "extra_volumes")}
                for template in _named(definition):
                    words |= self._template(service, template, frozenset())
                yield name, words
            for name, definition in service.section("jobs").items():
                # A job runs again for another image, and for what it names.
                again = [definition.get("inputs"), definition.get("enabled")]
                yield f"the job {name}", _words(again) | enabled | {f"{definition.get('container')}_image_full"}
            for section, shown in _SECTIONS.items():
                if content := service.section(section):
                    yield shown, _words(content) | enabled

    def _template(self, service: Service, name: str, seen: frozenset[str]) -> set[str]:
        """The names in a template of a service, or of `common`, and in what it includes."""
        common = self._catalogue.services.get("common")
        text = service.templates.get(name) or (common.templates.get(name) if common else None)
        if text is None or name in seen:
            return set()
        words = _words(text)
        for included in _TEMPLATE.findall(text):
            words |= self._template(service, included, seen | {name})
        return words

    def _closure(self, words: set[str]) -> set[str]:
        """The variables among the names, and those that these are made of."""
        found: set[str] = set()
        todo = [word for word in words if word in self._made_of]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += [word for word in self._made_of[name] if word in self._made_of and word not in found]
        return found

    @cached_property
    def _made_of(self) -> Mapping[str, set[str]]:
        """Variables and collections → the names that they are made of."""
        made = {name: _words(variable.default) for name, variable in self._catalogue.variables.items()}
        for name, section in _GATHERED.items():
            made[name] = self._gathered(section, "")
        for name in self._catalogue.collections():
            made[name] = self._gathered("contributes", name)
        return made

    def _gathered(self, section: str, key: str) -> set[str]:
        """The names in what all services have in a section (and there below a key), and in whether they are there."""
        words: set[str] = set()
        for service in self._catalogue.services.values():
            content = service.section(section).get(key) if key else service.section(section)
            if content:
                words |= _words(content) | _enabled(service)
        return words


def _enabled(service: Service) -> set[str]:
    content = service.document.data
    return _words(content.get("enabled")) if isinstance(content, dict) else set()


def _named(definition: Any) -> Iterator[str]:
    """The templates that a container or job names."""
    if isinstance(definition, Mapping):
        for key, value in definition.items():
            if key in ("template", "script") and isinstance(value, str):
                yield value
            yield from _named(value)
    elif isinstance(definition, list):
        for item in definition:
            yield from _named(item)


def _words(value: Any) -> set[str]:
    """The names in all expressions of a value."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return {word for found in _EXPRESSION.findall(text) for word in _WORD.findall(found)}
