"""A file that holds identifiers waits while they are not known, and an identifier that changed is a change."""

from dataclasses import replace
from typing import Any

from reconciler.model import Actual, Container, Desired, File, FileState, Job, Memory, Plan
from reconciler.plan import Basis, diff, preview
from reconciler.reasons import Reason
from reconciler.render import tokens
from reconciler.system import files
from tests.plan.test_diff import SITE, basis, converged, without

PROJECT = "keystone:project:default/service"
PATH = "keystone/id.conf"
HELD = File(PATH, f"project = <<id:{PROJECT}>>\n", container="keystone", service="keystone")
WITH = replace(SITE, files=(*SITE.files, HELD))
HOLDS = {PATH: (PROJECT,)}


def on_disk(actual: Actual, value: str, known: str = "") -> Actual:
    state = FileState(f"project = {value}\n".encode(), 0o600, 0, 0, next(iter(actual.files.values())).modified)
    return replace(actual, files={**actual.files, PATH: state}, identifiers={PROJECT: known} if known else {})


def planned(actual: Actual, memory: Memory, desired: Desired = WITH, written: str = "", **more: Any) -> Plan:
    """With the identifiers of `actual`; `written` is the one that this program wrote."""
    made = basis(replace(desired, files=tuple(f for f in desired.files if f is not HELD)))
    contents = dict(made.contents)
    if PROJECT in actual.identifiers:
        contents[PATH] = tokens.bind(HELD.content, tokens.identified(actual.identifiers)).encode()
    ours = {**made.written, PATH: (files.digest(f"project = {written}\n".encode()),)}
    return diff(desired, actual, memory, replace(made, contents=contents, identifiers=HOLDS, written=ours, **more))


def told(plan: Plan) -> list[tuple[str, Reason, str]]:
    return [(held.target, held.reason, held.message) for held in plan.held]


def test_a_container_is_not_made_before_its_identifiers_are_known() -> None:
    plan = planned(Actual({}, {}, {}, deep=True), Memory())
    assert not [action for action in plan.actions if "keystone" in (action.target, action.container)]
    assert "create     mariadb  (new container)" in [action.line for action in plan.actions], "others go on"
    why = f"its files need the identifier of {PROJECT}: it does not exist yet"
    assert told(plan) == [("keystone", Reason.Unknown, why)]


def test_it_says_why_the_cloud_cannot_be_asked() -> None:
    actual, memory = converged(SITE, last_good=WITH)
    plan = planned(replace(on_disk(actual, "a1"), unknown={"registrar:keystone": "Keystone does not answer"}), memory)
    assert told(plan) == [
        ("keystone", Reason.Unknown, f"its files need the identifier of {PROJECT}: Keystone does not answer")
    ]
    assert plan.empty, "what runs is left as it is"


def test_a_known_identifier_is_written_like_anything_else() -> None:
    actual, memory = converged(SITE)
    plan = planned(replace(actual, identifiers={PROJECT: "a1"}), memory)
    assert [action.line for action in plan.actions] == [
        "write      keystone/id.conf  (new file)",
        "restart    keystone  (id.conf changed)",
    ]
    assert not any(action.drift for action in plan.actions) and "a1" not in plan.actions[0].diff


def test_nothing_changed_is_nothing_to_do() -> None:
    actual, memory = converged(SITE, last_good=WITH)
    assert planned(on_disk(actual, "a1", "a1"), memory, written="a1").empty


def test_another_identifier_is_a_change_and_not_drift() -> None:
    actual, memory = converged(SITE, last_good=WITH)
    plan = planned(on_disk(actual, "a1", "b2"), memory, written="a1")
    assert [action.line for action in plan.actions] == [
        f"write      keystone/id.conf  (another identifier: {PROJECT})",
        "restart    keystone  (id.conf changed)",
    ]
    assert not any(action.drift for action in plan.actions)


def test_an_edit_by_hand_is_drift() -> None:
    actual, memory = converged(SITE, last_good=WITH)
    plan = planned(on_disk(actual, "by hand", "a1"), memory, written="a1")
    assert plan.actions[0].line == "write      keystone/id.conf  (drift: edited on the node)"
    assert all(action.drift for action in plan.actions)


def test_a_container_that_is_gone_comes_back_when_the_identifier_is_known() -> None:
    actual, memory = converged(SITE, last_good=WITH)
    gone = without(on_disk(actual, "a1", "a1"), "keystone")
    assert [action.line for action in planned(gone, memory, written="a1").actions][
        -1
    ] == "create     keystone  (the container is gone)"
    assert planned(replace(gone, identifiers={}), memory, written="a1").empty


def test_a_job_waits_as_well() -> None:
    spec = Container("", "img/keystone:1", config_directory="keystone-sync")
    job = Job("keystone_sync", spec, "i1", service="keystone", owner="ctl1")
    file = replace(HELD, path="keystone-sync/id.conf", container="keystone_sync")
    desired = replace(SITE, jobs=(job,), files=(*SITE.files, file))
    actual, memory = converged(SITE)
    made: Basis = replace(basis(SITE), identifiers={file.path: (PROJECT,)})
    assert told(diff(desired, actual, memory, made))[0][:2] == ("keystone_sync", Reason.Unknown)
    known = replace(made, contents={**made.contents, file.path: b"project = a1\n"})
    plan = diff(desired, replace(actual, identifiers={PROJECT: "a1"}), memory, known)
    assert [action.line.split()[:2] for action in plan.actions] == [["write", file.path], ["run", "keystone_sync"]]


def test_a_review_needs_no_cloud() -> None:
    head = replace(WITH, files=(*SITE.files, replace(HELD, content=f"project = <<id:{PROJECT}>>\nmore = 1\n")))
    plan = preview(WITH, head, bind=tokens.bind)
    assert [action.target for action in plan.actions] == [PATH, "keystone"] and not plan.held
    assert preview(WITH, WITH, bind=tokens.bind).empty
