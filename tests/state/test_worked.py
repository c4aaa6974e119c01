"""What works of a commit that is carried out in part: remembered until one is carried out whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model import Action, Container, Desired, File, Held, Outcome, Plan, Verb, Worked
from reconciler.node.remembering import remember_part
from reconciler.node.target import make_target
from reconciler.reasons import Reason
from reconciler.source.prepare import Prepared
from reconciler.state import StateDirectory

DB, API = Container("db", "i:1"), Container("api", "i:1")
BASE = Desired("site", "here", "r1", "/etc/kolla", (DB, API), files=(File("db/x.conf", "a", container="db"),))
HEAD = replace(BASE, revision="r2", containers=(replace(DB, mem_limit=9), replace(API, image="i:2")))
TARGET = make_target(Prepared(HEAD, {}))
PROVED = Worked(HEAD.containers[0], TARGET.part_digest["db"])
UPDATE = Action(Verb.UPDATE, "db", "", container="db")
REPLACE = Action(Verb.REPLACE, "api", "", container="api")


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    """Between two commits."""
    made = StateDirectory(tmp_path / "state")
    made.create()
    made.converged(BASE)
    made.begin("r2", ["db", "api"])
    return made


def after(
    state: StateDirectory, *outcomes: Outcome, held: tuple[Held, ...] = (), in_flight: tuple[str, ...] = ()
) -> set[str]:
    """The containers that are known to work after a pass with this plan."""
    plan = Plan("here", "r2", tuple(outcome.action for outcome in outcomes), held=held)
    done = [outcome for outcome in outcomes if outcome.result != "skipped"]
    remember_part(state, TARGET, plan, state.memory(), done, in_flight)
    return set(state.memory().worked)


def test_what_is_as_the_commit_says_is_noted_until_all_is(state: StateDirectory) -> None:
    failed = Outcome(REPLACE, "rolled-back", Reason.Unhealthy)
    assert after(state, Outcome(UPDATE, "done"), failed) == {"db"}
    assert StateDirectory(state.path).memory().worked == {"db": PROVED}
    state.begin("r3", ["db"])
    assert state.memory().worked == {"db": PROVED}, "one more commit is begun"
    state.took("db", 9.0)
    assert state.memory().worked == {"db": PROVED}, "and something else is noted"
    state.converged(HEAD)
    assert state.memory().worked == {}


@pytest.mark.parametrize(
    "held",
    [Held("db", Reason.Unknown, ""), Held("db/x.conf", Reason.Unknown, ""), Held("db", Reason.WaitsForHealth, "")],
)
def test_what_waits_for_something_is_not_as_it_says(state: StateDirectory, held: Held) -> None:
    assert after(state, Outcome(UPDATE, "done"), held=(held,)) == {"api"}


def test_what_failed_was_not_begun_or_is_in_flight_is_not(state: StateDirectory) -> None:
    assert after(state, Outcome(UPDATE, "failed"), Outcome(REPLACE, "skipped")) == set()
    assert after(state, in_flight=("db", "api")) == set()
    assert after(state, held=(Held("db", Reason.Foreign, ""),)) == {"db", "api"}, "left as it is for good"


def test_what_was_not_touched_is_as_it_was(state: StateDirectory) -> None:
    state.converged(BASE)
    assert after(state) == set(), "nothing is begun"
    state.begin("r2", ["api"])
    assert after(state) == {"api"}


def test_where_nothing_was_ever_carried_out_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.create()
    state.begin("r2", ["db", "api"])
    assert after(state) == set()
