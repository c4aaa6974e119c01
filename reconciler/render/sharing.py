"""Work of rendering that is done once for all hosts, and for both revisions of a plan, that provably see the same.

A unit of work (a variable, a file, a container) is recorded with everything that it asked of its host: the values of variables,
whether a name is there, files of config/, the members of groups. For another host the same questions are asked again, in the same
order, as the work itself would; when all answers are the same, so is the result, because templates have no other input. Nothing is
assumed of hosts that look alike: one with another address, or another word in its own file, gives another answer to whoever asks.

What the work took (`meter`) is charged again, so that a host may take the same whoever was rendered before.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from reconciler.document.numbers import WRITTEN
from reconciler.errors import SiteInvalid
from reconciler.render.faults import FilterError
from reconciler.render.meter import Meter
from reconciler.site import Site

T = TypeVar("T")

ABSENT: Final = object()  # the answer for a name that is not there
_MOST_KEPT: Final = 4  # results of one unit: those that other hosts see otherwise are as many as hosts


class Question(NamedTuple):
    """What was asked. `host` is None for the host that the unit is about."""

    kind: str  # a key of `evaluate.World.answers`
    host: str | None
    name: Hashable

    def about(self, host: str, seen_by: str) -> "Question":
        """The same, asked about `host`'s unit and told to one about `seen_by`."""
        asked = host if self.host is None else self.host
        return Question(self.kind, None if asked == seen_by else asked, self.name)


@dataclass(eq=False, slots=True)
class Frame:
    """One unit while it is worked on."""

    host: str
    outer: "Frame | None"
    asked: dict[Question, Any] = field(default_factory=dict)
    spoiled: bool = False  # something was asked that cannot be asked again

    def spoil(self) -> None:
        """The unit is not kept, and neither is what it is part of."""
        frame: Frame | None = self
        while frame is not None:
            frame.spoiled = True
            frame = frame.outer


@dataclass(eq=False, slots=True)
class _Kept:
    """A result, the questions whose answers it follows from, and what it took."""

    value: Any
    asked: Mapping[Question, Any]
    steps: int
    size: int
    sources: Mapping[str, int]
    read: tuple[str, ...]  # files of config/ that it noted
    # Worlds in which all of it is known to hold, each with the host for which it does.
    homes: dict[int, str]
    alive: Any  # what its key has by identity


class Sharing:
    """What several renderings share. One may be given to the worlds of two revisions of a site."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._worlds = 0

    def join(self, site: Site, known: frozenset[str]) -> tuple[int, "_Part"]:
        """A number for a new world of `site`, and what it shares with the earlier ones that are like it."""
        self._worlds += 1
        for part in self._parts:
            if part.fits(site, known):
                return self._worlds, part
        part = _Part(site, known)
        self._parts.append(part)
        return self._worlds, part


class _Part:
    """Worlds that differ in their variables, secrets and files of config/ alone, about which units ask."""

    def __init__(self, site: Site, known: frozenset[str]) -> None:
        self.site = site
        self.known = known
        self.groups = {name: list(hosts) for name, hosts in site.groups.items()}
        self._kept: dict[Hashable, list[_Kept]] = {}

    def fits(self, site: Site, known: frozenset[str]) -> bool:
        mine = self.site
        return (
            site.hosts == mine.hosts
            and list(site.hosts) == list(mine.hosts)
            and site.groups == mine.groups
            and known == self.known
            and _identical(site.catalogue.services, mine.catalogue.services)
            and _identical(site.catalogue.variables, mine.catalogue.variables)
        )

    def find(self, key: Hashable, holds: Callable[[_Kept], bool]) -> _Kept | None:
        """The kept result of a unit that holds."""
        kept = self._kept.get(key, [])
        for index, item in enumerate(kept):
            if holds(item):
                if index:
                    kept.insert(0, kept.pop(index))
                return item
        return None

    def keep(self, key: Hashable, item: _Kept) -> None:
        kept = self._kept.setdefault(key, [])
        kept.insert(0, item)
        del kept[_MOST_KEPT:]


def _identical(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return list(one) == list(other) and all(item is other[name] for name, item in one.items())


class Shared:
    """The units of one world. `ask` answers a question about a host, as templates of that host get it."""

    def __init__(self, number: int, part: _Part, ask: Callable[[str, str, Any], Any], read: list[str]) -> None:
        self._number = number
        self._part = part
        self._ask = ask
        self._read = read
        self.frame: Frame | None = None

    def note(self, kind: str, host: str, name: Hashable, answer: Any) -> None:
        """Remember what was asked for the unit that is worked on."""
        frame = self.frame
        if frame is not None:
            frame.asked[Question(kind, None if host == frame.host else host, name)] = answer

    def spoil(self) -> None:
        """What is worked on cannot be kept."""
        if self.frame is not None:
            self.frame.spoil()

    def alone(self, work: Callable[[], T]) -> T:
        """Do `work`, about whose questions the unit that is worked on asks nothing: its result is noted as one answer."""
        before, self.frame = self.frame, None
        try:
            return work()
        finally:
            self.frame = before

    def unit(
        self,
        key: Hashable,
        host: str,
        meter: Meter,
        work: Callable[[], T],
        *,
        inside: bool = True,
        alive: Any = None,
        good: Callable[[], bool] = lambda: True,
    ) -> T:
        """The result of `work`, or that of another host for which all that it would ask has the same answers.

        `key` says all that the work depends on and does not ask; what it has by identity is kept `alive`. `inside`: what it asks, the
        unit around it asks, too; otherwise it is one answer for that. `good` says whether the result may be used for others.
        """
        noted = len(self._read)
        found = self.alone(lambda: self._part.find(key, lambda kept: self._holds(kept, host)))
        del self._read[noted:]  # of the questions; the work itself notes them in its own order
        if found is None:
            found = self._work(key, host, meter, work, alive, good)
        else:
            meter.spend(found.steps, found.size)
            for text, tokens in found.sources.items():
                meter.source(text, tokens)
            self._read += found.read
        outer = self.frame
        if inside and outer is not None:
            for question, answer in found.asked.items():
                outer.asked[question.about(host, outer.host)] = answer
        value: T = found.value
        return value

    def _work(
        self, key: Hashable, host: str, meter: Meter, work: Callable[[], T], alive: Any, good: Callable[[], bool]
    ) -> _Kept:
        outer, noted = self.frame, len(self._read)
        frame = self.frame = Frame(host, outer)
        try:
            with meter.record(part=True) as cost:
                value = work()
        except BaseException:
            frame.spoil()
            raise
        finally:
            self.frame = outer
        read, homes = tuple(self._read[noted:]), {self._number: host}
        made = _Kept(value, frame.asked, cost.steps, cost.size, cost.sources, read, homes, alive)
        if not frame.spoiled and good():
            self._part.keep(key, made)
        return made

    def _holds(self, kept: _Kept, host: str) -> bool:
        """Whether all that a result followed from is so for `host` in this world."""
        if self._number not in kept.homes and host not in kept.homes.values():
            return False  # in another world what it asked about itself may have been meant as one of several hosts
        for question, answer in kept.asked.items():
            try:  # what is known to hold, too: this host pays for it
                now = self._ask(question.kind, question.host or host, question.name)
            except (SiteInvalid, FilterError):
                return False
            if not same(now, answer):
                return False
        kept.homes.setdefault(self._number, host)
        return True


def same(one: Any, other: Any) -> bool:
    """Whether nobody can tell two values apart: as `==`, and of the same types, in the same order, and written alike."""
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


class Everybody:
    """A value that is the same in all worlds of a part, whose own values are asked for one by one."""

    __slots__ = ()
