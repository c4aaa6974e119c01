"""What of a container's options gives it power over its host: what a strict host's settings would have to grant it, entry by entry.

It follows from the rows of the table that a setting grants, so that a new option counts without anybody's doing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from reconciler.options.normal import normal
from reconciler.options.table import TABLE, Kind, Option, Options

_LONG: Final = 60  # characters of an entry that people see


@dataclass(frozen=True, slots=True)
class Power:
    """One entry: the option as service.yml calls it, and what of it; "" of a flag."""

    option: str
    what: str

    @property
    def words(self) -> str:
        return f"{self.option} {self.what if len(self.what) <= _LONG else self.what[:_LONG] + '…'}".rstrip()


def of(container: Options) -> tuple[Power, ...]:
    """Everything, options with few entries first."""
    asked = normal(container)
    found = [
        Power(row.key.rpartition(".")[2], str(what))
        for row in TABLE.values()
        if row.granted_by
        for what in _entries(row, getattr(asked, row.name), asked)
    ]
    counted = Counter(power.option for power in found)
    return tuple(sorted(dict.fromkeys(found), key=lambda power: counted[power.option]))


def more(had: Iterable[Power], has: Iterable[Power]) -> tuple[Power, ...]:
    """What of `has` goes beyond `had`."""
    before = tuple(had)
    return tuple(power for power in has if not any(_covers(one, power) for one in before))


def _entries(row: Option, value: Any, container: Options) -> Iterable[Any]:
    if row.power:
        return row.power(value, container)
    if row.kind is Kind.FLAG:
        return ("",) if value else ()
    if row.kind in (Kind.TEXTS, Kind.SCALARS):
        return tuple(value)
    return () if value == row.default else (value,)


def _covers(one: Power, other: Power) -> bool:
    """Whether who has `one` has `other`: who may write somewhere may read there."""
    if one == other:
        return True
    (path, *modes), (wanted, *asked) = one.what.split(":"), other.what.split(":")
    more = {"shared"} & {*asked} - {*modes} or {"ro"} & {*modes} - {*asked}
    return one.option == other.option == "volumes" and path == wanted and not more


# What a container has that says nothing of it: it is on the host's network.
USUAL: Final = of(Options("", ""))
