"""Many hosts that run the real decisions against real etcd members, in simulated time: `python -m tests.rollout.simulation`.

A pass costs no time, an apply 10 to 40 s, and a host that waits for nothing looks once a minute, as daemons do. What is real are the
decisions, the reads, the transactions and the members; what is measured are requests, bytes and etcd's own processor time.
"""

import heapq
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from reconciler import errors
from reconciler.etcd import Client, Store
from reconciler.rollout import decide, together
from reconciler.rollout.decide import Go, Kin, Own, Write
from reconciler.rollout.policy import WAVE, Budget, Rollout, Wave
from reconciler.rollout.records import ROLL, Permit, Transaction, View
from tests.support.etcd import Cluster

INTERVAL, RACK = 60.0, 10
EVENT = 480  # bytes of what a watch tells of one change, with its chunk's frame; measured in tests/etcd


def site(hosts: int) -> Rollout:
    """Three one by one, a tenth by ten, the rest by hundred; racks of ten times ten hosts, of which ten at once."""
    names = [f"host{number:04}" for number in range(hosts)]
    tenth = hosts // 10
    racks = {
        f"rack{number}": Budget(f"rack{number}", RACK, tuple(names[number * 100 : number * 100 + 100]))
        for number in range((hosts + 99) // 100)
    }
    waves = (
        Wave("canaries", tuple(names[:3]), 1),
        Wave("a tenth", tuple(names[3:tenth]), 10),
        Wave("the rest", tuple(names[tenth:]), 100),
    )
    return Rollout(waves, racks, bake=60.0, deadline=1800.0)


@dataclass
class Host:
    name: str
    budget: str
    running: str = ""
    begun: str = ""
    ready_at: float = 0.0  # when what was begun has ended
    well_since: float = 0.0
    held: Permit | None = None
    seen: together.Seen = field(default_factory=dict)


@dataclass
class Cost:
    requests: int = 0
    up: int = 0  # bytes
    down: int = 0
    lost: int = 0  # transactions
    unavailable: int = 0  # passes
    seconds: float = 0.0  # of simulated time
    peaks: dict[str, int] = field(default_factory=dict)


class Simulation:
    """`fails`: (commit, host) pairs that do not become healthy."""

    def __init__(self, urls: list[str], rollout: Rollout, seed: int = 1) -> None:
        self.rollout, self.random = rollout, random.Random(seed)
        self.client = Client(urls, seconds=2.0)
        self.client._session.hooks["response"].append(self._count)
        self.store = Store(self.client, "thousand")
        self.epoch = 0
        self.hosts = [
            Host(name, next(b.name for b in rollout.budgets.values() if name in b.members))
            for wave in rollout.waves
            for name in wave.hosts
        ]
        self.by_name = {host.name: host for host in self.hosts}
        self.stores = {host.name: Store(self.client, "thousand") for host in self.hosts}
        for store in self.stores.values():
            store.chance, store.epoch = self.random.random, lambda: self.epoch
        self.due = [0.0] * len(self.hosts)  # when each host's next pass is
        self.woken: list[int] = []
        self.opened: tuple[int, float] | None = None  # the wave that opened last, and when
        self.noticed: list[float] = []  # seconds from when a wave opened until its first host began
        self.commits: list[str] = []
        self.fails: set[tuple[str, str]] = set()
        self.now = 0.0
        self.cost = Cost()
        self.started: list[tuple[str, str]] = []  # (commit, host)
        self.halted_after: int | None = None  # how many had begun when the halt was written

    def _count(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.cost.requests += 1
        self.cost.up += len(response.request.body or b"") + sum(map(len, response.request.headers.values()))
        self.cost.down += len(response.content) + sum(len(k) + len(v) for k, v in response.headers.items())

    def push(self) -> str:
        self.commits.append(f"{len(self.commits):040x}")
        return self.commits[-1]

    def settle(self) -> None:
        """Everybody has the newest commit, as on a site that was there before."""
        for host in self.hosts:
            host.running = self.commits[-1]

    def run(
        self, until: Callable[[], bool], *, at_most: float = 24 * 3600.0, every: Callable[[float], None] | None = None
    ) -> Cost:
        """Passes in the order of time until `until` says so, looked at once a simulated minute. Returns the cost."""
        self.cost, begun = Cost(), self.now
        self.due = [self.now + self.random.random() * INTERVAL for _ in self.hosts]
        queue = [(due, number) for number, due in enumerate(self.due)]
        heapq.heapify(queue)
        look = self.now
        while self.now - begun < at_most:
            moment, number = heapq.heappop(queue)
            if moment != self.due[number]:
                continue  # it was woken before
            self.now = moment
            if self.now >= look:
                look = self.now + INTERVAL
                if every:
                    every(self.now - begun)
                if until():
                    break
            self.due[number] = self.now + self.pass_(self.hosts[number])
            heapq.heappush(queue, (self.due[number], number))
            for other in self.woken:
                soon = self.now + 0.1 + 0.4 * self.random.random()
                if other != number and soon < self.due[other]:
                    self.due[other] = soon
                    heapq.heappush(queue, (soon, other))
            self.woken.clear()
        self.cost.seconds = self.now - begun
        return self.cost

    def pass_(self, host: Host) -> float:
        """One pass; returns in how many seconds the next one is."""
        if host.begun and host.ready_at > self.now:
            return host.ready_at - self.now
        self._ended(host)
        commit = self.commits[-1]
        changes = host.running != commit
        own = Own(
            host.name,
            commit,
            host.name,
            changes=changes,
            budgets=frozenset({host.budget}) if changes or host.held else frozenset(),
            ready={host.budget: True},
            begun=host.begun,
            failed="it did not become healthy" if host.begun == commit and (commit, host.name) in self.fails else "",
            settled=not host.begun and self.now - host.well_since >= self.rollout.bake,
            held=host.held,
        )
        for _ in range(8):
            view = None
            try:
                store = self.stores[host.name]
                store.be_present(host.name, self.now)
                view = store.view(host.name, commit, self.rollout, own.budgets, (), changes=changes)
                host.held = view.permit
                step = decide.step(own, view, self._kin(view.roll.commit if view.roll else commit), self.rollout)
                if isinstance(step, Write):
                    done = self._try(host, step.transaction)
                    self.cost.lost += not done
                    if done and step.what == "failed":
                        self.halted_after = len(self.started)
                    continue
                self._chores(host, view, commit)
                break
            except errors.Transient:
                self.cost.unavailable += 1
                step = decide.step(own, None, Kin.SAME, self.rollout)
                break
        if isinstance(step, Go) and changes and host.begun != commit:
            self._begin(host, commit)
            return host.ready_at - self.now
        if host.held and not host.begun:
            return max(1.0, host.well_since + self.rollout.bake - self.now)
        return INTERVAL

    def _begin(self, host: Host, commit: str) -> None:
        host.begun, host.ready_at = commit, self.now + 10.0 + 30.0 * self.random.random()
        self.started.append((commit, host.name))
        if self.opened and self.rollout.wave_of(host.name) == self.opened[0]:
            self.noticed.append(self.now - self.opened[1])
            self.opened = None
        for name in (WAVE, host.budget):
            count = sum(1 for other in self.hosts if other.held and name in other.held.budgets)
            self.cost.peaks[name] = max(self.cost.peaks.get(name, 0), count)

    def _ended(self, host: Host) -> None:
        if host.begun and (host.begun, host.name) not in self.fails:
            host.running, host.begun, host.well_since = host.begun, "", self.now

    def _chores(self, host: Host, view: View, commit: str) -> None:
        if view.partial:
            return
        host.seen = together.note(view, host.seen, self.now, self.rollout)
        if view.roll and view.roll.commit == commit:
            wanted = together.chore(view, host.seen, self.now, self.rollout)
            if wanted:
                self.cost.lost += not self._try(host, wanted)

    def _try(self, host: Host, wanted: Transaction) -> bool:
        """Everybody hears of a change of the rollout; who may have a place looks at once."""
        done = self.stores[host.name].try_(wanted)
        if done and ROLL in wanted.puts:
            self.epoch += 1
            self.cost.down += EVENT * len(self.hosts)
            self.woken += [n for n, other in enumerate(self.hosts) if self.rollout.goes_early(other.name)]
            opened = wanted.puts[ROLL].opened
            if opened:
                self.opened = (opened, self.now)
        return done

    def _kin(self, rolled: str) -> Kin:
        newest = len(self.commits) - 1
        at = self.commits.index(rolled)
        return Kin.SAME if at == newest else Kin.ANCESTOR

    def proved(self) -> int:
        """How many hosts are proved at the newest commit."""
        from reconciler.etcd.client import Range

        name = self.store._prefix + f"proof/{self.commits[-1]}/"
        return self.client.read([Range(name, below=True, count=True)])[0].count

    def left(self) -> list[str]:
        """Keys of claims that are still there."""
        return [key for key in self.store.everything() if key.startswith(("permit/", "budget/"))]


def processor_seconds(cluster: Cluster) -> float:
    """What etcd's members have used of processors so far; those that were killed left out."""
    total = 0.0
    for process in cluster._processes:
        if process is not None:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def main(hosts: int) -> None:
    """Print what an hour of waiting and one rollout cost."""
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        simulation = Simulation(cluster.urls, site(hosts))
        simulation.push()
        simulation.settle()
        simulation.run(lambda: simulation.proved() == hosts)
        told: dict[str, Any] = {"hosts": hosts}
        before = processor_seconds(cluster)
        waiting = simulation.run(lambda: False, at_most=600.0)
        told["waiting"] = {
            "requests a second": round(waiting.requests / waiting.seconds, 1),
            "kB a second up": round(waiting.up / waiting.seconds / 1000, 1),
            "kB a second down": round(waiting.down / waiting.seconds / 1000, 1),
            "of a core": round((processor_seconds(cluster) - before) / waiting.seconds, 3),
        }
        before = processor_seconds(cluster)
        simulation.push()
        cost = simulation.run(lambda: simulation.proved() == hosts)
        told["rollout"] = {
            "requests": cost.requests,
            "MB up": round(cost.up / 1e6, 1),
            "MB down": round(cost.down / 1e6, 1),
            "lost claims": cost.lost,
            "seconds until an open wave was noticed": round(max(simulation.noticed), 1),
            "minutes": round(cost.seconds / 60, 1),
            "etcd's processor seconds": round(processor_seconds(cluster) - before, 1),
            "database in MB": round(max(one.size for one in simulation.client.members()) / 1e6, 1),
            "peaks": {"wave": cost.peaks[WAVE], "rack": max(v for k, v in cost.peaks.items() if k != WAVE)},
        }
        print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
