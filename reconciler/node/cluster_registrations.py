"""What hosts of a site have registered, as they tell each other: whoever owns it next withdraws it one day.

rollout/inheritance.py decides. Asked once a commit, and only by hosts that register something, did so, or may have to withdraw what one that left
had registered.
"""

import structlog

from reconciler.etcd import Store
from reconciler.model import Registration
from reconciler.node.target import Target
from reconciler.plan.registrations import wanted
from reconciler.rollout import inheritance
from reconciler.rollout.inheritance import Registered
from reconciler.rollout.policy import Rollout
from reconciler.rollout.records import Transaction, registered_key
from reconciler.state import StateDirectory

log = structlog.get_logger()


class ClusterRegistrations:
    """For the passes' thread."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._settled: tuple[str, frozenset[str]] = ("", frozenset())  # the commit, and what was said of this host
        self._dropped: frozenset[str] = frozenset()  # since the store was asked last

    def settle(self, store: Store, accepted: Target, rollout: Rollout) -> None:
        """Take over what is this host's by now, and say what it has registered. Raises etcd.UnavailableError."""
        desired, carried = accepted.desired, self._state.carried
        had = frozenset(one.id for one in self._state.memory().registered)
        asked = {one.id: one for one in desired.registrations}
        if desired.registrars and carried:
            self._dropped |= frozenset(carried.desired.registered_elsewhere)
        self._dropped -= wanted(desired)
        if (desired.revision, had) == self._settled or not (had or asked or self._dropped):
            return
        told = store.registered()
        for name in sorted(inheritance.taken_over(asked, self._dropped, rollout.hosts, told) - had):
            kind, type_, key = name.split(":", 2)
            self._state.registered(asked.get(name) or Registration(kind, type_, key))
            log.info("registration.taken_over", registration=name)
            had |= {name}
        own = told.get(desired.host, Registered(frozenset()))
        if own.ids != had:
            key = registered_key(desired.host)
            if not store.try_(Transaction({key: own.revision}, {key: {"ids": sorted(had)}})):
                return  # read anew in the next pass
        for host, one in inheritance.settled(rollout.hosts, {**told, desired.host: Registered(had)}).items():
            store.try_(Transaction({registered_key(host): one.revision}, deletes=(registered_key(host),)))
        self._settled, self._dropped = (desired.revision, had), frozenset()
