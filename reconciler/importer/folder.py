"""The files of config/: which a service reads here, and secrets taken out of them. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.catalogue import Catalogue
from reconciler.document.literals import URL, literals, looks_secret
from reconciler.errors import Problem
from reconciler.secret import Secret
from reconciler.site import overrides
from reconciler.site.inventory import Known
from reconciler.site.later import KOLLA_SERVICES
from reconciler.text import decoded

_SETTING: Final = re.compile(
    r"^(?P<before>[ \t]*(?P<name>[\w.-]+)[ \t]*[=:][ \t]*)(?P<value>\S.*?)(?P<after>[ \t\r]*)$", re.M
)
_WHOLE: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEYS: Final = (".keyring", ".key", ".keytab", ".jks", ".keystore", ".p12", ".pfx")
_TEMPLATE: Final = re.compile(r"\{[{%#]")
_NAMED: Final = re.compile(r"\{\{[\w\s.|]*\}\}")  # an expression without a literal in it
_BY_HAND: Final = (
    "put what is secret in it into passwords.yml, name that in it as {{ name }}, and put it there in the clear"
)
_COMMENT: Final = re.compile(r"^[ \t]*[#;].*$", re.M)


@dataclass(slots=True)
class Taken:
    """An override: its text, its bytes when it is none, a Secret when all of it is one, or why it is not taken. `secrets` were literal
    values in it."""

    text: str = ""
    binary: bytes | None = field(default=None, repr=False)
    whole: Secret | None = None
    refused: str = ""
    secrets: dict[str, Secret] = field(default_factory=dict, repr=False)


def take(path: str, content: bytes, known: Known, catalogue: Catalogue, names: Mapping[str, object]) -> Taken:
    """What becomes of a file below config/. `names` are those of secrets that are taken already."""
    if refused := refusal(path, content, known, catalogue, _whose(path)):
        return Taken(refused=refused)
    key = path.lower().endswith(_KEYS)
    if decoded(content) is None:
        why = "may be a key, and is no text: put it there yourself with `sops encrypt --input-type binary`"
        return Taken(refused=why) if key else Taken(binary=content)
    text = content.decode("utf-8-sig")
    if key or _WHOLE.search(text):
        return Taken(whole=Secret(text))
    return _without_literals(path, text, names)


def take_opened(path: str, content: bytes, known: Known, catalogue: Catalogue, names: Mapping[str, object]) -> Taken:
    """What becomes of a file below config/ that was encrypted: nothing of what it says is in the clear afterwards either. `content` is
    what was in it, `names` as in `take`."""
    if refused := refusal(path, content, known, catalogue, _whose(path)):
        return Taken(refused=refused)
    text, readers = content.decode("utf-8-sig"), overrides.readers(path, catalogue)
    merged = {found.merge for found in readers} - {""}
    if merged == {"ini"}:
        return _values_kept(path, text, names)
    if merged:
        return Taken(refused=f"was encrypted and is merged key by key: {_BY_HAND}")
    if "{" in text and _TEMPLATE.search(text) and not all(found.verbatim for found in readers):
        return Taken(refused=f"was encrypted and is a template: {_BY_HAND}")
    return Taken(whole=Secret(text))


def _whose(path: str) -> str:
    """The service that a file below config/ is for, by its name."""
    return path.partition("/")[0].removesuffix(".conf").partition("-")[0].partition("_")[0]


def refusal(path: str, content: bytes, known: Known, catalogue: Catalogue, service: str) -> str:
    """Why a file below config/ cannot be taken; empty when it can. `service` is whose it is by its name."""
    problems: list[Problem] = []
    overrides.check({path: content}, known, catalogue, problems)
    failed = [problem for problem in problems if problem.severity == "error"]
    if failed and service in KOLLA_SERVICES - catalogue.services.keys():
        return f"{service} is not in the catalogue yet: kolla-ansible goes on reading it"
    return failed[0].text if failed else ""


class _Keeper:
    """Gives secrets that stood in a file the names of passwords.yml."""

    def __init__(self, path: str, names: Mapping[str, object]) -> None:
        self._path, self._names = path, names
        self.secrets: dict[str, Secret] = {}

    def name(self, setting: str, value: str) -> str:
        """The name under which a value is kept from now on."""
        base = re.sub(r"\W+", "_", f"config_{self._path}_{setting}").lower().strip("_")
        name, number = base, 1
        while name in self._names or name in self.secrets:
            number += 1
            name = f"{base}_{number}"
        self.secrets[name] = Secret(value)
        return name

    def setting(self, match: re.Match[str]) -> str:
        """A line of _SETTING that names its value; quotes around all of it stay in the file."""
        value = match["value"]
        quote = value[0] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else ""
        name = self.name(match["name"], value[1:-1] if quote else value)
        return f"{match['before']}{quote}{{{{ {name} }}}}{quote}{match['after']}"


def _without_literals(path: str, text: str, names: Mapping[str, object]) -> Taken:
    keeper = _Keeper(path, names)

    text = _COMMENT.sub(lambda line: "" if _telling(line[0]) else line[0], text)
    parts, at = [], 0
    for one in literals(text):
        value = text[one.start : one.end]
        if one.json:
            try:
                value = json.loads(f'"{value}"')
            except ValueError:
                continue
        parts += [text[at : one.start], f"{{{{ {keeper.name(one.name, value)} }}}}"]
        at = one.end
    return Taken(text="".join((*parts, text[at:])), secrets=keeper.secrets)


def _values_kept(path: str, text: str, names: Mapping[str, object]) -> Taken:
    """An INI file in which every value is a secret; only sections, names of settings and expressions are in the clear."""
    keeper, lines = _Keeper(path, names), []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        match = _SETTING.fullmatch(line)
        if re.fullmatch(r"\[[^\[\]]+\]\s*|[\w.-]+\s*[=:]?\s*", line) or (match and _NAMED.fullmatch(match["value"])):
            lines.append(line)
        elif match and not line[0].isspace() and not _TEMPLATE.search(line):
            lines.append(keeper.setting(match))
        else:
            return Taken(refused=f"was encrypted, and its line {number} is not a section or one setting: {_BY_HAND}")
    return Taken(text="".join(f"{line}\n" for line in lines), secrets=keeper.secrets)


def _telling(comment: str) -> bool:
    """Whether a comment holds what looks like a secret: a setting that was switched off."""
    match = _SETTING.search(comment.lstrip(" \t#;"))
    return URL.search(comment) is not None or bool(match and looks_secret(match["name"]))
