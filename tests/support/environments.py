"""Virtual environments in the cache folder, each made of a lock: what is run beside the program, and not installed with it."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import filelock

Run = Callable[[Sequence[str | Path]], object]


def environment(folder: Path, lock: Path, run: Run | None = None) -> Path:
    """Make `folder` an environment with what `lock` says, if it is none yet or one of another lock; returns it.

    `run` runs a command, and raises when it fails (subprocess.CalledProcessError where nobody says otherwise).
    """
    run = run or _run
    stamp = folder / f"made-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_name(f"{folder.name}.lock")):
        if not stamp.exists():
            run([sys.executable, "-m", "venv", "--clear", folder])
            pip: list[str | Path] = [
                folder / "bin/python",
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
                "--quiet",
            ]
            run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock])
            stamp.touch()
    return folder


def _run(words: Sequence[str | Path]) -> None:
    subprocess.run([str(word) for word in words], check=True)
