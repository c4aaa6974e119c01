"""Two load balancers with wires between them: the genuine keepalived on each, with the files that each gets. What is asked of HAProxy
a stand-in answers, so that the test says whether it is well."""

import contextlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from reconciler.render import render, tokens
from tests.conftest import LABEL, PREFIX
from tests.images import build, kolla
from tests.services import golden
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

FILES, SOCKET = "/var/lib/kolla/config_files", "/var/lib/kolla/haproxy/haproxy.sock"
HOSTS = {"lb-1": "198.51.100.21", "lb-2": "198.51.100.22"}  # of the golden site
ADDRESSES = {"198.51.100.250", "203.0.113.250"}  # internal and external
PASSWORD = "aB3dE6gH9"
# Nothing starts before the wires are there.
START = """\
until ip link show bond2 > /dev/null 2>&1; do sleep 0.1; done
ip address add {address}/24 dev bond1 && ip link set bond1 up && ip link set bond2 up
mkdir -p $(dirname {socket}) && socat unix-listen:{socket},fork exec:cat &
exec kolla_start
"""


def _archive(host: str, mode: str) -> bytes:
    folder = golden.HERE / "three_nodes/site"
    text = (folder / "globals.yml").read_text().replace("traffic_mode: unicast", f"traffic_mode: {mode}")
    files = {"globals.yml": f"{text}enable_proxysql: no\n".encode()}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for file in render(golden.load(folder, files), host, "0" * 40).files:
            if file.container == "keepalived":
                bound = tokens.bind(file.content, dict.fromkeys(tokens.names(file.content), PASSWORD)).encode()
                entry = tarfile.TarInfo(f"{FILES}/{file.path.partition('/')[2]}")
                entry.size, entry.mode = len(bound), file.mode
                archive.addfile(entry, io.BytesIO(bound))
    return made.getvalue()


class Pair:
    """The containers by host."""

    def __init__(self, containers: dict[str, Container]) -> None:
        self.containers = containers

    def holders(self) -> list[str]:
        """Which hosts have both addresses; nobody ever has one alone for longer than a moment."""
        return [host for host in self.containers if self.has(host) == ADDRESSES]

    def has(self, host: str) -> set[str]:
        """Which of the two addresses a host has; none when it does not run."""
        shown = self.run(host, "ip -4 -brief address")
        return {address for address in ADDRESSES if f" {address}/" in shown}

    def run(self, host: str, command: str) -> str:
        """What a command prints there; nothing when the host does not run."""
        self.containers[host].reload()
        if self.containers[host].status != "running":
            return ""
        return str(self.containers[host].exec_run(["bash", "-c", command]).output.decode())

    def moved(self, away: str) -> str:
        """Wait until the other host has the addresses, and this one none; returns the other."""
        (other,) = {*self.containers} - {away}
        wait_for(f"{other} takes over", lambda: self.holders() == [other] and not self.has(away), 120.0, 0.2)
        return other

    def answered_by(self, asking: str, holder: str) -> bool:
        """Whether the address is the holder's on the wire, as the other host sees it."""
        card = self.run(holder, "cat /sys/class/net/bond1/address").strip()
        self.run(
            asking, "ip neighbour flush dev bond1; timeout 5 bash -c 'echo > /dev/udp/198.51.100.250/9'; sleep 0.5"
        )
        return card in self.run(asking, "ip neighbour show 198.51.100.250")


@pytest.fixture(params=["multicast", "unicast"])
def pair(request: pytest.FixtureRequest, docker_client: docker.DockerClient) -> Iterator[Pair]:
    image = kolla.default_target().name("keepalived")
    if not build.present(docker_client, image):
        pytest.skip(f"{image} is missing: `python -m tests.images.build --set extra`")
    with contextlib.ExitStack() as undo:
        made = {}
        for host, address in HOSTS.items():
            made[host] = docker_client.containers.create(
                image,
                ["-c", START.format(address=address, socket=SOCKET)],
                entrypoint="bash",
                name=f"{PREFIX}{host}-{os.getpid()}",
                environment={"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"},
                user="root",
                network_mode="none",
                cap_add=["NET_ADMIN", "NET_RAW", "NET_BROADCAST"],
                labels={LABEL: "1"},
            )
            undo.callback(made[host].remove, force=True, v=True)
            made[host].put_archive("/", _archive(host, request.param))
            made[host].start()
            made[host].reload()
        one, other = (container.attrs["State"]["Pid"] for container in made.values())
        for card in ("bond1", "bond2"):
            wire = f"ip link add {card} netns {one} type veth peer name {card} netns {other}"
            subprocess.run(wire.split(), check=True, capture_output=True)
        yield Pair(made)


def test_one_has_the_addresses_and_the_other_takes_them_over(pair: Pair) -> None:
    try:
        wait_for("one of them has the addresses", lambda: len(pair.holders()) == 1, 120.0, 0.2)
    except AssertionError:
        raise AssertionError("\n".join(c.logs().decode()[-3000:] for c in pair.containers.values())) from None
    (holder,) = pair.holders()
    (other,) = {*HOSTS} - {holder}
    assert pair.answered_by(other, holder) and not pair.has(other)

    # HAProxy no longer answers there. When it does again, the addresses stay where they are (nopreempt).
    pair.run(holder, f"mv {SOCKET} {SOCKET}.away")
    assert pair.moved(holder) == other
    assert pair.answered_by(holder, other)
    pair.run(holder, f"mv {SOCKET}.away {SOCKET}")
    wait_for(f"{holder} is well", lambda: "Entering BACKUP STATE" in _since_fault(pair, holder), 120.0, 0.2)
    assert pair.holders() == [other]

    # The wire is pulled out of both cards, and put back.
    pair.run(other, "ip link set bond1 down")
    wait_for("nobody has them without a network", lambda: not pair.has(other), 120.0, 0.2)
    pair.run(other, "ip link set bond1 up")
    wait_for("one has them again", lambda: len(pair.holders()) == 1, 120.0, 0.2)

    # The holder hangs, so that nothing is heard of it: the other has them as well. When it wakes up one gives way.
    (last,) = pair.holders()
    (other,) = {*HOSTS} - {last}
    pair.containers[last].pause()
    wait_for(f"{other} has them", lambda: pair.has(other) == ADDRESSES, 120.0, 0.2)
    pair.containers[last].unpause()
    wait_for(
        "one gives way",
        lambda: len(pair.holders()) == 1 and sum(bool(pair.has(host)) for host in HOSTS) == 1,
        120.0,
        0.2,
    )


def _since_fault(pair: Pair, host: str) -> str:
    return str(pair.containers[host].logs().decode().rpartition("Entering FAULT STATE")[2])
