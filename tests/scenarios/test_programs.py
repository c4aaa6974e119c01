"""A newer program that means something else by the same commit: it waits, is rolled out and rolled back like a commit."""

import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import docker
import pytest

from reconciler.secret import Secret
from reconciler.secrets import sops
from tests.scenarios.small import ADDRESS, kolla_like
from tests.support import programs
from tests.support.lab import HOST, Lab, lines
from tests.support.programs import Program

pytestmark = pytest.mark.engine

BERLIN = ZoneInfo("Europe/Berlin")
UNTIL = "until 2026-11-23 22:00 CET (window nights)"
NEWER = "reconciler 0.3.1 → 0.3.2"
WINDOWS = 'windows: [{name: nights, time_zone: Europe/Berlin, days: [mon], from: "22:00", to: "05:00"}]\n'
SERVICE = """\
description: One container with a file
groups: {tiny: []}
passwords: {tiny_password: {kind: random}}
containers:
  rt-prog-tiny:
    group: tiny
    kolla: false
    image: "{{ tiny_image }}"
    command: [sh, -c, "test ! -e /etc/broken && trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.2
    start_timeout: 5
    healthcheck: {test: [CMD-SHELL, "! grep -q broken /etc/tiny.conf"], interval: 1, retries: 1, start_period: 0}
    files:
      - {name: tiny.conf, template: tiny.conf.j2, destination: /etc/tiny.conf, mode: "0644"}
"""
VARIABLES = "tiny_image: {description: Its image., type: string, default: 'reconciler-test/busybox:1'}\n"
TEMPLATE = "colour = blue\nkey = {{ tiny_password }}\n"


def catalogue(template: str = TEMPLATE, variables: str = VARIABLES) -> dict[str, str]:
    return {"tiny/service.yml": SERVICE, "tiny/variables.yml": variables, "tiny/templates/tiny.conf.j2": template}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return programs.make(tmp_path_factory.mktemp("older"), "0.3.1", catalogue())


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Another template, and another default for the image."""
    more = catalogue(TEMPLATE + "workers = 5\n", VARIABLES.replace("busybox:1", "busybox:two"))
    return programs.make(tmp_path_factory.mktemp("newer"), "0.3.2", more)


@pytest.fixture
def lab(
    tmp_path: Path,
    engine_url: str,
    busybox_image: str,
    older: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lab]:
    """A node that has converged with the older program within the window, and whose clock now shows the next noon."""
    with (
        kolla_like(engine_url, busybox_image, "reconciler-test/busybox:two", "true", ["sh"]),
        Lab(tmp_path / "lab", engine_url, name="prog", tls=False) as lab,
    ):
        older.use(monkeypatch)
        lab.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [tiny]\n",
                "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {ADDRESS}\n",
                "reconciler.yml": f"name: prog\n{WINDOWS}",
            }
        )
        encrypt(lab, f"first-{secrets.token_hex(8)}")
        lab.push("the first one")
        at(lab, 17, 2)
        report = lab.reconcile()
        assert report.converged and report.program == "0.3.1", report
        at(lab, 23, 12)
        yield lab


def encrypt(lab: Lab, value: str) -> None:
    """passwords.yml for the lab's host, with the real sops."""
    content = sops.encrypt({"tiny_password": Secret(value)}, [Path(f"{lab.host_key}.pub").read_text().strip()])
    lab.write({"passwords.yml": content.decode()})


def at(lab: Lab, day: int, hour: int) -> None:
    lab.node.clock = lambda: datetime(2026, 11, day, hour, 0, tzinfo=BERLIN)


def upgrade(lab: Lab, program: Program, monkeypatch: pytest.MonkeyPatch, day: int, hour: int) -> None:
    """As a package upgrade with its restart of the daemon does."""
    program.use(monkeypatch)
    lab.close_node()
    at(lab, day, hour)


def conf(lab: Lab) -> Path:
    return lab.config_root / "rt-prog-tiny/tiny.conf"


