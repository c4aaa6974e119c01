"""Files below a root: whole or not at all, final owner and mode before content, never through a link."""

import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.system import files

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners: needs root")


def test_creates_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "keystone").mkdir()
    files.write_under(tmp_path, "keystone/keystone.conf", b"one", mode=0o660)
    before = (tmp_path / "keystone/keystone.conf").stat()
    assert stat.S_IMODE(before.st_mode) == 0o660
    files.write_under(tmp_path, "keystone/keystone.conf", b"two" * 100_000, mode=0o600)
    data, found = files.read_nofollow(tmp_path, "keystone/keystone.conf")
    assert data == b"two" * 100_000
    assert stat.S_IMODE(found.st_mode) == 0o600 and found.st_ino != before.st_ino
    assert os.listdir(tmp_path / "keystone") == ["keystone.conf"]


def test_the_umask_does_not_count(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        files.make_dirs(tmp_path, "a/b", 0o770)
        files.write_under(tmp_path, "a/b/c", b"x", mode=0o664)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o770, 0o770, 0o664]


@as_root
def test_owner_and_group(tmp_path: Path) -> None:
    files.make_dirs(tmp_path, "a/b", 0o750, 42401, 42402)
    files.write_under(tmp_path, "a/b/c", b"x", mode=0o660, uid=42403, gid=42404)
    found = [(tmp_path / name).stat() for name in ("a", "a/b", "a/b/c")]
    assert [(item.st_uid, item.st_gid) for item in found] == [(42401, 42402), (42401, 42402), (42403, 42404)]
    assert stat.S_IMODE(found[2].st_mode) == 0o660


