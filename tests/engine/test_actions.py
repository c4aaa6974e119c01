"""Each action on a real engine, and each way in which one is refused, told by its own reason."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from reconciler import errors
from reconciler.engine import Engine, options
from reconciler.model import Container, Healthcheck, Job, Mount, State, Ulimit
from reconciler.plan.differences import is_mutable
from tests.engine.conftest import OWNER_HOST, OWNER_SITE, PREFIX, compare, look
from tests.support.engine import free_port
from tests.support.registry import Registry

pytestmark = pytest.mark.engine

SLEEP = ("sleep", "3600")
QUICK = Healthcheck(("CMD-SHELL", "test -e /tmp/ready"), 0.5, 1.0, 2, 0.0)


@pytest.fixture
def sleeper(engine: Engine, busybox_image: str, name: str) -> Container:
    """A running container that ends at once on SIGTERM."""
    container = Container(
        name, busybox_image, command=("sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"), kolla=False
    )
    engine.create(container)
    engine.start(name)
    return container


def refusal(engine: Engine, container: Container) -> errors.ReconcilerError:
    """What create and start of `container` are refused with."""
    with pytest.raises(errors.ReconcilerError) as caught:
        engine.create(container)
        engine.start(container.name)
    return caught.value


def test_what_ends_at_once_again_and_again_gets_another_name(
    engine: Engine, docker_client: docker.DockerClient, busybox_image: str, name: str
) -> None:
    """Between two starts it has no network that the engine could call otherwise."""
    engine.create(Container(name, busybox_image, command=("false",), restart_policy="always", network_mode="host"))
    engine.start(name)
    deadline = time.monotonic() + 60
    while (state := docker_client.api.inspect_container(name))["RestartCount"] < 3 or not state["State"]["Restarting"]:
        assert time.monotonic() < deadline, state["State"]
        time.sleep(0.02)
    engine.rename(name, f"{name}-aside")
    assert not engine.exists(name) and engine.exists(f"{name}-aside")


def test_what_a_job_says_to_a_program_comes_as_it_is(engine: Engine, sleeper: Container, name: str) -> None:
    script = "for i in 1 2 3; do echo same; echo ERROR $i; done; i=0; while [ $i -lt 90 ]; do echo $i; i=$((i+1)); done"
    rows = [word for i in (1, 2, 3) for word in ("same", f"ERROR {i}")] + [str(i) for i in range(90)]
    container = Container(f"{name}-job", sleeper.image, command=("sh", "-c", script))
    assert engine.run_once(Job(container.name, container, "", verbatim=True)) == (0, "\n".join(rows))


def test_life(engine: Engine, sleeper: Container, name: str) -> None:
    running = look(engine, sleeper).containers[name]
    assert (running.state, running.owned, running.exit_code) == (State.RUNNING, True, 0)
    assert engine.identity(name) == (running.id, running.started_at)
    engine.start(name)
    assert engine.identity(name) == (running.id, running.started_at), "starting what runs changes nothing"
    engine.restart(name)
    identity, started_at = engine.identity(name)
    assert identity == running.id
    assert started_at is not None and running.started_at is not None and started_at > running.started_at
    engine.rename(name, f"{name}-aside")
    assert not engine.exists(name) and engine.exists(f"{name}-aside")
    engine.stop(f"{name}-aside")
    stopped = engine.observe(_desired(), deep=False).containers[f"{name}-aside"]
    assert (stopped.state, stopped.exit_code) == (State.EXITED, 0)
    engine.stop(f"{name}-aside")
    engine.remove(f"{name}-aside")
    engine.remove(f"{name}-aside")
    engine.stop(f"{name}-aside")


def test_a_stranger_of_no_interest_is_not_seen(engine: Engine, sleeper: Container, name: str, engine_url: str) -> None:
    other = Engine(engine_url, owner="rt-site/other")
    assert name not in other.observe(_desired(), deep=False).containers
    seen = other.observe(replace(_desired(), containers=(sleeper,)), deep=False).containers[name]
    assert not seen.owned
    assert name in other.observe(_desired(), deep=False, extra_names=[name]).containers
    other.close()


def test_execute_and_signal(engine: Engine, sleeper: Container, name: str) -> None:
    assert engine.execute(name, ["sh", "-c", "echo out; sleep 0.2; echo err >&2; exit 3"]) == (3, "out\nerr\n")
    with pytest.raises(errors.Transient) as slow:
        engine.execute(name, ["sleep", "30"], timeout=1)
    assert slow.value.reason == "EngineTimeout"
    engine.signal(name, "TERM")
    _until(lambda: look(engine, sleeper).containers[name].state is not State.RUNNING)


def test_what_finishes_by_itself_is_not_started_again(
    engine: Engine, busybox_image: str, name: str, docker_client: docker.DockerClient
) -> None:
    """Its restart policy would have it up again at once."""
    waits = "trap 'sleep 1; exit 0' HUP; trap '' TERM; touch /tmp/ready; while :; do sleep 0.1; done"
    engine.create(Container(name, busybox_image, command=("sh", "-c", waits), kolla=False, restart_policy="always"))
    engine.start(name)
    engine.execute(name, ["sh", "-c", "until test -e /tmp/ready; do sleep 0.05; done"])
    engine.finish(name, "HUP", 60)
    state = docker_client.api.inspect_container(name)
    assert (state["State"]["Status"], state["State"]["ExitCode"], state["RestartCount"]) == ("exited", 0, 0)
    assert not engine.runs(name)
    engine.start(name)
    engine.finish(name, "WINCH", 0.5)
    assert engine.runs(name), "it takes no notice of this signal, and nobody waits for ever"


def test_update_changes_limits_in_place(engine: Engine, busybox_image: str, name: str) -> None:
    plain = Container(name, busybox_image, command=SLEEP, mem_limit=32 << 20)
    engine.create(plain)
    engine.start(name)
    before = engine.identity(name)
    limits = {"mem_limit": 64 << 20, "cpu_shares": 512, "pids_limit": 50, "cpu_quota": 20_000, "restart_policy": "no"}
    wanted = replace(plain, **limits)  # type: ignore[arg-type]
    found = compare(engine, wanted)
    assert {d.field for d in found} == set(limits) and all(is_mutable(d) for d in found)
    engine.update(wanted)
    assert compare(engine, wanted) == ()
    engine.update(plain)
    assert compare(engine, plain) == (), "limits can be changed back and lifted"
    pinned = replace(plain, mem_reservation=16 << 20, cpuset_cpus="0")
    assert all(is_mutable(d) for d in compare(engine, pinned))
    engine.update(pinned)
    assert compare(engine, pinned) == () and engine.identity(name) == before
    lifted = replace(pinned, mem_limit=0, cpuset_cpus="")
    assert [(d.field, is_mutable(d)) for d in compare(engine, lifted)] == [("mem_limit", True), ("cpuset_cpus", True)]
    engine.update(lifted)
    assert compare(engine, lifted) == () and engine.identity(name) == before
    assert memory_of(engine, name) == memory_of(engine, name, "memory.memsw.limit_in_bytes", "memory.swap.max") == "max"
    engine.restart(name, 0)
    assert compare(engine, lifted) == ()
    engine.update(pinned)
    assert compare(engine, pinned) == ()
    reserved = compare(engine, replace(pinned, mem_reservation=0))
    assert [(d.field, is_mutable(d)) for d in reserved] == [("mem_reservation", False)]


def memory_of(engine: Engine, name: str, *files: str) -> str:
    """What the kernel has as the container's limit, as the second version of cgroups says it; "max": none."""
    old, new = files or ("memory.limit_in_bytes", "memory.max")
    script = f"cat /sys/fs/cgroup/memory/{old} || cat /sys/fs/cgroup/{new}"
    found = engine.execute(name, ["sh", "-c", f"({script}) 2>/dev/null"])[1].strip()
    return "max" if found == "max" or int(found) > 1 << 62 else found


