"""A stateful stand-in for GitLab, checked in both directions against its OpenAPI description.

    python -m tests.forge.gitlab_server --port 8929 --token-file FILE --repo SITE.git --project cloud/site

`GET /-/state` shows everything it remembers, `GET /-/statuses` the table that `print_statuses` prints,
`POST /-/merge/IID` merges (the button in the browser).
"""

import argparse
import contextlib
import json
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from . import gitlab_state as state
from .openapi import Checker
from .standin import Refused, Reply, Request, StandIn, route

_PROJECT = "/api/v4/projects/{project}"
_REQUESTS = _PROJECT + "/merge_requests/{iid}"


class GitLab(StandIn):
    """`tokens` gives each token's user. Projects come from `add_project`."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls)
        self.projects: dict[str, state.Project] = {}
        self.tokens: dict[str, state.User] = {}
        self.alert_key = ""
        self.people: dict[int, state.User] = {}  # of those without a token here
        self.tells_approved_at = True  # older versions do not
        self._checker = Checker()

    def add_project(self, path: str, repository: Path | None = None, **settings: Any) -> state.Project:
        """A project at `path`; with a bare `repository` its branches and commits are real."""
        self.projects[path] = state.Project(path, repository, **settings)
        return self.projects[path]

    def add_user(self, username: str, token: str, **settings: Any) -> state.User:
        """A user whose token is `token`; `level` and `scopes` limit what it may do."""
        self.tokens[token] = state.User(len(self.tokens) + 1, username, **settings)
        return self.tokens[token]

    def print_statuses(self, file: Any = None) -> None:
        """Every commit status, the newest last, as a table for humans."""
        print(self.statuses_table(), file=file or sys.stdout)

    def statuses_table(self) -> str:
        """The table that `print_statuses` prints. Rows that a newer one replaced are marked `old`."""
        head = ("commit", "branch", "context", "status", "", "description")
        with self.lock:
            rows = [
                (r.sha[:10], r.ref, r.name, r.status, "old" if r.retried else "", r.description or "")
                for project in self.projects.values()
                for r in project.rows
            ]
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in [head, *rows])

    def check_request(self, request: Request) -> None:
        """See `StandIn`."""
        if request.path.startswith("/api/"):
            self._violated(self._checker.request(request))

    def check_answer(self, request: Request, reply: Reply) -> None:
        """See `StandIn`."""
        if request.path.startswith("/api/"):
            data = b"" if reply.body is None else json.dumps(reply.body).encode()
            self._violated(self._checker.answer(request, reply, data))

    def _violated(self, found: list[str]) -> None:
        with self.lock:
            self.violations += found

    # Who asks, for what.

    def _user(self, request: Request, level: int = state.GUEST) -> state.User:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        user = self.tokens.get(request.headers.get("Private-Token") or bearer)
        if "Job-Token" in request.headers or user is None:
            raise Refused(401, {"message": "401 Unauthorized"})
        needed = {"api"} if request.method != "GET" else {"api", "read_api"}
        if not user.scopes & needed:
            text = "The request requires higher privileges than provided by the access token."
            raise Refused(403, {"error": "insufficient_scope", "error_description": text})
        if user.level < level:
            raise Refused(403, {"message": "403 Forbidden"})
        return user

    def _project(self, quoted: str) -> state.Project:
        try:
            return self.projects[unquote(quoted)]
        except KeyError:
            raise Refused(404, {"message": "404 Project Not Found"}) from None

    def _request(self, project: str, iid: str) -> tuple[state.Project, state.MergeRequest]:
        found = self._project(project)
        return found, found.merge_request(int(iid))

    def _page(self, request: Request, rows: Sequence[Any]) -> Reply:
        """20 a page unless asked otherwise, 100 at most."""
        page, size = int(request.query.get("page", 1)), min(int(request.query.get("per_page", 20)), 100)
        part = list(rows[(page - 1) * size : page * size])
        more = page * size < len(rows)
        headers = {"X-Page": str(page), "X-Per-Page": str(size), "X-Next-Page": str(page + 1) if more else ""}
        if more:
            headers["Link"] = f'<{self.url}{request.path}?page={page + 1}&per_page={size}>; rel="next"'
        return Reply(200, part, headers)

    # The interface.

    @route("GET", "/api/v4/version")
    def version(self, request: Request) -> Reply:
        self._user(request)
        return Reply(200, {"version": "18.5.0", "revision": "0", "enterprise": False})

    @route("GET", "/api/v4/user")
    def user(self, request: Request) -> Reply:
        return Reply(200, self._user(request).basic())

    @route("GET", "/api/v4/users/{number}")
    def person(self, request: Request, number: str) -> Reply:
        self._user(request)
        users = {user.id: user for user in self.tokens.values()} | self.people
        if (found := users.get(int(number))) is None:
            raise Refused(404, {"message": "404 User Not Found"})
        return Reply(200, {**found.basic(), "public_email": found.public_email or None, "bot": found.bot})

    @route("GET", _REQUESTS + "/approvals")
    def approvals(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request)
        _, it = self._request(project, iid)
        rows = [
            {"user": user.basic(), **({"approved_at": at} if self.tells_approved_at else {})}
            for user, at in it.approvals.values()
        ]
        return Reply(200, {"user_has_approved": False, "user_can_approve": True, "approved": True, "approved_by": rows})

    @route("GET", _REQUESTS + "/versions")
    def versions(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request)
        found, it = self._request(project, iid)
        found.head(it)
        rows = [
            {"id": v.id, "head_commit_sha": v.head, "created_at": v.created_at, "merge_request_id": it.iid}
            for v in reversed(it.versions)
        ]
        return self._page(request, rows)

    @route("GET", _REQUESTS + "/commits")
    def request_commits(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request)
        found, it = self._request(project, iid)
        rows = []
        for commit in found.commits_of(it):
            keys = ("author_name", "author_email", "committer_name", "committer_email")
            names = (
                found.git("show", "-s", "--format=%an%n%ae%n%cn%n%ce", commit).split("\n") if found.repository else []
            )
            rows.append({"id": commit, "short_id": commit[:8], **dict(zip(keys, names, strict=False))})
        return self._page(request, rows)

    @route("GET", _REQUESTS + "/resource_label_events")
    def label_events(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request)
        _, it = self._request(project, iid)
        rows = [
            {
                "id": e.id, "user": e.user.basic(), "created_at": e.created_at, "resource_type": "MergeRequest",
                "resource_id": it.iid, "label": {"id": 1, "name": e.label}, "action": e.action,
            }
            for e in it.labels
        ]  # fmt: skip
        return self._page(request, rows)

    @route("GET", _PROJECT)
    def project(self, request: Request, project: str) -> Reply:
        self._user(request)
        found = self._project(project)
        values = {"id": 1, "name": found.path.rpartition("/")[2], "path_with_namespace": found.path}
        return Reply(200, {**values, "default_branch": found.default_branch, "web_url": f"{self.url}/{found.path}"})

    @route("GET", _PROJECT + "/repository/branches")
    def branches(self, request: Request, project: str) -> Reply:
        self._user(request)
        found = self._project(project)
        return self._page(request, [self._branch(found, name, tip) for name, tip in sorted(found.branches().items())])

    @route("GET", _PROJECT + "/repository/branches/{branch}")
    def branch(self, request: Request, project: str, branch: str) -> Reply:
        self._user(request)
        found, name = self._project(project), unquote(branch)
        if name not in found.branches():
            raise Refused(404, {"message": "404 Branch Not Found"})
        return Reply(200, self._branch(found, name, found.branches()[name]))

    def _branch(self, project: state.Project, name: str, tip: str) -> dict[str, Any]:
        flags = {"protected": name in project.protected, "default": name == project.default_branch}
        return {"name": name, "commit": {"id": tip, "short_id": tip[:8]}, **flags}

    @route("GET", _PROJECT + "/repository/commits/{sha}")
    def commit(self, request: Request, project: str, sha: str) -> Reply:
        self._user(request)
        found = self._project(project)
        full = found.commit(unquote(sha))
        return Reply(200, {"id": full, "short_id": full[:8], "web_url": f"{self.url}/{found.path}/-/commit/{full}"})

    @route("GET", _PROJECT + "/repository/commits/{sha}/merge_requests")
    def commit_merge_requests(self, request: Request, project: str, sha: str) -> Reply:
        self._user(request)
        found = self._project(project)
        full = found.commit(sha)
        hits = [m for m in found.merge_requests if full == m.merge_commit_sha or full in found.commits_of(m)]
        return self._page(request, [self._merge_request(found, m) for m in hits])

    @route("GET", _PROJECT + "/repository/commits/{sha}/statuses")
    def statuses(self, request: Request, project: str, sha: str) -> Reply:
        self._user(request)
        found, query = self._project(project), request.query
        full = found.commit(sha)
        rows = [
            row
            for row in found.rows
            if row.sha == full
            and query.get("name", row.name) == row.name
            and query.get("ref", row.ref) == row.ref
            and int(query.get("pipeline_id", row.pipeline)) == row.pipeline
            and (query.get("all") == "true" or not row.retried)
        ]
        rows.sort(key=lambda row: row.id, reverse=query.get("sort") == "desc")
        return self._page(request, [self._status(row) for row in rows])

    @route("POST", _PROJECT + "/statuses/{sha}")
    def post_status(self, request: Request, project: str, sha: str) -> Reply:
        user = self._user(request)
        body = request.json
        for key in ("name", "context", "ref", "description", "target_url"):
            if len(body.get(key) or "") > 255:
                raise Refused(400, {"message": {key: ["is too long (maximum is 255 characters)"]}})
        if body.get("target_url") and not body["target_url"].startswith(("http://", "https://")):
            raise Refused(400, {"message": {"target_url": ["is blocked: Only allowed schemes are http, https"]}})
        if body.get("state") not in ("pending", "running", "success", "failed", "canceled", "skipped"):
            raise Refused(400, {"error": "state does not have a valid value"})
        return Reply(201, self._status(self._project(project).post_status(user, sha, body)))

    def _status(self, row: state.Row) -> dict[str, Any]:
        same = {k: getattr(row, k) for k in ("id", "sha", "ref", "name", "status", "description", "target_url")}
        times = {"created_at": row.created_at, "finished_at": row.finished_at}
        return {**same, **times, "allow_failure": False, "pipeline_id": row.pipeline, "author": row.author.basic()}

    @route("GET", _PROJECT + "/merge_requests")
    def merge_requests(self, request: Request, project: str) -> Reply:
        self._user(request)
        found = self._project(project)
        hits = [
            m
            for m in reversed(found.merge_requests)
            if request.query.get("state", "all") in ("all", m.state)
            and request.query.get("source_branch", m.source_branch) == m.source_branch
            and request.query.get("target_branch", m.target_branch) == m.target_branch
        ]
        return self._page(request, [self._merge_request(found, m) for m in hits])

    @route("POST", _PROJECT + "/merge_requests")
    def new_merge_request(self, request: Request, project: str) -> Reply:
        user, found, body = self._user(request, state.DEVELOPER), self._project(project), request.json
        if not body.get("title") or body["source_branch"] not in found.branches():
            raise Refused(400, {"error": "source_branch does not exist"})
        made = state.MergeRequest(
            len(found.merge_requests) + 1,
            body["title"],
            body["source_branch"],
            body["target_branch"],
            user,
            body.get("description", ""),
        )
        found.merge_requests.append(made)
        return Reply(201, self._merge_request(found, made))

    @route("GET", _REQUESTS)
    def merge_request(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request)
        return Reply(200, self._merge_request(*self._request(project, iid)))

    @route("PUT", _REQUESTS)
    def change_merge_request(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request, state.DEVELOPER)
        found, it = self._request(project, iid)
        event = request.json.get("state_event")
        it.state = {"close": "closed", "reopen": "opened"}.get(event, it.state)  # type: ignore[arg-type]
        it.title = request.json.get("title", it.title)
        return Reply(200, self._merge_request(found, it))

    def _merge_request(self, project: state.Project, it: state.MergeRequest) -> dict[str, Any]:
        same = {k: getattr(it, k) for k in ("iid", "title", "description", "state", "source_branch", "target_branch")}
        merged = {k: getattr(it, k) for k in ("merge_commit_sha", "merged_at") if getattr(it, k)}
        url = f"{self.url}/{project.path}/-/merge_requests/{it.iid}"
        tip = project.head(it)
        number = 1 + list(self.projects).index(project.path)
        return {
            "id": 1000 + it.iid,
            **same,
            **merged,
            **({"sha": tip} if tip else {}),
            "source_project_id": number if it.fork is None else 1000 + number,
            "target_project_id": number,
            "draft": it.title.startswith("Draft:"),
            "labels": it.label_names,
            "author": it.author.basic(),
            "web_url": url,
        }

    @route("GET", _REQUESTS + "/notes")
    def notes(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request)
        _, it = self._request(project, iid)
        rows = sorted(it.notes, key=lambda n: n.id, reverse=request.query.get("sort", "desc") == "desc")
        return self._page(request, [self._note(it, n) for n in rows])

    @route("POST", _REQUESTS + "/notes")
    def new_note(self, request: Request, project: str, iid: str) -> Reply:
        user = self._user(request, state.REPORTER)
        found, it = self._request(project, iid)
        return Reply(201, self._note(it, found.write(it, user, request.json["body"])))

    @route("GET", _REQUESTS + "/notes/{note}")
    def note(self, request: Request, project: str, iid: str, note: str) -> Reply:
        self._user(request)
        _, it = self._request(project, iid)
        return Reply(200, self._note(it, self._find_note(it, note)))

    @route("PUT", _REQUESTS + "/notes/{note}")
    def change_note(self, request: Request, project: str, iid: str, note: str) -> Reply:
        found, it, own = self._own_note(request, project, iid, note)
        found.rewrite(own, request.json["body"])
        return Reply(200, self._note(it, own))

    @route("DELETE", _REQUESTS + "/notes/{note}")
    def delete_note(self, request: Request, project: str, iid: str, note: str) -> Reply:
        _, it, own = self._own_note(request, project, iid, note)
        it.notes.remove(own)
        return Reply(204)

    def _own_note(
        self, request: Request, project: str, iid: str, note: str
    ) -> tuple[state.Project, state.MergeRequest, state.Note]:
        user = self._user(request, state.REPORTER)
        found, it = self._request(project, iid)
        own = self._find_note(it, note)
        if own.author.id != user.id:
            raise Refused(403, {"message": "403 Forbidden"})
        return found, it, own

    def _find_note(self, it: state.MergeRequest, note: str) -> state.Note:
        for one in it.notes:
            if one.id == int(note):
                return one
        raise Refused(404, {"message": "404 Note Not Found"})

    def _note(self, it: state.MergeRequest, note: state.Note) -> dict[str, Any]:
        keys = ("id", "body", "created_at", "updated_at", "system", "resolvable", "resolved")
        same = {k: getattr(note, k) for k in keys}
        return {**same, "author": note.author.basic(), "noteable_type": "MergeRequest", "noteable_iid": it.iid}

    @route("GET", _REQUESTS + "/discussions")
    def discussions(self, request: Request, project: str, iid: str) -> Reply:
        self._user(request)
        _, it = self._request(project, iid)
        return self._page(
            request, [self._discussion(it, name) for name in dict.fromkeys(n.discussion for n in it.notes)]
        )

    @route("POST", _REQUESTS + "/discussions")
    def new_discussion(self, request: Request, project: str, iid: str) -> Reply:
        user = self._user(request, state.REPORTER)
        found, it = self._request(project, iid)
        note = found.write(it, user, request.json["body"])
        note.resolvable = True
        return Reply(201, self._discussion(it, note.discussion))

    @route("PUT", _REQUESTS + "/discussions/{discussion}")
    def resolve(self, request: Request, project: str, iid: str, discussion: str) -> Reply:
        self._user(request, state.DEVELOPER)
        _, it = self._request(project, iid)
        for note in it.notes:
            if note.discussion == discussion and note.resolvable:
                note.resolved = request.json["resolved"]
        return Reply(200, self._discussion(it, discussion))

    def _discussion(self, it: state.MergeRequest, name: str) -> dict[str, Any]:
        notes = [n for n in it.notes if n.discussion == name]
        if not notes:
            raise Refused(404, {"message": "404 Discussion Not Found"})
        return {
            "id": name,
            "individual_note": not notes[0].resolvable,
            "notes": [self._note(it, n) for n in notes],
        }

    @route("GET", _PROJECT + "/deployments")
    def deployments(self, request: Request, project: str) -> Reply:
        self._user(request)
        query = request.query
        rows = [
            d
            for d in self._project(project).deployments
            if query.get("environment", d.environment) == d.environment and query.get("status", d.status) == d.status
        ]
        rows.sort(key=lambda d: d.id, reverse=query.get("sort") == "desc")
        return self._page(request, [self._deployment(d) for d in rows])

    @route("POST", _PROJECT + "/deployments")
    def new_deployment(self, request: Request, project: str) -> Reply:
        user, found, body = self._user(request, state.DEVELOPER), self._project(project), request.json
        sha, stamp = found.commit(body["sha"]), state.now()
        if body["environment"] not in found.environments:
            found.environments.append(body["environment"])
        made = state.Deployment(
            found.next_id(), body["environment"], sha, body["ref"], body["status"], user, stamp, stamp
        )
        found.deployments.append(made)
        return Reply(201, self._deployment(made))

    @route("GET", _PROJECT + "/deployments/{number}")
    def deployment(self, request: Request, project: str, number: str) -> Reply:
        self._user(request)
        return Reply(200, self._deployment(self._find_deployment(project, number)))

    @route("PUT", _PROJECT + "/deployments/{number}")
    def change_deployment(self, request: Request, project: str, number: str) -> Reply:
        self._user(request, state.DEVELOPER)
        it = self._find_deployment(project, number)
        if it.status not in ("created", "running"):
            raise Refused(400, {"message": f"Cannot transition status from :{it.status}"})
        it.status, it.updated_at = request.json["status"], state.now()
        return Reply(200, self._deployment(it))

    def _find_deployment(self, project: str, number: str) -> state.Deployment:
        for it in self._project(project).deployments:
            if it.id == int(number):
                return it
        raise Refused(404, {"message": "404 Deployment Not Found"})

    def _deployment(self, it: state.Deployment) -> dict[str, Any]:
        keys = ("id", "sha", "ref", "status", "created_at", "updated_at")
        environment = {"id": 1, "name": it.environment, "slug": it.environment}
        return {**{k: getattr(it, k) for k in keys}, "iid": it.id, "user": it.user.basic(), "environment": environment}

    @route("GET", _PROJECT + "/environments")
    def environments(self, request: Request, project: str) -> Reply:
        self._user(request)
        names = enumerate(self._project(project).environments, 1)
        wanted = request.query.get("name")
        rows = [{"id": i, "name": n, "slug": n, "state": "available"} for i, n in names if wanted in (None, n)]
        return self._page(request, rows)

    @route("POST", _PROJECT + "/environments")
    def new_environment(self, request: Request, project: str) -> Reply:
        self._user(request, state.DEVELOPER)
        found, name = self._project(project), request.json["name"]
        if name in found.environments:
            raise Refused(400, {"message": {"name": ["has already been taken"]}})
        found.environments.append(name)
        return Reply(201, {"id": len(found.environments), "name": name, "slug": name, "state": "available"})

    # Not part of the REST API: alerts (their own key), and what the tests and demos look at.

    @route("POST", "/{namespace}/{name}/alerts/notify/{integration}/{endpoint}")
    def alert(self, request: Request, namespace: str, name: str, integration: str, endpoint: str) -> Reply:
        if not self.alert_key or request.headers.get("Authorization") != f"Bearer {self.alert_key}":
            raise Refused(401, None)
        payloads = request.json
        if not payloads.get("title"):
            raise Refused(400, None)
        alert = self._project(f"{namespace}/{name}").alert(payloads)
        return Reply(200, [{"iid": str(alert.iid), "title": alert.title}])

    @route("POST", "/-/merge/{iid}")
    def press_merge(self, request: Request, iid: str) -> Reply:
        return Reply(200, {"sha": next(iter(self.projects.values())).merge(int(iid))})

    @route("GET", "/-/statuses")
    def show_statuses(self, request: Request) -> Reply:
        return Reply(200, (self.statuses_table() + "\n").encode(), {"Content-Type": "text/plain; charset=utf-8"})

    @route("GET", "/-/state")
    def show_state(self, request: Request) -> Reply:
        def plain(value: object) -> object:
            return sorted(value) if isinstance(value, (set, frozenset)) else str(value)

        shown = {path: asdict(project) for path, project in self.projects.items()}
        view = {"projects": shown, "violations": self.violations, "requests": [asdict(s) for s in self.seen]}
        return Reply(200, json.loads(json.dumps(view, default=plain)))


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="a stand-in for GitLab on 127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    token = parser.add_mutually_exclusive_group(required=True)
    token.add_argument("--token", help="the token of a maintainer (visible in the process list; for throw-away tokens)")
    token.add_argument("--token-file", type=Path)
    parser.add_argument("--alert-key", default="")
    parser.add_argument("--repo", type=Path, help="a bare repository")
    parser.add_argument("--project", default="cloud/site")
    parser.add_argument("--username", default="reconciler")
    options = parser.parse_args()
    server = GitLab(options.port)
    server.add_project(options.project, options.repo)
    server.add_user(options.username, options.token or options.token_file.read_text().strip())
    server.alert_key = options.alert_key
    with server:
        print(server.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
