"""Who approved a merge request, who set its labels, and whose word does not count: on each forge, and against each trick."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler import errors
from reconciler.forge import Forge, OpenRequest

from .github_server import Gitea, GitHub
from .gitlab_server import GitLab
from .gitlab_state import MergeRequest, Project, User
from .standin import Fault

Connect = Callable[..., Forge]
FIRST, SECOND = "1" * 40, "2" * 40
SEEN = 0.0


# --- GitLab ---------------------------------------------------------------------------------------------------------


class Room:
    """One open merge request of GitLab, and people around it."""

    def __init__(self, server: GitLab, forge: Forge) -> None:
        self.server, self.forge = server, forge
        self.project: Project = server.projects["cloud/site"]
        self.project.add_commit(FIRST, "change")
        self.it = MergeRequest(1, "A change", "change", "main", self.person("op", 50))
        self.project.merge_requests.append(self.it)
        self.project.head(self.it)

    def person(self, name: str, number: int, **more: Any) -> User:
        self.server.people[number] = User(number, name, **more)
        return self.server.people[number]

    def push(self, by: User | None = None) -> None:
        time.sleep(0.002)  # GitLab's times have milliseconds
        self.it.pusher = by
        self.project.add_commit(SECOND, "change")
        self.project.head(self.it)

    def read(self, *labels: str, head: str | None = None) -> dict[str, str]:
        """user → why their word does not count for others."""
        request = self.forge.request(1)
        assert request.head == self.it.sha
        asked = OpenRequest(1, "", request.author, head or request.head, request.ref, "change")
        found = self.forge.sign_offs(asked, approvals=not labels, labels=labels, seen=SEEN)
        return {one.user: one.flaw or one.part for one in found}


@pytest.fixture
def room(gitlab: GitLab, connect_to: Connect) -> Room:
    return Room(gitlab, connect_to(gitlab))


@pytest.mark.parametrize("dated", [True, False])
def test_an_approval_is_for_the_head_that_it_was_given_for(room: Room, dated: bool) -> None:
    """Whether GitLab dates approvals (newer versions) or only says so in a note of its own."""
    room.server.tells_approved_at = dated
    ana = room.person("ana", 51)
    assert room.read() == {}
    room.project.approve(room.it, ana)
    assert room.read() == {"ana": ""}
    room.push()
    assert room.read() == {"ana": "given before the last push: give it again"}
    room.project.unapprove(room.it, ana)
    assert room.read() == {}
    room.project.approve(room.it, ana)
    assert room.read() == {"ana": ""}
    # Pushing back what was approved is a push as well.
    time.sleep(0.002)
    room.project.add_commit(FIRST, "change")
    assert "before the last push" in room.read()["ana"]


def test_whose_approval_does_not_count(room: Room) -> None:
    pusher, bot = room.person("mallory", 52), room.person("project_1_bot", 53, bot=True)
    room.push(by=pusher)
    reviewer = room.server.tokens[next(iter(room.server.tokens))]
    for user in (room.it.author, pusher, bot, reviewer):
        room.project.approve(room.it, user)
    assert room.read() == {
        "op": "the author",
        "mallory": "pushed to it",
        "project_1_bot": "given by a bot",
        "reconciler": "given by the reviewer itself",
    }
    # A person wrote the note's words; GitLab did not. Nor does a note make an approval.
    room.project.write(room.it, room.person("eve", 54), "approved this merge request")
    assert "eve" not in room.read()


def test_gitlab_that_has_not_looked_at_a_push_yet(room: Room) -> None:
    room.project.approve(room.it, room.person("ana", 51))
    with pytest.raises(errors.Transient) as caught:
        room.read(head=SECOND)
    assert caught.value.reason == "RevisionUnknown"


def test_a_label(room: Room) -> None:
    ana = room.person("ana", 51)
    room.project.label(room.it, room.it.author, "seen")
    room.project.label(room.it, ana, "other")
    assert room.read("seen") == {"op": "the author"}
    assert room.read("seen", "nobody set it") == {"op": "the author"}
    room.project.label(room.it, ana, "seen", "remove")
    assert room.read("seen") == {}
    room.project.label(room.it, ana, "seen")
    assert room.read("seen") == {"ana": ""}
    room.push()
    assert room.read("seen") == {"ana": "given before the last push: give it again"}
    for _ in range(120):  # more than one page
        room.project.label(room.it, ana, "other", "remove")
    assert room.read("seen") == {"ana": "given before the last push: give it again"}


def test_an_author_that_is_not_told(room: Room) -> None:
    """Then anybody may be the author."""
    room.project.approve(room.it, room.person("ana", 51))
    nobody = replace(room.forge.request(1), author="")
    (found,) = room.forge.sign_offs(nobody, approvals=True, labels=(), seen=SEEN)
    assert found.flaw == "the forge does not say who the author is" and abs(found.at - time.time()) < 60


@pytest.mark.parametrize("what", ["approvals", "versions", "notes", "users"])
@pytest.mark.parametrize("code", [403, 404])
def test_what_cannot_be_read_is_an_error(room: Room, what: str, code: int) -> None:
    room.project.approve(room.it, room.person("ana", 51))
    room.server.fail("GET", f"/{what}", Fault.answer(code))
    with pytest.raises(errors.Terminal) as caught:
        room.read()
    assert caught.value.reason in ("ForgeForbidden", "ForgeRejected") and what in str(caught.value)


# --- GitHub and Gitea -----------------------------------------------------------------------------------------------

OTHERS = {"ana": 51, "bea": 52, "op": 50, "robot": 53, "reconciler": 7}


@pytest.fixture(params=[GitHub, Gitea])
def server(request: pytest.FixtureRequest, token: str) -> Iterator[GitHub]:
    made: GitHub = request.param()
    made.tokens[token] = (7, "reconciler")
    made.repository.writers = {"ana", "bea", "op", "robot", "reconciler"}
    with made:
        yield made
    assert made.violations == []


class Pull:
    """One open pull request, and people around it."""

    def __init__(self, server: GitHub, forge: Forge) -> None:
        self.server, self.forge, self.hub = server, forge, server.repository
        self.gitea = isinstance(server, Gitea)
        self.opened = datetime.now(UTC) - timedelta(hours=1)
        self.row = {
            "number": 1, "title": "More", "html_url": "https://x/1", "user": {"login": "op"}, "state": "open", "draft": False,
            "base": {"ref": "main", "repo": {"id": 1}}, "head": {"sha": FIRST, "ref": "b", "repo": {"id": 1}}, "labels": [],
            "created_at": self.opened.isoformat(),
        }  # fmt: skip
        self.hub.pulls.append(self.row)
        self.hub.made_by = ["op"]

    def user(self, name: str) -> dict[str, Any]:
        kind = {} if self.gitea else {"type": "Bot" if name == "robot" else "User"}
        return {"login": name, "id": OTHERS.get(name, 99), **kind}

    def review(self, name: str, state: str = "APPROVED", head: str = FIRST, **more: Any) -> None:
        extra = {"official": True, "stale": head != FIRST, "dismissed": False} if self.gitea else {}
        row = {"id": len(self.hub.reviews) + 1, "pull": 1, "user": self.user(name), "state": state, "commit_id": head}
        self.hub.reviews.append({**row, **extra, **more})

    def label(self, name: str, label: str, minutes: float, *, there: bool = True) -> None:
        at = (self.opened + timedelta(minutes=minutes)).isoformat()
        if self.gitea:
            event = {"type": "label", "body": "1" if there else "", "user": self.user(name)}
        else:
            event = {"event": "labeled" if there else "unlabeled", "actor": self.user(name)}
        self.hub.events.append({"issue": 1, "created_at": at, "label": {"name": label}, **event})
        self.row["labels"] = [{"name": label}] if there else []

    def read(self, *labels: str, seen: float = 0.0) -> dict[str, str]:
        found = self.forge.sign_offs(self.forge.request(1), approvals=not labels, labels=labels, seen=seen)
        return {one.user: one.flaw or one.part for one in found}


@pytest.fixture
def pull(server: GitHub, connect_to: Connect) -> Pull:
    return Pull(
        server, connect_to(server, kind="gitea" if isinstance(server, Gitea) else "github", project="owner/site")
    )


def test_reviews(pull: Pull) -> None:
    assert pull.read() == {}
    pull.review("ana", head=SECOND)
    assert pull.read() == {"ana": "given before the last push: give it again"}
    pull.review("ana")
    assert pull.read() == {"ana": ""}
    pull.review("ana", "COMMENTED" if not pull.gitea else "COMMENT")
    assert pull.read() == {"ana": ""}
    pull.review("ana", "CHANGES_REQUESTED" if not pull.gitea else "REQUEST_CHANGES")
    assert pull.read() == {}
    pull.review("ana")
    pull.review("op")
    pull.review("reconciler")
    pull.hub.made_by = ["op", "bea"]
    pull.review("bea")
    assert pull.read() == {
        "ana": "",
        "op": "the author",
        "bea": "made a commit of it",
        "reconciler": "given by the reviewer itself",
    }


def test_when_it_was_said(pull: Pull) -> None:
    """A word is for the plan that was there then. What is not dated is older than every plan."""
    at = pull.opened + timedelta(minutes=5)
    pull.review("ana", submitted_at=at.isoformat())
    pull.review("bea")
    found = pull.forge.sign_offs(pull.forge.request(1), approvals=True, labels=(), seen=0.0)
    assert {one.user: one.at for one in found} == {"ana": at.timestamp(), "bea": 0.0}
    pull.label("ana", "seen", 3)
    (label,) = pull.forge.sign_offs(pull.forge.request(1), approvals=False, labels=("seen",), seen=0.0)
    assert label.at == (pull.opened + timedelta(minutes=3)).timestamp()


def test_reviews_of_those_who_may_not(pull: Pull) -> None:
    """On a public repository anybody may approve."""
    pull.review("stranger", **({"official": False} if pull.gitea else {}))  # type: ignore[arg-type]
    found = pull.read()["stranger"]
    assert found == (
        "not official, as the forge has it" if pull.gitea else "given by somebody who may not write to the repository"
    )
    if pull.gitea:
        pull.review("ana", dismissed=True)
        assert pull.read()["ana"] == "dismissed"
    else:
        pull.review("robot")
        assert pull.read()["robot"] == "given by a bot"
        pull.hub.made_by = ["op"] * 250
        pull.review("ana")
        assert "250 commits or more" in pull.read()["ana"]


def test_many_reviews(pull: Pull) -> None:
    """The newest one is on the last page."""
    pull.review("ana")
    for _ in range(150):
        pull.review("bea", "COMMENT" if pull.gitea else "COMMENTED")
    pull.review("ana", "REQUEST_CHANGES" if pull.gitea else "CHANGES_REQUESTED")
    assert pull.read() == {}


def test_labels_of_pull_requests(pull: Pull) -> None:
    pull.label("op", "seen", 1)
    assert pull.read("seen") == {"op": "the author"}
    pull.label("ana", "seen", 2, there=False)
    assert pull.read("seen") == {}
    pull.label("ana", "seen", 3)
    assert pull.read("seen") == {"ana": ""}
    # A later push: Gitea says when, on GitHub it counts since when the head has been listed.
    if pull.gitea:
        at = (pull.opened + timedelta(minutes=4)).isoformat()
        pull.hub.events.append(
            {"issue": 1, "created_at": at, "type": "pull_push", "user": pull.user("bea"), "body": "{}"}
        )
    seen = (pull.opened + timedelta(minutes=4)).timestamp()
    assert pull.read("seen", seen=seen) == {"ana": "given before the last push: give it again"}
    pull.label("bea", "seen", 5)
    assert pull.read("seen", seen=seen) == {"bea": "pushed to it" if pull.gitea else ""}


def test_a_pull_request_with_another_head(pull: Pull) -> None:
    request = pull.forge.request(1)
    pull.row["head"] = {**pull.row["head"], "sha": SECOND}  # type: ignore[dict-item]
    with pytest.raises(errors.Transient) as caught:
        pull.forge.sign_offs(request, approvals=True, labels=(), seen=0.0)
    assert caught.value.reason == "RevisionUnknown"


def test_what_github_does_not_tell(pull: Pull) -> None:
    pull.review("ana")
    pull.server.fail("GET", "/pulls/1/commits" if pull.gitea else "/permission", Fault.answer(403))
    with pytest.raises(errors.Terminal) as caught:
        pull.read()
    assert caught.value.reason == "ForgeForbidden"
