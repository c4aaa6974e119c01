"""`recover mariadb`: with an etcd that the same outage took away; and a backup put in the place of data, its scripts run by a shell on folders."""

import contextlib
import gzip
import hashlib
import io
import json
import re
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from reconciler import errors
from reconciler.cli import recover
from reconciler.etcd import Store
from reconciler.etcd.client import Client
from reconciler.model import Container, Desired, Job, Memory
from reconciler.node import galera
from reconciler.reasons import Reason
from reconciler.render import render
from reconciler.rollout.galera import Member
from tests.git.servers import free_port
from tests.services import golden

HISTORY = "11111111-aaaa-11ee-8000-000000000000"


class State:
    """What a node remembers, as far as these verbs ask."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.suspension: object = None
        self.stopped: list[str] = []  # what `resume` starts again
        self._memory = memory or Memory()

    def memory(self) -> Memory:
        return self._memory

    def suspend(self, suspension: object) -> None:
        self.suspension = suspension

    def resume(self) -> None:
        self.suspension = None

    def put_down(self, container: str) -> None:
        self.stopped.append(container)

    @contextlib.contextmanager
    def cycle(self, wait: float) -> Iterator[None]:
        yield


def here(monkeypatch: pytest.MonkeyPatch, state: State, members: tuple[str, ...], **parts: Any) -> None:
    """The verbs are on the first of `members`."""
    node = SimpleNamespace(state=state, settings=SimpleNamespace(host=members[0]))
    made = recover._Here(
        cast(Any, node), cast(Any, parts.get("engine")), parts.get("container", Container("mariadb", "image")), members, parts.get("store")
    )  # fmt: skip

    @contextlib.contextmanager
    def found() -> Iterator[recover._Here]:
        yield made

    monkeypatch.setattr(recover, "_here", found)


# --- without etcd -------------------------------------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[State, list[str]]]:
    """The first of three hosts, whose fleet has an etcd that does not answer; and what was done to its member."""
    done: list[str] = []
    state, member = State(), Member("a", time.time(), True, HISTORY, 7)
    client = Client([f"http://127.0.0.1:{free_port()}"], seconds=1.0)
    here(monkeypatch, state, ("a", "b", "c"), store=Store(client, "lab"))
    monkeypatch.setattr(galera, "serving", lambda *_: {})
    monkeypatch.setattr(galera, "look", lambda *_: done.append("looked") or member)
    monkeypatch.setattr(galera, "begin", lambda *_: done.append("begun"))
    yield state, done
    client.close()


def test_what_was_found_is_shown_and_written_although_etcd_does_not_answer(
    silent: tuple[State, list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "a.json"
    said = CliRunner().invoke(recover.look, ["--out", str(out)])
    assert said.exit_code == 0 and HISTORY in said.output, said.output
    assert "etcd cannot be asked" in said.output and f"bring {out}" in said.output and "left in etcd" not in said.output
    assert json.loads(out.read_text())["seqno"] == 7 and silent[0].suspension and silent[1] == ["looked"]
    assert "say it again with --out" in CliRunner().invoke(recover.look).output
    shown = CliRunner().invoke(recover.look, ["--json"])
    assert json.loads(shown.stdout.splitlines()[0])["uuid"] == HISTORY


def test_the_cluster_begins_by_what_is_brought_from_each_host(silent: tuple[State, list[str]], tmp_path: Path) -> None:
    state, done = silent
    words = []
    for host, seqno in (("a", 7), ("b", 5), ("c", 6)):
        (tmp_path / host).write_text(json.dumps(asdict(Member(host, time.time(), True, HISTORY, seqno))))
        words += ["--from", str(tmp_path / host)]
    state.suspend("x")
    said = CliRunner().invoke(recover.begin, [*words, "--yes"])
    assert said.exit_code == 0 and done == ["looked", "begun"] and state.suspension is None, said.output
    assert "only what --from gives counts" in said.output
    assert "the cluster has begun on a" in said.output and "`reconciler resume` on b, c" in said.output
    assert "let every host `look` again" in said.output


def test_without_etcd_and_files_it_says_what_to_bring(silent: tuple[State, list[str]]) -> None:
    said = CliRunner().invoke(recover.begin, ["--yes"])
    assert isinstance(said.exception, errors.Transient) and "--from FILE" in str(said.exception) and silent[1] == []
    assert said.exception.reason is Reason.EtcdUnavailable


# --- a backup in the place of the data ----------------------------------------------------------------------------

NAME, LATER = "full-20261127T023000Z", "incremental-20261127T030000Z"
SITE = (golden.HERE / "three_nodes/site/globals.yml").read_bytes()
SITE += b"enable_mariadb_backup_schedule: true\nmariadb_backup_volume: /srv/backup\n"
OLD = {
    "mysql/user.frm": "old",
    "shop/goods.ibd": "old goods",
    "ibdata1": "old pages",
    "grastate.dat": "old",
    ".new/x": "of a bootstrap",
}
NEW = {"mysql/user.frm": "new", "shop/goods.ibd": "new goods", "books/all.ibd": "new books", "ibdata1": "new pages"}
_STUBS = {
    "sudo": "exit 0",
    "mbstream": 'exec tar --extract --directory="${2#--directory=}"',
    "mariadb-backup": """\
