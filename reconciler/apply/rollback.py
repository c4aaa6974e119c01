"""The previous files of a container, kept on the disk until its new configuration has proved itself.

One directory per container under the state directory: `manifest.json`, written last, and the contents by number. They
survive a kill -9 between writing the files and the health gate: the next apply finds the older, good ones and does not
overwrite them.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reconciler import files


class Rollback:
    """Keeps and brings back files below `config_root`. One thread at a time per container."""

    def __init__(self, directory: Path, config_root: Path) -> None:
        self._directory = directory
        self._root = config_root

    def keep(self, container: str, paths: Iterable[str]) -> None:
        """Remember these files as they are now, absent ones included; does nothing when they are remembered already."""
        place = self._place(container)
        if (place / "manifest.json").exists():
            return
        shutil.rmtree(place, ignore_errors=True)
        files.make_dirs(self._directory.parent, f"{self._directory.name}/{place.name}", 0o700)
        manifest: dict[str, Any] = {}
        for number, path in enumerate(sorted(set(paths))):
            try:
                content, status = files.read_nofollow(self._root, path)
            except FileNotFoundError:
                manifest[path] = None
                continue
            files.write_atomic(place / str(number), content, mode=0o600)
            manifest[path] = {
                "copy": str(number),
                "mode": status.st_mode & 0o7777,
                "uid": status.st_uid,
                "gid": status.st_gid,
            }
        files.write_atomic(place / "manifest.json", json.dumps(manifest).encode(), mode=0o600)

    def restore(self, container: str) -> bool:
        """Bring the remembered files back. False when nothing was remembered."""
        place = self._place(container)
        try:
            manifest: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
        except FileNotFoundError:
            return False
        for path, kept in manifest.items():
            if kept is None:
                files.remove(self._root, path)
                continue
            content = (place / kept["copy"]).read_bytes()
            files.write_under(self._root, path, content, mode=kept["mode"], uid=kept["uid"], gid=kept["gid"])
        self.forget(container)
        return True

    def forget(self, container: str) -> None:
        """The new files have proved themselves."""
        place = self._place(container)
        (place / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)

    def _place(self, container: str) -> Path:
        return self._directory / container
