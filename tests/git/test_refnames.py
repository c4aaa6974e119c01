"""Names of refs: as libgit2, whose judgement is the one that counts when something is fetched."""

import pygit2
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reconciler.git import refnames

_PIECES = ("a", "main", ".", "..", "/", "//", "@", "{", "@{", "~", "^", ":", "?", "*", "[", "\\", " ", "\x7f", "\t", "\n",
           ".lock", "lock", "-", "_", "HEAD", "refs", "refs/", "refs/heads/", "é", "-x")  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join))
@example("refs/heads/main")
@example("HEAD")
@example("refs/heads/@")
@example("_HEAD")
@example("HEAD_")
@example("A")
def test_as_libgit2_judges(name: str) -> None:
    assume("/" in name or name.isupper())  # of one word libgit2 takes more than git does, such as "@"
    assume(not name.startswith("^"))  # to libgit2 that is a refspec which takes names away
    assert refnames.is_valid(name) == pygit2.reference_is_valid_name(name), name


@pytest.mark.parametrize("name", ["^HEAD", "^refs/heads/a", "^", "refs/heads/^a"])
def test_no_name_takes_names_away(name: str) -> None:
    assert not refnames.is_valid(name)


@pytest.mark.parametrize("name", ["refs/heads/a\0b", "refs/heads/a\0"])
def test_a_zero_byte_is_refused(name: str) -> None:
    assert not refnames.is_valid(name)
