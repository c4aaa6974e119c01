"""Situations that were once planned wrongly, and what is planned for them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gates import Hold
from reconciler.model import File, Memory, Mount, Plan, Registrar, Registration, Running, State, Verb, aside
from reconciler.node.findings import Findings
from reconciler.plan import diff
from reconciler.plan.redact import file_diff
from reconciler.reasons import Reason
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
    plan = diff(head, *converged(), basis(head, holds=(Hold(Reason.ReportOnly, "this node only looks"),)))
    assert [held.target for held in plan.held] == ["haproxy/haproxy.cfg", "haproxy"]


def test_a_job_whose_image_or_container_cannot_be_seen_waits() -> None:
    for item in (f"image:{JOB.container.image}", f"container:{JOB.name}"):
        actual, memory = converged(FULL, jobs={})
        plan = diff(FULL, replace(actual, unknown={item: "no answer"}), memory, basis(FULL))
        assert not any(action.target == JOB.name for action in plan.actions), item
        assert JOB.name in [held.target for held in plan.held if held.reason == "Unknown"], item


@pytest.mark.parametrize(
    ("health", "why"), [("starting", "started a moment ago"), ("unhealthy", "fails its health check")]
)
def test_a_job_waits_until_what_it_comes_after_is_healthy(health: Any, why: str) -> None:
    """The engine starts containers by itself after a power cut, and a job that fails then would halt a rollout."""
    actual, memory = converged(FULL)
    head = replace(FULL, jobs=(replace(JOB, inputs="i2"),), containers=(DB, replace(WEB, image="img/keystone:2")))
    proved = {**actual.containers, "mariadb": replace(actual.containers["mariadb"], health=health)}
    plan = diff(head, replace(actual, containers=proved), memory, basis(head))
    assert "run:keystone_db_sync" in {action.id for action in plan.actions}, "it has proved itself since it was started"
    started = proved["mariadb"].started_at
    assert started
    later = started + timedelta(hours=1)
    sick = {**actual.containers, "mariadb": replace(proved["mariadb"], started_at=later)}
    plan = diff(head, replace(actual, containers=sick), memory, basis(head))
    held = {one.target: one for one in plan.held if one.reason is Reason.WaitsForHealth}
    assert why in held["keystone_db_sync"].message and "keystone" in held, "what needs the job waits as well"
    assert not {action.target for action in plan.actions} & {"keystone", "keystone_db_sync"}
    # What the plan itself does to it has to be proved before the job anyway.
    mended = replace(head, containers=(replace(DB, image="img/mariadb:2"), head.containers[1]))
    plan = diff(mended, replace(actual, containers=sick), memory, basis(mended))
    assert {"run:keystone_db_sync", "replace:mariadb", "replace:keystone"} <= {action.id for action in plan.actions}


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
    assert causes == ["drift: edited on the node", "s.conf changed"], "no secret is named that did not rotate"


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


def test_what_rests_on_a_registration_goes_before_it() -> None:
    kinds = [("domain", "d"), ("project", "d/p"), ("user", "d/u"), ("role", "r"), ("role_assignment", "d/u/r")]
    all_of_it = tuple(Registration("keystone", kind, key, {}, "x", "ctl1") for kind, key in kinds)
    base = replace(SITE, registrations=all_of_it, registrars=(Registrar("keystone", {}),))
    first = replace(converged(base)[0], registrations={r.id: None for r in all_of_it})
    made = [a.target.split(":")[1] for a in diff(base, first, Memory(last_good=SITE), basis(base)).actions]
    head = replace(base, registrations=(), revision="r2")
    undone = [a.target.split(":")[1] for a in diff(head, *converged(base), basis(head)).actions]
    for order, text in ((made, "made"), (undone[::-1], "undone")):
        assert sorted(order) == sorted(kind for kind, _ in kinds)
        assert order.index("domain") < order.index("project") < order.index("role_assignment"), text
        assert order.index("domain") < order.index("user") < order.index("role_assignment"), text
        assert order.index("role") < order.index("role_assignment"), text


def test_unregistering_waits_for_a_pass_that_looks() -> None:
    base = replace(SITE, registrations=(Registration("keystone", "role", "r", {}, "x", "ctl1"),))
    base = replace(base, registrars=(Registrar("keystone", {}),))
    actual, memory = converged(base)
    head = replace(base, registrations=(), revision="r2")
    assert diff(head, replace(actual, deep=False), memory, basis(head)).empty


def test_pruning_may_be_left_to_people() -> None:
    head = replace(SITE, containers=(DB,), files=(), revision="r2", policy={"prune": {"mode": "report"}})
    plan = diff(head, *converged(), basis(head))
    assert plan.empty
    assert [(h.target, h.reason) for h in plan.held] == [("haproxy", "PruneReported"), ("keystone", "PruneReported")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"policy": {"prune": {"mode": "report"}}}, "PruneReported"),
        ({"containers": (), "files": ()}, "PruneGuard"),
    ],
)
def test_registrations_are_pruned_as_carefully_as_containers(changes: dict[str, Any], reason: str) -> None:
    role = Registration("keystone", "role", "r", {}, "x", "ctl1")
    base = replace(SITE, registrations=(role,), registrars=(Registrar("keystone", {}),))
    head = replace(base, registrations=(), revision="r2", **changes)
    plan = diff(head, *converged(base), basis(head))
    assert role.id not in {action.target for action in plan.actions}
    assert (role.id, reason) in [(held.target, held.reason) for held in plan.held]


FILE = File("keystone/big.conf", "", container="keystone")


def shown(before: str, after: str) -> list[str]:
    return file_diff(replace(FILE, content=after), after.encode(), before.encode(), None, plain=True).splitlines()


def test_a_huge_file_says_how_much_differs() -> None:
    before = "".join(f"{number}\n" for number in range(30_000))
    after = "".join(f"{number}\n" for number in range(20_000, 60_000))
    assert shown(before, after)[-1] == ("too large to compare: 20000 lines go and 30000 come, of 30000 and 40000")


def test_a_small_change_in_a_huge_file_is_shown_where_it_is() -> None:
    lines = [f"{number % 7}\n" for number in range(200_000)]
    changed = [*lines[:150_000], "new\n", *lines[150_000:]]
    assert shown("".join(lines), "".join(changed))[2:] == [
        "@@ -149999,4 +149999,5 @@", *(f" {n % 7}" for n in (149_998, 149_999)), "+new",
        *(f" {n % 7}" for n in (150_000, 150_001)),
    ]  # fmt: skip


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_leaving_out_what_is_the_same_changes_no_diff(before: list[str], after: list[str]) -> None:
    found = shown("\n".join(before), "\n".join(after))
    assert bool(found) == (before != after)
    assert apply_to(before, found) == after


def apply_to(before: list[str], diff_lines: list[str]) -> list[str]:
    """What the diff makes of `before`, by the numbers of its own headers."""
    result, at = [], 0
    for line in diff_lines[2:]:
        if line.startswith("@@"):
            first, _, count = line.split()[1][1:].partition(",")
            start = int(first) - (0 if count == "0" else 1)
            result += before[at:start]
            at = start
        elif line[0] in " -":
            assert before[at] == line[1:]
            at += 1
        if line[0] in " +":
            result.append(line[1:])
    return result + before[at:]


def test_a_site_may_adopt_nothing() -> None:
    head = replace(SITE, policy={"adoption": "never"})
    actual, memory = converged(applied={})
    head = replace(head, files=(replace(SITE.files[0], content="b = 1\n"), *SITE.files[1:]))
    plan = diff(head, with_container(actual, "keystone", owned=False), memory, basis(head))
    assert plan.empty and [(h.target, h.reason) for h in plan.held] == [("keystone", "NotOwned")]
    assert "adoption: never" in plan.held[0].message


@pytest.mark.parametrize(("source", "verb"), [("haproxy", "reload"), ("haproxy/haproxy.cfg", "restart")])
def test_a_file_that_is_bound_by_itself_needs_a_restart_to_be_seen(source: str, verb: str) -> None:
    lb = replace(SITE.containers[2], mounts=(Mount(f"/etc/kolla/{source}", "/config", "ro"),))
    base = replace(SITE, containers=(DB, WEB, lb))
    head = edited(base, "haproxy/haproxy.cfg", "frontend b\n")
    assert [action.verb for action in diff(head, *converged(base), basis(head)).actions] == ["write", verb]


def test_what_is_adopted_need_not_prove_itself() -> None:
    actual, memory = converged(applied={})
    actual = with_container(actual, "keystone", owned=False)
    assert lines(SITE, actual, memory, unproved=frozenset({"keystone"})) == [
        "adopt      keystone  (made by another tool, and just as it should be)"
    ]


def test_a_job_that_the_host_does_not_allow_is_told() -> None:
    actual, memory = converged(FULL, jobs={})
    plan = diff(FULL, actual, memory, basis(FULL, denied={JOB.name: "privileged is not allowed on this host"}))
    assert [(held.target, held.reason) for held in plan.held] == [(JOB.name, "PolicyDenied")]


def unknown(plan: Plan) -> dict[str, str]:
    return {held.target: held.message for held in plan.held if held.reason == "Unknown"}


def test_what_could_not_be_looked_at_is_named_once() -> None:
    """Also what nothing would have been done about: a node that could not look is not in step."""
    actual, memory = converged(FULL)
    unseen = {
        "stale:keystone": "exit code 7",
        "container:stranger": "the engine's description cannot be read",
        "file:keystone/": "Permission denied",
        "registrar:mariadb": "access denied for root",
        "units": "cannot list them",
    }
    blind = replace(actual, unknown=unseen, registrations={})
    plan = diff(FULL, blind, memory, basis(FULL))
    found = unknown(plan)
    assert not plan.actions and "exit code 7" in found["keystone"] and "Permission denied" in found["keystone/"]
    assert "stranger" in found and sum("access denied for root" in message for message in found.values()) >= 1
    assert "mariadb" not in found, "said of each registration already"
    # What would know is only about to be started: its registrations are planned, and nothing is unknown.
    plan = diff(
        FULL, replace(without(blind, "mariadb"), unknown={"registrar:mariadb": "no route"}), memory, basis(FULL)
    )
    assert not unknown(plan) and any(action.target.startswith("mariadb:") for action in plan.actions)


def test_what_a_pass_that_looked_deep_could_not_see_is_not_well_in_the_next() -> None:
    actual, memory = converged()
    found = Findings.of(SITE.revision, replace(actual, unknown={"stale:keystone": "exit code 7"}))  # type: ignore[arg-type]
    later = replace(actual, deep=False)
    assert unknown(diff(SITE, found.added_to(later), memory, basis(SITE))).keys() == {"keystone"}
    restarted = with_container(later, "keystone", started_at=THEN.replace(year=2001))
    assert not unknown(diff(SITE, found.added_to(restarted), memory, basis(SITE)))


def test_an_unrelated_commit_does_not_turn_drift_into_a_change() -> None:
    """Containers, files, their modes and registrations: what is only reported stays so until its own words change."""
    site = replace(SITE, registrations=FULL.registrations[:1], registrars=FULL.registrars)
    site = replace(site, policy={"drift": {"mode": "report"}})
    actual, memory = converged(site)
    registration = site.registrations[0]
    path = "keystone/keystone.conf"
    broken = without(with_container(actual, "mariadb", state=State.EXITED), "haproxy")
    broken = replace(
        broken,
        registrations={**broken.registrations, registration.id: None},
        files={**broken.files, path: replace(broken.files[path], mode=0o666)},
    )
    expected = {"mariadb", "haproxy", registration.id, path}
    assert {held.target for held in diff(site, broken, memory, basis(site)).held} == expected
    head = edited(site, "keystone/paste.ini", "[other]\n")
    plan = diff(head, broken, memory, basis(head))
    assert {held.target for held in plan.held if held.reason == "DriftReported"} == expected
    assert {action.target for action in plan.actions} == {"keystone/paste.ini", "keystone"}
    # Its own words: then it is what the commit asks for.
    asked = replace(head, containers=tuple(replace(c, cpu_shares=7) for c in head.containers))
    plan = diff(asked, broken, memory, basis(asked))
    assert {held.target for held in plan.held} == {registration.id, path}
    # And so is what a commit touched that was never carried out completely.
    plan = diff(head, broken, memory, basis(head, touched=frozenset(expected)))
    assert not plan.held and expected <= {action.target for action in plan.actions}


def test_a_rotated_password_is_a_change_of_what_uses_it() -> None:
    user = Registration("mariadb", "user", "k@%", {"name": "k", "password": "<<secret:one>>"}, owner=SITE.host)
    wrapped = Registration("mariadb", "user", "w@%", {"name": "w", "password": "<<b64encode:PDw>>"}, owner=SITE.host)
    other = Registration("mariadb", "user", "o@%", {"name": "o", "password": "<<secret:two>>"}, owner=SITE.host)
    site = replace(SITE, registrations=(user, wrapped, other), secrets={"one": "c1", "two": "c1"})
    site = replace(site, policy={"drift": {"mode": "report"}})
    actual, memory = converged(site)
    gone = replace(actual, registrations=dict.fromkeys((user.id, wrapped.id, other.id)))
    head = replace(site, secrets={"one": "c2", "two": "c1"}, revision="r2")
    plan = diff(head, gone, memory, basis(head))
    assert {action.target for action in plan.actions} == {user.id, wrapped.id}
    assert [held.target for held in plan.held] == [other.id]


@pytest.mark.parametrize("drift", [False, True])
def test_the_risk_of_a_rotated_secret_follows_from_the_secret_and_not_from_the_words(drift: bool) -> None:
    """A file may be called whatever it likes, and who edited it on the node rotated nothing."""
    file = File(
        "keystone/rotated.conf", "a = <<secret:one>>\n", container="keystone", service="keystone", secrets=("one",)
    )
    base = replace(SITE, files=(file,), secrets={"one": "c1"})
    head = base if drift else replace(base, secrets={"one": "c2"}, revision="r2")
    actual, memory = converged(replace(base, files=(replace(file, content="a = x\n"),)))
    contents = replace(basis(replace(head, files=())), contents={file.path: b"a = y\n"})
    (write, *_) = diff(head, actual, replace(memory, last_good=base), contents).actions
    assert (write.id, write.risks) == ("write:keystone/rotated.conf", () if drift else ("secret",))
    assert write.cause == ("drift: edited on the node" if drift else "a secret rotated: one")


def test_everything_that_cannot_be_seen_is_named_even_for_the_same_reason() -> None:
    """What was said of one item says nothing of another, in whatever words."""
    actual, memory = converged()
    unseen = {"file:keystone/a.conf": "Permission denied", "file:keystone/b.conf": "Permission denied"}
    plan = diff(SITE, replace(actual, unknown=unseen), memory, basis(SITE))
    found = {held.target: held.message for held in plan.held if held.reason is Reason.Unknown}
    assert found == {
        path.partition(":")[2]: f"{path.replace(':', ' ')} cannot be looked at: Permission denied" for path in unseen
    }


def test_the_unit_that_adopting_disables_is_a_field() -> None:
    actual, memory = converged()
    theirs = replace(actual.containers["keystone"], owned=False)
    actual = replace(actual, containers={**actual.containers, "keystone": theirs}, units=frozenset({"keystone"}))
    adopt = next(
        a for a in diff(SITE, actual, replace(memory, applied={}), basis(SITE)).actions if a.verb is Verb.ADOPT
    )
    assert adopt.disables == "kolla-keystone-container.service" and adopt.disables in adopt.cause


def test_a_file_that_cannot_be_read_is_named() -> None:
    actual, memory = converged()
    unknown = {**actual.unknown, "file:keystone/keystone.conf": "Input/output error"}
    files = {path: state for path, state in actual.files.items() if path != "keystone/keystone.conf"}
    held = diff(SITE, replace(actual, files=files, unknown=unknown), memory, basis(SITE)).held
    assert [(one.target, one.message) for one in held if one.reason is Reason.Unknown] == [
        ("keystone/keystone.conf", "cannot be read: Input/output error")
    ]
