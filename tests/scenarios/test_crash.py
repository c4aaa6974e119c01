"""kill -9 at the moments of an apply, on the real engine: the next pass finishes it, and what needs nothing is not touched."""

import contextlib
from collections.abc import Iterator
from datetime import datetime

import docker
import pytest
from docker import errors as docker_errors

from tests.scenarios import crash
from tests.support.lab import Lab, lines, wait_for

pytestmark = pytest.mark.engine

NAMES = {f"rt-kill-{name}" for name in ("still", "web", "side", "lb")}
UNTOUCHED = ("rt-kill-still", "rt-kill-lb")  # the second is reloaded and updated, which is less than a restart


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("crash") / "lab", engine_url, name="kill", tls=False) as lab:
        crash.first(lab)
        lab.push("all in blue")
        yield lab


@pytest.fixture(autouse=True)
def blue(lab: Lab) -> None:
    start(lab)


def start(lab: Lab) -> None:
    """The node has converged to blue, whatever the test before left."""
    crash.paint(lab, "blue")
    report = lab.reconcile()
    assert report.converged, f"{report.failure} {report.plan} {report.outcomes}"
    lab.close_node()


def inspect(lab: Lab, name: str) -> dict[str, object]:
    client = docker.APIClient(base_url=lab.engine_url)
    try:
        found: dict[str, object] = client.inspect_container(name)
        return found
    finally:
        client.close()


def loaded(lab: Lab, name: str, file: str) -> str:
    """What the process in the container read when it started or was reloaded."""
    client = docker.DockerClient(base_url=lab.engine_url)
    try:
        text: bytes = client.containers.get(name).exec_run(["cat", f"/tmp/{file}"]).output  # type: ignore[assignment]
        return text.decode().strip()
    finally:
        client.close()


def seen(lab: Lab) -> dict[str, tuple[str, int, str]]:
    """What is there right after a kill: the engine may still be carrying out what it was asked for."""
    while True:
        with contextlib.suppress(docker_errors.NotFound):
            return lab.identities()


def settled(lab: Lab, there: dict[str, tuple[str, int, str]], colour: str) -> set[str]:
    """Of the containers in `there` those that have all they need: an apply that goes on has no reason to touch them."""
    found = {name for name in UNTOUCHED if name in there}
    written = [lab.config_root / "rt-kill-web" / name for name in ("web.conf", "more.conf")]
    if "rt-kill-web" in there and all(colour in path.read_text() for path in written):
        started = datetime.fromisoformat(there["rt-kill-web"][2][:26].rstrip("Z") + "+00:00").timestamp()
        if there["rt-kill-web"][1] and started > max(path.stat().st_mtime for path in written):
            found.add("rt-kill-web")
    for name in ("rt-kill-side", "rt-kill-new"):
        config = inspect(lab, name)["Config"] if name in there and there[name][1] else {}
        assert isinstance(config, dict)
        if config and (name == "rt-kill-new" or f"COLOUR={colour}" in config["Env"]):
            found.add(name)
    return found


def killed(lab: Lab, point: str, late: float = 0.0) -> None:
    """The whole test: the change to red is killed at a point, and the pass after it ends everything."""
    before = lab.identities()
    crash.paint(lab, "red")
    dead = crash.run(lab, point, late)
    assert dead.killed, f"it never came to {point}\n{dead.output}\n{dead.events}"
    then = seen(lab)
    keep = settled(lab, then, "red")
    for name in UNTOUCHED:
        assert then[name] == before[name], f"{name} was touched before {point}"
    crash.age(lab)
    report = lab.reconcile()
    planned = {action.id for action in report.plan.actions} if report.plan else set()
    assert report.converged, f"{report.failure} {[o for o in report.outcomes if o.result != 'done']} {report.plan}"
    assert not planned & dead.done, f"done twice: {planned & dead.done}"
    after = lab.identities()
    assert after.keys() == NAMES | {"rt-kill-new"}
    assert {name for name in keep if after[name] != then[name]} == set(), lines(report)
    assert [loaded(lab, "rt-kill-web", name) for name in ("web.conf", "more.conf")] == ["colour = red"] * 2
    assert loaded(lab, "rt-kill-lb", "lb.conf") == "colour = red"
    wait_for("nothing is left over", lambda: not crash.leftovers(lab))  # statuses are noted by a thread of their own
    again = lab.reconcile(deep=True)
    assert again.plan is not None and again.plan.empty and not again.plan.held, lines(again)
    assert lab.identities() == after
    lab.close_node()


@pytest.mark.parametrize(
    ("point", "late"),
    [
        ("rename web.conf#1", 0),
        ("POST containers/rt-kill-web/restart#1", 0.05),
        ("POST containers/create rt-kill-side#1", 0),
        ("POST containers/rt-kill-job/start#1", 0.03),
        ("remove manifest.json#2", 0),
    ],
    ids=["file half written", "in the restart", "moved aside", "in the job", "proved"],
)  # fmt: skip
def test_killed_it_is_finished_by_the_next_pass(lab: Lab, point: str, late: float) -> None:
    killed(lab, point, late)


def killed_going_back(lab: Lab, point: str, late: float = 0.0) -> None:
    """A configuration that does not work, killed while it is tried or taken back: what worked is back and stays."""
    before = lab.identities()
    crash.paint(
        lab, f"broken {len(lab.node.state.history.newest(9999))}"
    )  # another each time: a known one is not tried again
    lab.close_node()
    dead = crash.run(lab, point, late)
    assert dead.killed, f"it never came to {point}\n{dead.output}\n{dead.events}"
    then = seen(lab)
    assert {name: then[name] for name in UNTOUCHED} == {name: before[name] for name in UNTOUCHED}
    crash.age(lab)
    report = lab.reconcile()
    after = lab.identities()
    assert after.keys() == NAMES | {"rt-kill-new"}
    assert after["rt-kill-web"][0] == before["rt-kill-web"][0] and after["rt-kill-web"][1]
    assert [loaded(lab, "rt-kill-web", name) for name in ("web.conf", "more.conf")] == ["colour = blue"] * 2, report
    assert "blue" in (lab.config_root / "rt-kill-web/web.conf").read_text()
    wait_for("nothing is left over", lambda: not crash.leftovers(lab))  # statuses are noted by a thread of their own
    again = lab.reconcile(deep=True)
    assert again.plan is not None and again.plan.empty, lines(again)
    assert [(held.target, held.reason) for held in again.plan.held] == [("rt-kill-web", "Quarantined")]
    assert lab.identities() == after
    lab.close_node()


def test_killed_while_going_back_it_goes_back(lab: Lab) -> None:
    killed_going_back(lab, "rename web.conf#2")


@pytest.mark.slow
@pytest.mark.parametrize("colour", ["red", "broken"])
def test_killed_anywhere(lab: Lab, colour: str) -> None:
    """Before everything that changes the disk or the engine, and in the middle of every request."""
    crash.paint(lab, colour)
    whole = crash.run(lab)
    assert not whole.killed and whole.events
    points = [(event, 0.0) for event in whole.events]
    points += [(event, 0.03) for event in whole.events if not event.startswith(("rename", "remove"))]
    wrong, never = [], 0
    for point, late in points:
        start(lab)
        try:
            (killed if colour == "red" else killed_going_back)(lab, point, late)
        except AssertionError as error:
            if "it never came to" in str(error):
                never += 1  # things happen side by side, so their numbers differ from run to run
            else:
                wrong.append(f"{point} +{late}: {error}")
            lab.close_node()
    assert not wrong, "\n\n".join(wrong)
    assert never < len(points) / 4, f"{never} of {len(points)} moments never came"
