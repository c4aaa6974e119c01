"""A site under review: a repository behind a real git server, the same one as GitLab's project, and a reporter's settings."""

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from reconciler import settings
from reconciler.fleet.reviews.loop import reviewer_of
from reconciler.fleet.reviews.queue import Reviewed
from reconciler.fleet.reviews.reviewer import Reviewer
from tests.fleet.conftest import Watch
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import MergeRequest, Note, Project, User
from tests.git import servers
from tests.review import sites

Files = Mapping[str, str | bytes | None]


@dataclass
class Desk:
    """`open` and `push` are what people do; `round` is one round of a reviewer in this process."""

    folder: Path
    git: servers.HttpServer
    gitlab: GitLab
    project: Project
    token: str
    git_token: str
    path: str = ""
    watch: Watch = field(default_factory=Watch)
    _reviewer: Reviewer | None = None

    @property
    def repository(self) -> Path:
        return self.folder / "served" / "site.git"

    @property
    def settings(self) -> Path:
        return self.folder / "reporter.toml"

    @property
    def state(self) -> Path:
        return self.folder / "reporter"

    def write(self, more: str = "", **review: Any) -> None:
        """The settings; `review` goes into its section, `more` are further sections."""
        values = {"enabled": True, "interval": 60, **review}
        lines = "".join(f"{k} = {str(v).lower()}\n" for k, v in values.items())
        self.settings.write_text(
            f'state_dir = "{self.folder}/node"\n'
            f'[git]\nurl = "{self.git.url("site.git")}"\nca_file = "{self.git.ca_file}"\ntoken_file = "{self.folder}/git-token"\n'
            f'path = "{self.path}"\ndeadline = 30\n'
            f'[forge]\nkind = "gitlab"\nurl = "{self.gitlab.url}"\nproject = "cloud/site"\ntoken_file = "{self.folder}/token"\n'
            f'[reporter]\nstate_dir = "{self.state}"\nlisten = "127.0.0.1:0"\ninterval = 3600\ntimeout = 1\n'
            f'url = "https://fleet.example.org/"\n[review]\n{lines}\n{more}\n[log]\nlevel = "debug"\nformat = "json"\n'
        )

    def push(self, branch: str, files: Files, *, fork: Path | None = None, **more: Any) -> str:
        below = f"{self.path}/" if self.path else ""
        named = {below + name: content for name, content in files.items()}
        commit = servers.commit(fork or self.repository, named, "a change", branch=branch, **more)
        for request in self.project.merge_requests:  # GitLab notices pushes by itself
            self.project.head(request)
        return commit

    def open(
        self, branch: str, files: Files, title: str = "A change", *, author: str = "op", **more: Any
    ) -> MergeRequest:
        """Push a branch off main, and ask to merge it."""
        self.push(branch, files, parents=[servers.git(self.repository, "rev-parse", "refs/heads/main")], **more)
        return self.ask(branch, title, author=author)

    def ask(
        self, branch: str, title: str = "A change", *, author: str = "op", fork: Path | None = None
    ) -> MergeRequest:
        user = self.person(author)
        made = MergeRequest(len(self.project.merge_requests) + 1, title, branch, "main", user, fork=fork)
        self.project.merge_requests.append(made)
        self.project.head(made)
        return made

    def person(self, name: str, **more: Any) -> User:
        user = User(sum(map(ord, name)) + 100, name, **more)
        self.gitlab.people[user.id] = user
        return user

    def make_fork(self) -> Path:
        fork = servers.make_repo(self.folder / "fork.git")
        servers.git(fork, "fetch", "-q", str(self.repository), "refs/heads/main:refs/heads/main")
        return fork

    def ours(self, request: MergeRequest) -> list[Note]:
        return [note for note in request.notes if note.author.username == "reporter"]

    def note(self, request: MergeRequest) -> str:
        """The one note that is ours."""
        (found,) = self.ours(request)
        return found.body

    def statuses(self, commit: str) -> list[tuple[str, str, str]]:
        """(name, state, text) of a commit's rows."""
        return [(row.name, row.status, row.description or "") for row in self.project.rows if row.sha == commit]

    @property
    def reviewer(self) -> Reviewer:
        if self._reviewer is None:
            made = reviewer_of(settings.load(self.settings))
            assert made
            made._clock, made._random = lambda: self.watch().timestamp(), Random(1)
            self._reviewer = made
        return self._reviewer

    def round(self) -> dict[int, Reviewed]:
        """Number → what is known of it after a round."""
        return {entry.request.iid: entry.known for entry in self.reviewer.round().entries}

    def restart(self) -> None:
        if self._reviewer:
            self._reviewer.close()
        self._reviewer = None


@contextlib.contextmanager
def desk(folder: Path, gitlab: GitLab, *, path: str = "", hosts: int = 2) -> Iterator[Desk]:
    """A small site, served over https with a token of its own."""
    token, git_token = "glpat-" + secrets.token_hex(16), secrets.token_hex(16)
    (folder / "token").write_text(token)
    (folder / "git-token").write_text(git_token)
    served = folder / "served"
    served.mkdir()
    repository = servers.make_repo(served / "site.git")
    with servers.http_server(served, token=git_token) as server:
        project = gitlab.add_project("cloud/site", repository, protected={"main"})
        gitlab.add_user("reporter", token)
        made = Desk(folder, server, gitlab, project, token, git_token, path)
        made.state.mkdir(mode=0o700)
        made.write()
        made.push("main", sites.small(hosts))
        try:
            yield made
        finally:
            made.restart()


def greeting(text: str) -> dict[str, str]:
    return {"groups/web.yml": f"web_greeting: {text}\n"}
