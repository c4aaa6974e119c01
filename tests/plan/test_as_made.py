"""What another tool made and the site takes over `as-made`: it stays as it is, and nothing of it is done a second time."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from reconciler.model import Actual, Applied, Desired, FileState, Image, Job, Memory, Mount, Plan, Verb
from reconciler.options.values import Ulimit
from reconciler.plan import diff, taken_as_made
from reconciler.plan.meaning import differing
from reconciler.reasons import Reason
from tests.plan.test_diff import DB, FULL, JOB, SITE, THEN, WEB, basis, converged, edited, lines

KOLLA = replace(SITE, policy={"adoption": "as-made"})
CONF = "keystone/keystone.conf"


def found(desired: Desired = KOLLA, **files: Any) -> tuple[Actual, Memory]:
    """A host where another tool made every container, with an option that the site says otherwise; `files`: how some are."""
    actual, _ = converged(desired)
    theirs = {}
    for name, running in actual.containers.items():
        spec = replace(running.spec, stop_timeout=61, labels={"made": "elsewhere"})
        theirs[name] = replace(running, owned=False, spec=spec, started_at=THEN)
    changed = {path: _state(actual, path, content) for path, content in files.items()}
    there = {path: state for path, state in {**actual.files, **changed}.items() if state is not None}
    return replace(actual, containers=theirs, files=there), Memory()


def _state(actual: Actual, path: str, content: bytes | None) -> FileState | None:
    if content is None:
        return None
    before = actual.files.get(path) or next(iter(actual.files.values()))
    return replace(before, content=content, mode=0o660, owner=1)


def after(desired: Desired, actual: Actual, memory: Memory, **more: Any) -> tuple[Actual, Memory]:
    """The host when everything was taken over, as the executor remembers it."""
    plan = diff(desired, actual, memory, basis(desired, **more))
    made = taken_as_made(desired, plan, actual, more.get("files_digest", {}))
    ours = {name: replace(running, owned=True) for name, running in actual.containers.items()}
    applied = {name: Applied(running.id, running.started_at, "") for name, running in ours.items()}
    memory = replace(memory, applied=applied, taken=dict.fromkeys(ours, ""), as_made=made, last_good=desired)
    return replace(actual, containers=ours), memory


def test_what_is_given_up_leaves_it_as_the_other_tool_made_it() -> None:
    head = edited(KOLLA, "keystone/paste.ini", "[broken]\n")
    actual, memory = after(KOLLA, *found())
    limited = {n: replace(r, spec=replace(r.spec, restart_policy="no")) for n, r in actual.containers.items()}
    actual = replace(actual, containers=limited)
    memory = replace(memory, quarantine={"keystone": basis(head).part_digest["keystone"]})
    assert not [a for a in diff(head, actual, memory, basis(head)).actions if a.target == "keystone"]


def held(plan: Plan) -> dict[str, list[str]]:
    return {h.target: [d.field for d in h.differences] for h in plan.held if h.reason is Reason.AsMade}


def test_everything_is_taken_over_and_nothing_else_is_done() -> None:
    actual, memory = found(
        KOLLA, **{CONF: b"[DEFAULT]\ndebug = True\n", "keystone/extra.sh": b"#!/bin/sh\n", "haproxy/haproxy.cfg": None}
    )
    plan = diff(KOLLA, actual, memory, basis(KOLLA))
    assert [(a.verb, a.target) for a in plan.actions] == [
        (Verb.ADOPT, name) for name in ("mariadb", "keystone", "haproxy")
    ]
    assert held(plan) == {
        "mariadb": ["stop_timeout", "labels.made"],
        "keystone": ["stop_timeout", "labels.made", CONF],
        "haproxy": ["stop_timeout", "labels.made", "haproxy/haproxy.cfg"],
    }
    assert {h.reason for h in plan.held} == {Reason.AsMade} and all(h.reason.harmless for h in plan.held)
    assert not any(h.drift for h in plan.held), "nobody changed it here"


def test_what_was_taken_over_stays_so() -> None:
    actual, memory = after(
        KOLLA, *found(KOLLA, **{CONF: b"[DEFAULT]\ndebug = True\n", "keystone/extra.sh": b"#!/bin/sh\n"})
    )
    plan = diff(KOLLA, actual, memory, basis(KOLLA))
    assert plan.empty and held(plan)["keystone"] == ["stop_timeout", "labels.made", CONF]


def test_a_text_that_says_the_same_is_no_difference() -> None:
    text = "# by another tool\n\n[composite]\n"
    actual, memory = after(KOLLA, *found(KOLLA, **{"keystone/paste.ini": text.encode()}))
    plan = diff(KOLLA, actual, memory, basis(KOLLA))
    assert plan.empty and held(plan)["keystone"] == ["stop_timeout", "labels.made"]


def test_a_change_of_the_site_makes_all_of_the_container_as_the_site_says() -> None:
    actual, memory = after(KOLLA, *found(KOLLA, **{CONF: b"[DEFAULT]\n", "keystone/paste.ini": b"other\n"}))
    head = edited(KOLLA, "keystone/paste.ini", "[composite]\nuse = egg\n")
    digests = {"keystone": "of the new files"}
    assert [line.split()[:2] for line in lines(head, actual, memory, files_digest=digests)] == [
        ["write", CONF], ["write", "keystone/paste.ini"], ["replace", "keystone"],
    ]  # fmt: skip
    assert not any(action.drift for action in diff(head, actual, memory, basis(head, files_digest=digests)).actions)
    assert held(diff(head, actual, memory, basis(head, files_digest=digests))).keys() == {"mariadb", "haproxy"}


def test_a_secret_that_is_only_encrypted_anew_asks_for_nothing() -> None:
    actual, memory = after(KOLLA, *found(KOLLA, **{CONF: b"[DEFAULT]\n"}), files_digest={"keystone": "f"})
    head = replace(KOLLA, secrets={"db_password": "c2"}, revision="r2")
    assert lines(head, actual, memory, files_digest={"keystone": "f"}) == []
    assert [line.split()[:2] for line in lines(head, actual, memory, files_digest={"keystone": "g"})] == [
        ["write", CONF], ["replace", "keystone"],
    ]  # fmt: skip


@pytest.mark.parametrize("policy", ["equal", "replace"])
def test_another_policy_ends_it(policy: str) -> None:
    actual, memory = after(KOLLA, *found())
    head = replace(KOLLA, policy={"adoption": policy}, revision="r2")
    plan = diff(head, actual, memory, basis(head))
    assert {(action.verb, action.drift) for action in plan.actions} == {(Verb.REPLACE, False)}, "nobody changed it here"


def test_what_is_changed_afterwards_is_drift() -> None:
    actual, memory = after(KOLLA, *found(KOLLA, **{CONF: b"[DEFAULT]\n", "keystone/paste.ini": b"other\n"}))
    state = replace(actual.files[CONF], content=b"[DEFAULT]\ndebug = True\n")
    edited_here = replace(actual, files={**actual.files, CONF: state})
    assert lines(KOLLA, edited_here, memory) == [
        "write      keystone/keystone.conf  (drift: edited on the node)",
        "restart    keystone  (keystone.conf changed)",
    ]
    other = replace(actual.containers["keystone"].spec, cap_add=("NET_RAW",))
    made_anew = replace(
        actual, containers={**actual.containers, "keystone": replace(actual.containers["keystone"], spec=other)}
    )
    assert [line.split()[:2] for line in lines(KOLLA, made_anew, memory)] == [["replace", "keystone"]]


def test_a_container_that_was_made_anew_is_another_one() -> None:
    actual, memory = after(KOLLA, *found())
    again = replace(actual.containers["keystone"], id="another", owned=False)
    plan = diff(KOLLA, replace(actual, containers={**actual.containers, "keystone": again}), memory, basis(KOLLA))
    assert [(a.verb, a.target) for a in plan.actions] == [(Verb.ADOPT, "keystone")]


def test_its_unit_is_taken_over_again_when_it_is_back() -> None:
    actual, memory = after(KOLLA, *found())
    plan = diff(KOLLA, replace(actual, units=frozenset({"keystone", "nova_api"})), memory, basis(KOLLA))
    (action,) = plan.actions
    assert action.line == (
        "adopt      keystone  (drift: kolla-ansible was at work on it, and kolla-keystone-container.service runs or would start it again)"
    )
    assert action.drift and action.disables == "kolla-keystone-container.service"


def test_what_cannot_be_taken_over_is_named_with_what_says_it() -> None:
    equal = replace(SITE, policy={"adoption": "equal"})
    actual, memory = found(equal)
    spec = replace(actual.containers["keystone"].spec, cap_add=("NET_RAW",), ulimits=(Ulimit("nofile", 1, 2),))
    theirs = {**actual.containers, "keystone": replace(actual.containers["keystone"], spec=spec)}
    plan = diff(equal, replace(actual, containers=theirs), memory, basis(equal))
    message = next(h.message for h in plan.held if h.target == "keystone" and h.reason is Reason.NotOwned)
    for words in (
        "stop_timeout (docker_graceful_timeout)",
        "ulimits.nofile (keystone_dimensions)",
        "cap_add",
        "labels.made",
        "as-made",
    ):
        assert words in message, message


# --- jobs ------------------------------------------------------------------------------------------------------------

BOOTSTRAP = Job(
    "mariadb_bootstrap", replace(DB, name="mariadb_bootstrap"), "b1", creates="mariadb:mysql", before=("mariadb",),
    service="mariadb", owner="ctl1",
)  # fmt: skip
CLUSTER = replace(FULL, jobs=(BOOTSTRAP, JOB), policy={"adoption": "as-made"})


def ran(desired: Desired, actual: Actual, memory: Memory) -> list[str]:
    return [a.target for a in diff(desired, actual, memory, basis(desired)).actions if a.verb is Verb.RUN]


@pytest.mark.parametrize("policy", ["equal", "as-made", "replace"])
def test_jobs_of_what_is_taken_over_are_not_run_again(policy: str) -> None:
    desired = replace(CLUSTER, policy={"adoption": policy})
    actual, memory = found(desired)
    assert ran(desired, actual, memory) == []
    assert ran(desired, *after(desired, actual, memory)) == []
    # What is to be made here has jobs of its own.
    alone = {name: one for name, one in actual.containers.items() if name == "mariadb"}
    assert ran(desired, replace(actual, containers=alone), memory) == ["keystone_db_sync"]


def test_an_adopted_cluster_is_never_bootstrapped_again() -> None:
    """Whatever else is known or not: with its data there, or with its container there in any state, Galera is not begun anew."""
    actual, memory = found(CLUSTER)
    taken, remembered = after(CLUSTER, actual, memory)
    seen = 0
    for policy, adopted, data, container, state, unknown, change in product(
        ("equal", "as-made", "replace", "never"), (False, True), (False, True), (False, True), ("running", "exited", "dead"),
        (False, True), (False, True),
    ):  # fmt: skip
        if not data and not container:
            continue  # nothing of a cluster is here
        base, known = (taken, remembered) if adopted else (actual, memory)
        containers = {
            name: replace(one, state=type(one.state)(state))
            for name, one in base.containers.items()
            if container or name != "mariadb"
        }
        here = replace(
            base,
            containers=containers,
            created=frozenset({"mariadb_bootstrap"}) if data and not unknown else frozenset(),
            unknown={"job:mariadb_bootstrap": "no answer"} if data and unknown else {},
        )
        head = replace(CLUSTER, policy={"adoption": policy}, revision="r2")
        if change:
            head = replace(
                head, jobs=(replace(BOOTSTRAP, inputs="b2"), JOB), containers=(replace(DB, image="img/mariadb:2"), WEB)
            )
            here = replace(here, images={**here.images, "img/mariadb:2": Image("img/mariadb:2")})
        assert "mariadb_bootstrap" not in ran(head, here, known), (
            policy,
            adopted,
            data,
            container,
            state,
            unknown,
            change,
        )
        seen += 1
    assert seen == 4 * 2 * 3 * 3 * 2 * 2


# --- meaning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "one", "other", "keys"),
    [
        ("a.conf", "[a]\nx = 1\ny: true\n", "; c\n[a]\ny=True\n\nx=1\n", ()),
        ("a.conf", "[a]\nx = 1\n", "[a]\nx = 2\n[b]\nz = 1\n", ("a/x", "b/z")),
        ("a.conf", "[a]\nx = 1\nx = 2\n", "[a]\nx = 2\nx = 1\n", ("a/x",)),
        ("a.conf", "[a]\nx = 1\n  2\n", "[a]\nx = 1\n2\n", ("a/2", "a/x")),
        ("a.conf", "[a]\nx = a  b\n", "[a]\nx =   a b\n", ()),
        ("a/config.json", '{"command": "a  b", "config_files": [{"source": "/a/", "dest": "b"}, {"source": "c"}]}',
         '{"config_files": [{"source": "c"}, {"dest": "b", "source": "/a"}], "command": "a b", "permissions": []}', ()),
        ("a/policy.json", '{"a": [1, 2]}', '{"a": [2, 1]}', ("a",)),
        ("a/policy.json", '{"a": ', '{"a": 1}', ("(content)",)),
        ("a.cfg", "listen a\n   bind b\n\n", "# frontends\nlisten a\n    bind b\n", ()),
        ("a.cfg", "listen a\nbind b\n", "bind b\nlisten a\n", ("(content)",)),
        ("run.sh", "#!/bin/bash\n[[ a ]]\n", "#!/bin/sh\n[[ a ]]\n", ("(content)",)),
        ("run.sh", "#!/bin/bash\n# why\n\nexec a\n", "#!/bin/bash\nexec a\n", ()),
    ],
)  # fmt: skip
def test_texts_that_say_the_same(path: str, one: str, other: str, keys: tuple[str, ...]) -> None:
    assert differing(path, one.encode(), other.encode()) == keys


def test_what_is_no_text_is_compared_as_it_is() -> None:
    assert differing("a.conf", b"\xff", b"\xff") == () and differing("a.conf", b"\xff", b"a") == ("(content)",)


def test_a_volume_of_another_installation_stays_out_of_reach() -> None:
    site = replace(KOLLA, containers=(replace(DB, mounts=(Mount("data", "/data"),)),), files=())
    actual, memory = found(site)
    theirs = replace(actual.containers["mariadb"], owner="another key")
    plan = diff(site, replace(actual, containers={"mariadb": theirs}), memory, basis(site))
    assert plan.empty and [h.reason for h in plan.held] == [Reason.NotOwned]


def test_a_cluster_that_was_taken_over_forgets_who_left() -> None:
    """What another tool ran is not run again, and by that tool nobody was forgotten."""
    leaving = replace(JOB, name="db_leave_c", left="c", leaves="it is no member any more", inside=DB.name)
    desired = replace(KOLLA, jobs=(*KOLLA.jobs, leaving))
    actual, memory = after(KOLLA, *found())
    plan = diff(desired, actual, memory, basis(desired))
    assert [(a.verb, a.target) for a in plan.actions] == [(Verb.RUN, "db_leave_c")], plan.actions
    assert plan.actions[0].cause == "c left for good: it is no member any more"
