"""GitHub (and what Gitea shares with it): commit statuses, and notes as comments of pull requests."""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from reconciler import errors
from reconciler.forge import github_sign_offs
from reconciler.forge.answers import commit_id, is_commit_id, number_of, part_of, text_of
from reconciler.forge.api import (
    DeploymentState,
    ForgeSettings,
    MergeRequest,
    OpenRequest,
    SignOff,
    State,
    Status,
    first_line,
    marked,
    shorten,
    valid_target,
)
from reconciler.forge.client import MAX_ANSWER, NOTES_A_PAGE, Client
from reconciler.reasons import Reason

_SENT: dict[State, str] = {"pending": "pending", "success": "success", "failed": "failure", "canceled": "error"}
_READ: dict[str, State] = {"success": "success", "failure": "failed", "error": "canceled"}
_LIMIT = re.compile(r"maximum number of statuses", re.IGNORECASE)


class GitHub:
    """A `Forge` for github.com and GitHub Enterprise Server. Statuses are keyed by context alone, whoever posted."""

    note_limit = 65_536
    description_limit = 140
    _size = "per_page"
    _timeline = False  # whether it tells who pushed, and when
    _status_right = "write access to commit statuses (repo:status)"
    _note_right = "write access to pull requests (or issues)"

    def __init__(self, settings: ForgeSettings) -> None:
        self._client = self._connect(settings)
        self._repository = f"/repos/{settings.project}"
        self._full: set[tuple[str, str]] = set()

    def post_status(self, status: Status, ref: str) -> None:
        """See `Forge`. `ref` is not used: a status belongs to the commit."""
        key = (commit_id(status.commit), status.context)
        if key in self._full:
            raise _limit_reached(*key)
        body: dict[str, Any] = {
            "state": _SENT[status.state],
            "context": status.context,
            "description": shorten(status.description, self.description_limit),
        }
        if target := valid_target(status.target_url):
            body["target_url"] = target

        def attempt(repeated: bool) -> None:
            if repeated:
                found = self._find(status.commit, status.context)
                if found and (found.state, found.description) == (status.state, body["description"]):
                    return
            answer = self._client.once(
                "POST",
                f"{self._repository}/statuses/{status.commit}",
                body=body,
                accept=frozenset({422}),
                right=self._status_right,
            )
            if answer.code == 422 and _LIMIT.search(answer.words):
                self._full.add(key)
                raise _limit_reached(*key)
            if answer.code == 422:
                message = f"the status {status.context} is rejected with 422: {answer.message}"
                raise errors.Terminal(message, reason=Reason.ForgeRejected)

        self._client.retry(attempt)

    def find_status(self, commit: str, context: str, ref: str | None = None) -> Status | None:
        """See `Forge`. The newest one counts on these forges, whoever posted it."""
        return self._client.retry(lambda _: self._find(commit, context))

    def statuses(self, commit: str, ref: str | None = None) -> dict[str, Status]:
        """See `Forge`."""
        return self._client.retry(lambda _: self._newest(commit))

    def upsert_note(self, merge_request: int, marker: str, body: str) -> None:
        """See `Forge`. Two jobs at the same moment can both make a note; the later one of the two is deleted again."""
        note = marked(marker, body, self.note_limit)
        notes = f"{self._repository}/issues/{int(merge_request)}/comments"
        one = f"{self._repository}/issues/comments"

        def attempt(_: bool) -> None:
            ours = self._own_notes(notes, marker)
            if not ours:
                self._client.once("POST", notes, body={"body": note}, right=self._note_right)
                ours = self._own_notes(notes, marker)
            for number, _text in ours[1:]:
                self._client.once("DELETE", f"{one}/{number}", accept=frozenset({404}), right=self._note_right)
            if ours and ours[0][1].rstrip() != note.rstrip():
                self._client.once("PATCH", f"{one}/{ours[0][0]}", body={"body": note}, right=self._note_right)

        self._client.retry(attempt)

    def merge_request_of(self, commit: str) -> MergeRequest | None:
        """See `Forge`."""
        path = f"{self._repository}/commits/{commit_id(commit)}/pulls"
        rows = self._client.retry(lambda _: list(self._client.pages(path, {})))
        merged = [row for row in rows if row.get("merged_at")]
        opened = [row for row in rows if row.get("state") == "open"]
        return self._pull(next(iter(merged + opened), None))

    def open_requests(self, target: str, most: int) -> list[OpenRequest]:
        """See `Forge`."""

        def attempt(_: bool) -> list[OpenRequest]:
            rows = self._client.pages(f"{self._repository}/pulls", self._newest_pulls(target), size=self._size)
            found = (one for row in rows if part_of(row, "base").get("ref") == target and (one := self._open(row)))
            return list(islice(found, most + 1))

        return self._client.retry(attempt)

    def request(self, number: int) -> OpenRequest:
        """See `Forge`."""
        row = self._client.retry(lambda _: self._client.once("GET", f"{self._repository}/pulls/{int(number)}")).body
        found = self._open(row) if isinstance(row, dict) else None
        if found is None:
            raise errors.Terminal(f"pull request {number} has no commit", reason=Reason.ForgeRejected)
        return found

    def sign_offs(
        self, request: OpenRequest, *, approvals: bool, labels: Collection[str], seen: float
    ) -> tuple[SignOff, ...]:
        """See `Forge`."""
        places = github_sign_offs.Places(self._repository, request.iid, self._size, self._timeline)

        def attempt(_: bool) -> tuple[SignOff, ...]:
            return tuple(github_sign_offs.read(self._client, places, request, approvals, labels, seen))

        return self._client.retry(attempt)

    def deployment(
        self, environment: str, commit: str, ref: str, state: DeploymentState, *, known: bool = False
    ) -> None:
        """Nothing: only GitLab shows which commit is on which host."""

    def deployments(self, environment: str | None = None) -> dict[str, tuple[str, str]]:
        """See `Forge`."""
        return {}

    def _connect(self, settings: ForgeSettings) -> Client:
        url = settings.url.rstrip("/")
        cloud = urlsplit(url).hostname in ("github.com", "www.github.com", "api.github.com")
        return Client(
            settings,
            "https://api.github.com" if cloud else f"{url}/api/v3",
            header="Authorization",
            prefix="Bearer ",
            extra={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        )

    def _find(self, commit: str, context: str) -> Status | None:
        return self._newest(commit).get(context)

    def _newest(self, commit: str) -> dict[str, Status]:
        """Context → its newest status."""
        path = f"{self._repository}/commits/{commit_id(commit)}/statuses"
        found: dict[str, Status] = {}
        rows = self._client.pages(path, {}, size=self._size)
        for row in sorted(rows, key=lambda row: number_of(self._client, row, "id")):
            context = text_of(row, "context")
            # GitHub calls the field `state`, Gitea `status`.
            state = _READ.get(text_of(row, "state") or text_of(row, "status"), "pending")
            text, target = text_of(row, "description"), text_of(row, "target_url") or None
            found[context] = Status(commit, context, state, text, target)
        return found

    def _comments(self, path: str) -> Iterable[dict[str, Any]]:
        return self._client.pages(path, {"per_page": NOTES_A_PAGE}, most=MAX_ANSWER)

    def _own_notes(self, path: str, marker: str) -> list[tuple[int, str]]:
        """(id, text) of our comments with that marker, the oldest first."""
        right = "to be a user's token: an app's installation token has no user"
        mine = number_of(self._client, self._client.once("GET", "/user", right=right).body, "id")
        found = []
        for row in self._comments(path):
            user, text = row.get("user"), row.get("body")
            own = isinstance(user, dict) and user.get("id") == mine
            if own and isinstance(text, str) and first_line(text) == marker:
                found.append((number_of(self._client, row, "id"), text))
        return sorted(found)

    def _newest_pulls(self, target: str) -> Mapping[str, str | int]:
        """The query for open pull requests into a branch."""
        return {"state": "open", "base": target, "sort": "updated", "direction": "desc"}

    def _open(self, row: Mapping[str, Any]) -> OpenRequest | None:
        pull, head = self._pull(row), part_of(row, "head")
        if pull is None or not is_commit_id(head.get("sha")):
            return None
        source, target = part_of(head, "repo").get("id"), part_of(part_of(row, "base"), "repo").get("id")
        own = source is not None and source == target  # a fork may be gone by now
        return OpenRequest(
            iid=pull.iid,
            title=pull.title,
            author=pull.author,
            head=str(head["sha"]),
            ref=f"refs/pull/{pull.iid}/head",
            branch=str(head.get("ref") or "") if own else "",
            draft=row.get("draft") is True,
        )

    def _pull(self, row: object) -> MergeRequest | None:
        if not isinstance(row, dict):
            return None
        return MergeRequest(
            iid=number_of(self._client, row, "number"),
            title=text_of(row, "title"),
            web_url=text_of(row, "html_url"),
            author=text_of(row.get("user"), "login"),
        )


def _limit_reached(commit: str, context: str) -> errors.Terminal:
    return errors.Terminal(
        f"commit {commit[:12]} takes no more statuses named {context}: the forge's limit is reached",
        reason=Reason.ForgeLimitReached,
    )
