"""Which locked packages have known vulnerabilities: `make audit`, which needs PyPI's or OSV's service. What cannot be asked about fails.

python -m tests.packaging.audit [LOCK …]     requirements/runtime.lock and build.lock, unless others are named
"""

import subprocess
import sys
from pathlib import Path

from tests.support.environments import environment
from tests.support.paths import CHECKOUT, cache

LOCKS = ("requirements/runtime.lock", "requirements/build.lock")


def main() -> None:
    """Ask for each lock; exits with 1 when one has a vulnerability, or could not be asked about."""
    program = environment(cache() / "audit", CHECKOUT / "tests/packaging/audit.lock") / "bin/pip-audit"
    failed = False
    for lock in map(Path, sys.argv[1:] or LOCKS):
        words: list[str | Path] = [
            program,
            "--strict",
            "--disable-pip",
            "--require-hashes",
            "--progress-spinner",
            "off",
            "-r",
            lock,
        ]
        print(f"{lock}:", flush=True)
        failed |= subprocess.run(words, cwd=CHECKOUT, check=False).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
