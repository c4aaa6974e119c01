"""What observing sees: containers of others, the engine's events, the cache that lives on them, stale configuration."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import docker
import pytest

from reconciler.engine import Engine, Event, parse
from reconciler.engine.observe import CHECK
from reconciler.model import Container, Healthcheck, Mount, State, Ulimit, aside
from reconciler.plan.differences import differences
from tests.engine.conftest import PREFIX, compare, desired, look
from tests.support.lab import wait_for

pytestmark = pytest.mark.engine

SLEEP = ("sleep", "3600")


class Heard:
    """Events as they come in."""

    def __init__(self) -> None:
        self.events: list[tuple[float, Event]] = []

    def __call__(self, event: Event) -> None:
        self.events.append((time.monotonic(), event))

    def wait(self, matches: Callable[[Event], bool], seconds: float = 5.0) -> Event:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _, event in list(self.events):
                if matches(event):
                    return event
            time.sleep(0.01)
        raise AssertionError(f"no such event among {[(e.kind, e.action, e.name) for _, e in self.events]}")


@pytest.fixture
def heard(engine: Engine) -> Iterator[Heard]:
    """A live watch of the engine's events."""
    found, stop = Heard(), threading.Event()
    thread = threading.Thread(target=engine.watch, args=(found,), kwargs={"stop": stop})
    thread.start()
    found.wait(lambda e: e.kind == "engine")
    yield found
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_events(engine: Engine, heard: Heard, busybox_image: str, name: str) -> None:
    check = Healthcheck(("CMD", "true"), 0.3, 1.0, 1, 0.0)
    container = Container(name, busybox_image, command=SLEEP, healthcheck=check, restart_policy="no")
    engine.create(container)
    engine.start(name)
    heard.wait(lambda e: e.name == name and e.action == "health_status: healthy")
    killed = time.monotonic()
    engine.signal(name, "KILL")
    died = heard.wait(lambda e: e.name == name and e.action == "die")
    assert died.attributes["exitCode"] == "137"
    assert next(at for at, e in heard.events if e is died) - killed < 1
    assert heard.wait(lambda e: e.name == name and e.action == "kill").attributes["signal"] == "9"
    engine.rename(name, f"{name}-b")
    assert heard.wait(lambda e: e.action == "rename").attributes["oldName"] == f"/{name}"
    engine.remove(f"{name}-b")
    heard.wait(lambda e: e.name == f"{name}-b" and e.action == "destroy")
    assert not any("exec" in e.action for _, e in heard.events)


