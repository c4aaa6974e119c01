"""Who approved a merge request of GitLab at its head, and who set its labels.

GitLab keeps an approval over a push unless a setting of its paid editions says otherwise, so the time decides: that of the approval
(`approved_at`, and where a version does not tell it that of the note in which GitLab itself says so) against that of the version
of the diff whose head is the one asked about. Who pushed to it while it was open stands in GitLab's own notes, too; names and
addresses in commits are what their makers wrote.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.forge.answers import number_of, part_of, rows_of, seconds, text_of, time_of
from reconciler.forge.api import OpenRequest, SignOff, moved
from reconciler.forge.client import MAX_ANSWER, NOTES_A_PAGE, Client

STALE = "given before the last push: give it again"
UNDATED = "the forge does not say when it was given"
_PUSHED = re.compile(r"added \d+ commits?\b")
_APPROVED = "approved this merge request"


@dataclass(frozen=True, slots=True)
class _Word:
    """What somebody said, and when."""

    user: Mapping[str, Any]
    label: str
    at: datetime | None


@dataclass(slots=True)
class _History:
    """What GitLab says of a merge request: when its head came, who pushed, who approved when, and whose commits it has."""

    pushed_at: datetime | None = None
    pushers: set[str] = field(default_factory=set)
    approved_at: dict[str, datetime] = field(default_factory=dict)
    makers: set[str] = field(default_factory=set)


def read(
    client: Client, path: str, request: OpenRequest, approvals: bool, labels: Collection[str], mine: int
) -> Iterator[SignOff]:
    """As `Forge.sign_offs`, not retried. `path` is the merge request's, `mine` the id of the token's user."""
    words = [*(_approvals(client, path) if approvals else ()), *(_labels(client, path, labels) if labels else ())]
    if not words:
        return
    history = _history(client, path, request)
    for word in words:
        name = text_of(word.user, "username")
        at = word.at or (None if word.label else history.approved_at.get(name))
        part, flaw = _person(client, word.user, request, history, mine)
        yield SignOff(name, word.label, part, flaw or _time_flaw(at, history.pushed_at), seconds(at))


def _approvals(client: Client, path: str) -> Iterator[_Word]:
    right = "the scope read_api and the Reporter role, to see who approved"
    for row in rows_of(client.once("GET", f"{path}/approvals", right=right).body, "approved_by"):
        yield _Word(part_of(row, "user"), "", time_of(row, "approved_at"))


def _labels(client: Client, path: str, wanted: Collection[str]) -> Iterator[_Word]:
    """Labels that are there now, each with who set it last."""
    body = client.once("GET", path).body
    there = body.get("labels") if isinstance(body, dict) else None
    found = [label for label in wanted if isinstance(there, list) and label in there]
    if not found:
        return
    newest: dict[str, Mapping[str, Any]] = {}
    right = "the scope read_api and the Reporter role, to see who set labels"
    rows = client.pages(f"{path}/resource_label_events", {}, right=right)
    for row in sorted(rows, key=lambda row: number_of(client, row, "id")):
        newest[text_of(part_of(row, "label"), "name")] = row
    for label in found:
        last = newest.get(label, {})
        added = last if last.get("action") == "add" else {}
        yield _Word(part_of(added, "user"), label, time_of(added, "created_at"))


def _history(client: Client, path: str, request: OpenRequest) -> _History:
    """Raises Transient RevisionUnknown when the newest version of the diff has another head."""
    found = _History()
    versions = sorted(client.pages(f"{path}/versions", {}), key=lambda row: number_of(client, row, "id"))
    if not versions or text_of(versions[-1], "head_commit_sha") != request.head:
        raise moved(request)
    found.pushed_at = time_of(versions[-1], "created_at")
    wanted: dict[str, str | int] = {"order_by": "created_at", "sort": "asc", "per_page": NOTES_A_PAGE}
    for row in client.pages(f"{path}/notes", wanted, most=MAX_ANSWER):
        name, body, at = text_of(row.get("author"), "username"), text_of(row, "body"), time_of(row, "created_at")
        if row.get("system") is not True:
            continue
        if _PUSHED.match(body):
            found.pushers.add(name)
        elif body == _APPROVED and at is not None:
            found.approved_at[name] = at
    for row in client.pages(f"{path}/commits", {}):
        keys = ("author_name", "author_email", "committer_name", "committer_email")
        found.makers.update(text_of(row, key).casefold() for key in keys)
    return found


def _person(
    client: Client, user: Mapping[str, Any], request: OpenRequest, history: _History, mine: int
) -> tuple[str, str]:
    """(part in the merge request, why no word of this person counts)."""
    if not user.get("username"):
        return "", "the forge does not say whose it is"
    number, name = number_of(client, user, "id"), text_of(user, "username")
    if number == mine:
        return "", "given by the reviewer itself"
    if not request.author:
        return "", "the forge does not say who the author is"
    about = client.once("GET", f"/users/{number}", right="the scope read_api or read_user").body
    names = {name, text_of(about, "name"), text_of(about, "public_email")} - {""}
    part = (
        "the author" if name == request.author
        else "pushed to it" if name in history.pushers
        else "made a commit of it" if _made(name, number, names, history.makers)
        else ""
    )  # fmt: skip
    bot = about.get("bot") if isinstance(about, dict) else None
    return part, "" if bot is False else "given by a bot" if bot else "the forge does not say whether it is a bot's"


def _made(name: str, number: int, names: Collection[str], makers: Collection[str]) -> bool:
    """Whether a commit names somebody: by name, by public address, or by the address that GitLab itself makes up."""
    private = f"{number}-{name}@users.noreply.".casefold()
    return any(one.casefold() in makers for one in names) or any(maker.startswith(private) for maker in makers)


def _time_flaw(at: datetime | None, pushed_at: datetime | None) -> str:
    if at is None or pushed_at is None:
        return UNDATED
    return STALE if at < pushed_at else ""
