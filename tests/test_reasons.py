"""The closed set of reasons: each is used, each says enough, and none is written but as a member of the set."""

import ast
import json
import re
from collections.abc import Iterator

import pytest

from reconciler import errors, reasons
from reconciler.codec import from_json, to_json
from reconciler.engine import faults
from reconciler.git import failures
from reconciler.model import Condition, Failure, Held, Outcome
from reconciler.reasons import Again, Blame, Chapter, Reason, Standing
from reconciler.report import Refusal, RepositoryStatus
from tests.support.paths import CHECKOUT

PROGRAM = CHECKOUT / "reconciler"
TREES = {
    path.relative_to(PROGRAM).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PROGRAM.rglob("*.py"))
    if path.name != "reasons.py"
}
# Words of other programs, and of our own, that are spelt as a reason is, and of which one may look like it.
FOREIGN = {"daemon/watch.py", "engine/options.py", "engine/parse.py"}
SEVERAL_WORDS = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+")


def members(tree: ast.AST) -> Iterator[str]:
    """The reasons that a module names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
            yield node.attr


def texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """The texts of a module, but for the names that it exports: a class may be called what a reason is."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node


def used(*places: str) -> set[str]:
    return {word for file, tree in TREES.items() if file.startswith(places or ("",)) for word in members(tree)}


def test_every_reason_is_used() -> None:
    assert set(map(str, Reason)) - used() == set(), "no longer in the program: remove it from reasons.py"


def test_no_reason_is_written_as_text() -> None:
    """A text passes the type checker where it is compared, and is no longer found when a reason gets another name."""
    written = {
        f"{file}:{node.lineno} {node.value}"
        for file, tree in TREES.items()
        if file not in FOREIGN
        for node in texts(tree)
        if SEVERAL_WORDS.fullmatch(str(node.value)) and node.value in set(map(str, Reason))
    }
    assert written == set()


def test_a_member_is_its_word_and_says_what_to_do() -> None:
    for name, one in Reason.__members__.items():
        assert name == one == str(one) == f"{one}", "an alias, or a word that is spelt in two ways"
        assert one.meaning and one.advice, one
        assert "\n" not in one.meaning + one.advice and "|" not in one.meaning + one.advice, f"{one} breaks its table"
    assert {one.chapter for one in Reason} == set(Chapter)
    # What is well has nothing to try again, and what has nothing to try again is well.
    assert {one for one in Reason if one.standing is Standing.WELL} == {
        one for one in Reason if one.again is Again.NOTHING
    }


def test_every_reason_of_the_engine_the_gate_and_the_actions_blames_somebody() -> None:
    words = used("engine/", "apply/", "node/health_gate.py", "node/probe.py")
    assert len(words) > 20
    silent = {word for word in words if reasons.read(word).blames is None}
    assert silent == set()
    assert {rule.reason.blames for rule in (*faults._PULL, *faults._CONTAINER)} == set(Blame)


@pytest.mark.parametrize("reason", [one for one in Reason if one.startswith("Git") and one is not Reason.GitFailed])
def test_what_is_said_of_a_remote_is_transient_where_the_table_says_that_it_is_tried_again(reason: Reason) -> None:
    error = failures.failure(reason, "https://user:word@git.example/x.git", "it hangs", retry_after=3.0)
    assert isinstance(error, errors.Transient) == (reason.again is Again.YES)
    assert str(error) == f"https://git.example/x.git: it hangs ({reason.advice})"


def test_a_word_of_another_version_stays_that_word() -> None:
    """A file of a newer program, a report of a newer host: nothing is lost, and nothing is believed."""
    later = reasons.read("WaitsForNews")
    assert later == "WaitsForNews" and str(later) == "WaitsForNews" and f"{later:<14}|" == "WaitsForNews  |"
    assert json.dumps({"reason": later}) == '{"reason": "WaitsForNews"}'
    assert (later.harmless, later.tried_again, later.blames, later.api) == (False, False, None, "other")
    assert later not in set(Reason) and reasons.known("WaitsForNews") is None
    for kind, row in (
        (Held, {"target": "web", "reason": "WaitsForNews", "message": "until wave 2"}),
        (
            Condition,
            {"type": "Ready", "status": False, "reason": "Later", "message": "", "since": "2026-03-01T00:00:00"},
        ),
        (RepositoryStatus, {"ok": False, "reason": "GitQuotaSpent"}),
        (Refusal, {"commit": "c" * 40, "reason": "SiteTooNew", "message": "m"}),
        (Failure, {"reason": "Later", "message": "m", "blames": "the host", "again": "2026-03-01T00:00:00"}),
    ):
        assert to_json(from_json(kind, row)) == row, kind
    known = from_json(Held, {"target": "web", "reason": "DiskFull", "message": ""})
    assert known.reason is Reason.DiskFull


@pytest.mark.parametrize("word", ["", "diskFull", "Disk Full", "Disk\nFull", "D" * 65, "<b>", 7, None])
def test_what_can_be_no_reason_is_refused(word: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        from_json(Held, {"target": "web", "reason": word, "message": ""})


def test_an_outcome_without_a_reason_has_none() -> None:
    row = {"action": {"verb": "start", "target": "web", "cause": "down"}, "result": "done"}
    assert to_json(from_json(Outcome, row)) == row and from_json(Outcome, row).reason is None
