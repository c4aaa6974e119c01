"""A machine that is up, whose engine has images already, kept in a disk: to boot and to load them takes minutes in emulation."""

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import filelock

from tests.vm.disk import BUILD_SECONDS, Disk, disk
from tests.vm.machine import CARDS, HARDWARE, Machine

_STATE = "up"


def loaded(suite: str, engine_url: str, images: Sequence[str]) -> Disk:
    """The disk of a Debian release, with images of the engine at `engine_url`, and a machine that is up with it; made when it is not in the cache.

    Raises what `disk` does, AssertionError when the machine cannot load them, docker.errors.ImageNotFound.
    """
    plain = disk(suite)
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        identities = {name: str(client.images.get(name).id) for name in images}
    version = subprocess.run([HARDWARE[0], "--version"], check=True, capture_output=True, text=True).stdout
    mark = hashlib.sha256(repr([sorted(identities.items()), HARDWARE, CARDS, version]).encode()).hexdigest()[:12]
    path = plain.image.parent / f"images-{mark}.qcow2"
    with filelock.FileLock(f"{path}.lock", timeout=BUILD_SECONDS):
        if not path.exists():
            _load(plain, engine_url, images, path)
    return replace(plain, image=path, form="qcow2", state=_STATE)


def _load(plain: Disk, engine_url: str, images: Sequence[str], target: Path) -> None:
    # A short path: the names of sockets are.
    with TemporaryDirectory(prefix="vm-") as name:
        share = Path(name, "share")
        share.mkdir()
        save(engine_url, images, share / "images.tar")
        machine = Machine(Path(name, "machine"), plain, share=share)
        try:
            machine.start()
            machine.run("docker load -q -i /mnt/share/images.tar", seconds=3600)
            made = machine.save(_STATE)
        finally:
            machine.stop()
        shutil.copyfile(made, part := target.with_suffix(".part"))
        part.rename(target)


def save(engine_url: str, images: Sequence[str], path: Path) -> None:
    """Write images of the engine into one archive that another can load."""
    with path.open("wb") as archive, contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        answer = client.api.get(f"{client.api.base_url}/images/get", params={"names": list(images)}, stream=True)
        answer.raise_for_status()
        for chunk in answer.iter_content(1 << 20):
            archive.write(chunk)
