"""Files that an option of the command line asks for. A pipeline writes them into a work tree, and whoever pushed the branch chose what lies there
already: a link of theirs would have the job write wherever it may."""

import os
from pathlib import Path

from reconciler import errors
from reconciler.reasons import Reason


def write(file: Path, content: str | bytes) -> None:
    """Write `file`, and make the folders above it. In a work tree a link in its place is replaced, and a new file takes the place of the old
    one; elsewhere the path is the caller's own word, a device or a pipe too.

    Raises errors.Terminal (FileUnsafe: a folder above it is a link; FileUnwritable), errors.Transient (DiskFull, FileWriteFailed).
    """
    from reconciler.system import files

    require_unlinked(file.parent)
    data = content.encode(errors="replace") if isinstance(content, str) else content
    inside = _top(file) is not None
    if inside:
        file = _whole(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not inside:
            file.write_bytes(data)
            return
        if file.is_symlink():
            file.unlink()
    except OSError as error:
        raise errors.Terminal(f"cannot write {file}: {error.strerror}", reason=Reason.FileUnwritable) from None
    files.write_atomic(file, data, mode=0o644)


def require_unlinked(folder: Path) -> None:
    """Raises errors.Terminal (FileUnsafe): `folder`, or one above it in the same work tree, is a link."""
    from reconciler.system import files

    top = _top(folder)
    if top is not None and not files.leads_to(top, _whole(folder)):
        raise errors.Terminal(
            f"nothing is written below {folder}: it is, or lies below, a link in {top} (remove the link, or name another folder)",
            reason=Reason.FileUnsafe,
        )


def _top(path: Path) -> Path | None:
    """The outermost folder above `path`, or itself, whose content somebody else may have chosen: a work tree of Git, or the folder that the
    program was started in. None: there is none."""
    whole, here = _whole(path), Path.cwd()
    for folder in reversed((whole, *whole.parents)):
        if folder != Path("/") and (folder == here or os.path.lexists(folder / ".git")):
            return folder
    return None


def _whole(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links that are looked for
