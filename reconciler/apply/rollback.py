"""The previous files of a container, kept on the disk until its new configuration has proved itself.

One directory per container under the state directory: `manifest.json`, written last, and the contents by number. They
survive a kill -9 between writing the files and the health gate: the next apply finds the older, good ones and does not
overwrite them.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.system import files


class Rollback:
    """Keeps and brings back files below `config_root`. Safe to use from several threads.

    `written` maps a path to the digests of what this program wrote there: when a file was absent before, that goes again and
    nothing else.
    """

    def __init__(self, directory: Path, config_root: Path, written: Mapping[str, Collection[str]]) -> None:
        self._directory = directory
        self._root = config_root
        self._written = written
        self._lock = Lock()  # the files of one container may be written at the same time

    def keep(self, container: str, paths: Iterable[str]) -> None:
        """Remember these files as they are now, absent ones included; those remembered already stay as they were."""
        with self._lock:
            self._keep(container, paths)

    def _keep(self, container: str, paths: Iterable[str]) -> None:
        place = self._place(container)
        manifest = self._manifest(container)
        if manifest is None:
            shutil.rmtree(place, ignore_errors=True)
            files.make_dirs(self._directory.parent, f"{self._directory.name}/{place.name}", 0o700)
            manifest = {}
        missing = sorted(set(paths) - manifest.keys())
        if not missing:
            return
        for path in missing:
            # A link in the place of a file is as good as any other content: what worked before worked with it.
            if (target := files.read_link(self._root, path)) is not None:
                manifest[path] = {"link": target}
                continue
            try:
                content, status = files.read_nofollow(self._root, path)
            except FileNotFoundError:
                manifest[path] = None
                continue
            copy = str(len(manifest))
            files.write_atomic(place / copy, content, mode=0o600)
            manifest[path] = {
                "copy": copy,
                "mode": status.st_mode & files.MODES,
                "uid": status.st_uid,
                "gid": status.st_gid,
            }
        files.write_atomic(place / "manifest.json", json.dumps(manifest).encode(), mode=0o600)

    def restore(self, container: str) -> bool:
        """Bring the remembered files back; they stay remembered until `forget`, so that a kill in between does no harm.

        False when nothing was remembered.
        """
        manifest = self._manifest(container)
        if manifest is None:
            return False
        place = self._place(container)
        for path, kept in manifest.items():
            if kept is None:
                with suppress(errors.Terminal):  # somebody put another one there meanwhile: it stays
                    files.remove(self._root, path, only=self._written.get(path, ()))
                continue
            if "link" in kept:
                files.write_link(self._root, path, kept["link"])
                continue
            content, _ = files.read_nofollow(place, kept["copy"])
            files.write_under(self._root, path, content, mode=kept["mode"], uid=kept["uid"], gid=kept["gid"])
        return True

    def kept(self) -> frozenset[str]:
        """Containers whose previous files are kept: their present ones have not proved themselves.

        Raises errors.Transient (FileReadFailed): who cannot tell must not take them for proved.
        """
        return frozenset(name for name in self._places() if "manifest.json" in files.names(self._directory, name))

    def tidy(self, containers: Collection[str]) -> None:
        """Forget what a kill left unfinished, and everything of containers that are not among `containers`."""
        wanted = self.kept() & frozenset(containers)
        for name in sorted(self._places() - wanted):
            self.forget(name)

    def forget(self, container: str) -> None:
        """The new files have proved themselves. Raises errors.Transient (FileWriteFailed) while that cannot be noted."""
        files.remove(self._directory, f"{container}/manifest.json")
        shutil.rmtree(self._place(container), ignore_errors=True)

    def _manifest(self, container: str) -> dict[str, Any] | None:
        """Raises errors.Transient (FileReadFailed), errors.Terminal (StateCorrupt)."""
        path = f"{container}/manifest.json"
        try:
            content, _ = files.read_nofollow(self._directory, path)
        except FileNotFoundError:
            return None
        try:
            manifest: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise errors.Terminal(
                f"{self._directory / path} is not readable as JSON ({error}); the files of {container} are left as they are. Look "
                f"whether they are right, then remove {self._place(container)}",
                reason=Reason.StateCorrupt,
            ) from None
        return manifest

    def _places(self) -> frozenset[str]:
        return files.names(self._directory.parent, self._directory.name)

    def _place(self, container: str) -> Path:
        return self._directory / container
