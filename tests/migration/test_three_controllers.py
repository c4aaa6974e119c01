"""A cloud of several controllers comes over: what kolla-ansible's own module asks the engine for on each host, and the plan for that.

kolla-ansible renders the site `multinode` of tests/parity, three controllers and all services, and its module says with its own code what it would
send to the engine. From there on it is this program as it works on a host: what the engine shows of such a container is read, compared, and
planned. What is stood in for is the engine alone: it echoes what it was sent and fills in its defaults.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import pytest

from reconciler import catalogue, site
from reconciler.engine import parse
from reconciler.model import Actual, Applied, Desired, FileState, Image, Memory, Plan, Verb
from reconciler.plan import Basis, diff, taken_as_made
from reconciler.plan.as_made import TAKEN_OVER
from reconciler.reasons import Reason
from reconciler.render import bind_tree, render
from tests.parity import __main__ as tool
from tests.parity import compare, convert, environment, oracle
from tests.services.golden import SHIPPED, read

pytestmark = pytest.mark.slow

RELEASE, ROOT = "2025.1", "/etc/kolla/"
THEN = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = {"ctl1": 58, "ctl2": 59, "ctl3": 58, "net1": 16, "net2": 16, "cmp1": 18, "cmp2": 15, "mon1": 9}
# Container → the options that are other than kolla-ansible's: what `adoption: equal` would leave alone and name.
DIFFERING = {
    "etcd": {"environment"},
    "haproxy": {"privileged"},
    "keepalived": {"cap_add", "privileged"},
    "mariadb": {"environment", "stop_timeout"},
    "opensearch": {"mounts"},
    "rabbitmq": {"environment", "extra_hosts", "stop_timeout"},
}
COMMAND, ENTRYPOINT = ("kolla_start",), ("dumb-init", "--single-child", "--")  # as every image of Kolla's says
FILLED_IN: Mapping[str, Any] = {
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "LogConfig": {"Type": "json-file", "Config": {}}, "IpcMode": "private",
    "CgroupnsMode": "private", "ShmSize": 64 << 20,
}  # fmt: skip


@dataclass(frozen=True)
class Cloud:
    """The site as both programs make it: `bodies` has what the engine of a host is sent for a container."""

    files: Mapping[str, bytes]
    secrets: Mapping[str, Any]
    bodies: Mapping[str, Mapping[str, Mapping[str, Any]]]
    rendered: oracle.Render
    theirs: compare.Side


def cloud(folder: Path) -> Cloud:
    given = oracle.Site("multinode", tool.SITES / "multinode", RELEASE)
    rendered, (installed, plays) = oracle.render(given), environment.prepare(RELEASE)
    calls = [line for line in rendered.journal if line["module"] == "kolla_container" and line["args"]["action"] == "compare_container"]  # fmt: skip
    (folder / "docker").symlink_to(Path(docker.__file__).parent)
    argv = [installed / "bin" / "python", Path(__file__).with_name("asked.py"), plays]
    done = subprocess.run(
        list(map(str, argv)), input=json.dumps([line["args"] for line in calls]), capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bodies: dict[str, dict[str, Any]] = {}
    for line, body in zip(calls, json.loads(done.stdout), strict=True):
        bodies.setdefault(line["host"], {})[line["args"]["name"]] = body
    made = convert.convert(given, rendered)
    return Cloud(made.files, made.secrets, bodies, rendered, compare.theirs(rendered))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    return cloud(tmp_path_factory.mktemp("modules"))


def image(reference: str) -> Image:
    return Image(id=f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}", command=COMMAND, entrypoint=ENTRYPOINT)


def inspected(host: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine shows of a container that it was sent this for."""
    config = {key: value for key, value in body.items() if value is not None and key not in ("HostConfig", "NetworkingConfig")}  # fmt: skip
    config |= {
        "Cmd": body["Cmd"] or list(COMMAND),
        "Entrypoint": body["Entrypoint"] or list(ENTRYPOINT),
    }
    asked = {key: value for key, value in body["HostConfig"].items() if value not in (None, "")}
    return {
        "Id": hashlib.sha256(f"{host}/{name}".encode()).hexdigest(), "Name": f"/{name}", "Image": image(body["Image"]).id, "RestartCount": 0,
        "Config": {**config, "Hostname": host}, "HostConfig": {**FILLED_IN, **asked},
        "State": {"Status": "running", "StartedAt": THEN.isoformat(), "Pid": 1},
    }  # fmt: skip


def there(made: Cloud, desired: Desired) -> Actual:
    """A host as kolla-ansible left it."""
    host, wanted = desired.host, {container.name: container for container in desired.containers}
    bodies = made.bodies[host]
    running = {
        name: parse.running(
            inspected(host, name, body),
            image(body["Image"]),
            owner="key",
            engine=parse.Facts(),
            wanted=wanted.get(name),
        )
        for name, body in bodies.items()
    }
    files = {
        path.removeprefix(ROOT): FileState(written.text.encode(), written.mode, 0, 0, THEN)
        for path, written in made.rendered.files[host].items()
        if path.startswith(ROOT)
    }
    images = {body["Image"]: image(body["Image"]) for body in bodies.values()}
    return Actual(running, images, files, units=frozenset(running), host_settings=_settings(made, desired))


