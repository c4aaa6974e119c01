"""Whose containers and files are ours: the key, its copies, and the list of what was written."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.model import Action, Actual, Applied, Desired, File, FileState, Memory, Plan, Verb
from reconciler.node import manifest
from reconciler.state import StateDirectory
from reconciler.system import files

THEN = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.create()
    return made


def test_a_key_is_drawn_once(state: StateDirectory, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: StateDirectory(state.path).identify().key, range(16)))
    assert len(keys) == 1 and len(keys.pop()) == 32
    other = StateDirectory(tmp_path / "other")
    other.create()
    assert other.identify().key != state.identify().key
    assert (state.path / "owner.json").stat().st_mode & 0o777 == 0o600


def test_a_copy_beside_the_original_is_refused_and_a_moved_one_is_not(state: StateDirectory, tmp_path: Path) -> None:
    key = state.identify().key
    copy = tmp_path / "copy"
    shutil.copytree(state.path, copy)
    with pytest.raises(errors.Terminal) as caught:
        StateDirectory(copy).identify()
    assert caught.value.reason == "StateCopied" and str(state.path) in str(caught.value)
    assert state.identify().key == key
    shutil.rmtree(state.path)
    moved = StateDirectory(copy)
    assert moved.identify().key == key and moved.identify().path == str(copy)
    shutil.copytree(copy, state.path)
    with pytest.raises(errors.Terminal):
        state.identify()


def test_a_link_to_the_state_is_the_state(state: StateDirectory, tmp_path: Path) -> None:
    key = state.identify().key
    (tmp_path / "link").symlink_to(state.path)
    assert StateDirectory(tmp_path / "link").identify().key == key


def test_an_older_memory_brings_its_own_label_and_no_other(state: StateDirectory) -> None:
    state.applied("web", Applied("id", None, ""))
    assert state.identify().also == (), "no site is known"
    (state.path / "owner.json").unlink()
    state.converged(Desired("north", "ctl1", "r1", "/etc/kolla"))
    assert state.identify().also == ("north/ctl1",)
    state.converged(Desired("south", "ctl1", "r2", "/etc/kolla"))
    assert state.identify().also == ("north/ctl1",), "what a commit says later changes nothing"


def test_a_claim_stays(state: StateDirectory) -> None:
    key = state.identify().key
    assert (
        state.claim("cafe").also == ("cafe",) == state.claim("cafe").also == StateDirectory(state.path).identify().also
    )
    assert state.claim(key).also == ("cafe",)


def test_what_cannot_be_read_is_an_error(state: StateDirectory) -> None:
    for name in ("owner.json", "written.json"):
        (state.path / name).write_text("{")
        with pytest.raises(errors.Terminal) as caught:
            state.identify() if name == "owner.json" else state.written("/etc/kolla")
        assert caught.value.reason == "StateCorrupt"
        (state.path / name).unlink()


def test_each_root_has_its_own_list(state: StateDirectory) -> None:
    assert state.written("/a") is None
    state.note_written("/a", {"x": ["1", "2", "1"]})
    state.note_written("/b", {"x": ["3"]})
    assert (
        state.written("/a") == {"x": ("1", "2")} and state.written("/b") == {"x": ("3",)} and state.written("/c") == {}
    )
    state.note_written("/a", {"x": [str(number) for number in range(20)]})
    assert state.written("/a") == {"x": tuple(str(number) for number in range(12, 20))}


# --- the list itself -----------------------------------------------------------------------------------------------


def there(**contents: bytes) -> Actual:
    found = {name: FileState(content, 0o600, 0, 0, THEN) for name, content in contents.items()}
    return Actual({}, {}, found)


def plan(*targets: str, verb: Verb = Verb.WRITE) -> Plan:
    return Plan("h", "r", tuple(Action(verb, target, "") for target in targets))


def test_many_attempts_do_not_make_the_one_on_the_disk_a_strangers() -> None:
    """None of them ever came to write: what is there is still known."""
    ours: manifest.Manifest = {"a": (files.digest(b"old"),)}
    for number in range(30):
        ours = manifest.before_writing(ours, plan("a"), {"a": b"%d" % number}, there(a=b"old"))
        ours = {path: digests[-8:] for path, digests in ours.items()}
    assert files.digest(b"old") in ours["a"] and files.digest(b"29") in ours["a"]


def test_a_strangers_file_does_not_become_ours_by_being_overwritten() -> None:
    ours = manifest.before_writing({}, plan("a"), {"a": b"new"}, there(a=b"theirs"))
    assert ours == {"a": (files.digest(b"new"),)}


def test_after_convergence_what_is_as_it_should_be_is_ours() -> None:
    noted = {"b": ("1",), "c": ("2",), "gone": ("3",), "f/unread": ("4",), "unread": ("5",)}
    actual = replace(there(b=b"1", c=b"2"), unknown={"file:f/": "EIO", "file:unread": "EIO"})
    ours = manifest.after_converging(noted, plan("b", verb=Verb.DELETE), {"a": b"x"}, actual)
    assert ours == {"a": (files.digest(b"x"),), "c": ("2",), "f/unread": ("4",), "unread": ("5",)}


def test_what_an_older_version_wrote() -> None:
    memory = Memory(last_good=Desired("s", "h", "r", "/etc/kolla", files=(File("a", ""), File("gone", ""))))
    actual = there(a=b"x", stranger=b"y")
    assert manifest.known(None, "/etc/kolla", actual, memory) == {"a": (files.digest(b"x"),)}
    assert manifest.known(None, "/srv/kolla", actual, memory) == {}, "another root's"
    assert manifest.known({}, "/etc/kolla", actual, memory) == {}, "noted, and nothing was"


# --- removing ------------------------------------------------------------------------------------------------------


def test_only_the_content_that_is_meant_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"theirs")
    with pytest.raises(errors.Terminal) as caught:
        files.remove(tmp_path, "a", only=(files.digest(b"ours"),))
    assert caught.value.reason == "NotOwned" and (tmp_path / "a").read_bytes() == b"theirs"
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(errors.Terminal) as unsafe:
        files.remove(tmp_path, "link", only=(files.digest(b"theirs"),))
    assert unsafe.value.reason == "FileUnsafe" and (tmp_path / "link").is_symlink()
    assert files.remove(tmp_path, "a", only=(files.digest(b"theirs"),)) and not (tmp_path / "a").exists()
    assert not files.remove(tmp_path, "a", only=())


def test_only_leftovers_of_ours_are_swept(tmp_path: Path) -> None:
    names = [
        "x.reconciler-new",
        ".x.reconciler-new",
        ".0123456789abcdef.reconciler-new.bak",
        ".0123456789ABCDEF.reconciler-new",
    ]
    for name in [*names, ".0123456789abcdef.reconciler-new"]:
        (tmp_path / name).touch()
    assert files.sweep(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o6600])
def test_nothing_is_written_that_runs_as_somebody_else(tmp_path: Path, mode: int) -> None:
    with pytest.raises(errors.Terminal) as caught:
        files.write_under(tmp_path, "a", b"x", mode=mode)
    assert caught.value.reason == "FileUnsafe" and not list(tmp_path.iterdir())
