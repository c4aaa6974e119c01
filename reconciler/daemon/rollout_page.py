"""The page of the rollout: read from etcd when somebody looks, and at most once in a few seconds however many do."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.etcd import Client, Store, UnavailableError, snapshot
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
        self._guard = threading.Lock()  # held while etcd is asked, so that one asks and the others wait for the answer
        self._basis: Basis | None = None
        self._store: tuple[str, Store] | None = None
        self._shown: tuple[Basis, dict[str, Any], float] | None = None  # by which waves, what, and when that was read

    def take(self, basis: Basis | None) -> None:
        """Show it by these waves from now on; None changes nothing. Waits for nobody: it is a pass that says so."""
        if basis is not None:
            self._basis = basis

    def document(self) -> dict[str, Any]:
        """What the script of the page draws for kind "rollout"."""
        with self._guard:
            basis = self._basis
            if basis is None:
                return _empty("no commit is accepted here yet, so nobody knows the waves")
            before = self._shown if self._shown and self._shown[0] == basis else None
            if before and self._clock() - before[2] < _FRESH:
                return before[1]
            found = self._look(basis, before[1] if before else _empty(""))
            # From the end of the look: one that waited for a dead member is as good as any other.
            self._shown = (basis, found, self._clock())
            return found

    def close(self) -> None:
        with self._guard:
            if self._store is not None:
                self._store[1].client.close()

    def _look(self, basis: Basis, before: dict[str, Any]) -> dict[str, Any]:
        site, commit, rollout = basis
        if self._store is None or self._store[0] != site:
            if self._store is not None:
                self._store[1].client.close()
            self._store = (site, Store(self._connect(), site))
        try:
            found = overview(snapshot(self._store[1]), rollout, commit, self._said())
        except UnavailableError as error:
            return {**before, "site": site, "problem": str(error)}
        return {**found, "site": site, "problem": "", "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _empty(problem: str) -> dict[str, Any]:
    lists = dict.fromkeys(("waves", "budgets", "hosts", "failed"), ())
    return {"kind": "rollout", "site": "", "rolling": "", "accepted": "", "halt": None, "problem": problem, **lists}
