"""Situations that were once planned wrongly, and what is planned for them."""

from dataclasses import replace

from reconciler.model import File, Running, State, aside
from reconciler.plan import diff
from tests.plan.test_diff import (
    DB,
    FULL,
    JOB,
    SITE,
    THEN,
    WEB,
    basis,
    converged,
    edited,
    lines,
    with_container,
    without,
)


def test_a_file_that_goes_is_gone_before_its_container_is_put_to_the_test() -> None:
    """Else the kept copy of it would outlive the proof, and come back with the next rollback."""
    head = replace(SITE, files=tuple(f for f in SITE.files if f.path != "keystone/paste.ini"), revision="r2")
    head = replace(head, containers=(DB, replace(WEB, environment={**WEB.environment, "A": "1"}), SITE.containers[2]))
    plan = diff(head, *converged(), basis(head))
    assert [action.line for action in plan.actions] == [
        "delete     keystone/paste.ini  (no longer part of the configuration)",
        "replace    keystone  (environment.A differs)",
    ]
    assert plan.actions[1].needs == ("delete:keystone/paste.ini",)


def test_a_mode_is_put_right_before_the_restart_that_proves_it() -> None:
    head = edited(SITE, "keystone/paste.ini", "[composite:main]\n")
    actual, memory = converged()
    path = "keystone/keystone.conf"
    actual = replace(actual, files={**actual.files, path: replace(actual.files[path], mode=0o666)})
    plan = diff(head, actual, memory, basis(head))
    assert [action.id for action in plan.actions] == [f"chmod:{path}", "write:keystone/paste.ini", "restart:keystone"]
    assert set(plan.actions[-1].needs) == {f"chmod:{path}", "write:keystone/paste.ini"}


def test_a_hold_shows_all_that_would_be_done() -> None:
    head = edited(SITE, "haproxy/haproxy.cfg", "frontend b\n")
    plan = diff(head, *converged(), basis(head, hold=("ReportOnly", "this node only looks")))
    assert [held.target for held in plan.held] == ["haproxy/haproxy.cfg", "haproxy"]


def test_a_job_whose_image_or_container_cannot_be_seen_waits() -> None:
    for item in (f"image:{JOB.container.image}", f"container:{JOB.name}"):
        actual, memory = converged(FULL, jobs={})
        plan = diff(FULL, replace(actual, unknown={item: "no answer"}), memory, basis(FULL))
        assert not any(action.target == JOB.name for action in plan.actions), item
        assert JOB.name in [held.target for held in plan.held if held.reason == "Unknown"], item


def test_only_the_secrets_that_rotated_are_named() -> None:
    text = "a = <<secret:one>>\nb = <<secret:two>>\n"
    file = File("keystone/s.conf", text, container="keystone", service="keystone", secrets=("one", "two"))
    base = replace(SITE, files=(file,), secrets={"one": "c1", "two": "c1"})
    head = replace(base, secrets={"one": "c1", "two": "c2"}, revision="r2")
    actual, memory = converged(replace(base, files=(replace(file, content="a = x\nb = y\n"),)))
    memory = replace(memory, last_good=base)
    contents = replace(basis(replace(head, files=())), contents={file.path: b"a = x\nb = z\n"})
    causes = [action.cause for action in diff(head, actual, memory, contents).actions]
    assert causes == ["a secret rotated: two", "s.conf changed"]
    same = replace(head, secrets=base.secrets)
    causes = [action.cause for action in diff(same, actual, memory, contents).actions]
    assert causes == ["edited on the node", "s.conf changed"], "no secret is named that did not rotate"


def test_the_spare_of_a_container_that_is_no_longer_wanted_goes_under_its_own_name() -> None:
    actual, memory = converged()
    spec = replace(WEB, name=aside("keystone"))
    spare = Running(spec, "old", WEB.image, State.RUNNING, THEN, owned=True)
    moved = without(actual, "keystone")
    moved = replace(moved, containers={**moved.containers, aside("keystone"): spare})
    head = replace(SITE, containers=(DB, SITE.containers[2]), files=SITE.files[2:], revision="r2")
    assert f"remove     {aside('keystone')}  (no longer part of the site)" in lines(head, moved, memory)


def test_what_is_not_known_to_work_is_proved_and_not_restarted() -> None:
    actual, memory = converged()
    actual = with_container(actual, "keystone", id="new")
    assert lines(SITE, actual, memory, unproved=frozenset({"keystone"})) == [
        "start      keystone  (it has not proved itself yet)"
    ]
