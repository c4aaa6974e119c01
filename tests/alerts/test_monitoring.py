"""Rules and dashboard: right for Prometheus, about metrics that exist, and with a runbook that exists."""

import json
import re
import runpy
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.fleet.metrics import Metrics as FleetMetrics
from reconciler.fleet.reviews.metrics import Metrics as ReviewMetrics
from reconciler.model import Difference, File, Held
from reconciler.reasons import Reason
from reconciler.report.certificates import certificate_ends
from reconciler.report.metrics import Metrics
from tests.alerts.reports import AWAY, NEWER, START, held, report
from tests.support.paths import CHECKOUT

MONITORING = CHECKOUT / "docs" / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "reconciler.rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "reconciler-dashboard.json").read_text())
OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()


def promtool(*words: str | Path) -> str:
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False, cwd=MONITORING)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expressions() -> list[str]:
    """Every query of the dashboard, with its variables filled in."""
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    queries += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    return [re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "5m")) for query in queries]


def names() -> set[str]:
    """Every sample that the registries of the daemon and of a reporter can give."""
    metrics = Metrics()
    metrics.report(report(held()), {})
    metrics.error(Reason.GitTimeout)
    metrics.statuses(1, 1, Reason.ForgeBusy)
    metrics.certificate_ends({("a", "b"): 1.0})
    fleet = FleetMetrics()
    fleet.posted.labels("status").inc()
    ReviewMetrics(fleet.registry).reviewed("valid", 1.0)
    found = set()
    for family in [*metrics.registry.collect(), *fleet.registry.collect()]:
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
        found |= {family.name + suffix for suffix in suffixes}
    return found


def test_promtool_accepts_the_rules() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "reconciler.rules.yml")


def test_the_rules_unit_tests_pass() -> None:
    assert "SUCCESS" in promtool("test", "rules", "reconciler.rules.test.yml")


def test_every_rule_is_tested_firing_and_not_firing() -> None:
    tests = yaml.safe_load((MONITORING / "reconciler.rules.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for rule in RULES:
        assert {bool(c["exp_alerts"]) for c in cases if c["alertname"] == rule["alert"]} == {True, False}, rule["alert"]


def test_promtool_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = expressions()
    assert len(queries) > 20
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)


@pytest.mark.parametrize("text", [*(rule["expr"] for rule in RULES), *expressions()])
def test_only_metrics_that_exist_are_asked_for(text: str) -> None:
    asked = set(re.findall(r"\b(?:reconciler|process)_\w+", text))
    assert (asked and asked <= names()) or text.startswith("up{"), asked - names()


def test_the_documented_metrics_are_those_that_exist() -> None:
    documented = set(re.findall(r"^\| `(reconciler_\w+)", (MONITORING / "README.md").read_text(), re.MULTILINE))
    exist = {
        n.removesuffix("_bucket") for n in names() if n.startswith("reconciler_") and not n.endswith(("_count", "_sum"))
    }
    assert documented == exist


def test_the_dashboard_is_what_its_code_makes() -> None:
    made = runpy.run_path(str(MONITORING / "dashboard.py"))["text"]()
    assert (MONITORING / "reconciler-dashboard.json").read_text() == made


def test_the_dashboard_has_no_ids_of_another_grafana() -> None:
    assert DASHBOARD["id"] is None
    assert set(re.findall(r'"uid": "([^"]+)"', json.dumps(DASHBOARD))) == {"reconciler", "${datasource}"}
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(cells) == len(set(cells)) and all(x < 24 for x, _ in cells), "panels do not overlap"


def test_every_rule_links_a_section_that_exists() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", OPERATIONS, re.MULTILINE)
    }
    for rule in RULES:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (CHECKOUT / page).is_file() and anchor == rule["alert"].lower() and anchor in headings


# --- metrics that the rules need -------------------------------------------------------------------------------------


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"reconciler_{name}", labels)


def test_behind_is_known_while_the_source_is_away() -> None:
    metrics = Metrics()
    metrics.report(report())
    assert value(metrics, "behind") == 0 and value(metrics, "last_commit_timestamp_seconds") == START.timestamp() + 0.2
    from reconciler.report import RepositoryStatus

    metrics.report(report(source=RepositoryStatus(True, NEWER), now=START + timedelta(minutes=1)))
    assert value(metrics, "behind") == 1
    metrics.report(report(source=AWAY, now=START + timedelta(minutes=2)))
    assert value(metrics, "behind") == 1
    assert value(metrics, "last_commit_timestamp_seconds") == START.timestamp() + 60.2
    assert value(metrics, "last_cycle_timestamp_seconds") == START.timestamp() + 120.2


def test_a_daemon_that_never_ends_a_cycle_is_noticed_too() -> None:
    began = value(Metrics(), "last_cycle_timestamp_seconds")
    assert began is not None and abs(began - datetime.now(UTC).timestamp()) < 60


def test_conditions_say_since_when() -> None:
    metrics = Metrics()
    first = report(suspended="disk swap")
    metrics.report(report(suspended="disk swap", now=START + timedelta(days=2), before=first.conditions))
    assert value(metrics, "condition", type="Suspended") == 1
    assert value(metrics, "condition_since_timestamp_seconds", type="Suspended") == START.timestamp()


@pytest.mark.parametrize(
    ("item", "kind", "stays"),
    [
        (held("mariadb:database:nova"), "registration", True),
        (Held("nova", Reason.DriftReported, "stale", (Difference("running configuration", "as in its files", "?"),), True), "container", True),
        (held("nova"), "container", False),
    ],
    ids=["registration", "running configuration", "seen by every pass"],
)  # fmt: skip
def test_a_shallow_pass_keeps_the_drift_that_it_cannot_see(item: Held, kind: str, stays: bool) -> None:
    metrics = Metrics()
    metrics.report(report(item, deep=True), {"nova": ""})
    metrics.report(report())
    assert value(metrics, "drifted_items", kind=kind, service="") == (1 if stays else None)
    metrics.report(report(deep=True))
    assert value(metrics, "drifted_items", kind=kind, service="") is None


def test_alerts_that_wait_and_fail_are_counted() -> None:
    metrics = Metrics()
    metrics.alerts(2, 3, Reason.AlertTargetBusy)
    metrics.alerts(0, 3, None)
    assert value(metrics, "queued", kind="alert") == 0
    assert value(metrics, "errors_total", api="alert", reason=Reason.AlertTargetBusy) == 3


def certificate(days: int) -> tuple[bytes, bytes, datetime]:
    """A certificate that ends in so many days, its key, and that moment."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.example.org")])
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=100))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private, end


def test_the_first_certificate_to_end_in_each_file() -> None:
    (late, key, _), (early, _, end) = certificate(300), certificate(20)
    contents = {
        "haproxy/haproxy.pem": late + early + key,
        "nova/nova.conf": b"[DEFAULT]\n",
        "a/broken.pem": b"-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n",
    }
    files = [File(path, "", service=path.partition("/")[0]) for path in contents]
    assert certificate_ends(files, contents) == {("haproxy", "haproxy/haproxy.pem"): end.timestamp()}
    assert certificate_ends(files[1:2], contents) == {}
