"""Real daemons with an hour between their passes: whoever waits for its wave goes on when that opens."""

import signal
import time
from pathlib import Path

import pytest

from reconciler.rollout.records import permit_key
from tests.support.etcd import Cluster
from tests.support.lab import wait_for
from tests.support.many import Many

HOSTS = ("one", "two")


@pytest.mark.slow
def test_a_node_notices_that_its_wave_opened(tmp_path: Path, engine_url: str, busybox_image: str) -> None:
    (tmp_path / "etcd").mkdir()
    (tmp_path / "many").mkdir()
    with (
        Cluster(tmp_path / "etcd", 1) as etcd,
        Many(tmp_path / "many", engine_url, HOSTS, etcd=etcd.urls, interval=3600) as many,
        many.store() as store,
    ):

        def keys(below: str) -> list[str]:
            return [name for name in store.everything() if name.startswith(below)]

        first = many.push("to begin with", text="fine")
        for host in HOSTS:
            many.start(host)
        wait_for("both are proved", lambda: len(keys(f"proof/{first}/")) == 2, 120.0, pause=0.2)
        many.push("the second page", text="better")
        many.daemons["two"].send_signal(signal.SIGHUP)
        wait_for("two waits", lambda: b"WaitsForWave" in (many.root / "two.log").read_bytes(), 120.0, pause=0.2)
        many.daemons["one"].send_signal(signal.SIGHUP)
        wait_for("the next wave is open", lambda: b'"opened": 1' in store.everything()["roll"].value, 120.0, pause=0.02)
        opened = time.monotonic()
        wait_for("two goes", lambda: permit_key("two") in store.everything(), 120.0, pause=0.02)
        print(f"two claimed {time.monotonic() - opened:.2f} s after its wave opened")
        wait_for("two has it", lambda: many.told("two") == "better", 120.0, pause=0.2)
