"""What a target is sent: GitLab's fields, our JSON, or a title and a text. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from reconciler.alerts.ledger import Delivery
from reconciler.text import cut, printable

GROUP = 50  # alerts in one message
_TITLE, _DESCRIPTION, _SERVICE = 200, 1000, 100  # characters that GitLab keeps
_SECTIONS = {
    "drift": "drift",
    "failing": "failing",
    "other-tool": "another-tool-is-at-work",
    "refused": "a-commit-was-refused",
    "source": "the-source-cannot-be-read",
    "etcd": "etcd-does-not-answer",
    "rollout": "the-rollout-does-not-come-on",
    "stalled": "not-converging",
    "suspended": "suspended-too-long",
}


def gitlab(delivery: Delivery, runbook: str) -> dict[str, Any]:
    """One alert for GitLab's endpoint; `end_time` resolves the one with the same fingerprint."""
    alert, entry = delivery.entry.alert, delivery.entry
    content = {
        "title": cut(_line(alert.title), _TITLE),
        # As code: what a branch or an engine wrote must not mention people or give commands.
        "description": cut("\n".join(f"    {_line(line)}" for line in _lines(delivery, runbook)), _DESCRIPTION),
        "start_time": _time(entry.since),
        "service": cut(_line(alert.item), _SERVICE),
        "monitoring_tool": "reconciler",
        "hosts": [alert.host],
        "severity": alert.severity,
        "fingerprint": entry.fingerprint,
    }
    if delivery.status == "resolved" and entry.gone:
        content["end_time"] = _time(entry.gone)
    return content


def webhook(deliveries: Sequence[Delivery], now: datetime, runbook: str) -> dict[str, Any]:
    """Alerts of one host as schemas/alert.schema.json describes them."""
    return {
        "version": 1,
        "sent_at": _time(now),
        "host": deliveries[0].entry.alert.host,
        "site": deliveries[0].entry.alert.site,
        "alerts": [_described(delivery, runbook) for delivery in deliveries],
    }


def text(deliveries: Sequence[Delivery], runbook: str) -> dict[str, str]:
    """Title, body and kind (apprise's words) for people."""
    firing = [d for d in deliveries if d.status == "firing"]
    first = (firing or deliveries)[0]
    head = "resolved: " if not firing else "still: " if all(d.times > 1 for d in firing) else ""
    more = f" and {len(deliveries) - 1} more" if len(deliveries) > 1 else ""
    parts = []
    for delivery in deliveries:
        resolved = "resolved: " if delivery.status == "resolved" else ""
        parts.append(
            "\n".join([f"{resolved}{_line(delivery.entry.alert.title)}", *map(_line, _lines(delivery, runbook))])
        )
    return {
        "title": cut(f"[reconciler] {head}{_line(first.entry.alert.title)}{more}", _TITLE),
        "body": "\n\n".join(parts),
        "type": "success" if not firing else "failure" if _serious(firing) else "warning",
    }


def _serious(deliveries: Sequence[Delivery]) -> bool:
    return any(d.entry.alert.severity in ("critical", "high") for d in deliveries)


def _described(delivery: Delivery, runbook: str) -> dict[str, Any]:
    alert, entry = delivery.entry.alert, delivery.entry
    ends = {"ends_at": _time(entry.gone)} if delivery.status == "resolved" and entry.gone else {}
    return {
        "fingerprint": entry.fingerprint,
        "status": delivery.status,
        "times": delivery.times,
        "kind": alert.kind,
        "item": alert.item,
        "severity": alert.severity,
        "reason": alert.reason,
        "title": alert.title,
        "text": alert.text,
        "cause": alert.cause,
        "revision": alert.revision,
        "starts_at": _time(entry.since),
        **ends,
        "runbook": _runbook(delivery, runbook),
    }


def _lines(delivery: Delivery, runbook: str) -> list[str]:
    alert, entry = delivery.entry.alert, delivery.entry
    lines = [f"who did it: {alert.cause}"] if alert.cause else []
    lines += alert.text.split("\n")
    lines.append(f"reason {alert.reason}, since {entry.since.astimezone():%Y-%m-%d %H:%M:%S %Z}")
    if entry.gone and delivery.status == "resolved":
        lasted = timedelta(seconds=round((entry.gone - entry.since).total_seconds()))
        lines.append(f"gone since {entry.gone.astimezone():%Y-%m-%d %H:%M:%S %Z}, lasted {lasted}")
    if alert.revision:
        lines.append(f"revision {alert.revision[:12]}")
    lines.append(f"what to do: {_runbook(delivery, runbook)}")
    return lines


def _runbook(delivery: Delivery, runbook: str) -> str:
    return f"{runbook}#{_SECTIONS[delivery.entry.alert.kind]}"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _line(text: str) -> str:
    return printable(text.expandtabs()).rstrip()
