"""The stand-in itself: GitLab's transition table, and that a violation of the description is seen."""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from .conftest import COMMIT
from .gitlab_server import GitLab
from .gitlab_state import quick_actions

PATH = f"/api/v4/projects/cloud%2Fsite/statuses/{COMMIT}"


def post(server: GitLab, token: str, state: str, **more: str) -> requests.Response:
    body = {"state": state, "ref": "main", "name": "ci", **more}
    return requests.post(server.url + PATH, json=body, headers={"PRIVATE-TOKEN": token}, timeout=5)


@pytest.mark.parametrize(
    ("before", "after", "code", "rows"),
    [
        (None, "pending", 201, 1),
        (None, "success", 201, 1),
        ("pending", "pending", 400, 1),
        ("pending", "running", 201, 1),
        ("running", "running", 400, 1),
        ("running", "pending", 400, 1),
        ("running", "skipped", 400, 1),
        ("pending", "success", 201, 1),
        ("pending", "failed", 201, 1),
        ("running", "canceled", 201, 1),
        ("success", "success", 201, 2),
        ("failed", "pending", 201, 2),
        ("canceled", "success", 201, 2),
    ],
)
def test_transitions(gitlab: GitLab, token: str, before: str | None, after: str, code: int, rows: int) -> None:
    if before:
        post(gitlab, token, before, description="before")
    answer = post(gitlab, token, after, description="after")
    found = gitlab.projects["cloud/site"].rows
    assert (answer.status_code, len(found)) == (code, rows)
    assert [row.retried for row in found] == [True, False][-rows:]
    assert found[-1].description == ("after" if code == 201 else "before")
    if code == 400:
        assert "Cannot transition status via :" in answer.json()["message"]


def test_another_user_makes_another_row(gitlab: GitLab, token: str) -> None:
    other = secrets.token_hex(16)
    gitlab.add_user("other", other)
    post(gitlab, token, "pending")
    post(gitlab, other, "success")
    assert [(r.status, r.author.username) for r in gitlab.projects["cloud/site"].rows] == [
        ("pending", "reconciler"),
        ("success", "other"),
    ]


def test_protected_branch_leaves_an_empty_pipeline(gitlab: GitLab) -> None:
    weak = secrets.token_hex(16)
    gitlab.add_user("developer", weak, level=30)
    gitlab.projects["cloud/site"].protected.add("main")
    assert post(gitlab, weak, "success").status_code == 403
    assert len(gitlab.projects["cloud/site"].pipelines) == 1
    assert gitlab.projects["cloud/site"].rows == []


def test_violations_are_recorded() -> None:
    token = secrets.token_hex(16)
    with GitLab() as server:
        server.add_project("cloud/site").add_commit(COMMIT)
        server.add_user("reconciler", token)
        headers = {"PRIVATE-TOKEN": token}
        requests.post(server.url + PATH, json={"state": "success", "nmae": "x"}, headers=headers, timeout=5)
        requests.get(f"{server.url}/api/v4/projects/x/pipelines", headers=headers, timeout=5)
        requests.get(f"{server.url}/api/v4/projects/x/deployments?envrionment=a", headers=headers, timeout=5)
    found = "\n".join(server.violations)
    assert "nmae" in found
    assert "pipelines" in found
    assert "envrionment" in found


def test_wrong_answers_are_recorded() -> None:
    token = secrets.token_hex(16)
    with GitLab() as server:
        user = server.add_user("reconciler", token)
        object.__setattr__(user, "id", "seven")
        requests.get(f"{server.url}/api/v4/user", headers={"PRIVATE-TOKEN": token}, timeout=5)
    assert "answer 200" in server.violations[0]
    assert "seven" in server.violations[0]


def test_alerts_resolve_by_fingerprint(gitlab: GitLab) -> None:
    gitlab.alert_key = key = secrets.token_hex(8)
    url = f"{gitlab.url}/cloud/site/alerts/notify/drift/0123.json"
    alert = {"title": "drift on node1", "fingerprint": "node1/keystone"}
    assert requests.post(url, json=alert, timeout=5).status_code == 401
    for payload in (alert, alert, {**alert, "end_time": "2025-11-01T00:00:00Z"}, alert):
        assert requests.post(url, json=payload, headers={"Authorization": f"Bearer {key}"}, timeout=5).ok
    found = gitlab.projects["cloud/site"].alerts
    assert [(a.status, a.events) for a in found] == [("resolved", 2), ("triggered", 1)]


def test_quick_actions_are_found() -> None:
    assert quick_actions("a\n/close\n```\n/label x\n```\n / no\n/merge") == ["/close", "/merge"]


def test_command_line(tmp_path: Path, token_file: Path, token: str) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "site.git"], check=True)
    command = [
        sys.executable,
        "-m",
        "tests.forge.gitlab_server",
        "--token-file",
        token_file,
        "--repo",
        tmp_path / "site.git",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])  # type: ignore[arg-type]
    try:
        assert server.stdout
        url = server.stdout.readline().strip()
        state = requests.get(f"{url}/-/state", timeout=5)
        assert list(state.json()["projects"]) == ["cloud/site"]
        assert token not in state.text
        assert requests.get(f"{url}/-/statuses", timeout=5).text.startswith("commit")
    finally:
        server.terminate()
        server.wait(10)
        if server.stdout:
            server.stdout.close()
