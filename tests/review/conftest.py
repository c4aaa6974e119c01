import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forge.gitlab_server import GitLab

from . import sites

Job = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def repository(tmp_path: Path) -> sites.Repository:
    return sites.Repository(tmp_path / "repository")


@pytest.fixture
def token() -> str:
    return "glpat-" + secrets.token_hex(16)


@pytest.fixture
def gitlab(token: str, repository: sites.Repository) -> Iterator[GitLab]:
    """A GitLab whose project is `repository`; every conversation must keep to GitLab's description."""
    server = GitLab()
    server.add_project("cloud/site", repository.root / ".git")
    server.add_user("reconciler", token)
    with server:
        yield server
    assert server.violations == []


@pytest.fixture
def reconciler() -> Job:
    """Runs the program as a user does: `reconciler("ci", "review", cwd=…, env=…)`."""

    def run(*words: str, cwd: Path, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "reconciler", *words],
            cwd=cwd,
            env=sites.program_environment(**(env or {})),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
