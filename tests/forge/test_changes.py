"""From commits to pages and merge requests: out of settings and messages, and from the stand-ins."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.forge import Forge, MergeRequest
from reconciler.forge.changes import MergeRequests, Project, project_of
from reconciler.settings import Forge as ForgeOfSettings

from .conftest import COMMIT
from .github_server import Gitea, GitHub
from .gitlab_server import GitLab
from .standin import Fault

Connect = Callable[..., Forge]
LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.mark.parametrize(
    ("git_url", "commit_url"),
    [
        ("https://gitlab.example.org/cloud/site.git", "https://gitlab.example.org/cloud/site/-/commit/"),
        ("https://oauth2:t0ken@gitlab.example.org:8443/a/b/c", "https://gitlab.example.org:8443/a/b/c/-/commit/"),
        ("git@gitlab.com:cloud/site.git", "https://gitlab.com/cloud/site/-/commit/"),
        ("ssh://git@gitlab.example.org:2222/cloud/site.git", "https://gitlab.example.org/cloud/site/-/commit/"),
        ("git@github.com:cloud/site", "https://github.com/cloud/site/commit/"),
        ("https://codeberg.org/cloud/site.git", "https://codeberg.org/cloud/site/commit/"),
        # Nothing tells what kind of server that is, or there is none.
        ("https://git.example.org/cloud/site.git", None),
        ("https://mygitlab.example.org/cloud/site.git", None),
        ("https://gitlab.example.org/site.git", None),
        ("https://gitlab.example.org/cloud/../%2e", None),
        ("file:///srv/gitlab/cloud/site.git", None),
        ("/srv/gitlab/site.git", None),
        ("https://[gitlab", None),
    ],
)
def test_pages_from_the_git_address(git_url: str, commit_url: str | None) -> None:
    found = project_of(None, git_url)
    assert (found.commit_url("") if found else None) == commit_url


def test_pages_from_the_settings_come_first(tmp_path: Path) -> None:
    def project(kind: str, url: str) -> Project | None:
        return project_of(ForgeOfSettings(kind, url, "a/b", tmp_path), "git@github.com:mirror/site")  # type: ignore[arg-type]

    assert project("gitlab", "https://git.example.org/gitlab/") == Project(
        "gitlab", "https://git.example.org/gitlab", "a/b"
    )
    cloud = project("github", "https://api.github.com")
    assert cloud is not None and cloud.merge_request_url(7) == "https://github.com/a/b/pull/7"


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("gitlab", "Merge branch 'x' into 'main'\n\nMore workers\n\nCloses #3\n\nSee merge request a/b!12", (12, "More workers")),
        ("gitlab", "Merge branch 'x' into 'main'\n\nMore\n\nSee merge request !7\n", (7, "More")),
        ("gitlab", "More workers\n\nSee merge request a/b!5", (5, "More workers")),
        ("gitlab", "Quote\n\nSee merge request a/b!1\n\nSee merge request a/b!2", (2, "Quote")),
        # Another project's merge request, one that does not exist, text only
        ("gitlab", "Merge\n\nSee merge request other/b!12", None),
        ("gitlab", "Merge\n\nSee merge request a/b!99999999999999999999", None),
        ("gitlab", "See merge request a/b!12", None),
        ("gitlab", "Merge\n\nI said: See merge request a/b!12 for more", None),
        ("gitlab", "More workers (#12)", None),
        ("github", "Merge pull request #12 from a/x\n\nMore workers", (12, "More workers")),
        ("github", "More workers (#12)\n\n* one\n* two", (12, "More workers")),
        ("github", "Fixes #12", None),
        ("gitea", "Merge pull request 'It''s (#9) more' (#12) from x into main\n\nReviewed-on: …", (12, "It''s (#9) more")),
        ("gitea", "More workers (#12)", (12, "More workers")),
    ],
)  # fmt: skip
def test_what_messages_name(kind: str, message: str, expected: tuple[int, str] | None) -> None:
    project = Project(kind, "https://x.example", "a/b")  # type: ignore[arg-type]
    subject, _, body = message.partition("\n")
    found = project.named_in(subject, body.strip())
    page = {"gitlab": "/-/merge_requests/", "github": "/pull/", "gitea": "/pulls/"}[kind]
    assert found == (MergeRequest(*expected, f"https://x.example/a/b{page}{expected[0]}", "") if expected else None)


def test_asked_once_and_kept(gitlab: GitLab, connect_to: Connect, tmp_path: Path) -> None:
    from .gitlab_state import MergeRequest as Stored

    other, direct, young = "b" * 40, "c" * 40, "d" * 40
    project = gitlab.projects["cloud/site"]
    for commit in (other, direct, young):
        project.add_commit(commit)
    user = next(iter(gitlab.tokens.values()))
    project.merge_requests.append(Stored(1, "More", "x", "main", user, state="merged", merge_commit_sha=COMMIT))
    file = tmp_path / "links.json"
    wanted = [(COMMIT, LONG_AGO), (direct, LONG_AGO), (young, datetime.now(UTC))]
    expected = {COMMIT: MergeRequest(1, "More", f"{gitlab.url}/cloud/site/-/merge_requests/1", "reconciler")}
    first = MergeRequests(connect_to(gitlab), file)
    assert (first.find(wanted), first.failure) == (expected, "")
    assert gitlab.count("GET") == 3
    assert json.loads(file.read_text()).keys() == {COMMIT, direct}
    # A commit that came a moment ago may get its merge request yet; nothing else is asked again.
    assert MergeRequests(connect_to(gitlab), file).find(wanted) == expected
    assert gitlab.count("GET") == 4
    for broken in ("{", "[]", '{"a": {"iid": 1}}', '{"a": 3}'):
        file.write_text(broken)
        assert MergeRequests(connect_to(gitlab), file).find(wanted[:1]) == expected
    # A commit that the forge does not know is no reason to stop.
    one = MergeRequests(connect_to(gitlab), file)
    assert one.find([("e" * 40, LONG_AGO), *wanted]) == expected
    assert "404 Commit Not Found" in one.failure and one.failure.endswith("[ForgeRejected]")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("hang", seconds=30), "ForgeUnreachable"),
        (Fault.answer(503), "ForgeBusy"),
        (Fault.answer(429, retry_after="3600"), "ForgeBusy"),
        (Fault("garbage"), "ForgeUnreachable"),
    ],
)
def test_a_forge_that_does_not_answer_is_asked_no_more(
    gitlab: GitLab, connect_to: Connect, tmp_path: Path, fault: Fault, reason: str
) -> None:
    gitlab.fail("GET", "merge_requests", fault)
    asked = MergeRequests(connect_to(gitlab, timeout=0.5, retry_for=0.0), tmp_path / "links.json")
    assert asked.find([(COMMIT, LONG_AGO), ("b" * 40, LONG_AGO)]) == {}
    assert gitlab.count("GET") == 1
    assert asked.failure.endswith(f"[{reason}]") and "\n" not in asked.failure
    assert not (tmp_path / "links.json").exists()


def test_no_longer_than_agreed(gitlab: GitLab, connect_to: Connect, tmp_path: Path) -> None:
    commits = [f"{number:040x}" for number in range(9)]
    for commit in commits:
        gitlab.projects["cloud/site"].add_commit(commit)
    seconds = iter(range(0, 1000, 4))
    asked = MergeRequests(connect_to(gitlab), tmp_path / "links.json", lambda: next(seconds))
    assert asked.find([(commit, LONG_AGO) for commit in commits]) == {}
    assert asked.failure == "not everything was asked within 10 s; the next time goes on"
    assert json.loads((tmp_path / "links.json").read_text()).keys() == set(commits[:2])


@pytest.mark.parametrize("server_type", [GitHub, Gitea])
def test_pull_requests(server_type: type[GitHub], connect_to: Connect, token: str, tmp_path: Path) -> None:
    with server_type() as server:
        server.tokens[token] = (1, "op")
        row = {"number": 5, "title": "More", "html_url": "https://x/5", "user": {"login": "op"}, "state": "closed"}
        server.repository.pulls.append({**row, "merged_at": "2026-01-01T00:00:00Z", "commits": [COMMIT]})
        forge = connect_to(server, kind=server_type.__name__.lower(), project="owner/site")
        asked = MergeRequests(forge, tmp_path / "links.json")
        assert asked.find([(COMMIT, LONG_AGO), ("b" * 40, LONG_AGO)]) == {
            COMMIT: MergeRequest(5, "More", "https://x/5", "op")
        }
        assert asked.failure == ""
