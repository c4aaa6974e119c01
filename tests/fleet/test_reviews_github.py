"""The same reviews on GitHub and Gitea: their pull requests, comments and statuses."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from reconciler import settings
from reconciler.fleet.reviews.loop import reviewer_of
from tests.forge.github_server import Gitea, GitHub
from tests.git import servers
from tests.review import sites


@pytest.mark.parametrize("kind", ["github", "gitea"])
def test_pull_requests(kind: str, tmp_path: Path) -> None:
    token = secrets.token_hex(20)
    (tmp_path / "token").write_text(token)
    (tmp_path / "reporter").mkdir(mode=0o700)
    repository = servers.make_repo(tmp_path / "site.git")
    rules = "name: small\nreview: {require: {data-plane: approval}}\n"
    servers.commit(repository, {**sites.small(2), "reconciler.yml": rules}, "first")
    server: GitHub = (GitHub if kind == "github" else Gitea)()
    server.tokens[token] = (7, "reconciler")
    hub = server.repository

    def push(number: int, text: str, **head: Any) -> str:
        ref = f"refs/pull/{number}/head"
        commit = servers.commit(
            repository, {"groups/web.yml": text}, "a change", branch=ref,
            parents=[servers.git(repository, "rev-parse", "refs/heads/main")],
        )  # fmt: skip
        hub.commits.add(commit)
        row = {
            "number": number, "title": "A change", "html_url": f"{server.url}/owner/site/pull/{number}", "state": "open",
            "user": {"login": "op"}, "draft": False, "base": {"ref": "main", "repo": {"id": 1}},
            "head": {"sha": commit, "ref": "b", "repo": {"id": 1}, **head}, "labels": [],
        }  # fmt: skip
        hub.pulls = [row, *(pull for pull in hub.pulls if pull["number"] != number)]
        return commit

    def notes(number: int) -> list[str]:
        return [row["body"] for row in hub.comments if row["issue"] == number]

    file = tmp_path / "reporter.toml"
    with server:
        file.write_text(
            f'[git]\nurl = "{repository.as_uri()}"\n'
            f'[forge]\nkind = "{kind}"\nurl = "{server.url}"\nproject = "owner/site"\ntoken_file = "{tmp_path}/token"\n'
            f'[reporter]\nstate_dir = "{tmp_path}/reporter"\n[review]\nenabled = true\n'
        )
        reviewer = reviewer_of(settings.load(file))
        assert reviewer
        push(1, "web_greeting: Bye\n")
        # A long plan, from a fork that is gone by now: the note fits what this forge takes.
        long = push(2, "".join(["web_greeting: |\n", *[f"  {n} {'x' * 300}\n" for n in range(2000)]]), repo=None)
        reviewer.round()
        assert ["+Bye from web1" in note for note in notes(1)] == [True]
        (note,) = notes(2)
        assert len(note) <= 65_536 and "git fetch origin refs/pull/2/head" in note
        assert {row["context"] for row in hub.statuses if row["sha"] == long} == {"reconciler/small/review"}
        # The gate: what somebody with the right to write posts over it does not stay; who approves opens it.
        head = hub.pulls[-1]["head"]["sha"]

        def shown() -> str:
            return [row[server.state_key] for row in hub.statuses if row["sha"] == head][-1]

        assert shown() == "failure"
        forged = {"id": 10_000, "sha": head, "context": "reconciler/small/review", server.state_key: "success"}
        hub.statuses.append({**forged, "description": "all is well", "target_url": None, "creator": {"id": 666}})
        server._last = 10_001
        reviewer.round()
        assert shown() == "failure"
        hub.writers.add("ana")
        hub.reviews.append(
            {"id": 1, "pull": 1, "user": {"id": 51, "login": "ana", "type": "User"}, "state": "APPROVED", "commit_id": head,
             "official": True}
        )  # fmt: skip
        reviewer.round()
        assert shown() == "success"
        wrong = push(1, "web_greetin: Bye\n")
        reviewer.round()
        assert ["hosts" not in note and "groups/web.yml:1:1: " in note for note in notes(1)] == [True]
        assert [row[server.state_key] for row in hub.statuses if row["sha"] == wrong] == ["pending", "failure"]
        hub.pulls = []
        assert reviewer.round().entries == ()
        reviewer.close()
    assert server.violations == []
