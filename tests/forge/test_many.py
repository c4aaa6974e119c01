"""Who speaks for many: few questions, and deployments through the outbox that statuses have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.forge import Deployments, Forge, Status, Statuses, StatusReporter

from .conftest import COMMIT, CONTEXT, success
from .github_server import Gitea, GitHub
from .gitlab_server import GitLab
from .standin import Fault

Connect = Callable[..., Forge]
OTHER = "b" * 40


def test_all_statuses_in_one_question(gitlab: GitLab, connect_to: Connect) -> None:
    forge = connect_to(gitlab)
    for number in range(130):
        forge.post_status(success(f"{number}", context=f"{CONTEXT}/{number}"), "main")
    forge.post_status(success("newer", context=f"{CONTEXT}/7", state="failed"), "main")
    gitlab.add_user("somebody", "glpat-somebody")
    before = len(gitlab.seen)
    found = connect_to(gitlab).statuses(COMMIT, "main")
    assert len(found) == 130 and found[f"{CONTEXT}/7"].state == "failed"
    assert len(gitlab.seen) - before == 3  # who am I, and two pages
    assert connect_to(gitlab).statuses(COMMIT, "other") == {}


def test_what_was_posted_from_here_is_asked_anew(gitlab: GitLab, connect_to: Connect) -> None:
    """A list that was made before a post would say that nothing is there, and the status would be there twice."""
    many = Statuses(connect_to(gitlab))
    assert many.find_status(COMMIT, CONTEXT, "main") is None
    many.post_status(success("one"), "main")
    found = many.find_status(COMMIT, CONTEXT, "main")
    assert found and found.description == "one"
    questions = gitlab.count("GET", "/statuses")
    assert many.find_status(COMMIT, f"{CONTEXT}/2", "main") is None
    assert gitlab.count("GET", "/statuses") == questions


def test_an_answer_that_was_lost_makes_no_second_row(gitlab: GitLab, connect_to: Connect, tmp_path: Path) -> None:
    outbox = StatusReporter(Statuses(connect_to(gitlab, retry_for=0.0)), tmp_path / "posted.json", jitter=0.0)
    outbox._pause = lambda error: 0.0  # type: ignore[method-assign]
    gitlab.fail("POST", "/statuses/", Fault.answer(502, done=True))
    outbox.submit(success(), "main")
    assert outbox.flush(30)
    outbox.close(1)
    assert [row.status for row in gitlab.projects["cloud/site"].rows] == ["success"]


@pytest.mark.parametrize("kind", ["github", "gitea"])
def test_the_other_forges(kind: str, connect_to: Connect, token: str) -> None:
    server: Any = (GitHub if kind == "github" else Gitea)()
    server.repository.commits.add(COMMIT)
    server.tokens[token] = (7, "reconciler")
    with server:
        forge = connect_to(server, kind=kind, project="owner/site")
        assert forge.statuses(COMMIT) == {}
        forge.post_status(success("one"), "main")
        forge.post_status(success("two", state="failed"), "main")
        forge.post_status(success("three", context=f"{CONTEXT}/2"), "main")
        found = forge.statuses(COMMIT)
        assert {name: status.description for name, status in found.items()} == {CONTEXT: "two", f"{CONTEXT}/2": "three"}
        forge.deployment("site/n1", COMMIT, "main", "success", known=True)
        assert forge.deployments() == {}
    assert server.violations == []


def test_deployments_go_through_the_outbox(gitlab: GitLab, connect_to: Connect, tmp_path: Path) -> None:
    project = gitlab.projects["cloud/site"]
    project.add_commit(OTHER)
    store = tmp_path / "deployed.json"

    def deploy(*items: tuple[str, str, str], fresh: bool = False) -> int:
        """What they cost."""
        if fresh:
            store.unlink()
        before = len(gitlab.seen)
        outbox = StatusReporter(Deployments(connect_to(gitlab)), store, jitter=0.0)
        for environment, commit, state in items:
            outbox.submit(Status(commit, environment, state), "main", key=state)  # type: ignore[arg-type]
        assert outbox.flush(30)
        outbox.close(1)
        return len(gitlab.seen) - before

    first = [(f"north/n{n}", COMMIT, "success") for n in range(5)]
    assert deploy(*first) == 6  # one question, five deployments
    assert deploy(*first) == 0
    assert deploy(*first, fresh=True) == 1  # it is shown already
    assert deploy(("north/n1", OTHER, "failed"), ("north/n2", OTHER, "success")) == 2
    assert deploy(("north/n1", OTHER, "success")) == 1
    gitlab.fail("POST", "/deployments", Fault.answer(502, done=True), Fault.answer(429, retry_after="0"))
    deploy(("north/n3", OTHER, "success"), ("north/n4", OTHER, "success"))
    newest = {d.environment: (d.sha, d.status) for d in project.deployments}
    assert newest["north/n0"] == (COMMIT, "success")
    assert all(newest[f"north/n{n}"] == (OTHER, "success") for n in range(1, 5))
    assert len(project.deployments) == 5 + 2 + 1 + 2  # none twice, though an answer was lost
    assert connect_to(gitlab).deployments("north/n0") == {"north/n0": (COMMIT, "success")}
    assert set(project.environments) == {f"north/n{n}" for n in range(5)}
