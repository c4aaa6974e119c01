"""The unit as systemd itself judges it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler import data

EXPOSURE = (
    3.5  # of 10; what is left is what the job needs: root, the engine's socket, files with any owner, the network
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (apt install systemd)")
    path = tmp_path / "reconciler.service"
    text = data.path("systemd", "reconciler.service").read_text().replace("/usr/local/bin/reconciler", "/bin/true")
    path.write_text(text)
    return path


def test_it_is_valid(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    broken = unit.with_name("broken.service")
    broken.write_text(unit.read_text().replace("ExecStart=", "ExecStrat="))
    assert subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(broken)], capture_output=True, check=False
    ).returncode


def test_it_is_hardened(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True, check=False
    )
    match = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert match, done.stdout + done.stderr
    assert float(match[1]) <= EXPOSURE


def test_it_says_what_the_daemon_relies_on() -> None:
    text = data.path("systemd", "reconciler.service").read_text()
    for line in (
        "Type=notify",
        "WatchdogSec=120",
        "Restart=always",
        "KillMode=mixed",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ):
        assert f"\n{line}\n" in text
    for line in data.path("systemd", "reconciler.tmpfiles.conf").read_text().splitlines():
        assert line.startswith("#") or len(line.split()) == 6
