"""The files of a source (`content`), whether it is a commit or a folder."""

from pathlib import Path

from reconciler.git import content, worktree


def read(source: content.Given) -> dict[str, bytes]:
    """By path, as `tree.read` and `worktree.read` have it, and raise. A process that can load nothing any more and is to read a commit has
    loaded `tree` before."""
    if not source["commit"]:
        return worktree.read(Path(source["repository"], source["path"]))
    from reconciler.git import tree  # loads libgit2, which takes as long as a fortieth of rendering a host

    return tree.read_store(content.store(Path(source["repository"])), source["commit"], source["path"])
