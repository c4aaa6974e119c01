"""Machines that are kept in the cache as they run, for others to go on from: to boot, to load images and to install takes minutes in emulation."""

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import filelock

from tests.vm.disk import BUILD_SECONDS, Disk, disk
from tests.vm.machine import CARDS, HARDWARE, Machine

_STATE = "up"


def kept(base: Disk, kind: str, parts: object, prepare: Callable[[Machine, Path], None]) -> Disk:
    """The disk of a machine that came of `base` by `prepare`, which gets it running, and its empty share; made when it is not in the cache.

    `parts` is all that the outcome depends upon, beside `base`; one of each `kind` and base is kept. Raises what `prepare` does.
    """
    version = subprocess.run([HARDWARE[0], "--version"], check=True, capture_output=True, text=True).stdout
    mark = hashlib.sha256(repr([base.image.name, parts, HARDWARE, CARDS, version]).encode()).hexdigest()[:12]
    folder = base.kernel.parent
    path = folder / f"{kind}-{mark}.qcow2"
    with filelock.FileLock(folder / f"{kind}.lock", timeout=BUILD_SECONDS):
        if not path.exists():
            for old in folder.glob(f"{kind}-*.qcow2"):
                old.unlink()
            _make(base, path, prepare)
    return replace(base, image=path, form="qcow2", state=_STATE)


def _make(base: Disk, path: Path, prepare: Callable[[Machine, Path], None]) -> None:
    # A short path: the names of sockets are.
    with TemporaryDirectory(prefix="vm-") as name:
        share = Path(name, "share")
        share.mkdir()
        machine = Machine(Path(name, "machine"), base, share=share)
        try:
            machine.start()
            prepare(machine, share)
            made = machine.save(_STATE)
        finally:
            machine.stop()
        shutil.copyfile(made, part := path.with_suffix(".part"))
        part.rename(path)


def loaded(suite: str, engine_url: str, kind: str, images: Sequence[str]) -> Disk:
    """A machine of a Debian release whose engine has images of the engine at `engine_url`.

    Raises what `disk` does, docker.errors.ImageNotFound, AssertionError when the machine cannot load them.
    """
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        identities = sorted(str(client.images.get(name).id) for name in images)

    def load(machine: Machine, share: Path) -> None:
        _save(engine_url, images, share / "images.tar")
        machine.run("docker load -q -i /mnt/share/images.tar", seconds=3600)

    return kept(disk(suite), kind, identities, load)


def _save(engine_url: str, images: Sequence[str], path: Path) -> None:
    """Write images of the engine into one archive that another can load."""
    with path.open("wb") as archive, contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        answer = client.api.get(f"{client.api.base_url}/images/get", params={"names": list(images)}, stream=True)
        answer.raise_for_status()
        for chunk in answer.iter_content(1 << 20):
            archive.write(chunk)
