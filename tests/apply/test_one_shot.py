"""A command with a new configuration: what its container gets of the one that it speaks for, what lies on the disk while it runs, and what is
left of it."""

import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.apply import OneShot, tidy_one_shots
from reconciler.apply.one_shot import telling
from reconciler.model import Container, File, Job, Mount
from reconciler.options.values import Ulimit
from reconciler.reasons import Reason
from reconciler.system import files

NAME = "reconciler-validate-web"
USER = 42401


@dataclass
class Engine:
    """Looks at the disk while the one-shot runs: path → mode, owner, content (None: a folder)."""

    root: Path
    answer: Callable[[], tuple[int, str]] = lambda: (0, "")
    jobs: list[Job] = field(default_factory=list)
    seen: dict[str, tuple[str, int, str | None]] = field(default_factory=dict)

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.jobs.append(job)
        for path in sorted(self.root.rglob("*")):
            found = path.stat()
            content = None if path.is_dir() else path.read_text()
            self.seen[str(path.relative_to(self.root))] = (f"{stat.S_IMODE(found.st_mode):o}", found.st_uid, content)
        return self.answer()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "kolla"
    made.mkdir(mode=0o700)
    return made


def web(root: Path) -> Container:
    """A container with all that a checker has no use for."""
    return Container(
        "web",
        "web:2",
        service="web",
        config_directory="web",
        environment={"A": "b"},
        user="www",
        command=("serve",),
        entrypoint=("init",),
        mounts=(
            Mount(f"{root}/web/", "/etc/web/", "rw"),
            Mount("/run", "/run", "rw"),
            Mount("web_data", "/var/lib/web", "rw"),
        ),
        network_mode="host",
        privileged=True,
        devices=("/dev/kvm:/dev/kvm:rwm",),
        ports=("80:80/tcp",),
        ulimits=(Ulimit("nofile", 1024, 2048),),
        restart_policy="always",
        labels={"theirs": "x"},
    )


def one_shot(root: Path, **changes: Any) -> OneShot:
    wanted = (File("web/web.conf", "", mode=0o640, owner=USER), File("web/sub/more.conf", "", mode=0o600, group=USER))
    contents = {"web/web.conf": b"listen 80\n", "web/sub/more.conf": b"more\n", "other/other.conf": b"not of this one"}
    return OneShot(replace(web(root), **changes), wanted, contents, "digest", root)


def run(wanted: OneShot, engine: Engine, **how: Any) -> tuple[int, str]:
    return wanted.run(cast(Any, engine), NAME, ("check", "-t"), **{"script": "", "timeout": 7.0, **how})


def test_it_gets_the_image_the_new_files_and_nothing_that_it_could_do_harm_with(root: Path) -> None:
    engine = Engine(root)
    run(one_shot(root), engine)
    (job,) = engine.jobs
    assert (job.name, job.inputs, job.timeout, job.verbatim) == (NAME, "digest", 7.0, False)
    assert job.container == Container(
        NAME,
        "web:2",
        service="web",
        entrypoint=(),
        command=("check", "-t"),
        environment={"A": "b"},
        user="www",
        mounts=(Mount(f"{root}/.reconciler-validate/{NAME}/web/", "/etc/web/", "ro"),),
        network_mode="none",
        restart_policy="no",
        ulimits=(Ulimit("nofile", 1024, 2048),),
        labels={"io.reconciler-validates": "digest"},
    )


def test_what_it_is_given_besides(root: Path) -> None:
    engine, data = Engine(root), Mount("web_data", "/var/lib/web", "ro")
    run(one_shot(root), engine, network="host", mounts=(data,), user="root", verbatim=True)
    (job,) = engine.jobs
    assert (job.container.network_mode, job.container.user, job.verbatim) == ("host", "root", True)
    assert [mount.target for mount in job.container.mounts] == ["/etc/web/", "/var/lib/web"]


def test_one_of_kolla_has_its_files_where_they_belong_before_it_begins(root: Path) -> None:
    engine = Engine(root)
    run(one_shot(root, kolla=True), engine)
    shell, flag, script, name, *words = engine.jobs[0].container.command or ()
    assert (shell, flag, name, words) == ("bash", "-c", "bash", ["check", "-t"]) and "kolla_set_configs" in script


def test_its_files_are_there_while_it_runs_where_only_root_may_look(root: Path) -> None:
    engine = Engine(root)
    run(one_shot(root), engine, script="#!/bin/sh\ntrue\n")
    place = f".reconciler-validate/{NAME}"
    assert engine.seen == {
        ".reconciler-validate": ("700", 0, None),
        place: ("700", 0, None),
        f"{place}/web": ("755", 0, None),
        f"{place}/web/web.conf": ("640", USER, "listen 80\n"),
        f"{place}/web/sub": ("755", 0, None),
        f"{place}/web/sub/more.conf": ("600", 0, "more\n"),
        f"{place}/web/reconciler-check": ("755", 0, "#!/bin/sh\ntrue\n"),
    }
    engine = Engine(root)
    run(one_shot(root), engine)
    assert f"{place}/web/reconciler-check" not in engine.seen, "without a script there is no file of it"


