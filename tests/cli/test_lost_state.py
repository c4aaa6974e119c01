"""Verbs on a node whose state was lost: what only looks makes nothing, what would change something refuses, and what is put back counts."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler import errors
from reconciler.cli.main import program
from reconciler.node.node import Node
from reconciler.reasons import Reason
from reconciler.settings import load
from reconciler.state import Anchor, Hold, StateDirectory

COMMIT, NEWER = "1" * 40, "2" * 40
THEN = datetime(2026, 11, 27, tzinfo=UTC)


class Place:
    """A node's settings and state; `key` is its own, and it accepted COMMIT."""

    def __init__(self, root: Path) -> None:
        self.root, self.state, self.away = root, root / "state", root / "away"
        self.config_root, self.settings = root / "kolla", root / "reconciler.toml"
        self.config_root.mkdir()
        self.settings.write_text(
            f'host = "ctl1"\nstate_dir = "{self.state}"\n[git]\nurl = "file://{root}/nothing"\n[engine]\nurl = "unix://{root}/nobody.sock"\n'
            f'[fleet]\netcd = ["http://127.0.0.1:9"]\n[policy]\nconfig_roots = ["{self.config_root}"]\n'
        )
        state = StateDirectory(self.state)
        hold = Hold(state, [str(self.config_root)])
        hold.begin()
        self.key = state.identify().key
        state.move_anchor(Anchor(COMMIT, THEN))
        hold.note()
        state.let_go()

    def run(self, *words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(program, words, env={"RECONCILER_CONFIG": str(self.settings)})
        return done.exit_code, done.stdout, done.stderr

    def node(self) -> Node:
        return Node(load(self.settings), forge=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


SHOWING = [
    ("anchor", "show"),
    ("owner", "show"),
    ("status",),
    ("drift",),
    ("plan",),
    ("backup", "list"),
    ("fleet", "status"),
    ("history",),
]
CHANGING = [
    ("suspend", "--reason", "x"),
    ("resume",),
    ("retry",),
    ("owner", "claim", "cafe"),
    ("drain", "ctl1", "--reason", "x"),
    ("drain", "ctl1", "--back"),
    ("fleet", "halt", "--reason", "x"),
    ("recover", "mariadb", "look"),
    ("reconcile",),
]


@pytest.mark.parametrize("words", [*SHOWING, *CHANGING], ids=" ".join)
def test_nothing_is_made_in_the_place_of_a_state_that_was_lost(place: Place, words: tuple[str, ...]) -> None:
    place.state.rename(place.away)
    code, out, err = place.run(*words)
    assert not place.state.exists()
    assert code == 0 if words[1:] == ("show",) or words[0] in ("status", "history") else code == 1, (out, err)
    assert words[0] == "history" or "[StateLost]" in out + err, (out, err)


def test_what_the_node_had_is_shown(place: Place) -> None:
    assert place.run("anchor", "show")[1:] == (f"{COMMIT} accepted 2026-11-27 00:00:00 UTC\n", "")
    place.state.rename(place.away)
    code, out, err = place.run("anchor", "show")
    assert out == f"{COMMIT} accepted 2026-11-27 00:00:00 UTC\n" and f"anchor accept {COMMIT[:12]}" in err
    assert json.loads(place.run("anchor", "show", "--json")[1])["commit"] == COMMIT
    assert place.run("owner", "show")[1] == f"{place.key}\n"
    # Another one in its place, which has a key of its own by now.
    other = StateDirectory(place.state)
    other.create()
    key = other.identify().key
    assert key != place.key and place.run("owner", "show")[1] == f"{place.key}\n"
    assert place.run("anchor", "show")[1].startswith(COMMIT)
    # An older copy of it.
    place.state.rename(place.root / "other")
    place.away.rename(place.state)
    state = StateDirectory(place.state)
    old = (place.state / "anchor.json").read_bytes()
    state.move_anchor(Anchor(NEWER, THEN + timedelta(days=1)))
    Hold(state, [str(place.config_root)]).note()
    (place.state / "anchor.json").write_bytes(old)
    code, out, err = place.run("anchor", "show")
    assert code == 0 and out.startswith(NEWER) and "older copy" in err
    assert place.run("owner", "show")[1] == f"{place.key}\n"


def test_a_host_that_never_had_one_is_suspended_as_before(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.state.rename(place.away)
    for path in place.config_root.glob(".reconciler-*"):
        path.unlink()
    assert place.run("anchor", "show") == (0, "no revision was accepted yet\n", "")
    assert place.run("owner", "show")[1].startswith("no key was drawn yet") and not place.state.exists()
    assert place.run("owner", "show", "--json")[1] == "null\n"
    assert place.run("suspend", "--reason", "a disk")[0] == 0 and StateDirectory(place.state).suspension
    assert place.run("resume")[1].startswith("resumed") and place.run("retry")[0] == 0
    assert place.run("owner", "claim", "cafe")[0] == 0 and "also cafe" in place.run("owner", "show")[1]


@pytest.mark.parametrize("made", [False, True], ids=["nothing is there", "another was made"])
def test_who_began_without_its_state_goes_on_with_what_is_put_back(place: Place, made: bool) -> None:
    """A daemon that was started meanwhile, which makes a folder for its lock."""
    place.state.rename(place.away)
    if made:
        StateDirectory(place.state).create()
    node = place.node()
    for _ in range(2):
        with pytest.raises(errors.Terminal) as lost:
            node.require_state()
        assert lost.value.reason is Reason.StateLost and node.engine.owner == ""
        node.state.create()
    place.state.rename(place.root / "empty")
    place.away.rename(place.state)
    node.require_state()
    assert node.engine.owner == place.key and node.state.anchor and node.state.anchor.commit == COMMIT
    # From then on it is the very one that counts.
    place.state.rename(place.away)
    place.state.mkdir()
    with pytest.raises(errors.Terminal, match="another directory"):
        node.require_state()
    node.close()
