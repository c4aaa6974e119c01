"""The printed plan is the specification: a situation, and the lines that an operator reads."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.gates import Hold
from reconciler.model import (
    Actual,
    Applied,
    Container,
    Desired,
    File,
    FileState,
    Image,
    Job,
    JobResult,
    Memory,
    Mount,
    Registrar,
    Registration,
    Reload,
    Running,
    State,
    Verb,
    Volume,
    Worked,
    aside,
)
from reconciler.plan import Basis, as_actual, diff, preview, recall
from reconciler.plan.registrations import withdraws
from reconciler.reasons import Reason
from reconciler.render import tokens
from reconciler.system import files

THEN = datetime(2000, 1, 1, tzinfo=UTC)
SECRETS = {"db_password": "correct horse"}

DB = Container("mariadb", "img/mariadb:1", service="mariadb", config_directory="mariadb", stateful=True, kolla=True)
WEB = Container(
    "keystone",
    "img/keystone:1",
    environment={"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"},
    mounts=(Mount("kolla_logs", "/var/log/kolla"),),
    service="keystone",
    config_directory="keystone",
    depends_on=("mariadb",),
    kolla=True,
)
LB = Container(
    "haproxy", "img/haproxy:1", service="loadbalancer", config_directory="haproxy", reload=Reload(signal="USR2")
)
FILES = (
    File("keystone/keystone.conf", "debug = False\npassword = <<secret:db_password>>\n", container="keystone",
         service="keystone", secrets=("db_password",)),
    File("keystone/paste.ini", "[composite]\n", container="keystone", service="keystone"),
    File("haproxy/haproxy.cfg", "frontend a\n", container="haproxy", service="loadbalancer", on_change="reload"),
)  # fmt: skip
SITE = Desired(
    site="example",
    host="ctl1",
    revision="r1",
    config_root="/etc/kolla",
    containers=(DB, WEB, LB),
    files=FILES,
    secrets={"db_password": "c1"},
)


def basis(desired: Desired, **more: Any) -> Basis:
    contents = {file.path: tokens.bind(file.content, SECRETS).encode() for file in desired.files}
    digests = {c.name: f"{c.name}@{hash(c.image)}" for c in desired.containers}
    written = {file.path: (files.digest(tokens.bind(file.content, SECRETS).encode()),) for file in FILES}
    return Basis(contents, part_digest=digests, **{"written": written, **more})  # type: ignore[arg-type]


def converged(desired: Desired = SITE, **memory: Any) -> tuple[Actual, Memory]:
    """A node that has just converged to `desired`."""
    actual = as_actual(desired, lambda text, _: tokens.bind(text, SECRETS))
    remembered = Memory(
        applied={c.name: Applied(c.name, THEN, "") for c in desired.containers},
        jobs={job.name: JobResult(job.inputs, True, THEN) for job in desired.jobs},
        last_good=desired,
        registered=desired.registrations,
        revision=desired.revision,
    )
    return actual, replace(remembered, **memory)  # type: ignore[arg-type]


def lines(desired: Desired, actual: Actual, memory: Memory, **more: Any) -> list[str]:
    return [action.line for action in diff(desired, actual, memory, basis(desired, **more)).actions]


def edited(desired: Desired, path: str, content: str) -> Desired:
    files = tuple(replace(f, content=content) if f.path == path else f for f in desired.files)
    return replace(desired, files=files, revision="r2")


def without(actual: Actual, name: str) -> Actual:
    return replace(actual, containers={k: v for k, v in actual.containers.items() if k != name})


def with_container(actual: Actual, name: str, **changes: Any) -> Actual:
    running = replace(actual.containers[name], **changes)  # type: ignore[arg-type]
    return replace(actual, containers={**actual.containers, name: running})


def test_nothing_to_do() -> None:
    actual, memory = converged()
    plan = diff(SITE, actual, memory, basis(SITE))
    assert plan.empty and not plan.held and not plan.leftovers


def test_first_convergence_pulls_first_and_follows_dependencies() -> None:
    assert lines(SITE, Actual({}, {}, {}), Memory()) == [
        "pull       img/mariadb:1  (for mariadb)",
        "pull       img/keystone:1  (for keystone)",
        "pull       img/haproxy:1  (for haproxy)",
        "create     mariadb  (new container)",
        "write      keystone/keystone.conf  (new file)",
        "write      keystone/paste.ini  (new file)",
        "create     keystone  (new container)",
        "write      haproxy/haproxy.cfg  (new file)",
        "create     haproxy  (new container)",
    ]


def test_one_option_restarts_one_container() -> None:
    head = edited(SITE, "keystone/keystone.conf", "debug = True\npassword = <<secret:db_password>>\n")
    assert lines(head, *converged()) == [
        "write      keystone/keystone.conf  (content changed)",
        "restart    keystone  (keystone.conf changed)",
    ]


def test_the_diff_shows_the_option_and_not_the_secret() -> None:
    head = edited(SITE, "keystone/keystone.conf", "debug = True\npassword = <<secret:db_password>>\n")
    text = diff(head, *converged(), basis(head)).actions[0].diff
    assert "-debug = False\n+debug = True" in text
    assert "<<secret:db_password>>" in text and "correct horse" not in text


def test_a_hand_edited_line_is_hidden_where_secrets_live() -> None:
    actual, memory = converged()
    state = replace(actual.files["keystone/keystone.conf"], content=b"debug = False\npassword = old horse\n")
    actual = replace(actual, files={**actual.files, "keystone/keystone.conf": state})
    plan = diff(SITE, actual, memory, basis(SITE))
    assert [a.line for a in plan.actions] == [
        "write      keystone/keystone.conf  (drift: edited on the node)",
        "restart    keystone  (keystone.conf changed)",
    ]
    assert all(action.drift for action in plan.actions)
    assert "password = <hidden>" in plan.actions[0].diff and "old horse" not in plan.actions[0].diff


def test_a_reloadable_file_reloads() -> None:
    head = edited(SITE, "haproxy/haproxy.cfg", "frontend b\n")
    assert lines(head, *converged()) == [
        "write      haproxy/haproxy.cfg  (content changed)",
        "reload     haproxy  (haproxy.cfg changed)",
    ]


def test_mode_is_put_right_without_a_restart() -> None:
    actual, memory = converged()
    state = replace(actual.files["haproxy/haproxy.cfg"], mode=0o666)
    actual = replace(actual, files={**actual.files, "haproxy/haproxy.cfg": state})
    assert lines(SITE, actual, memory) == ["chmod      haproxy/haproxy.cfg  (0666 0:0, should be 0600 0:0)"]


def test_a_link_in_place_of_a_file_is_replaced() -> None:
    actual, memory = converged()
    state = FileState(None, 0o777, 0, 0, THEN, kind="symlink")
    actual = replace(actual, files={**actual.files, "haproxy/haproxy.cfg": state})
    assert lines(SITE, actual, memory)[0] == "write      haproxy/haproxy.cfg  (drift: a link is in its place)"


def test_a_foreign_file_in_our_directory_is_named_and_stays() -> None:
    actual, memory = converged()
    there = {
        "keystone/extra.conf": FileState(b"", 0o600, 0, 0, THEN),
        "keystone/link": FileState(None, 0o777, 0, 0, THEN, "symlink"),
        "keystone/large": FileState(None, 0o600, 0, 0, THEN),
    }
    actual = replace(actual, files={**actual.files, **there})
    plan = diff(SITE, actual, memory, basis(SITE))
    assert plan.empty
    assert [(held.target, held.reason, held.drift) for held in plan.held] == [
        ("keystone/extra.conf", "Foreign", False), ("keystone/large", "Foreign", False), ("keystone/link", "Foreign", False),
    ]  # fmt: skip
    quiet = replace(SITE, policy={"drift": {"fields": {"foreign": "ignore"}}})
    assert not diff(quiet, actual, memory, basis(quiet)).held


def test_a_foreign_file_that_the_container_reads_with_its_folder_is_drift() -> None:
    sources = ({"source": "/var/lib/kolla/config_files/conf.d/*.conf", "dest": "/etc/x"},
               {"source": "/var/lib/kolla/config_files/keys", "dest": "/etc/keys"})  # fmt: skip
    config = File("keystone/config.json", json.dumps({"config_files": sources}), container="keystone")
    site = replace(SITE, files=(*FILES, config))
    actual, memory = converged(site)
    paths = {"conf.d/a.conf": True, "conf.d/readme": False, "keys/0": True, "keys.old": False}
    there = {f"keystone/{path}": FileState(b"", 0o600, 0, 0, THEN) for path in paths}
    plan = diff(site, replace(actual, files={**actual.files, **there}), memory, basis(site))
    assert plan.empty
    assert {held.target: held.drift for held in plan.held} == {f"keystone/{p}": read for p, read in paths.items()}


def test_only_what_was_written_is_deleted() -> None:
    """A file of ours that somebody edited since is theirs; what we wrote and what only looks like it are told apart."""
    head = replace(SITE, files=FILES[:1] + FILES[2:], revision="r2")
    actual, memory = converged()
    assert lines(head, actual, memory)[0] == "delete     keystone/paste.ini  (no longer part of the configuration)"
    edited_since = replace(actual.files["keystone/paste.ini"], content=b"[composite]\nmine\n")
    actual = replace(actual, files={**actual.files, "keystone/paste.ini": edited_since})
    plan = diff(head, actual, memory, basis(head))
    assert plan.empty and [(held.target, held.reason) for held in plan.held] == [("keystone/paste.ini", "Foreign")]
    gone = replace(SITE, containers=(DB, LB), files=FILES[2:], revision="r2")
    plan = diff(gone, actual, memory, basis(gone))
    assert [action.target for action in plan.actions] == ["keystone", "keystone/keystone.conf"]
    assert [(held.target, held.reason) for held in plan.held] == [("keystone/paste.ini", "Foreign")]


def test_the_files_of_a_container_whose_folder_lies_in_anothers_are_left_to_it() -> None:
    inner = Container("inner", "img/inner:1", config_directory="keystone/inner")
    file = File("keystone/inner/a.conf", "a\n", container="inner")
    site = replace(SITE, containers=(DB, inner, WEB, LB), files=(*FILES, file))
    written = {file.path: (files.digest(b"a\n"),)}
    plan = diff(site, *converged(site), basis(site, written=written))
    assert plan.empty and not plan.held
    gone = replace(site, containers=(DB, inner, LB), files=(FILES[2], file), revision="r2")
    plan = diff(gone, *converged(site), basis(gone, written=written))
    assert file.path not in {action.target for action in plan.actions}


def test_another_installations_things_are_never_taken_over() -> None:
    """Whatever the site says of adoption; nothing is stopped, and the message says what to do."""
    site = replace(FULL, policy={"adoption": "replace"}, containers=(DB, WEB))
    actual, memory = converged(site, jobs={}, applied={})
    for name, what in (("keystone", "a container of this name"), (JOB.name, "a container of this name")):
        theirs = Running(Container(name, "img/other:1"), "x", "x", State.RUNNING, THEN, owner="cafe")
        found = replace(actual, containers={**actual.containers, name: theirs})
        plan = diff(site, found, memory, basis(site))
        assert name not in {action.target for action in plan.actions}
        held = next(held for held in plan.held if held.target == name)
        assert held.reason == "NotOwned" and what in held.message and "owner claim cafe" in held.message
    found = replace(actual, engine_volumes={"kolla_logs": Volume(owner="cafe")})
    plan = diff(site, found, memory, basis(site))
    assert [held.target for held in plan.held if "volume kolla_logs" in held.message] == ["keystone", JOB.name]
    ours = replace(actual, engine_volumes={"kolla_logs": Volume(owned=True, owner="me"), "other": Volume(owner="cafe")})
    assert not [held for held in diff(site, ours, memory, basis(site)).held if held.reason == "NotOwned"]


def test_a_killed_container_is_started() -> None:
    actual, memory = converged()
    actual = with_container(actual, "keystone", state=State.EXITED, exit_code=137)
    assert lines(SITE, actual, memory) == ["start      keystone  (it stopped with exit code 137)"]


@pytest.mark.parametrize("policy", [{"mode": "report"}, {"mode": "ignore"}, {"services": {"keystone": "report"}}])
def test_what_this_program_stopped_it_starts_whatever_is_healed(policy: dict[str, object]) -> None:
    site = replace(SITE, policy={"drift": policy})
    actual, memory = converged(site)
    stopped = with_container(actual, "keystone", state=State.EXITED, exit_code=0)
    assert lines(site, stopped, memory) == []
    assert lines(site, stopped, replace(memory, put_down=frozenset({"keystone"}))) == [
        "start      keystone  (it stopped with exit code 0)"
    ]
    other = with_container(actual, "keystone", spec=replace(WEB, user="root"))
    assert lines(site, other, replace(memory, put_down=frozenset({"keystone"}))) == [], "that somebody else did"


def test_a_removed_container_is_made_again() -> None:
    actual, memory = converged()
    assert lines(SITE, without(actual, "keystone"), memory) == ["create     keystone  (the container is gone)"]


def test_a_new_image_replaces_after_the_pull() -> None:
    head = replace(SITE, containers=(DB, replace(WEB, image="img/keystone:2"), LB), revision="r2")
    plan = diff(head, *converged(), basis(head))
    assert [a.line for a in plan.actions] == [
        "pull       img/keystone:2  (for keystone)",
        "replace    keystone  (image differs)",
    ]
    assert "image" in plan.actions[1].risks


def test_nothing_is_touched_before_every_image_is_there() -> None:
    head = edited(SITE, "haproxy/haproxy.cfg", "frontend b\n")
    head = replace(head, containers=(DB, replace(WEB, image="img/keystone:2"), LB))
    plan = diff(head, *converged(), basis(head))
    pull = "pull:img/keystone:2"
    assert all(pull in action.needs for action in plan.actions if action.id != pull)


def test_an_environment_variable_that_was_added_by_hand_is_seen() -> None:
    actual, memory = converged()
    spec = replace(WEB, environment={**WEB.environment, "DEBUG": "1"})
    actual = with_container(actual, "keystone", spec=spec, explicit=frozenset(spec.environment))
    assert lines(SITE, actual, memory) == ["replace    keystone  (drift: environment.DEBUG differs)"]


def test_a_limit_is_changed_in_place() -> None:
    head = replace(SITE, containers=(DB, replace(WEB, mem_limit=2**30), LB), revision="r2")
    assert lines(head, *converged()) == ["update     keystone  (mem_limit)"]


def test_a_half_done_apply_is_finished() -> None:
    """Killed between writing the file and restarting: what runs was started with other files."""
    actual, memory = converged(applied={"keystone": Applied("keystone", THEN, "old digest")})
    digests = {"keystone": "new digest"}
    assert lines(SITE, actual, memory, files_digest=digests) == [
        "restart    keystone  (its configuration changed since it started)"
    ]


@pytest.mark.parametrize(("written", "restarts"), [(timedelta(seconds=-5), False), (timedelta(seconds=5), True)])
def test_a_restart_by_hand_takes_what_was_on_the_disk(written: timedelta, restarts: bool) -> None:
    actual, memory = converged(applied={"keystone": Applied("another id", THEN, "x")})
    state = replace(actual.files["keystone/paste.ini"], modified=THEN + written)
    files = {path: replace(s, modified=THEN - timedelta(days=1)) for path, s in actual.files.items()}
    actual = replace(actual, files={**files, "keystone/paste.ini": state})
    assert bool(lines(SITE, actual, memory, files_digest={"keystone": "y"})) is restarts


def test_a_running_configuration_that_differs_is_restarted() -> None:
    actual, memory = converged()
    actual = replace(actual, stale={"keystone": "/etc/keystone/keystone.conf differs"})
    assert lines(SITE, actual, memory) == ["restart    keystone  (drift: what runs differs from its files)"]


@pytest.mark.parametrize(
    ("policy", "actions", "held"),
    [
        ({"mode": "heal"}, 1, []),
        ({"mode": "report"}, 0, ["DriftReported"]),
        ({"mode": "ignore"}, 0, []),
        ({"mode": "heal", "services": {"keystone": "report"}}, 0, ["DriftReported"]),
        ({"mode": "report", "services": {"keystone": "heal"}}, 1, []),
        ({"mode": "heal", "fields": {"state": "ignore"}}, 0, []),
    ],
)
def test_drift_modes(policy: dict[str, object], actions: int, held: list[str]) -> None:
    site = replace(SITE, policy={"drift": policy})
    actual, memory = converged(site)
    actual = with_container(actual, "keystone", state=State.EXITED)
    plan = diff(site, actual, memory, basis(site))
    assert (len(plan.actions), [h.reason for h in plan.held]) == (actions, held)


def test_report_mode_does_not_hold_back_a_change() -> None:
    site = replace(SITE, policy={"drift": {"mode": "report"}})
    head = edited(site, "keystone/paste.ini", "[other]\n")
    assert len(lines(head, *converged(site))) == 2


def test_a_service_switched_off_goes_and_its_volumes_stay() -> None:
    head = replace(SITE, containers=(DB, LB), files=FILES[2:], revision="r2")
    actual, memory = converged()
    actual = replace(actual, volumes=frozenset({"kolla_logs"}))
    plan = diff(head, actual, memory, basis(head))
    assert [a.line for a in plan.actions] == [
        "remove     keystone  (no longer part of the site)",
        "delete     keystone/keystone.conf  (of keystone)",
        "delete     keystone/paste.ini  (of keystone)",
    ]
    assert plan.leftovers == ("kolla_logs",)


def test_a_change_cannot_declare_itself_harmless() -> None:
    """What is interrupted counts for what it was as well as for what it is to be; going away is an interruption, too."""
    lighter = replace(DB, stateful=False, image="img/mariadb:2")
    heavier = replace(LB, data_plane=True, image="img/haproxy:2")
    head = replace(SITE, containers=(lighter, heavier), files=FILES[2:], revision="r2")
    base = replace(SITE, containers=tuple(replace(c, data_plane=c.name == "keystone") for c in SITE.containers))
    plan = diff(head, *converged(base), basis(head))
    risks = {action.target: set(action.risks) for action in plan.actions if action.verb in (Verb.REPLACE, Verb.REMOVE)}
    assert risks == {
        "mariadb": {"image", "stateful"},
        "haproxy": {"image", "data-plane"},
        "keystone": {"deletion", "data-plane"},
    }


def test_the_prune_guard_holds_everything_back() -> None:
    head = replace(SITE, containers=(DB,), files=(), revision="r2", policy={"prune": {"max": 1}})
    plan = diff(head, *converged(), basis(head))
    assert plan.empty and {h.reason for h in plan.held} == {"PruneGuard"} and len(plan.held) == 2


def test_an_empty_render_never_means_remove_all() -> None:
    head = replace(SITE, containers=(), files=(), revision="r2")
    actual, memory = converged()
    plan = diff(head, actual, memory, basis(head))
    assert plan.empty and len(plan.held) == 3
    # The advice is one that helps: more of `prune.max` would not, an operator's own `docker rm` does.
    assert all("whatever `prune.max` says" in held.message and "docker rm" in held.message for held in plan.held)
    more = replace(head, policy={"prune": {"max": 1000}})
    assert diff(more, actual, memory, basis(more)).held == plan.held
    assert not diff(head, replace(actual, containers={}), memory, basis(head)).held


def test_raising_prune_max_as_the_guard_says_helps() -> None:
    """Where nothing was ever carried out here there is nothing that an acknowledgement could be told from."""
    head = replace(SITE, containers=(DB,), files=(), revision="r2", policy={"prune": {"max": 1}})
    actual, memory = converged(last_good=None)
    assert all("raise `prune.max`" in held.message for held in diff(head, actual, memory, basis(head)).held)
    raised = replace(head, policy={"prune": {"max": 2}})
    plan = diff(raised, actual, memory, basis(raised))
    assert not plan.held and not plan.empty


def test_the_unowned_is_never_removed() -> None:
    actual, memory = converged()
    stranger = Running(Container("postgres", "x"), "p", "x", State.RUNNING, THEN)
    actual = replace(actual, containers={**actual.containers, "postgres": stranger})
    assert lines(SITE, actual, memory) == []


def test_a_container_of_kolla_ansible_is_adopted_when_equal() -> None:
    actual, memory = converged(applied={})
    assert lines(SITE, with_container(actual, "keystone", owned=False), memory) == [
        "adopt      keystone  (made by another tool, and just as it should be)"
    ]


def test_a_different_container_of_another_tool_is_left_alone() -> None:
    actual, memory = converged()
    actual = with_container(actual, "keystone", owned=False, spec=replace(WEB, privileged=True))
    plan = diff(SITE, actual, memory, basis(SITE))
    assert plan.empty and plan.held[0].reason == "NotOwned" and plan.held[0].differences[0].field == "privileged"


def test_a_denied_container_is_held_and_the_others_go_on() -> None:
    head = edited(SITE, "haproxy/haproxy.cfg", "frontend b\n")
    plan = diff(head, without(converged()[0], "keystone"), converged()[1], basis(head, denied={"keystone": "no"}))
    assert [a.target for a in plan.actions] == ["haproxy/haproxy.cfg", "haproxy"]
    assert [(h.target, h.reason) for h in plan.held] == [("keystone", "PolicyDenied")]


def test_what_cannot_be_observed_is_not_touched() -> None:
    actual, memory = converged()
    actual = replace(without(actual, "keystone"), unknown={"container:keystone": "the engine did not answer"})
    plan = diff(SITE, actual, memory, basis(SITE))
    assert plan.empty and plan.held[0].reason == "Unknown"


def test_a_quarantined_configuration_waits_for_a_commit() -> None:
    head = edited(SITE, "keystone/paste.ini", "[broken]\n")
    digest = basis(head).part_digest["keystone"]
    actual, memory = converged(quarantine={"keystone": digest})
    plan = diff(head, actual, memory, basis(head))
    assert plan.empty and plan.held[0].reason == "Quarantined"
    # The container itself is still kept running while the quarantine lasts.
    down = with_container(actual, "keystone", state=State.EXITED)
    assert [a.line for a in diff(head, down, memory, basis(head)).actions] == [
        "start      keystone  (it stopped with exit code 0)"
    ]


def test_what_was_changed_in_a_container_that_stayed_goes_back_with_the_rest() -> None:
    """The limits of a configuration that was given up, whether this program set them or somebody did since."""
    head = edited(SITE, "keystone/paste.ini", "[broken]\n")
    head = replace(
        head, containers=tuple(replace(c, mem_limit=99) if c.name == "keystone" else c for c in head.containers)
    )
    actual, memory = converged(quarantine={"keystone": basis(head).part_digest["keystone"]})
    limited = with_container(actual, "keystone", spec=replace(WEB, mem_limit=99))
    plan = diff(head, limited, memory, basis(head))
    assert [a.line for a in plan.actions] == ["update     keystone  (back to what worked: mem_limit)"]
    by_hand = with_container(actual, "keystone", spec=replace(WEB, mem_limit=7))
    (drift,) = diff(head, by_hand, memory, basis(head)).actions
    assert drift.drift and drift.line == "update     keystone  (drift: mem_limit)"
    assert diff(replace(head, policy={"drift": {"mode": "report"}}), by_hand, memory, basis(head)).empty
    assert not plan.actions[0].drift
    # In the container that stays; what it would have to be made anew for stays, too.
    other = with_container(actual, "keystone", spec=replace(WEB, hostname="x"))
    assert diff(head, other, memory, basis(head)).empty


def test_what_worked_last_may_be_of_a_commit_that_was_never_carried_out_whole() -> None:
    """Another container of it waits for a commit that mends it, for days."""
    later = replace(WEB, image="img/keystone:2", mem_limit=50)
    head = edited(SITE, "keystone/paste.ini", "[broken]\n")
    head = replace(
        head, containers=tuple(replace(later, mem_limit=99) if c.name == "keystone" else c for c in head.containers)
    )
    actual, memory = converged(quarantine={"keystone": basis(head).part_digest["keystone"]})
    memory = replace(memory, worked={"keystone": Worked(later, "of r2")})
    there = replace(actual, images={**actual.images, later.image: Image(later.image)})
    runs = with_container(there, "keystone", spec=replace(later, mem_limit=99), image_id=later.image)
    (update,) = diff(head, runs, memory, basis(head)).actions
    assert [(d.field, d.desired, d.actual) for d in update.differences] == [("mem_limit", "50", "99")]
    (made,) = diff(head, without(there, "keystone"), memory, basis(head)).actions
    assert made.verb is Verb.CREATE and recall.in_force(head, memory, {"keystone"})["keystone"] == later


def test_an_interrupted_replace_is_finished_or_undone() -> None:
    actual, memory = converged()
    old = replace(actual.containers["keystone"], spec=replace(WEB, image="img/keystone:0"), image_id="img/keystone:0")
    moved = replace(
        without(actual, "keystone"), containers={**without(actual, "keystone").containers, aside("keystone"): old}
    )
    assert lines(SITE, moved, memory) == ["replace    keystone  (finish an interrupted replace)"]
    # It was healed when that broke off, and still is: what runs aside is stopped within the budgets, and waits for no wave.
    assert [action.drift for action in diff(SITE, moved, memory, basis(SITE)).actions] == [True]
    head = replace(
        SITE, containers=tuple(replace(c, cpu_shares=7) if c.name == "keystone" else c for c in SITE.containers)
    )
    assert [action.drift for action in diff(head, moved, memory, basis(head)).actions] == [False]
    same = replace(moved, containers={**moved.containers, aside("keystone"): actual.containers["keystone"]})
    assert lines(SITE, same, memory) == ["rename     keystone  (an interrupted replace had moved it aside)"]
    both = replace(actual, containers={**actual.containers, aside("keystone"): old})
    both = replace(both, containers={k: replace(v, spec=replace(v.spec, name=k)) for k, v in both.containers.items()})
    assert lines(SITE, both, memory) == [f"remove     {aside('keystone')}  (left over from an interrupted replace)"]
    assert [action.drift for action in diff(SITE, both, memory, basis(SITE)).actions] == [True]
    changed = diff(SITE, both, memory, basis(SITE, touched=frozenset({"keystone"})))
    assert [action.drift for action in changed.actions] == [False]


def test_a_hold_keeps_everything_back() -> None:
    head = edited(SITE, "haproxy/haproxy.cfg", "frontend b\n")
    plan = diff(head, *converged(), basis(head, holds=(Hold(Reason.Suspended, "maintenance of the rack"),)))
    assert plan.empty and {h.reason for h in plan.held} == {"Suspended"}


JOB = Job(
    "keystone_db_sync", replace(WEB, name="keystone_db_sync"), "i1", before=("keystone",), after=("mariadb",),
    service="keystone", owner="ctl1", migration=True,
)  # fmt: skip
REGISTRAR = Registrar("mariadb", {}, needs=("mariadb",))
REGISTRATIONS = (
    Registration("mariadb", "database", "keystone", {}, "keystone", "ctl1", before=("keystone_db_sync", "keystone")),
    Registration("mariadb", "user", "keystone@%", {"password": "<<secret:db_password>>"}, "keystone", "ctl1"),
)
FULL = replace(SITE, containers=(DB, WEB), files=(), jobs=(JOB,), registrations=REGISTRATIONS, registrars=(REGISTRAR,))


def test_a_first_start_registers_migrates_and_then_starts() -> None:
    actual = Actual({}, {i: Image(i) for i in ("img/mariadb:1", "img/keystone:1")}, {}, deep=True)
    assert lines(FULL, actual, Memory()) == [
        "create     mariadb  (new container)",
        "register   mariadb:database:keystone  (once mariadb runs)",
        "run        keystone_db_sync  (first run)",
        "create     keystone  (new container)",
        "register   mariadb:user:keystone@%  (once mariadb runs)",
    ]


def test_a_job_runs_once_per_changed_input() -> None:
    actual, memory = converged(FULL)
    assert lines(FULL, actual, memory) == []
    head = replace(FULL, jobs=(replace(JOB, inputs="i2"),), revision="r2")
    plan = diff(head, actual, memory, basis(head))
    assert [a.line for a in plan.actions] == ["run        keystone_db_sync  (its inputs changed)"]
    assert plan.actions[0].risks == ("migration",)


def test_a_job_whose_result_is_there_is_not_run() -> None:
    actual, _ = converged(FULL)
    actual = replace(actual, created=frozenset({"keystone_db_sync"}))
    assert lines(FULL, actual, Memory(revision="r1", last_good=FULL, registered=REGISTRATIONS)) == []


def test_a_job_of_another_host_is_not_ours() -> None:
    site = replace(FULL, jobs=(replace(JOB, owner="ctl2"),))
    actual, memory = converged(site, jobs={})
    assert lines(site, actual, memory) == []


def test_registrations_drift_and_heal() -> None:
    actual, memory = converged(FULL)
    found = {**actual.registrations, "mariadb:user:keystone@%": {"password": "<differs>"}}
    assert lines(FULL, replace(actual, registrations=found), memory) == [
        "register   mariadb:user:keystone@%  (drift: password)"
    ]
    gone = {**actual.registrations, "mariadb:user:keystone@%": None}
    assert lines(FULL, replace(actual, registrations=gone), memory) == [
        "register   mariadb:user:keystone@%  (drift: it is gone)"
    ]


def test_registrations_that_could_not_be_read_change_nothing() -> None:
    actual, memory = converged(FULL)
    actual = replace(actual, registrations={}, unknown={"registrar:mariadb": "connection refused"})
    plan = diff(FULL, actual, memory, basis(FULL))
    assert plan.empty and {h.message for h in plan.held} == {"connection refused"}


def test_what_is_no_longer_registered_goes_but_never_data() -> None:
    actual, memory = converged(FULL)
    head = replace(FULL, containers=(DB,), registrations=(), jobs=(), revision="r2")
    plan = diff(head, actual, memory, basis(head))
    assert [a.line for a in plan.actions if a.verb == "unregister"] == [
        "unregister mariadb:user:keystone@%  (no longer part of the site)"
    ]
    assert [(h.target, h.reason) for h in plan.held] == [("mariadb:database:keystone", "HoldsData")]


def test_what_another_host_registers_by_now_is_not_withdrawn() -> None:
    """A host that comes before this one owns it from then on: the accounts of a running cloud would go."""
    actual, memory = converged(FULL)
    head = replace(FULL, registrations=(), revision="r2", registered_elsewhere=("mariadb:user:keystone@%",))
    plan = diff(head, actual, memory, basis(head))
    assert not [one for one in plan.actions if one.verb == "unregister"]
    assert [(h.target, h.reason) for h in plan.held] == [("mariadb:database:keystone", "HoldsData")]
    assert not withdraws(head, memory)
    shown = preview(FULL, head, bind=tokens.bind)
    assert not [one for one in shown.actions if one.verb == "unregister"]


def test_who_registers_nothing_any_more_says_nothing_of_what_others_do() -> None:
    """It does not know what they ask for: every database of a controller that is none any more was "no longer wanted"."""
    actual, memory = converged(FULL)
    head = replace(FULL, registrations=(), registrars=(), revision="r2")
    plan = diff(head, actual, memory, basis(head))
    assert not plan.held and not [one for one in plan.actions if one.verb == "unregister"]


def test_what_is_no_longer_registered_goes_after_whoever_uses_it_has_changed() -> None:
    """The owner's own containers among them: where a rollout has no other hosts, or cannot tell."""
    actual, memory = converged(FULL)
    image = replace(WEB, image="img/keystone:2")
    head = replace(FULL, containers=(DB, image), registrations=REGISTRATIONS[:1], revision="r2")
    plan = diff(head, actual, memory, basis(head))
    (gone,) = (action for action in plan.actions if action.verb == "unregister")
    assert "replace:keystone" in gone.needs and plan.actions[-1] is gone
    head = replace(FULL, containers=(DB,), registrations=REGISTRATIONS[:1], jobs=(), revision="r2")
    (gone,) = (a for a in diff(head, actual, memory, basis(head)).actions if a.verb == "unregister")
    assert "remove:keystone" in gone.needs


