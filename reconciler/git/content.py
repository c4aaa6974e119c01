"""Where a site's files are read from: a commit of a repository, or a folder as it is.

For a child a source is {"directory": path}, or {"repository": path, "commit": 40 hex digits, "path": folder below its top};
with no commit the folder itself. Paths are absolute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.git import tree

Given = Mapping[str, str]
WORK_TREE = "work tree"  # stands for the revision of content that is in no commit
_DEEPEST = 5  # alternates of alternates; git's own limit


@dataclass(frozen=True, slots=True)
class Source:
    """Where a site is read from: a folder `path` of a commit in a repository, or with no commit the folder itself."""

    repository: Path
    commit: str = ""
    path: str = ""

    @property
    def label(self) -> str:
        """How to call it."""
        return self.commit[:12] or WORK_TREE

    def to_json(self) -> dict[str, str]:
        """For a child."""
        return {"repository": str(self.repository.absolute()), "commit": self.commit, "path": self.path}


def read(source: Given) -> dict[str, bytes]:
    """The files of a source. Raises as `tree.read` and `tree.read_worktree`."""
    if "directory" in source:
        return tree.read_worktree(Path(source["directory"]))
    if not source["commit"]:
        return tree.read_worktree(Path(source["repository"], source["path"]))
    return tree.read(Path(source["repository"]), source["commit"], source["path"])


def places(*sources: Given | None) -> tuple[str, ...]:
    """What a process has to reach for `read`. What is not there is left to `read` to complain about."""
    found: list[str] = []
    for source in filter(None, sources):
        if "directory" in source:
            found.append(source["directory"])
        elif not source["commit"]:
            found.append(str(Path(source["repository"], source["path"])))
        else:
            found += map(str, repository_places(Path(source["repository"])))
    return tuple(dict.fromkeys(found))


def repository_places(top: Path) -> list[Path]:
    """The folders that hold a repository's data: a bare one, a checkout's, a work tree's, and where it borrows objects."""
    marker = top / ".git"
    if marker.is_dir():
        return [marker, *_borrowed(marker)]
    text = _line(marker)
    if not text.startswith("gitdir:"):
        return [top, *_borrowed(top)]
    own = (top / text.removeprefix("gitdir:").strip()).resolve()
    common = (own / (_line(own / "commondir") or ".")).resolve()
    return [marker, own, common, *_borrowed(common)]


def _borrowed(folder: Path, depth: int = 0) -> list[Path]:
    """The object stores that a repository names as alternates."""
    found: list[Path] = []
    try:
        lines = (folder / "objects/info/alternates").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        if line and not line.startswith("#") and depth < _DEEPEST:
            store = (folder / "objects" / line).resolve()
            found += [store, *_borrowed(store.parent, depth + 1)]
    return found


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape").strip()
    except OSError:
        return ""