def test_swap_without_a_limit_reaches_the_kernel(engine: Engine, busybox_image: str, name: str) -> None:
    plain = Container(name, busybox_image, command=SLEEP, mem_limit=32 << 20)
    engine.create(plain)
    engine.start(name)
    swap = ("memory.memsw.limit_in_bytes", "memory.swap.max")
    assert memory_of(engine, name, *swap) != "max"
    engine.update(replace(plain, memswap_limit=-1))
    assert memory_of(engine, name) == str(32 << 20) and memory_of(engine, name, *swap) == "max"
    engine.update(plain)
    assert memory_of(engine, name, *swap) != "max"


def test_a_number_of_cpus_that_somebody_gave_by_hand_is_a_quota(
    engine: Engine, busybox_image: str, name: str, docker_client: docker.DockerClient
) -> None:
    """`docker update --cpus`: after it the engine takes no other word for the quota."""
    plain = Container(name, busybox_image, command=SLEEP)
    engine.create(plain)
    engine.start(name)
    before = engine.identity(name)
    update, data = docker_client.api._url("/containers/{0}/update", name), {"NanoCpus": 500_000_000}  # type: ignore[attr-defined]
    docker_client.api._post_json(update, data=data).raise_for_status()  # type: ignore[attr-defined]
    assert [(d.field, d.actual, is_mutable(d)) for d in compare(engine, plain)] == [("cpu_quota", "50000", True)]
    for wanted in (plain, replace(plain, cpu_quota=33_333), replace(plain, cpu_quota=70_000, cpu_shares=512), plain):
        engine.update(wanted)
        assert compare(engine, wanted) == () and engine.identity(name) == before
    with pytest.raises(errors.Terminal, match=f"Remove the container \\({name}\\)"):
        engine.update(replace(plain, cpu_period=50_000, cpu_quota=25_000))


