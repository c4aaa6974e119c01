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
_PLAIN = len(_KINDS)
# Lines that only lead to the cause: frames of a trace, the shell's own trace, what announces that something follows.
_NOISE = re.compile(
    r"^\+{1,4} |\bINFO\b|\bDEBUG\b|^\s*File \"|^\s{4,}|^Traceback |\bTraceback \(most recent|^During handling of|^The above exception|"
    r"cannot be loaded as Python module|Exception occurred processing|^\s*[~^]+\s*$|\b(?:Unhandled|Uncaught) (?:error|exception)\s*:?\s*$"
)
# What comes before what is said: times, process and thread, level, logger, request.
_PREFIX = re.compile(
    r"^(?:\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?\s?(?:Z|[+-]\d\d:?\d\d)?\]?"
    r"|\[\w{3} \w{3} +\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)? \d{4}\]"
    r"|\[[\w.-]*:(?:emerg|alert|crit|error|warn|notice|info|debug)\]|\[pid \d+(?::tid \d+)?\]|\[(?:remote|client) [^\]]*\]"
    r"|\[(?:error|warning|warn|crit|critical|emerg|alert|fatal|notice|info|ERROR|WARNING|Warning|Note)\]|<[\d.]+>"
    r"|(?:CRITICAL|FATAL|ERROR|WARNING|WARN)(?=[\s:])|\[-\]|\[(?:None )?req-[^\]]*\]|\[None [^\]]*\]|\[[^\]]{0,40} - - - - -\]"
    r"|mod_wsgi \(pid=\d+\):|\d+(?=\s)|[a-z_][\w]*(?:\.[\w-]+)+(?=\s+\[)|[a-z_]+(?=\s+\[(?:-|None|req-))|:|-(?=\s))\s*"
)
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
    whatever numbers it bears."""
    seen: dict[str, str] = {}
    for line in lines:
        if line.strip():
            seen.setdefault(_VARYING.sub("#", gist(line)), line)
    ranked = [(rank(line), line) for line in seen.values()]
    errors = [line for kind, line in ranked if kind < _PLAIN - 1]
    others = [line for kind, line in ranked if kind >= _PLAIN - 1]
    room = max(most - len(errors), 0)
    return [*errors[:most], *(others[-room:] if room else ())]


def headline(lines: Iterable[str]) -> str:
    """The one line that says best what is wrong, without its time, level and logger; "" when none does."""
    best, kind = "", _PLAIN
    for line in lines:
        if (found := rank(line)) < kind and gist(line):
            best, kind = line, found
    return gist(best)


def rank(line: str) -> int:
    """How much a line says of what is wrong: 0 is most, what only leads there is last."""
    if _NOISE.search(line) and not _KINDS[0].search(line):
        return _PLAIN + 1
    return next((number for number, kind in enumerate(_KINDS) if kind.search(line)), _PLAIN)


def gist(line: str) -> str:
    """What a line says, without its time, process, level and logger."""
    rest = line.strip()
    while (found := _PREFIX.match(rest)) and found.end():
        rest = rest[found.end() :]
    return rest.strip()


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
