"""What a reviewer should look at first, and the whole in one line."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from reconciler.model import Action, Held, Verb
from reconciler.phrases import count, few
from reconciler.plan.acknowledged import line
from reconciler.reasons import Reason
from reconciler.review import members
from reconciler.review.power import place
from reconciler.review.types import Change, Review, changes


@dataclass(frozen=True, slots=True)
class Item:
    """One thing at risk: what, on which hosts, and why."""

    text: str
    hosts: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Risk:
    """One kind of risk with everything that runs it. `kind` is a word for filters, `grave` tells warnings from notices; `lines` are
    what to write if it is meant."""

    kind: str
    title: str
    why: str
    items: tuple[Item, ...]
    grave: bool = True
    lines: tuple[str, ...] = ()
    meant: str = "If it is meant, in reconciler.yml"  # what leads to the lines


# Every kind that a site may demand a second pair of eyes for; `held` and `acknowledged` are none: they do nothing.
KINDS: Final = (
    "upgrade", "prune", "deletion", "data-plane", "stateful", "migration", "job", "secret", "inventory", "policy", "program", "image", "host",
    "power",
)  # fmt: skip
_PROGRAM: Final = "requires"  # the setting of reconciler.yml that says which program the nodes may run

# First the worst. Kind, title, why it matters, which actions, grave.
_RULES: tuple[tuple[str, str, str, Callable[[Action], bool], bool], ...] = (
    ("deletion", "Deletions", "containers and registrations that go away; volumes stay",
     lambda a: a.verb in (Verb.REMOVE, Verb.UNREGISTER), True),
    ("data-plane", "Data plane", "each is a restart that workloads feel", lambda a: "data-plane" in a.risks, True),
    ("stateful", "Stateful services", "they hold data and take time to come back", lambda a: "stateful" in a.risks, True),
    ("migration", "Schema migrations", "there is no way back by going back to the old image",
     lambda a: "migration" in a.risks, True),
    ("host", "The host itself", "what is set outside of containers: other programs of the host feel it too",
     lambda a: "host" in a.risks, True),
    ("job", "Jobs", "run once", lambda a: a.verb is Verb.RUN and "migration" not in a.risks, False),
)  # fmt: skip


def risks(review: Review) -> list[Risk]:
    """Everything worth a warning, the gravest kind first."""
    every = changes(review)
    found = [_upgrade(review), _prune_guard(review, every), _power(review, every)]
    for kind, title, why, matches, grave in _RULES:
        items = tuple(_item(change) for change in every if matches(change.action))
        found.append(Risk(kind, title, why, items, grave))
    rotated = tuple(Item(name, hosts) for name, hosts in sorted(review.rotated.items()))
    found.append(Risk("secret", "Rotated secrets", "what uses them changes at the same moment", rotated))
    opened = tuple(Item(file, (), who) for file, who in review.readers.items())
    found.append(Risk("secret", "Who can read secrets", "see whose keys these are", opened))
    learned = tuple(Item(text, hosts) for text, hosts in review.learned.items())
    found.append(Risk("secret", "Secrets of others", "files of these services hold them from now on", learned))
    found += [
        _inventory(review),
        *_policy(review),
        _leftovers(review),
        _held(review),
        _images(every),
        _elsewhere(review),
    ]
    return [risk for risk in found if risk.items]


def headline(review: Review) -> str:
    """The whole in one line: `3 of 42 hosts change · 2 containers replaced · nothing deleted`."""
    total = len(review.hosts)
    if review.problems:
        wrong = sum(1 for problem in review.problems if problem.severity == "error")
        return f"not valid: {count(wrong, 'problem')} · nothing was planned"
    if review.failure:
        return "could not be planned"
    if review.base_problems:
        return f"valid · {count(total, 'host')} · nothing to compare with"
    changed = len(review.changed)
    if not changed:
        held = sum(len(group.hosts) for group in review.groups)
        return f"no host changes · {count(total, 'host')} planned" + (f" · {held} hold something back" if held else "")
    verb = "changes" if changed == 1 else "change"
    parts = [f"{changed} of {count(total, 'host')} {verb}"]
    parts += _container_counts(review)
    images = len({image for change in changes(review) if (image := new_image(change.action))})
    if images:
        parts.append(count(images, "image update"))
    parts.append(_deleted(review))
    return " · ".join(parts)


def new_image(action: Action) -> tuple[str, str] | None:
    """(from, to) when a container gets another image."""
    found = next((d for d in action.differences if d.field == "image"), None)
    return (_reference(found.actual), _reference(found.desired)) if found and "image" in action.risks else None


def _reference(text: str) -> str:
    """The image's name without the id that the planner adds for people who look at a node."""
    return text.partition(" (")[0]


