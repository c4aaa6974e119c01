"""What a branch's files come to where it is merged: as git has it, or not told at all."""

from pathlib import Path

import pytest

from reconciler.review.merging import merged
from tests.git import servers

Files = dict[str, str | None]
LONG = "".join(f"line {number}\n" for number in range(12))
BASE = {"kept": LONG, "gone": "gone\n", "d/moved": LONG + "moved\n", "d/other": "other\n"}
# What each side changes of BASE; and the files that both changed, each in its own way.
CASES: dict[str, tuple[Files, Files, tuple[str, ...]]] = {
    "one side": ({"kept": "ours\n", "gone": None, "new": "new\n"}, {}, ()),
    "other files": ({"kept": "ours\n"}, {"d/other": None, "more": "more\n"}, ()),
    "the same": ({"kept": "same\n", "gone": None}, {"kept": "same\n", "gone": None}, ()),
    "renamed here": ({"d/moved": None, "e/moved": BASE["d/moved"]}, {"kept": "theirs\n"}, ()),
    "renamed and changed": ({"d/moved": None, "e/moved": BASE["d/moved"]}, {"d/moved": LONG + "changed\n"}, ("d/moved",)),
    "changed and renamed": ({"d/moved": LONG + "changed\n"}, {"d/moved": None, "e/moved": BASE["d/moved"]}, ("d/moved",)),
    "two lines of one file": ({"kept": "first\n" + LONG}, {"kept": LONG + "last\n"}, ("kept",)),
    "made by both": ({"new": "ours\n"}, {"new": "theirs\n"}, ("new",)),
    "deleted and changed": ({"gone": None}, {"gone": "changed\n"}, ("gone",)),
}  # fmt: skip


def after(changes: Files) -> dict[str, bytes]:
    files: Files = {**BASE, **changes}
    return {name: content.encode() for name, content in files.items() if content is not None}


@pytest.mark.parametrize("name", CASES)
def test_a_merge(name: str, tmp_path: Path) -> None:
    ours, theirs, both = CASES[name]
    found, told = merged(after({}), after(ours), after(theirs))
    assert told == both
    repository = servers.make_repo(tmp_path / "site.git")
    base = servers.commit(repository, BASE, "base")
    sides = [
        servers.commit(repository, side, "side", branch=branch, parents=[base]) if side else base
        for branch, side in (("target", theirs), ("head", ours))
    ]
    if both:
        return  # whatever git makes of it
    tree = servers.git(repository, "merge-tree", "--write-tree", *sides)
    names = servers.git(repository, "ls-tree", "-r", "--name-only", tree).splitlines()
    shown = {path: servers.git(repository, "show", f"{tree}:{path}") for path in names}
    assert shown == {path: content.decode().rstrip("\n") for path, content in found.items()}
