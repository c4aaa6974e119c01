"""Whether it can be told what a forge makes of a branch, file by file, in whichever way it merges.

A merge commit and a squash bring what the branch changed as a whole; a rebase makes its commits one after the other, leaves its merges out, and
leaves out a commit that the target has an equal of. In each of them git finds files that one side has moved, and carries there what the other
side has changed of them. What git makes of the lines of a file is not guessed here, nor which files it holds for moved.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pygit2

from reconciler.git import history, objects
from reconciler.git.changes import NOTHING, Changes, Trees
from reconciler.git.commits import RawCommit

_ANY = "?"  # in a file's place: nobody can tell


@dataclass(frozen=True, slots=True)
class Unclear:
    """Paths, from the top of the repository. `moved`: because the target has gone on, in a way that nobody saw who saw the branch.
    `alone`: because of the branch itself, which has merges in it."""

    moved: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()


def unclear(repository: Path, base: str, head: str, target: str, path: str) -> Unclear:
    """Of what nobody can tell what merging `head` into `target` makes of it, as far as the folder `path` goes; `base` is their one last
    commit in common (`history.merge_bases`, which has bounded their histories). A file of the folder that both have changed by itself
    and in one go is left to who compares content.

    Raises errors.Terminal (LimitExceeded, GitObjectCorrupt, CommitMalformed, RepositoryUnusable).
    """
    with objects.opened(repository) as repo:
        commits = {oid: objects.read_commit(repo, oid) for oid in history.beyond(repo, head, target)}
        merges = any(len(commit.parents) > 1 for commit in commits.values())
        if base == target and not merges:
            return Unclear()  # what it becomes is the branch as it is
        look = _Look(repo, commits, base, head, target, path)
        alone = look.onto(look.base, ()) if merges else set()
        if base == target:
            return Unclear(alone=tuple(sorted(alone)))
        moved = look.onto(look.target, look.twins())
        # Who saw the branch saw that nobody can tell, unless the target has changed there since.
        known = {name for name in alone if look.trees.at(look.base, name) == look.trees.at(look.target, name)}
        return Unclear(tuple(sorted(moved - known)), tuple(sorted(alone)))


@dataclass(frozen=True, slots=True)
class _Step:
    """A commit that a rebase makes anew: the tree that it was made on, and what it changes of it."""

    before: str
    changes: Changes

    @property
    def added(self) -> list[str]:
        return [name for name, (old, _) in self.changes.files.items() if old is None]


class _Look:
    """A branch, as it is looked at once."""

    def __init__(
        self, repo: pygit2.Repository, commits: Mapping[str, RawCommit], base: str, head: str, target: str, path: str
    ) -> None:
        self.repo, self.trees, self.ends = repo, Trees(repo), (head, target)
        self.site = "/".join(part for part in path.split("/") if part not in ("", "."))
        self.base, ours, self.target = (objects.read_commit(repo, commit).tree for commit in (base, head, target))
        self.whole = _Step(self.base, self.trees.changes(self.base, ours))
        self.steps = [self._step(commit) for commit in commits.values() if len(commit.parents) < 2]
        self.merges = len(self.steps) < len(commits)
        times = Counter(name for step in self.steps for name in step.changes.files)
        # Of lines beside each other git makes one, in an order that their commits' times say.
        self.loose = set() if _one_line(commits, head) else {name for name, number in times.items() if number > 1}
        self.alike = {
            name
            for step in self.steps
            for name, change in step.changes.files.items()
            if times[name] == 1 and self.whole.changes.files.get(name) == change
        }

    def onto(self, tree: str, twins: Container[frozenset[str]]) -> set[str]:
        """Of what nobody can tell what comes of it on `tree`."""
        merged = _Onto(self.trees, tree, self.site)
        merged.take(self.whole, self.whole.changes.files)
        if len(self.steps) == 1 and not self.merges:
            return merged.unclear  # which is that very commit
        rebased = _Onto(self.trees, tree, self.site)
        for step in self.steps:
            rebased.take(step, self.alike, self.loose, maybe=frozenset(step.changes.files) in twins)
        differ = {
            name
            for name in merged.made.keys() | rebased.made.keys()
            if merged.inside(name) and merged.at(name) != rebased.at(name)
        }
        return merged.unclear | rebased.unclear | differ

    def twins(self) -> set[frozenset[str]]:
        """Names of files that a commit of the branch and one of the target both change: they may be equal."""
        if len(self.steps) < 2:
            return set()  # without its only commit the target stays as it is
        own = {frozenset(step.changes.files) for step in self.steps}
        names = frozenset[str]().union(*own)
        ways = names | {folder for name in names for folder in _folders(name)}
        head, target = self.ends
        others = (objects.read_commit(self.repo, oid) for oid in history.beyond(self.repo, target, head))
        found = {frozenset(self._step(one, ways).changes.files) for one in others if len(one.parents) < 2}
        return found & own

    def _step(self, commit: RawCommit, only: Container[str] | None = None) -> _Step:
        before = objects.read_commit(self.repo, commit.parents[0]).tree if commit.parents else NOTHING
        return _Step(before, self.trees.changes(before, commit.tree, only=only))


class _Onto:
    """A tree, and what changes make of it that are taken over one after the other."""

    def __init__(self, trees: Trees, tree: str, site: str) -> None:
        self.trees, self.tree, self.site = trees, tree, site
        self.made: dict[str, str | None] = {}
        self.unclear: set[str] = set()

    def inside(self, name: str) -> bool:
        return not self.site or name.startswith(f"{self.site}/")

    def at(self, name: str) -> str | None:
        """What a file is by now."""
        return self.made[name] if name in self.made else self.trees.at(self.tree, name)

    def take(self, step: _Step, alike: Container[str], loose: Container[str] = (), *, maybe: bool = False) -> None:
        """Take over one step. `alike`: the files which it changes as the whole branch does; `loose`: those of which nobody knows what other
        steps come before. `maybe`: git may leave it out."""
        arrives = any(self.inside(name) for name in step.added)
        brought = cache(lambda folder: next(self._arrived(step.before, folder), None) is not None)
        self._folders(step, arrives, brought)
        made: dict[str, str | None] = {}
        for name, (old, new) in step.changes.files.items():
            now = self.at(name)
            if now == new and name not in loose:
                continue
            if now == old and name not in loose and not maybe:
                made[name] = new
                continue
            made[name] = _ANY
            # Where one side has the file no more, git looks for it among those that this side has and both had not.
            carried = (new is None and arrives) or (now in (None, _ANY) and brought(self.site))
            if carried or (self.inside(name) and (maybe or name not in alike)):
                self.unclear.add(name)
        self.made.update(made)

    def _folders(self, step: _Step, arrives: bool, brought: Callable[[str], bool]) -> None:
        """A folder that one side has no more may have been moved: then what the other side adds to it goes with it."""
        for folder in step.changes.gone if step.added else ():
            self.unclear |= {name for name in self._arrived(step.before, folder) if arrives or self.inside(name)}
        by_folder: dict[str, list[str]] = {}
        for name in step.added:
            by_folder.setdefault(name.rpartition("/")[0], []).append(name)
        for folder, names in by_folder.items():
            had = next((one for one in (folder, *_folders(folder)) if self.trees.has_folder(step.before, one)), "")
            if had and not self._any(had) and brought(""):
                self.unclear |= {name for name in names if brought(self.site) or self.inside(name)}

    def _any(self, folder: str) -> bool:
        """Whether there are files in a folder by now."""
        if any(self.made.get(name, name) not in (None, _ANY) for name in self.trees.files(self.tree, folder)):
            return True
        return any(name.startswith(f"{folder}/") and now not in (None, _ANY) for name, now in self.made.items())

    def _arrived(self, before: str, folder: str) -> Iterator[str]:
        """The files of a folder that are there by now, and not in the tree `before`."""
        for name, (old, now) in self.trees.changes(before, self.tree, below=folder).files.items():
            if old is None and self.made.get(name, now) is not None:
                yield name
        for name, now in self.made.items():
            lies = now is not None and (not folder or name.startswith(f"{folder}/"))
            if lies and self.trees.at(before, name) is None and self.trees.at(self.tree, name) is None:
                yield name


def _one_line(commits: Mapping[str, RawCommit], head: str) -> bool:
    """Whether each of the commits has one of them after it, but for the head."""
    found, now = 0, [head] if head in commits else []
    while len(now) == 1:
        found, now = found + 1, [one for one in commits[now[0]].parents if one in commits]
    return not now and found == len(commits)


def _folders(name: str) -> Iterator[str]:
    """The folders that a path lies in, the nearest one first."""
    while name := name.rpartition("/")[0]:
        yield name
