"""`history` on a node whose site lies in the GitLab stand-in: where each change comes from."""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from reconciler.state import StateDirectory
from tests.cli.conftest import commit, git
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import MergeRequest, Project
from tests.forge.standin import Fault

Cli = Callable[..., Result]


@dataclass
class Day:
    """A repository with a first commit, a merged change, one merged without a merge commit, and a node that took all three."""

    gitlab: GitLab
    project: Project
    settings: Path
    state: StateDirectory
    commits: list[str]

    def record(self, commit: str, **more: Any) -> None:
        entry = {
            "at": f"2026-01-01T1{len(self.state.history.newest())}:00:00+00:00",
            "revision": commit,
            "subject": git(self.state.repository, "log", "-1", "--format=%s", commit) if commit else "",
            "author": git(self.state.repository, "log", "-1", "--format=%an", commit) if commit else "",
            "testing": "",
            "trigger": "new commit",
            "seconds": 1.5,
            "refused": None,
            "failure": None,
            "actions": [{"line": "restart    web", "result": "done", "reason": "", "message": "", "drift": False, "seconds": 1.0}],
            "explained": {},
        }  # fmt: skip
        self.state.history.record({**entry, **more})

    def page(self, rest: str) -> str:
        return f"{self.gitlab.url}/cloud/site/-/{rest}"


@pytest.fixture
def day(tmp_path: Path, checkout: Path) -> Iterator[Day]:
    token = "glpat-" + secrets.token_hex(16)
    (tmp_path / "token").write_text(token)
    state = StateDirectory(tmp_path / "state")
    state.create()
    commits = [git(checkout, "rev-parse", "HEAD")]
    bare = tmp_path / "site.git"
    git(tmp_path, "clone", "-q", "--bare", str(checkout), str(bare))
    with GitLab() as gitlab:
        user = gitlab.add_user("ops", token)
        project = gitlab.add_project("cloud/site", bare)
        for number, method in enumerate(("merge", "ff"), 1):
            branch, project.merge_method = f"change-{number}", method
            git(checkout, "switch", "-q", "-c", branch, commits[-1])
            (checkout / "globals.yml").write_text(f"site_greeting: hello {number}\n")
            commit(checkout, f"Greeting {number}")
            git(checkout, "push", "-q", str(bare), branch)
            project.merge_requests.append(MergeRequest(number, f"Greet the {number}.", branch, "main", user))
            commits.append(project.merge(number))
            git(checkout, "fetch", "-q", str(bare), "main")
        git(tmp_path, "clone", "-q", "--bare", str(bare), str(state.repository))
        settings = tmp_path / "reconciler.toml"
        settings.write_text(
            f'host = "web1"\nstate_dir = "{state.path}"\n[git]\nurl = "file://{bare}"\n'
            f'[forge]\nkind = "gitlab"\nurl = "{gitlab.url}"\nproject = "cloud/site"\ntoken_file = "{tmp_path}/token"\n'
        )
        found = Day(gitlab, project, settings, state, commits)
        for one in commits:
            found.record(one)
        yield found
        assert gitlab.violations == []


def test_each_change_with_commit_merge_request_and_author(cli: Cli, day: Day) -> None:
    first, merged, forwarded = day.commits
    drift = [{"line": "start      web", "result": "done", "reason": "", "message": "", "drift": True, "seconds": 0.1}]
    day.record(forwarded, actions=drift, trigger="engine event")
    done = cli("--config", day.settings, "history", "--no-actions")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.partition("  ")[2] for line in done.stdout.splitlines()]
    assert (
        lines
        == [
            f"{forwarded[:12]} Greeting 2: 1 done in 1.5 s (engine event)",  # the same commit: no news about where it comes from
            f"{forwarded[:12]} Greeting 2: 1 done in 1.5 s (new commit)",
            "  by      author <author@example.org>",
            f"  merged  Greet the 2. (opened by ops): {day.page('merge_requests/2')}",
            f"  commit  {day.page('commit/')}{forwarded}",
            f"{merged[:12]} Merge branch 'change-1' into 'main': 1 done in 1.5 s (new commit)",
            "  by      GitLab <gitlab@example.org>",
            f"  merged  Greet the 1.: {day.page('merge_requests/1')}",
            f"  commit  {day.page('commit/')}{merged}",
            f"{first[:12]} first: 1 done in 1.5 s (new commit)",
            "  by      author <author@example.org>",
            f"  commit  {day.page('commit/')}{first}",
        ]
    )
    # The merge commit said it itself; what the forge told is kept.
    assert day.gitlab.count("GET") == 2
    assert cli("--config", day.settings, "history", "--no-actions").stdout == done.stdout
    assert day.gitlab.count("GET") == 2
    limited = cli("--config", day.settings, "history", "-n", "1")
    assert "  by  " not in limited.stdout
    assert "    start      web" in limited.stdout


