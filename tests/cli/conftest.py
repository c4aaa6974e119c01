"""Small sites as folders and as repositories, and the program in this process."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import program
from tests.git.servers import _GIT_ENV

SITE: Mapping[str, str] = {
    "inventory.yml": """\
hosts:
  web1: {addresses: {network: 10.0.0.1}, groups: [web]}
  web2: {addresses: {network: 10.0.0.2}, groups: [web]}
  db1: {addresses: {network: 10.0.0.3}, groups: [db]}
groups:
  web: {}
  db: {}
""",
    "globals.yml": "site_greeting: hello\n",
    "hosts/web2.yml": "site_greeting: good morning\n",
    "reconciler.yml": "name: small\n",
    "services/hello/service.yml": """\
description: Says hello
groups: {web: []}
containers:
  hello:
    group: web
    image: registry.example/hello:1
    kolla: false
    command: [serve]
    files:
      - {name: hello.conf, content: "greeting = {{ site_greeting }}\\n", destination: /etc/hello.conf, mode: "0644"}
""",
    "services/hello/variables.yml": "{}\n",
}


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Run a verb as `cli("validate", site)`."""

    def run(*words: str | Path, **options: Any) -> Result:
        return CliRunner().invoke(program, [str(word) for word in words], **options)  # type: ignore[arg-type]

    return run


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A valid site in a folder of its own."""
    return write(tmp_path / "site", SITE)


@pytest.fixture
def checkout(site: Path) -> Path:
    """The same, committed in a repository."""
    git(site, "init", "-q", "--initial-branch=main", ".")
    commit(site, "first")
    return site


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, env=_GIT_ENV, check=True)
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")
