"""A job: what its exit code and its output become, what is remembered of it, and where one is run that needs a container that runs."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.apply import Actions
from reconciler.model import Action, Container, Desired, Image, Job, JobResult, Outcome, Verb
from reconciler.reasons import Reason
from tests.apply.bed import Node
from tests.scenarios.world import World


@pytest.mark.parametrize(
    ("runs", "expected", "asked"),
    [
        (False, (1, "app does not run"), []),
        (True, (3, "said"), [("app", ("kick", "c"), 7.0)]),
    ],
)
def test_it_is_asked_where_it_runs(runs: bool, expected: tuple[int, str], asked: list[Any]) -> None:
    """What was not asked is not done: a member of a cluster that nobody forgot would count for its majority."""
    seen: list[Any] = []

    def execute(name: str, command: tuple[str, ...], timeout: float) -> tuple[int, str]:
        seen.append((name, command, timeout))
        return 3, "said"

    engine = SimpleNamespace(runs=lambda name: runs, execute=execute)
    job = Job("j", Container("j", "i", command=("kick", "c")), "d", timeout=7.0, inside="app")
    assert Actions._inside(cast(Any, SimpleNamespace(_engine=engine)), job) == expected
    assert seen == asked


SYNC = Job("sync", Container("sync", "i", command=("db", "sync")), "digest", timeout=50, owner="here", service="db")
SITE = Desired("site", "here", "r1", "/etc/kolla", jobs=(SYNC,), release="2026.1")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, World(images={"i": Image("i")}))


def run(node: Node, code: int = 0, output: str = "", job: Job = SYNC, claim: str = "") -> Outcome:
    node.engine.says = lambda name, command: (code, output)
    (outcome,) = node.act(replace(SITE, jobs=(job,)), Action(Verb.RUN, job.name, "first run", claim=claim))
    return outcome


def kept(node: Node, name: str = "sync") -> JobResult:
    return node.state.memory().jobs[name]


def test_one_that_ends_well_is_done_with_these_inputs(node: Node) -> None:
    began = datetime.now(UTC)
    outcome = run(node, 0, "ERROR: it says so, and ends well", claim="nonce")
    assert (outcome.result, outcome.reason, outcome.message) == ("done", None, "")
    assert node.engine.jobs == [(SYNC, "nonce")], "with the claim by which the other hosts know it"
    last = kept(node)
    assert (last.inputs, last.succeeded, last.message, last.claim) == ("digest", True, "", "nonce")
    assert began <= last.finished_at <= datetime.now(UTC)
    assert node.plan(SITE).empty
    changed = replace(SITE, jobs=(replace(SYNC, inputs="other"),))
    assert [action.cause for action in node.plan(changed).actions] == ["its inputs changed"]


def test_one_that_fails_says_first_why_and_then_how_it_ended(node: Node) -> None:
    output = "connecting\n2026-03-01 10:00:00 ERROR db [-] no such table: users\nfailed to sync\ngiving up\n"
    outcome = run(node, 1, output, claim="nonce")
    assert (outcome.result, outcome.reason) == ("failed", Reason.JobFailed)
    assert outcome.message == f"sync: no such table: users (exit code 1)\n{output.strip()}"
    last = kept(node)
    assert (last.succeeded, last.claim) == (False, "nonce") and outcome.message.startswith(last.message)
    (action,) = node.plan(SITE).actions
    assert (action.verb, action.cause.partition("\n")[0]) == (
        "run", "it failed before: sync: no such table: users (exit code 1)"
    )  # fmt: skip


def test_one_that_says_nothing_is_told_by_its_code(node: Node) -> None:
    assert run(node, 137, " \n").message == "sync ended with exit code 137"
    assert run(node, 2, "usage: db\n").message == "sync ended with exit code 2\nusage: db"


def test_of_a_long_output_the_end_is_told_and_less_is_remembered(node: Node) -> None:
    said = run(node, 1, "x" * 5000 + "y" * 1500).message
    assert said == "sync ended with exit code 1\n" + "y" * 1500
    assert kept(node).message == said[:300]
    assert run(node, 1, "ERROR: " + "z" * 5000).message.splitlines()[0] == f"sync: {'z' * 200} (exit code 1)"


def test_a_migration_is_noted_before_it_is_begun(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun may have changed the schema, whatever became of it."""
    run(node)
    assert node.state.memory().schema_release == ""

    def dies(job: Job, claim: str = "") -> tuple[int, str]:
        assert node.state.memory().schema_release == "2026.1"
        raise errors.Transient("no answer", reason=Reason.EngineTimeout)

    monkeypatch.setattr(node.engine, "run_once", dies)
    outcome = run(node, job=replace(SYNC, migration=True))
    assert (outcome.result, outcome.reason) == ("failed", Reason.EngineTimeout)


def test_what_became_of_one_inside_a_container_is_remembered_too(node: Node) -> None:
    app = Container("app", "i", service="db")
    inside = replace(SYNC, inside="app")
    assert run(node, 4, "ERROR: never asked", job=inside).result == "failed" and not kept(node).succeeded
    node.converge(replace(SITE, containers=(app,), jobs=()))
    outcome = run(node, 4, "ERROR: no such host", job=inside)
    assert (outcome.reason, outcome.message) == (
        Reason.JobFailed, "sync: no such host (exit code 4)\nERROR: no such host"
    )  # fmt: skip
    assert not node.engine.jobs, "none of its own"
    node.engine.stop("app")
    assert run(node, job=inside).message == "sync ended with exit code 1\napp does not run"
    assert not kept(node).succeeded
