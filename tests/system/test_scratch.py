"""Temporary folders of ours: gone afterwards, and after a kill with the next one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from reconciler.system import scratch

_HOLD = """
import sys, time
from reconciler.system import scratch
with scratch.folder("reconciler-test-") as folder:
    (folder / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_killed_one_is_removed_and_a_held_one_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    held = [
        subprocess.Popen([sys.executable, "-c", _HOLD], env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]  # fmt: skip
    folders = [Path(((process.stdout and process.stdout.readline()) or "").strip()) for process in held]
    held[0].send_signal(signal.SIGKILL)
    held[0].wait()
    foreign = tmp_path / "reconciler-test-link"
    foreign.symlink_to("/etc")
    long_ago = time.time() - 1000
    for folder in folders:
        os.utime(folder, (long_ago, long_ago))
    with scratch.folder("reconciler-test-") as mine:
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folders[1].name, mine.name, foreign.name])
    held[1].kill()
    held[1].wait()
    assert not mine.exists()
