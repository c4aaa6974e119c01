"""A commit's files as data: what is read, and that hostile trees are refused with every problem named."""

import os
import random
import stat
import subprocess
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pygit2
import pytest

from reconciler import errors
from reconciler.git import tree, worktree
from reconciler.git.reading import Budget
from reconciler.text import printable
from tests.git import servers

FILE, DIR, LINK, MODULE = b"100644", b"40000", b"120000", b"160000"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return servers.make_repo(tmp_path / "repo.git")


def _blob(repo: Path, data: bytes = b"x\n") -> str:
    return servers.raw_object(repo, "blob", data)


def _refused(function: object, *arguments: object) -> dict[str, str]:
    with pytest.raises(errors.SiteInvalid) as caught:
        function(*arguments)  # type: ignore[operator]
    assert all(problem.line == 0 for problem in caught.value.problems)
    return {problem.file: problem.message for problem in caught.value.problems}


def _fails(reason: str, function: object, *arguments: object) -> str:
    with pytest.raises(errors.Terminal) as caught:
        function(*arguments)  # type: ignore[operator]
    assert caught.value.reason == reason, str(caught.value)
    return str(caught.value)


def test_files_are_read_below_the_site_path(repo: Path) -> None:
    files = {
        "README": "top",
        "clouds/prod/globals.yml": "a: 1\n",
        "clouds/prod/hosts/n1.yml": b"\xff\x00",
        "clouds/ü/x": "é",
    }
    head = servers.commit(repo, files, "site")  # type: ignore[arg-type]
    assert tree.read(repo, head) == {
        name: data if isinstance(data, bytes) else data.encode()  # type: ignore[attr-defined]
        for name, data in files.items()  # type: ignore[attr-defined]
    }
    assert list(tree.read(repo, head)) == sorted(files)
    below = {"globals.yml": b"a: 1\n", "hosts/n1.yml": b"\xff\x00"}
    for path in ("clouds/prod", "/clouds/prod/", "./clouds//prod"):
        assert tree.read(repo, head, path) == below
    assert tree.read(repo, head, "clouds/ü") == {"x": "é".encode()}


def test_a_path_that_is_not_there(repo: Path) -> None:
    head = servers.commit(repo, {"a/b": "1"}, "site")
    assert "'c' is not there in a" in _fails("SitePathMissing", tree.read, repo, head, "a/c/d")
    assert "'b' is not a directory" in _fails("SitePathMissing", tree.read, repo, head, "a/b")
    _fails("SitePathMissing", tree.read, repo, head, "../..")


def test_reading_at_the_same_time_as_a_checkout_gives_the_same_files(repo: Path, tmp_path: Path) -> None:
    rng = random.Random(7)
    files = {f"d{rng.randrange(9)}/e{rng.randrange(9)}/f{n}.x": rng.randbytes(rng.randrange(300)) for n in range(300)}
    head = servers.commit(repo, {**files, "d1.x": "1", "d1-x": "2"}, "many")
    work = tmp_path / "work"
    work.mkdir()
    servers.git(repo, "--work-tree", str(work), "checkout", "-q", "-f", head)
    (work / ".git").mkdir()
    (work / ".git" / "HEAD").write_text("not part of the site")
    (work / ".gitignore").write_text("*")
    read = tree.read(repo, head)
    assert len(read) == 302
    assert worktree.read(work) == {**read, ".gitignore": b"*"}


