"""What a process that stays asks of its clone: what a commit is, and how two of them hang together.

libgit2 reads what strangers wrote, and takes ten mebibytes. So a sealed child loads it (`clone_child`), answers and ends.
The bytes that it gives for a commit are checked against the commit's id, and parsed, here.

Reasons raised, as errors.Terminal: RevisionUnknown, GitObjectCorrupt, RepositoryUnusable, ChildFailed, and those of `commits`.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path

from reconciler import errors
from reconciler.git import commits, content
from reconciler.reasons import Reason
from reconciler.system import run, walls

_LIMITS = run.Limits(seconds=600.0, cpu_seconds=30, memory=256 << 20)
_KEPT = 4
# What was read of late, by clone and id: a commit that is judged is asked for three times, and never changes.
_read: dict[tuple[Path, str], commits.RawCommit] = {}


@dataclass(frozen=True, slots=True)
class Look:
    """What the child answers: the commits' bytes (base64) in the order asked for; whether the last descends from the first."""

    commits: tuple[str, ...]
    descends: bool


def read(repository: Path, commit: str) -> commits.RawCommit:
    """A commit (40 hex digits) of a clone."""
    if (repository, commit) not in _read:
        _look(repository, [commit])
    return _read[repository, commit]


def info(repository: Path, commit: str) -> commits.CommitInfo:
    """Author, committer's time and message of a commit."""
    return commits.info(read(repository, commit))


def is_ancestor(repository: Path, ancestor: str, descendant: str) -> bool:
    """Whether `ancestor` is reachable from `descendant` (a commit is its own ancestor)."""
    return _look(repository, [ancestor, descendant])


def _look(repository: Path, asked: list[str]) -> bool:
    source = content.Source(repository, asked[-1]).to_json()
    answer: Look = run.python(
        "reconciler.git.clone_child:look",
        {**source, "asked": asked},
        limits=_LIMITS,
        answers=Look,
        wall=walls.Wall(read=content.places(source)),
    )
    for oid, encoded in zip(asked, answer.commits, strict=False):
        _keep(repository, oid, encoded)
    if len(answer.commits) != len(asked):
        raise errors.Terminal("the child process answers for other commits", reason=Reason.ChildFailed)
    return answer.descends


def _keep(repository: Path, oid: str, encoded: str) -> None:
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if hashlib.sha1(b"commit %d\0" % len(data) + data, usedforsecurity=False).hexdigest() != oid:
        raise errors.Terminal(f"the child process answers something else for commit {oid}", reason=Reason.ChildFailed)
    while len(_read) >= _KEPT:
        _read.pop(next(iter(_read)), None)
    _read[repository, oid] = commits.parse(oid, data)
