"""What the rest of the program knows of a forge: the interface, its settings and its texts."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self
from urllib.parse import urlsplit

from reconciler import errors, settings
from reconciler.reasons import Reason
from reconciler.text import printable

State = Literal["pending", "success", "failed", "canceled"]
Kind = Literal["gitlab", "github", "gitea"]
DeploymentState = Literal["running", "success", "failed", "canceled"]

MAX_URL = 255
_MARKER = re.compile(r"<!-- [^\r\n<>]{1,200} -->")


@dataclass(frozen=True, slots=True)
class Status:
    """One commit status. `commit` is the full hexadecimal id, `context` the name it is shown under."""

    commit: str
    context: str
    state: State
    description: str = ""
    target_url: str | None = None

    @property
    def terminal(self) -> bool:
        """True when nothing is expected to follow."""
        return self.state != "pending"


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """A merge (or pull) request. `iid` is the number that its address shows, `author` a user name."""

    iid: int
    title: str
    web_url: str
    author: str


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """An open merge (or pull) request as the forge lists it.

    `head` is the commit it asks to merge, `ref` the full name under which the project's own repository has that commit, a
    fork's too; `branch` the branch that it is from, "" when that branch is in another repository.
    """

    iid: int
    title: str
    author: str
    head: str
    ref: str
    branch: str = ""
    draft: bool = False


@dataclass(frozen=True, slots=True)
class SignOff:
    """One person's word on a merge request: an approval, or with `label` that label, which is there now.

    `part` says what the person has to do with the merge request ("is the author"), "" where nothing is known; `flaw` why the word
    counts for nobody ("was given before the last push"), "" when it does. `at` is when it was given, in seconds since the epoch; 0.0: the
    forge does not say.
    """

    user: str
    label: str = ""
    part: str = ""
    flaw: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class ForgeSettings:
    """Where and how to report.

    `url` is the address a browser uses (`https://gitlab.example.org`), `project` is `group/name`. The token is read
    from `token_file` for every request, so that a rotated token needs no restart. `timeout` is the limit of one
    request, `retry_for` the limit of one operation with all its retries, both in seconds.
    """

    kind: Kind
    url: str
    project: str
    token_file: Path
    ca_file: Path | None = None
    timeout: float = 10.0
    retry_for: float = 60.0

    @classmethod
    def of(cls, own: settings.Forge, **limits: float) -> Self:
        """As a machine's settings say; `limits` are `timeout` and `retry_for`."""
        return cls(own.kind, own.url, own.project, own.token_file, own.ca_file, **limits)

    def __post_init__(self) -> None:
        """Raises Terminal ForgeMisconfigured."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise misconfigured(f"forge url {self.url.split('@')[-1]!r} is not an http(s) address")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise misconfigured(f"forge url of {parts.hostname} must hold no user, password, query or fragment")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", self.project):
            raise misconfigured(f"forge project {self.project!r} is not a path such as group/name")
        if self.kind != "gitlab" and self.project.count("/") != 1:
            raise misconfigured(f"forge project {self.project!r} must be owner/name on {self.kind}")


class Poster(Protocol):
    """What a `StatusReporter` needs of a forge; see `Forge`."""

    def post_status(self, status: Status, ref: str) -> None: ...

    def find_status(self, commit: str, context: str, ref: str | None = None) -> Status | None: ...


class Forge(Protocol):
    """What every forge can do. All methods block, retry what heals by itself within `retry_for`, and raise

    - Transient ForgeUnreachable: no answer, or no valid TLS;
    - Transient ForgeBusy: 409, 429 or 5xx until the end of `retry_for`; `retry_after` is what the server asked for;
    - Terminal ForgeForbidden: 401 or 403, the message says which right is missing;
    - Terminal ForgeLimitReached: this commit takes no more statuses;
    - Terminal ForgeRejected: any other answer that is not a success;
    - Terminal ForgeMisconfigured: the token file or CA file cannot be used.
    """

    note_limit: int
    """The most characters that a note may have."""
    description_limit: int
    """The same of a status's description."""

    def post_status(self, status: Status, ref: str) -> None:
        """Post a commit status; `ref` is the branch (without refs/heads/) it belongs to. At least once."""

    def find_status(self, commit: str, context: str, ref: str | None = None) -> Status | None:
        """The newest status of that name that this token's user posted (GitHub, Gitea: that anyone posted)."""

    def statuses(self, commit: str, ref: str | None = None) -> dict[str, Status]:
        """The same for every context of the commit, in as few requests as there are pages."""

    def upsert_note(self, merge_request: int, marker: str, body: str) -> None:
        """Make `body` the one note of ours whose first line is `marker` (`<!-- … -->`), which is added to `body`."""

    def merge_request_of(self, commit: str) -> MergeRequest | None:
        """The merge request that brought or would bring `commit`: a merged one first, else an open one."""

    def open_requests(self, target: str, most: int) -> list[OpenRequest]:
        """Open merge requests into the branch `target`, those that changed last first: at most `most`, and one more where
        there are more. One that has no commit yet is left out."""

    def request(self, number: int) -> OpenRequest:
        """One merge request, open or not, as it is now. Terminal ForgeRejected when it has no commit."""

    def sign_offs(
        self, request: OpenRequest, *, approvals: bool, labels: Collection[str], seen: float
    ) -> tuple[SignOff, ...]:
        """Who approved `request` at the head that it names, and who set which of `labels`. Words that do not count are there as
        well, with the reason; a person whose role cannot be told has a `flaw`.

        `seen`: when that head was known to be the head, in seconds since the epoch: for forges that do not say when it came.
        Transient RevisionUnknown when the forge has another head by now.
        """

    def deployment(
        self, environment: str, commit: str, ref: str, state: DeploymentState, *, known: bool = False
    ) -> None:
        """Record that `commit` is on `environment` (one per host). Only GitLab shows it; elsewhere nothing happens.

        `known`: the caller knows that the newest deployment there is another one, so nobody has to ask.
        """

    def deployments(self, environment: str | None = None) -> dict[str, tuple[str, str]]:
        """Environment → commit and state of its newest deployment: of that environment, else of those that were deployed
        to last (some hundred deployments). Empty elsewhere than on GitLab."""


