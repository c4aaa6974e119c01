"""The review as one HTML file: no other file, no network; its policy lets only its own style and script run.

Everything is on the page from the start; the script only hides what does not match the filters. Without it all is readable.
"""

from collections.abc import Iterable, Sequence

from reconciler.data import asset, only_these
from reconciler.model import Action, Difference
from reconciler.phrases import count
from reconciler.review.escape import clean
from reconciler.review.escape import markup as e
from reconciler.review.felt import Felt, felt
from reconciler.review.ranges import compact
from reconciler.review.risks import Item, Risk, headline, risks
from reconciler.review.types import Change, Group, Review, by_service, changes
from reconciler.review.waves import EARLY, Course, Duty, course, named, pace
from reconciler.review.words import what_happens
from reconciler.rollout.outlook import Turn

_SHOWN_ITEMS = 6
_WIDE = 600  # characters of one line
GRAVE = frozenset({"deletion", "data-plane", "stateful", "migration", "secret", "host", "power"})


def page(review: Review) -> str:
    """The whole file."""
    style, script = asset(__package__, "page.css"), asset(__package__, "page.js")
    policy = f"default-src 'none'; {only_these(style, script)}; base-uri 'none'; form-action 'none'"
    title = f"{review.site}: {headline(review)}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">',
        f"<title>{e(title)}</title><style>{style}</style></head><body>",
        _header(review),
        *(_problems(review) if not review.valid or review.base_problems else _content(review)),
        f"<footer>Planned from <code>{e(review.base)}</code> to <code>{e(review.head)}</code> without any node or secret. ",
        "The lines are those of <code>reconciler plan</code>.</footer>",
        f"<script>{script}</script></body></html>\n",
    ]
    return "\n".join(parts)


def _header(review: Review) -> str:
    first, *rest = headline(review).split(" · ")
    chips = "".join(f"<li{_mood(text)}>{e(text)}</li>" for text in rest)
    where = f" in <code>{e(review.path)}</code>" if review.path else ""
    return (
        f'<header class="top"><p class="soft">Plan for <strong>{e(review.site)}</strong>{where}, '
        f"<code>{e(review.base, 40)}</code> → <code>{e(review.head, 40)}</code></p>"
        f'<h1>{e(first[:1].upper() + first[1:])}</h1><ul class="chips">{chips}</ul></header>'
    )


def _mood(text: str) -> str:
    if text == "nothing deleted":
        return ' class="good"'
    return ' class="bad"' if text.endswith("deleted") else ""


def _problems(review: Review) -> list[str]:
    found = review.problems or review.base_problems
    title = "Correct these, then push again" if review.problems else "The base revision is not valid"
    parts = ["<main>"]
    if review.failure:
        parts.append(f'<h2>Planning ended early</h2><div class="card">{e(review.failure, 2000)}</div>')
    if found:
        rows = "".join(
            f"<li><code>{e(p.file)}:{p.line}:{p.column}</code> {e(p.message, 1000)}"
            + (f' <span class="soft">({e(p.hint, 400)})</span>' if p.hint else "")
            + "</li>"
            for p in found
        )
        parts.append(f'<h2>{title} <small>{len(found)}</small></h2><ol class="card problems">{rows}</ol>')
    return [*parts, "</main>"]


def _content(review: Review) -> list[str]:
    every = changes(review)
    parts = ['<main class="first">', *_risks(risks(review)), *_felt(felt(review)), *_course(course(review)), "</main>"]
    if not review.groups:
        return [*parts, '<main><p class="card empty">Nothing to do on any host.</p></main>']
    parts += [_filters(every), "<main>", *_groups(review), *_services(every)]
    parts.append('<p class="card empty" id="empty" hidden>Nothing matches these filters.</p></main>')
    return parts


# --- risks ----------------------------------------------------------------------------------------------------------


def _risks(found: Sequence[Risk]) -> list[str]:
    if not found:
        return []
    return ["<h2>Look at these first</h2>", '<div class="risks">', *map(_risk, found), "</div>"]


def _felt(found: Sequence[Felt]) -> list[str]:
    if not found:
        return []
    rows = "".join(
        f"<li><code>{e(one.container)}</code><small>on {_hosts(one.hosts)} · {e(one.words)}</small></li>"
        for one in found
    )
    title = "<h3>What will be felt</h3><p>by how long it did not answer when it was restarted before</p>"
    return [f'<div class="risks"><section class="card risk">{title}<ul>{rows}</ul></section></div>']


