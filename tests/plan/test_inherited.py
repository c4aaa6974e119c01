"""In what a container differs from the site, where the image has a word in it, and in what words that is said."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model import Container, Image, Running, State
from reconciler.options.values import NO_HEALTHCHECK, Healthcheck
from reconciler.plan.differences import differences

CHECK = Healthcheck(("CMD", "true"), start_period=5.0)
# What an image says, and a container that says nothing of its own has.
SAID: dict[str, Any] = {
    "environment": {"PATH": "/bin", "FROM_IMAGE": "1"},
    "labels": {"maker": "them"},
    "command": ("serve",),
    "entrypoint": ("init",),
    "user": "web",
    "working_dir": "/srv",
    "stop_signal": "SIGQUIT",
    "healthcheck": CHECK,
}
IMAGE = Image(id="sha256:" + "a" * 64, **SAID)
WEB = Container(name="web", image="web:1", service="web")
AS_THE_IMAGE = replace(WEB, **SAID)


def runs(spec: Container, image_id: str = IMAGE.id, explicit: frozenset[str] = frozenset()) -> Running:
    return Running(spec=spec, id="c" * 64, image_id=image_id, state=State.RUNNING, started_at=None, explicit=explicit)


def told(desired: Container, running: Running, image: Image | None = IMAGE) -> list[tuple[str, str, str]]:
    return [(found.field, found.actual, found.desired) for found in differences(desired, running, image)]


def test_what_the_image_says_need_not_be_said() -> None:
    assert told(WEB, runs(AS_THE_IMAGE)) == []
    assert told(AS_THE_IMAGE, runs(AS_THE_IMAGE)) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("command", ("other", "--now"), "other --now"),
        ("entrypoint", ("other",), "other"),
        ("user", "root", "root"),
        ("working_dir", "/tmp", "/tmp"),
        ("stop_signal", "SIGTERM", "SIGTERM"),
        ("healthcheck", Healthcheck(("CMD", "false"), 10, 2.5, 4, 1), "CMD false (interval 10 s, timeout 2.5 s, start 1 s, 4 retries)"),
        ("healthcheck", NO_HEALTHCHECK, "NONE (interval 30 s, timeout 30 s, start 5 s, 3 retries)"),
    ],
)  # fmt: skip
def test_what_differs_from_the_image_is_told_both_ways(field: str, value: object, said: str) -> None:
    other = replace(AS_THE_IMAGE, **{field: value})  # type: ignore[arg-type]
    assert [(name, actual) for name, actual, _ in told(WEB, runs(other))] == [(field, said)]
    assert [(name, desired) for name, _, desired in told(other, runs(AS_THE_IMAGE))] == [(field, said)]


def test_the_time_to_start_comes_from_the_image_where_a_check_gives_none() -> None:
    given = Healthcheck(("CMD", "true"), start_period=0)
    assert told(replace(WEB, healthcheck=given), runs(AS_THE_IMAGE)) == []
    other = replace(given, test=("CMD", "false"))
    assert (
        told(replace(WEB, healthcheck=other), runs(replace(AS_THE_IMAGE, healthcheck=replace(other, start_period=5.0))))
        == []
    )
    own = replace(WEB, healthcheck=replace(CHECK, start_period=9))
    assert [name for name, _, _ in told(own, runs(AS_THE_IMAGE))] == ["healthcheck"]
    # An image without one gives none.
    bare = replace(IMAGE, healthcheck=None)
    assert told(replace(WEB, healthcheck=given), runs(replace(AS_THE_IMAGE, healthcheck=given)), bare) == []
    assert told(replace(WEB, healthcheck=NO_HEALTHCHECK), runs(replace(AS_THE_IMAGE, healthcheck=None)), bare) == []


def test_without_a_word_of_the_image_the_engine_has_defaults() -> None:
    image = Image(id=IMAGE.id)
    plain = replace(WEB, working_dir="/", stop_signal="SIGTERM", user="", command=(), entrypoint=())
    assert told(WEB, runs(plain), image) == [] and told(plain, runs(WEB), image) == []
    # An entrypoint of its own takes the command of the image away.
    own = replace(WEB, entrypoint=("own",))
    assert told(own, runs(replace(AS_THE_IMAGE, entrypoint=("own",), command=()))) == []
    assert [name for name, _, _ in told(own, runs(replace(AS_THE_IMAGE, entrypoint=("own",))))] == ["command"]


def test_which_image_it_has_is_told_by_name_and_id() -> None:
    old = runs(replace(AS_THE_IMAGE, image="web:0"), "sha256:" + "b" * 64)
    assert told(WEB, old) == [("image", f"web:0 ({'b' * 12})", f"web:1 ({'a' * 12})")]
    assert told(WEB, runs(AS_THE_IMAGE, "")) == [("image", "web:1 (unknown)", f"web:1 ({'a' * 12})")]
    # A name that is not known here: by the name alone.
    bare = replace(WEB, user="", working_dir="/")
    assert told(bare, runs(bare, "sha256:" + "b" * 64), None) == []
    assert told(bare, runs(replace(bare, image="web:0")), None) == [("image", "web:0", "web:1")]


def test_variables_and_labels_are_told_one_by_one() -> None:
    wanted = replace(WEB, environment={"A": "1", "PATH": "/bin"}, labels={"maker": "them", "ours": "1"})
    spec = replace(
        AS_THE_IMAGE,
        environment={"PATH": "/usr/bin", "FROM_IMAGE": "2", "DB_PASSWORD": "of-somebody", "EXTRA": "x"},
        labels={"maker": "us", "theirs": "2"},
    )
    found = told(wanted, runs(spec, explicit=frozenset(("FROM_IMAGE", "DB_PASSWORD", "EXTRA", "PATH", "GONE"))))
    assert found == [
        ("environment.A", "(not set)", "1"),
        ("environment.DB_PASSWORD", "(hidden)", "(not set)"),
        ("environment.EXTRA", "x", "(not set)"),
        ("environment.FROM_IMAGE", "2", "(not set)"),
        ("environment.PATH", "/usr/bin", "/bin"),
        ("labels.maker", "us", "them"),
        ("labels.ours", "(not set)", "1"),
        ("labels.theirs", "2", "(not set)"),
    ]
