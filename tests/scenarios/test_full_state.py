"""The disk of the state directory is full: nothing is changed, it is said, and it goes on by itself when there is room."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.incidents.bed import command, filled
from tests.support.lab import Lab, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system")]

_MIB = 1 << 20


@pytest.fixture
def small(empty_lab: Lab) -> Iterator[Lab]:
    """A converged lab whose state has a small disk of its own."""
    empty_lab.state.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(empty_lab.state))
    try:
        empty_lab.push("the first page")
        assert empty_lab.reconcile().converged
        yield empty_lab
    finally:
        empty_lab.close_node()
        command("umount", "--lazy", str(empty_lab.state))


def test_nothing_is_changed_until_there_is_room(small: Lab, docker_client: docker.DockerClient) -> None:
    docker_client.containers.get("rt-side").kill()
    with filled(small.state):
        small.push("a commit that nobody can take note of")
        for _ in range(2):
            report = small.reconcile()
            assert report.failure is not None and report.failure[0] == "StateReadOnly", report
            ready = next(condition for condition in report.conditions if condition.type == "Ready")
            assert not ready.status and "no space is left" in ready.message and "make room" in ready.message
        shown = small.run("status", "--detailed-exitcode", check=False)
        # The last report that found room says that it is ready.
        assert shown.returncode == 2 and "StateReadOnly" in shown.stdout and "Ready        unknown" in shown.stdout
        assert docker_client.containers.get("rt-side").status == "exited"
    report = small.reconcile()
    assert report.converged and report.revision == small.head
    assert docker_client.containers.get("rt-side").status == "running"


def test_a_commit_that_does_not_fit_is_no_damaged_clone(small: Lab) -> None:
    before = small.head
    identity = (small.state / "repository").stat().st_ino
    free = os.statvfs(small.state).f_bavail * os.statvfs(small.state).f_frsize
    filler = small.state / "filler"
    filler.write_bytes(b"\0" * (free - 2 * _MIB))
    (small.site / "config").mkdir(exist_ok=True)
    large = small.site / "notes.txt"
    large.write_text(secrets.token_hex(2 * _MIB))
    small.push("more than fits")
    report = small.reconcile()
    assert not report.source.ok and report.source.reason == "DiskFull", report.source
    assert "no space left to fetch" in report.source.message and report.revision == before
    filler.unlink()
    report = small.reconcile()
    assert report.source.ok and (small.state / "repository").stat().st_ino == identity
    assert not list(small.state.glob("repository.new-*")) and Path(large).exists()


def test_a_daemon_on_a_disk_that_became_read_only_says_so(small: Lab, docker_client: docker.DockerClient) -> None:
    """It starts, looks, changes nothing, and goes on when the disk takes something again."""
    small.close_node()
    docker_client.containers.get("rt-side").kill()
    with small.daemon():  # the files that a daemon makes at its first start
        wait_for("it is healed", lambda: docker_client.containers.get("rt-side").status == "running")
    command("mount", "-o", "remount,ro", str(small.state))
    docker_client.containers.get("rt-side").kill()
    commit = small.head
    with small.daemon() as process:
        wait_for("the commit status says so", lambda: _last(small, commit) == "failed", 30)
        assert process.poll() is None and "cannot be written to" in small.statuses(commit)[-1][1]
        assert docker_client.containers.get("rt-side").status == "exited"
        assert "cycle.crashed" not in small.log()
        shown = small.run("status").stdout
        assert "[StateReadOnly]" in shown and "Ready        unknown" in shown and f"process {process.pid}" in shown
        command("mount", "-o", "remount,rw", str(small.state))
        wait_for("it goes on", lambda: docker_client.containers.get("rt-side").status == "running", 60)


def _last(lab: Lab, commit: str) -> str:
    return ([state for state, _ in lab.statuses(commit)] or [""])[-1]
