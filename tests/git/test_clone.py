"""What a daemon asks of its clone: answered by a child, so that libgit2 is never loaded where keys are."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.git import clone, tree
from reconciler.system import run
from tests.git import servers


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str, str]:
    """A bare repository of two commits, the older one first."""
    repo = servers.make_repo(tmp_path / "site.git")
    first = servers.commit(repo, {"a": b"1"}, "first\n\nits body")
    return repo, first, servers.commit(repo, {"a": b"2"}, "second")


def test_what_is_said_of_a_commit_is_what_libgit2_reads(repository: tuple[Path, str, str]) -> None:
    repo, first, second = repository
    for oid in (first, second):
        assert clone.info(repo, oid) == tree.commit_info(repo, oid)
    assert clone.info(repo, second).parents == (first,)


def test_how_two_commits_hang_together(repository: tuple[Path, str, str]) -> None:
    repo, first, second = repository
    pairs = {(a, b): clone.is_ancestor(repo, a, b) for a in (first, second) for b in (first, second)}
    assert pairs == {(a, b): tree.is_ancestor(repo, a, b) for a, b in pairs}
    assert pairs[first, second] and not pairs[second, first] and pairs[first, first]


@pytest.mark.parametrize("oid", ["0" * 40, "no id"])
def test_a_commit_that_is_not_there(repository: tuple[Path, str, str], oid: str) -> None:
    repo, first, _ = repository
    for ask in (lambda: clone.info(repo, oid), lambda: clone.is_ancestor(repo, first, oid)):
        with pytest.raises(errors.Terminal) as caught:
            ask()
        assert caught.value.reason == "RevisionUnknown" and oid in str(caught.value)


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(errors.Terminal) as caught:
        clone.info(tmp_path / "nothing", "0" * 40)
    assert caught.value.reason == "RepositoryUnusable"


@pytest.mark.parametrize("answer", [(), ("",), ("AAAA",), ("no base64",)])
def test_a_child_that_answers_something_else(
    repository: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch, answer: tuple[str, ...]
) -> None:
    repo, first, _ = repository
    monkeypatch.setattr(run, "python", lambda *_, **__: clone.Look(answer, True))
    with pytest.raises(errors.Terminal) as caught:
        clone.info(repo, first)
    assert caught.value.reason == "ChildFailed"


def test_a_child_cannot_give_one_commit_for_another(
    repository: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, first, second = repository
    forged = base64.b64encode(clone.read(repo, first).data).decode()
    monkeypatch.setattr(run, "python", lambda *_, **__: clone.Look((forged,), True))
    with pytest.raises(errors.Terminal) as caught:
        clone.info(repo, second)
    assert caught.value.reason == "ChildFailed"


def test_the_daemon_loads_nothing_that_only_children_need() -> None:
    """Memory of every node, for as long as it runs."""
    heavy = ["pygit2", "jsonschema", "jinja2", "reconciler.document.grammar"]
    program = f"import sys, reconciler.daemon.service; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("branch", ["main", "gone"])
def test_a_branch_that_nobody_merged_is_fetched_without_libgit2_in_the_process(
    repository: tuple[Path, str, str], tmp_path: Path, branch: str
) -> None:
    """What a stranger wrote is parsed by sealed children alone, also where the settings ask about a branch beforehand."""
    repo, _, second = repository
    (tmp_path / "x.toml").write_text(
        f'host = "h"\nstate_dir = "{tmp_path}/state"\n[git]\nurl = "file://{repo}"\n[trust]\nsignatures = "none"\n'
    )
    program = f"""
import sys
from pathlib import Path
from reconciler import errors, settings
from reconciler.node.node import Node
node = Node(settings.load(Path({str(tmp_path / "x.toml")!r})), forge=False)
node.state.create()
try:
    print(node.follower.bring_head({branch!r}))
except errors.Transient as error:
    print(error)
print("pygit2" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, loaded = done.stdout.splitlines()[-2:]
    assert (first == second) if branch == "main" else ("gone was deleted" in first), done.stdout
    assert loaded == "False"
