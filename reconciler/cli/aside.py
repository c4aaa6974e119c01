"""Making a folder whole or not at all."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def aside(target: Path) -> Iterator[Path]:
    """A folder on the same file system as `target`; what was made for it is gone again when anything fails."""
    made = [path for path in (target, *target.parents) if not path.exists()]
    target.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".reconciler-init-", dir=target))
    try:
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()
        raise
    scratch.rmdir()


def settle(scratch: Path, target: Path, written: Sequence[Path] = ()) -> None:
    """Move what is in `scratch` to `target`: all of it or nothing. What was `written` before goes with it when it fails."""
    done = list(written)
    try:
        for entry in sorted(scratch.iterdir()):
            entry.rename(target / entry.name)
            done.append(target / entry.name)
    except BaseException:
        for path in done:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
