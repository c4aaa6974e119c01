"""Small stateful stand-ins for GitHub Enterprise Server and for Gitea/Forgejo."""

from dataclasses import dataclass, field
from typing import Any

from .standin import Refused, Reply, Request, StandIn, route


@dataclass
class Repository:
    """What one repository remembers."""

    statuses: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    commits: set[str] = field(default_factory=set)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)  # GitHub's issue events, Gitea's timeline
    made_by: list[str] = field(default_factory=list)  # logins behind a pull request's commits
    writers: set[str] = field(default_factory=set)


class GitHub(StandIn):
    """`tokens` maps tokens to (id, login); one repository, `owner/site`."""

    api, scheme, size_parameter, state_key = "/api/v3", "Bearer ", "per_page", "state"
    states = ("error", "failure", "pending", "success")
    description_limit = 140
    status_limit = 1000

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.repository = Repository()
        self.tokens: dict[str, tuple[int, str]] = {}
        self._last = 0

    def _user(self, request: Request) -> dict[str, Any]:
        header = request.headers.get("Authorization", "")
        user = self.tokens.get(header.removeprefix(self.scheme)) if header.startswith(self.scheme) else None
        if user is None:
            raise Refused(401, {"message": "Bad credentials"})
        return {"id": user[0], "login": user[1]}

    def _new_id(self) -> int:
        self._last += 1
        return self._last

    def _page(self, request: Request, rows: list[Any]) -> Reply:
        page, size = int(request.query.get("page", 1)), min(int(request.query.get(self.size_parameter, 30)), 100)
        more = page * size < len(rows)
        link = {"Link": f'<{self.url}{request.path}?page={page + 1}>; rel="next"'} if more else {}
        return Reply(200, rows[(page - 1) * size : page * size], link)

    @route("GET", "/api/v[13]/user")
    def user(self, request: Request) -> Reply:
        return Reply(200, self._user(request))

    @route("POST", "/api/v[13]/repos/owner/site/statuses/{sha}")
    def post_status(self, request: Request, sha: str) -> Reply:
        user, body = self._user(request), request.json
        if sha not in self.repository.commits:
            raise Refused(422, {"message": f"No commit found for SHA: {sha}"})
        if body.get("state") not in self.states or len(body.get("description") or "") > self.description_limit:
            raise Refused(422, {"message": "Validation Failed", "errors": [{"field": "description or state"}]})
        same = [s for s in self.repository.statuses if (s["sha"], s["context"]) == (sha, body["context"])]
        if len(same) >= self.status_limit:
            text = "This SHA and context has reached the maximum number of statuses."
            raise Refused(422, {"message": "Validation Failed", "errors": [{"message": text}]})
        row = {
            "id": self._new_id(),
            "sha": sha,
            self.state_key: body["state"],
            "context": body["context"],
            "description": body.get("description"),
            "target_url": body.get("target_url"),
            "creator": user,
        }
        self.repository.statuses.append(row)
        return Reply(201, row)

    @route("GET", "/api/v[13]/repos/owner/site/commits/{sha}/statuses")
    def statuses(self, request: Request, sha: str) -> Reply:
        self._user(request)
        return self._page(request, [s for s in reversed(self.repository.statuses) if s["sha"] == sha])

    @route("GET", "/api/v3/repos/owner/site/commits/{sha}/pulls")
    def pulls(self, request: Request, sha: str) -> Reply:
        self._user(request)
        return self._page(request, [p for p in self.repository.pulls if sha in p["commits"]])

    @route("GET", "/api/v[13]/repos/owner/site/pulls")
    def open_pulls(self, request: Request) -> Reply:
        self._user(request)
        rows = [p for p in self.repository.pulls if p["state"] == request.query.get("state", "open")]
        if "base" in request.query:
            rows = [p for p in rows if p["base"]["ref"] == request.query["base"]]
        return self._page(request, rows)

    @route("GET", "/api/v[13]/repos/owner/site/pulls/{number}")
    def one_pull(self, request: Request, number: str) -> Reply:
        self._user(request)
        for row in self.repository.pulls:
            if row["number"] == int(number):
                return Reply(200, row)
        raise Refused(404, {"message": "Not Found"})

    @route("GET", "/api/v[13]/repos/owner/site/pulls/{number}/reviews")
    def reviews(self, request: Request, number: str) -> Reply:
        self._user(request)
        return self._page(request, [r for r in self.repository.reviews if r["pull"] == int(number)])

    @route("GET", "/api/v[13]/repos/owner/site/pulls/{number}/commits")
    def pull_commits(self, request: Request, number: str) -> Reply:
        self._user(request)
        rows = [
            {"sha": f"{n:040x}", "author": {"login": who}, "committer": None}
            for n, who in enumerate(self.repository.made_by)
        ]
        return self._page(request, rows)

    @route("GET", "/api/v3/repos/owner/site/issues/{number}/events")
    def issue_events(self, request: Request, number: str) -> Reply:
        self._user(request)
        return self._page(request, [e for e in self.repository.events if e["issue"] == int(number)])

    @route("GET", "/api/v3/repos/owner/site/collaborators/{login}/permission")
    def permission(self, request: Request, login: str) -> Reply:
        self._user(request)
        return Reply(200, {"permission": "write" if login in self.repository.writers else "read"})

    @route("GET", "/api/v[13]/repos/owner/site/issues/{number}/comments")
    def comments(self, request: Request, number: str) -> Reply:
        self._user(request)
        return self._page(request, [c for c in self.repository.comments if c["issue"] == int(number)])

    @route("POST", "/api/v[13]/repos/owner/site/issues/{number}/comments")
    def new_comment(self, request: Request, number: str) -> Reply:
        user = self._user(request)
        row = {"id": self._new_id(), "issue": int(number), "body": request.json["body"], "user": user}
        self.repository.comments.append(row)
        return Reply(201, row)

    @route("PATCH", "/api/v[13]/repos/owner/site/issues/comments/{comment}")
    def change_comment(self, request: Request, comment: str) -> Reply:
        row = self._own_comment(request, comment)
        row["body"] = request.json["body"]
        return Reply(200, row)

    @route("DELETE", "/api/v[13]/repos/owner/site/issues/comments/{comment}")
    def delete_comment(self, request: Request, comment: str) -> Reply:
        self.repository.comments.remove(self._own_comment(request, comment))
        return Reply(204)

    def _own_comment(self, request: Request, comment: str) -> dict[str, Any]:
        user = self._user(request)
        for row in self.repository.comments:
            if row["id"] == int(comment):
                if row["user"] != user:
                    raise Refused(403, {"message": "Must have admin rights to Repository."})
                return row
        raise Refused(404, {"message": "Not Found"})

    def check_request(self, request: Request) -> None:
        """See `StandIn`: another forge's paths are a violation."""
        if not request.path.startswith(self.api + "/"):
            self.violations.append(f"{request.method} {request.path}: not under {self.api}")


class Gitea(GitHub):
    """Gitea's and Forgejo's differences: paths, words, one pull request per commit, comments in one piece."""

    api, scheme, size_parameter, state_key = "/api/v1", "token ", "limit", "status"
    states = ("error", "failure", "pending", "success", "warning")  # type: ignore[assignment]
    description_limit = 100_000

    @route("GET", "/api/v1/repos/owner/site/commits/{sha}/pull")
    def pull(self, request: Request, sha: str) -> Reply:
        self._user(request)
        for row in self.repository.pulls:
            if sha in row["commits"]:
                return Reply(200, row)
        raise Refused(404, {"message": "pull request does not exist"})

    @route("GET", "/api/v1/repos/owner/site/issues/{number}/timeline")
    def timeline(self, request: Request, number: str) -> Reply:
        self._user(request)
        return self._page(request, [e for e in self.repository.events if e["issue"] == int(number)])

    @route("GET", "/api/v1/repos/owner/site/issues/{number}/comments")
    def comments(self, request: Request, number: str) -> Reply:
        self._user(request)
        return Reply(200, [c for c in self.repository.comments if c["issue"] == int(number)])
