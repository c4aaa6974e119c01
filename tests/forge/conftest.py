import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.forge import Forge, ForgeSettings, Status, connect

from .gitlab_server import GitLab

COMMIT = "a" * 40
CONTEXT = "reconciler/site/node1"


@pytest.fixture
def token() -> str:
    return "glpat-" + secrets.token_hex(16)


@pytest.fixture
def token_file(tmp_path: Path, token: str) -> Path:
    file = tmp_path / "token"
    file.write_text(token + "\n")
    return file


@pytest.fixture
def gitlab(token: str) -> Iterator[GitLab]:
    """A GitLab with one project, one maintainer and one commit; every conversation must keep to the description."""
    server = GitLab()
    server.add_project("cloud/site").add_commit(COMMIT)
    server.add_user("reconciler", token)
    with server:
        yield server
    assert server.violations == []


@pytest.fixture
def connect_to(token_file: Path) -> Callable[..., Forge]:
    """Makes a client for a stand-in; settings can be replaced by keyword."""

    def make(server: Any, **changes: Any) -> Forge:
        values: dict[str, Any] = {
            "kind": "gitlab",
            "url": server.url,
            "project": "cloud/site",
            "token_file": token_file,
            "timeout": 2.0,
            "retry_for": 5.0,
        }
        return connect(ForgeSettings(**{**values, **changes}))

    return make


def success(text: str = "38 containers, 0 changed in 0.2 s", **changes: Any) -> Status:
    values: dict[str, Any] = {"commit": COMMIT, "context": CONTEXT, "state": "success", "description": text}
    return Status(**{**values, **changes})
