"""A container in another one's network: whatever becomes of the one, the other is never left in a namespace that is gone."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.lab import Lab, lines, wait_for

pytestmark = pytest.mark.engine

ADDRESS = "127.0.0.76"
HOST_NAME, GUEST = "rt-shared-host", "rt-shared-guest"
SERVICE = """\
description: One with a network, and one in it
groups: {shared: []}
containers:
  rt-shared-guest:
    group: shared
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    network_mode: container:rt-shared-host
    stop_timeout: 1
    stability: 0.1
  rt-shared-host:
    group: shared
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    environment: {VERSION: "{{ version }}"}
    network_mode: none
    stop_timeout: 1
    stability: 0.1
    files: [{name: a.conf, content: "{{ content }}", destination: /etc/a.conf}]
"""


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", engine_url, name="shared", tls=False) as lab:
        variables = "version: {description: A., type: string, default: one}\ncontent: {description: B., type: string, default: one}\n"
        lab.one_service(SERVICE, ADDRESS, variables=variables)
        lab.write({"hosts/ctl1.yml": "version: one\ncontent: one\n"})
        lab.push("two in one network")
        report = lab.reconcile()
        assert report.converged, report.refusal
        yield lab


def together(client: docker.DockerClient) -> bool:
    """Whether both are in one network namespace; not where one ends while it is asked."""
    pids = [client.containers.get(name).attrs["State"]["Pid"] for name in (HOST_NAME, GUEST)]
    try:
        first, second = (Path(f"/proc/{pid}/ns/net").readlink() for pid in pids)
    except FileNotFoundError:
        return False
    return first == second


def test_the_guest_follows(lab: Lab, docker_client: docker.DockerClient) -> None:
    assert together(docker_client)
    assert lines(lab.reconcile()) == []

    lab.write({"hosts/ctl1.yml": "version: two\ncontent: one\n"})
    lab.push("the host is made anew")
    report = lab.reconcile()
    assert [line.split()[:2] for line in lines(report)] == [["replace", HOST_NAME], ["replace", GUEST]]
    assert report.converged and together(docker_client)

    lab.write({"hosts/ctl1.yml": "version: two\ncontent: two\n"})
    lab.push("the host is restarted")
    report = lab.reconcile()
    assert [line.split()[0] for line in lines(report)] == ["write", "restart", "restart"]
    assert report.converged and together(docker_client)
    assert lines(lab.reconcile()) == []

    docker_client.containers.get(HOST_NAME).restart(timeout=1)
    assert not together(docker_client), "that is what the engine leaves behind"
    assert lines(lab.reconcile()) == [
        f"restart    {GUEST}  (shares a namespace of {HOST_NAME}, which was started after it: it is in a dead one)"
    ]
    assert together(docker_client)

    docker_client.containers.get(HOST_NAME).remove(force=True)
    report = lab.reconcile()
    assert [line.split()[:2] for line in lines(report)] == [["create", HOST_NAME], ["replace", GUEST]]
    assert report.converged and together(docker_client)


def test_it_is_only_reported_where_drift_is(lab: Lab, docker_client: docker.DockerClient) -> None:
    lab.write({"reconciler.yml": "name: shared\ndrift: {mode: report}\n"})
    lab.push("only look")
    assert lab.reconcile().converged
    docker_client.containers.get(HOST_NAME).restart(timeout=1)
    report = lab.reconcile()
    assert lines(report) == [] and [held.target for held in report.drift] == [GUEST]
    assert not {c.type: c.status for c in report.conditions}["Ready"]


def test_the_daemon_notices_by_itself(lab: Lab, docker_client: docker.DockerClient) -> None:
    lab.close_node()
    with lab.daemon():
        wait_for("the daemon has looked", lambda: "cycle.finished" in lab.log())
        docker_client.containers.get(HOST_NAME).kill()
        wait_for("both are together again", lambda: running(docker_client) and together(docker_client))


def running(client: docker.DockerClient) -> bool:
    return all(client.containers.get(name).status == "running" for name in (HOST_NAME, GUEST))


def test_whose_namespace_is_checked(lab: Lab) -> None:
    for mode, said in (
        ("container:nobody", "there is no container 'nobody' on this host whose namespace it could share"),
        (f"container:{GUEST}", "a container cannot share a namespace with itself"),
    ):
        lab.edit("services/shared/service.yml", f"container:{HOST_NAME}", mode)
        done = lab.run("validate", ".", check=False)
        assert said in done.stdout + done.stderr
        lab.edit("services/shared/service.yml", mode, f"container:{HOST_NAME}")
