"""Work of rendering that is done once for all hosts, and for both revisions of a plan, that provably see the same.

A unit of work (a variable, a file, a container) is recorded with what it is made of (`reads`): the names of all that the site says and
that was looked at on the way, of its host and of others. Where nothing of that differs, for another host or in the other revision
(`differences`), the result is the same, because templates have no other input.

Where something does, it may still come to the same. So everything is recorded, too, that the unit asked of its host: the values of
variables, whether a name is there, files of config/, the members of groups. The same questions are asked again, in the same order, as
the work itself would; when all answers are the same, so is the result. Nothing is assumed of hosts that look alike: one with another
address, or another word in its own file, gives another answer to whoever asks.

What the work took (`meter`) is charged again, so that a host may take the same whoever was rendered before.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from reconciler.document.sameness import same
from reconciler.errors import SiteInvalid
from reconciler.render.differences import Differences
from reconciler.render.faults import FilterError
from reconciler.render.meter import Cost, Meter
from reconciler.render.reads import Ledger, Reads
from reconciler.site import Site

T = TypeVar("T")

ABSENT: Final = object()  # the answer for a name that is not there
_MOST_KEPT: Final = 4  # results of one unit: those that other hosts see otherwise are as many as hosts


# What was asked: its kind (a word that `evaluate.World` answers to), of which host (None for the one that the unit is about), the name.
Question = tuple[str, str | None, Hashable]


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


@dataclass(frozen=True, slots=True)
class _Home:
    """A host for which a result is known to hold: what it is made of there, and what that takes, once for all that it is made of."""

    host: str
    reads: Reads
    cost: Cost


@dataclass(eq=False, slots=True)
class _Kept:
    """A result, and the questions whose answers it follows from."""

    value: Any
    asked: Mapping[Question, Any]
    read: tuple[str, ...]  # files of config/ that it noted
    homes: dict[int, _Home]  # by the world; of each one
    alive: Any  # what its key has by identity


class Sharing:
    """What several renderings share. One may be given to the worlds of two revisions of a site."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._worlds = 0

    def join(self, site: Site, known: frozenset[str]) -> tuple[int, "_Part"]:
        """A number for a new world of `site`, and what it shares with the earlier ones that are like it."""
        self._worlds += 1
        part = next((part for part in self._parts if part.fits(site, known)), None)
        if part is None:
            part = _Part(site, known)
            self._parts.append(part)
        part.differences.sites[self._worlds] = site
        return self._worlds, part


class _Part:
    """Worlds that differ in their variables, secrets and files of config/ alone, about which units ask."""

    def __init__(self, site: Site, known: frozenset[str]) -> None:
        self.site = site
        self.known = known
        self.groups = {name: list(hosts) for name, hosts in site.groups.items()}
        self.differences = Differences()
        self._kept: dict[Hashable, list[_Kept]] = {}

    def fits(self, site: Site, known: frozenset[str]) -> bool:
        mine = self.site
        return (
            site.hosts == mine.hosts
            and list(site.hosts) == list(mine.hosts)
            and site.groups == mine.groups
            and site.left == mine.left
            and known == self.known
            and _identical(site.catalogue.services, mine.catalogue.services)
            and _identical(site.catalogue.variables, mine.catalogue.variables)
        )

    def find(self, key: Hashable, home: Callable[[_Kept], _Home | None]) -> tuple[_Kept, _Home] | None:
        """The kept result of a unit that `home` gives one for."""
        kept = self._kept.get(key, [])
        for index, item in enumerate(kept):
            found = home(item)
            if found is not None:
                if index:
                    kept.insert(0, kept.pop(index))
                return item, found
        return None

    def forget(self, key: Hashable) -> None:
        """Let go of the results of a unit."""
        self._kept.pop(key, None)

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
        self.ledger = Ledger()

    def note(self, kind: str, host: str, name: Hashable, answer: Any) -> None:
        """Remember what was asked for the unit that is worked on."""
        frame = self.frame
        if frame is not None:
            frame.asked[kind, None if host == frame.host else host, name] = answer

    def look(self, host: str, *names: Hashable) -> None:
        """Remember that names of `host` were looked at."""
        for name in names:
            self.ledger.add(host, self._part.differences.bit(name))

    def forget(self, key: Hashable) -> None:
        """Let go of the results of a unit."""
        self._part.forget(key)

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
        found = self._part.find(key, lambda kept: self._untouched(kept, host)) or self._asked(key, host, meter)
        if found is None:
            kept = self._work(key, host, meter, work, alive, good)
        else:
            kept, home = found
            self.ledger.take(Reads(host, home.reads.own, home.reads.others))
            meter.reuse(host, home.cost)
            self._read += kept.read
        outer = self.frame
        if inside and outer is not None:
            if host == outer.host:
                outer.asked.update(kept.asked)
            else:
                for (kind, whose, name), answer in kept.asked.items():
                    asked = whose or host
                    outer.asked[kind, None if asked == outer.host else asked, name] = answer
        value: T = kept.value
        return value

    def _work(
        self, key: Hashable, host: str, meter: Meter, work: Callable[[], T], alive: Any, good: Callable[[], bool]
    ) -> _Kept:
        outer, noted = self.frame, len(self._read)
        frame = self.frame = Frame(host, outer)
        try:
            with self.ledger.about(host) as reads, meter.record(host) as cost:
                value = work()
        except BaseException:
            frame.spoil()
            raise
        finally:
            self.frame = outer
        home = _Home(host, reads, cost)
        made = _Kept(value, frame.asked, tuple(self._read[noted:]), {self._number: home}, alive)
        if not frame.spoiled and good():
            self._part.keep(key, made)
        return made

    def _untouched(self, kept: _Kept, host: str) -> _Home | None:
        """A home of the result from which nothing differs for `host` in this world that the result is made of."""
        differences = self._part.differences
        home = kept.homes.get(self._number)
        if home is not None:
            return None if home.reads.own & differences.between_hosts(self._number, home.host, host) else home
        for number, home in kept.homes.items():
            if home.host == host:
                own, others = differences.between_revisions(number, self._number, host)
                if not home.reads.own & own and not home.reads.others & others:
                    kept.homes[self._number] = home
                    return home
        return None

    def _asked(self, key: Hashable, host: str, meter: Meter) -> tuple[_Kept, _Home] | None:
        """The kept result for which all questions have the same answers."""
        noted = len(self._read)
        found = self.alone(lambda: self._part.find(key, lambda kept: self._answered(kept, host, meter)))
        del self._read[noted:]  # of the questions; the work itself notes them in its own order
        return found

    def _answered(self, kept: _Kept, host: str, meter: Meter) -> _Home | None:
        """Whether all that a result followed from is so for `host` in this world: what it is made of there."""
        if self._number not in kept.homes and all(home.host != host for home in kept.homes.values()):
            return None  # in another world what it asked about itself may have been meant as one of several hosts
        with self.ledger.about(host) as reads, meter.record(host) as cost:
            for (kind, whose, name), answer in kept.asked.items():
                try:  # what is known to hold, too: this host pays for it
                    now = self._ask(kind, whose or host, name)
                except (SiteInvalid, FilterError):
                    return None
                if not same(now, answer):
                    return None
        first = next(iter(kept.homes.values())).cost
        home = _Home(host, reads, Cost(first.steps, first.size, first.sources, cost.needs))
        kept.homes.setdefault(self._number, home)
        return home
