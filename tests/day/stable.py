"""Makes what programs printed the same in every run: commits, times, places, ports. Nothing else of it is changed."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_MOMENT = re.compile(r"(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d:\d\d)( UTC)?")
_COMMIT = re.compile(r"\b[0-9a-f]{7,40}\b")
_SPANS = (
    # A table's column of durations is as wide as the longest of them.
    (re.compile(r"^(\w+ +(?:yes|no ) +)\d+ (?:s|min) +", re.MULTILINE), r"\1… s  "),
    (re.compile(r"\bFOR  +REASON"), "FOR  REASON"),
    (re.compile(r"\b\d+(\.\d+)? (s|min)\b"), "… s"),
    (re.compile(r"\b\d+(\.\d+)? (ms|GiB)\b"), r"… \2"),
    (re.compile(r"(ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI)[\w+/=]{43}"), r"\1…"),
    (re.compile(r"\bprocess \d+"), "process 812"),
)


@dataclass
class Stable:
    """`places`: what is shown → what it really is, the longest real one first. `marks`: real time → the time that is told."""

    places: dict[str, str]
    commits: dict[str, str] = field(default_factory=dict)
    marks: list[tuple[datetime, datetime]] = field(default_factory=list)

    def real(self, command: str) -> str:
        """A command as it is shown, as it is run."""
        for shown, real in self.places.items():
            command = command.replace(shown, real)
        return command

    def know(self, commits: Mapping[str, str]) -> None:
        """Take note of commits and their subjects."""
        for commit, subject in commits.items():
            twins = sum(known.startswith(f"{subject}\0") for known in self.commits.values())
            self.commits.setdefault(commit, f"{subject}\0{twins}")

    def text(self, printed: str, *, spans: bool = True) -> str:
        """What was printed, as it is shown. `spans` False: durations stay."""
        for shown, real in sorted(self.places.items(), key=lambda item: -len(item[1])):
            printed = printed.replace(real, shown)
        printed = _COMMIT.sub(self._commit, printed)
        printed = _MOMENT.sub(self._moment, printed)
        for pattern, shown in _SPANS if spans else ():
            printed = pattern.sub(shown, printed)
        return "\n".join(row.rstrip() for row in printed.rstrip().splitlines())

    def _commit(self, found: "re.Match[str]") -> str:
        for commit, name in self.commits.items():
            if commit.startswith(found[0]):
                return hashlib.sha1(name.encode()).hexdigest()[: len(found[0])]
        return found[0]

    def _moment(self, found: "re.Match[str]") -> str:
        began = self.marks[0][0]
        zone = timedelta(hours=1) if found[3] else timedelta(0)
        moment = datetime.fromisoformat(f"{found[1] or began.date()} {found[2]}") + zone
        if not found[1] and moment < began - timedelta(hours=1):
            moment += timedelta(days=1)  # the run went on past midnight
        told = next((told for real, told in reversed(self.marks) if real <= moment), None)
        if told is None:
            return found[0]
        told -= zone
        return (f"{told:%Y-%m-%d %H:%M:%S}" if found[1] else f"{told:%H:%M:%S}") + (found[3] or "")
