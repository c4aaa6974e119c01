"""Who approved a pull request at its head, and who set its labels: on GitHub, and with more of it told on Gitea and Forgejo.

Reviews name the commit that they are about, so those of an older one are told from those of the head. Neither forge says whom a
commit in a pull request was pushed by before it was opened; accounts that the forge links to its commits count as having a part.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from reconciler.forge.answers import number_of, part_of, rows_of, seconds, text_of, time_of
from reconciler.forge.api import OpenRequest, SignOff, moved
from reconciler.forge.client import Client
from reconciler.forge.gitlab_sign_offs import STALE, UNDATED

_MOST_COMMITS = 250  # GitHub lists no more of a pull request's
_DECISIVE = ("APPROVED", "CHANGES_REQUESTED", "REQUEST_CHANGES", "DISMISSED")
_WRITERS = ("admin", "maintain", "write", "owner")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the lists of one pull request are. `size` names the page-size parameter; `timeline` is Gitea's only."""

    repository: str
    number: int
    size: str
    timeline: bool

    @property
    def pull(self) -> str:
        return f"{self.repository}/pulls/{self.number}"

    @property
    def issue(self) -> str:
        return f"{self.repository}/issues/{self.number}"


@dataclass(slots=True)
class _Events:
    """Who set which label last and when (user None: it was taken off), who pushed, and when last."""

    labels: dict[str, tuple[Mapping[str, Any], datetime | None]] = field(default_factory=dict)
    pushers: set[str] = field(default_factory=set)
    pushed_at: datetime | None = None


def read(
    client: Client, places: Places, request: OpenRequest, approvals: bool, labels: Collection[str], seen: float
) -> Iterator[SignOff]:
    """As `Forge.sign_offs`, not retried."""
    pull = client.once("GET", places.pull).body
    if text_of(part_of(pull, "head"), "sha") != request.head:
        raise moved(request)
    there = {text_of(row, "name") for row in rows_of(pull, "labels")}
    reviews = list(_reviews(client, places)) if approvals else []
    set_ones = [label for label in labels if label in there]
    if not reviews and not set_ones:
        return
    mine = number_of(client, client.once("GET", "/user", right="to be a user's token").body, "id")
    events = _events(client, places) if set_ones or places.timeline else _Events()
    people = _People(client, places, request, events, mine)
    for row in reviews:
        part, flaw = people.about(part_of(row, "user"))
        given = seconds(time_of(row, "submitted_at"))
        yield SignOff(text_of(row.get("user"), "login"), "", part, flaw or _review_flaw(row, request.head), given)
    opened = time_of(pull, "created_at")
    came = max(filter(None, (events.pushed_at, opened)), default=None)
    pushed_at = came if places.timeline else datetime.fromtimestamp(seen, UTC)
    for label in set_ones:
        user, at = events.labels.get(label, ({}, None))
        part, flaw = people.about(user)
        yield SignOff(text_of(user, "login"), label, part, flaw or _label_flaw(at, pushed_at), seconds(at))


class _People:
    """What is known of those who said something; whose commits there are is asked once."""

    def __init__(self, client: Client, places: Places, request: OpenRequest, events: _Events, mine: int) -> None:
        self._client, self._places, self._request = client, places, request
        self._events, self._mine = events, mine
        rows = list(client.pages(f"{places.pull}/commits", {}, size=places.size))
        self._many = len(rows) >= _MOST_COMMITS
        self._makers = {text_of(row.get(key), "login") for row in rows for key in ("author", "committer")}

    def about(self, user: Mapping[str, Any]) -> tuple[str, str]:
        """(part in the pull request, why no word of this person counts)."""
        name = text_of(user, "login")
        if not name:
            return "", "the forge does not say whose it is"
        if number_of(self._client, user, "id") == self._mine:
            return "", "given by the reviewer itself"
        if not self._request.author:
            return "", "the forge does not say who the author is"
        if user.get("type") == "Bot":
            return "", "given by a bot"
        if self._many:
            return "", f"it has {_MOST_COMMITS} commits or more, and the forge does not say whose all of them are"
        part = (
            "the author" if name == self._request.author
            else "pushed to it" if name in self._events.pushers
            else "made a commit of it" if name in self._makers
            else ""
        )  # fmt: skip
        # Gitea says itself which reviews are official, and lets nobody else set labels.
        may = self._places.timeline or self._writes(name)
        return part, "" if may else "given by somebody who may not write to the repository"

    def _writes(self, name: str) -> bool:
        """Anybody who can see a repository can approve; those who may push there are meant."""
        path = f"{self._places.repository}/collaborators/{name}/permission"
        answer = self._client.once("GET", path, accept=frozenset({404}), right="to see what collaborators may do")
        return answer.code != 404 and text_of(answer.body, "permission") in _WRITERS


def _reviews(client: Client, places: Places) -> Iterator[Mapping[str, Any]]:
    """The newest review of each person that approves; a later one that asks for changes takes it back."""
    newest: dict[str, Mapping[str, Any]] = {}
    rows = client.pages(f"{places.pull}/reviews", {}, size=places.size)
    for row in sorted(rows, key=lambda row: number_of(client, row, "id")):
        if text_of(row, "state") in _DECISIVE:
            newest[text_of(row.get("user"), "login")] = row
    return (row for row in newest.values() if row["state"] == "APPROVED")


def _review_flaw(row: Mapping[str, Any], head: str) -> str:
    if row.get("dismissed") is True:
        return "dismissed"
    if row.get("stale") is True or text_of(row, "commit_id") != head:
        return STALE
    return "not official, as the forge has it" if row.get("official") is False else ""


def _label_flaw(at: datetime | None, pushed_at: datetime | None) -> str:
    if at is None or pushed_at is None:
        return UNDATED
    return STALE if at < pushed_at else ""


def _events(client: Client, places: Places) -> _Events:
    found = _Events()
    path = f"{places.issue}/{'timeline' if places.timeline else 'events'}"
    for row in client.pages(path, {}, size=places.size):
        label, at = text_of(part_of(row, "label"), "name"), time_of(row, "created_at")
        kind = text_of(row, "type") if places.timeline else text_of(row, "event")
        who = part_of(row, "user" if places.timeline else "actor")
        if kind == "labeled" or (kind == "label" and text_of(row, "body") == "1"):
            found.labels[label] = (who, at)
        elif kind in ("unlabeled", "label"):
            found.labels.pop(label, None)
        elif kind == "pull_push" and at is not None:
            found.pushers.add(text_of(who, "login"))
            found.pushed_at = max(found.pushed_at or at, at)
    return found