@pytest.mark.parametrize(
    ("mode", "name", "message"),
    [
        (LINK, b"link", "symbolic links"),
        (MODULE, b"module", "submodules"),
        (b"100664", b"f", "mode '100664'"),
        (b"040000", b"f", "mode '040000'"),
        (b"100600", b"f", "mode '100600'"),
        (b"104755", b"f", "mode '104755'"),
        (FILE, b"..", "is not a name"),
        (FILE, b".", "is not a name"),
        (FILE, b"", "is not a name"),
        (FILE, b"a/b", "slash"),
        (FILE, b"a\\b", "slash"),
        (FILE, b"../../etc/passwd", "slash"),
        (FILE, b".git", "git's own"),
        (FILE, b".GiT", "git's own"),
        (FILE, b".git ", "git's own"),
        (FILE, b".git. .", "git's own"),
        (FILE, b".git::$INDEX_ALLOCATION", "git's own"),
        (FILE, b"GIT~1", "git's own"),
        (FILE, ".g\u200cit".encode(), "git's own"),
        (FILE, "\ufeff.git".encode(), "git's own"),
        (FILE, b"new\nline", "cannot be seen"),
        (FILE, b"esc\x1b[2J", "cannot be seen"),
        (FILE, b"del\x7f", "cannot be seen"),
        (FILE, "c1\x9b".encode(), "cannot be seen"),
        (FILE, b"latin\xe9", "not UTF-8"),
        (FILE, b"n" * 256, "256 bytes"),
    ],
)
def test_an_entry_that_is_refused(repo: Path, mode: bytes, name: bytes, message: str) -> None:
    blob = _blob(repo)
    target = {MODULE: "1" * 40, b"040000": servers.raw_tree(repo, [])}.get(mode, blob)
    root = servers.raw_tree(repo, [(mode, name, target)])
    head = servers.commit_tree(repo, root, "hostile")
    (problem,) = _refused(tree.read, repo, head).values()
    assert message in problem
    assert problem.isprintable()
    sub = servers.commit_tree(repo, servers.raw_tree(repo, [(DIR, b"sub", root)]), "hostile below")
    ((place, _),) = _refused(tree.read, repo, sub).items()
    assert place.startswith("sub/")
    assert place.isprintable()
    beside = servers.raw_tree(
        repo, [(DIR, b"site", servers.raw_tree(repo, [(FILE, b"f", blob)])), (mode, b"zz" + name, target)]
    )
    # What lies outside the site is none of its business.
    assert tree.read(repo, servers.commit_tree(repo, beside, "beside"), "site") == {"f": b"x\n"}


def test_names_that_look_like_it_are_allowed(repo: Path) -> None:
    names = [
        ".gitignore",
        ".gitattributes",
        ".github",
        "git",
        "..a",
        "a..",
        ".sops.yaml",
        "git~2",
        "a b",
        "ü",
        "-rf",
        "n" * 255,
    ]
    head = servers.commit(repo, dict.fromkeys(names, "x"), "fine")
    assert sorted(tree.read(repo, head)) == sorted(names)


def test_duplicates_and_order(repo: Path) -> None:
    one, two = _blob(repo, b"1"), _blob(repo, b"2")
    sub = servers.raw_tree(repo, [(FILE, b"f", one)])
    twice = servers.commit_tree(repo, servers.raw_tree(repo, [(FILE, b"a", one), (FILE, b"a", two)]), "twice")
    assert "more than once" in _refused(tree.read, repo, twice)["a"]
    both = servers.commit_tree(
        repo, servers.raw_tree(repo, [(FILE, b"a", one), (FILE, b"a.b", one), (DIR, b"a", sub)]), "file and directory"
    )
    assert "more than once" in _refused(tree.read, repo, both)["a"]
    _refused(tree.read, repo, both, "a")
    unsorted = servers.commit_tree(repo, servers.raw_tree(repo, [(FILE, b"b", one), (FILE, b"a", one)]), "unsorted")
    assert "order" in _refused(tree.read, repo, unsorted)["a"]
    # A directory sorts as if its name ended with a slash.
    fine = servers.commit_tree(
        repo, servers.raw_tree(repo, [(FILE, b"a.b", one), (DIR, b"a", sub), (FILE, b"a0", one)]), "fine"
    )
    assert list(tree.read(repo, fine)) == ["a.b", "a/f", "a0"]


def test_every_problem_is_reported_at_once(repo: Path) -> None:
    blob = _blob(repo)
    sub = servers.raw_tree(repo, [(LINK, b"link", blob), (FILE, b"ok", blob)])
    rows = [(FILE, b".git", blob), (FILE, b"a\tb", blob), (DIR, b"sub", sub), (MODULE, b"x", "2" * 40)]
    problems = _refused(tree.read, repo, servers.commit_tree(repo, servers.raw_tree(repo, rows), "bad"))
    assert sorted(problems) == [".git", "a\\tb", "sub/link", "x"]


def test_a_mode_that_lies_about_its_object(repo: Path) -> None:
    blob = _blob(repo)
    sub = servers.raw_tree(repo, [(FILE, b"f", blob)])
    rows = [(FILE, b"a", sub), (DIR, b"b", blob)]
    problems = _refused(tree.read, repo, servers.commit_tree(repo, servers.raw_tree(repo, rows), "lies"))
    assert sorted(problems) == ["a", "b"]