def test_what_a_container_that_went_back_may_use_stays() -> None:
    head = replace(edited(FULL, "keystone/paste.ini", "[broken]\n"), registrations=REGISTRATIONS[:1])
    actual, memory = converged(FULL, quarantine={"keystone": basis(head).part_digest["keystone"]})
    plan = diff(head, actual, memory, basis(head))
    assert not [one for one in plan.actions if one.verb == "unregister"]
    (kept,) = (one for one in plan.held if one.reason == "StillNeeded")
    assert kept.target == REGISTRATIONS[1].id and "keystone did not take the commit" in kept.message
    known = diff(head, actual, memory, basis(head, is_everywhere=True))
    assert [one.target for one in known.actions if one.verb == "unregister"] == [REGISTRATIONS[1].id], (
        "an operator said so"
    )


def digest(desired: Desired, name: str) -> str:
    return f"{desired.revision}{name}"


def test_preview_needs_no_secret_and_sees_a_rotation() -> None:
    head = replace(SITE, secrets={"db_password": "c2"}, revision="r2")
    plan = preview(SITE, head, bind=tokens.bind)
    assert [a.line for a in plan.actions] == [
        "write      keystone/keystone.conf  (a secret rotated: db_password)",
        "restart    keystone  (keystone.conf changed)",
    ]
    assert "secret" in plan.actions[0].risks


