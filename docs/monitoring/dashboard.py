"""The Grafana dashboard as code: `python docs/monitoring/dashboard.py` writes reconciler-dashboard.json beside itself.

No ids of any Grafana are in it: the data source is a variable, panels are numbered by their place.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WHERE = 'job=~"$job",instance=~"$instance"'
DATA = {"type": "prometheus", "uid": "${datasource}"}
RED, ORANGE, GREEN = "red", "orange", "green"


def query(expression: str, legend: str = "", *, table: bool = False) -> dict[str, Any]:
    """One query; `@` in the expression stands for the chosen hosts."""
    kind: dict[str, Any] = {"format": "table", "instant": True} if table else {}
    return {"datasource": DATA, "expr": expression.replace("@", WHERE), "legendFormat": legend, **kind}


def panel(
    kind: str, title: str, description: str, *queries: dict[str, Any], width: int, height: int, **more: Any
) -> dict[str, Any]:
    """One panel, not placed yet. `unit`, `steps` (value → colour) and `options` as Grafana has them."""
    steps = [{"color": colour, "value": value} for value, colour in more.get("steps", {None: GREEN}).items()]
    defaults: dict[str, Any] = {"unit": more.get("unit", "short"), "thresholds": {"mode": "absolute", "steps": steps}}
    if kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never"}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATA,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": more.get("options", {}),
        "targets": [{**q, "refId": chr(ord("A") + n)} for n, q in enumerate(queries)],
        **({"transformations": more["transformations"]} if "transformations" in more else {}),
    }


def stat(title: str, description: str, expression: str, **more: Any) -> dict[str, Any]:
    """A single number."""
    options = {"colorMode": "background", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return panel("stat", title, description, query(expression), width=4, height=4, options=options, **more)


def lines(title: str, description: str, *queries: dict[str, Any], unit: str = "short") -> dict[str, Any]:
    """Lines over time."""
    options = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}}
    return panel("timeseries", title, description, *queries, width=12, height=8, unit=unit, options=options)


def hosts(title: str, description: str, *queries: dict[str, Any]) -> dict[str, Any]:
    """A table with one row per host, joined from several queries."""
    join = [{"id": "joinByField", "options": {"byField": "instance", "mode": "outer"}}]
    return panel("table", title, description, *queries, width=24, height=9, transformations=join)


BAD: dict[float | None, str] = {None: GREEN, 1: RED}
WARN: dict[float | None, str] = {None: GREEN, 1: ORANGE}

PANELS = [
    stat("Hosts", "Daemons that answer.", 'count(reconciler_condition{@,type="Ready"}) or vector(0)'),
    stat("Not ready", "Hosts that are not as their revision says.", 'count(reconciler_condition{@,type="Ready"} == 0) or vector(0)', steps=BAD),
    stat("Drifted items", "Changed without a commit and not put right.", "sum(reconciler_drifted_items{@}) or vector(0)", steps=WARN),
    stat("Suspended", "Hosts on which nothing is changed.", 'count(reconciler_condition{@,type="Suspended"} == 1) or vector(0)', steps=WARN),
    stat("Behind", "Hosts whose revision is not the newest commit.", "sum(reconciler_behind{@}) or vector(0)", steps=WARN),
    stat("Revisions", "Different revisions in force.", "count(count by (revision) (reconciler_revision_info{@})) or vector(0)", steps={None: GREEN, 2: ORANGE}),
    hosts(
        "Hosts",
        "Revision, age of the last cycle and of the last success, drift.",
        query("max by (instance, site, revision) (reconciler_revision_info{@})", table=True),
        query("time() - max by (instance) (reconciler_last_cycle_timestamp_seconds{@})", table=True),
        query("time() - max by (instance) (reconciler_last_success_timestamp_seconds{@})", table=True),
        query("sum by (instance) (reconciler_drifted_items{@})", table=True),
        query("max by (instance) (reconciler_managed_containers{@})", table=True),
    ),
    lines("Drift by kind", "What differs and is not put right.", query("sum by (instance, kind, service) (reconciler_drifted_items{@}) > 0", "{{instance}} {{service}} {{kind}}")),
    lines("Held back", "Differences nothing is done about, by reason.", query("sum by (reason) (reconciler_held_items{@})", "{{reason}}")),
    lines(
        "Duration of a cycle",
        "Half of the cycles, and all but one of a hundred, are shorter.",
        query("histogram_quantile(0.5, sum by (le) (rate(reconciler_reconcile_duration_seconds_bucket{@}[$__rate_interval])))", "half"),
        query("histogram_quantile(0.99, sum by (le) (rate(reconciler_reconcile_duration_seconds_bucket{@}[$__rate_interval])))", "99 %"),
        unit="s",
    ),
    lines("Cycles by trigger", "Cycles a second, by what asked for them.", query("sum by (trigger) (rate(reconciler_reconcile_duration_seconds_count{@}[$__rate_interval]))", "{{trigger}}"), unit="ops"),
    lines("Actions", "Actions in the last hour.", query("sum by (verb, result) (increase(reconciler_actions_total{@}[1h])) > 0", "{{verb}} {{result}}")),
    lines("Errors", "Errors in the last hour, by reason.", query("sum by (api, reason) (increase(reconciler_errors_total{@}[1h])) > 0", "{{api}} {{reason}}")),
    lines("Waiting", "Triggers, commit statuses and alerts that wait.", query("sum by (instance, kind) (reconciler_queued{@}) > 0", "{{instance}} {{kind}}")),
    lines("Fleet", "Hosts by what they are at the newest commit, as a reporter sees them.", query("sum by (instance, state) (reconciler_fleet_hosts)", "{{instance}} {{state}}")),
    lines("Certificates", "Time until the certificates in the site's files end.", query("reconciler_certificate_expiry_timestamp_seconds{@} - time()", "{{instance}} {{file}}"), unit="s"),
    lines("Memory of the daemon", "Resident.", query("process_resident_memory_bytes{@}", "{{instance}}"), unit="bytes"),
    lines("Engine's events", "1 while they are heard.", query("reconciler_engine_connected{@}", "{{instance}}")),
]  # fmt: skip


def placed(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The panels with their places: from left to right, in rows as high as their highest panel."""
    result, x, y, row = [], 0, 0, 0
    for number, one in enumerate(panels, 1):
        width, height = one["gridPos"]["w"], one["gridPos"]["h"]
        if x + width > 24:
            x, y, row = 0, y + row, 0
        result.append({**one, "id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, row = x + width, max(row, height)
    return result


def variable(name: str, label: str, expression: str) -> dict[str, Any]:
    """A choice among the values of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATA,
        "query": {"query": expression, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    return {
        "id": None,
        "uid": "reconciler",
        "title": "Reconciler",
        "tags": ["reconciler"],
        "description": "Hosts that follow a Git repository: are they as it says, and if not, why. Made by docs/monitoring/dashboard.py.",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                variable("job", "Job", "label_values(reconciler_last_cycle_timestamp_seconds, job)"),
                variable(
                    "instance", "Host", 'label_values(reconciler_last_cycle_timestamp_seconds{job=~"$job"}, instance)'
                ),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "New revision",
                    "enable": True,
                    "datasource": DATA,
                    "expr": f"changes(reconciler_last_revision_timestamp_seconds{{{WHERE}}}[2m]) > 0",
                    "titleFormat": "{{instance}}: new revision",
                    "iconColor": "blue",
                }
            ]
        },
        "panels": placed(PANELS),
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "reconciler-dashboard.json").write_text(text(), encoding="utf-8")