def _course(found: Course | None) -> list[str]:
    """How the change goes from host to host: every wave with all its hosts, budgets, jobs, and what workloads feel."""
    if found is None:
        return []
    ahead = found.outlook
    note = "<small>where hosts agree through etcd (<code>[fleet]</code> in their settings)</small>"
    rows = "".join(map(_turn, ahead.turns))
    if ahead.new:
        rows += f'<tr><td class="soft">new hosts</td><td>{_hosts(ahead.new, 1 << 16)}</td><td>wait for nobody</td><td></td></tr>'
    head = "<tr><td>Wave</td><td>Hosts that change</td><td>Goes</td><td>Steps</td></tr>"
    parts = [
        f'<h2>Rollout {note}</h2><div class="card"><p>{e(found.words)}</p><table class="waves">{head}{rows}</table></div>'
    ]
    cards = [
        ("Data plane", "on how many hosts at the same time", True, [Item(i.container, i.hosts, i.words()) for i in found.interrupted]),
        ("Budgets", "how many members may be stopped and not proved again at the same time", False,
         [Item(b.name, hosts, f"{b.at_most} at once, of {count(len(b.members), 'member')}") for b, hosts in ahead.touched]),
        ("Jobs for the cluster", "run once, by one host", False, [_duty(one) for one in found.duties]),
    ]  # fmt: skip
    shown = [_risk(Risk("", title, why, tuple(items), grave)) for title, why, grave, items in cards if items]
    return [*parts, *(['<div class="risks">', *shown, "</div>"] if shown else [])]


def _duty(one: Duty) -> Item:
    early = f"; {EARLY} {compact(one.early)}" if one.early else ""
    return Item(one.job, (one.owner,), f"wave {one.wave}{early}")


def _turn(turn: Turn) -> str:
    hosts = _counted(named(turn), len(turn.hosts), 1 << 16)
    more = f' <span class="soft">and {turn.others} that do not</span>' if turn.others else ""
    narrow = f' <span class="soft">for {e(turn.narrow)}</span>' if turn.narrow else ""
    return (
        f"<tr><td><code>{e(turn.wave)}</code></td><td>{hosts}{more}</td>"
        f"<td>{e(pace(turn))}</td><td>{turn.steps}{narrow}</td></tr>"
    )


def _risk(risk: Risk) -> str:
    rows = [_item(item) for item in risk.items]
    shown = f"<ul>{''.join(rows[:_SHOWN_ITEMS])}</ul>"
    if len(rows) > _SHOWN_ITEMS:
        more = "".join(rows[_SHOWN_ITEMS:])
        shown += f"<details><summary>{len(rows) - _SHOWN_ITEMS} more</summary><ul>{more}</ul></details>"
    if risk.lines:
        shown += f"<p>{risk.meant}:</p><pre>" + "\n".join(map(e, risk.lines)) + "</pre>"
    grave = " grave" if risk.grave else ""
    return f'<section class="card risk{grave}"><h3>{e(risk.title)}</h3><p>{e(risk.why)}</p>{shown}</section>'


def _item(item: Item) -> str:
    below = [f"on {_hosts(item.hosts)}"] if item.hosts else []
    below += [e(item.detail)] if item.detail else []
    return f"<li><code>{e(item.text)}</code>" + (f"<small>{' · '.join(below)}</small>" if below else "") + "</li>"


def _hosts(names: Sequence[str], width: int = 400) -> str:
    return _counted(compact(names), len(names), width)


def _counted(hosts: str, number: int, width: int) -> str:
    many = f' <span class="soft">({number} hosts)</span>' if number > 3 else ""
    return f"<code>{e(hosts, width)}</code>{many}"


# --- filters --------------------------------------------------------------------------------------------------------


def _filters(every: Sequence[Change]) -> str:
    services = sorted({change.action.service for change in every if change.action.service})
    found = sorted({risk for change in every for risk in change.action.risks})
    return (
        '<div class="filters"><form id="filters" hidden role="search">'
        '<label for="search">Search</label><input type="search" id="search" name="search" autocomplete="off" '
        'placeholder="Host, container, file …  ( / )">'
        f"{_select('service', 'All services', services)}{_select('risk', 'All risks', found)}"
        '<button type="button" id="folds" aria-pressed="false">Open all</button><button type="reset">Reset</button>'
        '<p id="count" role="status"></p></form></div>'
    )


def _select(name: str, everything: str, values: Iterable[str]) -> str:
    options = "".join(f'<option value="{_word(value)}">{e(value)}</option>' for value in values)
    return (
        f'<label for="{name}">{name.capitalize()}</label><select id="{name}" name="{name}">'
        f'<option value="">{everything}</option>{options}</select>'
    )


def _word(value: str) -> str:
    """A value as one word, for lists of words in attributes."""
    return e("_".join(clean(value).split()))


