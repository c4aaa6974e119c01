"""Which plans of different hosts are the same: those that are equal once each host's own name and addresses are put aside.

And how the files in them differ, with every secret as its name.
"""

import base64
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from reconciler.model import Desired, Plan, Verb
from reconciler.render import tokens
from reconciler.site import Host

_MAX_DIFF = 2000  # lines
_MAX_LINE = 400


class Shaper:
    """For one host: texts with its own name and addresses replaced by what they are."""

    def __init__(self, host: Host) -> None:
        names = {host.name: "\0host", host.hostname: "\0host"}
        # Networks that fall back on another one share its address: the first name stands for all.
        for network, address in sorted(host.addresses.items(), reverse=True):
            names[address] = f"\0address of {network}"
        self._names: Mapping[str, str] = {name: mark for name, mark in names.items() if name}
        longest_first = sorted(self._names, key=len, reverse=True)
        words = "|".join(re.escape(name) for name in longest_first)
        self._own = re.compile(rf"(?<![\w.-])(?:{words})(?![\w-])")

    def shape(self, value: Any) -> str:
        """A digest of plain JSON values that is equal for hosts which differ in nothing else."""
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
        return self.key([self._own.sub(lambda match: self._names[match[0]], text)])

    @staticmethod
    def key(parts: Iterable[str]) -> str:
        """One digest for several texts."""
        whole = hashlib.sha256()
        for part in parts:
            whole.update(f"{len(part)}:{part}".encode(errors="surrogatepass"))
        return whole.hexdigest()[:32]


def readable(plan: Plan, before: Desired | None, after: Desired) -> Plan:
    """The plan with diffs from text to text: both have tokens where a secret is, so nothing needs to be hidden."""
    old = {file.path: file.shown for file in before.files} if before else {}
    new = {file.path: file.shown for file in after.files}
    actions = []
    for action in plan.actions:
        if action.verb is Verb.WRITE and action.target in new:
            texts = (old.get(action.target, ""), new[action.target])
            action = replace(action, diff=text_diff(action.target, *texts))
        actions.append(action)
    return replace(plan, actions=tuple(actions))


@lru_cache(maxsize=512)  # most hosts have most files alike
def text_diff(path: str, before: str, after: str) -> str:
    """A unified diff of two rendered texts, which hold secrets as tokens only; "" when they are the same."""
    lines = list(
        difflib.unified_diff(
            _shown(before).splitlines(), _shown(after).splitlines(), f"a/{path}", f"b/{path}", lineterm="", n=2
        )
    )
    if len(lines) > _MAX_DIFF:
        lines = [*lines[:_MAX_DIFF], f"… {len(lines) - _MAX_DIFF} more lines"]
    return "\n".join(line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…" for line in lines)


def _shown(text: str) -> str:
    """`text` with wrapped tokens as people would write them: `<<secret:NAME|urlencode>>`."""
    return tokens.TOKEN.sub(lambda match: _unwrapped(match) if match["filter"] else match[0], text)


def _unwrapped(match: re.Match[str]) -> str:
    raw = match["inner"]
    try:
        inner = base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)).decode(errors="replace")
    except ValueError:  # written by hand
        return match[0]
    if tokens.TOKEN.fullmatch(inner):
        return f"{_shown(inner).removesuffix('>>')}|{match['filter']}>>"
    return f"<<{_shown(inner)}|{match['filter']}>>"
