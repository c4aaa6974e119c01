"""The installed program as a process: exit codes, no tracebacks, pipes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("reconciler")


def _run(*words: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(PROGRAM), *map(str, words)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_exit_codes(site: Path, tmp_path: Path) -> None:
    assert _run("validate", site).returncode == 0
    (site / "globals.yml").write_text("nonsense: 1\n")
    wrong = _run("validate", site)
    assert wrong.returncode == 1
    assert "globals.yml:1:1: unknown variable 'nonsense'" in wrong.stdout
    assert _run("validate", tmp_path / "absent").returncode == 2
    assert _run("plan", tmp_path / "absent").returncode == 1
    assert _run("plan", "--nonsense").returncode == 1
    assert _run("nonsense").returncode == 1


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    missing = _run("status", "--config", tmp_path / "absent.toml")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ")
    assert "reconciler node install" in missing.stderr
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('hots = "a"\n[git]\nbranch = 3\n')
    found = _run("--config", wrong, "status")
    assert found.returncode == 1
    assert "hots: unknown key 'hots' (did you mean 'host'?)" in found.stderr
    assert "git: is missing 'url'" in found.stderr
    assert "[SettingsInvalid]" in found.stderr
    assert "Traceback" not in found.stderr
    assert "Traceback" in _run("--debug", "--config", wrong, "status").stderr


def test_a_closed_pipe_is_no_error(site: Path) -> None:
    done = subprocess.run(["bash", "-c", f"{PROGRAM} schema | head -c 10"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("{")
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_plain_in_a_pipe_and_with_no_color(site: Path) -> None:
    assert "\x1b" not in _run("plan", site, "--base", "nothing").stdout
    script = ["script", "-qec", f"{PROGRAM} plan {site} --base nothing", "/dev/null"]
    coloured = subprocess.run(
        script, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin", "TERM": "xterm"}
    )
    assert "\x1b[32m" in coloured.stdout
    plain = subprocess.run(
        script,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm", "NO_COLOR": "1"},
    )
    assert "\x1b" not in plain.stdout
