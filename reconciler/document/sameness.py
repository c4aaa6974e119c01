"""Whether anybody can tell two values of a site apart. Stricter than `==`, for which 1, 1.0 and true are the same."""

from typing import Any

from reconciler.document.numbers import WRITTEN


class Everybody:
    """A value that counts as the same wherever it is, because whoever looks into it is noticed."""

    __slots__ = ()


def same(one: Any, other: Any) -> bool:
    """As `==`, and of the same types, in the same order, and written alike."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, str | bytes | bool):
        return bool(one == other)
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(key, other_key) and same(item, other[key])
            for (key, item), other_key in zip(one.items(), other, strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float):
        return bool(one == other) and (not isinstance(one, (float, *WRITTEN)) or repr(one) == repr(other))
    return isinstance(one, Everybody)