def _container_counts(review: Review) -> list[str]:
    said: list[str] = []
    words = (
        (Verb.CREATE, "created"), (Verb.REPLACE, "replaced"), (Verb.RESTART, "restarted"), (Verb.RELOAD, "reloaded"),
        (Verb.UPDATE, "updated"),
    )  # fmt: skip
    for verb, word in words:
        if times := _times(review, (verb,)):
            said.append(f"{times} {word}" if said else f"{count(times, 'container')} {word}")
    if jobs := _times(review, (Verb.RUN,)):
        said.append(f"{count(jobs, 'job')} run")
    if registered := _times(review, (Verb.REGISTER,)):
        said.append(count(registered, "registration"))
    if settings := _times(review, (Verb.SET, Verb.RESET)):
        said.append(count(settings, "host setting"))
    files = _times(review, (Verb.WRITE, Verb.CHMOD))
    if files and not said:
        said.append(f"{count(files, 'file')} written, no container touched")
    return said


def _deleted(review: Review) -> str:
    words = ((Verb.REMOVE, "container"), (Verb.UNREGISTER, "registration"), (Verb.DELETE, "file"))
    counts = [count(times, word) for verb, word in words if (times := _times(review, (verb,)))]
    return f"{', '.join(counts)} deleted" if counts else "nothing deleted"


def _times(review: Review, verbs: tuple[Verb, ...]) -> int:
    return sum(len(g.hosts) * sum(1 for a in g.plan.actions if a.verb in verbs) for g in review.groups)


def _item(change: Change) -> Item:
    return Item(f"{change.action.verb} {change.action.target}", change.hosts, change.action.cause)


