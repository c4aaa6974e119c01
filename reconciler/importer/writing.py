"""The texts of a site's files of variables: what is taken as it was written where it can be, the rest as comments. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any

from reconciler.document import yaml
from reconciler.document.grammar import normalise
from reconciler.errors import SiteInvalid
from reconciler.importer.decide import Decision, is_secret
from reconciler.importer.known import LEFT_OUT, masked
from reconciler.importer.types import Assigned, Fate, Input
from reconciler.text import printable


class Text:
    """A file that grows; remembers which input made which line."""

    def __init__(self, head: str) -> None:
        self._parts = [head]
        self._line = head.count("\n") + 1
        self.lines: dict[int, Input] = {}

    def __str__(self) -> str:
        return "".join(self._parts)

    def comment(self, text: str) -> None:
        """Comments of the source; whatever is none is made one."""
        lines = [line if not line.strip() or line.startswith("#") else f"# {line}" for line in text.splitlines()]
        lines = [line for line in lines if line.strip("-# .") or not line.strip() or len(set(line)) == 1]
        self._add("".join(f"{printable(line, limit=2000)}\n" for line in lines if line != "---"), None, hide=True)

    def assign(self, source: Input, said: Assigned, text: str) -> None:
        """A variable that is taken."""
        self._add(text, source)

    def leave(self, said: Assigned, decision: Decision, target: str) -> None:
        """A variable that is not: as a comment, without the value where that may be a secret."""
        where = f" in {target}" if target else ""
        note = {Fate.DEFAULT: "left out", Fate.TAKEN: "taken", Fate.RENAMED: "taken"}.get(
            decision.fate, str(decision.fate)
        )
        why = f": {decision.reason}" if decision.reason else ""
        head = f"# {said.name} ({said.place.file}:{said.place.line}) {note}{where}{why}"
        self._add(printable(head, limit=2000) + "\n", None)
        if decision.secret or decision.fate is Fate.RENAMED:
            return
        body = said.text or shown(said)
        self._add("".join(f"#   {printable(line, limit=2000)}\n" for line in body.splitlines()), None, hide=True)

    def _add(self, text: str, source: Input | None, hide: bool = False) -> None:
        if hide:
            text = masked(text)
        for number in range(self._line, self._line + text.count("\n")):
            if source is not None:
                self.lines[number] = source
        self._line += text.count("\n")
        self._parts.append(text)


def shown(said: Assigned) -> str:
    """A variable on one line, for a comment."""
    value = LEFT_OUT if is_secret(said.value) else json.dumps(said.value, ensure_ascii=False)
    return f"{said.name}: {value}"


def assignment(said: Assigned, value: Any, schema: Mapping[str, Any]) -> str:
    """The lines that say a variable: as they were written where that means the same here, else anew. Empty when nothing can."""
    for text in (said.text, f"{said.name}: {scalar(value)}\n"):
        text = text if text.endswith("\n") or not text else f"{text}\n"
        if text and _means(text, said.name, value, schema):
            return text
    return ""


def _means(text: str, name: str, value: Any, schema: Mapping[str, Any]) -> bool:
    try:
        found = yaml.load(text.encode(errors="surrogatepass"), name).data
    except SiteInvalid:
        return False
    if not isinstance(found, dict) or list(found) != [name]:
        return False
    read = normalise(found[name], schema)
    return json.dumps(read) == json.dumps(value) and read == value


def scalar(value: Any) -> str:
    """A value on one line of YAML 1.2, plain where a word is one."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z/][\w./-]*", value) and yaml.scalar(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
