"""The previous files come back exactly, whatever happened in between."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.apply import Rollback
from reconciler.reasons import Reason
from reconciler.system import files


@pytest.fixture
def place(tmp_path: Path) -> tuple[Rollback, Path]:
    root = tmp_path / "kolla"
    files.make_dirs(tmp_path, "kolla/web", 0o770)
    files.write_under(root, "web/a.conf", b"old a", mode=0o640)
    (tmp_path / "state").mkdir()
    written = {"web/new.conf": (files.digest(b"new"),)}
    return Rollback(tmp_path / "state" / "rollback", root, written), root


def test_content_mode_and_absence_come_back(place: tuple[Rollback, Path]) -> None:
    rollback, root = place
    rollback.keep("web", ["web/a.conf", "web/new.conf"])
    files.write_under(root, "web/a.conf", b"new a", mode=0o600)
    files.write_under(root, "web/new.conf", b"new", mode=0o600)
    assert rollback.restore("web")
    assert (root / "web/a.conf").read_bytes() == b"old a"
    assert (root / "web/a.conf").stat().st_mode & 0o7777 == 0o640
    assert not (root / "web/new.conf").exists()
    assert rollback.kept() == {"web"} and rollback.restore("web"), "killed in the middle, it is done again"
    rollback.forget("web")
    assert not rollback.kept() and not rollback.restore("web")


def test_a_link_in_the_place_of_a_file_comes_back_as_a_link(place: tuple[Rollback, Path], tmp_path: Path) -> None:
    """Somebody linked the file away, and the container worked with that: a write over it has to be undone as well."""
    rollback, root = place
    (root / "web/linked.conf").symlink_to(tmp_path / "elsewhere")
    (root / "web/hanging.conf").symlink_to("../nowhere")
    rollback.keep("web", ["web/linked.conf", "web/hanging.conf"])
    for name in ("linked", "hanging"):
        files.remove(root, f"web/{name}.conf")
        files.write_under(root, f"web/{name}.conf", b"new", mode=0o600)
    for _ in range(2):  # killed in the middle, it is done again
        assert rollback.restore("web")
        assert (root / "web/linked.conf").readlink() == tmp_path / "elsewhere"
        assert (root / "web/hanging.conf").readlink() == Path("../nowhere")
    assert not [path for path in (root / "web").iterdir() if files.is_leftover(path.name)]
    (root / "web/folder.conf").mkdir()
    with pytest.raises(errors.Terminal):
        rollback.keep("web", ["web/folder.conf"])


def test_the_older_good_files_win_over_a_second_attempt(place: tuple[Rollback, Path]) -> None:
    """Killed after writing; a later apply writes again, and more, before anything proved itself."""
    rollback, root = place
    rollback.keep("web", ["web/a.conf"])
    files.write_under(root, "web/a.conf", b"bad 1", mode=0o600)
    files.write_under(root, "web/b.conf", b"old b", mode=0o600)
    rollback.keep("web", ["web/a.conf", "web/b.conf"])
    files.write_under(root, "web/a.conf", b"bad 2", mode=0o600)
    files.write_under(root, "web/b.conf", b"bad b", mode=0o600)
    rollback.restore("web")
    assert [(root / "web" / name).read_bytes() for name in ("a.conf", "b.conf")] == [b"old a", b"old b"]


def test_what_proved_itself_is_not_rolled_back(place: tuple[Rollback, Path]) -> None:
    rollback, root = place
    rollback.keep("web", ["web/a.conf"])
    files.write_under(root, "web/a.conf", b"good", mode=0o600)
    rollback.forget("web")
    assert not rollback.restore("web")
    assert (root / "web/a.conf").read_bytes() == b"good"


def test_an_unfinished_copy_is_not_trusted(place: tuple[Rollback, Path], tmp_path: Path) -> None:
    """Killed before the manifest was written: the copies beside it mean nothing."""
    rollback, _ = place
    files.make_dirs(tmp_path / "state", "rollback/web", 0o700)
    (tmp_path / "state/rollback/web/0").write_bytes(b"half")
    assert not rollback.restore("web")
    rollback.keep("web", ["web/a.conf"])
    assert (tmp_path / "state/rollback/web/0").read_bytes() == b"old a"


def test_a_link_is_never_followed(place: tuple[Rollback, Path], tmp_path: Path) -> None:
    rollback, root = place
    secret = tmp_path / "secret"
    secret.write_text("not ours")
    os.unlink(root / "web/a.conf")
    os.symlink(secret, root / "web/a.conf")
    rollback.keep("web", ["web/a.conf"])
    assert "not ours" not in "".join(path.read_text() for path in (tmp_path / "state/rollback/web").iterdir())
    files.remove(root, "web/a.conf")
    files.write_under(root, "web/a.conf", b"new", mode=0o600)
    assert rollback.restore("web") and secret.read_text() == "not ours"
    assert (root / "web/a.conf").readlink() == secret


def test_files_of_one_container_written_at_the_same_time(place: tuple[Rollback, Path]) -> None:
    rollback, root = place
    names = [f"web/{i}.conf" for i in range(20)]
    for name in names:
        files.write_under(root, name, b"old", mode=0o600)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: rollback.keep("web", [name]), names))
    for name in names:
        files.write_under(root, name, b"new", mode=0o600)
    rollback.restore("web")
    assert {(root / name).read_bytes() for name in names} == {b"old"}


def test_owner_and_group_come_back_too(place: tuple[Rollback, Path]) -> None:
    rollback, root = place
    files.write_under(root, "web/a.conf", b"old a", mode=0o604, uid=42401, gid=42402)
    rollback.keep("web", ["web/a.conf"])
    files.write_under(root, "web/a.conf", b"new a", mode=0o600, uid=0, gid=0)
    rollback.restore("web")
    found = (root / "web/a.conf").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (42401, 42402, 0o604)


def test_what_is_kept_is_for_root_alone(place: tuple[Rollback, Path], tmp_path: Path) -> None:
    """It may hold the secrets of last month."""
    rollback, _ = place
    rollback.keep("web", ["web/a.conf"])
    folder = tmp_path / "state/rollback/web"
    assert folder.stat().st_mode & 0o7777 == 0o700
    assert {path.name: path.stat().st_mode & 0o7777 for path in folder.iterdir()} == {
        "0": 0o600,
        "manifest.json": 0o600,
    }


def test_what_somebody_put_where_there_was_nothing_stays(place: tuple[Rollback, Path]) -> None:
    rollback, root = place
    rollback.keep("web", ["web/a.conf", "web/new.conf", "web/other.conf"])
    files.write_under(root, "web/a.conf", b"new a", mode=0o600)
    (root / "web/new.conf").write_text("by hand")
    (root / "web/other.conf").write_text("by hand")
    assert rollback.restore("web")
    assert (root / "web/a.conf").read_bytes() == b"old a", "and what comes after it comes back all the same"
    assert [(root / "web" / name).read_text() for name in ("new.conf", "other.conf")] == ["by hand"] * 2


def test_more_files_are_kept_beside_those_of_before(place: tuple[Rollback, Path]) -> None:
    """A link and what is absent count, too, in the names of the copies."""
    rollback, root = place
    (root / "web/link.conf").symlink_to("a.conf")
    for name in ("b", "c"):
        files.write_under(root, f"web/{name}.conf", f"old {name}".encode(), mode=0o600)
    rollback.keep("web", ["web/link.conf", "web/new.conf", "web/a.conf"])
    rollback.keep("web", ["web/b.conf"])
    rollback.keep("web", ["web/a.conf", "web/b.conf", "web/c.conf"])
    for name in ("a", "b", "c"):
        files.write_under(root, f"web/{name}.conf", b"bad", mode=0o600)
    rollback.restore("web")
    assert [(root / f"web/{name}.conf").read_text() for name in ("a", "b", "c")] == ["old a", "old b", "old c"]


def test_what_is_not_wanted_any_more_or_unfinished_is_forgotten(place: tuple[Rollback, Path], tmp_path: Path) -> None:
    rollback, _ = place
    assert rollback.kept() == frozenset()
    rollback.tidy(["web"])
    rollback.keep("web", ["web/a.conf"])
    rollback.keep("gone", ["web/a.conf"])
    files.make_dirs(tmp_path / "state", "rollback/half", 0o700)
    (tmp_path / "state/rollback/half/0").write_bytes(b"half")
    assert rollback.kept() == {"web", "gone"}
    rollback.tidy(["web", "half", "other"])
    assert [path.name for path in (tmp_path / "state/rollback").iterdir()] == ["web"] and rollback.kept() == {"web"}


def test_a_note_that_nobody_can_read_says_what_to_do(place: tuple[Rollback, Path], tmp_path: Path) -> None:
    rollback, root = place
    rollback.keep("web", ["web/a.conf"])
    note = tmp_path / "state/rollback/web/manifest.json"
    note.write_text("{")
    for call in (lambda: rollback.restore("web"), lambda: rollback.keep("web", ["web/a.conf"])):
        with pytest.raises(errors.Terminal) as caught:
            call()
        assert caught.value.reason is Reason.StateCorrupt
        said = str(caught.value)
        assert said.startswith(f"{note} is not readable as JSON (Expecting property name")
        assert said.endswith(
            f"; the files of web are left as they are. Look whether they are right, then remove {note.parent}"
        )
    assert (root / "web/a.conf").read_bytes() == b"old a"
