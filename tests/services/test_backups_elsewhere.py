"""Backups that are sent elsewhere: the script of the container with the genuine restic, into a folder and over SSH."""

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.codec import from_json
from reconciler.node.backups import Backup, Verified
from reconciler.render import render
from tests.git.servers import ssh_server
from tests.services import golden
from tests.support import packages

KEEP = 2


def _program() -> str:
    """What the container runs, on the host of the golden site that keeps backups."""
    content = (golden.HERE / "three_nodes/site/globals.yml").read_bytes()
    content += f"enable_mariadb_backup_schedule: true\nmariadb_backup_remote_repository: /remote\nmariadb_backup_remote_keep: {KEEP}\n".encode()
    site = golden.load(golden.HERE / "three_nodes" / "site", {"globals.yml": content})
    files = {file.path: file.content for file in render(site, "ctl-b", "0" * 40).files}
    return files["mariadb-backup-remote/reconciler-backup"]


@dataclass
class Sender:
    """A store with backups, the state of the container, and a repository."""

    root: Path
    repository: str

    def __post_init__(self) -> None:
        packages.install(["restic"])
        for name in ("store", "state", "scratch", "bin"):
            (self.root / name).mkdir(exist_ok=True)
        self.program = self.root / "bin" / "reconciler-backup"
        self.program.write_text(_program())
        self.program.chmod(0o755)
        (self.root / "password").write_text(secrets.token_urlsafe(30))

    def run(self, *words: str, code: int = 0, **environment: str) -> str:
        path = f"{self.root / 'bin'}:/usr/sbin:/usr/bin:/bin"
        done = subprocess.run(
            [self.program, *words], capture_output=True, text=True, check=False, timeout=120,
            env={"PATH": path, "HOME": str(self.root), "RECONCILER_STORE": str(self.root / "store"), "RECONCILER_STATE": str(self.root / "state"),
                 "RECONCILER_SCRATCH": str(self.root / "scratch"), "RESTIC_REPOSITORY": self.repository,
                 "RESTIC_PASSWORD_FILE": str(self.root / "password"), **environment},
        )  # fmt: skip
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def taken(self, kind: str, day: int, base: str = "") -> str:
        """A backup as mariadb_backup leaves one."""
        name = f"{kind}-202603{day:02}T023000Z"
        folder, data = self.root / "store" / name, os.urandom(200_000)
        folder.mkdir()
        (folder / "data.gz").write_bytes(data)
        told = {"kind": kind, "base": base, "server": "10.11.6", "started": 1772000000 + day, "ended": 1772000050 + day,
                "size": 900_000, "packed": len(data), "digest": hashlib.sha256(data).hexdigest()}  # fmt: skip
        (folder / "manifest").write_text("".join(f"{key}={value}\n" for key, value in told.items()))
        return name

    def listed(self) -> list[str]:
        rows = from_json(tuple[Backup, ...], json.loads(self.run("list")))
        return [row.name for row in rows]

    def verified(self, *words: str) -> Verified:
        answer: Any = json.loads(self.run("verify", *words).strip().rpartition("\n")[2])
        made: Verified = from_json(Verified, answer)
        return made


@pytest.fixture(params=["folder", pytest.param("ssh", marks=pytest.mark.slow)])
def sender(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sender]:
    away = tmp_path / "elsewhere"
    away.mkdir()
    made = Sender(tmp_path, str(away / "cloud"))
    with contextlib.ExitStack() as stack:
        if request.param == "ssh":
            server = stack.enter_context(ssh_server(away))
            made.repository = f"sftp://{server.user}@127.0.0.1:{server.port}/{away}/cloud"
            # In the container a configuration says so; here another one counts.
            options = f"-i {server.key} -o UserKnownHostsFile={server.known_hosts} -o IdentitiesOnly=yes"
            (tmp_path / "bin/ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh {options} "$@"\n')
            (tmp_path / "bin/ssh").chmod(0o755)
        yield made


def test_what_was_taken_is_sent_listed_and_comes_back(sender: Sender) -> None:
    assert "nothing is known of the repository yet" in sender.run("list", code=1)
    first = sender.taken("full", 1)
    second = sender.taken("incremental", 2, first)
    (sender.root / "store/.part-full-20260303T023000Z").mkdir()
    assert "everything that was taken is in the repository" in sender.run("now", "full")
    assert sender.listed() == [second, first] and sender.run("age").strip() == second
    found = sender.verified()
    assert (found.name, found.files, found.bytes, found.rows) == (second, 2, 400_000, 0)
    assert sender.verified(first).files == 1
    sender.run("now")
    rows = json.loads(sender.run("list"))
    assert [row["verified"] is not None for row in rows] == [True, True] and len(rows) == 2, "nothing is sent twice"
    # Another machine, with the repository and its password alone.
    for path in sorted((sender.root / "state").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for path in (sender.root / "store" / first / "data.gz", sender.root / "store" / first / "manifest"):
        path.unlink()
    assert sender.verified(second).files == 2 and sender.listed() == [second, first]


@pytest.mark.slow
def test_older_ones_go_with_what_is_based_on_them(sender: Sender) -> None:
    fulls, later = [], ""
    for day in (1, 3, 5):
        fulls.append(sender.taken("full", day))
        later = sender.taken("incremental", day + 1, fulls[-1])
    sender.run("now")
    assert sender.listed() == [later, fulls[2], "incremental-20260304T023000Z", fulls[1]]
    for old in (fulls[0], "incremental-20260302T023000Z"):  # as the store's own keeper removes them
        for path in (sender.root / "store" / old).iterdir():
            path.unlink()
        (sender.root / "store" / old).rmdir()
    sender.run("now")
    assert len(sender.listed()) == 4


@pytest.mark.slow
def test_what_is_wrong_is_said(sender: Sender) -> None:
    name = sender.taken("full", 1)
    sender.run("now")
    old = time.time() - 86400
    lost = sender.taken("full", 2)
    os.utime(sender.root / "store" / lost / "manifest", (old, old))
    assert f"{lost} is not in the repository" in sender.run("age", code=1)
    (sender.root / "password").write_text("another")
    assert "the repository cannot be used" in sender.run("now", code=1), "none is made over it"
    assert name in sender.listed(), "what was known is still told"
