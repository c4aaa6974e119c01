"""The page of the rollout: read from etcd when somebody looks, and at most once in a few seconds however many do."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from reconciler import errors
from reconciler.etcd import Client, Store, snapshot
from reconciler.rollout.overview import overview
from reconciler.rollout.policy import Rollout

_FRESH: Final = 2.0  # seconds for which what was read is shown without asking again
Basis = tuple[str, str, Rollout]  # the site, the commit, and the waves of that commit


class RolloutPage:
    """Thread-safe. `connect` makes a client for it alone: those that passes use are for one thread.

    `said` gives what hosts tell themselves of why they wait, where somebody knows that.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        said: Callable[[], Mapping[str, str]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect, self._said, self._clock = connect, said, clock
        self._guard = threading.Lock()
        self._basis: Basis | None = None
        self._store: tuple[str, Store] | None = None
        self._read = 0.0
        self._shown: dict[str, Any] | None = None

    def take(self, basis: Basis | None) -> None:
        """Show it by these waves from now on; None changes nothing."""
        if basis is None or basis == self._basis:
            return
        with self._guard:
            self._basis, self._shown = basis, None

    def document(self) -> dict[str, Any]:
        """What the script of the page draws for kind "rollout"."""
        with self._guard:
            if self._basis is None:
                return _empty("no commit is accepted here yet, so nobody knows the waves")
            now = self._clock()
            if self._shown is None or now - self._read >= _FRESH:
                self._shown, self._read = self._look(self._basis), now
            return self._shown

    def close(self) -> None:
        with self._guard:
            if self._store is not None:
                self._store[1].client.close()

    def _look(self, basis: Basis) -> dict[str, Any]:
        site, commit, rollout = basis
        if self._store is None or self._store[0] != site:
            if self._store is not None:
                self._store[1].client.close()
            self._store = (site, Store(self._connect(), site))
        try:
            found = overview(snapshot(self._store[1]), rollout, commit, self._said())
        except errors.Transient as error:
            return {**(self._shown or _empty("")), "site": site, "problem": str(error)}
        return {**found, "site": site, "problem": "", "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _empty(problem: str) -> dict[str, Any]:
    lists = dict.fromkeys(("waves", "budgets", "hosts", "failed"), ())
    return {"kind": "rollout", "site": "", "rolling": "", "accepted": "", "halt": None, "problem": problem, **lists}
