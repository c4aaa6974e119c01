"""What messages say of values and names: a value as it is quoted, and the known name that was meant. Needs no schema."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, Final

from reconciler.document import budget, literals
from reconciler.secret import MASK

_DIGITS: Final = re.compile(r"[0-9]+")
_MAX_WORD: Final = 80  # characters; a longer word is no slip of the pen
_WORD_COST: Final = 20  # of the budget of comparisons, for looking at a word at all
_SHORT: Final = 4  # characters; of a word like that one letter is much, and it may stand for a longer one
_FEW: Final = 12  # words among which somebody would write one in short
_MANY: Final = 300  # words of about the right length: among more, only those that begin or end alike are looked at


def show(value: Any, limit: int = 60) -> str:
    """A value as a message quotes it: short, in YAML's words, an address without its password."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):  # the password goes before it is cut, when one can still see that it is one
        value = literals.URL.sub(rf"\g<before>{MASK}@", value)[: limit + 1]
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"


def suggest(word: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'?" for the nearest known word, or the empty text when none is near."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like `word`, or the empty text when none is near, or looking has become too much."""
    words = list(known)
    # Names share long prefixes (enable_…): a longer word must be nearer to be one that was meant.
    cutoff = 0.65 if len(word) < 6 else 0.8
    allowed = budget.current()
    if len(word) > _MAX_WORD or not allowed.compare(_WORD_COST * len(words)):
        return ""
    folded = word.lower().replace("-", "_")
    for other in words:
        if other.lower().replace("-", "_") == folded:
            return other
    if len(folded) <= _SHORT and len(words) <= _FEW:
        meant = [other for other in words if len(other) > _SHORT and _stands_for(folded, other.lower())]
        if len(meant) == 1:
            return meant[0]
    near = [other for other in words if 2 * min(len(word), len(other)) >= cutoff * (len(word) + len(other))]
    if len(near) > _MANY:
        near = [other for other in near if other[:2] == word[:2] or other[-2:] == word[-2:]]
    if not allowed.compare(len(word) * sum(map(len, near))):
        return ""
    near = difflib.get_close_matches(word, near, 3, cutoff)
    return next((other for other in near if not _siblings(word, other)), "")


def _stands_for(short: str, word: str) -> bool:
    """Whether it is the first letter of the word and some of the others, in their order: ovs is openvswitch, and no slip for ovn."""
    rest = iter(word)
    return short[:1] == word[:1] and all(letter in rest for letter in short)


def _siblings(one: str, other: str) -> bool:
    """Whether names differ in their numbers alone, as rack1 and rack2 do: neither is a slip of the pen for the other."""
    numbers = [[int(number) for number in _DIGITS.findall(name)] for name in (one, other)]
    return _DIGITS.sub("#", one) == _DIGITS.sub("#", other) and numbers[0] != numbers[1]
