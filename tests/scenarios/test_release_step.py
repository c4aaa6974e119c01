"""A node goes forward only: what an upgrade that did not end has migrated counts, and somebody can answer for going back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.report import Report
from tests.support.lab import Lab, lines

pytestmark = pytest.mark.engine

# Its migration to 2026.1 cannot end.
SERVICE = """\
description: A service with a schema
groups: {step: []}
containers:
  rt-step-api:
    group: step
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    environment: {RELEASE: "{{ openstack_release }}"}
    stop_timeout: 1
    stability: 0.1
jobs:
  rt-step-db-sync:
    container: rt-step-api
    command: [sh, -c, "{{ 'exit 0' if openstack_release is release('<2026.1') else 'exit 7' }}"]
    inputs: ["{{ openstack_release }}"]
    once: cluster
    before: [rt-step-api]
    migration: true
    timeout: 30
"""


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", engine_url, name="step", tls=False) as lab:
        release = 'enable_openstack_core: false\nopenstack_release: "2025.1"\n'
        lab.one_service(SERVICE, "127.0.0.79", settings=release)
        lab.push("2025.1")
        report = lab.reconcile()
        assert report.converged, report
        yield lab


def release(lab: Lab, old: str, new: str) -> Report:
    lab.edit("globals.yml", f'openstack_release: "{old}"', f'openstack_release: "{new}"')
    lab.push(new)
    report = lab.reconcile()
    # What is asked before an upgrade is all that a pass does.
    asked = report.plan and any(held.reason == "PrecheckPending" for held in report.plan.held)
    return lab.reconcile() if asked else report


def test_forward_only(lab: Lab) -> None:
    before = lab.identities()
    report = release(lab, "2025.1", "2026.1")
    upgrade = lab.head
    assert report.refusal is None and not report.converged, "the migration failed"
    assert lab.identities() == before, "the service waits for its schema"
    report = release(lab, "2026.1", "2025.1")
    assert report.refusal and report.refusal.reason == "ReleaseStepRefused", report
    assert "goes back from 2026.1 to 2025.1" in report.refusal.message and "Going back" in report.refusal.message
    assert report.revision == upgrade and lab.identities() == before
    # What its advice says, followed.
    entry = "{check: release-step, who: operator, why: the backup was put back, until: 2999-12-31}"
    lab.write({"reconciler.yml": f"name: step\naccept:\n  - {entry}\n"})
    lab.push("somebody answers for it")
    report = lab.reconcile()
    assert report.refusal is None and report.revision == lab.head and report.converged, lines(report)


def test_what_was_not_begun_is_no_step(lab: Lab) -> None:
    """An image that cannot be had stops an upgrade before its migration, and so it may be taken back."""
    image = "image: reconciler-test/busybox:1"
    lab.edit("services/step/service.yml", image, "image: 127.0.0.1:1/nothing:{{ openstack_release }}")
    report = release(lab, "2025.1", "2026.1")
    assert report.refusal is None and not report.converged
    lab.edit("services/step/service.yml", "image: 127.0.0.1:1/nothing:{{ openstack_release }}", image)
    report = release(lab, "2026.1", "2025.1")
    assert report.refusal is None and report.converged, lines(report)
