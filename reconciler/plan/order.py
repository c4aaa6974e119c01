"""A plan's order: every action after what it needs, otherwise stable and readable."""

import heapq
from collections.abc import Iterable
from dataclasses import replace

from reconciler.model import Action, Verb

_RANK = {verb: rank for rank, verb in enumerate(Verb)}


def ordered(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Sort topologically by `needs`; ties by the order they came in.

    Needs that are not in the plan are dropped: there is nothing to wait for. A cycle (two containers that depend on each other)
    is broken at the action that came first, because a plan that cannot be carried out helps nobody;
    `site/` reports cycles in service definitions.
    """
    given = list(actions)
    position = {action.id: index for index, action in enumerate(given)}
    trimmed = [replace(a, needs=tuple(n for n in a.needs if n in position and n != a.id)) for a in given]
    waiting = {action.id: set(action.needs) for action in trimmed}
    dependents: dict[str, list[str]] = {action.id: [] for action in trimmed}
    for action in trimmed:
        for need in action.needs:
            dependents[need].append(action.id)
    ready = [position[key] for key, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    result: list[Action] = []
    done: set[str] = set()
    while len(result) < len(trimmed):
        if not ready:
            stuck = min((position[key], key) for key in waiting if key not in done)
            action = trimmed[stuck[0]]
            trimmed[stuck[0]] = replace(action, needs=tuple(n for n in action.needs if n in done))
            ready = [stuck[0]]
        action = trimmed[heapq.heappop(ready)]
        if action.id in done:
            continue
        done.add(action.id)
        result.append(action)
        for key in dependents[action.id]:
            waiting[key].discard(action.id)
            if not waiting[key] and key not in done:
                heapq.heappush(ready, position[key])
    return tuple(result)
