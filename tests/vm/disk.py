"""The disk of a virtual machine: a Debian release with systemd, its kernel and its Docker Engine, made from Debian's packages.

The environment of the program's lock is in it, made by the release's own Python: in emulation that takes ten minutes. Made once for each
recipe and lock and kept in the cache folder; a machine writes into a copy of its own.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from tests.images.kolla import mirror
from tests.packaging.deb import RELEASES
from tests.support import packages, wheel
from tests.support.paths import cache

BUILD_SECONDS = 40 * 60
_SIZE = "6G"
_PACKAGES = (
    # the machine
    "linux-image-amd64", "systemd-sysv", "udev", "dbus", "kmod", "qemu-guest-agent", "procps", "iproute2", "iputils-ping",
    # a node: the engine starts no container without apparmor where the kernel has it
    "docker.io", "iptables", "apparmor", "ca-certificates", "python3", "python3-venv", "git",
    # what tests look with
    "curl", "tcpdump",
)  # fmt: skip
_OF_RELEASE = {"trixie": ("docker-cli",)}  # bookworm has it in docker.io
# Files of the machine. It has no network but what a test gives it, and no console to log in to.
_FILES = {
    "etc/hostname": "node\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 node\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/systemd/network/10-lan.network": "[Match]\nName=en* eth*\n[Network]\nLinkLocalAddressing=no\n",
    "etc/systemd/system/systemd-networkd-wait-online.service.d/none.conf": "[Service]\nExecStart=\nExecStart=/bin/true\n",
    "etc/systemd/journald.conf.d/keep.conf": "[Journal]\nStorage=persistent\n",
}
HOME = "/opt/reconciler"  # as in docs/operations.md
_ENVIRONMENT = f"""
python3 -m venv {HOME}
{HOME}/bin/pip install -q --no-index --find-links /mnt/wheels-* --require-hashes -r /mnt/wheels-*/requirements.lock
rm -r /mnt/wheels-*
"""
_UNWANTED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty@tty1.service",
)


@dataclass(frozen=True)
class Disk:
    """A disk image, the kernel and initial RAM disk that boot it, and the image's format as QEMU names it.

    With `state`, the name of a running machine that is kept in the image (format qcow2), a machine goes on from there.
    """

    image: Path
    kernel: Path
    initrd: Path
    form: str = "raw"
    state: str = ""


def disk(suite: str) -> Disk:
    """The disk of a Debian release (`bookworm`, `trixie`); made when it is not in the cache.

    Raises packages.PackagesMissing, subprocess.CalledProcessError (its output is in `make.log` beside the image).
    """
    packages.install(["qemu-system-x86", "qemu-utils", "mmdebstrap"])
    recipe = json.dumps([suite, _packages(suite), _FILES, _UNWANTED, _SIZE, _ENVIRONMENT, wheel.LOCK.read_text()])
    folder = cache("vm", f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}")
    found = Disk(folder / "disk.img", folder / "vmlinuz", folder / "initrd")
    with filelock.FileLock(folder / "lock", timeout=BUILD_SECONDS):
        if not (folder / "made").exists():
            _make(suite, folder, found)
            (folder / "made").touch()
    return found


def _make(suite: str, folder: Path, disk: Disk) -> None:
    root, log = folder / "root", folder / "make.log"
    shutil.rmtree(root, ignore_errors=True)
    environment = {**os.environ, "TMPDIR": str(folder)}
    hooks = [f"--customize-hook=copy-in {shlex.quote(str(wheel.dependencies(RELEASES[suite].python)))} /mnt"]
    hooks += [f'--customize-hook=chroot "$1" sh -ec {shlex.quote(_ENVIRONMENT)}']
    options = ["--variant=minbase", f"--include={','.join(_packages(suite))}", "--skip=cleanup/tmp", *hooks]
    _run(["mmdebstrap", *options, suite, root, mirror()], log, environment)
    _configure(root)
    shutil.copyfile(_only(root / "boot", "vmlinuz-*"), disk.kernel)
    shutil.copyfile(_only(root / "boot", "initrd.img-*"), disk.initrd)
    disk.image.unlink(missing_ok=True)
    _run(["mke2fs", "-q", "-t", "ext4", "-d", root, disk.image, _SIZE], log, environment)
    shutil.rmtree(root)


def _packages(suite: str) -> tuple[str, ...]:
    return _PACKAGES + _OF_RELEASE.get(suite, ())


def _configure(root: Path) -> None:
    for name, content in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "etc/machine-id").write_text("uninitialized\n")
    units = root / "etc/systemd/system"
    for unit in _UNWANTED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "systemd-networkd.service").unlink(missing_ok=True)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")


def _run(words: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> None:
    with log.open("ab") as output:
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=True)


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found