def test_a_newer_program_waits_for_the_window_and_what_was_carried_out_is_kept_up(
    lab: Lab, newer: Program, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, text = lab.identities(), conf(lab).read_text()
    upgrade(lab, newer, monkeypatch, 23, 12)
    report = lab.reconcile()
    assert lines(report) == [] and lab.identities() == before and conf(lab).read_text() == text
    assert {h.message for h in report.waiting} == {f"{NEWER}: waits {UNTIL}"}
    assert {Path(h.target).name for h in report.waiting} >= {"tiny.conf", "rt-prog-tiny"}
    assert not report.drift and report.plan and report.plan.program == NEWER
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses(lab.head)[-1] == ("success", f"1 containers as wanted; {NEWER}: waiting {UNTIL}")

    # Drift is healed with what the older program meant, secrets and all, though the newer one renders something else.
    conf(lab).write_text("mine")
    docker_client.containers.get("rt-prog-tiny").kill()
    report = lab.reconcile()
    assert all(
        outcome.result == "done" and outcome.action.drift
        for outcome in report.outcomes
        if outcome.action.verb == "write"
    )
    assert conf(lab).read_text() == text and lab.reconcile().plan.empty  # type: ignore[union-attr]
    assert docker_client.containers.get("rt-prog-tiny").attrs["Config"]["Image"] == "reconciler-test/busybox:1"

    at(lab, 23, 22)
    report = lab.reconcile()
    assert report.converged and lines(report)[0] == f"write      rt-prog-tiny/tiny.conf  ({NEWER}: content changed)"
    assert "workers = 5" in conf(lab).read_text()
    assert docker_client.containers.get("rt-prog-tiny").attrs["Config"]["Image"] == "reconciler-test/busybox:two"
    carried = lab.node.state.carried
    assert carried and (carried.desired.program, carried.desired.revision) == ("0.3.2", lab.head)
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses(lab.head)[-1][0] == "success"
    assert NEWER in str(lab.node.state.history.newest(1)[0]["actions"])
    assert lab.reconcile().plan.empty  # type: ignore[union-attr]


def test_what_a_newer_program_breaks_is_rolled_back_and_quarantined(
    lab: Lab, tmp_path: Path, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = conf(lab).read_text()
    upgrade(lab, programs.make(tmp_path / "bad", "0.3.2", catalogue("broken\n")), monkeypatch, 23, 23)
    report = lab.reconcile()
    assert [outcome.result for outcome in report.failed] == ["rolled-back"] and conf(lab).read_text() == text
    report = lab.reconcile()
    assert [held.reason for held in report.quarantined] == ["Quarantined"]
    good = programs.make(tmp_path / "good", "0.3.3", catalogue(TEMPLATE + "mended = yes\n"))
    upgrade(lab, good, monkeypatch, 23, 23)
    assert lab.reconcile().converged and "mended" in conf(lab).read_text()


def test_a_program_that_cannot_make_the_commit_keeps_up_what_was_carried_out(
    lab: Lab, tmp_path: Path, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = conf(lab).read_text()
    upgrade(lab, programs.make(tmp_path / "bare", "0.4.0", catalogue("{{ nosuch }}\n")), monkeypatch, 23, 23)
    conf(lab).write_text("mine")
    report = lab.reconcile()
    assert conf(lab).read_text() == text, "drift is healed"
    ready = next(condition for condition in report.conditions if condition.type == "Ready")
    assert not ready.status and ready.reason == "SiteInvalid" and "nosuch" in ready.message


def test_no_secret_is_kept_with_what_was_carried_out(lab: Lab) -> None:
    value = conf(lab).read_text().partition("key = ")[2].strip()
    assert value.startswith("first-")
    kept = (lab.state / "last-good.json").read_text()
    assert value not in kept and "<<secret:tiny_password>>" in kept and '"locked"' in kept


def test_a_pinned_node_with_another_program_heals_and_changes_nothing_else(
    lab: Lab, newer: Program, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.write({"reconciler.yml": 'name: prog\nrequires: ">=0.3,<0.3.2"\n'})
    pinned = lab.push("pinned, and without windows")
    assert lab.reconcile().converged
    before, text = lab.identities(), conf(lab).read_text()
    upgrade(lab, newer, monkeypatch, 23, 12)
    waits = "for reconciler >=0.3,<0.3.2, as reconciler.yml requires (0.3.2 is installed)"
    report = lab.reconcile()
    assert lines(report) == [] and lab.identities() == before
    ready = next(condition for condition in report.conditions if condition.type == "Ready")
    assert (ready.status, ready.reason) == (False, "ProgramPinned") and waits in ready.message
    assert not next(condition for condition in report.conditions if condition.type == "Stalled").status
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert lab.statuses(pinned)[-1] == ("success", f"1 containers as wanted; waiting {waits}")
    conf(lab).write_text("mine")
    assert all(outcome.result == "done" for outcome in lab.reconcile().outcomes) and conf(lab).read_text() == text

    # A commit for another program is not judged by this one: it is neither accepted nor wrong, and the one in force stays.
    lab.write({"reconciler.yml": "name: prog\nrequires: ==0.3.1\n", "globals.yml": "nonsense: 5\n"})
    other = lab.push("for another one")
    report = lab.reconcile()
    assert report.revision == pinned and report.refusal and report.refusal.reason == "ProgramPinned"
    lab.node.reporter.statuses.flush(10)  # type: ignore[union-attr]
    assert [state for state, _ in lab.statuses(other)] == ["pending"]

    head = f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {ADDRESS}\n"
    lab.write({"reconciler.yml": 'name: prog\nrequires: ">=0.3.2"\n', "globals.yml": head})
    lab.push("the pin moves")
    report = lab.reconcile()
    assert report.converged and "workers = 5" in conf(lab).read_text()
    assert all(NEWER in line for line in lines(report)), lines(report)
