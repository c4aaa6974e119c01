"""What will be felt: figures that nodes measured, or none."""

import json
from pathlib import Path

import pytest

from reconciler.model import Action, Interruption, Plan, Verb
from reconciler.review import Group, Review, as_json, note
from reconciler.review.felt import felt

from . import sites
from .conftest import Job

HOSTS = ("c1", "c2", "c3")


def review(*hosts: str, verb: Verb = Verb.RESTART, **more: object) -> Review:
    actions = (Action(verb, "keystone", "keystone.conf changed"), Action(Verb.RELOAD, "haproxy", "haproxy.cfg changed"))
    group = Group(hosts, Plan(hosts[0], "r", actions), ("a", "b"), (True, True))
    return Review("south", "a", "b", hosts=HOSTS, groups=(group,), **more)  # type: ignore[arg-type]


def words(found: Review) -> str:
    (one,) = felt(found)  # a reload interrupts nobody
    return one.words


def test_nobody_measured() -> None:
    assert words(review(*HOSTS)) == "not measured yet"
    assert felt(review("c1", verb=Verb.CREATE)) == []
    assert "- not measured yet: `keystone`" in note(review(*HOSTS))


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"c1": (9.2, 3)}, "about 9 s (measured 3 times)"),
        ({"c1": (9.2, 3), "c2": (12.0, 1), "c3": (8.0, 5)}, "about 9 s (measured 9 times)"),
        ({"c1": (0.3, 1)}, "less than 1 s (measured 1 time)"),
        ({"c1": (300.0, 2)}, "about 5 min (measured 2 times)"),
        ({"gone": (40.0, 2)}, "about 40 s (measured 2 times on other hosts)"),
        ({"gone": (40.0, 2), "c3": (5.0, 1)}, "about 5 s (measured 1 time)"),
    ],
)
def test_what_was_measured(measured: dict[str, tuple[float, int]], said: str) -> None:
    known = {host: {"keystone": Interruption(*figure)} for host, figure in measured.items()}
    assert words(review(*HOSTS, measured=known)) == said


def test_behind_haproxy() -> None:
    known = {"c1": {"keystone": Interruption(9.0, 3)}}
    one = review("c1", measured=known, backends={"keystone": HOSTS})
    assert words(one) == "about 9 s (measured 3 times), behind haproxy: none, as long as 2 other backends of 3 answers"
    every = review(*HOSTS, measured=known, backends={"keystone": HOSTS})
    assert words(every).endswith(
        "none only while one of its 3 backends answers, and this change interrupts all of them"
    )
    alone = review("c1", measured=known, backends={"keystone": ("c1",)})
    assert words(alone) == "about 9 s (measured 3 times)"
    assert words(review("c1", backends={"keystone": ("c2", "c3")})) == "not measured yet"


def test_for_tools() -> None:
    (one,) = as_json(review("c1"))["felt"]
    assert one == {
        "container": "keystone", "hosts": ["c1"], "seconds": None, "times": 0, "elsewhere": False, "text": "not measured yet",
    }  # fmt: skip


def test_a_file_of_a_reporter(repository: sites.Repository, reconciler: Job, tmp_path: Path) -> None:
    repository.commit(sites.small())
    repository.commit({**sites.small(), "groups/web.yml": "web_greeting: Bye\n"})
    file = tmp_path / "interruptions.json"
    words = ("ci", "review", "--dry-run", "--base", repository.commits[0], "--interruptions", str(file))
    file.write_text(json.dumps({"web1": {"web": {"seconds": 2.4, "times": 2}}}))
    done = reconciler(*words, cwd=repository.root)
    assert done.returncode == 0 and "- `web` on `web[1-3]`: about 2 s (measured 2 times)" in done.stdout, done.stderr
    file.write_text('{"web1": {"web": 3}}')
    done = reconciler(*words, cwd=repository.root)
    assert done.returncode != 0 and "is not what a reporter answers at /interruptions.json" in done.stderr
