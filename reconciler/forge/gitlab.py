"""GitLab: commit statuses, notes, merge requests and deployments through its REST API v4."""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from reconciler import errors
from reconciler.forge import gitlab_sign_offs
from reconciler.forge.answers import commit_id, is_commit_id, number_of, text_of
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

_STATUS_RIGHT = (
    "the scope api and the Developer role, and on a protected branch the right to push or merge (often Maintainer)"
)
_NOTE_RIGHT = "the scope api and the Reporter role (a job's CI_JOB_TOKEN cannot write notes)"
_DEPLOY_RIGHT = "the scope api and the Developer role, and on a protected environment the right to deploy"
# GitLab's words in ours. A status that somebody skipped will not come any more.
_STATES: dict[str, State] = {"success": "success", "failed": "failed", "canceled": "canceled", "skipped": "canceled"}
_LIMIT = re.compile(r"number of jobs|exceeded the limit", re.IGNORECASE)


class GitLab:
    """A `Forge`. One user posts: rows of other users with the same name are neither read nor changed."""

    note_limit = 1_000_000
    description_limit = 255

    def __init__(self, settings: ForgeSettings) -> None:
        self._client = Client(settings, f"{settings.url.rstrip('/')}/api/v4", header="PRIVATE-TOKEN")
        self._project = f"/projects/{quote(settings.project, safe='')}"
        self._full: set[str] = set()
        self._mine: tuple[str, int] | None = None  # fingerprint of the token, id of its user

    def post_status(self, status: Status, ref: str) -> None:
        """See `Forge`. A pending status that is pending already stays as it is: GitLab does not update its text."""
        commit = commit_id(status.commit)
        if commit in self._full:
            raise _limit_reached(commit)
        body: dict[str, Any] = {
            "state": status.state,
            "ref": ref,
            "name": status.context,
            "description": shorten(status.description, self.description_limit),
        }
        if target := valid_target(status.target_url):
            body["target_url"] = target

        def attempt(repeated: bool) -> None:
            # A success on top of the same success would be a second row.
            if repeated and self._shown(commit, status, ref):
                return
            self._post(commit, body)

        self._client.retry(attempt)

    def find_status(self, commit: str, context: str, ref: str | None = None) -> Status | None:
        """See `Forge`."""
        return self._client.retry(lambda _: self._find(commit_id(commit), context, ref))

    def statuses(self, commit: str, ref: str | None = None) -> dict[str, Status]:
        """See `Forge`."""
        found: dict[str, Status] = {}

        def attempt(_: bool) -> None:
            found.clear()
            for status in self._own_statuses(commit_id(commit), {}, ref):
                found.setdefault(status.context, status)

        self._client.retry(attempt)
        return found

    def upsert_note(self, merge_request: int, marker: str, body: str) -> None:
        """See `Forge`. Two jobs at the same moment can both make a note; the later one of the two is deleted again."""
        note = marked(marker, body, self.note_limit)
        notes = f"{self._project}/merge_requests/{int(merge_request)}/notes"

        def attempt(_: bool) -> None:
            ours = self._own_notes(notes, marker)
            if not ours:
                self._client.once("POST", notes, body={"body": note}, right=_NOTE_RIGHT)
                ours = self._own_notes(notes, marker)
            for number, _text in ours[1:]:
                self._client.once(
                    "DELETE", f"{notes}/{number}", accept=frozenset({404}), right="to be the author of the note"
                )
            if ours and ours[0][1].rstrip() != note.rstrip():
                self._client.once("PUT", f"{notes}/{ours[0][0]}", body={"body": note}, right=_NOTE_RIGHT)

        self._client.retry(attempt)

    def merge_request_of(self, commit: str) -> MergeRequest | None:
        """See `Forge`."""
        path = f"{self._project}/repository/commits/{commit_id(commit)}/merge_requests"
        rows = self._client.retry(lambda _: list(self._client.pages(path, {})))
        for state in ("merged", "opened"):
            for row in rows:
                if row.get("state") == state:
                    return MergeRequest(
                        iid=number_of(self._client, row, "iid"),
                        title=text_of(row, "title"),
                        web_url=text_of(row, "web_url"),
                        author=text_of(row.get("author"), "username"),
                    )
        return None

    def open_requests(self, target: str, most: int) -> list[OpenRequest]:
        """See `Forge`."""
        wanted = {"state": "opened", "target_branch": target, "order_by": "updated_at", "sort": "desc"}

        def attempt(_: bool) -> list[OpenRequest]:
            rows = self._client.pages(f"{self._project}/merge_requests", wanted)
            found = (one for row in rows if row.get("target_branch") == target and (one := self._open(row)))
            return list(islice(found, most + 1))

        return self._client.retry(attempt)

    def request(self, number: int) -> OpenRequest:
        """See `Forge`."""
        path = f"{self._project}/merge_requests/{int(number)}"
        row = self._client.retry(lambda _: self._client.once("GET", path)).body
        found = self._open(row) if isinstance(row, dict) else None
        if found is None:
            raise errors.Terminal(f"merge request {number} has no commit", reason=Reason.ForgeRejected)
        return found

    def sign_offs(
        self, request: OpenRequest, *, approvals: bool, labels: Collection[str], seen: float
    ) -> tuple[SignOff, ...]:
        """See `Forge`. GitLab says itself when a head came."""
        path = f"{self._project}/merge_requests/{request.iid}"

        def attempt(_: bool) -> tuple[SignOff, ...]:
            return tuple(gitlab_sign_offs.read(self._client, path, request, approvals, labels, self._user()))

        return self._client.retry(attempt)

    def deployment(
        self, environment: str, commit: str, ref: str, state: DeploymentState, *, known: bool = False
    ) -> None:
        """See `Forge`. GitLab makes the environment when it does not exist."""
        commit = commit_id(commit)
        path = f"{self._project}/deployments"
        newest: dict[str, str | int] = {"environment": environment, "order_by": "id", "sort": "desc", "per_page": 1}

        def attempt(repeated: bool) -> None:
            if repeated or not known:
                answer = self._client.once("GET", path, params=newest)
                last = answer.body[0] if isinstance(answer.body, list) and answer.body else {}
                same = isinstance(last, dict) and last.get("sha") == commit
                if same and last.get("status") == state:
                    return
                if same and last.get("status") in ("created", "running"):
                    to = f"{path}/{number_of(self._client, last, 'id')}"
                    self._client.once("PUT", to, body={"status": state}, right=_DEPLOY_RIGHT)
                    return
            new = {"environment": environment, "sha": commit, "ref": ref, "tag": False, "status": state}
            self._client.once("POST", path, body=new, right=_DEPLOY_RIGHT)

        self._client.retry(attempt)

    def deployments(self, environment: str | None = None) -> dict[str, tuple[str, str]]:
        """See `Forge`."""
        wanted: dict[str, str | int] = {"order_by": "id", "sort": "desc", "per_page": 1 if environment else 100}
        if environment:
            wanted["environment"] = environment
        path = f"{self._project}/deployments"
        rows = self._client.retry(lambda _: self._client.once("GET", path, params=wanted)).body
        found: dict[str, tuple[str, str]] = {}
        for row in rows if isinstance(rows, list) else ():
            if name := text_of(row.get("environment") if isinstance(row, dict) else None, "name"):
                found.setdefault(name, (text_of(row, "sha"), text_of(row, "status")))
        return found

    def _open(self, row: Mapping[str, Any]) -> OpenRequest | None:
        if not is_commit_id(row.get("sha")):  # it was made a moment ago
            return None
        iid, author = number_of(self._client, row, "iid"), row.get("author")
        # Who does not say where it is from is taken for a fork: no branch of the project is named after it.
        own = row.get("source_project_id") is not None and row.get("source_project_id") == row.get("target_project_id")
        return OpenRequest(
            iid=iid,
            title=str(row.get("title") or ""),
            author=str(author.get("username") or "") if isinstance(author, dict) else "",
            head=str(row["sha"]),
            ref=f"refs/merge-requests/{iid}/head",
            branch=str(row.get("source_branch") or "") if own else "",
            draft=row.get("draft") is True,
        )

    def _post(self, commit: str, body: dict[str, Any]) -> None:
        answer = self._client.once(
            "POST", f"{self._project}/statuses/{commit}", body=body, accept=frozenset({400, 422}), right=_STATUS_RIGHT
        )
        if answer.code == 422 and _LIMIT.search(answer.message):
            self._full.add(commit)
            raise _limit_reached(commit)
        # The row says already what it was asked to say.
        if answer.code == 400 and "cannot transition status" in answer.message.lower():
            return
        if answer.code >= 400:
            message = f"GitLab rejects the status {body['name']} with {answer.code}: {answer.message}"
            raise errors.Terminal(message, reason=Reason.ForgeRejected)

    def _find(self, commit: str, context: str, ref: str | None) -> Status | None:
        found = self._own_statuses(commit, {"name": context}, ref)
        return next((status for status in found if status.context == context), None)

    def _own_statuses(self, commit: str, wanted: Mapping[str, str], ref: str | None) -> Iterator[Status]:
        """Our rows of a commit, the newest first."""
        mine = self._user()
        params = {**wanted, "order_by": "id", "sort": "desc", **({"ref": ref} if ref else {})}
        for row in self._client.pages(f"{self._project}/repository/commits/{commit}/statuses", params):
            author = row.get("author")
            if isinstance(author, dict) and author.get("id") == mine:
                yield Status(
                    commit=commit,
                    context=text_of(row, "name"),
                    state=_STATES.get(text_of(row, "status"), "pending"),
                    description=text_of(row, "description"),
                    target_url=text_of(row, "target_url") or None,
                )

    def _shown(self, commit: str, status: Status, ref: str) -> bool:
        found = self._find(commit, status.context, ref)
        if found is None or found.state != status.state:
            return False
        return found.state == "pending" or found.description == shorten(status.description, self.description_limit)

    def _own_notes(self, notes: str, marker: str) -> list[tuple[int, str]]:
        """(id, text) of our notes with that marker, the oldest first."""
        mine = self._user()
        found = []
        for row in self._client.pages(
            notes, {"order_by": "created_at", "sort": "asc", "per_page": NOTES_A_PAGE}, most=MAX_ANSWER
        ):
            author, text = row.get("author"), row.get("body")
            own = isinstance(author, dict) and author.get("id") == mine and not row.get("system")
            if own and isinstance(text, str) and first_line(text) == marker:
                found.append((number_of(self._client, row, "id"), text))
        return sorted(found)

    def _user(self) -> int:
        """The id of the token's user. Asked once for each token: another one may be another user's."""
        token = self._client.fingerprint()
        if self._mine is None or self._mine[0] != token:
            answer = self._client.once("GET", "/user", right="the scope api or read_user")
            self._mine = (token, number_of(self._client, answer.body, "id"))
        return self._mine[1]


def _limit_reached(commit: str) -> errors.Terminal:
    return errors.Terminal(
        f"commit {commit[:12]} takes no more statuses: its pipeline has reached GitLab's limit of jobs "
        "(aggregate per group, or let fewer hosts report)",
        reason=Reason.ForgeLimitReached,
    )