def test_a_script_needs_no_file_beside_it(root: Path) -> None:
    engine = Engine(root)
    run(OneShot(web(root), (), {}, "digest", root), engine, script="true")
    assert engine.seen[f".reconciler-validate/{NAME}/web/reconciler-check"] == ("755", 0, "true")


def test_the_group_of_a_file_is_its_own(root: Path) -> None:
    groups: list[int] = []

    def look() -> tuple[int, str]:
        folder = root / ".reconciler-validate" / NAME / "web"
        groups.extend((folder / path).stat().st_gid for path in ("web.conf", "sub/more.conf"))
        return 0, ""

    run(one_shot(root), Engine(root, look))
    assert groups == [0, USER]


@pytest.mark.parametrize("answer", [(0, ""), (3, "line 2: no such word"), (137, "")])
def test_what_it_comes_to_is_its_own_word(root: Path, answer: tuple[int, str]) -> None:
    assert run(one_shot(root), Engine(root, lambda: answer)) == answer


def test_nothing_is_left_of_its_files_whatever_became_of_it(root: Path) -> None:
    def late() -> tuple[int, str]:
        raise errors.Terminal("it did not end in time", reason=Reason.JobTimeout)

    run(one_shot(root), Engine(root))
    assert list((root / ".reconciler-validate").iterdir()) == []
    with pytest.raises(errors.Terminal):
        run(one_shot(root), Engine(root, late))
    assert list((root / ".reconciler-validate").iterdir()) == []


def test_what_a_kill_left_is_nothing_that_the_next_one_sees(root: Path) -> None:
    """And what another one runs with at the same time stays."""
    for name in (NAME, "reconciler-validate-other"):
        left = root / ".reconciler-validate" / name / "web" / "old.conf"
        left.parent.mkdir(parents=True)
        left.write_text("old")
    engine = Engine(root)
    run(one_shot(root), engine)
    assert [path for path in engine.seen if path.endswith("old.conf")] == [
        ".reconciler-validate/reconciler-validate-other/web/old.conf"
    ]
    tidy_one_shots(root)
    assert list(root.iterdir()) == []
    tidy_one_shots(root)


def test_nothing_is_written_or_removed_where_a_link_in_the_place_of_its_folder_leads(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder for all of them, its own, or one in it, exchanged at any moment."""
    outside = tmp_path / "host/web"
    outside.mkdir(parents=True)
    (outside / "theirs").write_text("the host's")
    own = root / ".reconciler-validate" / NAME
    made = {name: getattr(files, name) for name in ("make_dirs", "write_under", "remove_tree")}
    turn = 0

    def exchange(path: Path, name: str, when: int) -> Callable[..., None]:
        def step(*words: Any, **more: Any) -> None:
            nonlocal turn
            turn += 1
            if turn == when and path.exists():
                path.rename(tmp_path / f"was-{path.name}-{when}")
                path.symlink_to(outside if path.name == "web" else outside.parent)
            made[name](*words, **more)

        return step

    met = 0
    for path in (root / ".reconciler-validate", own, own / "web"):
        for when in range(1, 9):
            turn = 0
            for name in made:
                monkeypatch.setattr(files, name, exchange(path, name, when))
            engine = Engine(root)
            try:
                run(one_shot(root), engine, script="true")
                assert turn <= when or not path.is_symlink(), "all was written before"
            except errors.Terminal as error:
                met += 1
                assert error.reason == "FileUnsafe" and not engine.jobs
            monkeypatch.undo()
            assert [entry.name for entry in tmp_path.joinpath("host").rglob("*")] == ["web", "theirs"]
            tidy_one_shots(root)
            assert not list(root.iterdir()) and (outside / "theirs").exists()
            shutil.rmtree(tmp_path / f"was-{path.name}-{when}", ignore_errors=True)
    assert met >= 10


def test_what_tells_most_comes_without_the_rest(root: Path) -> None:
    said = "reading web.conf\nERROR: a\n\n  line 3: b  \nERROR: a\nPermission refused\ndone\n"
    assert telling(said) == "ERROR: a\nline 3: b\nPermission refused"
    assert telling("one\n\n two \none\n") == "one\ntwo", "where nothing tells, all of it, each once"
    assert telling(" \n") == ""
    assert telling("".join(f"error {number}\n" for number in range(20))).splitlines() == [
        f"error {number}" for number in range(8, 20)
    ], "the last dozen"
