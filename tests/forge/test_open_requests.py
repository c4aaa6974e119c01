"""Open merge requests as each forge lists them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler.forge import Forge

from .conftest import COMMIT
from .github_server import Gitea, GitHub
from .gitlab_server import GitLab
from .gitlab_state import MergeRequest, User
from .standin import Fault

Connect = Callable[..., Forge]


def test_gitlab(gitlab: GitLab, connect_to: Connect) -> None:
    project = gitlab.projects["cloud/site"]
    user = User(5, "op")
    for number in range(1, 131):
        project.add_commit(f"{number:040x}", f"b{number}")
        target = "other" if number % 10 == 0 else "main"
        project.merge_requests.append(MergeRequest(number, f"Draft: {number}", f"b{number}", target, user))
    project.merge_requests[0].state = "closed"
    project.merge_requests[1].source_branch = "gone"  # no commit yet
    forge = connect_to(gitlab)
    gitlab.fail("GET", "/merge_requests", Fault.answer(502))
    found = forge.open_requests("main", 200)
    assert len(found) == 130 - 13 - 2
    newest = found[0]
    assert (newest.iid, newest.head, newest.ref) == (129, f"{129:040x}", "refs/merge-requests/129/head")
    assert (newest.branch, newest.author, newest.title, newest.draft) == ("b129", "op", "Draft: 129", True)
    # No more is asked for than is wanted, and whether there is more can be told.
    gitlab.seen.clear()
    assert len(forge.open_requests("main", 20)) == 21
    assert gitlab.count("GET") == 1


@pytest.fixture(params=[GitHub, Gitea])
def server(request: pytest.FixtureRequest, token: str) -> Iterator[GitHub]:
    made: GitHub = request.param()
    made.tokens[token] = (7, "reconciler")
    with made:
        yield made
    assert made.violations == []


def test_github_and_gitea(server: GitHub, connect_to: Connect) -> None:
    def pull(number: int, **changes: Any) -> dict[str, Any]:
        head = {"sha": f"{number:040x}", "ref": f"b{number}", "repo": {"id": 1}}
        return {
            "number": number, "title": "More", "html_url": "https://x/5", "user": {"login": "op"}, "state": "open",
            "draft": False, "base": {"ref": "main", "repo": {"id": 1}}, "head": head, "commits": [COMMIT], **changes,
        }  # fmt: skip

    rows = [pull(number) for number in range(1, 121)]
    rows[0] = pull(1, head={"sha": COMMIT, "ref": "main", "repo": {"id": 2}})  # a fork's branch named like ours
    rows[1] = pull(2, head={"sha": COMMIT, "ref": "main", "repo": None})  # the fork is gone
    rows[2] = pull(3, base={"ref": "other", "repo": {"id": 1}})
    rows[3] = pull(4, state="closed")
    rows[4] = pull(5, head={"sha": None})
    server.repository.pulls = rows
    kind = "gitea" if isinstance(server, Gitea) else "github"
    forge = connect_to(server, kind=kind, project="owner/site")
    found = {one.iid: one for one in forge.open_requests("main", 200)}
    assert len(found) == 117
    assert (found[1].branch, found[2].branch, found[6].branch) == ("", "", "b6")
    assert found[1].ref == "refs/pull/1/head" and found[1].author == "op" and not found[1].draft
    assert len(forge.open_requests("main", 3)) == 4
