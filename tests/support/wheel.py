"""The program's wheel, built from this checkout without fetching anything, and the wheels of all that its lock names."""

import shutil
import subprocess
import sys
from pathlib import Path

import filelock

from tests.support.paths import CHECKOUT, cache

LOCK = CHECKOUT / "requirements" / "runtime.lock"


def build(folder: Path) -> Path:
    """Build the wheel into `folder`. hatchling is among the development tools."""
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*words, "-w", folder, CHECKOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("kolla_reconciler-*.whl"))


def dependencies(python: str = "") -> Path:
    """A folder with the wheels that the lock names, for this Python or another version of it, fetched once and kept in the cache."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache(f"wheels-for-{python}" if python else f"wheels-{running}")
    with filelock.FileLock(folder / "lock"):
        stamp = folder / "requirements.lock"
        if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
            for old in folder.glob("*.whl"):
                old.unlink()
            words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            words += options(python) if python else []
            done = subprocess.run([*words, "-r", LOCK, "-d", folder], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            shutil.copyfile(LOCK, stamp)
    return folder


def options(python: str) -> list[str]:
    """pip's words for wheels of another Python than the running one, on Linux on x86_64."""
    words = ["--only-binary", ":all:", "--no-deps", "--implementation", "cp", "--python-version", python]
    for abi in (f"cp{python.replace('.', '')}", "abi3", "none"):
        words += ["--abi", abi]
    for platform in ("2_28", "2_17", "2014", "2_12", "2_5", "1"):
        words += ["--platform", f"manylinux{platform if platform.isdigit() else f'_{platform}'}_x86_64"]
    return words
