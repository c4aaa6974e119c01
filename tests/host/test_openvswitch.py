"""Bridges, ports and values of Open vSwitch: read, planned, and set in a genuine database."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import docker
import pytest
from docker import errors as docker_errors

from reconciler import errors
from reconciler.engine import Engine
from reconciler.errors import SiteInvalid
from reconciler.host.machine import Machine
from reconciler.model import Actual, Container, Desired, HostKept, HostSetting, Memory, Running, State, Verb
from reconciler.plan import Basis, diff
from reconciler.reasons import Reason
from tests.images import build, kolla
from tests.render.sites import rendered

SERVICE = """
    groups: {app: [control]}
    containers:
      db: {group: app, image: x, command: y, kolla: false}
      switch: {group: app, image: x, command: y, kolla: false, depends_on: [db]}
    host:
"""
BRIDGE = HostSetting("bridge", "br-ex", {"fail_mode": "standalone"}, "app", ("switch",), inside="db")
PORT = HostSetting("port", "eth1", {"bridge": "br-ex"}, "app", ("switch",), inside="db")
REMOTE = HostSetting(
    "ovs", "external_ids:ovn-remote", {"value": "tcp:10.0.0.1:6642,tcp:10.0.0.2:6642"}, "app", inside="db"
)
ALL = (BRIDGE, PORT, REMOTE)
# As ovs-vsctl 3.1 says it: the bridges, the switch's own record, and the ports of the bridges that are named.
ANSWER = """{"data":[["br-ex","standalone"],["br-x",["set",[]]]],"headings":["name","fail_mode"]}

{"data":[[["map",[["ovn-remote","tcp:10.0.0.1:6642,tcp:10.0.0.2:6642"]]],["map",[["hw-offload","true"]]]]],"headings":["external_ids","other_config"]}

