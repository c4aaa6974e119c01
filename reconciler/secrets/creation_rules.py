"""For whom a new file of passwords is encrypted: the creation rules of a .sops.yaml, read strictly before sops sees any.

Only the one at the top of a site counts, for all of its files: a review shows who is let in by it, and looks nowhere else. A branch
may have written that file. So only age recipients are taken from it; a rule that names a key service, which sops would send the data
key to, or that leaves values in the clear, is refused by name. What sops is given is written anew from what was read.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler import errors
from reconciler.document import edit, pattern, sealed, yaml
from reconciler.reasons import Reason
from reconciler.system import files

_RULE: Final = ("path_regex", "age")
_PLUGIN: Final = re.compile(r"age1[a-z0-9-]+1[a-z0-9]{20,}", re.IGNORECASE)  # age1yubikey1…
_INDENT: Final = range(1, 10)


@dataclass(frozen=True, slots=True)
class Rules:
    """`rules` are pairs of a pattern of paths below the site (Go's RE2, None: any) and age recipients; `indent` is of the YAML that is
    written, None: as sops likes it."""

    rules: tuple[tuple[str | None, tuple[str, ...]], ...] = ()
    indent: int | None = None

    def text(self) -> str:
        """As a configuration of sops."""
        made: dict[str, Any] = {}
        if self.rules:
            made["creation_rules"] = [
                {**({"path_regex": pattern} if pattern is not None else {}), "age": ",".join(to)}
                for pattern, to in self.rules
            ]
        if self.indent:
            made["stores"] = {"yaml": {"indent": self.indent}}
        return json.dumps(made)


NONE: Final = Rules()


def find(site: Path) -> Rules:
    """The rules of a site's own .sops.yaml; NONE without one. What lies below or above counts for nothing.

    Raises errors.Terminal: SopsRemoteKey, SopsFailed, with file and line.
    """
    content = text_of(site)
    return NONE if content is None else read(content, str(site.absolute() / sealed.CREATION_RULES))


def text_of(site: Path) -> bytes | None:
    """What a site's own .sops.yaml says; None without one."""
    try:
        return files.read_nofollow(site.absolute(), sealed.CREATION_RULES)[0]
    except FileNotFoundError:
        return None


def governing(rules: Rules, relative: str) -> int | None:
    """Which rule a file is encrypted by, as sops chooses: the first that fits its path below the site.

    Raises errors.Terminal (SopsFailed) for a pattern that cannot be matched.
    """
    for index, (expression, _) in enumerate(rules.rules):
        try:
            if expression is None or pattern.compile(expression).search(relative):
                return index
        except pattern.PatternError as error:
            message = (
                f"{sealed.CREATION_RULES}: the path_regex {expression!r} of rule {index + 1} cannot be matched: {error}"
            )
            raise errors.Terminal(message, reason=Reason.SopsFailed) from None
    return None


def edited(content: bytes, name: str, chosen: Collection[int], who: str, note: str | None) -> bytes:
    """The text of a .sops.yaml with the recipient `who` in the chosen rules, `note` as its comment; without it when `note` is None.

    Every other byte stays. Raises errors.Terminal (SopsFailed) when a rule would name nobody, or is written so that only a person can
    edit it.
    """
    before = read(content, name)
    data = yaml.load(content, name).data or {}
    after = content
    for index in chosen:
        present = sealed.among(who, before.rules[index][1])
        if present is (note is not None):
            continue
        rule = data["creation_rules"][index]
        base: yaml.Path = ("creation_rules", index)
        places: list[yaml.Path] = [(*base, "age")] if rule.get("age") else []
        places += [(*base, "key_groups", 0, "age")] if rule.get("key_groups") and (note is None or not places) else []
        for place in places:
            try:
                added = {who: note} if note is not None else {}
                after = edit.edit_list(after, place, added, lambda item: note is None and sealed.same_key(who, item))
            except edit.EmptiedError as error:
                hint = "name who else is to read those files first, or remove the rule and its files"
                raise _refused(name, index, f"{error} ({hint})") from None
            except edit.EditError as error:
                raise _by_hand(name, index, who, str(error)) from None
    wanted = tuple(
        (expression, _with(to, who, note) if index in chosen else to)
        for index, (expression, to) in enumerate(before.rules)
    )
    if read(after, name).rules != wanted:
        raise _by_hand(name, min(chosen), who, "is written in a way that this program cannot edit")
    return after


def _with(to: tuple[str, ...], who: str, note: str | None) -> tuple[str, ...]:
    others = tuple(one for one in to if not sealed.same_key(who, one))
    if note is None:
        return others
    return to if len(others) < len(to) else (*to, who)


def _by_hand(name: str, index: int, who: str, why: str) -> errors.Terminal:
    return _refused(name, index, f"{why} (edit it by hand for {who}, and run this again)")


def _refused(name: str, index: int, why: str) -> errors.Terminal:
    message = f"{name}: the list of recipients of rule {index + 1} {why}; nothing was changed"
    return errors.Terminal(message, reason=Reason.SopsFailed)


def read(content: bytes, name: str) -> Rules:
    """The rules in the text of a .sops.yaml, which messages call `name`. Raises as `find`."""
    try:
        document = yaml.load(content, name)
    except errors.SiteInvalid as error:
        raise errors.Terminal(str(error.problems[0]), reason=Reason.SopsFailed) from None
    reader = _Reader(document)
    data = reader.mapping((), document.data, ("creation_rules", "stores"))
    rules = data.get("creation_rules") or []
    if not isinstance(rules, list):
        raise reader.wrong(("creation_rules",), "must be a list of rules")
    made = tuple(reader.rule(("creation_rules", index), rule) for index, rule in enumerate(rules))
    return Rules(made, reader.indent(data.get("stores")))


class _Reader:
    def __init__(self, document: yaml.Document) -> None:
        self.document = document

    def wrong(
        self, path: yaml.Path, message: str, hint: str = "", reason: Reason = Reason.SopsFailed
    ) -> errors.Terminal:
        return errors.Terminal(str(self.document.place(path, key=True).problem(message, hint)), reason=reason)

    def mapping(self, path: yaml.Path, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
        """A mapping that has nothing but `known`."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(path, "must be a mapping")
        for key, item in value.items():
            if key in known or item in (None, "", [], False):
                continue
            if key in sealed.KEY_SERVICES or key.startswith(("kms", "gcp_", "azure", "hc_", "aws_", "hckms")):
                message = f"{key} would have sops ask a key service, and send it the key of every password"
                raise self.wrong((*path, key), message, "name age recipients only", Reason.SopsRemoteKey)
            hint = f"this program encrypts every value for age recipients: use {', '.join(known)}, or give --recipient"
            raise self.wrong((*path, key), f"{key} is not supported here", hint)
        return value

    def rule(self, path: yaml.Path, value: Any) -> tuple[str | None, tuple[str, ...]]:
        found = self.mapping(path, value, (*_RULE, "key_groups"))
        pattern = found.get("path_regex")
        if pattern is not None and not isinstance(pattern, str):
            raise self.wrong((*path, "path_regex"), "must be a text")
        to = list(self.recipients((*path, "age"), found.get("age")))
        groups = found.get("key_groups") or []
        if not isinstance(groups, list) or len(groups) > 1:
            raise self.wrong(
                (*path, "key_groups"), "more than one group is not supported: every recipient opens a file alone"
            )
        for group in groups:
            place = (*path, "key_groups", 0)
            to += self.recipients((*place, "age"), self.mapping(place, group, ("age",)).get("age"))
        if not to:
            raise self.wrong(path, "names nobody to encrypt for", "add age: with one recipient or more")
        return pattern, tuple(to)

    def recipients(self, path: yaml.Path, value: Any) -> list[str]:
        items = value if isinstance(value, list) else [value] if value else []
        found = []
        for item in (part.strip() for text in items for part in str(text).split(",")):
            if not item:
                continue
            if not sealed.is_recipient(item):
                message = f"{item[:80]!r} is no age recipient (age1…, or an ssh-ed25519 or ssh-rsa public key)"
                if _PLUGIN.match(item):
                    hint = "a plugin's is not used: sops would start a program for it"
                    raise self.wrong(path, message, hint, Reason.SopsRemoteKey)
                hint = "your own: `age-keygen -y FILE`; a host's: /etc/ssh/ssh_host_ed25519_key.pub there"
                raise self.wrong(path, message, hint)
            found.append(sealed.bare(item))
        return found

    def indent(self, stores: Any) -> int | None:
        known = ("yaml", "json", "json_binary", "ini", "dotenv")
        found = self.mapping(("stores",), stores, known).get("yaml")
        value = self.mapping(("stores", "yaml"), found, ("indent",)).get("indent")
        if value is None:
            return None
        if not isinstance(value, int) or value not in _INDENT:
            raise self.wrong(("stores", "yaml", "indent"), "must be a number from 1 to 9")
        return value
