"""A reporter that may read the etcd of its site: the rollout on its page, with what hosts say themselves of why they wait."""

from collections.abc import Callable
from pathlib import Path

from reconciler import settings
from reconciler.etcd import Client, Store
from reconciler.fleet.service import Service
from reconciler.reasons import Reason
from reconciler.report import StatusText
from reconciler.rollout.records import ROLL, Permit, Roll, Transaction, permit_key, place_key, presence_key
from tests.fleet.conftest import Fleet
from tests.support.etcd import Cluster

Make = Callable[..., Fleet]


def test_waves_places_and_what_hosts_say_themselves(make_fleet: Make, tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    with Cluster(tmp_path / "etcd", 1) as etcd:
        fleet = make_fleet(3, forge=False)
        head = fleet.place.push(fleet.hosts.site())
        text = "n0 holds the budget mariadb"
        waits = StatusText(head, "pending", text, "waiting", reason=Reason.WaitsForBudget)
        for host in fleet.hosts.all:
            host.say(head, waits, reason=Reason.WaitsForBudget)
        with fleet.place.settings.open("a") as file:
            file.write(f"\n[fleet]\netcd = {etcd.urls}\ntimeout = 1.0\n")
        service = Service(settings.load(fleet.place.settings))
        try:
            assert "no commit is accepted" in service.document()["rollout"]["problem"]
            service._round()
            site = service.document()["site"]
            client = Client(etcd.urls)
            puts = {
                ROLL: Roll(head),
                permit_key("n0"): Permit(head, (place_key("wave", 0), place_key("mariadb", 0)), "x"),
                place_key("wave", 0): {"host": "n0"},
                place_key("mariadb", 0): {"host": "n0"},
                **{presence_key(host): {} for host in ("n0", "n1", "n2")},
            }
            assert Store(client, site).try_(Transaction({}, puts))
            client.close()
            assert service.rollout
            service.rollout._shown = None  # what was read is old
            shown = service.rollout.document()
            assert shown["rolling"] == head and not shown["problem"]
            told = {row["host"]: (row["state"], row["text"]) for row in shown["hosts"]}
            assert told["n0"] == ("holds", f"carries out {head[:12]}") and told["n1"] == ("waits", text)
            whole = service.document()["rollout"]
            assert "hosts" not in whole and {"name": "mariadb", "at_once": None, "holders": ["n0"]} in whole["budgets"]
        finally:
            if service.rollout:
                service.rollout.close()
            service.reporter.close(0.0)


def test_one_that_names_no_etcd_shows_hosts_alone(make_fleet: Make) -> None:
    service = Service(settings.load(make_fleet(1, forge=False).place.settings))
    assert service.rollout is None and "rollout" not in service.document()
    service.reporter.close(0.0)