br-ex eth1
"""


def read(*lines: str) -> tuple[HostSetting, ...]:
    return rendered(SERVICE + "".join(f"      {line}\n" for line in lines)).host_settings


def test_bridges_ports_and_values_are_read() -> None:
    found = read(
        "bridges: [{name: br-ex, inside: db}, {name: br-int, fail_mode: secure, inside: elsewhere}]",
        "ports: [{name: eth1, bridge: br-ex, inside: db, containers: [switch]}]",
        "open_vswitch: [{name: ovn-remote, value: 'tcp:10.0.0.1:6642,tcp:10.0.0.2:6642', inside: db}, {column: other_config, name: hw, value: true, inside: db}]",
    )
    assert found == (
        BRIDGE,
        replace(REMOTE, before=("switch",)),
        HostSetting("ovs", "other_config:hw", {"value": "true"}, "app", ("switch",), inside="db"),
        PORT,
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bridges: [{name: '--all', inside: db}]", "'--all' is not the name of a bridge"),
        ("bridges: [{name: br-much-too-long-name, inside: db}]", "is not the name of a bridge"),
        ("ports: [{name: 'eth1 -- del-br br-int', bridge: br-ex, inside: db}]", "is not the name of a bridge or a port"),
        ("open_vswitch: [{name: 'a=b', value: 1, inside: db}]", "'a=b' is not the name of a value"),
        ("open_vswitch: [{name: a, value: '', inside: db}]", "the value is empty"),
        ("bridges: [{name: br-ex}]", "inside"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(line: str, said: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        read(line)
    assert any(said in str(problem) for problem in caught.value.problems), caught.value.problems


def test_who_is_asked_cannot_wait_for_what_is_asked() -> None:
    with pytest.raises(SiteInvalid, match="these wait for each other"):
        read("bridges: [{name: br-ex, inside: switch, containers: [db]}]")


def test_one_question_is_asked_for_all() -> None:
    asked: list[Sequence[str]] = []

    def execute(container: str, command: Sequence[str], seconds: float) -> tuple[int, str]:
        assert container == "db"
        asked.append(command)
        return 0, ANSWER

    other, unset, gone = replace(PORT, name="eth2"), replace(BRIDGE, name="br-x"), replace(BRIDGE, name="br-gone")
    found, unknown = Machine(execute=execute).observe([*ALL, other, unset, gone])
    assert len(asked) == 1 and not unknown and asked[0][-1] == "br-ex"
    assert found == {
        BRIDGE.id: BRIDGE.fields, PORT.id: PORT.fields, REMOTE.id: REMOTE.fields, other.id: {}, unset.id: {"fail_mode": "unset"}, gone.id: {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (1, "ovs-vsctl: unix:/var/run/openvswitch/db.sock: database connection failed (Connection refused)", "does not answer"),
        (0, "nonsense", "makes no sense"),
        (0, '{"data":[[1]]}\n{"data":[]}', "makes no sense"),
        (127, "sh: ovs-vsctl: not found", "not found"),
    ],
)  # fmt: skip
def test_what_does_not_answer_is_unknown(code: int, text: str, said: str) -> None:
    found, unknown = Machine(execute=lambda *_: (code, text)).observe(ALL)
    assert not found and unknown.keys() == {s.id for s in ALL} and all(said in why for why in unknown.values())
    with pytest.raises(errors.Transient, match=said) as caught:  # asked before anything is set: nothing is refused yet
        Machine(execute=lambda *_: (code, text)).before(BRIDGE)
    assert caught.value.reason is Reason.HostFailed


# --- the plan --------------------------------------------------------------------------------------------------------

DB, SWITCH = Container("db", "img", service="app"), Container("switch", "img", service="app", depends_on=("db",))
DESIRED = Desired("s", "h", "r1", "/etc/kolla", containers=(DB, SWITCH), host_settings=ALL)
THERE = {c.name: Running(c, c.name, "img", State.RUNNING, None, owned=True) for c in (DB, SWITCH)}
ON = {s.id: s.fields for s in ALL}


def lines(actual: Actual, desired: Desired = DESIRED, memory: Memory | None = None) -> list[str]:
    return [action.line for action in diff(desired, actual, memory or Memory(), Basis({})).actions]


def test_they_are_set_once_the_database_runs_and_before_the_switch() -> None:
    assert lines(Actual({}, {}, {}, deep=True)) == [
        "pull       img  (for db)",
        "create     db  (new container)",
        "set        bridge:br-ex  (once db runs)",
        "set        port:eth1  (once db runs)",
        "set        ovs:external_ids:ovn-remote  (once db runs)",
        "create     switch  (new container)",
    ]
    assert not lines(Actual(THERE, {}, {}, host_settings=ON, deep=True))
    assert not lines(Actual(THERE, {}, {})), "a light pass does not ask"


def test_what_somebody_changed_is_drift_and_what_is_not_answered_unknown() -> None:
    memory = Memory(last_good=DESIRED)
    found = {**ON, PORT.id: {}}
    assert lines(Actual(THERE, {}, {}, host_settings=found, deep=True), memory=memory) == [
        "set        port:eth1  (drift: bridge absent, should be br-ex)"
    ]
    silent = Actual(THERE, {}, {}, unknown={f"host:{s.id}": "no" for s in ALL}, deep=True)
    plan = diff(DESIRED, silent, memory, Basis({}))
    assert not plan.actions and {h.reason for h in plan.held} == {Reason.Unknown}


def test_ports_go_before_their_bridge_and_nothing_goes_with_the_database() -> None:
    memory = Memory(last_good=DESIRED, host_settings={s.id: HostKept(s) for s in ALL})
    later = replace(DESIRED, host_settings=())
    actual = Actual(THERE, {}, {}, host_settings=ON, deep=True)
    order = [action.target for action in diff(later, actual, memory, Basis({})).actions]
    assert sorted(order) == sorted(ON) and order.index(PORT.id) < order.index(BRIDGE.id)
    plan = diff(replace(later, containers=(SWITCH,)), actual, memory, Basis({}))
    assert [a.verb for a in plan.actions] == [Verb.REMOVE]


# --- a genuine one ---------------------------------------------------------------------------------------------------


@pytest.fixture
def database(docker_client: docker.DockerClient) -> Iterator[str]:
    """A container of Kolla's image with a fresh database."""
    image = build.bring(["openvswitch-db-server"], kolla.default_target())["openvswitch-db-server"]
    name = f"rt-ovsdb-{os.getpid()}"
    serve = (
        "mkdir -p /run/openvswitch /tmp/db && ovsdb-tool create /tmp/db/conf.db /usr/share/openvswitch/vswitch.ovsschema && "
        "exec ovsdb-server /tmp/db/conf.db --remote=punix:/run/openvswitch/db.sock"
    )
    made = docker_client.containers.run(
        image, ["-c", serve], name=name, entrypoint="sh", network_mode="none", detach=True, labels={"reconciler-test": "1"}
    )  # fmt: skip
    try:
        yield name
    finally:
        with contextlib.suppress(docker_errors.NotFound):
            made.remove(force=True)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.images
def test_a_genuine_database_takes_them_and_gives_them_back(engine_url: str, database: str) -> None:
    engine = Engine(engine_url, owner="test")
    machine = Machine(execute=engine.execute)
    settings = [replace(s, inside=database) for s in ALL]
    unknown: object = True
    deadline = time.monotonic() + 120
    while unknown and time.monotonic() < deadline:  # until it listens
        found, unknown = machine.observe(settings)
    assert found == {s.id: {} for s in settings}, unknown
    before = [HostKept(s, machine.before(s)) for s in settings]
    assert [machine.put(s) for s in settings] == ["", "", ""]
    assert machine.observe(settings) == ({s.id: s.fields for s in settings}, {})
    assert [machine.put(s) for s in settings] == ["", "", ""], "as often as you like"
    elsewhere = machine.put(HostSetting("port", "eth1", {"bridge": "br-other"}, inside=database))
    assert "br-other" in elsewhere and elsewhere.startswith("the host refuses")
    assert machine.back(before[0]) == "the host refuses: the bridge br-ex has ports (eth1), and stays"
    assert [machine.back(kept) for kept in reversed(before)] == ["", "", ""]
    assert machine.observe(settings) == ({s.id: {} for s in settings}, {})
    engine.close()
