"""What became of every input: as text, as JSON, and as a page of its own. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from reconciler.data import only_these
from reconciler.importer.types import MEANING, Entry, Fate, Result
from reconciler.phrases import count, few
from reconciler.text import printable

_ALIKE = 3  # of one reason are told one by one
_QUIET = frozenset((Fate.TAKEN, Fate.DEFAULT))


def counts(entries: Sequence[Entry]) -> dict[str, int]:
    """How many inputs ended in each way; together they are all."""
    found = Counter(entry.fate for entry in entries)
    return {str(fate): found[fate] for fate in Fate}


def text(result: Result, everything: bool = False) -> str:
    """For a terminal: the counts, then what somebody has to look at (with `everything`, all)."""
    lines = [f"{len(result.entries)} inputs"]
    lines += [f"  {number:5}  {fate}: {MEANING[Fate(fate)]}" for fate, number in counts(result.entries).items()]
    for fate in reversed(Fate):
        told = everything or fate not in _QUIET
        found = [entry for entry in result.entries if entry.fate is fate and (told or entry.look)]
        if found:
            lines += ["", f"{fate}:" if told else f"{fate}, and to look at:"]
            lines += [f"  {line}" for line in (map(one_line, found) if everything else _together(found))]
    if result.missing:
        lines += ["", "missing (give --facts or --address HOST:NETWORK=ADDRESS, or write it into inventory.yml):"]
        lines += [f"  {what}" for what in result.missing]
    return "\n".join(lines)


def _together(entries: Sequence[Entry]) -> Iterator[str]:
    """Their lines; of those that say the same of the same kind one line for all."""
    alike: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        alike.setdefault((entry.input.kind, entry.input.place.file, entry.reason), []).append(entry)
    for (kind, file, reason), found in alike.items():
        if len(found) <= _ALIKE:
            yield from map(one_line, found)
        else:
            names = few([entry.input.name for entry in found])
            yield printable(f"{file}: {count(len(found), kind)} ({names}; all with --all): {reason}", limit=1000)


def one_line(entry: Entry) -> str:
    """An input, its place and what became of it, on one line."""
    where = f" → {entry.target}" if entry.target else ""
    reason = f": {entry.reason}" if entry.reason else ""
    scope = f" of {entry.input.scope.replace(':', ' ')}" if entry.input.scope else ""
    head = f"{entry.input.place.file}:{entry.input.place.line or 1}: {entry.input.kind} {entry.input.name}{scope}"
    return printable(f"{head}{where}{reason}", limit=1000)


def document(result: Result) -> dict[str, Any]:
    """For programs. Holds names and reasons, and no value of a secret."""
    return {
        "inputs": len(result.entries),
        "counts": counts(result.entries),
        "entries": [
            {
                "kind": entry.input.kind,
                "name": entry.input.name,
                "scope": entry.input.scope,
                "file": entry.input.place.file,
                "line": entry.input.place.line,
                "fate": str(entry.fate),
                "target": entry.target,
                "reason": entry.reason,
                "look": entry.look,
            }
            for entry in result.entries
        ],
        "missing": list(map(str, result.missing)),
    }


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:75rem}table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #ccc;padding:.25rem .5rem;text-align:left;vertical-align:top}code{overflow-wrap:anywhere}"
)


def page(result: Result, name: str) -> str:
    """One HTML file that loads nothing."""
    policy = f"default-src 'none'; {only_these(_STYLE, '')}; base-uri 'none'; form-action 'none'"
    rows = counts(result.entries).items()
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>{_e(name)}: from kolla-ansible</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_e(name)}: from kolla-ansible</h1><p>{len(result.entries)} inputs, each in exactly one row.</p>",
        "<table><tr><th>what</th><th>inputs</th><th>meaning</th></tr>",
        *(f"<tr><td>{fate}</td><td>{number}</td><td>{MEANING[Fate(fate)]}</td></tr>" for fate, number in rows),
        "</table>",
    ]
    if result.missing:
        parts += ["<h2>missing</h2><ul>", *(f"<li>{_e(str(what))}</li>" for what in result.missing), "</ul>"]
    for fate in reversed(Fate):
        found = [entry for entry in result.entries if entry.fate is fate]
        if found:
            parts += [
                f"<h2>{fate}</h2><table><tr><th>input</th><th>of</th><th>place</th><th>in the site</th><th>why</th></tr>"
            ]
            parts += map(_row, found)
            parts += ["</table>"]
    return "".join([*parts, "</body></html>\n"])


def _row(entry: Entry) -> str:
    place = f"{entry.input.place.file}:{entry.input.place.line or 1}"
    cells = (f"{entry.input.kind} {entry.input.name}", entry.input.scope, place, entry.target, entry.reason)
    return "<tr>" + "".join(f"<td><code>{_e(cell)}</code></td>" for cell in cells) + "</tr>"


def _e(text: str) -> str:
    return escape(printable(text, limit=2000))
