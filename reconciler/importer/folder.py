"""The files of config/: which a service reads here, and secrets taken out of them. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.catalogue import Catalogue
from reconciler.errors import Problem
from reconciler.importer.known import URL, looks_secret, truth
from reconciler.secret import Secret
from reconciler.site import overrides
from reconciler.site.inventory import Known
from reconciler.site.variables import KOLLA_SERVICES
from reconciler.text import decoded

_SETTING: Final = re.compile(
    r"^(?P<before>[ \t]*(?P<name>[\w.-]+)[ \t]*[=:][ \t]*)(?P<value>\S.*?)(?P<after>[ \t\r]*)$", re.M
)
_WHOLE: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEYS: Final = (".keyring", ".key", ".keytab", ".jks", ".keystore", ".p12", ".pfx")
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
    service = path.partition("/")[0].removesuffix(".conf").partition("-")[0].partition("_")[0]
    if refused := refusal(path, content, known, catalogue, service):
        return Taken(refused=refused)
    key = path.lower().endswith(_KEYS)
    if decoded(content) is None:
        why = "may be a key, and is no text: put it there yourself with `sops encrypt --input-type binary`"
        return Taken(refused=why) if key else Taken(binary=content)
    text = content.decode("utf-8-sig")
    if key or _WHOLE.search(text):
        return Taken(whole=Secret(text))
    return _without_literals(path, text, names)


def refusal(path: str, content: bytes, known: Known, catalogue: Catalogue, service: str) -> str:
    """Why a file below config/ cannot be taken; empty when it can. `service` is whose it is by its name."""
    problems: list[Problem] = []
    overrides.check({path: content}, known, catalogue, problems)
    failed = [problem for problem in problems if problem.severity == "error"]
    if failed and service in KOLLA_SERVICES - catalogue.services.keys():
        return f"{service} is not in the catalogue yet: kolla-ansible goes on reading it"
    return failed[0].text if failed else ""


def _without_literals(path: str, text: str, names: Mapping[str, object]) -> Taken:
    taken = Taken()

    def name_for(setting: str) -> str:
        base = re.sub(r"\W+", "_", f"config_{path}_{setting}").lower().strip("_")
        name, number = base, 1
        while name in names or name in taken.secrets:
            number += 1
            name = f"{base}_{number}"
        return name

    def setting(match: re.Match[str]) -> str:
        value = match["value"].strip("\"'")
        plain = "{{" in value or value.startswith("/") or truth(value) is not None or value.isdigit() or value in "|>{["
        if not looks_secret(match["name"].replace("-", "_").replace(".", "_")) or plain:
            return match[0]
        name = name_for(match["name"])
        taken.secrets[name] = Secret(value)
        quote = match["value"][0] if match["value"][0] in "\"'" else ""
        return f"{match['before']}{quote}{{{{ {name} }}}}{quote}{match['after']}"

    def address(match: re.Match[str]) -> str:
        name = name_for("password")
        taken.secrets[name] = Secret(match["value"])
        return f"{match['before']}{{{{ {name} }}}}@"

    comments = _COMMENT.sub(lambda line: "" if _telling(line[0]) else line[0], text)
    taken.text = URL.sub(address, _SETTING.sub(setting, comments))
    return taken


def _telling(comment: str) -> bool:
    """Whether a comment holds what looks like a secret: a setting that was switched off."""
    match = _SETTING.search(comment.lstrip(" \t#;"))
    return URL.search(comment) is not None or bool(match and looks_secret(match["name"]))