def _data(kind: str, hosts: Sequence[str], actions: Iterable[Action]) -> str:
    """What the filters look at."""
    listed = list(actions)
    services = " ".join(sorted({_word(action.service) for action in listed if action.service}))
    found = " ".join(sorted({_word(risk) for action in listed for risk in action.risks}))
    texts = " ".join(dict.fromkeys(f"{action.verb} {action.target} {action.container}" for action in listed))
    return (
        f'data-item="{kind}" data-count="{len(hosts)}" data-services="{services}" data-risks="{found}" '
        f'data-hosts=" {e(" ".join(hosts), 1 << 20).lower()} " data-text="{e(texts, 1 << 18).lower()}"'
    )


# --- groups and services --------------------------------------------------------------------------------------------


def _groups(review: Review) -> list[str]:
    note = "<small>hosts with the same plan together</small>"
    return [f"<div data-box><h2>Hosts {note}</h2>", *map(_group, review.groups), "</div>"]


def _group(group: Group) -> str:
    plan = group.plan
    tags = _tags(sorted({risk for action in plan.actions for risk in action.risks}))
    rows = "".join(_row(action) for action in plan.actions)
    held = "".join(
        f'<tr><td class="verb soft">held</td><td><code>{e(h.target)}</code><span class="cause">{e(h.message, 400)}</span>'
        "</td></tr>"
        for h in plan.held
    )
    many = f'<span class="tag">{len(group.hosts)} hosts</span>' if len(group.hosts) > 1 else ""
    return (
        f'<details class="fold" {_data("group", group.hosts, plan.actions)}><summary>'
        f'<span class="name">{e(compact(group.hosts), 400)}</span>{many}<span class="what">{what_happens(plan, e)}</span>{tags}'
        f'</summary><div class="body">{_alike(group.same_lines, group.hosts)}<table>{rows}{held}</table></div></details>'
    )


def _row(action: Action) -> str:
    return (
        f'<tr><td class="verb {action.verb}">{action.verb}</td><td><code>{e(action.target)}</code> {_tags(action.risks)}'
        f'<span class="cause">{e(action.cause, 400)}</span></td></tr>'
    )


def _tags(found: Iterable[str]) -> str:
    return "".join(f'<span class="tag {"grave" if risk in GRAVE else "mild"}">{e(risk)}</span> ' for risk in found)


def _alike(exact: bool, hosts: Sequence[str]) -> str:
    if exact:
        return ""
    return f'<p class="soft">As <code>{e(hosts[0])}</code> has it; the others differ in their own name and addresses only.</p>'


def _services(every: Sequence[Change]) -> list[str]:
    shown = [change for change in every if change.action.diff or change.action.differences]
    note = "<small>what differs, by service</small>"
    parts = [f"<div data-box><h2>Differences {note}</h2>"]
    for name, found in by_service(shown).items():
        hosts = list(dict.fromkeys(host for change in found for host in change.hosts))
        tags = _tags(sorted({risk for change in found for risk in change.action.risks}))
        parts.append(
            f'<details class="fold" data-box><summary><span class="name">{e(name or "images")}</span>'
            f'<span class="what">{count(len(found), "change")} on {e(compact(hosts), 200)}</span>{tags}</summary>'
            f'<div class="body">{"".join(map(_change, found))}</div></details>'
        )
    return [*parts, "</div>"]


def _change(change: Change) -> str:
    action = change.action
    body = _diff(action.diff) if action.diff else _fields(action.differences)
    return (
        f'<section class="change" {_data("change", change.hosts, [action])}>'
        f'<h3><span class="{action.verb}">{action.verb}</span> <code>{e(action.target)}</code></h3>'
        f"<p>{e(action.cause, 400)}; on {_hosts(change.hosts)}</p>{_alike(change.exact, change.hosts)}{body}</section>"
    )


def _diff(text: str) -> str:
    return f'<pre tabindex="0">{"".join(map(_line, text.split(chr(10))))}</pre>'


def _line(line: str) -> str:
    kinds = {"+++": "n", "---": "n"}
    kind = kinds.get(line[:3]) or {"+": "a", "-": "d", "@": "h"}.get(line[:1], "c")
    return f'<span class="{kind}">{e(line, _WIDE) or " "}</span>'


def _fields(found: Iterable[Difference]) -> str:
    rows = "".join(
        f"<tr><td>{e(d.field)}</td><td><del>{e(d.actual, _WIDE)}</del> → <ins>{e(d.desired, _WIDE)}</ins></td></tr>"
        for d in found
    )
    return f'<table class="fields">{rows}</table>'