def test_preview_says_what_fails_while_hosts_take_a_password_into_use() -> None:
    words = "two of them hold the address"
    head = replace(SITE, secrets={"db_password": "c2"}, revision="r2", meanwhile={"db_password": words})
    assert preview(SITE, head, bind=tokens.bind).actions[0].cause == f"a secret rotated: db_password; {words}"
    for kind, said in (
        ("keystone", ": its tokens end now, and whoever has the former one is not let in until its own turn"),
        ("mariadb", ""),
    ):
        user = Registration(kind, "user", "nova@%", {"password": "<<secret:db_password>>"}, "keystone", "ctl1")
        base = replace(
            FULL, registrations=(user,), registrars=(Registrar(kind, {}, ("mariadb",)),), secrets={"db_password": "c1"}
        )
        head = replace(base, secrets={"db_password": "c2"}, revision="r2")
        (action,) = (one for one in preview(base, head, bind=tokens.bind).actions if one.verb == "register")
        assert action.line == f"register   {user.id}  (password{said})" and not action.drift
        assert preview(base, replace(base, revision="r2"), bind=tokens.bind).empty


def test_preview_of_an_unchanged_site_is_empty() -> None:
    assert preview(FULL, replace(FULL, revision="r2"), bind=tokens.bind).empty


def test_preview_of_a_new_registration_registers_it() -> None:
    """A registrar that runs would say that it is not there; one that comes with the change is asked once it runs."""
    asked = [f"register   {registration.id}" for registration in REGISTRATIONS]
    for base, why in ((replace(FULL, registrations=()), "new"), (None, "once mariadb runs")):
        plan = preview(base, replace(FULL, revision="r2"), bind=tokens.bind)
        registers = [a.line for a in plan.actions if a.verb is Verb.REGISTER]
        assert (registers, plan.held) == ([f"{line}  ({why})" for line in asked], ())


def test_preview_of_a_host_that_takes_over_registrations_makes_none_anew() -> None:
    names = tuple(registration.id for registration in REGISTRATIONS)
    base = replace(FULL, registrations=(), registered_elsewhere=names)
    assert preview(base, replace(FULL, revision="r2"), bind=tokens.bind).empty


def test_preview_of_a_new_host_creates_everything() -> None:
    verbs = [a.verb for a in preview(None, SITE, bind=tokens.bind).actions]
    assert verbs.count("create") == 3 and verbs.count("write") == 3  # type: ignore[arg-type]