def test_a_tree_that_is_no_tree(repo: Path) -> None:
    for data in (b"100644 f", b"100644 f\0short", b"nonsense", b"100644 a\0" + b"1" * 20 + b"1", b"1" * 50):
        head = servers.commit_tree(repo, _object(repo, "tree", data), "broken")
        assert "not a tree" in _refused(tree.read, repo, head)["."]
        _refused(tree.read, repo, head, "a/b")


def _object(repo: Path, kind: str, data: bytes, *, oid: str | None = None) -> str:
    """Write a loose object as git would not, under another's id when `oid` is given."""
    oid = oid or servers.raw_object(repo, kind, data)
    place = repo / "objects" / oid[:2] / oid[2:]
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place.chmod(0o644)
    place.write_bytes(zlib.compress(b"%s %d\0" % (kind.encode(), len(data)) + data))
    return oid


def test_budgets(repo: Path) -> None:
    head = servers.commit(repo, {"a": "1234", "b/c/d": "12345678", "e": ""}, "site")
    exact = Budget(files=5, bytes=12, file_bytes=8, depth=2, name_bytes=1)
    assert len(tree.read(repo, head, "", exact)) == 3
    work = repo.parent / "work"
    work.mkdir()
    servers.git(repo, "--work-tree", str(work), "checkout", "-q", "-f", head)
    assert len(worktree.read(work, exact)) == 3
    for less, message in (
        (Budget(files=4), "more than 4 files"),
        (Budget(bytes=11), "more than 11 bytes"),
        (Budget(file_bytes=7), "8 bytes; 7"),
        (Budget(depth=1), "nested more than 1"),
        (Budget(name_bytes=0), "1 bytes; 0"),
    ):
        assert any(message in problem for problem in _refused(tree.read, repo, head, "", less).values())
        assert any(message in problem for problem in _refused(worktree.read, work, less).values())


def test_a_tree_bomb_ends_soon(repo: Path) -> None:
    inner = servers.raw_tree(repo, [])
    for _ in range(16):
        inner = servers.raw_tree(repo, [(DIR, b"%d" % number, inner) for number in range(10)])
    head = servers.commit_tree(repo, inner, "10^16 empty directories")
    assert any("more than 20000" in problem for problem in _refused(tree.read, repo, head).values())


def test_altered_and_missing_objects(repo: Path) -> None:
    head = servers.commit(repo, {"a": "good", "b/c": "good too"}, "site")
    blob = servers.git(repo, "rev-parse", f"{head}:a")
    _object(repo, "blob", b"evil", oid=blob)
    assert blob in _fails("GitObjectCorrupt", tree.read, repo, head)
    assert tree.read(repo, head, "b") == {"c": b"good too"}
    # Our own check, not only libgit2's.
    pygit2.settings.enable_strict_hash_verification(False)
    try:
        assert "does not match" in _fails("GitObjectCorrupt", tree.read, repo, head)
    finally:
        pygit2.settings.enable_strict_hash_verification(True)
    (repo / "objects" / blob[:2] / blob[2:]).unlink()
    _fails("GitObjectCorrupt", tree.read, repo, head)
    _fails("GitObjectCorrupt", tree.read, repo, "1" * 40)
    _fails("GitObjectCorrupt", tree.read, repo, blob)
    _fails("GitObjectCorrupt", tree.read, repo, "main")
    _fails("RepositoryUnusable", tree.read, repo / "absent", head)


# --- commits --------------------------------------------------------------------------------------------------------


def test_commit_info(repo: Path) -> None:
    first = servers.commit(repo, {"a": "1"}, "one")
    message = "Réseau: second\n\nA body."
    env = {"GIT_AUTHOR_NAME": "Zoë Ŧest", "GIT_COMMITTER_DATE": "2024-02-29T12:00:00+05:30"}
    oid = servers.git(repo, "commit-tree", "-p", first, "-m", message, f"{first}^{{tree}}", env=env)
    info = tree.commit_info(repo, oid)
    assert (info.id, info.parents, info.subject) == (oid, (first,), "Réseau: second")
    assert (info.author, info.author_email) == ("Zoë Ŧest", "author@example.org")
    assert info.committed_at == datetime(2024, 2, 29, 6, 30, tzinfo=UTC)
    latin = servers.git(
        repo, "-c", "i18n.commitEncoding=latin-1", "commit-tree", f"{first}^{{tree}}", stdin="é".encode("latin-1")
    )
    assert tree.commit_info(repo, latin).subject == "é"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tree ", b"Tree "),
        (b"author ", b"committer "),
        (b"\ncommitter ", b"\nauthor A <a> 1 +0000\ncommitter "),
        (b"\n\n", b"\ntree " + b"0" * 40 + b"\n\n"),
        (b"\nauthor ", b"\nencoding x\nauthor "),
        (b"\n\n", b"\nencoding a\nencoding b\n\n"),
        (b" +0000\ncommitter", b" yesterday\ncommitter"),
        (b"\n\n", b"\n\0\n\n"),
    ],
)
def test_malformed_commits(repo: Path, old: bytes, new: bytes) -> None:
    head = servers.commit(repo, {"a": "1"}, "one")
    data = (servers.git(repo, "cat-file", "commit", head) + "\n").encode()
    assert tree.commit_info(repo, _object(repo, "commit", data)).subject == "one"
    _fails("CommitMalformed", tree.commit_info, repo, _object(repo, "commit", data.replace(old, new, 1)))


