"""Whether every file below config/ is read by some service, and what in it should be a secret."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cached_property

from reconciler.catalogue import Catalogue, OverridePattern
from reconciler.document import pattern
from reconciler.document.content import check as check_text
from reconciler.document.literals import PRIVATE_KEY, literals
from reconciler.document.words import nearest
from reconciler.document.yaml import Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.site.inventory import Known
from reconciler.text import decoded

# Bounded: without an end each `{{` would otherwise look through all that follows.
_PART = re.compile(r"\{\{.{0,500}?\}\}|\{%.{0,500}?%\}|\{host\}|\{container\}|\{service\}|\*\*|\*")


def check(
    files: Mapping[str, bytes],
    known: Known,
    catalogue: Catalogue,
    problems: list[Problem],
    sealed: Container[str] = (),
) -> None:
    """Report overrides that nothing reads, that name an unknown host, or that are not text where text is needed; and secrets in the clear, but
    for files that are encrypted as a whole (`sealed`)."""
    if not files:
        return
    matcher = _Matcher(catalogue.override_patterns())
    for path, content in files.items():
        place = Place(f"config/{path}")
        matches = matcher.matches(path)
        if not matches:
            problems.append(place.problem("no service reads this file", matcher.hint(path, known)))
            continue
        unknown = [host for _, host in matches if host and host not in known.hosts]
        if len(unknown) == len(matches):
            problems += known.host(unknown[0], place)
        if decoded(content) is None and all(found.verbatim for found, _ in matches):
            continue  # no text, and nobody reads it as one
        try:
            check_text(content, place.file)
        except SiteInvalid as error:
            problems += error.problems
            continue
        if path not in sealed:
            problems += _in_the_clear(place.file, content, rendered=not all(found.verbatim for found, _ in matches))


def _in_the_clear(name: str, content: bytes, *, rendered: bool) -> Iterator[Problem]:
    """Warnings of what looks like a secret in a file; `rendered`: it can name those of passwords.yml."""
    text = content.decode("utf-8-sig")
    whole = f"encrypt the file: sops encrypt --input-type binary --in-place {name}"
    for number, line in enumerate(text.splitlines(), 1):
        if PRIVATE_KEY.search(line):
            yield Place(name, number, 1).warning("a private key stands here in the clear", whole)
    hint = (
        "put the value into passwords.yml under a name of its own, and write {{ that_name }} here"
        if rendered
        else whole
    )
    for one in literals(text):
        yield Place(name, one.line, 1).warning(f"{one.name} stands here in the clear", hint)


def readers(path: str, catalogue: Catalogue) -> list[OverridePattern]:
    """The files of services that read an override; `path` is below config/."""
    return [found for found, _ in _Matcher(catalogue.override_patterns()).matches(path)]


def unread(paths: Iterable[str], hosts: Iterable[str], catalogue: Catalogue) -> list[Problem]:
    """Warnings of overrides that some service would read and no host does. `paths` are below config/."""
    problems = []
    known = frozenset(hosts)
    matcher = _Matcher(catalogue.override_patterns())
    for path in paths:
        matches = matcher.matches(path)
        host = next((host for _, host in matches if host in known), "")
        conditions = sorted({str(found.enabled) for found, _ in matches if isinstance(found.enabled, str)})
        services = ", ".join(sorted({found.service for found, _ in matches}))
        if conditions and len({found.service for found, _ in matches}) == 1:
            hint = f"it is read where {services} runs and {' or '.join(conditions)} is true"
        else:
            hint = f"it is read where {services} runs, and where no override of its own goes before it"
        what = f"{host} does not read this file" if host else "no host reads this file"
        problems.append(Place(f"config/{path}").warning(what, hint))
    return problems


class _Matcher:
    """All patterns, as one lookup for those without wildcards and one regular expression each for the rest."""

    def __init__(self, patterns: Iterable[OverridePattern]) -> None:
        self._exact: dict[str, list[OverridePattern]] = {}
        self._regular: dict[str, tuple[_Shape, list[OverridePattern]]] = {}
        for wanted in patterns:
            for text in _expand(wanted):
                if text in self._regular:
                    self._regular[text][1].append(wanted)
                elif _PART.search(text):
                    self._regular[text] = (_Shape(text), [wanted])
                else:
                    self._exact.setdefault(text, []).append(wanted)

    def matches(self, path: str) -> list[tuple[OverridePattern, str]]:
        """The patterns that a path fits, each with the host that it names or the empty text."""
        result = [(found, "") for found in self._exact.get(path, ())]
        for shape, patterns in self._regular.values():
            host = shape.host(path)
            if host is not None:
                result += [(found, host) for found in patterns]
        return result

    def hint(self, path: str, known: Known) -> str:
        """The nearest path that some service reads."""
        parts = path.split("/")
        hosts = [part for part in parts if part in known.hosts]
        candidates = list(self._exact)
        for text in self._regular:
            candidates += [text.replace("{host}", host) for host in hosts] if hosts and "{host}" in text else [text]
        near = nearest(path, candidates)
        if near:
            return f"did you mean config/{near}?"
        same = [text for text in candidates if text.rpartition("/")[2] == parts[-1]]
        return f"did you mean config/{same[0]}?" if same else "docs/site-reference.md lists the paths of each service"


def _expand(wanted: OverridePattern) -> list[str]:
    text = wanted.pattern.replace("{service}", wanted.service)
    if "{container}" not in text:
        return [text]
    names = dict.fromkeys(spelling for name in wanted.containers for spelling in (name, name.replace("_", "-")))
    return [text.replace("{container}", name) for name in names]


class _Shape:
    """A pattern with wildcards, compared with paths in linear time; only with those that begin and end as it does, which are few."""

    def __init__(self, text: str) -> None:
        parts = [*_PART.finditer(text)]
        self._begin, self._end = text[: parts[0].start()], text[parts[-1].end() :]
        self._named = any(part[0] == "{host}" for part in parts)
        self._text = text

    @cached_property
    def _pattern(self) -> pattern.Pattern | None:
        text, expression, end, named = self._text, r"\A", 0, False
        for match in _PART.finditer(text):
            expression += pattern.escape(text[end : match.start()])
            if match[0] == "{host}" and not named:
                expression, named = expression + "([^/]+)", True
            else:
                deep = match[0].startswith(("{{", "{%", "**"))
                expression += ".+" if deep else "[^/]*"
            end = match.end()
        try:
            return pattern.compile(expression + pattern.escape(text[end:]) + r"\Z")
        except pattern.PatternError:  # of absurd length: no path is like that
            return None

    def host(self, path: str) -> str | None:
        """The host that a path names, or the empty text when the pattern has none; None when the path does not fit."""
        if not path.startswith(self._begin) or not path.endswith(self._end):
            return None
        match = self._pattern.match(path) if self._pattern else None
        if match is None:
            return None
        return (match.group(1) or "") if self._named else ""
