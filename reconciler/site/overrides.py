"""Whether every file below config/ is read by some service."""

import re
from collections.abc import Iterable, Mapping

from reconciler.catalogue import Catalogue, OverridePattern
from reconciler.document.grammar import nearest
from reconciler.document.yaml import Place
from reconciler.errors import Problem
from reconciler.site.inventory import Known

_PART = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{host\}|\{container\}|\{service\}|\*")


def check(files: Mapping[str, bytes], known: Known, catalogue: Catalogue, problems: list[Problem]) -> None:
    """Report overrides that nothing reads, that name an unknown host, or that are not text where text is needed."""
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
        if any(pattern.text for pattern, _ in matches):
            problems += _text(place, content)


def _text(place: Place, content: bytes) -> list[Problem]:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        return [Place(place.file, line, column).problem("is not UTF-8 text", "save the file in UTF-8")]
    return []


class _Matcher:
    """All patterns, as one lookup for those without wildcards and one regular expression each for the rest."""

    def __init__(self, patterns: Iterable[OverridePattern]) -> None:
        self._exact: dict[str, list[OverridePattern]] = {}
        self._regular: dict[str, tuple[re.Pattern[str], list[OverridePattern]]] = {}
        for pattern in patterns:
            for text in _expand(pattern):
                if _PART.search(text):
                    entry = self._regular.setdefault(text, (re.compile(_regular(text)), []))
                    entry[1].append(pattern)
                else:
                    self._exact.setdefault(text, []).append(pattern)

    def matches(self, path: str) -> list[tuple[OverridePattern, str]]:
        """The patterns that a path fits, each with the host that it names or the empty text."""
        result = [(pattern, "") for pattern in self._exact.get(path, ())]
        for expression, patterns in self._regular.values():
            match = expression.fullmatch(path)
            if match:
                host = match.groupdict().get("host") or ""
                result += [(pattern, host) for pattern in patterns]
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


def _expand(pattern: OverridePattern) -> list[str]:
    text = pattern.pattern.replace("{service}", pattern.service)
    if "{container}" not in text:
        return [text]
    names = dict.fromkeys(spelling for name in pattern.containers for spelling in (name, name.replace("_", "-")))
    return [text.replace("{container}", name) for name in names]


def _regular(text: str) -> str:
    result, end, named = "", 0, False
    for match in _PART.finditer(text):
        result += re.escape(text[end : match.start()])
        if match[0] == "{host}" and not named:
            result, named = result + r"(?P<host>[^/]+)", True
        else:
            result += ".+" if match[0].startswith("{{") or match[0].startswith("{%") else "[^/]*"
        end = match.end()
    return result + re.escape(text[end:])
