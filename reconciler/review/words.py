"""Short phrases that the note and the page share."""

from collections.abc import Callable

from reconciler.model import Plan, Verb
from reconciler.phrases import count, few

_NAMED = (Verb.REMOVE, Verb.REPLACE, Verb.RESTART, Verb.CREATE, Verb.RELOAD, Verb.UPDATE, Verb.RUN)
_COUNTED = {
    Verb.WRITE: "file", Verb.CHMOD: "file", Verb.DELETE: "deleted file", Verb.PULL: "image", Verb.REGISTER: "registration",
    Verb.PRECHECK: "pre-upgrade check", Verb.UNREGISTER: "removed registration", Verb.SET: "host setting", Verb.RESET: "host setting put back",
}  # fmt: skip


def what_happens(plan: Plan, show: Callable[[str], str]) -> str:
    """The containers of a plan by what is done to them, then files and the like as numbers. `show` escapes a name."""
    named: dict[Verb, list[str]] = {}
    counted: dict[str, int] = {}
    for action in plan.actions:
        if action.verb is Verb.VALIDATE:
            continue  # changes nothing
        if action.verb in _NAMED:
            named.setdefault(action.verb, []).append(action.target)
        else:
            word = _COUNTED.get(action.verb, "other")
            counted[word] = counted.get(word, 0) + 1
    parts = [f"{verb} {few(named[verb], show)}" for verb in _NAMED if verb in named]
    parts += [count(number, word) for word, number in counted.items()]
    if plan.held:
        parts.append(f"{len(plan.held)} held back")
    return "; ".join(parts)