def test_volumes_are_labelled_and_stay(
    engine: Engine, busybox_image: str, name: str, docker_client: docker.DockerClient
) -> None:
    volume = f"{PREFIX}kept"
    engine.create(Container(name, busybox_image, service="db", mounts=(Mount(volume, "/data"),)))
    labels = docker_client.volumes.get(volume).attrs["Labels"]
    assert labels == {options.OWNER: f"{OWNER_SITE}/{OWNER_HOST}", options.SITE: "", options.SERVICE: "db"}
    engine.remove(name)
    assert volume in engine.volumes()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_start_refusals(engine: Engine, busybox_image: str, name: str) -> None:
    container = Container(name, busybox_image, command=SLEEP, kolla=False)
    cases = {
        "UlimitRefused": replace(container, ulimits=(Ulimit("nofile", 10**10, 10**10),)),
        "MountMissing": replace(container, mounts=(Mount("/nonexistent/place", "/x"),)),
        "CapabilityRefused": replace(container, cap_add=("NO_SUCH",)),
        "DeviceMissing": replace(container, devices=("/dev/nonexistent",)),
        "ImageNotFound": replace(container, image="reconciler-test/nonexistent:1"),
        "StartFailed": replace(container, command=("/nonexistent",)),
    }
    for reason, wanted in cases.items():
        began = time.monotonic()
        error = refusal(engine, wanted)
        assert (error.reason, time.monotonic() - began < 30) == (reason, True), str(error)
        assert name in str(error) or reason == "ImageNotFound"
        engine.remove(name)
    assert not Path("/nonexistent").exists(), "the engine must not make up a missing folder"


def test_a_name_in_use(engine: Engine, sleeper: Container) -> None:
    assert refusal(engine, sleeper).reason == "NameInUse"


@pytest.fixture
def network(docker_client: docker.DockerClient) -> Iterator[str]:
    """A bridge network, for published ports."""
    try:
        made = docker_client.networks.create(f"{PREFIX}net", driver="bridge")
    except docker.errors.APIError as error:
        pytest.skip(f"no bridge network here: {error.explanation}")
    yield made.name
    made.remove()


def test_a_published_port_that_is_taken(engine: Engine, busybox_image: str, name: str, network: str) -> None:
    port = free_port()
    container = Container(name, busybox_image, command=SLEEP, network_mode=network, ports=(f"127.0.0.1:{port}:80",))
    try:
        with socket.create_server(("127.0.0.1", port)):
            error = refusal(engine, container)
            assert error.reason == "PortInUse" and str(port) in str(error)
        engine.start(name)
        assert compare(engine, container) == ()
    finally:
        engine.remove(name)


def test_no_engine(tmp_path: Path) -> None:
    absent = Engine(f"unix://{tmp_path}/none.sock", owner="s/h")
    with pytest.raises(errors.Transient) as caught:
        absent.observe(_desired(), deep=False)
    assert caught.value.reason == "EngineUnreachable"


def test_an_engine_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "mute.sock"))
        server.listen()
        mute = Engine(f"unix://{tmp_path}/mute.sock", owner="s/h", timeout=1)
        with pytest.raises(errors.Transient) as caught:
            mute.exists("x")
        assert caught.value.reason == "EngineTimeout"