def _gathered(review: Review, wanted: Callable[[Held], bool]) -> tuple[Item, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for group in review.groups:
        for held in group.plan.held:
            if wanted(held):
                found.setdefault((held.target, held.message), []).extend(group.hosts)
    return tuple(Item(target, tuple(hosts), message) for (target, message), hosts in found.items())


def _upgrade(review: Review) -> Risk:
    """Hosts that go to another release of OpenStack, and from where on there is only forward."""
    steps = []
    for step, hosts in sorted(review.upgrades.items()):
        there = set(hosts)
        plans = [group.plan for group in review.groups if there & set(group.hosts)]
        checks = {action.target for plan in plans for action in plan.actions if action.verb is Verb.PRECHECK}
        migrations = dict.fromkeys(a.target for plan in plans for a in plan.actions if "migration" in a.risks)
        first = count(len(checks), "check") + " before it" if checks else "no check before it"
        point = "it migrates nothing here, so a revert takes it back"
        if migrations:
            point = f"a revert takes it back before the first migration; from {few(list(migrations))} on there is only forward"
        steps.append(Item(step, hosts, f"{first}; {point}"))
    why = "OpenStack itself changes; have a backup of the databases"
    return Risk("upgrade", "Upgrade of OpenStack", why, tuple(steps))


def _prune_guard(review: Review, every: Iterable[Change]) -> Risk:
    """Removals above `prune.max`: held back, with what acknowledges them, or acknowledged by this change."""
    held_back = _gathered(review, lambda held: held.reason == Reason.PruneGuard)
    # What its message advises for one host is in `lines` for all of them.
    asked_for = {name for group in review.groups for held in group.plan.held for name in held.acknowledge}
    items = tuple(replace(item, detail="") if item.text in asked_for else item for item in held_back)
    items += tuple(replace(_item(c), detail="acknowledged") for c in every if "prune" in c.action.risks)
    asked: dict[tuple[str, ...], list[str]] = {}
    for group in review.groups:
        for names in dict.fromkeys(held.acknowledge for held in group.plan.held if held.acknowledge):
            asked.setdefault(names, []).extend(group.hosts)
    entries = [line(review.base_commit, names, hosts) for names, hosts in asked.items()]
    lines = ("acknowledge:", *(f"  {entry}" for entry in entries)) if entries else ()
    why = "containers stay until the commit acknowledges exactly these"
    return Risk("prune", "More removals than the guard allows", why, items, lines=lines)


def _leftovers(review: Review) -> Risk:
    """Acknowledgements that acknowledge nothing."""
    items = tuple(
        Item(
            ", ".join(entry.remove),
            entry.hosts,
            "no host is to lose exactly these, so nothing is acknowledged"
            if entry.new
            else "left over: it counts no more, take it out",
        )
        for entry in review.acknowledgements
        if not entry.used
    )
    grave = any(entry.new and not entry.used for entry in review.acknowledgements)
    return Risk("acknowledged", "Acknowledgements", "each counts once, for exactly what it names", items, grave=grave)


def _held(review: Review) -> Risk:
    items = _gathered(review, lambda held: held.reason != Reason.PruneGuard)
    return Risk("held", "Held back", "differs, and nothing is done about it", items, grave=False)


def _inventory(review: Review) -> Risk:
    items, unsaid = [], review.members.unsaid
    if review.left:
        items.append(Item("leave the inventory", review.left, "nothing on them is removed; stop their daemon by hand"))
    items += [
        Item(f"run {step.job}", (step.owner,), f"{step.left} left for good: {step.words}")
        for step in review.members.steps
    ]
    if unsaid:
        why = "clusters go on counting them as members that are down, and OpenStack goes on listing them"
        items.append(Item("are not said to be gone for good, so nobody forgets them", tuple(unsaid), why))
    if review.joined:
        items.append(Item("join the inventory", review.joined))
    if review.rekeyed:
        why = "whoever holds that key speaks for them, and can be let in to their secrets"
        items.append(Item("have another report_key", review.rekeyed, why))
    for name, (before, after) in review.members.clusters.items():
        same, detail = members.words(before, after)
        items.append(Item(f"{name}: {same}", (), detail))
    lines = ("left:", *(f"  {line}" for line in unsaid.values())) if unsaid else ()
    meant = "If they are gone for good, in inventory.yml, with the day"
    return Risk(
        "inventory",
        "Hosts",
        "the inventory changes",
        tuple(items),
        bool(review.left or review.members.steps or review.rekeyed),
        lines,
        meant,
    )


def _policy(review: Review) -> list[Risk]:
    def items(of_program: bool) -> tuple[Item, ...]:
        # An acknowledgement is a risk of its own kind, and no rule for anything else.
        found = (d for d in review.policy if (d.field == _PROGRAM) is of_program and d.field != "acknowledge")
        return tuple(Item(d.field, (), f"{d.actual} → {d.desired}") for d in found)

    lighter = tuple(Item(name, hosts, "true → false") for name, hosts in sorted(review.lighter.items()))
    return [
        Risk("policy", "Site policy", "how every node of the site decides", (*items(False), *lighter)),
        Risk("program", "Program", "which program the nodes may run; another one may mean something else", items(True)),
    ]


def _power(review: Review, every: Iterable[Change]) -> Risk:
    items = [
        Item(f"{change.action.verb} {change.action.target}", change.hosts, change.action.gained or change.action.cause)
        for change in every
        if "power" in change.action.risks
    ]
    items += [Item(f"run in {container}", hosts, words) for (container, words), hosts in review.commands.items()]
    why = "what a container may do to its host, or who is let in, from now on"
    return Risk("power", "More power", why, tuple(items))


def _elsewhere(review: Review) -> Risk:
    """By where they are from: many images of one place are one thing to look at."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for image, hosts in review.elsewhere.items():
        found.setdefault(place(image), {})[image] = hosts
    items = tuple(
        Item(f"from {where}", tuple(dict.fromkeys(host for hosts in images.values() for host in hosts)), few([*images]))
        for where, images in found.items()
    )
    return Risk("image", "Images from elsewhere", "no image of this site was from there", items)


def _images(every: Iterable[Change]) -> Risk:
    found: dict[tuple[str, str], list[str]] = {}
    for change in every:
        if image := new_image(change.action):
            found.setdefault(image, []).extend(change.hosts)
    items = tuple(
        Item(f"{before} → {after}", tuple(dict.fromkeys(hosts))) for (before, after), hosts in sorted(found.items())
    )
    return Risk("image", "Image updates", "pulled before anything is stopped", items, grave=False)
