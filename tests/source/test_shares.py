"""Hosts shared by several children: each once, in the inventory's order, by both planners."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.cli.plan import desired_of, site_plans
from reconciler.git.content import Source
from reconciler.reasons import Reason
from reconciler.review import ci
from reconciler.source import child, shares, site_child
from tests.review import sites

NAMES = [f"web{number}" for number in range(1, 31)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name, text in sites.small(len(NAMES)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the children that were asked; there are two processors."""
    asked: list[int] = []
    real = child.ask

    def ask(function: str, argument: Mapping[str, Any], answers: type[Any], **more: Any) -> Any:
        asked.append(argument["number"])
        return real(function, argument, answers, **more)

    monkeypatch.setattr(child, "ask", ask)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return asked


def test_both_planners_share_alike(site: Path, numbers: list[int]) -> None:
    plans, _, _ = site_plans(site, (), None)
    assert sorted(numbers) == [0, 1]
    review = ci.review(None, Source(site))
    assert sorted(numbers) == [0, 0, 1, 1]
    assert [plan.host for plan in plans] == list(review.hosts) == NAMES
    assert sorted(host for group in review.groups for host in group.hosts) == sorted(NAMES)


def test_named_hosts_come_in_the_inventorys_order_and_once(site: Path, numbers: list[int]) -> None:
    made = desired_of(site, ("web7", "web2", "web7"), "r1")
    assert [(one.host, one.revision) for one in made] == [("web2", "r1"), ("web7", "r1")]
    assert numbers == [0]


@pytest.mark.parametrize("planner", ["plan", "review"])
def test_a_host_that_is_not_there(site: Path, planner: str) -> None:
    asked: Callable[[], object] = (
        (lambda: site_plans(site, ("web1", "db9"), None))
        if planner == "plan"
        else (lambda: ci.review(None, Source(site), hosts=["web1", "db9"]))
    )
    with pytest.raises(errors.Terminal, match=r"no host 'db9' \(it has web1, ") as caught:
        asked()
    assert caught.value.reason is Reason.HostUnknown


@pytest.mark.parametrize(
    ("hosts", "most", "count"), [(0, 4, 1), (23, 4, 1), (24, 4, 2), (36, 4, 3), (500, 4, 4), (500, 1, 1)]
)
def test_every_share_is_asked_for(monkeypatch: pytest.MonkeyPatch, hosts: int, most: int, count: int) -> None:
    """However soon the first child ends, and each host is in one share."""

    def at_once(
        _: str, argument: Mapping[str, Any], __: type[Any], *, progress: Callable[[bytes], None], **___: Any
    ) -> list[str]:
        reader, writer = os.pipe()
        try:
            found = list(
                site_child.share({**argument, "hosts": (), "progress": writer}, [str(n) for n in range(hosts)])
            )
            progress(os.read(reader, 1000))
        finally:
            os.close(reader), os.close(writer)
        return found

    monkeypatch.setattr(child, "ask", at_once)
    limits = child.LIMITS
    answers = shares.ask("m:f", {}, list[str], limits=limits, most=most)
    assert len(answers) == count
    assert sorted(int(name) for answer in answers for name in answer) == list(range(hosts))


def test_a_failure_of_any_child_is_raised_once_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def ask(
        _: str, argument: Mapping[str, Any], __: type[Any], *, progress: Callable[[bytes], None], **___: Any
    ) -> list[str]:
        progress(b"24\n" if argument["number"] == 0 else b"")
        ended.append(argument["number"])
        if argument["number"] == 1:
            raise errors.Terminal("it ends", reason=Reason.LimitExceeded)
        return []

    monkeypatch.setattr(child, "ask", ask)
    with pytest.raises(errors.Terminal, match="it ends"):
        shares.ask("m:f", {}, list[str], limits=child.LIMITS, most=4)
    assert ended == [0, 1]
