"""Which commits two branches have in common, whatever time their commits say."""

from pathlib import Path

import pytest

from reconciler import errors
from reconciler.git import history, tree
from reconciler.reasons import Reason
from tests.git import servers


class History:
    """Commits without files, by the names that they are given; `at` is the time that one says."""

    def __init__(self, folder: Path) -> None:
        self.repository = servers.make_repo(folder)
        self.ids: dict[str, str] = {}

    def make(self, name: str, *parents: str, at: int = 1_800_000_000) -> None:
        words = [word for parent in parents for word in ("-p", self.ids[parent])]
        empty = servers.git(self.repository, "mktree")
        dates = {"GIT_AUTHOR_DATE": f"@{at} +0000", "GIT_COMMITTER_DATE": f"@{at} +0000"}
        made = servers.git(self.repository, "commit-tree", empty, "-m", name, *words, env=dates)
        servers.git(self.repository, "update-ref", f"refs/heads/{name}", made)
        self.ids[name] = made

    def common(self, one: str, other: str) -> set[str]:
        names = {oid: name for name, oid in self.ids.items()}
        return {names[oid] for oid in history.merge_bases(self.repository, self.ids[one], self.ids[other])}


@pytest.fixture
def made(tmp_path: Path) -> History:
    return History(tmp_path / "site.git")


def test_one_or_none(made: History) -> None:
    made.make("start")
    made.make("main", "start")
    made.make("branch", "start")
    made.make("other")
    assert made.common("main", "branch") == {"start"} == made.common("start", "branch")
    assert made.common("main", "other") == set()


@pytest.mark.parametrize("early", [0, 1_700_000_000, 4_000_000_000])
@pytest.mark.parametrize("late", [0, 1_700_000_000, 4_000_000_000])
def test_merged_crosswise(made: History, early: int, late: int) -> None:
    """Also where times are made up, so that one looks as if it were before what it goes after."""
    made.make("start")
    made.make("ours", "start", at=early)
    made.make("theirs", "start", at=late)
    made.make("main", "ours", "theirs", at=early)
    made.make("sly", "theirs", "ours", at=late)
    made.make("more", "main", at=late)
    assert made.common("main", "sly") == {"ours", "theirs"} == made.common("sly", "more")
    made.make("mended", "sly", "more", at=early)
    assert made.common("more", "mended") == {"more"}


@pytest.mark.parametrize("at", [0, 4_000_000_000])
def test_times_that_are_wrong_make_no_second_one(made: History, at: int) -> None:
    made.make("start", at=at)
    made.make("middle", "start", at=4_000_000_000 - at)
    made.make("fork", "middle", "start", at=at)
    made.make("main", "fork", at=4_000_000_000 - at)
    made.make("branch", "fork", "start", at=at)
    assert made.common("main", "branch") == {"fork"}


def test_a_history_without_end(made: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it is the branch says: it is that branch's matter, however many others are looked at with it."""
    monkeypatch.setattr(history, "_MOST", 3)
    made.make("start")
    made.make("main", "start")
    for number, parent in enumerate(["start", "branch0", "branch1", "branch2"]):
        made.make(f"branch{number}", parent)
    assert made.common("main", "branch2") == {"start"}
    with pytest.raises(errors.Terminal, match="more than 3 commits") as caught:
        made.common("main", "branch3")
    assert caught.value.reason == Reason.LimitExceeded


def test_a_folder_is_the_same_for_the_same_content(tmp_path: Path) -> None:
    repository = servers.make_repo(tmp_path / "site.git")
    one = servers.commit(repository, {"a/x": "1", "b/x": "1"}, "one")
    two = servers.commit(repository, {"b/x": "2"}, "two")
    assert tree.folder(repository, one, "a") == tree.folder(repository, two, "a") != tree.folder(repository, two, "b")
    assert tree.folder(repository, one, "c") is None and tree.folder(repository, one, "") != tree.folder(
        repository, two, ""
    )
