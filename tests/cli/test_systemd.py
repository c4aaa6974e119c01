"""The unit as systemd itself judges it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler import data
from tests.support.paths import CHECKOUT

# Of 10; what is left is what the job needs: root, the engine's socket, files with any owner, the network. A reporter only
# needs the network.
EXPOSURE = {"reconciler.service": 3.2, "reconciler-reporter.service": 1.2}


@pytest.fixture(params=EXPOSURE)
def unit(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (apt install systemd)")
    path = tmp_path / str(request.param)
    text = data.path("systemd", path.name).read_text().replace("/usr/local/bin/reconciler", "/bin/true")
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
    assert float(match[1]) <= EXPOSURE[unit.name]


def test_what_it_leaves_open_is_explained(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--json=short", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    left = {row["name"] for row in json.loads(done.stdout) if row["set"] is False and row["exposure"]}
    page = (CHECKOUT / "docs/security.md").read_text().replace("\\|", "|")
    assert len(left) > 5 and {name for name in left if f"`{name}`" not in page} == set()
    assert f" {EXPOSURE[unit.name]}" in page


def test_it_says_what_the_daemon_relies_on() -> None:
    for name in EXPOSURE:
        text = data.path("systemd", name).read_text()
        for line in (
            "Type=notify",
            "WatchdogSec=120",
            "TimeoutStartSec=300",
            "Restart=always",
            "KillMode=mixed",
            'ExecReload=/bin/sh -c "kill -HUP ${MAINPID}"',
        ):
            assert f"\n{line}\n" in text
    for line in data.path("systemd", "reconciler.tmpfiles.conf").read_text().splitlines():
        assert line.startswith("#") or len(line.split()) == 6
