"""Where a site's files are read from: a commit of a repository, or a folder as it is.

Only where: `sources.read` reads. For a child a source is {"repository": path, "commit": 40 hex digits, "path": folder
below its top}; with no commit the folder itself. Paths are absolute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


def places(*sources: Given | None) -> tuple[str, ...]:
    """What a process has to reach for `sources.read`. What is not there is left to that to complain about."""
    found: list[str] = []
    for source in filter(None, sources):
        if not source["commit"]:
            found.append(str(Path(source["repository"], source["path"])))
        else:
            top = Path(source["repository"])
            objects = store(top)
            # Where it is found: two small files of a linked work tree. Not the settings, which in CI hold a token.
            ways = [top / ".git", _own(top) / "commondir"] if (top / ".git").is_file() else []
            found += map(str, (*ways, objects, *_borrowed(objects)))
    return tuple(dict.fromkeys(found))


def repository_places(top: Path) -> list[Path]:
    """The folders that hold a repository's data, its settings included, and where it borrows objects."""
    objects = store(top)
    return (
        [top / ".git", _own(top), objects.parent, *_borrowed(objects)]
        if (top / ".git").exists()
        else [top, *_borrowed(objects)]
    )


def store(top: Path) -> Path:
    """The object store of a bare repository, a checkout, or a work tree linked to one."""
    own = _own(top)
    return (own / (_line(own / "commondir") or ".")).resolve() / "objects"


def _own(top: Path) -> Path:
    """The folder with a repository's own data; what `.git` in a linked work tree names."""
    marker = top / ".git"
    if marker.is_dir():
        return marker
    text = _line(marker)
    return (top / text.removeprefix("gitdir:").strip()).resolve() if text.startswith("gitdir:") else top


def _borrowed(store: Path, depth: int = 0) -> list[Path]:
    """The object stores that one names as alternates. In a child that may not look, there are none."""
    found: list[Path] = []
    try:
        lines = (store / "info/alternates").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        if line and not line.startswith("#") and depth < _DEEPEST:
            other = (store / line).resolve()
            found += [other, *_borrowed(other, depth + 1)]
    return found


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape").strip()
    except OSError:
        return ""