def test_a_change_whose_answer_is_late_is_looked_for(
    engine: Engine, engine_url: str, sleeper: Container, name: str
) -> None:
    hasty = Engine(engine_url, owner=engine.owner, timeout=0.3)
    connection = hasty._connection
    stopping = threading.Timer(1.0, engine.stop, [name])

    def stopped() -> bool:
        return look(engine, sleeper).containers[name].state is State.EXITED

    def ask() -> None:
        connection.api.wait(name, timeout=0.3)  # type: ignore[arg-type]  # is answered when the container ends: later than the client waits

    try:
        stopping.start()
        connection.settle("stop it", ask, stopped, patience=10)
        assert stopped()
        engine.start(name)
        with pytest.raises(errors.Transient) as caught:
            connection.settle("stop it", ask, stopped, patience=0.6)
        assert caught.value.reason == "EngineTimeout"
    finally:
        stopping.join()
        hasty.close()


# --- pulls -----------------------------------------------------------------------------------------------------------


def test_pull(engine: Engine, registry: Registry, busybox_image: str, docker_client: docker.DockerClient) -> None:
    digest = registry.push(busybox_image, "rt/pull:1")
    by_tag, by_digest = registry.name("rt/pull"), f"{registry.address}/rt/pull@{digest}"
    try:
        assert engine.image(by_tag) is None
        engine.pull(by_tag)
        engine.pull(by_digest)
        found = engine.image(by_digest)
        assert found is not None and by_digest in found.digests
        view = engine.observe(_desired(Container("rt-none", by_tag), Container("rt-none2", by_digest)), deep=False)
        assert view.images.keys() == {by_tag, by_digest}
        with pytest.raises(errors.Terminal) as wrong:
            engine.pull(registry.name("rt/pull", "nonexistent"))
        assert wrong.value.reason == "ImageNotFound"
        assert registry.address in str(wrong.value) and "rt/pull:nonexistent" in str(wrong.value)
        with pytest.raises(errors.Terminal) as missing:
            engine.pull(f"{registry.address}/rt/pull@sha256:{'0' * 64}")
        assert missing.value.reason == "ImageNotFound"
    finally:
        for reference in (by_tag, by_digest):
            with contextlib.suppress(docker.errors.ImageNotFound):  # the last tag takes the digest along
                docker_client.images.remove(reference)


def test_pull_with_the_registry_down(engine: Engine) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(errors.Transient) as caught:
        engine.pull(f"{address}/rt/x:1")
    assert caught.value.reason == "RegistryUnreachable"
    assert address in str(caught.value) and "rt/x:1" in str(caught.value)


# --- health ------------------------------------------------------------------------------------------------------------


def test_healthy_without_a_check(engine: Engine, sleeper: Container) -> None:
    began = time.monotonic()
    health = engine.wait_healthy(sleeper, stability=0.5)
    assert health.ok and time.monotonic() - began >= 0.5 > health.seconds


def test_healthy_before_the_engine_says_so(engine: Engine, busybox_image: str, name: str) -> None:
    check = replace(QUICK, interval=30.0)
    container = Container(
        name, busybox_image, command=("sh", "-c", "sleep 1; touch /tmp/ready; sleep 60"), healthcheck=check
    )
    engine.create(container)
    engine.start(name)
    health = engine.wait_healthy(container, stability=0.5)
    assert health.ok and 1.0 < health.seconds < 25


def test_unhealthy(engine: Engine, busybox_image: str, name: str) -> None:
    container = Container(name, busybox_image, command=SLEEP, healthcheck=replace(QUICK, test=("CMD", "false")))
    engine.create(container)
    engine.start(name)
    assert engine.wait_healthy(container, stability=0.5).reason == "Unhealthy"


@pytest.mark.parametrize(
    ("start_timeout", "patient", "reason"),
    [(121.0, True, None), (121.0, False, "Unhealthy"), (120.0, True, "Unhealthy")],
)
def test_a_start_that_may_take_longer_than_its_check(
    engine: Engine, busybox_image: str, name: str, start_timeout: float, patient: bool, reason: str | None
) -> None:
    command = ("sh", "-c", "sleep 4; touch /tmp/ready; sleep 60")
    container = Container(name, busybox_image, command=command, healthcheck=QUICK, start_timeout=start_timeout)
    engine.create(container)
    engine.start(name)
    assert engine.wait_healthy(container, stability=0.5, patient=patient).reason == reason


