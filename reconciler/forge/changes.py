"""From a commit to its page and its merge request, for somebody who reads a node's history.

The pages follow from the settings, and most merge requests from the message that a forge writes when it merges. Only for
the others the forge is asked: never in a cycle, each commit once, not for long, and not again after it did not answer.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler import errors
from reconciler import settings as node_settings
from reconciler.forge.api import Forge, ForgeSettings, Kind, MergeRequest, valid_target
from reconciler.reasons import Reason
from reconciler.system import files

REQUEST_SECONDS = 3.0
ALL_SECONDS = 10.0
# A forge may notice only after a moment which merge request a new commit belongs to: until then "none" is not kept.
SETTLED = timedelta(hours=1)
KEPT = 500  # answers

_PATH = r"[\w.-]+(?:/[\w.-]+)+"
_SCP = re.compile(rf"(?:[\w.-]+@)?(?P<host>[\w.-]+):(?P<path>/?{_PATH}?)")
# Kinds by name, for nodes that report to no forge; a server whose name says nothing gives no links.
_HOSTS: Mapping[str, Kind] = {"gitlab": "gitlab", "github": "github", "gitea": "gitea", "forgejo": "gitea", "codeberg": "gitea"}  # fmt: skip
_PAGES: Mapping[Kind, tuple[str, str]] = {
    "gitlab": ("/-/commit/", "/-/merge_requests/"),
    "github": ("/commit/", "/pull/"),
    "gitea": ("/commit/", "/pulls/"),
}
_SEE = re.compile(rf"^See merge request (?P<project>{_PATH})?!(?P<iid>\d{{1,9}})[ \t\r]*$", re.MULTILINE)
_MERGE = re.compile(r"Merge pull request (?:'(?P<title>.*)' \()?#(?P<iid>\d{1,9})\)? from ")
_SQUASH = re.compile(r"(?P<title>.*\S) \(#(?P<iid>\d{1,9})\)")


@dataclass(frozen=True, slots=True)
class Project:
    """A project's pages: `url` is the forge's address, `project` is `group/name`."""

    kind: Kind
    url: str
    project: str

    def commit_url(self, commit: str) -> str:
        return f"{self.url}/{self.project}{_PAGES[self.kind][0]}{commit}"

    def merge_request_url(self, iid: int) -> str:
        return f"{self.url}/{self.project}{_PAGES[self.kind][1]}{iid}"

    def named_in(self, subject: str, body: str) -> MergeRequest | None:
        """The merge request that a message names the way this kind of forge writes it; its author is not in there."""
        first = next((line.strip() for line in body.splitlines() if line.strip()), "")
        if self.kind == "gitlab":
            named = [found for found in _SEE.finditer(body) if found["project"] in (None, self.project)]
            if not named:
                return None
            return self._made(named[-1]["iid"], subject if first.startswith("See merge request") else first)
        if found := _MERGE.match(subject):
            return self._made(found["iid"], found["title"] or first)
        if found := _SQUASH.fullmatch(subject):
            return self._made(found["iid"], found["title"])
        return None

    def _made(self, iid: str, title: str) -> MergeRequest:
        return MergeRequest(int(iid), title, self.merge_request_url(int(iid)), "")


def project_of(forge: node_settings.Forge | None, git_url: str) -> Project | None:
    """Where a site's repository is on the web: as the settings say, else as far as its address tells; None if it does not."""
    if forge is not None:
        url = forge.url.rstrip("/")
        cloud = forge.kind == "github" and urlsplit(url).hostname in ("www.github.com", "api.github.com")
        return Project(forge.kind, "https://github.com" if cloud else url, forge.project)
    address = _web_address(git_url)
    if address is None:
        return None
    url, path = address
    words = (urlsplit(url).hostname or "").split(".")
    kind = next((_HOSTS[word] for word in words if word in _HOSTS), None)
    path = path.strip("/").removesuffix(".git")
    return Project(kind, url, path) if kind and re.fullmatch(_PATH, path) else None


def _web_address(git_url: str) -> tuple[str, str] | None:
    """(address of the server's pages, path) for a Git address; whoever is named in it stays out."""
    if "://" not in git_url:
        found = _SCP.fullmatch(git_url)
        return (f"https://{found['host']}", found["path"]) if found else None
    with suppress(ValueError):
        parts = urlsplit(git_url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path
        if parts.scheme == "ssh" and parts.hostname:
            return f"https://{parts.hostname}", parts.path  # the port is that of ssh
    return None


class MergeRequests:
    """Merge requests by commit, asked for once and kept in `file`, which may be lost at any time."""

    def __init__(self, forge: Forge, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._forge, self._file, self._clock = forge, file, clock
        self.failure = ""
        """Why not everything was asked, in one line; "" when it was."""

    def find(self, commits: Iterable[tuple[str, datetime]]) -> dict[str, MergeRequest]:
        """The merge requests of those commits that have one, as far as the forge tells.

        A commit comes with when it was taken over. Takes `ALL_SECONDS` and one request at most; raises nothing.
        """
        kept = _read(self._file)
        known, before, deadline = dict(kept), len(kept), self._clock() + ALL_SECONDS
        unasked = [(commit, taken) for commit, taken in commits if commit not in kept]
        young: set[str] = set()
        for commit, taken in unasked:
            if self._clock() > deadline:
                self.failure = (
                    self.failure or f"not everything was asked within {ALL_SECONDS:.0f} s; the next time goes on"
                )
                break
            try:
                known[commit] = self._forge.merge_request_of(commit)
            except errors.ReconcilerError as error:
                self.failure = self.failure or f"{error} [{error.reason}]"
                if error.reason != Reason.ForgeRejected:  # that may concern this one commit only
                    break
                continue
            if known[commit] is None and datetime.now(UTC) - taken < SETTLED:
                young.add(commit)
        if len(known) - len(young) > before:
            _write(self._file, {commit: found for commit, found in known.items() if commit not in young})
        return {commit: found for commit, found in known.items() if found}


def asking(settings: node_settings.Settings) -> ForgeSettings | None:
    """How to ask the settings' forge while somebody waits; None without one. Raises errors.Terminal (ForgeMisconfigured)."""
    forge = settings.forge
    if forge is None:
        return None
    return ForgeSettings.of(forge, timeout=REQUEST_SECONDS, retry_for=0.0)


def _read(file: Path) -> dict[str, MergeRequest | None]:
    try:
        rows = json.loads(file.read_bytes())
        return {str(commit): MergeRequest(**row) if row else None for commit, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(file: Path, found: Mapping[str, MergeRequest | None]) -> None:
    rows: dict[str, Any] = {commit: asdict(one) if one else None for commit, one in list(found.items())[-KEPT:]}
    with suppress(errors.ReconcilerError, OSError):  # it is asked again
        files.write_atomic(file, json.dumps(rows, indent=1).encode(), mode=0o600)


def link(url: str) -> str | None:
    """`url` when it is one that may be shown as a link."""
    return valid_target(url)
