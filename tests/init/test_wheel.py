"""The wheel, installed away from the checkout, has everything with it: catalogue, grammars, units, what a new site begins with."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.init.test_init import FILES
from tests.support import wheel as wheels
from tests.support.paths import CHECKOUT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.build(tmp_path_factory.mktemp("wheel"))


def test_what_is_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("schemas", "services", "systemd", "site-example/ci"):
        tracked = subprocess.run(
            ["git", "-C", CHECKOUT, "ls-files", folder], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert tracked, folder
        assert {f"reconciler/_data/{path}" for path in tracked} <= names
    assert {"reconciler/_data/site-example/.gitlab-ci.yml", "reconciler/cli/template/globals.yml"} <= names
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("reconciler/_data/requirements.lock") == wheels.LOCK.read_bytes()
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]


def test_a_site_made_by_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    install = [sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--no-deps", "--no-index"]
    subprocess.run([*install, "--quiet", "--disable-pip-version-check", wheel], check=True)  # type: ignore[list-item]
    # Dependencies from where the tests have theirs. A folder named in a .pth file comes last, and its own .pth files (the
    # checkout's, which is installed as editable) do not count.
    own = next((venv / "lib").glob("python3*/site-packages"))
    (own / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONSAFEPATH": "1"}

    def run(*words: str | Path) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    where = run(venv / "bin/python", "-c", "import reconciler.data as d; print(d.__file__); print(d.root())")
    assert [str(own) in line for line in where.splitlines()] == [True, True]
    program = venv / "bin/reconciler"
    made = json.loads(run(program, "init", "site", "--yes", "--json"))
    assert set(made["files"]) == FILES
    assert run(program, "--version") == f"reconciler {wheel.name.split('-')[1]}\n"
    assert run(program, "validate", "--all-hosts", "site") == "the site is valid: 1 host\n"
    planned = json.loads(run(program, "plan", "--base", "nothing", "--json", "site"))
    assert len(planned["plans"][0]["actions"]) == made["actions"]["ctl1"] > 50
    for shared in (".gitlab-ci.yml", "ci/reconciler.gitlab-ci.yml"):
        assert (tmp_path / "site" / shared).read_text() == (CHECKOUT / "site-example" / shared).read_text()
