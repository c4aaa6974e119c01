"""What differs between two trees of a whole repository: names and ids. No content is read, and of trees no more than a budget allows.

A repository may be large and its trees hostile. What would take longer ends with errors.Terminal (LimitExceeded).
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

import pygit2

from reconciler import errors
from reconciler.git import objects
from reconciler.reasons import Reason

_MOST_BYTES = 64 << 20  # of tree objects, and of the names that differ
_PER_CHANGE = 100  # bytes that one counts beside its name
_PER_LOOK = 10  # and a folder on the way to what is looked up
_DEEPEST = 100
_TREE = "/"  # begins the value of a folder, and of nothing else

NOTHING = ""  # in a tree's place: there is none


@dataclass(slots=True)
class Changes:
    """`files`: path → (what it was, what it is), None: there was none, or is none. What a file is has its id, and whether it may be
    executed does not count. `gone`: the folders that are no more, but for those in other ones."""

    files: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)


class Trees:
    """The trees of a repository, looked at for one purpose: its budget is that of all calls together. Trees are ids of 40 hex digits, or
    `NOTHING`; paths go from a tree's top, without a slash at either end, and hold surrogates where they are not UTF-8.

    Raises errors.Terminal (LimitExceeded, GitObjectCorrupt).
    """

    def __init__(self, repository: pygit2.Repository) -> None:
        self._repository = repository
        self._left = _MOST_BYTES
        self._known: dict[str, Mapping[str, str]] = {NOTHING: {}}

    def changes(self, before: str, after: str, *, below: str = "", only: Container[str] | None = None) -> Changes:
        """What differs between two trees, in the folder `below`. `only`: the paths to look at, with the folders on the way to them."""
        found = Changes()
        if below:
            before, after = (self._folder(tree, below) for tree in (before, after))
        self._compare(before, after, f"{below}/" if below else "", 0, only, found)
        return found

    def at(self, tree: str, path: str) -> str | None:
        """What a file is, None where there is none."""
        value = self._value(tree, path)
        return None if value is None or value.startswith(_TREE) else value

    def has_folder(self, tree: str, path: str) -> bool:
        return self._folder(tree, path) != NOTHING

    def files(self, tree: str, below: str) -> Iterator[str]:
        """The paths of the files in a folder, one after the other as they are asked for."""
        waiting = [(self._folder(tree, below), below, 0)]
        while waiting:
            folder, path, depth = waiting.pop()
            for name, value in self._rows(folder, depth).items():
                if value.startswith(_TREE):
                    waiting.append((value[1:], f"{path}/{name}", depth + 1))
                else:
                    yield f"{path}/{name}"

    def _compare(
        self, before: str, after: str, prefix: str, depth: int, only: Container[str] | None, found: Changes
    ) -> None:
        rows, others = self._rows(before, depth), self._rows(after, depth)
        for name in sorted(rows.keys() | others.keys()):
            old, new = rows.get(name), others.get(name)
            path = prefix + name
            if old == new or (only is not None and path not in only):
                continue
            self._spend(len(path) + _PER_CHANGE)
            one, other = _tree(old), _tree(new)
            if one or other:
                if one and not other and after != NOTHING:
                    found.gone.append(path)
                self._compare(one, other, f"{path}/", depth + 1, only, found)
            was, now = None if one else old, None if other else new
            if was != now:
                found.files[path] = was, now

    def _folder(self, tree: str, path: str) -> str:
        return _tree(self._value(tree, path))

    def _value(self, tree: str, path: str) -> str | None:
        value: str | None = _TREE + tree
        for depth, name in enumerate(path.split("/")):
            self._spend(_PER_LOOK)
            value = self._rows(_tree(value), depth).get(name)
        return value

    def _rows(self, tree: str, depth: int) -> Mapping[str, str]:
        """Name → value of what a tree has. git knows each name once; what does not is read in more ways than one."""
        if depth > _DEEPEST:
            raise _too_much(f"has folders that are nested more than {_DEEPEST} deep")
        if tree not in self._known:
            data = objects.read_object(self._repository, tree, "tree", limit=objects.MAX_TREE_BYTES)
            self._spend(len(data))
            try:
                entries = objects.parse_tree(data)
            except ValueError as error:
                raise objects.corrupt(self._repository, tree, f"cannot be read: {error}") from None
            self._known[tree] = {
                entry.name.decode(errors="surrogateescape"): _valued(entry.mode.lstrip(b"0"), entry.oid)
                for entry in entries
            }
            odd = any(b"/" in entry.name or not entry.mode.isdigit() for entry in entries)
            if odd or len(self._known[tree]) != len(entries):
                raise objects.corrupt(self._repository, tree, "has names or modes that git does not allow")
        return self._known[tree]

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _too_much(f"takes more than {_MOST_BYTES >> 20} MiB of folders and names to be told")


def _valued(mode: bytes, oid: str) -> str:
    if mode == b"40000":
        return _TREE + oid
    return oid if mode.startswith(b"100") else f"{mode.decode(errors='surrogateescape')} {oid}"


def _tree(value: str | None) -> str:
    return value[1:] if value and value.startswith(_TREE) else NOTHING


def _too_much(what: str) -> errors.Terminal:
    return errors.Terminal(
        f"what differs from the target branch {what} (begin it anew from there, with fewer changes)",
        reason=Reason.LimitExceeded,
    )