def test_ancestry_and_resolve(repo: Path) -> None:
    first = servers.commit(repo, {"a": "1"}, "one")
    second = servers.commit(repo, {"a": "2"}, "two")
    other = servers.commit(repo, {"a": "3"}, "other", branch="other", parents=[first])
    merge = servers.commit(repo, {"a": "4"}, "merge", parents=[second, other])
    assert tree.is_ancestor(repo, first, merge)
    assert tree.is_ancestor(repo, other, merge)
    assert tree.is_ancestor(repo, first, first)
    assert not tree.is_ancestor(repo, second, first)
    assert not tree.is_ancestor(repo, second, other)
    _fails("RevisionUnknown", tree.is_ancestor, repo, "1" * 40, merge)
    _fails("RevisionUnknown", tree.is_ancestor, repo, "main", merge)
    for revision in ("main", "refs/heads/main", merge, merge[:9], "HEAD"):
        assert tree.resolve(repo, revision) == merge
    assert tree.resolve(repo, "main~1") == second
    for revision in ("nope", "", "1" * 40, "main:a", "main^9", f"{merge}^{{tree}}"):
        _fails("RevisionUnknown", tree.resolve, repo, revision)


# --- a plain directory ----------------------------------------------------------------------------------------------


def test_a_directory_is_as_strict(tmp_path: Path) -> None:
    (tmp_path / "ok").write_text("1")
    (tmp_path / "sub" / ".git").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9")).write_text("x")
    (tmp_path / "tab\t").write_text("x")
    problems = _refused(worktree.read, tmp_path)
    assert sorted(problems) == ["latin\\xe9", "link", "loop", "pipe", "sub/.git", "tab\\t"]
    _fails("SitePathMissing", worktree.read, tmp_path / "absent")
    _fails("SitePathMissing", worktree.read, tmp_path / "ok")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody who may not read")
def test_an_unreadable_file_is_not_an_absent_one(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("1")
    (tmp_path / "secret").chmod(0)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o055)
    code = (
        "import os, sys, pathlib; sys.path.insert(0, os.getcwd())\n"
        "from reconciler import errors\nfrom reconciler.git import worktree\nos.setuid(65534)\n"
        f"try: worktree.read(pathlib.Path({str(tmp_path)!r}))\n"
        "except errors.SiteInvalid as error: print(error)\n"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "secret:1:1: cannot be read: Permission denied" in done.stdout


def test_names_that_only_some_systems_tell_apart(repo: Path, tmp_path: Path) -> None:
    names = ["config/a.conf", "config/A.conf", "caf\u00e9", "cafe\u0301", "other"]
    head = servers.commit(repo, dict.fromkeys(names, "x"), "twins")
    folder = tmp_path / "folder"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    for problems in (_refused(tree.read, repo, head), _refused(worktree.read, folder)):
        assert sorted(problems) == ["caf\u00e9", "config/a.conf"]
        assert "differ in case or accents only" in str(problems["config/a.conf"])


@pytest.mark.parametrize("name", ["a\u202eb", "a\u200bb", "a\x9bb", "a\u2028b", "a\ue000b"])
def test_names_that_cannot_be_seen(name: str, repo: Path) -> None:
    head = servers.commit_tree(repo, servers.raw_tree(repo, [(FILE, name.encode(), _blob(repo))]), "unseen")
    problems = _refused(tree.read, repo, head)
    assert list(problems) == [printable(name)] and "cannot be seen" in str(problems[printable(name)])