def _settings(made: Cloud, desired: Desired) -> dict[str, Mapping[str, str]]:
    """Those of the host that kolla-ansible sets to the same."""
    ours = compare.Side()
    compare._our_host(desired, ours)

    def of(side: compare.Side, thing: str) -> dict[str, str]:
        return {
            item.key: value for item, value in side.values.items() if (item.host, item.thing) == (desired.host, thing)
        }

    found: dict[str, Mapping[str, str]] = {}
    for setting in desired.host_settings:
        if of(made.theirs, thing := f"host {setting.kind} {setting.name}") == of(ours, thing) != {}:
            found[setting.id] = dict(setting.fields)
    return found


def plans(
    made: Cloud, policy: str, changed: Mapping[str, bytes] | None = None
) -> dict[str, tuple[Desired, Actual, Basis, Plan]]:
    """Host → what is wanted, what is there, and the first plan. `changed`: files of the site that say something else."""
    shipped = catalogue.load(read(SHIPPED), "catalogue")
    files = {**made.files, "reconciler.yml": f"name: multinode\nadoption: {policy}\n".encode(), **(changed or {})}
    loaded = site.load(files, shipped)
    found = {}
    for host in loaded.hosts:
        desired = render(loaded, host, "0" * 40)
        actual, basis = there(made, desired), _basis(desired, bind_tree(desired, made.secrets))
        found[host] = desired, actual, basis, diff(desired, actual, Memory(), basis)
    return found


def _basis(desired: Desired, contents: Mapping[str, bytes]) -> Basis:
    digests = {}
    for container in desired.containers:
        texts = [contents[file.path] for file in desired.files if file.container == container.name]
        digests[container.name] = hashlib.sha256(b"\0".join(texts)).hexdigest()
    return Basis(contents, files_digest=digests)


def taken_over(desired: Desired, actual: Actual, basis: Basis, plan: Plan) -> tuple[Actual, Memory]:
    """The host after the plan, and what the node remembers."""
    ours = {container.name: actual.containers[container.name] for container in desired.containers}
    later = {
        name: replace(one, owned=True, spec=replace(one.spec, restart_policy="unless-stopped")) for name, one in ours.items()
    }  # fmt: skip
    memory = Memory(
        applied={name: Applied(one.id, one.started_at, "") for name, one in ours.items()}, taken=dict.fromkeys(ours, ""),
        as_made=taken_as_made(desired, plan, actual, basis.files_digest), last_good=desired,
    )  # fmt: skip
    return replace(actual, containers={**actual.containers, **later}, units=frozenset()), memory


def test_every_container_of_every_host_is_taken_over_and_nothing_else_is_done(made: Cloud) -> None:
    for host, (desired, actual, basis, plan) in plans(made, "as-made").items():
        names = {container.name for container in desired.containers}
        assert actual.containers.keys() - names == {"kolla_toolbox"} and len(names) == HOSTS[host]
        done = {verb: {action.target for action in plan.actions if action.verb is verb} for verb in Verb}
        assert done.pop(Verb.ADOPT) == names and done.pop(Verb.UPDATE) == names
        assert not any(done.values()), (host, {verb: targets for verb, targets in done.items() if targets})
        assert {held.reason for held in plan.held} <= {Reason.AsMade}

        # Nothing of it is done a second time either: no job, no bootstrap of a cluster that is there.
        again = diff(desired, *taken_over(desired, actual, basis, plan), basis)
        assert again.empty and {held.reason for held in again.held} <= {Reason.AsMade}, (host, again.actions)
    assert sum(HOSTS.values()) == 249


def test_a_change_afterwards_reaches_what_it_is_about(made: Cloud) -> None:
    """A commit that gives memcached more memory: memcached, with its files, on the three controllers."""
    changed = {"globals.yml": made.files["globals.yml"] + b"memcached_max_memory: 128\n"}
    reached: dict[str, set[str]] = {}
    before = plans(made, "as-made")
    for host, (desired, _, basis, _) in plans(made, "as-made", changed).items():
        was, actual, basis_before, plan = before[host]
        found = diff(desired, *taken_over(was, actual, basis_before, plan), basis)
        assert not any(action.drift for action in found.actions)
        reached[host] = {action.container for action in found.actions}
    assert {host for host, names in reached.items() if names} == {"ctl1", "ctl2", "ctl3"}
    assert set().union(*reached.values()) == {"memcached"}


def test_the_options_that_differ_are_named(made: Cloud) -> None:
    """With `equal` these containers are left alone, and each option is named with what would make it adoptable."""
    found: dict[str, set[str]] = {}
    for _, _, _, plan in plans(made, "equal").values():
        assert not {action.verb for action in plan.actions} & {Verb.REPLACE, Verb.CREATE, Verb.REMOVE, Verb.RUN}
        for held in plan.held:
            if held.reason is Reason.NotOwned:
                differing = {d.field.partition(".")[0] for d in held.differences} - TAKEN_OVER
                assert all(option in held.message for option in differing), held
                found.setdefault(held.target, set()).update(differing)
    assert found == DIFFERING