def test_a_start_that_may_take_longer_ends(engine: Engine, busybox_image: str, name: str) -> None:
    container = Container(name, busybox_image, command=SLEEP, healthcheck=QUICK, start_timeout=121.0)
    engine.create(container)
    engine.start(name)
    health = engine.wait_healthy(container, timeout=3.0, stability=0.5, patient=True)
    assert health.reason == "Unhealthy" and health.seconds >= 2.0
    # One that was not started anew had its time.
    assert engine.wait_healthy(container, timeout=2.0, stability=0.5, patient=True).seconds < 1.0


def test_never_healthy(engine: Engine, busybox_image: str, name: str) -> None:
    check = Healthcheck(("CMD-SHELL", "echo not yet; exit 1"), 30.0)
    container = Container(name, busybox_image, command=SLEEP, healthcheck=check)
    engine.create(container)
    engine.start(name)
    health = engine.wait_healthy(container, timeout=1.5, stability=0.1)
    assert (health.ok, health.reason) == (False, "StartTimeout")


def test_exits_early(engine: Engine, busybox_image: str, name: str) -> None:
    command = ("sh", "-c", "echo first; echo 'no such token provider' >&2; exit 7")
    container = Container(name, busybox_image, command=command, restart_policy="no")
    engine.create(container)
    engine.start(name)
    health = engine.wait_healthy(container)
    assert (health.reason, health.message) == ("ExitedEarly", "exited with code 7")
    assert sorted(health.log) == [
        "first",
        "no such token provider",
    ]  # two streams: the engine merges them as they arrive


def test_restart_loop(engine: Engine, busybox_image: str, name: str) -> None:
    container = Container(name, busybox_image, command=("sh", "-c", "echo again; exit 4"))
    engine.create(container)
    engine.start(name)
    began = time.monotonic()
    health = engine.wait_healthy(container, stability=3)
    assert health.reason == "RestartLoop" and "again" in health.log
    assert time.monotonic() - began < 60


def test_one_stumble_is_forgiven(engine: Engine, busybox_image: str, name: str) -> None:
    command = ("sh", "-c", "test -e /tmp/second || { touch /tmp/second; exit 1; }; sleep 60")
    container = Container(name, busybox_image, command=command)
    engine.create(container)
    engine.start(name)
    assert engine.wait_healthy(container, stability=1).ok


