"""What a service's own log says about why it does not work: what is of this start, what is an error first, each thing once. Pure.

Services log in many forms. What is read of a line is a time at its beginning, a level, and what is left without them; a line
in no form that is known counts as it stands.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

_SLACK = timedelta(seconds=1)  # clocks of different resolution
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_HEAD = 60  # characters of a line in which its time is looked for
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,]\d+)?\s?(Z|[+-]\d\d:?\d\d)?")
_APACHE = re.compile(r"\[\w{3} (\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d{4})\]")
_ACCESS = re.compile(r"\[(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\]")

# The kinds of lines, the most telling first. First match decides.
_KINDS: Sequence[re.Pattern[str]] = (
    # a level that says that it is over
    re.compile(
        r"\b(?:CRITICAL|FATAL|EMERG(?:ENCY)?|ALERT|PANIC)\b|\[(?:emerg|alert|crit|critical|fatal)\]|:(?:emerg|alert|crit)\]|^panic:"
    ),
    # an error by its level, or by the name of an exception
    re.compile(
        r"\bERROR\b|\[error\]|:error\]|^(?:\w+\.)*\w*(?:Error|Exception|Fault|NoMatches)\b:?|\berror:", re.IGNORECASE
    ),
    # what went wrong, whatever level it has
    re.compile(
        r"\b(?:could not|cannot|can't|unable to|failed|fails|failure|invalid|denied|refused|no such|not found|unknown|missing|illegal|"
        r"unexpected|unsupported|not permitted|in use|no space left)\b",
        re.IGNORECASE,
    ),
    re.compile(r"\bWARN(?:ING)?\b|\[warn(?:ing)?\]|:warn\]"),
)
_WARNING = len(_KINDS) - 1
_NEVER = datetime.max  # noqa: DTZ901 - compared with times that have lost theirs
# Lines that only lead to the cause, or that a service says whenever it starts: frames of a trace, what announces that something follows.
_NOISE = re.compile(
    r"^\s*File \"|^\s{3,}|^Traceback |^During handling of|^The above exception|^\s*[~^]+\s*$|^\W*$|^AH\d{5}: |^(?:INFO|DEBUG)\b"
    r"|^level=(?i:info|debug)\b"
    r"|cannot be loaded as Python module|Failed to exec Python script file|Exception occurred processing"
    r"|^(?:Unhandled|Uncaught) (?:error|exception)\s*:?\s*$"
)
_SHELL = re.compile(r"^\++ ")  # its own trace
_HEADING = re.compile(r"^(?:/\S+|container output):$")
# What comes before what is said: a time, then process and thread, level, logger, request.
_TIME = re.compile(
    r"^(?:\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?\s?(?:Z|[+-]\d\d:?\d\d)?\]?"
    r"|\[\w{3} \w{3} +\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)? \d{4}\]|(?:time|ts)=\S+)[ \t]?"
)
_LEVEL = re.compile(
    r"^(?:\[(?:[\w.-]*:)?(?:emerg|alert|crit|critical|fatal|error|warning|warn|notice|note|info|debug)\](?:\s+\(\d+\))?"
    r"|(?:CRITICAL|FATAL|ERROR|WARNING|WARN)(?=[\s:])|level=(?:error|warn|warning|fatal)(?=\s))\s*:?\s*",
    re.IGNORECASE,
)
_ORIGIN = re.compile(
    r"^(?:\[pid \d+(?::tid \d+)?\]|\[(?:remote|client) [^\]]*\]|\[-\]|\[(?:None )?req-[^\]]*\]|<[\d.]+>|mod_wsgi \(pid=\d+\):|\d+(?=\s)"
    r"|[a-z_]\w*(?:\.[\w-]+)*(?=\s+\[(?:-|None|req-))|(?:source|caller)=\S+)\s*"
)
WIDEST = 4096  # characters of a line that are looked at and shown: in one of a whole MiB nobody wrote what is wrong
_VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}(?:-[0-9a-f]+)*\b|\d+", re.IGNORECASE)


def of_this_start(text: str, since: datetime, zone: tzinfo | None = None) -> str | None:
    """The lines that were written since a moment; None when none of them bears a time. A time without a zone is one of `zone`
    (default: this host's) or, when no line would be left, of UTC."""
    lines = text.splitlines()
    moments = [_moment(line) for line in lines]
    if not any(moments):
        return None
    local = zone or since.astimezone().tzinfo or UTC
    for assumed in (local, UTC):
        kept, new = [], False
        for line, found in zip(lines, moments, strict=True):
            if found is not None:
                new = (found if found.tzinfo else found.replace(tzinfo=assumed)) >= since - _SLACK
            if new:
                kept.append(line)
        if kept:
            return "\n".join(kept)
    return ""


def telling(lines: Iterable[str], most: int) -> list[str]:
    """At most `most` of the lines: what is an error first, in the order it was written, then the last of the others; each once,
    whatever numbers it bears. The shell's own trace is left out."""
    seen: dict[str, str] = {}
    for line in map(_cut, lines):
        if line.strip() and not _SHELL.match(line):
            seen.setdefault(essence(line), line)
    errors = [line for line in seen.values() if rank(line) < _WARNING]
    others = [line for line in seen.values() if rank(line) >= _WARNING]
    room = max(most - len(errors), 0)
    return [*errors[:most], *(others[-room:] if room else ())]


def headline(lines: Iterable[str]) -> str:
    """The one line that says best what is wrong, without its time, level and logger; "" when none does. That is the first error that
    was written: what follows is mostly because of it."""
    candidates: list[tuple[datetime, str]] = []
    latest = _NEVER
    for line in map(_cut, lines):
        if _HEADING.match(line):
            latest = _NEVER
        elif found := _moment(line):
            latest = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
        if rank(line) < _WARNING and gist(line):
            candidates.append((latest, gist(line)))
    return min(candidates, key=lambda candidate: candidate[0])[1] if candidates else ""


def _cut(line: str) -> str:
    return line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"


def rank(line: str) -> int:
    """How much a line says of what is wrong: 0 is most, what only leads there is last."""
    if _HEADING.match(line) or _SHELL.match(line) or _NOISE.search(_rest(line)):
        return len(_KINDS) + 1
    return next((number for number, kind in enumerate(_KINDS) if kind.search(line)), len(_KINDS))


def gist(line: str) -> str:
    """What a line says, without its time, process, level and logger."""
    return _rest(line).strip()


def _rest(line: str) -> str:
    """The same, indented as it is."""
    rest, cut = line.rstrip(), False
    while found := _TIME.match(rest) or _LEVEL.match(rest) or (_ORIGIN.match(rest) if cut else None):
        rest, cut = rest[found.end() :], True
    return rest


def essence(line: str) -> str:
    """The same for two lines that say the same thing of different times, processes or requests."""
    said = gist(line)
    without = _VARYING.sub("#", said)
    return without if any(char.isalpha() for char in without) else said


def _moment(line: str) -> datetime | None:
    """The time at the beginning of a line; without a zone when it names none."""
    head = line[:_HEAD]
    try:
        if found := _ISO.search(head):
            year, month, day, hour, minute, second = map(int, found.groups()[:6])
            plain = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - its zone is told by whoever knows
            return plain.replace(tzinfo=_zone(found[7])) if found[7] else plain
        if found := _APACHE.search(head):
            month_name, *rest = found.groups()
            day, hour, minute, second, year = map(int, rest)
            return datetime(year, _MONTHS[month_name], day, hour, minute, second)  # noqa: DTZ001
        if found := _ACCESS.search(line):
            return datetime.strptime(found[0], "[%d/%b/%Y:%H:%M:%S %z]")
    except (ValueError, KeyError):
        pass
    return None


def _zone(text: str) -> tzinfo:
    return datetime.fromisoformat(f"2000-01-01T00:00:00{'+00:00' if text == 'Z' else text}").tzinfo or UTC
