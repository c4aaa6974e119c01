"""A file that stays as a host has it: what the site says of it is for a host that has nothing."""

from dataclasses import replace

import pytest

from reconciler.model import Actual, FileState, Memory
from reconciler.node.target import make_target
from reconciler.plan import Basis, as_actual, diff, preview
from reconciler.render import tokens
from reconciler.source.prepare import Prepared
from tests.plan.test_as_made import KOLLA, after, found
from tests.plan.test_diff import SECRETS, SITE, THEN, converged, edited

PATH = "keystone/paste.ini"
STAYS = replace(SITE, secrets={}, files=tuple(replace(one, stays=one.path == PATH, secrets=(), content=one.content.replace("<<secret:db_password>>", "x")) for one in SITE.files))  # fmt: skip
OTHER = edited(STAYS, PATH, "[of a later formula]\n")


def planned(desired: object, actual: Actual, memory: Memory) -> list[str]:
    """What a node would do with it, as its passes go."""
    target = make_target(Prepared(desired, {})).bound(actual)  # type: ignore[arg-type]
    basis = Basis(target.contents, files_digest=target.files_digest, part_digest=target.part_digest)
    return [action.line for action in diff(target.desired, actual, memory, basis).actions]


def with_file(actual: Actual, content: bytes, kind: str = "file") -> Actual:
    state = FileState(content, 0o600, 0, 0, THEN, kind)  # type: ignore[arg-type]
    return replace(actual, files={**actual.files, PATH: state})


def test_what_is_there_is_neither_written_nor_drift() -> None:
    actual, memory = converged(STAYS)
    actual = with_file(actual, b"somebody's own")
    assert planned(STAYS, actual, memory) == []
    assert planned(OTHER, actual, memory) == [], "another formula changes nothing"
    target = make_target(Prepared(OTHER, {}))
    assert target.bound(actual).contents[PATH] == b"somebody's own" and target.contents[PATH].startswith(b"[of")
    assert target.bound(actual).files_digest["keystone"] != target.files_digest["keystone"]


@pytest.mark.parametrize(("content", "kind"), [(b"", "file"), (None, "file"), (b"", "directory")])
def test_a_host_that_has_nothing_gets_what_the_site_says(content: bytes | None, kind: str) -> None:
    actual, memory = converged(STAYS)
    there = {path: state for path, state in actual.files.items() if path != PATH}
    actual = replace(actual, files=there) if content is None else with_file(actual, content, kind)
    assert [line for line in planned(STAYS, actual, memory) if PATH in line]


@pytest.mark.parametrize("stays", [True, False])
def test_the_first_change_of_what_was_taken_over_leaves_it(stays: bool) -> None:
    parts = tuple(replace(one, stays=stays and one.stays) for one in STAYS.files)
    head = replace(STAYS, policy=KOLLA.policy, files=parts)
    actual, memory = found(head)
    actual, memory = after(head, with_file(actual, b"theirs"), memory)
    lines = planned(edited(head, "keystone/keystone.conf", "debug = True\n"), actual, memory)
    assert any("keystone/keystone.conf" in line for line in lines)
    assert any(PATH in line for line in lines) is not stays


def test_an_override_is_written_over_it() -> None:
    said = edited(STAYS, PATH, "[said]\n")
    said = replace(said, files=tuple(replace(one, stays=False) for one in said.files))
    actual, memory = converged(STAYS)
    assert [
        line for line in planned(said, with_file(actual, b"theirs"), memory) if line.startswith(f"write      {PATH}")
    ]


def test_a_review_shows_no_change_of_it() -> None:
    bind = lambda text, _: tokens.bind(text, SECRETS)  # noqa: E731
    assert [action.line for action in preview(STAYS, OTHER, bind=bind).actions] == []
    assert as_actual(OTHER, bind).files[PATH].content == b"[of a later formula]\n"
    assert any(PATH in action.line for action in preview(None, OTHER, bind=bind).actions)
