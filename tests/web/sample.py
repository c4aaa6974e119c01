"""Reports for the status page: an ordinary day, and one whose every text wants to be more than text.

python -m tests.web.sample DIR     takes the pictures of docs/images/ into DIR
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler.model import Action, Condition, Difference, Held, Outcome, Plan, Verb
from reconciler.reasons import Reason
from reconciler.report import Refusal, Report, RepositoryStatus

COMMIT = "3f9c1b7e5d2a48c6b0e1f7a9d3c5b8e2f4a6071d"
HOSTILE = """</script><img src=x onerror="document.title='owned'"><b id=owned>&lt;"""


def report(**changes: Any) -> Report:
    """A node that put one container right, left another as it is, and waits with a third."""
    now = datetime.now(UTC)
    start = Action(Verb.START, "keystone", "it was stopped", service="keystone", drift=True)
    write = Action(Verb.WRITE, "nova-api/nova.conf", "nova.conf changed", container="nova-api", service="nova",
                   differences=(Difference("content", "1.2 kB", "1.1 kB"),))  # fmt: skip
    restart = Action(Verb.RESTART, "nova-api", "nova.conf changed", container="nova-api", service="nova",
                     risks=("restart",))  # type: ignore[arg-type]  # fmt: skip
    differs = (Difference("image", "quay.example.org/kolla/glance-api:2025.1@sha256:77c1…", "quay.example.org/kolla/glance-api:2024.2@sha256:09ab…"),
               Difference("environment.OS_DEBUG", "unset", "1"))  # fmt: skip
    drifted = Held("glance-api", Reason.DriftReported, "the site reports drift of glance and does not heal it", differs, drift=True)  # fmt: skip
    waits = Held("mariadb", Reason.HoldsData, "no longer wanted, and its volume holds data: remove it yourself")
    values: dict[str, Any] = {
        "site": "cloud-north",
        "host": "ctl1",
        "revision": COMMIT,
        "started_at": now - timedelta(seconds=14),
        "seconds": 6.214,
        "trigger": "webhook",
        "deep": True,
        "source": RepositoryStatus(True, COMMIT),
        "plan": Plan("ctl1", COMMIT, (start, write, restart), (drifted, waits), ("old_prometheus",)),
        "outcomes": (Outcome(start, "done", seconds=0.6), Outcome(write, "done"), Outcome(restart, "done", seconds=4.1)),
        "containers": 38,
        "subject": "nova: more API workers",
        "author": "operator",
        "explained": {"keystone": "stopped by hand at 03:12", "glance-api": "made anew by docker at 03:14"},
        "conditions": conditions(now),
    }  # fmt: skip
    return Report(**{**values, **changes})


def conditions(now: datetime) -> tuple[Condition, ...]:
    def since(**ago: float) -> datetime:
        return now - timedelta(**ago)

    return (
        Condition("Ready", False, Reason.DriftReported, "glance-api: the site reports drift of glance", since(hours=5)),
        Condition("Reconciling", False, Reason.Idle, "", since(hours=5)),
        Condition("Stalled", False, Reason.NotStalled, "", since(days=12)),
        Condition("Drifted", True, Reason.Drift, "glance-api differs", since(hours=5)),
        Condition("Suspended", False, Reason.Active, "", since(days=12)),
        Condition("Testing", False, Reason.Branch, "", since(days=12)),
        Condition("SourceReady", True, Reason.UpToDate, "", since(days=2)),
    )


def hostile() -> Report:
    action = Action(Verb.REPLACE, HOSTILE, HOSTILE, container=HOSTILE, differences=(Difference(HOSTILE, HOSTILE, HOSTILE),), drift=True)  # fmt: skip
    held = Held(HOSTILE, Reason.Unknown, HOSTILE, (Difference(HOSTILE, HOSTILE, HOSTILE),), drift=True)
    return report(
        site=HOSTILE,
        host=HOSTILE,
        subject=HOSTILE,
        author=HOSTILE,
        plan=Plan("h", COMMIT, (action,), (held,), (HOSTILE,)),
        outcomes=(Outcome(action, "failed", Reason.ActionFailed, HOSTILE),),
        refusal=Refusal("b" * 40, Reason.SiteInvalid, HOSTILE, (HOSTILE,)),
        failure=(Reason.Unknown, HOSTILE),
        suspended=HOSTILE,
        gave_way=HOSTILE,
        window=HOSTILE,
        testing=HOSTILE,
        warnings=(HOSTILE,),
        explained={HOSTILE: HOSTILE},
        source=RepositoryStatus(False, "", Reason.GitTimeout, HOSTILE),
        conditions=(Condition("Ready", False, Reason.Unknown, HOSTILE, datetime.now(UTC)),),
    )


def history() -> list[dict[str, Any]]:
    def action(line: str, result: str = "done", **more: Any) -> dict[str, Any]:
        return {"line": line, "result": result, "reason": "", "message": "", "drift": False, "seconds": 1.0, **more}

    def entry(hours: float, subject: str, author: str, *actions: dict[str, Any], **more: Any) -> dict[str, Any]:
        at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
        return {"at": at, "revision": COMMIT, "subject": subject, "author": author, "testing": "", "trigger": "interval", "seconds": 3.4,
                "refused": None, "failure": None, "actions": list(actions), "explained": {}, **more}  # fmt: skip

    refused = {
        "commit": "b" * 40,
        "reason": "SiteInvalid",
        "message": "globals.yml:12:1: unknown variable 'nova_api_worker'",
    }
    return [
        entry(0.01, "nova: more API workers", "operator", action("write nova-api/nova.conf: nova.conf changed"),
              action("restart nova-api: nova.conf changed"), trigger="webhook"),
        entry(3, "keystone: token lifetime", "operator", action("start keystone: it was stopped", drift=True),
              explained={"keystone": "stopped by hand at 03:12"}, trigger="event"),
        entry(20, "", "", refused=refused),
        entry(26, "glance: 2025.1", "operator", action("replace glance-api: image", "rolled-back", reason="HealthGate",
              message="not healthy within 120 s")),
    ]  # fmt: skip


def pictures(folder: Path) -> None:
    """The page of a node on a desk and on a phone, in light and dark, and that of a fleet."""
    from tests.review.browser import browser
    from tests.web import test_fleet_page, test_rollout_page
    from tests.web.test_page import served

    folder.mkdir(parents=True, exist_ok=True)
    with browser() as window, served(report(), history()) as shown:
        for name, scheme, width, height in (
            ("node", "light", 1120, 1180), ("node-dark", "dark", 1120, 1180), ("node-phone", "dark", 390, 844),
        ):  # fmt: skip
            window.scheme("light" if scheme == "light" else "dark")
            window.screen(width, height, phone=name.endswith("phone"))
            shown.open(window)
            window.run("document.querySelectorAll('details')[1].open = true")
            (folder / f"status-{name}.png").write_bytes(window.picture())
    with browser() as window, test_fleet_page.served(test_fleet_page.sample(19)) as shown:
        window.scheme("light")
        window.screen(1120, 1180)
        shown.open(window)
        (folder / "status-fleet.png").write_bytes(window.picture())
    with browser() as window, test_fleet_page.served(test_fleet_page.sample(12), test_fleet_page.reviews()) as shown:
        window.scheme("light")
        window.screen(1120, 1320)
        shown.open(window)
        (folder / "status-reviews.png").write_bytes(window.picture())
    rollout = test_rollout_page.sample()
    with browser() as window, test_rollout_page.served(rollout) as shown:
        window.scheme("light")
        window.screen(1120, 1420)
        shown.open(window)
        (folder / "status-rollout.png").write_bytes(window.picture())
        window.screen(390, 1400, phone=True)
        window.scheme("dark")
        shown.open(window)
        (folder / "status-rollout-phone.png").write_bytes(window.picture())


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
