"""The disk of a machine on which everything is installed that the program needs, in the way of the operations page, but not the program."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import filelock

from tests.packaging.deb import RELEASES
from tests.support import wheel
from tests.vm.disk import BUILD_SECONDS, Disk, disk
from tests.vm.machine import Machine

HOME = "/opt/reconciler"
PROGRAM = f"{HOME}/bin/reconciler"
_PIP = f"{HOME}/bin/pip install -q --no-index --find-links /mnt/share/wheels"


def prepared(suite: str) -> Disk:
    """The disk of a Debian release with the environment of the lock in HOME; made in a machine when it is not in the cache."""
    plain = disk(suite)
    key = hashlib.sha256(wheel.LOCK.read_bytes() + HOME.encode()).hexdigest()[:12]
    image = plain.image.with_name(f"{key}.qcow2")
    with filelock.FileLock(plain.image.with_name("prepared.lock"), timeout=BUILD_SECONDS):
        if not image.exists():
            for old in image.parent.glob("*.qcow2"):
                old.unlink()
            _prepare(suite, plain, image)
    return replace(plain, image=image, form="qcow2")


def install(machine: Machine) -> None:
    """Install the program's wheel from /mnt/share/wheels, on a prepared disk."""
    words = f"{_PIP} --no-deps /mnt/share/wheels/kolla_reconciler-*.whl && ln -sf {PROGRAM} /usr/local/bin/reconciler"
    machine.run(words, seconds=1200)


def _prepare(suite: str, plain: Disk, image: Path) -> None:
    with TemporaryDirectory(prefix="vm-") as name:
        share = Path(name) / "share"
        shutil.copytree(wheel.dependencies(RELEASES[suite].python), share / "wheels")
        machine = Machine(Path(name) / "node", plain, shares={"share": share})
        try:
            machine.start()
            machine.run(f"python3 -m venv {HOME}", seconds=3600)
            machine.run(f"{_PIP} --require-hashes -r /mnt/share/wheels/requirements.lock", seconds=3600)
            made = machine.power_off()
        finally:
            machine.stop()
        shutil.copyfile(made, image.with_suffix(".part"))
        image.with_suffix(".part").rename(image)
