"""Gitea and Forgejo: GitHub's interface with a few differences."""

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.forge.answers import commit_id
from reconciler.forge.api import ForgeSettings, MergeRequest
from reconciler.forge.client import MAX_ANSWER, Client
from reconciler.forge.github import GitHub


class Gitea(GitHub):
    """A `Forge` for Gitea and Forgejo."""

    description_limit = 255
    _size = "limit"
    _timeline = True
    _status_right = "the scope write:repository and write access to the code"
    _note_right = "the scope write:issue and access to pull requests"

    def merge_request_of(self, commit: str) -> MergeRequest | None:
        """See `Forge`. Gitea knows one pull request of a commit, and says 404 when there is none."""
        path = f"{self._repository}/commits/{commit_id(commit)}/pull"
        answer = self._client.retry(lambda _: self._client.once("GET", path, accept=frozenset({404})))
        return self._pull(answer.body) if answer.code != 404 else None

    def _newest_pulls(self, target: str) -> Mapping[str, str | int]:
        # Gitea gives at most 50 a page unless its settings say otherwise, and older ones know no branch in the question.
        return {"state": "open", "sort": "recentupdate", "limit": 50}

    def _connect(self, settings: ForgeSettings) -> Client:
        root = f"{settings.url.rstrip('/')}/api/v1"
        return Client(settings, root, header="Authorization", prefix="token ")

    def _comments(self, path: str) -> Iterable[dict[str, Any]]:
        # All comments in one answer: this list has no pages.
        return self._client.listed(path, most=MAX_ANSWER)
