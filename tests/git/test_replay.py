"""What a merge, a squash and a rebase make of a branch is what was planned, or it is told that nobody can tell: held against git itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pygit2
import pytest

from reconciler import errors
from reconciler.git import changes, history, replay, tree
from reconciler.reasons import Reason
from reconciler.review.merging import merged
from tests.git import servers

Files = dict[str, str]
LINES = 12
PLACES = ("site/a", "site/b", "site/d/a", "site/d/b", "docs/a", "docs/b", "docs/d/a", "docs/d/b", "other/a")
FOLDERS = ("site/d", "docs/d", "docs", "site/e", "docs/e", "other")
_ALSO_FOLDERS = ("-c", "merge.directoryRenames=true")


def text(name: str) -> str:
    """Lines by which git knows a file that was moved."""
    return "".join(f"{name} {number}\n" for number in range(LINES))


START: Files = {name: text(name) for name in PLACES}


@dataclass
class Work:
    """A repository with work trees of its own, for what only those can do."""

    folder: Path
    trees: dict[str, Files] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        servers.git(self._made(), "init", "-q")

    def _made(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def commit(self, files: Mapping[str, str], *parents: str) -> str:
        """A commit that has just these files."""
        lines = [
            f"commit refs/heads/x{len(self.trees)}",
            f"committer a <a@example.org> {1_800_000_000 + len(self.trees)} +0000",
        ]
        lines += [
            "data 1",
            "x",
            *(f"{word} {oid}" for word, oid in zip(("from", *["merge"] * 9), parents, strict=False)),
        ]
        stream = "\n".join([*lines, "deleteall", ""]).encode()
        for name, content in files.items():
            stream += f"M 100644 inline {name}\ndata {len(content.encode())}\n{content}\n".encode()
        servers.git(self.folder, "fast-import", "--quiet", "--force", stdin=stream)
        made = servers.git(self.folder, "rev-parse", f"refs/heads/x{len(self.trees)}")
        self.trees[made], self.parents[made] = dict(files), parents
        return made

    def both(
        self, fork: str, head: str, target: str, site: str
    ) -> tuple[replay.Unclear, Mapping[str, bytes], tuple[str, ...]]:
        """What is told, and what is planned."""
        told = replay.unclear(self.folder, fork, head, target, site)
        return told, *merged(*(self.site(commit, site) for commit in (fork, head, target)))

    def site(self, commit: str, path: str) -> Mapping[str, bytes]:
        try:
            return tree.read(self.folder, commit, path)
        except errors.Terminal:
            return {}

    def results(self, head: str, target: str, site: str, *, rebase: bool) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """(how, the site afterwards), for every way in which git or libgit2 merges without a word of anybody."""
        for options in ((), _ALSO_FOLDERS):
            try:
                made = servers.git(self.folder, *options, "merge-tree", "--write-tree", target, head).splitlines()[0]
            except AssertionError:  # a conflict
                continue
            yield "merge", self.site(servers.git(self.folder, "commit-tree", made, "-m", "x"), site)
        repository = pygit2.Repository(str(self.folder))
        index = repository.merge_commits(target, head)
        if not index.conflicts:
            made = str(index.write_tree(repository))
            yield "libgit2", self.site(servers.git(self.folder, "commit-tree", made, "-m", "x"), site)
        for options in ((), _ALSO_FOLDERS) if rebase else ():
            try:
                servers.git(self.folder, *options, "checkout", "-q", "-f", "--detach", head)
                servers.git(self.folder, *options, "rebase", "-q", target)
            except AssertionError:
                servers.git(self.folder, "rebase", "--abort")
                continue
            made = servers.git(self.folder, "rev-parse", "HEAD")
            if made != target:  # otherwise it has all of it, and there is nothing to merge
                yield "rebase", self.site(made, site)


def changed(random: Random, files: Files, other: Files, before: Files) -> Files:
    """What somebody makes of files. `other`: what the other side has, `before`: what was there once."""
    made = dict(files)
    for _ in range(random.choice((1, 1, 2))):
        name, folder = random.choice(sorted(made) or ["site/a"]), random.choice(FOLDERS)
        match random.choice(
            ("line", "line", "line", "move", "move", "folder", "delete", "add", "add", "theirs", "before")
        ):
            case "line" if name in made:
                lines = made[name].splitlines()
                lines[random.choice((0, LINES - 1)) % len(lines)] = f"changed {random.randrange(3)}"
                made[name] = "\n".join(lines) + "\n"
            case "move" if name in made:
                made[random.choice((*PLACES, f"{folder}/new"))] = made.pop(name)
            case "folder":
                to = random.choice(FOLDERS)
                made = {to + n.removeprefix(folder) if n.startswith(f"{folder}/") else n: c for n, c in made.items()}
            case "delete":
                made.pop(name, None)
            case "add":
                made[f"{folder}/{random.choice('nm')}"] = random.choice([text("new"), *files.values()])
            case "theirs" if other:
                wanted = random.choice(sorted({*other, *made}))
                made.pop(wanted, None)
                made |= {wanted: other[wanted]} if wanted in other else {}
            case "before":
                wanted = random.choice(sorted({*before, *made}))
                made.pop(wanted, None)
                made |= {wanted: before[wanted]} if wanted in before else {}
    return {n: c for n, c in made.items() if not any(other.startswith(f"{n}/") for other in made)} or {"site/a": "x\n"}


def history_of(random: Random, work: Work) -> tuple[str, str, str]:
    """(the last commit in common, a branch's head, the target), of any history."""
    start = fork = target = head = work.commit(START)
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        target = work.commit(changed(random, work.trees[target], work.trees[head], START), target)
    for number in range(random.choice((1, 1, 2, 3, 3))):
        if number and random.random() < 0.15 and target != fork:
            kept = random.choice(
                ({**START, **work.trees[head]}, work.trees[target], {**work.trees[head], **work.trees[target]})
            )
            head, fork = work.commit(kept, head, target), target
        elif number and random.random() < 0.1:
            beside = work.commit(changed(random, START, work.trees[target], START), start)
            head = work.commit({**work.trees[head], **work.trees[beside]}, head, beside)
        head = work.commit(changed(random, work.trees[head], work.trees[target], START), head)
    for _ in range(random.choice((0, 1, 2))):
        target = work.commit(changed(random, work.trees[target], work.trees[head], START), target)
    return fork, head, target


X, Y = {"site/a": text("X")}, {"site/a": text("Y")}
BACK = {"site/a": START["site/a"]}
MOVED = {"docs/a": None, "site/n": text("docs/a")}
# Why nobody can tell; the commits of the branch, one after the other; those of the target; and of what nobody can tell.
CASES: dict[str, tuple[list[Mapping[str, str | None]], list[Mapping[str, str | None]], tuple[str, ...]]] = {
    "nothing in common": ([X, {"site/b": "x\n"}], [{"docs/a": "x\n"}], ()),
    "the same": ([X], [X], ()),
    "one commit, which the target took back": ([X], [X, BACK], ()),
    "made and undone": ([X, BACK], [X], ("site/a",)),
    "undone beside another change": ([X, {**BACK, "site/b": "x\n"}], [X], ("site/a",)),
    "one of two is left out": ([X, {"site/b": "x\n"}], [X, BACK], ("site/a",)),
    "a file beside the site": ([{"docs/a": text("X")}, {"docs/a": START["docs/a"]}], [{"docs/a": text("X")}], ()),
    "moved into the site": ([MOVED], [{"docs/a": text("docs/a") + "x\n"}], ("docs/a",)),
    "moved into the site by the target": ([{"docs/a": text("docs/a") + "x\n"}], [MOVED], ("docs/a",)),
    "moved into the site, and put back": ([MOVED, {"docs/a": START["docs/a"]}], [{"docs/a": text("docs/a") + "x\n"}], ("docs/a",)),
    "moved beside the site": ([{"docs/a": None, "docs/n": text("docs/a")}], [{"docs/a": "x\n"}], ()),
    "moved out of the site": ([{"site/b": None, "docs/n": text("site/b")}], [{"site/a": "x\n"}], ()),
    "moved within the site": ([{"site/a": None, "site/n": text("site/a")}], [{"site/a": text("site/a") + "x\n"}], ("site/a",)),
    "deleted beside the site": ([{"docs/a": None}], [{"docs/b": "x\n"}], ()),
    "a folder moved into the site": (
        [{f"{to}/{name}": text(f"docs/d/{name}") if to == "site/e" else None for name in "ab" for to in ("docs/d", "site/e")}],
        [{"docs/d/n": "x\n"}],
        ("docs/d/n",),
    ),
    "a folder moved by the target": (
        [{"docs/d/n": "x\n"}],
        [{f"{to}/{name}": text(f"docs/d/{name}") if to == "site/e" else None for name in "ab" for to in ("docs/d", "site/e")}],
        ("docs/d/n",),
    ),
    "a folder deleted by the target": ([{"site/d/n": "x\n"}], [{"site/d/a": None, "site/d/b": None}], ()),
}  # fmt: skip


def line(work: Work, start: str, steps: list[Mapping[str, str | None]]) -> str:
    for step in steps:
        files = {**work.trees[start], **step}
        start = work.commit({name: content for name, content in files.items() if content is not None}, start)
    return start


@pytest.mark.parametrize("name", CASES)
def test_why_nobody_can_tell(tmp_path: Path, name: str) -> None:
    ours, theirs, moved = CASES[name]
    work = Work(tmp_path / "work")
    fork = work.commit(START)
    head, target = line(work, fork, ours), line(work, fork, theirs)
    told, planned, both = work.both(fork, head, target, "site")
    assert told == replay.Unclear(moved)
    results = [dict(found) for _, found in work.results(head, target, "site", rebase=True)]
    if moved:  # which is said of nothing that nobody could see
        assert any(found != dict(planned) for found in results), name
    else:
        assert results and not both and all(found == dict(planned) for found in results)


def test_merges_in_a_branch(tmp_path: Path) -> None:
    """A rebase leaves them out, with what was made by hand in them."""
    work = Work(tmp_path / "work")
    start = work.commit(START)
    first, fork = line(work, start, [X]), line(work, start, [{"site/b": "x\n"}])
    clean = work.commit({**START, **X, "site/b": "x\n"}, first, fork)
    sly = work.commit({**START, "site/b": "x\n"}, first, fork)
    assert replay.unclear(work.folder, fork, clean, fork, "site") == replay.Unclear()
    assert replay.unclear(work.folder, fork, sly, fork, "site") == replay.Unclear(alone=("site/a",))
    # The target goes on: who saw that nobody can tell has not seen that.
    beside, same = line(work, fork, [{"site/d/a": "x\n"}]), line(work, fork, [Y])
    assert replay.unclear(work.folder, fork, sly, beside, "site") == replay.Unclear(alone=("site/a",))
    assert replay.unclear(work.folder, fork, sly, same, "site") == replay.Unclear(("site/a",), ("site/a",))
    # Two lines of one branch: git makes one of them, in an order that nobody knows.
    left, right = line(work, fork, [X, BACK]), line(work, fork, [X])
    for kept in (work.trees[fork], {**work.trees[fork], **X}):
        crossed = work.commit(kept, left, right)
        assert replay.unclear(work.folder, fork, crossed, fork, "site") == replay.Unclear(alone=("site/a",))


def test_too_much_to_be_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(tmp_path / "work")
    fork = work.commit(START)
    target = line(work, fork, [{"docs/a": "x\n"}])
    for files in ({"/".join(["d"] * 120): "x\n"}, {f"site/{'n' * 200}{number}": "x\n" for number in range(50)}):
        head = line(work, fork, [files])
        monkeypatch.setattr(changes, "_MOST_BYTES", 10_000)
        with pytest.raises(errors.Terminal) as caught:
            replay.unclear(work.folder, fork, head, target, "site")
        assert caught.value.reason == Reason.LimitExceeded and "begin it anew" in str(caught.value)
        monkeypatch.undo()
    assert replay.unclear(work.folder, fork, head, target, "site") == replay.Unclear()


@pytest.mark.parametrize("mode", [b"100644", b"/40000"])
def test_a_tree_that_can_be_read_in_two_ways(tmp_path: Path, mode: bytes) -> None:
    """It lies beside the site, where nothing else looks."""
    work = Work(tmp_path / "work")
    fork = work.commit(START)
    target = line(work, fork, [{"docs/a": "x\n"}])
    blob = servers.raw_object(work.folder, "blob", b"x\n")
    made = servers.raw_tree(work.folder, [(b"100644", b"n", blob), (mode, b"n" if mode == b"100644" else b"m", blob)])
    top = servers.raw_tree(work.folder, [(b"40000", b"docs", made)])
    head = servers.commit_tree(work.folder, top, "sly", ref="refs/heads/sly", parents=[fork])
    with pytest.raises(errors.Terminal, match="names or modes that git does not allow") as caught:
        replay.unclear(work.folder, fork, head, target, "site")
    assert caught.value.reason == Reason.GitObjectCorrupt


@pytest.mark.parametrize("site", ["site", ""])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_as_planned_or_nobody_can_tell(tmp_path: Path, seed: int, site: str) -> None:
    work, random, compared = Work(tmp_path / "work"), Random(seed), 0
    while compared < 8:
        fork, head, target = history_of(random, work)
        if history.merge_bases(work.folder, target, head) != [fork] or head == fork:
            continue
        told, planned, both = work.both(fork, head, target, site)
        if told.moved or both:
            continue
        for how, found in work.results(head, target, site, rebase=not told.alone):
            assert dict(found) == dict(planned), (how, told, fork, head, target)
            compared += 1
