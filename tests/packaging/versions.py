"""The same package under another version, for upgrades and downgrades."""

import shutil
import subprocess
from pathlib import Path


def newer(package: Path, folder: Path) -> Path:
    """The package under a higher version, as `newer.deb` in `folder`."""
    stage = folder / "stage"
    subprocess.run(["dpkg-deb", "--raw-extract", package, stage], check=True)
    control = stage / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 99:"))
    target = folder / "newer.deb"
    # Not packed: it is installed once.
    words: list[str | Path] = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", stage, target]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(stage)
    return target
