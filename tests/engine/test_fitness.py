"""What a host lacks for another release: its system from os-release, and the room of a real engine."""

from pathlib import Path

import pytest

from reconciler.engine import Engine
from reconciler.model import Container, Desired, Precheck
from reconciler.node import fitness
from tests.images import build

pytestmark = pytest.mark.engine

SYSTEMS = Precheck("host_system", "", (), systems={"Debian": ("bookworm", "trixie"), "Rocky": ("10",)})
ROOM = Precheck("image_room", "", (), room=True)
HUGE = 1 << 50


def desired(images: int) -> Desired:
    containers = (Container("here", build.BUSYBOX), *(Container(f"c{n}", f"rt-nowhere:{n}") for n in range(images)))
    return Desired("lab", "ctl1", "a" * 40, "/etc/kolla", containers)


@pytest.mark.parametrize(
    ("system", "lacks"),
    [
        ('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n', ""),
        ('ID="rocky"\nVERSION_ID="10.1"\n', ""),
        ('ID="rocky"\nVERSION_ID="9.6"\n', "this host has Rocky 9.6 (no code name), and the release is made for Debian bookworm, trixie; Rocky 10"),
        ('ID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n', "this host has Ubuntu 24.04 (noble)"),
        ("NAME=Something\n", "this host has Something  (no code name)"),
    ],
)  # fmt: skip
def test_the_system_of_a_host(engine_url: str, tmp_path: Path, system: str, lacks: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(system)
    engine = Engine(engine_url, owner="", timeout=60)
    said = fitness.lacking(SYSTEMS, desired=desired(0), engine=engine, root=tmp_path, local=True)
    engine.close()
    assert said.startswith(lacks) and bool(said) == bool(lacks)


def test_a_system_that_cannot_be_read_is_not_passed(engine_url: str, tmp_path: Path) -> None:
    engine = Engine(engine_url, owner="", timeout=60)
    said = fitness.lacking(SYSTEMS, desired=desired(0), engine=engine, root=tmp_path, local=True)
    engine.close()
    assert said == f"nobody can tell which system this host has: {tmp_path}/etc/os-release: No such file or directory"


def test_the_room_for_images(engine_url: str, busybox_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(engine_url, owner="", timeout=60)
    try:
        count, size = engine.images_size()
        assert count >= 1 and 0 < size < HUGE

        def lacking(images: int, free: int, *, local: bool = True) -> str:
            monkeypatch.setattr("reconciler.node.fitness.shutil.disk_usage", lambda folder: _Usage(free))
            return fitness.lacking(ROOM, desired=desired(images), engine=engine, root=Path("/"), local=local)

        assert lacking(0, 0) == "", "nothing is to come"
        assert lacking(3, HUGE) == ""
        assert lacking(3, 0, local=False) == "", "its disk is another host's"
        said = lacking(3, 1 << 30)
        assert "1.0 GiB are free below" in said and "3 images are to come" in said and f"({count} images take" in said
        # By hand: three images as large as those that are here are in the mean, packed as well, and a GiB besides.
        assert lacking(3, int(size / count * 4.5) + (1 << 30) + 1024) == ""
        assert lacking(3, int(size / count * 4.5) + (1 << 30) - 1024) != ""
    finally:
        engine.close()


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free
