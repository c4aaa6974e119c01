"""The Debian package as an operator takes it: installed, upgraded, downgraded and removed with apt. Containers and state stay."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.images.build import BUSYBOX
from tests.packaging import deb, versions
from tests.vm.kept import loaded
from tests.vm.machine import Machine
from tests.vm.node import HOST, SITE, Node

pytestmark = [pytest.mark.slow, pytest.mark.vm]


@pytest.fixture(scope="module", params=deb.RELEASES)
def node(request: pytest.FixtureRequest, engine_url: str, busybox_image: str) -> Iterator[Node]:
    with TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        share = folder / "share"
        share.mkdir()
        (share / "older.deb").write_bytes(deb.build(request.param, folder / "dist").read_bytes())
        versions.newer(share / "older.deb", share)
        machine = Machine(
            folder / HOST, loaded(request.param, engine_url, "plain", [busybox_image]), name=HOST, share=share
        )
        try:
            machine.start()
            yield Node(machine, program="/usr/bin/reconciler")
        finally:
            machine.stop()


def test_installed_upgraded_downgraded_removed(node: Node) -> None:
    apt = "apt-get -q install -y --no-install-recommends --allow-downgrades -o Dpkg::Use-Pty=0"
    node.run(f"{apt} /mnt/share/older.deb", seconds=2400)
    assert node.run("reconciler --version").stdout.startswith("reconciler ")
    node.prepare()
    first = node.commit(SITE, "The site")
    done = node.run(
        f"reconciler node install --url file:///srv/site.git --host {HOST} --mode apply", seconds=1200, check=False
    )
    assert done.code == 0, done.stdout + done.stderr
    node.machine.wait("the first commit is in force", lambda: node.converged(first))
    before, pid = node.container(), node.pid()

    node.run(f"{apt} /mnt/share/newer.deb", seconds=2400)
    node.machine.wait("the newer program runs", lambda: node.pid() not in ("0", pid) and node.converged(first))
    pid = node.pid()
    node.run(f"{apt} /mnt/share/older.deb", seconds=2400)
    node.machine.wait("the older program runs again", lambda: node.pid() not in ("0", pid) and node.converged(first))
    assert node.container() == before, "the container never noticed"
    second = node.commit({"globals.yml": SITE["globals.yml"].replace("blue", "green")}, "Green")
    node.machine.wait("it goes on with its state", lambda: node.converged(second))

    container = node.container()
    node.run(f"apt-get -q remove -y {deb.NAME}", seconds=1200)
    assert node.pid() == "0" and node.container() == container
    assert (
        node.run("ls /var/lib/reconciler").stdout
        and node.run("ls /usr/lib/reconciler 2>/dev/null", check=False).stdout == ""
    )
    assert node.run("docker inspect -f '{{.Config.Image}}' edge").stdout.strip() == BUSYBOX
