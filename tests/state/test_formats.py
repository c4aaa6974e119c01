"""What one version of the program wrote, another one reads; or it says exactly what it lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.codec import from_json, to_json
from reconciler.model import Memory
from reconciler.reasons import Reason
from reconciler.state import StateDirectory
from reconciler.state.documents import FORMAT
from tests.state import formats

VERSIONS = sorted(path.name for path in formats.HERE.iterdir())


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """A state directory as the present version leaves it."""
    formats.fill(StateDirectory(tmp_path / "state"))
    return StateDirectory(tmp_path / "state")


def rewrite(state: StateDirectory, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = state.path / name
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_released_version_is_read_whole(version: str, tmp_path: Path) -> None:
    shutil.copytree(formats.HERE / version, tmp_path / "state")
    state = StateDirectory(tmp_path / "state")
    carried, memory = state.carried, state.memory()
    assert carried and carried.desired.containers == (formats.WEB,) and memory.last_good == carried.desired
    assert carried.desired.files == formats.DESIRED.files and carried.desired.jobs == formats.DESIRED.jobs
    assert memory.quarantine.keys() == memory.failures.keys() == {"web"} and memory.applied["web"].files == "f1.f2"
    assert memory.jobs["web_sync"].succeeded and memory.registered == formats.DESIRED.registrations
    assert state.owner and state.owner.key == "k" * 32 and state.anchor and state.anchor.commit == "a" * 40
    assert state.begun == "b" * 40 and "web" in state.touched and state.trial and state.suspension
    assert state.written("/etc/kolla") == {"web/web.conf": ("e" * 64,)}
    assert not state.lost


def test_the_present_version_has_a_fixture_with_every_file(state: StateDirectory) -> None:
    from reconciler import __version__

    assert __version__ in VERSIONS, "python -m tests.state.formats"
    assert formats.names(formats.HERE / __version__) == formats.names(state.path)


def test_every_file_says_who_wrote_it_and_how(state: StateDirectory) -> None:
    for name in formats.names(state.path):
        writer = json.loads((state.path / name).read_text())["written_by"]
        assert writer["format"] == FORMAT >= writer["reads"] and writer["program"], name


def test_what_a_newer_version_added_is_left_out_and_named(state: StateDirectory) -> None:
    def newer(data: dict[str, Any]) -> None:
        data["written_by"] = {"format": FORMAT + 1, "reads": FORMAT, "program": "9.9"}
        data["desired"]["containers"][0]["colour"] = "blue"
        data["desired"]["containers"][0]["rollback"] = "sometimes"
        data["desired"]["flavours"] = [1]

    rewrite(state, "last-good.json", newer)
    carried = state.carried
    assert carried and carried.desired.containers == (formats.WEB,), "with the default where the value is not known"
    said = state.lost["last-good.json"]
    assert "written by reconciler 9.9" in said
    for place in ("desired.containers[0].colour", "desired.containers[0].rollback", "desired.flavours"):
        assert place in said
    formats.fill(state)
    assert state.carried and not state.lost, "what this version writes is whole again"


def test_what_cannot_be_read_at_all_leaves_its_list(state: StateDirectory) -> None:
    def newer(data: dict[str, Any]) -> None:
        data["written_by"] = {"format": FORMAT + 1, "reads": FORMAT, "program": "9.9"}
        data["failures"]["web"]["blames"] = "the moon"
        data["jobs"]["web_sync"]["succeeded"] = "perhaps"
        data["applied"]["other"] = {"id": "x"}

    rewrite(state, "memory.json", newer)
    memory = state.memory()
    assert "web" not in memory.failures and not memory.jobs and "other" not in memory.applied
    assert memory.quarantine and memory.applied["web"], "the rest stays"
    for place in ("failures.web", "jobs.web_sync", "applied.other"):
        assert place in state.lost["memory.json"]


def test_what_this_version_wrote_and_cannot_read_is_damage(state: StateDirectory) -> None:
    """A job that has run must not be forgotten because a bit of its row is: it would run again."""
    rewrite(state, "memory.json", lambda data: data["jobs"]["web_sync"].update(succeeded="perhaps"))
    with pytest.raises(
        errors.Terminal, match=r"memory\.json was altered: this version wrote it, and cannot read jobs\.web_sync"
    ) as caught:
        state.memory()
    assert caught.value.reason is Reason.StateCorrupt


def test_what_this_version_would_misunderstand_is_refused_with_the_version_that_understands_it(
    state: StateDirectory,
) -> None:
    rewrite(
        state,
        "memory.json",
        lambda data: data.update(written_by={"format": 99, "reads": FORMAT + 1, "program": "9.9.1"}),
    )
    with pytest.raises(errors.Terminal, match=r"memory\.json was written by reconciler 9\.9\.1.*install") as caught:
        state.memory()
    assert caught.value.reason is Reason.StateCorrupt


@pytest.mark.parametrize("name", ["owner.json", "anchor.json", "begun.json", "testing.json", "written.json"])
def test_an_altered_file_is_no_empty_one(name: str, state: StateDirectory) -> None:
    read = {
        "owner.json": lambda: state.owner,
        "anchor.json": lambda: state.anchor,
        "begun.json": lambda: state.begun,
        "testing.json": lambda: state.trial,
        "written.json": lambda: state.written("/etc/kolla"),
    }[name]
    assert read()
    rewrite(state, name, lambda data: data.update(more={"a": 1}))
    assert read() and name in state.lost
    (state.path / name).write_text('{"written_by": 5, "key": 5, "commit": 5, "revision": 5, "branch": 5, "roots": 5}')
    if name == "written.json":
        assert read() == {} and name in state.lost
    else:
        with pytest.raises(errors.Terminal):
            read()


def test_without_somebody_to_tell_nothing_is_tolerated() -> None:
    """The answers of children come so."""
    with pytest.raises((KeyError, TypeError)):
        from_json(Memory, {**to_json(Memory()), "more": 1})
