import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.alerts import Notifier
from reconciler.settings import Alerts, AlertTarget
from reconciler.system import run
from tests.alerts import receivers
from tests.alerts.reports import START
from tests.forge.gitlab_server import GitLab

Make = Callable[..., Any]
PROJECT = "cloud/site"


class Clock:
    """A time of day that passes only when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **amount: float) -> datetime:
        self.now += timedelta(**amount)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(secrets.token_hex(16) + "\n")
    return file


@pytest.fixture
def gitlab(key_file: Path) -> Iterator[GitLab]:
    server = GitLab()
    server.add_project(PROJECT)
    server.alert_key = key_file.read_text().strip()
    with server:
        yield server


@pytest.fixture
def gitlab_target(gitlab: GitLab, key_file: Path) -> AlertTarget:
    url = f"{gitlab.url}/{PROJECT}/alerts/notify/reconciler/0123456789abcdef.json"
    return AlertTarget("gitlab", url=url, key_file=key_file)


@pytest.fixture
def webhook(key_file: Path) -> Iterator[receivers.Webhook]:
    with receivers.webhook(key_file.read_text().strip()) as server:
        yield server
    assert server.wrong == []


@pytest.fixture
def webhook_target(webhook: receivers.Webhook, key_file: Path) -> AlertTarget:
    return AlertTarget("webhook", url=webhook.url, key_file=key_file)


@pytest.fixture
def notifier(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    """Makes notifiers of one node, one after the other; each made one ends the one before."""
    store = tmp_path / "state" / "alerts.json"
    store.parent.mkdir()
    made: list[Notifier] = []

    @contextmanager
    def closing() -> Iterator[None]:
        yield
        for one in made:
            one.close(0)

    def make(*targets: AlertTarget, seconds: float = 60.0, **settings: Any) -> Notifier:
        for one in made:
            one.close(0)
        named = {f"t{number}": target for number, target in enumerate(targets)}
        limits = run.Limits(seconds=seconds, cpu_seconds=20, memory=1 << 30)
        made.append(Notifier(Alerts(targets=named, **settings), store, "ctl1", clock=clock, limits=limits))
        return made[-1]

    make.store = store  # type: ignore[attr-defined]
    with closing():
        yield make