def test_a_port_of_the_host_that_is_taken(engine: Engine, busybox_image: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = ("httpd", "-f", "-p", f"127.0.0.1:{port}")
        container = Container(name, busybox_image, command=command, restart_policy="no")
        engine.create(container)
        engine.start(name)
        health = engine.wait_healthy(container)
    assert health.reason == "PortInUse" and "in use" in health.message


def test_the_service_s_own_log_is_read(engine: Engine, busybox_image: str, name: str) -> None:
    """In a volume, and in the file system of a container that has stopped."""
    script = (
        "seq 50 > /logs/app/old.log; sleep 0.1; seq 1000 > /logs/app/new.log; ln -s /etc/passwd /logs/app/zz.log;"
        "echo inside > /tmp/own.log; exit 1"
    )
    container = Container(
        name, busybox_image, command=("sh", "-c", f"mkdir /logs/app; {script}"), restart_policy="no",
        mounts=(Mount(f"{PREFIX}logs", "/logs"),), log_files=("/logs/app/*.log", "/tmp/own.log", "/nonexistent/*.log"),
    )  # fmt: skip
    engine.create(container)
    engine.start(name)
    engine.wait_healthy(container)
    assert engine.last_words(container, lines=2) == "/logs/app/*.log:\n999\n1000\n/tmp/own.log:\ninside"


# --- jobs ----------------------------------------------------------------------------------------------------------------


def job(image: str, name: str, script: str, **fields: float) -> Job:
    return Job(name, Container(name, image, command=("sh", "-c", script), kolla=False), inputs="1", **fields)  # type: ignore[arg-type]


def test_a_job_runs_once_and_goes(engine: Engine, busybox_image: str, name: str) -> None:
    assert engine.run_once(job(busybox_image, name, "echo done")) == (0, "done")
    assert engine.run_once(job(busybox_image, name, "echo broken; exit 5")) == (5, "broken")
    assert not engine.exists(name)


def test_a_job_that_does_not_end(engine: Engine, busybox_image: str, name: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        engine.run_once(
            job(busybox_image, name, "trap 'exit 0' TERM; echo busy; while :; do sleep 0.1; done", timeout=1.0)
        )
    assert caught.value.reason == "JobTimeout" and "busy" in str(caught.value)
    assert not engine.exists(name)


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_is_found_again(engine: Engine, engine_url: str, busybox_image: str, name: str, ended: bool) -> None:
    """What an interrupted run of ours left, still running or ended, is taken over, not run a second time."""
    volume = Mount(f"{PREFIX}job", "/count")
    wanted = job(busybox_image, name, f"echo x >> /count/runs; sleep {0 if ended else 2}; cat /count/runs; exit 3")
    wanted = replace(wanted, container=replace(wanted.container, mounts=(volume,)))
    killed = Engine(engine_url, owner=engine.owner)
    killed.create(replace(wanted.container, restart_policy="no"), labels={options.JOB: name})
    killed.start(name)
    killed.close()
    if ended:
        _until(lambda: engine.observe(_desired(), deep=False).containers[name].state is State.EXITED)
    assert engine.run_once(wanted) == (3, "x")
    assert not engine.exists(name)


def test_a_job_that_died_with_its_machine_runs_again(engine: Engine, busybox_image: str, name: str) -> None:
    """The engine finds its container ended and gives it the exit code 255: that is no word of the job's."""
    volume = Mount(f"{PREFIX}job-died", "/count")
    script = "echo x >> /count/runs; [ $(wc -l < /count/runs) -gt 1 ] || exit 255; echo done"
    wanted = job(busybox_image, name, script)
    wanted = replace(wanted, container=replace(wanted.container, mounts=(volume,)))
    engine.create(replace(wanted.container, restart_policy="no"), labels={options.JOB: name})
    engine.start(name)
    _until(lambda: engine.observe(_desired(), deep=False).containers[name].state is State.EXITED)
    assert engine.run_once(wanted) == (0, "done")


def test_a_job_that_was_made_and_not_started(engine: Engine, busybox_image: str, name: str) -> None:
    wanted = job(busybox_image, name, "echo started")
    engine.create(replace(wanted.container, restart_policy="no"), labels={options.JOB: name})
    assert engine.run_once(wanted) == (0, "started")


def test_a_job_for_other_inputs_is_not_taken_for_this_one(engine: Engine, busybox_image: str, name: str) -> None:
    engine.create(
        replace(job(busybox_image, name, "echo old").container, restart_policy="no"), labels={options.JOB: name}
    )
    assert engine.run_once(job(busybox_image, name, "echo new")) == (0, "new")


@pytest.mark.parametrize(("claim", "runs"), [("mine", "1"), ("another", "2")])
def test_a_run_counts_for_the_claim_it_was_made_with(
    engine: Engine, busybox_image: str, name: str, claim: str, runs: str
) -> None:
    wanted = job(busybox_image, name, "echo x >> /count/runs; wc -l < /count/runs")
    wanted = replace(wanted, container=replace(wanted.container, mounts=(Mount(f"{PREFIX}claim{claim}", "/count"),)))
    engine.create(replace(wanted.container, restart_policy="no"), labels={options.JOB: name, options.CLAIM: "mine"})
    engine.start(name)
    assert engine.run_once(wanted, claim) == (0, runs)


def test_somebody_else_s_container_is_no_job(engine: Engine, sleeper: Container, name: str, busybox_image: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        engine.run_once(job(busybox_image, name, "true"))
    assert caught.value.reason == "NameInUse"
    assert engine.exists(name)


def test_eight_threads_share_an_engine(engine: Engine, busybox_image: str) -> None:
    failures: list[Exception] = []

    def live(number: int) -> None:
        container = Container(f"{PREFIX}t{number}", busybox_image, command=SLEEP)
        try:
            engine.create(container)
            engine.start(container.name)
            assert engine.wait_healthy(container, stability=0.2).ok
            engine.remove(container.name)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)


def _desired(*containers: Container):  # type: ignore[no-untyped-def]
    from tests.engine.conftest import desired

    return desired(*containers)


def _until(reached, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