def test_the_engine_s_absence_is_an_event(engine_url: str) -> None:
    heard, stop = Heard(), threading.Event()
    absent = Engine("unix:///nonexistent/docker.sock", owner="s/h")
    thread = threading.Thread(target=absent.watch, args=(heard,), kwargs={"stop": stop})
    thread.start()
    heard.wait(lambda e: (e.kind, e.action) == ("engine", "disconnected"))
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_live_watch_saves_reading_and_shows_every_change(
    engine: Engine, heard: Heard, busybox_image: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = Container(name, busybox_image, command=SLEEP)
    engine.create(container)
    engine.start(name)
    read: list[str] = []
    inspect = engine._connection.inspect
    monkeypatch.setattr(engine._connection, "inspect", lambda identity: read.append(identity) or inspect(identity))

    def settled() -> None:
        """Until the last change has been told."""
        time.sleep(0.3)
        look(engine, container)
        read.clear()

    settled()
    first = look(engine, container).containers[name]
    assert look(engine, container).containers[name] == first and not read
    changes: list[tuple[Callable[[], object], Callable[[], bool]]] = [
        (lambda: engine.update(replace(container, cpu_shares=512)), lambda: _now().spec.cpu_shares == 512),
        (lambda: engine.restart(name, 0), lambda: _now().started_at != first.started_at),
        (lambda: engine.stop(name, 0), lambda: _now().state is State.EXITED),
        (lambda: engine.start(name), lambda: _now().state is State.RUNNING),
        (lambda: (engine.remove(name), engine.create(container)), lambda: _now().id != first.id),
    ]

    def _now():  # type: ignore[no-untyped-def]
        return look(engine, container).containers[name]

    for change, seen in changes:
        settled()
        change()
        deadline = time.monotonic() + 1
        while not seen():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    engine.rename(name, aside(name))
    assert aside(name) in look(engine, container).containers
    engine.remove(aside(name))


def test_a_live_watch_shows_an_image_s_new_name(
    engine: Engine, heard: Heard, busybox_image: str, name: str, docker_client: docker.DockerClient
) -> None:
    reference = f"{PREFIX}moving:1"
    container = Container(name, reference)
    assert reference not in look(engine, container).images
    base = docker_client.containers.create(busybox_image, "true", name=f"{name}-base")
    other = base.commit(f"{PREFIX}other", "1")
    try:
        for image in (docker_client.images.get(busybox_image), other):
            image.tag(f"{PREFIX}moving", "1")
            heard.wait(lambda e, i=image: e.kind == "image" and e.id == i.id and e.action == "tag")
            assert look(engine, container).images[reference].id == image.id
            assert look(engine, container).images[reference].id == image.id
    finally:
        docker_client.images.remove(reference)
        docker_client.images.remove(other.id, force=True)  # type: ignore[arg-type]
    heard.wait(lambda e: e.kind == "image" and e.action in ("untag", "delete"))
    time.sleep(0.2)
    assert reference not in look(engine, container).images


def test_without_a_watch_nothing_is_kept(engine: Engine, busybox_image: str, name: str) -> None:
    container = Container(name, busybox_image, command=SLEEP)
    engine.create(container)
    look(engine, container)
    assert not engine._cache._containers


def test_a_spare_is_compared_with_what_it_stands_in_for(engine: Engine, busybox_image: str, name: str) -> None:
    container = Container(name, busybox_image, command=SLEEP)
    engine.create(container, name=aside(name))
    actual = look(engine, container)
    assert differences(container, actual.containers[aside(name)], actual.images[busybox_image]) == ()


@pytest.mark.parametrize(
    ("script", "stale", "unknown"),
    [
        ("exit 0", None, False),
        ("echo ok; echo 'nova.conf differs'; exit 1", "nova.conf differs", False),
        ("exit 3", None, True),
    ],
)
def test_stale_configuration(
    engine: Engine,
    docker_client: docker.DockerClient,
    busybox_image: str,
    name: str,
    script: str,
    stale: str | None,
    unknown: bool,
) -> None:
    """The check is the image's own program; here one that answers as it does."""
    put = f"mkdir -p /usr/local/bin; printf '#!/bin/sh\\n{script.replace(chr(39), chr(34))}\\n' > /usr/local/bin/kolla_set_configs"
    command = ("sh", "-c", f"{put}; chmod 755 /usr/local/bin/kolla_set_configs; exec sleep 3600")
    container = Container(name, busybox_image, command=command, kolla=True)
    engine.create(container)
    engine.start(name)
    there = docker_client.containers.get(name)
    wait_for("its program is there", lambda: there.exec_run(["test", "-x", CHECK[0]]).exit_code == 0)
    view = engine.observe(desired(container), deep=True)
    assert view.stale.get(name) == stale
    assert (f"stale:{name}" in view.unknown) is unknown
    assert not engine.observe(desired(container), deep=False).stale


def test_one_that_is_killed_while_it_is_asked_is_seen_as_killed(
    engine: Engine, docker_client: docker.DockerClient, busybox_image: str, name: str
) -> None:
    """Not as one of which nothing can be told: that would hide what happened."""
    put = "mkdir -p /usr/local/bin; printf '#!/bin/sh\\ntouch /asked; sleep 60\\n' > /usr/local/bin/kolla_set_configs"
    command = ("sh", "-c", f"{put}; chmod 755 /usr/local/bin/kolla_set_configs; exec sleep 3600")
    container = Container(name, busybox_image, command=command, kolla=True)
    engine.create(container)
    engine.start(name)
    there = docker_client.containers.get(name)
    wait_for("its program is there", lambda: there.exec_run(["test", "-x", CHECK[0]]).exit_code == 0)

    def kill() -> None:
        wait_for("the check is under way", lambda: there.exec_run(["test", "-e", "/asked"]).exit_code == 0)
        there.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    view = engine.observe(desired(container), deep=True)
    killer.join()
    assert view.containers[name].state is not State.RUNNING and view.unknown == {}


def test_one_that_used_up_its_memory_is_told_so(
    engine: Engine, docker_client: docker.DockerClient, busybox_image: str, name: str
) -> None:
    fill = ("dd", "if=/dev/zero", "of=/dev/null", "bs=64M")
    container = Container(
        name, busybox_image, command=fill, mem_limit=24 << 20, memswap_limit=24 << 20, restart_policy="no"
    )
    engine.create(container)
    there = docker_client.containers.get(name)
    for _ in range(5):  # on a busy machine the engine may hear of the end before it hears of the reason
        engine.start(name)
        wait_for("the kernel ends it", lambda: (there.reload(), there.status)[1] == "exited", 30)
        if there.attrs["State"]["OOMKilled"]:
            break
    running = look(engine, container).containers[name]
    assert running.out_of_memory and "used up its memory (`mem_limit`)" in running.ended


def test_a_container_that_kolla_ansible_made(engine: Engine, engine_url: str, busybox_image: str, name: str) -> None:
    """Made by Docker's own command line with the options that kolla-ansible gives; ours to adopt, no field differs."""
    arguments = [
        "docker", "-H", engine_url, "create", "--name", name, "--network", "host", "--restart", "no",
        "-e", "KOLLA_CONFIG_STRATEGY=COPY_ALWAYS", "-e", "KOLLA_SERVICE_NAME=keystone", "-e", "EMPTY=",
        "-v", "/tmp/:/var/lib/kolla/config_files/:ro", "-v", "/etc/localtime:/etc/localtime:ro", "-v", f"{PREFIX}kolla_logs:/var/log/kolla/",
        "-v", "/run/rt-openvswitch:/run/openvswitch", "--tmpfs", "/scratch", "--privileged", "--pid", "host", "--cap-add", "NET_ADMIN",
        "--ulimit", "nofile=1048576:1048576", "--security-opt", "no-new-privileges:true",
        "--health-cmd", "healthcheck_curl http://192.0.2.1:5000", "--health-interval", "30s", "--health-timeout", "30s",
        "--health-retries", "3", "--health-start-period", "5s", "--label", "build-date=20250101", busybox_image, "kolla_start",
    ]  # fmt: skip
    subprocess.run(arguments, check=True, capture_output=True, timeout=30)
    wanted = Container(
        name, busybox_image, command=("kolla_start",), restart_policy="no", privileged=True, pid_mode="host",
        cap_add=("NET_ADMIN",), security_opt=("no-new-privileges",), tmpfs={"/scratch": ""},
        environment={"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS", "KOLLA_SERVICE_NAME": "keystone", "EMPTY": ""},
        mounts=(
            Mount("/tmp", "/var/lib/kolla/config_files", "ro"), Mount("/etc/localtime", "/etc/localtime", "ro"),
            Mount(f"{PREFIX}kolla_logs", "/var/log/kolla/"), Mount("/run/rt-openvswitch", "/run/openvswitch"),
        ),
        ulimits=(Ulimit("nofile", 1048576, 1048576),), labels={"build-date": "20250101"},
        healthcheck=Healthcheck(("CMD-SHELL", "healthcheck_curl http://192.0.2.1:5000")),
    )  # fmt: skip
    assert compare(engine, wanted) == ()
    assert not look(engine, wanted).containers[name].owned
    # What kolla-ansible itself cannot see: a variable that is wanted no more, and the restart policy.
    del wanted.environment["EMPTY"]  # type: ignore[attr-defined]
    changed = replace(wanted, restart_policy="unless-stopped")
    assert {d.field for d in compare(engine, changed)} == {"environment.EMPTY", "restart_policy"}


def test_a_secret_in_a_container_s_environment_is_not_shown(engine: Engine, busybox_image: str, name: str) -> None:
    engine.create(Container(name, busybox_image, environment={"DB_PASSWORD": "visible"}))
    assert "visible" not in str(compare(engine, Container(name, busybox_image)))


def test_limits_that_the_kernel_lacks_are_no_difference(engine: Engine, busybox_image: str, name: str) -> None:
    """The engine drops them with a warning; asking again would never end."""
    limits = {"mem_limit": 64 << 20, "memswap_limit": 96 << 20, "cpu_shares": 512, "blkio_weight": 300}
    wanted = Container(name, busybox_image, **limits)  # type: ignore[arg-type]
    engine.create(wanted)
    data = json.loads(json.dumps(engine._connection.inspect(name)))
    data["HostConfig"].update({"MemorySwap": -1, "CpuShares": 0, "BlkioWeight": 0})
    image = engine.image(busybox_image)
    poor = parse.Facts("host", "json-file", frozenset({"memswap_limit", "cpu_shares"}))
    assert differences(wanted, parse.running(data, image, owner="", engine=poor, wanted=wanted), image) == ()
    rich = parse.Facts("host", "json-file")
    found = differences(
        wanted, parse.running(data, image, owner="", engine=rich, wanted=replace(wanted, cpu_shares=256)), image
    )
    assert {"memswap_limit"} <= {d.field for d in found}
