"""A thousand hosts that run the real decisions against three real members, while members are killed and paused."""

from pathlib import Path

import pytest

from reconciler.rollout.policy import WAVE
from tests.rollout.simulation import Simulation, site
from tests.support.etcd import Cluster

HOSTS = 1000


@pytest.mark.slow
def test_a_thousand_hosts_keep_to_waves_and_budgets_through_every_fault(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        simulation = Simulation(cluster.urls, site(HOSTS))
        simulation.push()
        simulation.settle()
        simulation.run(lambda: simulation.proved() == HOSTS)
        waiting = simulation.run(lambda: False, at_most=300.0)
        assert waiting.requests / waiting.seconds <= 30 and (waiting.up + waiting.down) / waiting.seconds <= 20_000

        # A good commit, with a member killed and started again, and another paused, in the middle of it.
        simulation.push()

        def faults(seconds: float) -> None:
            minute = round(seconds / 60)
            if minute == 10:
                cluster.kill(0)
            elif minute == 12:
                cluster.start(0)
                cluster.await_leader()
            elif minute == 20:
                with cluster.paused([1]):
                    simulation.proved()

        cost = simulation.run(lambda: simulation.proved() == HOSTS, every=faults)
        assert cost.requests <= 30_000 and max(simulation.noticed) <= 2.0
        assert cost.peaks[WAVE] <= 100 and max(v for k, v in cost.peaks.items() if k != WAVE) <= 10
        assert simulation.left() == [] and len(simulation.started) == HOSTS
        order = [name for _, name in simulation.started]
        assert set(order[:3]) == {f"host{n:04}" for n in range(3)}

        # A bad one fails on a host of the second wave: nothing begins after the halt, what is in flight is finished.
        bad = simulation.push()
        failing = "host0050"
        simulation.fails.add((bad, failing))
        simulation.started.clear()
        simulation.run(lambda: simulation.halted_after is not None, at_most=7200.0)
        begun = simulation.halted_after
        assert begun is not None and begun < 100
        simulation.run(lambda: False, at_most=900.0)
        assert len(simulation.started) == begun, "begins after a halt"
        assert any(key == f"permit/{failing}" for key in simulation.left())

        # The commit that mends it begins there, before the canaries have a place.
        simulation.push()
        simulation.started.clear()
        simulation.run(lambda: simulation.proved() == HOSTS)
        assert simulation.started[0][1] == failing
        assert simulation.left() == []
