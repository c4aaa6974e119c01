"""The Debian package as apt takes it, on each release with that release's Python. There is no systemd: with one, tests/vm/test_package.py."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from docker.models.containers import Container

from tests.conftest import LABEL, PREFIX
from tests.images import build, kolla
from tests.packaging import deb, versions
from tests.support.paths import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

_APT = "DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends --allow-downgrades"
_SITE = "/root/site-example"
_PROGRAM, _STATE, _SETTINGS = (
    "/usr/lib/reconciler",
    "/var/lib/reconciler/memory.json",
    "/etc/reconciler/reconciler.toml",
)


class Debian:
    """A container of a release, with the package in two versions."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def run(self, script: str, *, check: bool = True) -> str:
        """What a shell script prints; with `check`, AssertionError when it fails."""
        done = self._container.exec_run(["sh", "-ec", script])
        text = str(done.output.decode())
        assert not check or done.exit_code == 0, text
        return text.strip()

    def version(self) -> str:
        """The version that is installed."""
        return self.run(f"dpkg-query -W -f '${{Version}}' {deb.NAME}")

    def put(self, folder: str, *paths: Path) -> None:
        """Copy files and folders into a folder."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            for path in paths:
                archive.add(path, path.name)
        self._container.put_archive(folder, made.getvalue())


@pytest.fixture(params=sorted(deb.RELEASES))
def debian(request: pytest.FixtureRequest, docker_client: docker.DockerClient, tmp_path: Path) -> Iterator[Debian]:
    image = f"{kolla.BASE_IMAGE}:{request.param}"
    if not build.present(docker_client, image):
        pytest.skip(f"{image} is missing: it comes with the images that are built on it (`make images`)")
    older = deb.build(request.param, tmp_path / "dist").rename(tmp_path / "older.deb")
    found = docker_client.containers.run(
        image,
        ["sleep", "infinity"],
        name=f"{PREFIX}apt-{request.param}-{os.getpid()}",
        network_mode="host",  # Debian's mirror
        labels={LABEL: "1"},
        detach=True,
    )
    try:
        made = Debian(found)
        made.put("/root", older, versions.newer(older, tmp_path), CHECKOUT / "site-example")
        made.run("apt-get -q update")
        yield made
    finally:
        found.remove(force=True, v=True)


def test_installed_upgraded_downgraded_removed_and_purged(debian: Debian, request: pytest.FixtureRequest) -> None:
    release = deb.RELEASES[request.node.callspec.params["debian"]]
    debian.run(f"{_APT} /root/older.deb")
    older = debian.version()
    assert older.endswith(f"+{release.mark}")
    assert debian.run("reconciler --version").startswith("reconciler ")
    assert debian.run(f"{_PROGRAM}/bin/python --version").startswith(f"Python {release.python}.")
    assert debian.run(f"find {_PROGRAM} -name 'main.cpython-*.pyc' -path '*/reconciler/cli/*'"), "compiled where it is"
    taken = "from reconciler.source import site_child; print(site_child.compiled_beforehand())"
    assert debian.run(f"{_PROGRAM}/bin/python -I -c '{taken}'") == "True", "and so is what the catalogue says"
    # The sops of the package is one that runs here.
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    rules = f"creation_rules:\n  - path_regex: passwords.*\n    age: {key}\n"
    debian.run(f"printf %s '{rules}' > {_SITE}/.sops.yaml && cd {_SITE} && reconciler secrets generate")
    assert "the site is valid" in debian.run(f"reconciler validate {_SITE}")
    assert debian.run(f"dpkg --verify {deb.NAME}") == ""
    debian.run("systemd-analyze verify /usr/lib/systemd/system/reconciler.service")
    assert "RECONCILER" in debian.run("zcat /usr/share/man/man1/reconciler.1.gz | head -3")

    kept = f"{_STATE} {_SETTINGS}"
    debian.run(f"mkdir -p $(dirname {_STATE}) $(dirname {_SETTINGS}) && echo kept | tee {kept}")
    debian.run(f"{_APT} /root/newer.deb")
    assert debian.version() == f"99:{older}"
    assert "the site is valid" in debian.run(f"reconciler validate {_SITE}")
    debian.run(f"{_APT} /root/older.deb")
    assert debian.version() == older and debian.run(f"dpkg --verify {deb.NAME}") == ""
    assert debian.run(f"cat {kept}").split() == ["kept", "kept"]

    debian.run(f"apt-get -q remove -y {deb.NAME}")
    assert debian.run(f"ls -d {_PROGRAM} /usr/bin/reconciler", check=False).count("No such file") == 2
    assert debian.run(f"cat {kept}").split() == ["kept", "kept"]
    debian.run(f"apt-get -q purge -y {deb.NAME}")
    assert "No such file" in debian.run(f"ls {_STATE}", check=False)
    assert debian.run(f"cat {_SETTINGS}") == "kept", "what an operator wrote is the operator's"
