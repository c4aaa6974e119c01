"""Commits that are made to take long: they are parsed before anybody knows who signed them, by a process that stays."""

import time

import pytest

from reconciler import errors
from reconciler.git import commits

HEAD = b"tree " + b"a" * 40 + b"\n"
WHO = b"author a <a@example.org> 1 +0000\ncommitter a <a@example.org> 1 +0000\n"
MOST = 1 << 20  # bytes of one


def headers() -> bytes:
    lines = (b"h%d v\n" % number for number in range(MOST // 10))
    return (HEAD + WHO + b"".join(lines))[: MOST - 2].rpartition(b"\n")[0] + b"\n\n"


@pytest.mark.parametrize(
    "data",
    [
        headers(),
        HEAD + WHO + b"x a\n" + b" \n" * (MOST // 2 - 100) + b"\nx",
        HEAD + (b"parent " + b"b" * 40 + b"\n") * (MOST // 50) + WHO + b"\nx",
        HEAD + WHO + b"encoding punycode\n\na-" + b"z" * (MOST - 200),
        HEAD + WHO + b"encoding PunyCode\n\nsubject\na-" + b"z" * (MOST - 200),
    ],
    ids=["many headers", "many lines of one", "many parents", "a subject that is slow", "a body that is slow"],
)
def test_what_is_slow(data: bytes) -> None:
    began = time.process_time()
    found = commits.info(commits.parse("c" * 40, data))
    assert (
        time.process_time() - began < 5.0 and len(found.subject) <= 1000
    )  # what grows with the square takes half a minute


def test_lines_of_one_header_stay_as_they_are() -> None:
    found = commits.parse("c" * 40, HEAD + WHO + b"gpgsig one\n two\n \n  three\n\nx")
    assert found.values("gpgsig") == [b"one\ntwo\n\n three"]


def test_a_header_twice_is_named_shortly() -> None:
    name = b"h" * 1000
    with pytest.raises(errors.Terminal, match="occurs more than once") as caught:
        commits.parse("c" * 40, HEAD + WHO + name + b" a\n" + name + b" b\n\nx")
    assert len(str(caught.value)) < 250
