"""The program as another version of it would be: a copy with another number and another catalogue, in an environment of its own.

    newer = programs.make(tmp_path / "newer", "0.3.2", {"tiny/templates/tiny.conf.j2": "…"})
    with newer.installed(monkeypatch): ...

Children are started with the interpreter that `sys.executable` names, so a node in this process renders with that program from
then on, as a daemon does after its package was upgraded.
"""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.lab import CHECKOUT

_PARTS = ("reconciler", "schemas", "services", "site-example", "systemd")


@dataclass(frozen=True, slots=True)
class Program:
    """An installed copy. `python` is its interpreter."""

    version: str
    python: Path
    tree: Path

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on what this process renders is rendered by this program."""
        monkeypatch.setattr(sys, "executable", str(self.python))

    def run(self, *words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The command line of this program, in the folder of a site."""
        path = f"{Path(sysconfig.get_path('scripts'))}:/usr/bin:/bin"
        done = subprocess.run(
            [self.python, "-I", "-m", "reconciler", *words],
            cwd=cwd,
            env={"PATH": path, "HOME": str(self.tree), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def make(folder: Path, version: str, services: Mapping[str, str] = {}) -> Program:
    """A copy of the program below `folder` that calls itself `version`; `services` are more files of its catalogue."""
    tree, environment = folder / "tree", folder / "venv"
    for part in _PARTS:
        shutil.copytree(CHECKOUT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    head = tree / "reconciler/__init__.py"
    text = head.read_text()
    now = next(line for line in text.splitlines() if line.startswith("__version__"))
    head.write_text(text.replace(now, f'__version__ = "{version}"'))
    for name, content in services.items():
        (tree / "services" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "services" / name).write_text(content)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=120)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "first.pth").write_text(f"{tree}\n{sysconfig.get_path('purelib')}\n")
    return Program(version, environment / "bin/python", tree)
