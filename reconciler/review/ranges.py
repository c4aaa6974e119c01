"""Many host names in few words: `cmp[1-40]`, `ctl[01-03,05]`."""

import re
from collections.abc import Iterable

_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)", re.DOTALL)


def compact(names: Iterable[str]) -> str:
    """Names that differ in their last number only are written together, in the order of their first appearance.

    Numbers of one width are one range (`cmp[001-120]`), so that every name can be read back.
    """
    families: dict[tuple[str, str, int], list[int]] = {}
    plain: dict[str, tuple[str, str, int] | None] = {}
    for name in dict.fromkeys(names):
        match = _NUMBERED.fullmatch(name)
        if match is None:
            plain[name] = None
            continue
        prefix, digits, suffix = match.groups()
        # Without leading zeros the width says nothing: 9 and 10 belong together.
        width = len(digits) if digits.startswith("0") and len(digits) > 1 else 0
        family = (prefix, suffix, width)
        if not width and (prefix, suffix, len(digits)) in families:
            family = (prefix, suffix, len(digits))  # 09 and 10
        families.setdefault(family, []).append(int(digits))
        plain.setdefault(f"{prefix}\0{suffix}\0{family[2]}", family)
    return ",".join(name if family is None else _family(family, families[family]) for name, family in plain.items())


def _family(family: tuple[str, str, int], numbers: list[int]) -> str:
    prefix, suffix, width = family
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])

    def text(number: int) -> str:
        return str(number).zfill(width)

    if len(numbers) == 1:
        return f"{prefix}{text(numbers[0])}{suffix}"
    parts = [text(a) if a == b else f"{text(a)}-{text(b)}" for a, b in spans]
    return f"{prefix}[{','.join(parts)}]{suffix}"
