"""libvirt of the genuine image with the files that a compute gets: who may ask it, and what it knows. To run machines it needs `privileged`."""

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container, ExecResult

from reconciler.render import tokens
from tests.conftest import LABEL, PREFIX
from tests.images import build, kolla
from tests.services import golden
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

FILES = "/var/lib/kolla/config_files"
PASSWORD, SECRET = "aB3dE6gH9jK2mN5p", "0c8f2a54-7e1b-4b6e-9a53-3d1f5f7a9b21"
KEY = "bm90IGEgcmVhbCBrZXk="  # Ceph's are base64, and libvirt reads them so
ADDRESS = "203.0.113.12"  # of the golden site's compute, which libvirt listens on
GUEST = """\
<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
</domain>
"""


def _archive(contents: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o640
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture(scope="module")
def libvirt(engine_url: str) -> Iterator[Container]:
    image = kolla.default_target().name("nova-libvirt")
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        if not build.present(client, image):
            pytest.skip(f"{image} is missing: `python -m tests.images.build --set virt`")
        with _running(client, image) as found:
            yield found


@contextlib.contextmanager
def _running(client: docker.DockerClient, image: str) -> Iterator[Container]:
    contents = {}
    for file in golden.desired("compute", "cmp").files:
        if file.container == "nova_libvirt":
            text = tokens.bind(
                file.content, {n: SECRET if n.endswith("uuid") else PASSWORD for n in tokens.names(file.content)}
            )
            text = text.replace("not-a-real-key", KEY)
            contents[f"{FILES}/{file.path.partition('/')[2]}"] = text.encode()
    found = client.containers.create(
        image,
        ["-c", f"ip address add {ADDRESS}/32 dev lo && exec kolla_start"],
        entrypoint="bash",
        name=f"{PREFIX}libvirt-{os.getpid()}",
        environment={"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"},
        user="root",
        network_mode="none",
        cap_add=["NET_ADMIN"],
        labels={LABEL: "1"},
    )
    try:
        found.put_archive("/", _archive(contents))
        found.start()
        try:
            wait_for("libvirt answers", lambda: _virsh(found, "list").exit_code == 0, 300.0, 0.5)
        except AssertionError:
            raise AssertionError(found.logs().decode()) from None
        yield found
    finally:
        found.remove(force=True, v=True)


def _virsh(container: Container, words: str, **environment: str) -> ExecResult:
    """As another compute does that sends a machine over: by TCP, to this host's address, with the password of the site."""
    command = ["timeout", "300", "virsh", "-c", f"qemu+tcp://{ADDRESS}/system", *words.split()]
    return container.exec_run(command, environment=environment)


def test_it_answers_who_has_the_password_and_nobody_else(libvirt: Container) -> None:
    assert _virsh(libvirt, "uri").output.decode().strip() == f"qemu+tcp://{ADDRESS}/system"
    refused = _virsh(libvirt, "list", HOME="/nonexistent")
    assert refused.exit_code and b"authentication" in refused.output
    libvirt.exec_run(
        [
            "sh",
            "-c",
            f"mkdir -p /other && cp -r /root/.config /other && sed -i s/{PASSWORD}/wrong/ /other/.config/libvirt/auth.conf",
        ]
    )
    refused = _virsh(libvirt, "list", HOME="/other")
    assert refused.exit_code and b"authentication" in refused.output


def test_it_knows_the_key_of_ceph_and_defines_a_machine(libvirt: Container) -> None:
    assert _virsh(libvirt, f"secret-get-value {SECRET}").output.decode().strip() == KEY
    libvirt.put_archive("/root", _archive({"guest.xml": GUEST.encode()}))
    assert b"defined" in _virsh(libvirt, "define /root/guest.xml").output
    assert b"guest" in _virsh(libvirt, "list --all --name").output
    assert b"<name>guest</name>" in libvirt.exec_run("cat /etc/libvirt/qemu/guest.xml").output, (
        "in the volume, for the next container"
    )
