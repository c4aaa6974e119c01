"""Containers that share another one's network, process or IPC namespace.

A namespace lives as long as the container that made it: when that one is started anew, its guests stay in a dead namespace,
and the engine says that they run. So guests are started after their host, and when it was made anew they are made anew as well,
because the engine knows the host by its id.
"""

from reconciler.model import Container, Running, State, Verb, shared_with
from reconciler.plan.draft import Draft

_MADE_ANEW = frozenset({Verb.CREATE, Verb.REPLACE})
_STARTED_ANEW = frozenset({Verb.RESTART, Verb.START, Verb.RENAME})
# What the guest does anyway, and what is enough then.
_SMALLER = frozenset({Verb.UPDATE, Verb.RESTART, Verb.RELOAD, Verb.START})


def plan_guests(draft: Draft) -> None:
    """After all containers: let guests follow their hosts."""
    for guest in _in_order(draft.desired.containers):
        for host in shared_with(guest):
            _follow(draft, guest, host)


def _follow(draft: Draft, guest: Container, host: str) -> None:
    running = draft.actual.containers.get(guest.name)
    if running is None or not running.owned or guest.name in draft.failed:
        return
    if any(held.target == guest.name and not held.drift for held in draft.held):
        return
    planned = {action.verb: action for action in draft.actions if action.target == host}
    own = {action.verb for action in draft.actions if action.target == guest.name}
    if own & (_MADE_ANEW | {Verb.RENAME}):
        return
    leader = next((action for verb, action in planned.items() if verb in _MADE_ANEW | _STARTED_ANEW), None)
    if leader is not None and leader.verb in _MADE_ANEW:
        draft.actions[:] = [a for a in draft.actions if a.target != guest.name or a.verb not in _SMALLER]
        _add(draft, guest, Verb.REPLACE, f"shares a namespace of {host}, which is made anew", leader.drift)
    elif own & {Verb.RESTART, Verb.START}:
        return
    elif leader is not None:
        _add(draft, guest, Verb.RESTART, f"shares a namespace of {host}, which is started anew", leader.drift)
    elif _is_older(running, draft.actual.containers.get(host)):
        cause = f"shares a namespace of {host}, which was started after it: it is in a dead one"
        _add(draft, guest, Verb.RESTART, cause, draft.unchanged(guest))


def _add(draft: Draft, guest: Container, verb: Verb, cause: str, drift: bool) -> None:
    if verb is Verb.REPLACE:
        draft.pull(guest)
    draft.add(draft.action(verb, guest.name, cause, guest, draft.dependencies(guest), drift=drift))


def _is_older(guest: Running, host: Running | None) -> bool:
    """Whether the guest was started before its host, both running: then its namespace is one that is gone."""
    if host is None or guest.state is not State.RUNNING or host.state is not State.RUNNING:
        return False
    return bool(guest.started_at and host.started_at and guest.started_at < host.started_at)


def _in_order(containers: tuple[Container, ...]) -> list[Container]:
    """Guests, those of a host that is a guest itself after it."""
    guests = {container.name: container for container in containers if shared_with(container)}
    done: dict[str, Container] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        if name in guests and name not in done and name not in above:
            for host in shared_with(guests[name]):
                visit(host, above | {name})
            done[name] = guests[name]

    for name in guests:
        visit(name, frozenset())
    return list(done.values())
