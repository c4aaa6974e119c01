"""What the node shows: files without following a link, kolla-ansible's units, addresses, and the whole picture."""

import os
from pathlib import Path

import pytest

from reconciler.engine import Engine
from reconciler.model import LEFTOVER_SUFFIX, Container, Desired, File, Job
from reconciler.node import host
from tests.engine.conftest import OWNER_HOST, OWNER_SITE, PREFIX


def desired(root: Path, *paths: str, directories: tuple[str, ...] = ("app",), jobs: tuple[Job, ...] = ()) -> Desired:
    containers = tuple(Container(d, "image", config_directory=d) for d in directories)
    return Desired(
        OWNER_SITE, OWNER_HOST, "0" * 40, str(root), containers, tuple(File(p, "x") for p in paths), jobs
    )  # fmt: skip


def test_files_with_their_owner_and_mode_and_those_nobody_asked_for(tmp_path: Path) -> None:
    (tmp_path / "app/sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for path, mode in (
        ("app/a.conf", 0o600),
        ("app/sub/b.conf", 0o640),
        ("app/extra", 0o644),
        ("other/c", 0o600),
        ("top", 0o600),
        ("mine", 0o600),
    ):
        (tmp_path / path).write_text(path)
        (tmp_path / path).chmod(mode)
    (tmp_path / f"app/.0123456789abcdef{LEFTOVER_SUFFIX}").write_text("unfinished")
    found, unknown = host.observe_files(desired(tmp_path, "app/a.conf", "app/sub/b.conf", "app/gone", "mine"), tmp_path)
    assert not unknown
    assert found.keys() == {"app/a.conf", "app/sub/b.conf", "app/extra", "mine"}
    state = found["app/sub/b.conf"]
    assert (state.content, state.mode, state.owner, state.kind) == (b"app/sub/b.conf", 0o640, os.getuid(), "file")


def test_nothing_is_followed_or_opened_that_is_no_file(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not ours")
    root = tmp_path / "root"
    (root / "app").mkdir(parents=True)
    (root / "app/link").symlink_to(outside / "secret")
    os.mkfifo(root / "app/pipe")
    (root / "app/folder").mkdir()
    (root / "linked").symlink_to(outside)
    wanted = desired(root, "app/link", "app/pipe", "app/folder", "linked/secret", directories=("app", "linked"))
    found, unknown = host.observe_files(wanted, root)
    assert {path: state.kind for path, state in found.items()} == {
        "app/link": "symlink", "app/pipe": "other", "app/folder": "directory",
    }  # fmt: skip
    assert all(state.content is None for state in found.values())
    assert unknown.keys() == {"linked/", "linked/secret"}, "behind a link is unknown, not absent"


def test_a_missing_root_is_empty_and_an_unreadable_one_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.observe_files(desired(tmp_path / "none", "app/a"), tmp_path / "none") == ({}, {})
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    found, unknown = host.observe_files(desired(loop, "app/a"), loop)
    assert not found and "app/a" in unknown


def test_a_file_too_large_to_be_ours_has_no_content(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    with (tmp_path / "app/a").open("wb") as file:
        file.truncate(host.MAX_BYTES + 1)
    assert host.observe_files(desired(tmp_path, "app/a"), tmp_path)[0]["app/a"].content is None


def test_units_that_run_or_would_start(tmp_path: Path) -> None:
    folder, running = tmp_path / "system", tmp_path / "running"
    wants = folder / "multi-user.target.wants"
    wants.mkdir(parents=True)
    running.mkdir()
    for name in ("keystone", "nova_api", "off"):
        (folder / f"kolla-{name}-container.service").touch()
    (wants / "kolla-keystone-container.service").symlink_to(folder / "kolla-keystone-container.service")
    for name in ("docker.service", "kolla-x.service"):
        (wants / name).symlink_to(folder / name)
    for name in ("kolla-nova_api-container.service", "docker.service"):
        (running / f"invocation:{name}").symlink_to("0123456789abcdef0123456789abcdef")
    assert host.observe_units(folder, running) == {"keystone", "nova_api"}
    assert host.observe_units(tmp_path / "none", tmp_path / "none") == frozenset()


def test_addresses() -> None:
    declared = {"local": "127.0.0.1", "also": "127.0.0.51", "other": "192.0.2.1"}
    assert host.missing_addresses(declared) == {"other": "192.0.2.1"}


def test_what_a_job_makes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/0").touch()
    (tmp_path / "data/link").symlink_to("/etc")
    job = Job("j", Container("j", "i"), "1", creates="volume:data/0")
    volumes = {"volume": str(tmp_path)}
    assert host.is_created(job, volumes)
    assert not host.is_created(job, {})
    for path, there in (
        ("data/1", False),
        ("none/0", False),
        ("data/link/passwd", False),
        ("data/link", True),
        ("", True),
    ):
        assert host.is_created(Job("j", Container("j", "i"), "1", creates=f"volume:{path}"), volumes) is there
    with pytest.raises(OSError):
        host.is_created(job, {"volume": str(tmp_path / "unreachable")})
    for path in ("..", "../x", "data/../../x", "/../x"):
        with pytest.raises(OSError, match="upwards"):
            host.is_created(Job("j", Container("j", "i"), "1", creates=f"volume:{path}"), volumes)


@pytest.mark.engine
def test_the_whole_picture(engine: Engine, busybox_image: str, name: str, tmp_path: Path) -> None:
    volume = f"{PREFIX}made"
    engine.create_volume(volume)
    units = tmp_path / "units"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "multi-user.target.wants" / f"kolla-{name}-container.service").touch()
    container = Container(name, busybox_image, command=("sleep", "60"))
    engine.create(container)
    job = Job("bootstrap", Container("bootstrap", "rt/absent:1"), "1", creates=f"{volume}:done")
    wanted = Desired(OWNER_SITE, OWNER_HOST, "0" * 40, str(tmp_path / "kolla"), (container,), jobs=(job,))
    actual = host.observe(engine, wanted, False, units=units)
    assert actual.containers.keys() == {name} and actual.images.keys() == {busybox_image}
    assert volume in actual.volumes and actual.units == {name}
    assert not actual.created and not actual.files and not actual.unknown and not actual.deep
    Path(engine.volumes()[volume], "done").touch()
    assert host.observe(engine, wanted, False, units=units).created == {"bootstrap"}
