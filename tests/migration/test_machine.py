"""Machines have names, and one of each at a time: two would share a store of containers, and the second takes away what the first has."""

import os
import subprocess
import sys

import pytest

from tests.migration.machine import CHECKOUT, held


def test_there_is_one_machine_of_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("RECONCILER_CACHE", str(tmp_path_factory.mktemp("cache")))
    script = "from tests.migration.machine import held\nwith held('m1'): print('held')"
    argv = [sys.executable, "-c", script]
    with held("m1") as hold:
        told = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False).stderr
        assert f"the machine m1 is there already, made by process {os.getpid()}" in told
        with held("m2"):
            pass
        first = subprocess.Popen(["sleep", "100"], pass_fds=[hold])
    try:
        assert subprocess.run(argv, cwd=CHECKOUT, capture_output=True, check=False).returncode, (
            "its first process lives"
        )
    finally:
        first.kill()
        first.wait()
    assert subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout == "held\n"
