"""The page of a rollout in a real browser: what it shows, its filters, a thousand hosts, and that no text becomes more than text."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from reconciler.rollout.overview import Snapshot, overview
from reconciler.rollout.policy import Budget, Rollout, Wave
from reconciler.rollout.records import Halt, Permit, Place, Roll, Said
from tests.review.browser import Browser
from tests.support.lab import wait_for

from . import test_page
from .sample import COMMIT, HOSTILE, report
from .test_page import TEXT, Shown, serving
from .test_page import served as node_served

ROWS = "return [...document.querySelectorAll('#hosts .row')].map((r) => r.firstChild.textContent)"
CONTROLLERS = ("ctl1", "ctl2", "ctl3")


def sample(computes: int = 39, *, halt: str = "", name: str = "cmp") -> dict[str, Any]:
    """A rollout in its middle: the canaries are proved, a controller is at it, one compute is being repaired, one is gone."""
    hosts = tuple(f"{name}{n}" for n in range(1, computes + 1))
    rollout = Rollout(
        (Wave("canaries", (hosts[0], "ctl3"), 1), Wave("controllers", ("ctl1", "ctl2"), 1, in_order=True), Wave("the rest", hosts[1:], max(1, computes // 10))),
        {"mariadb": Budget("mariadb", 1, CONTROLLERS), "rabbitmq": Budget("rabbitmq", 1, CONTROLLERS)},
    )  # fmt: skip
    moment = (datetime.now(UTC) - timedelta(minutes=7)).isoformat(timespec="seconds")
    found = Snapshot(
        Roll(COMMIT, 1, (), Halt("op", halt, moment) if halt else None),
        {
            "ctl1": Permit(COMMIT, ("budget/wave/0", "budget/mariadb/0", "budget/rabbitmq/0"), "x"),
            hosts[6]: Permit(COMMIT, ("budget/nova_libvirt/0",), "x", lent="op: a new disk"),
        },
        {
            "wave": {0: Place("ctl1")},
            "mariadb": {0: Place("ctl1")},
            "rabbitmq": {0: Place("ctl1")},
            "nova_libvirt": {0: Place(hosts[6])},
        },
        frozenset({(0, hosts[0]), (0, "ctl3")}),
        frozenset({*CONTROLLERS, *hosts} - {hosts[11]}),
        {hosts[11]: Said("op", "its mainboard is changed", moment)},
    )
    return {**overview(found, rollout, COMMIT), "site": "cloud-north", "problem": "", "at": moment}


def hostile() -> dict[str, Any]:
    found = Snapshot(
        Roll(HOSTILE, 0, (HOSTILE,), Halt(HOSTILE, HOSTILE, HOSTILE), HOSTILE),
        {HOSTILE: Permit(HOSTILE, (f"budget/{HOSTILE.replace('/', '')}/0",), "x", lent=HOSTILE)},
        {HOSTILE: {0: Place(HOSTILE)}},
        frozenset({(0, HOSTILE)}),
        frozenset({HOSTILE}),
        {HOSTILE: Said(HOSTILE, HOSTILE, HOSTILE)},
        {HOSTILE: Said(HOSTILE, HOSTILE, HOSTILE)},
    )
    rollout = Rollout((Wave(HOSTILE, (HOSTILE, "b"), 1),), {HOSTILE: Budget(HOSTILE, 1, (HOSTILE,))})
    return {**overview(found, rollout, HOSTILE, {"b": HOSTILE}), "site": HOSTILE, "problem": HOSTILE}


def served(document: dict[str, Any]) -> AbstractContextManager[Shown]:
    return serving(document, "/fleet", "fleet.json")


def choose(window: Browser, **values: str) -> list[str]:
    """Set the filters; the hosts that are then shown."""
    return test_page.choose(window, ROWS, values)


def test_what_a_rollout_says_and_that_it_follows(window: Browser) -> None:
    window.screen(1120, 1500)
    with served(sample()) as shown:
        shown.open(window)
        text = window.run(TEXT)
        for expected in (
            "cloud-north", "rolling out 3f9c1b7e5d2a", "2 of 42 proved", "2 hold places", "37 wait", "2 of 2 proved", "0 of 2 proved · 1 at it · one by one, in order",
            "0 of 38 proved · 3 at once", "36 hosts", "the wave controllers comes first: ctl1, ctl2", "ctl1 holds the places of the wave",
            "is not waited for: its mainboard is changed", "lent: op: a new disk", "the open wave", "1 of 1",
        ):  # fmt: skip
            assert expected in text, expected
        assert window.run(ROWS)[:3] == ["ctl1", "cmp7", "ctl2"] and len(window.run(ROWS)) == 42
        assert choose(window, state="excused") == ["cmp12"]
        assert choose(window, wave="controllers") == ["ctl1", "ctl2"]
        assert choose(window, search="mariadb") == ["ctl1"]
        assert choose(window, search="no such host") == ["none"]
        choose(window, search="ctl", state="waits")
        shown.document = sample(halt="the network is being moved")
        wait_for("the halt", lambda: "Halted by op" in window.run(TEXT), 20)
        assert "the network is being moved" in window.run(TEXT) and "the rollout is halted" in window.run(TEXT)
        assert window.run(ROWS) == ["ctl2"]  # what the reader asked for stays
        assert window.log() == []


def test_a_thousand_hosts(window: Browser) -> None:
    """Its data, and the time a browser needs to draw it anew: it does so every three seconds at most."""
    document = sample(997)
    with served(document) as shown:
        data = requests.get(shown.url.replace("/fleet", "/fleet.json"), timeout=5).content
        assert len(data) < 250_000
        shown.open(window)
        assert "2 of 1000 proved" in window.run(TEXT)
        assert len(window.run(ROWS)) == 201 and "and 800 more: narrow the search" in window.run(TEXT)
        assert choose(window, search="cmp997") == ["cmp997"]
        assert "994 hosts" in window.run(TEXT)  # they wait for the same: one row
        assert window.run("draw(); return document.querySelectorAll('*').length") < 3000
        assert window.log() == []


def test_no_text_becomes_more_on_a_phone_either(window: Browser) -> None:
    for document in (hostile(), sample()):
        window.screen(390, 844, phone=True)
        with served(document) as shown:
            shown.open(window)
            assert window.run("return document.querySelectorAll('#owned, img').length") == 0
            assert window.run("return document.documentElement.scrollWidth") <= 390
            assert window.log() == []
    window.screen(1120, 1180)


def test_an_etcd_that_is_away(window: Browser) -> None:
    with served({**sample(), "problem": "etcd cannot be asked (no answer in time)"}) as shown:
        shown.open(window)
        assert "what is shown is from before" in window.run(TEXT) and "no answer in time" in window.run(TEXT)
        assert window.run("return document.getElementById('verdict').textContent") == "unknown"


def test_the_status_page_of_a_node_leads_there(window: Browser) -> None:
    from reconciler.report import Agreed

    links = "return [...document.querySelectorAll('footer a')].map((a) => a.getAttribute('href'))"
    for fleet, expected in (
        (Agreed("", COMMIT), ["status.json", "metrics", "fleet"]),
        (None, ["status.json", "metrics"]),
    ):
        with node_served(report(fleet=fleet)) as shown:
            shown.open(window)
            assert window.run(links) == expected