def misconfigured(message: str) -> errors.Terminal:
    """A Terminal ForgeMisconfigured to raise."""
    return errors.Terminal(message, reason=Reason.ForgeMisconfigured)


def moved(request: OpenRequest) -> errors.Transient:
    """What to raise when a merge request has another head than the one that is asked about."""
    return errors.Transient(
        f"merge request {request.iid} has another head than {request.head[:12]} by now, or the forge still looks at that push",
        reason=Reason.RevisionUnknown,
    )


def shorten(text: str, limit: int) -> str:
    """`text` as one line of at most `limit` characters, cut between words with an ellipsis."""
    line = printable(" ".join(text.split()))
    if len(line) <= limit:
        return line
    head = line[: limit - 1]
    at_word = head.rpartition(" ")[0] if line[limit - 1] != " " else head
    # A single long word would otherwise leave next to nothing.
    kept = at_word if len(at_word) > limit // 2 else head
    return kept.rstrip(" ,;:") + "…"


def shows(shown: Status | None, wanted: Status, limit: int) -> bool:
    """Whether a status that the forge shows says what is wanted, as far as a description of `limit` characters can."""
    text = shorten(wanted.description, limit)
    return shown is not None and (shown.state, shown.description) == (wanted.state, text)


def valid_target(url: str | None) -> str | None:
    """`url` when a forge would take it (http or https, at most 255 characters), else None: a link is not worth a 400."""
    if not url or len(url) > MAX_URL or not url.isascii() or any(c.isspace() for c in url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.hostname else None


def marked(marker: str, body: str, limit: int) -> str:
    """`body` with `marker` as its first line. Raises ValueError, or Terminal ForgeRejected when it is too long."""
    if not _MARKER.fullmatch(marker):
        raise ValueError(f"a marker is one HTML comment on one line, not {marker!r}")
    note = f"{marker}\n{body}"
    if len(note) > limit:
        raise errors.Terminal(
            f"the note has {len(note)} characters and the forge takes {limit} (shorten it and link the full report)",
            reason=Reason.ForgeRejected,
        )
    return note


def first_line(body: str) -> str:
    """The first line of a note, as `marked` wrote it; servers may answer with other line ends."""
    return body.partition("\n")[0].rstrip()