for word; do case $word in --target-dir=*) target=${word#*=} ;; --incremental-dir=*) more=${word#*=} ;; esac; done
[ -z "${more-}" ] || cp -r "$more"/. "$target"
""",
    "my_print_defaults": 'printf -- "--bind-address=192.0.2.1\\n--port=1\\n--wsrep_cluster_address=gcomm://192.0.2.1:4567${PEER:+,$PEER}\\n"',
    # The shell that has it moved is killed after a number of moves.
    "mv": """\
/bin/mv "$@" || exit 1
echo >> "$MOVES"
[ "$(wc -l < "$MOVES")" != "$KILLED" ] || kill -9 $PPID
""",
    "mariadb-install-db": "echo 'a new database is made' >&2; exit 9",
}


class Shell:
    """An engine whose one-shot containers are a shell on this host: in the place of each mount is the folder of its source."""

    def __init__(self, root: Path) -> None:
        self.root, self.killed, self.peer, self.serves = root, 0, "", False
        self.stopped: list[str] = []
        self.state = State()
        self.folders = {"mariadb": root / "data", "/srv/backup": root / "backups"}
        for folder in (*self.folders.values(), root / "bin"):
            folder.mkdir(parents=True)
        self.data, self.store = self.folders.values()
        for name, text in _STUBS.items():
            self.program(name, f"#!/bin/sh\n{text}\n")
        self.program("reconciler-backup", self.here(script("reconciler-backup"), {"/backup": self.store}))

    def program(self, name: str, text: str) -> None:
        (self.root / "bin" / name).write_text(text)
        (self.root / "bin" / name).chmod(0o755)

    @staticmethod
    def here(text: str, mounts: dict[str, Path]) -> str:
        return re.sub(
            r"(?<![\w/-])(/var/lib/mysql|/backup)\b", lambda found: str(mounts.get(found[1], "/nowhere")), text
        )

    def execute(self, *_: object) -> tuple[int, str]:
        if self.serves:
            return 0, "wsrep_cluster_status=Primary wsrep_ready=ON"
        raise errors.Terminal("is not running", reason=Reason.ExecFailed)

    def exists(self, _: str) -> bool:
        return True

    def stop(self, name: str, _: int) -> None:
        self.stopped.append(name)

    def run_once(self, job: Job) -> tuple[int, str]:
        """What may be written to is told by the mount: nothing of a folder that is read only may differ afterwards."""
        mounts = {one.target: self.folders[one.source] for one in job.container.mounts if one.source in self.folders}
        fixed = [
            self.folders[one.source] for one in job.container.mounts if one.source in self.folders and "ro" in one.mode
        ]
        before = [contents(folder) for folder in fixed]
        shell, option, text, *words = job.container.command
        assert (shell, option) == ("bash", "-c") and self.stopped
        words = [
            str(self.root / "bin" / Path(word).name) if word.startswith("/usr/local/bin/") else word for word in words
        ]
        done = self.run(self.here(text, mounts), *words)
        assert [contents(folder) for folder in fixed] == before
        return done.returncode, done.stdout + done.stderr

    def run(self, text: str, *words: str) -> "subprocess.CompletedProcess[str]":
        (self.root / "moves").write_text("")
        environment = {
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "MOVES": f"{self.root}/moves",
            "KILLED": str(self.killed),
            "PEER": self.peer,
        }
        return subprocess.run(
            ["bash", "-c", text, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def keep(self, name: str, files: dict[str, str], base: str = "") -> None:
        """A backup as mariadb_backup leaves one."""
        folder, packed = self.store / name, io.BytesIO()
        folder.mkdir()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, text in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        data = gzip.compress(packed.getvalue())
        (folder / "data.gz").write_bytes(data)
        told = {"base": base, "size": len(packed.getvalue()), "digest": hashlib.sha256(data).hexdigest()}
        (folder / "manifest").write_text("".join(f"{key}={value}\n" for key, value in told.items()))


@cache
def desired(host: str) -> Desired:
    return render(golden.load(golden.HERE / "three_nodes" / "site", {"globals.yml": SITE}), host, "0" * 40)


def script(name: str) -> str:
    """A file that the host with the backups gets."""
    return next(file.content for file in desired("ctl-b").files if file.path.endswith(f"/{name}"))


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The host with the backups, and old data; its containers are those of the catalogue, with the mounts that the site gives them."""
    made, found = Shell(tmp_path), desired("ctl-b")
    write(made.data, OLD)
    (made.data / "lost+found").mkdir()
    made.keep(NAME, NEW)
    member = next(one for one in found.containers if one.name == "mariadb")
    state = made.state = State(Memory(last_good=found))
    here(monkeypatch, state, ("ctl-b", "ctl-a", "ctl-c"), engine=made, container=member)
    return made


def restore(name: str = NAME, *words: str) -> str:
    """What the verb says, or why it refuses."""
    done = CliRunner().invoke(recover.restore, [name, "--yes", *words])
    assert done.exception is None or isinstance(done.exception, errors.ReconcilerError), done
    return f"{done.output}{done.exception or ''}"


def served(shell: Shell) -> dict[str, str]:
    """What a server would find: all but what is hidden."""
    return {path: text for path, text in contents(shell.data).items() if not path.startswith(".")}


def aside(shell: Shell) -> dict[str, str]:
    """What was moved aside, by where it had been."""
    return {path.partition("/")[2]: text for path, text in contents(shell.data).items() if path.startswith(".before-")}


def test_a_backup_takes_the_place_of_the_data(shell: Shell) -> None:
    said = restore()
    assert f"{NAME} is in its place" in said and f"{shell.data}/.before-" in said, said
    assert "`reconciler recover mariadb aside` on ctl-a, ctl-c, then `reconciler resume` here" in said
    assert served(shell) == NEW and aside(shell) == OLD
    assert shell.stopped == shell.state.stopped == ["mariadb"] and shell.state.suspension
    assert sorted(path.name for path in shell.data.iterdir() if path.name[:4] in (".res", ".inc")) == []
    # What is based on it comes with it; and a second one finds the first one's data.
    shell.keep(LATER, {"shop/goods.ibd": "later goods"}, NAME)
    shutil.rmtree(next(shell.data.glob(".before-*")))
    assert "is in its place" in restore(LATER)
    assert served(shell) == NEW | {"shop/goods.ibd": "later goods"} and aside(shell) == NEW


def test_without_the_backup_nothing_is_moved(shell: Shell) -> None:
    """The volume of a service that was never told where they are is empty, and so is a mistyped name."""
    shell.keep(LATER, {}, "full-20261126T023000Z")
    shell.keep("full-20261125T023000Z", {"shop/goods.ibd": "x"})
    shell.keep("full-20261124T023000Z", NEW)
    (shell.store / "full-20261124T023000Z/data.gz").write_bytes(b"lost")
    shell.keep("full-20261123T023000Z", NEW)
    manifest = shell.store / "full-20261123T023000Z/manifest"
    manifest.write_text(manifest.read_text().replace("size=", f"size={10**15}"))
    for name, why in (
        ("full-20261128T023000Z", "there is no backup"),
        ("../mariadb", "there is no backup"),
        (LATER, "is based on it"),
        ("full-20261125T023000Z", "no database in it"),
        ("full-20261124T023000Z", "its digest differs"),
        ("full-20261123T023000Z", "MiB beside the data"),
    ):
        said = restore(name)
        assert why in said, said
        assert contents(shell.data) == OLD, name


def test_cut_short_anywhere_it_goes_on(shell: Shell) -> None:
    """No database is ever there in part, nothing is lost, and no new one is made in between."""
    before = contents(shell.data)
    for number in range(1, 100):
        shell.killed = number
        said = restore()
        if "is in its place" in said:
            break
        shell.killed = 0
        there = served(shell)
        assert (
            aside(shell)
            | {path: text for path, text in contents(shell.data).items() if path in OLD and text == OLD[path]}
            == OLD
        )
        if (shell.data / "mysql").exists():
            assert there in (NEW, {path: text for path, text in OLD.items() if not path.startswith(".")}), number
        else:
            made = shell.run(shell.here(script("mariadb-bootstrap"), {"/var/lib/mysql": shell.data}))
            assert made.returncode == 1 and "that was cut short" in made.stderr, (number, made)
        assert "is in its place" in restore() and served(shell) == NEW and aside(shell) == OLD, number
        shutil.rmtree(shell.data)
        write(shell.data, before)
        (shell.data / "lost+found").mkdir()
    assert number > len({path.partition("/")[0] for path in OLD | NEW}) + 3


def test_one_that_was_begun_is_ended_before_another(shell: Shell) -> None:
    shell.keep("full-20261126T023000Z", NEW)
    shell.killed = 8
    assert "goes on" in restore() and next(shell.data.glob(".incoming-*"))
    shell.killed = 0
    assert f"{NAME} was being moved in when that was cut short" in restore("full-20261126T023000Z")
    assert f"{NAME} was being moved in" in str(CliRunner().invoke(recover.aside, ["--yes"]).exception)
    assert "is in its place" in restore()


def test_a_database_that_was_made_in_between_is_not_written_over(shell: Shell) -> None:
    shell.killed = 8
    restore()
    shell.killed = 0
    write(shell.data, {"mysql/user.frm": "made meanwhile"})
    assert "mysql was made while" in restore() and served(shell)["mysql/user.frm"] == "made meanwhile"


def test_a_member_that_serves_keeps_its_data_and_one_that_runs_elsewhere_is_stopped_first(shell: Shell) -> None:
    shell.serves = True
    assert "mariadb serves: its data are not taken" in restore() and shell.stopped == []
    assert "mariadb serves" in str(CliRunner().invoke(recover.aside, ["--yes"]).exception)
    shell.serves = False
    with socket.create_server(("127.0.0.1", 0)) as other:
        shell.peer = f"127.0.0.1:{other.getsockname()[1]}"
        said = restore()
        assert "the member at 127.0.0.1 runs" in said and "recover mariadb aside" in said, said
        assert served(shell) == {path: text for path, text in OLD.items() if not path.startswith(".")} and not aside(
            shell
        )
    shell.program("reconciler-backup", "#!/bin/sh\nexit 9\n")
    assert "is in its place" in restore(), "what was unpacked is not unpacked again"
    (shell.data / ".restored-full-20261126T023000Z").mkdir()
    assert CliRunner().invoke(recover.aside, ["--yes"]).exit_code == 0 and not list(shell.data.glob(".restor*"))


def test_the_data_of_another_member_go_aside_and_it_has_none(shell: Shell) -> None:
    shell.killed = 2
    first = CliRunner().invoke(recover.aside, ["--yes"])
    assert "it goes on" in str(first.exception) and not (shell.data / "mysql").exists()
    shell.killed = 0
    said = CliRunner().invoke(recover.aside, ["--yes"])
    assert said.exit_code == 0 and ".before-" in said.output and "has no database" in said.output, said
    assert served(shell) == {} and aside(shell) == OLD
    again = CliRunner().invoke(recover.aside, ["--yes"])
    assert again.exit_code == 0 and ".before-" not in again.output and aside(shell) == OLD


def test_only_where_backups_are_kept(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = replace(
        desired("ctl-a"), containers=tuple(c for c in desired("ctl-a").containers if c.name == "mariadb")
    )
    here(
        monkeypatch,
        State(Memory(last_good=elsewhere)),
        ("ctl-a", "ctl-b"),
        engine=shell,
        container=elsewhere.containers[0],
    )
    assert "mariadb_backup_host" in restore() and shell.stopped == [] and contents(shell.data) == OLD
