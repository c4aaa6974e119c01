import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler import settings
from reconciler.fleet.reporter import Reporter, Round
from tests.fleet.hosts import Hosts, Place
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import Row


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, **ahead: float) -> None:
        self.ahead += timedelta(**ahead)


class Fleet:
    """Simulated hosts, a real repository which is also GitLab's, a reporter in this process."""

    def __init__(self, folder: Path, hosts: Hosts, gitlab: GitLab | None, token: Path) -> None:
        self.hosts, self.gitlab, self.watch = hosts, gitlab, Watch()
        forge = ""
        if gitlab:
            forge = f'[forge]\nkind = "gitlab"\nurl = "{gitlab.url}"\nproject = "cloud/site"\ntoken_file = "{token}"\n'
        self.place = Place(folder, hosts, forge)
        self.project = gitlab.add_project("cloud/site", self.place.repository) if gitlab else None
        self._reporter: Reporter | None = None

    @property
    def reporter(self) -> Reporter:
        if self._reporter is None:
            self._reporter = Reporter(settings.load(self.place.settings), clock=self.watch)
            for sender in (self._reporter.statuses, self._reporter.deployments):
                if sender:
                    sender._jitter = 0.0
        return self._reporter

    def look(self) -> Round:
        """A round, and everything that it wants to say said."""
        found = self.reporter.look()
        assert self.reporter.statuses is None or self.reporter.statuses.flush(60)
        assert self.reporter.deployments is None or self.reporter.deployments.flush(60)
        return found

    def restart(self) -> None:
        """As if the process had ended and another had begun."""
        if self._reporter:
            self._reporter.close(0.0)
        self._reporter = None

    def rows(self, context: str, commit: str) -> list[tuple[str, str]]:
        """(state, text) of every row of one name, the oldest first."""
        return [(row.status, row.description or "") for row in self._rows() if (row.name, row.sha) == (context, commit)]

    def contexts(self) -> set[str]:
        return {row.name for row in self._rows()}

    def _rows(self) -> list[Row]:
        assert self.project
        return self.project.rows

    def requests(self) -> int:
        """How many GitLab has had so far."""
        assert self.gitlab
        return len(self.gitlab.seen)

    def states(self, found: Round) -> dict[str, str]:
        return {view.member.host: view.state for view in found.views}

    def reasons(self, found: Round) -> dict[str, str | None]:
        return {view.member.host: view.reason for view in found.views}


@pytest.fixture
def gitlab() -> Iterator[GitLab]:
    server = GitLab()
    with server:
        yield server
    assert server.violations == []


@pytest.fixture
def make_fleet(tmp_path: Path, gitlab: GitLab) -> Iterator[Callable[..., Fleet]]:
    """`make_fleet(hosts, groups=…, forge=True)`; everything is ended afterwards."""
    made: list[Fleet] = []
    token = tmp_path / "token"
    token.write_text("glpat-" + secrets.token_hex(16))
    gitlab.add_user("reporter", token.read_text())
    served: list[Any] = []

    def make(count: int, groups: int = 1, *, forge: bool = True) -> Fleet:
        serving = Hosts(count, groups).served()
        hosts = serving.__enter__()
        served.append(serving)
        made.append(Fleet(tmp_path, hosts, gitlab if forge else None, token))
        return made[-1]

    yield make
    for fleet in made:
        fleet.restart()
    for serving in served:
        serving.__exit__(None, None, None)