@as_root
def test_owner_and_mode_are_final_before_there_is_content(tmp_path: Path) -> None:
    """What the file looks like at the moment of its first write, told by the process that writes."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom reconciler.system import files\nreal = os.write\n"
        "def write(handle, data):\n    s = os.fstat(handle)\n"
        "    print(oct(s.st_mode & 0o7777), s.st_uid, s.st_gid, s.st_size, flush=True)\n    return real(handle, data)\n"
        "os.write = write\nfiles.write_atomic(Path(sys.argv[1]), b'secret', mode=0o640, uid=42401, gid=42402)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, check=True)
    assert done.stdout == "0o640 42401 42402 0\n"


def test_make_dirs_leaves_what_is_above_alone_and_corrects_the_last(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o711)
    (tmp_path / "a/b").mkdir(mode=0o777)
    files.make_dirs(tmp_path, "a/b", 0o750)
    files.make_dirs(tmp_path, "a/b", 0o750)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o711
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o750


def _symlink(path: Path) -> None:
    path.symlink_to(path.parent / "victim")


def _dangling(path: Path) -> None:
    path.symlink_to("/nonexistent/file")


def _hard_link(path: Path) -> None:
    os.link(path.parent / "victim", path)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [_symlink, _dangling, _hard_link, _fifo, _socket, Path.mkdir])
def test_odd_targets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "victim").write_text("precious")
    make(tmp_path / "target")
    for call in (
        lambda: files.write_atomic(tmp_path / "target", b"x", mode=0o600),
        lambda: files.read_nofollow(tmp_path, "target"),
    ):
        with pytest.raises(errors.Terminal, match="target") as caught:
            call()
        assert caught.value.reason == "FileUnsafe"
    assert (tmp_path / "victim").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["target", "victim"]


def test_links_above_are_not_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "b").mkdir(parents=True)
    (outside / "b/f").write_text("precious")
    root.mkdir()
    (root / "a").symlink_to(outside)
    (root / "plain").write_text("x")
    calls: list[Callable[[str], object]] = [
        lambda top: files.write_under(root, f"{top}/b/f", b"x", mode=0o600),
        lambda top: files.read_nofollow(root, f"{top}/b/f"),
        lambda top: files.make_dirs(root, f"{top}/b/c", 0o700),
        lambda top: files.make_dirs(root, top, 0o700),
        lambda top: files.remove(root, f"{top}/b/f"),
        lambda top: files.remove_dir(root, f"{top}/b"),
        lambda top: files.sweep(root, f"{top}/b"),
    ]
    for call in calls:
        for top in ("a", "plain"):
            with pytest.raises(errors.Terminal) as caught:
                call(top)
            assert caught.value.reason == "FileUnsafe"
    assert os.listdir(outside) == ["b"] and os.listdir(outside / "b") == ["f"]
    assert (outside / "b/f").read_text() == "precious"


@pytest.mark.parametrize("relative", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", "a/"])
def test_only_paths_below_the_root(tmp_path: Path, relative: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        files.write_under(tmp_path, relative, b"x", mode=0o600)
    assert caught.value.reason == "FileUnsafe"


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    files.write_under(tmp_path / "root", "f", b"x", mode=0o600)
    assert (tmp_path / "real/f").read_bytes() == b"x"


def test_absence_is_an_answer_only_where_it_is_asked_for(tmp_path: Path) -> None:
    for relative in ("f", "a/f"):
        with pytest.raises(FileNotFoundError):
            files.read_nofollow(tmp_path, relative)
        assert files.remove(tmp_path, relative) is False
        assert files.remove_dir(tmp_path, relative) is False
    assert files.sweep(tmp_path, "a") == 0
    with pytest.raises(errors.Transient, match="No such file") as caught:
        files.write_under(tmp_path, "a/f", b"x", mode=0o600)
    assert caught.value.reason == "FileWriteFailed"


def test_remove(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link").symlink_to("victim")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/f").touch()
    assert files.remove(tmp_path, "link") is True
    assert (tmp_path / "victim").read_text() == "precious"
    with pytest.raises(errors.Terminal, match="is a directory"):
        files.remove(tmp_path, "full")
    with pytest.raises(errors.Transient, match="not empty"):
        files.remove_dir(tmp_path, "full")
    assert files.remove(tmp_path, "full/f") and files.remove_dir(tmp_path, "full")
    assert os.listdir(tmp_path) == ["victim"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        files.write_under(disk, "f", b"old", mode=0o600)
        with pytest.raises(errors.Transient, match="no space left") as caught:
            files.write_under(disk, "f", b"x" * 200_000, mode=0o600)
        assert caught.value.reason == "DiskFull"
        assert os.listdir(disk) == ["f"] and (disk / "f").read_bytes() == b"old"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_kill_at_any_moment_leaves_one_of_the_two(tmp_path: Path) -> None:
    old, new = b"a" * 300_000, b"b" * 300_000
    code = (
        "import sys\nfrom pathlib import Path\nfrom reconciler.system import files\npath = Path(sys.argv[1])\nprint('go', flush=True)\n"
        "while True:\n    for char in b'ab':\n        files.write_atomic(path, bytes([char]) * 300_000, mode=0o600)\n"
    )
    path = tmp_path / "f"
    path.write_bytes(old)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None and child.stdout.readline() == b"go\n"
            time.sleep(secrets.randbelow(40) / 1000)
            child.send_signal(signal.SIGKILL)
        assert path.read_bytes() in (old, new)
    left = [name for name in os.listdir(tmp_path) if files.is_leftover(name)]
    assert files.sweep(tmp_path) == len(left)
    assert os.listdir(tmp_path) == ["f"]


def test_a_directory_swapped_for_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (root / "a").mkdir(parents=True)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(root / "a", root / "kept")
            os.symlink(outside, root / "a")
            time.sleep(0.0002)
            os.unlink(root / "a")
            os.rename(root / "kept", root / "a")
            time.sleep(0.0002)

    thread = threading.Thread(target=swap)
    thread.start()
    refused = written = 0
    deadline = time.monotonic() + 20
    try:
        while (refused < 30 or written < 30) and time.monotonic() < deadline:
            try:
                files.write_under(root, "a/f", b"x", mode=0o600)
                written += 1
            except errors.ReconcilerError:
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert os.listdir(outside) == []
    assert refused >= 30 and written >= 30
