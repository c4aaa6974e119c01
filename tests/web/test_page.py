"""The status page in a real browser: what it shows, that it follows the node, and that no text ever becomes more than text."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import requests

from reconciler.model import Held, Plan
from reconciler.reasons import Reason
from reconciler.report import Agreed, Report, conditions
from reconciler.web import Server, handlers
from reconciler.web.document import node_document
from tests.review.browser import Browser
from tests.support.lab import wait_for

from . import sample

ABOUT = {"host": "ctl1", "branch": "main", "mode": "apply", "interval": 60.0, "working": False}
TEXT = "return document.body.innerText"


@dataclass
class Shown:
    """A served page whose document can be exchanged."""

    document: dict[str, Any]
    url: str = ""

    def open(self, window: Browser) -> None:
        window._post("url", url=self.url)
        wait_for("the page to be drawn", lambda: window.run("return document.querySelectorAll('.row').length"))


@contextlib.contextmanager
def serving(document: dict[str, Any], path: str = "/", source: str = "status.json") -> Iterator[Shown]:
    shown = Shown(document)
    server = Server("127.0.0.1:0", handlers(lambda: shown.document, path, source))
    shown.url = f"http://127.0.0.1:{server.port}{path}"
    try:
        yield shown
    finally:
        server.close()


def served(
    report: Report | None, history: Sequence[dict[str, Any]] = (), **about: Any
) -> contextlib.AbstractContextManager[Shown]:
    return serving(node_document(report, history, {**ABOUT, **about}))


def choose(window: Browser, rows: str, values: Mapping[str, str]) -> list[str]:
    """Set the filters, those without a value to none; returns what the script `rows` then finds."""
    for name in window.run("return [...document.querySelectorAll('.filters [id]')].map((e) => e.id)"):
        window.run(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}));",
            name,
            values.get(name, ""),
        )
    found: list[str] = window.run(rows)
    return found


def test_what_a_node_says(window: Browser) -> None:
    window.screen(1120, 1180)
    with served(sample.report(), sample.history()) as shown:
        shown.open(window)
        text = window.run(TEXT)
        for expected in (
            "site cloud-north", "ctl1", "DriftReported", "3f9c1b7e5d2a", "nova: more API workers", "operator",
            "restart nova-api", "environment.OS_DEBUG", "stopped by hand at 03:12", "old_prometheus", "HoldsData",
        ):  # fmt: skip
            assert expected in text, expected
        heads = window.run("return [...document.querySelectorAll('h2')].map((e) => e.firstChild.textContent)")
        assert heads == [
            "Conditions",
            "Drift",
            "Drift put right",
            "Plan",
            "Held back",
            "Volumes nothing uses",
            "History",
        ]
        cells = window.run("return [...document.querySelectorAll('.differences')][0].innerText")
        assert "sha256:77c1…" in cells and "sha256:09ab…" in cells
        assert window.log() == []  # no script error, no refused request, no policy violation


def test_waiting_for_others_is_no_failure(window: Browser) -> None:
    """In the words and the colour of waiting, whatever the reason; and what was agreed upon."""
    for reason in (Reason.RolloutHalted, Reason.WaitsForBudget):
        held = Held("mariadb", reason, "ctl2 holds the budget mariadb")
        plan = Plan("ctl1", sample.COMMIT, held=(held,))
        fleet = Agreed("", sample.COMMIT, f"cmp1: {sample.HOSTILE}", ("mariadb", "wave"), "a new disk")
        found = sample.report(plan=plan, outcomes=(), fleet=fleet)
        found = replace(found, conditions=conditions(found, (), found.ended_at))
        with served(found) as shown:
            shown.open(window)
            badge = window.run("const b = document.getElementById('verdict'); return [b.textContent, b.className]")
            assert badge == [reason, "badge mild"]
            text = window.run(TEXT)
            for expected in (
                "ctl2 holds the budget mariadb",
                "holds places: mariadb, wave",
                "lent: a new disk",
                "The rollout is halted",
            ):
                assert expected in text, expected
            assert window.run("return document.querySelectorAll('#owned, img').length") == 0
            assert window.log() == []


def test_it_follows_the_node(window: Browser) -> None:
    history = sample.history()
    with served(sample.report(), history) as shown:
        shown.open(window)
        window.run("document.querySelectorAll('details')[1].open = true")
        calm = sample.report(conditions=(), plan=None, explained={}, subject="the next commit")
        shown.document = node_document(calm, history, ABOUT)
        wait_for("the new commit on the page", lambda: "the next commit" in window.run(TEXT), 15)
        assert "environment.OS_DEBUG" not in window.run(TEXT)
        # What the reader had opened stays open.
        assert window.run("return [...document.querySelectorAll('details')].map((d) => d.open)")[1] is True
        assert "up to date" in window.run(TEXT)
    wait_for("the page to notice that nobody answers", lambda: "this may be old" in window.run(TEXT), 25)
    window.log()


def test_no_text_becomes_more(window: Browser) -> None:
    history = [
        {
            "at": sample.HOSTILE,
            "revision": sample.HOSTILE,
            "subject": sample.HOSTILE,
            "author": sample.HOSTILE,
            "trigger": sample.HOSTILE,
            "seconds": sample.HOSTILE,
            "refused": {"commit": sample.HOSTILE, "reason": sample.HOSTILE, "message": sample.HOSTILE},
            "failure": [sample.HOSTILE, sample.HOSTILE],
            "actions": [{"line": sample.HOSTILE, "result": sample.HOSTILE, "reason": "", "message": ""}],
            "explained": {sample.HOSTILE: sample.HOSTILE},
        }
    ]
    with served(sample.hostile(), history) as shown:
        shown.open(window)
        assert window.run("return document.querySelectorAll('#owned, img').length") == 0
        assert window.run("return document.title").startswith("</script>")
        assert "onerror=" in window.run(TEXT)  # it is there, to be read
        assert window.log() == []


def test_a_phone(window: Browser) -> None:
    window.screen(390, 844, phone=True)
    with served(sample.report(), sample.history()) as shown:
        shown.open(window)
        assert window.run("return document.documentElement.scrollWidth") <= 390
    with served(sample.hostile()) as shown:
        shown.open(window)
        assert window.run("return document.documentElement.scrollWidth") <= 390
    window.screen(1120, 1180)


def test_a_node_without_a_report(window: Browser) -> None:
    with served(None) as shown:
        window._post("url", url=shown.url)
        wait_for("the page", lambda: "no report yet" in window.run(TEXT))
        assert window.log() == []


def test_who_asks_again_gets_nothing_new() -> None:
    with served(sample.report()) as shown:
        first = requests.get(f"{shown.url}status.json", timeout=5)
        assert json.loads(first.content)["revision"]["commit"] == sample.COMMIT
        same = requests.get(f"{shown.url}status.json", headers={"If-None-Match": first.headers["ETag"]}, timeout=5)
        assert (same.status_code, same.content) == (304, b"")
        shown.document = {**shown.document, "containers": 39}
        other = requests.get(f"{shown.url}status.json", headers={"If-None-Match": first.headers["ETag"]}, timeout=5)
        assert other.status_code == 200 and other.headers["ETag"] != first.headers["ETag"]


def test_only_under_its_own_names() -> None:
    with served(sample.report()) as shown:
        port = shown.url.rstrip("/").rpartition(":")[2]
        codes = {
            host: requests.get(shown.url, headers={"Host": host}, timeout=5).status_code
            for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "evil.example.org", f"x.nip.io:{port}", "")
        }  # fmt: skip
    assert list(codes.values()) == [200, 200, 200, 421, 421, 421]
