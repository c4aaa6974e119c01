import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler import errors
from reconciler.forge import Forge, MergeRequest, connect
from reconciler.forge.api import ForgeSettings

from .conftest import COMMIT, CONTEXT, success
from .github_server import Gitea, GitHub
from .standin import Fault

Connect = Callable[..., Forge]
MARKER = "<!-- reconciler:site -->"


@pytest.fixture(params=[GitHub, Gitea])
def server(request: pytest.FixtureRequest, token: str) -> Iterator[GitHub]:
    made: GitHub = request.param()
    made.repository.commits.add(COMMIT)
    made.tokens[token] = (7, "reconciler")
    with made:
        yield made
    assert made.violations == []


@pytest.fixture
def forge(server: GitHub, connect_to: Connect) -> Forge:
    kind = "gitea" if isinstance(server, Gitea) else "github"
    return connect_to(server, kind=kind, project="owner/site")


def test_statuses(server: GitHub, forge: Forge) -> None:
    assert forge.find_status(COMMIT, CONTEXT) is None
    for state, word in (("pending", "pending"), ("failed", "failure"), ("canceled", "error"), ("success", "success")):
        status: Any = success(f"is {state}", state=state, target_url="https://node1")
        forge.post_status(status, "main")
        assert server.repository.statuses[-1][server.state_key] == word
        assert forge.find_status(COMMIT, CONTEXT) == status
    for number in range(150):  # the page with ours is not the first
        server.repository.statuses.append({**server.repository.statuses[0], "id": 1000 + number, "context": "ci"})
    found = forge.find_status(COMMIT, CONTEXT)
    assert found
    assert found.state == "success"
    forge.deployment("node1", COMMIT, "main", "success")


def test_descriptions_have_the_forges_length(server: GitHub, forge: Forge) -> None:
    forge.post_status(success("word " * 100), "main")
    text = server.repository.statuses[0]["description"]
    assert len(text) == {"GitHub": 140, "Gitea": 255}[type(server).__name__]
    assert text.endswith(" word…")


def test_limits(server: GitHub, forge: Forge) -> None:
    server.status_limit = 1
    forge.post_status(success("one"), "main")
    for _ in range(2):
        with pytest.raises(errors.Terminal) as caught:
            forge.post_status(success("two"), "main")
        assert caught.value.reason == "ForgeLimitReached"
    assert server.count("POST") == 2
    with pytest.raises(errors.Terminal, match="No commit found") as caught:
        forge.post_status(success(commit="f" * 40), "main")
    assert caught.value.reason == "ForgeRejected"


@pytest.mark.parametrize("fault", [Fault.answer(502, done=True), Fault("close", done=True), Fault.answer(500)])
def test_retried_without_a_second_row(server: GitHub, forge: Forge, fault: Fault) -> None:
    server.fail("POST", "/statuses/", fault)
    forge.post_status(success(), "main")
    assert len(server.repository.statuses) == 1


def test_rate_limits_say_403(server: GitHub, forge: Forge) -> None:
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1800)}
    server.fail("POST", "/statuses/", Fault("status", 403, {"message": "API rate limit exceeded"}, reset))
    with pytest.raises(errors.Transient) as caught:
        forge.post_status(success(), "main")
    assert caught.value.reason == "ForgeBusy"
    assert caught.value.retry_after == pytest.approx(1800, abs=60)
    server.fail("POST", "/statuses/", Fault("status", 403, {"message": "secondary rate limit"}, {"Retry-After": "0"}))
    forge.post_status(success(), "main")
    server.fail("POST", "/statuses/", Fault.answer(403, "Resource not accessible"))
    with pytest.raises(errors.Terminal, match=r"it needs .*(statuses|repository)") as forbidden:
        forge.post_status(success("two"), "main")
    assert forbidden.value.reason == "ForgeForbidden"


def test_one_note(server: GitHub, forge: Forge) -> None:
    other = {"id": 0, "issue": 3, "body": f"{MARKER}\nfaked", "user": {"id": 8, "login": "mallory"}}
    server.repository.comments.append(other)
    server._last = 100
    server.repository.comments += [{**other, "id": n, "body": "remark"} for n in range(1, 50)]
    for text in ("first", "second", "second"):
        forge.upsert_note(3, MARKER, text)
    assert (server.count("POST"), server.count("PATCH")) == (1, 1)
    ours = [c["body"] for c in server.repository.comments if c["user"]["id"] == 7]
    assert ours == [f"{MARKER}\nsecond"]
    jobs = [threading.Thread(target=forge.upsert_note, args=(4, MARKER, "text")) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [c["body"] for c in server.repository.comments if c["issue"] == 4] == [f"{MARKER}\ntext"]


def test_pull_request_of_a_commit(server: GitHub, forge: Forge) -> None:
    assert forge.merge_request_of(COMMIT) is None
    pull = {"number": 5, "title": "More", "html_url": "https://x/5", "user": {"login": "op"}, "state": "open"}
    server.repository.pulls.append({**pull, "commits": [COMMIT], "merged_at": None})
    assert forge.merge_request_of(COMMIT) == MergeRequest(5, "More", "https://x/5", "op")


def test_github_com_has_its_own_address(token_file: Any) -> None:
    forge: Any = connect(ForgeSettings("github", "https://github.com", "owner/site", token_file))
    assert forge._client._root == "https://api.github.com"
