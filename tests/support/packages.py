"""Debian programs that the tests need: listed in packages.txt, installed where missing, services not started.

    python3 -m tests.support.packages            installs what is missing (needs root)

Only the standard library is used here: this runs before the environment exists.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

LIST = Path(__file__).with_name("packages.txt")
POLICY = Path("/usr/sbin/policy-rc.d")
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PackagesMissing(Exception):
    """Debian packages are missing and could not be installed; the message says what to run."""


def wanted(*, all_: bool = False) -> dict[str, str]:
    """Package name to the program that shows it is there; with `all_` those too that are installed only where they are asked for."""
    lines = [line.split() for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {line[0]: line[1] for line in lines if all_ or "on-demand" not in line}


def missing(names: Sequence[str] | None = None) -> list[str]:
    """Of `names` (default: the whole list), the packages whose program is not installed."""
    listed = wanted(all_=bool(names))
    return [name for name, program in listed.items() if (not names or name in names) and not which(program)]


def which(program: str) -> str | None:
    """Where a program is, the folders of system administration included; a path is looked at as it is."""
    if program.startswith("/"):
        return program if Path(program).exists() else None
    return shutil.which(program, path=_SEARCH)


def install(names: Sequence[str] | None = None) -> None:
    """Install the missing ones of `names` (default: the whole list). Raises PackagesMissing."""
    absent = missing(names)
    if not absent:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise PackagesMissing(
            f"missing Debian packages: run `sudo apt-get install --no-install-recommends {' '.join(absent)}`"
        )
    print(f"installing Debian packages: {' '.join(absent)}", flush=True)
    with _no_services():
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *absent)
    if missing(names):
        raise PackagesMissing(f"apt-get installed no program of {', '.join(missing(names))} (see packages.txt)")


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise PackagesMissing(f"`apt-get {' '.join(arguments)}` failed:\n{last}")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """While packages are installed, policy-rc.d denies service starts; afterwards it is as it was before."""
    before = POLICY.read_bytes() if POLICY.exists() else None
    mode = POLICY.stat().st_mode & 0o7777 if before is not None else 0
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            POLICY.unlink(missing_ok=True)
        else:
            POLICY.write_bytes(before)
            POLICY.chmod(mode)


if __name__ == "__main__":
    try:
        install()
    except PackagesMissing as error:
        sys.exit(f"error: {error}")