def test_the_same_as_json(cli: Cli, day: Day) -> None:
    day.record("", refused={"commit": day.commits[1], "reason": "SiteInvalid", "message": "2 problems"}, actions=[])
    rows = json.loads(cli("--config", day.settings, "history", "--json").stdout)
    assert [row["commit_url"] and row["commit_url"][-40:] for row in rows] == [None, *reversed(day.commits)]
    assert rows[1]["merge_request"] == {
        "iid": 2,
        "title": "Greet the 2.",
        "url": day.page("merge_requests/2"),
        "author": "ops",
    }
    assert (rows[1]["author"], rows[1]["author_email"]) == ("author", "author@example.org")
    assert rows[0]["refused"]["merge_request"]["iid"] == 1
    assert rows[0]["refused"]["author_email"] == "gitlab@example.org"
    assert (rows[3]["merge_request"], rows[3]["commit_url"]) == (None, f"{day.page('commit/')}{day.commits[0]}")
    shown = cli("--config", day.settings, "history").stdout.splitlines()
    assert shown[1:4] == [
        f"    refused {day.commits[1][:12]}: 2 problems [SiteInvalid]",
        "    by      GitLab <gitlab@example.org>",
        f"    merged  Greet the 1.: {day.page('merge_requests/1')}",
    ]


def test_a_forge_that_is_away_takes_only_its_own_lines(cli: Cli, day: Day) -> None:
    day.gitlab.fail("GET", "merge_requests", Fault.answer(502))
    away = cli("--config", day.settings, "history")
    assert away.exit_code == 0
    assert away.stderr.count("\n") == 1
    assert away.stderr.startswith("merge requests may be missing: ")
    assert away.stderr.endswith("[ForgeBusy]\n")
    assert day.page("merge_requests/1") in away.stdout
    assert day.page("merge_requests/2") not in away.stdout
    assert away.stdout.count("  commit  ") == 3
    asked = day.gitlab.count("GET")
    offline = cli("--config", day.settings, "history", "--offline")
    assert (offline.stdout, offline.stderr) == (away.stdout, "")
    assert day.gitlab.count("GET") == asked
    assert day.page("merge_requests/2") in cli("--config", day.settings, "history").stdout


@pytest.mark.parametrize("case", ["no forge", "no clone", "token gone", "old entries"])
def test_what_is_not_known_is_left_out(cli: Cli, day: Day, tmp_path: Path, case: str) -> None:
    text = day.settings.read_text()
    if case == "no forge":
        day.settings.write_text(text.partition("[forge]")[0])
    elif case == "no clone":
        day.state.repository.rename(tmp_path / "gone")
    elif case == "token gone":
        (tmp_path / "token").unlink()
    else:
        rows = [
            {k: v for k, v in row.items() if k not in ("author", "subject")}
            for row in reversed(day.state.history.newest())
        ]
        (day.state.path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = cli("--config", day.settings, "history")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("  by      ") == 3
    assert ("  commit  " in done.stdout) == (case != "no forge")
    assert ("merge_requests/1" in done.stdout) == (case != "no forge")
    assert ("merge_requests/2" in done.stdout) == (case not in ("no forge", "token gone"))
    assert ("[ForgeMisconfigured]" in done.stderr) == (case == "token gone")
