"""Every option goes to the engine and comes back the same; every change of one is seen as exactly that change."""

from dataclasses import fields, replace
from typing import Any

import docker
import pytest

from reconciler.engine import Engine, options
from reconciler.model import Container, Healthcheck, Mount, Ulimit
from reconciler.options import normal
from reconciler.options.table import TABLE
from tests.engine.conftest import PREFIX, compare

pytestmark = pytest.mark.engine

SLEEP = ("sleep", "3600")
VOLUME = f"{PREFIX}data"

# One container per row: every option there is, in the spellings that sites use.
CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "command of the image": {"command": ("/bin/sh",)},
    "command": {"command": SLEEP},
    "empty command": {"command": ()},
    "entrypoint": {"entrypoint": ("sleep",), "command": ("60",)},
    "entrypoint alone": {"entrypoint": ("/bin/true",)},
    "empty entrypoint": {"entrypoint": (), "command": SLEEP},
    "environment": {"environment": {"A": "1", "EMPTY": "", "URL": "mysql://u@h/?a=b", "TEXT": "two\nlines"}},
    "environment of the image": {"environment": {"PATH": "/bin"}},
    "environment over the image's": {"environment": {"PATH": "/usr/bin"}},
    "user": {"user": "1000:1000"},
    "working directory": {"working_dir": "/tmp/"},
    "hostname": {"hostname": "node", "domainname": "example.org"},
    "hostname in a network of its own": {"hostname": "node", "network_mode": "none"},
    "no network": {"network_mode": "none"},
    "default network": {"network_mode": "default"},
    "binds": {"mounts": (Mount("/etc/hostname", "/h", "ro"), Mount("/tmp", "/host/", ""))},
    "bind below /run": {"mounts": (Mount("/run", "/r", "ro"), Mount("/run/rt-made/", "/m"))},
    "relabelled bind": {"mounts": (Mount("/tmp", "/t", "z,ro"),)},
    "private bind": {"mounts": (Mount("/tmp", "/t", "rw,private"),)},
    "slave bind": {"mounts": (Mount("/proc/1", "/t", "ro,rslave"),)},
    "default propagation": {"mounts": (Mount("/tmp", "/t", "rprivate"),)},
    "volume": {"mounts": (Mount(VOLUME, "/data/"), Mount(VOLUME, "/again", "ro"), Mount(VOLUME, "/raw", "nocopy"))},
    "tmpfs": {"tmpfs": {"/scratch/": "", "/other": "size=1m,mode=1777"}},
    "ports": {"ports": ("18080:80", "127.0.0.1:18443:443/tcp", "[::1]:15353:53/udp")},
    "dns, searched": {"dns_search": ("example.org", "."), "dns_opt": ("ndots:2", "rotate"), "network_mode": "none"},
    "terminal": {"tty": True, "stdin_open": True},
    "killed first": {"oom_score_adj": 500},
    "killed last": {"oom_score_adj": -500},
    "dns": {"dns": ("9.9.9.9", "1.1.1.1"), "network_mode": "none"},
    "extra hosts": {"extra_hosts": {"b": "10.0.0.2", "a": "fd00::1"}},
    "extra hosts, two addresses": {"extra_hosts": {"a": "10.0.0.1  fd00::1"}},
    "privileged": {"privileged": True},
    "capabilities": {"cap_add": ("CAP_NET_ADMIN", "sys_nice"), "cap_drop": ("MKNOD",)},
    "all capabilities": {"cap_drop": ("ALL",)},
    "security options": {"security_opt": ("seccomp=unconfined", "apparmor:unconfined", "no-new-privileges:true")},
    "labels off": {"security_opt": ("label:disable",)},
    "labels off, privileged": {"security_opt": ("label=disable",), "privileged": True},
    "devices": {"devices": ("/dev/null", "/dev/zero:/dev/nil:mr", "/dev/full:r")},
    "host namespaces": {"pid_mode": "host", "ipc_mode": "host"},
    "private ipc": {"ipc_mode": "private"},
    "shareable ipc": {"ipc_mode": "shareable"},
    "cgroup namespace of the host": {"cgroupns_mode": "host"},
    "cgroup namespace of its own": {"cgroupns_mode": "private"},
    "init": {"init": True},
    "read only": {"read_only": True},
    "shared memory": {"shm_size": 32 << 20},
    "shared memory, the default spelt out": {"shm_size": 64 << 20},
    "sysctls": {"sysctls": {"net.core.somaxconn": "512"}, "network_mode": "none"},
    "groups": {"group_add": ("44", "100")},
    "restart never": {"restart_policy": "no"},
    "restart on failure": {"restart_policy": "on-failure:3"},
    "restart on failure, no limit": {"restart_policy": "on-failure"},
    "restart always": {"restart_policy": "always"},
    "stop": {"stop_signal": "QUIT", "stop_timeout": 42},
    "stop, the defaults spelt out": {"stop_signal": "15", "stop_timeout": 10},
    "ulimits": {"ulimits": (Ulimit("nofile", 1024, 2048), Ulimit("CORE", 0, -1), Ulimit("memlock", -1, -1))},
    "memory": {"mem_limit": 64 << 20, "mem_reservation": 32 << 20},
    "memory and swap": {"mem_limit": 64 << 20, "memswap_limit": 96 << 20},
    "memory, swap without limit": {"mem_limit": 64 << 20, "memswap_limit": -1},
    "memory, default swap spelt out": {"mem_limit": 64 << 20, "memswap_limit": 128 << 20},
    "processor": {"cpu_period": 50_000, "cpu_quota": 25_000, "cpu_shares": 512, "cpuset_cpus": "0", "cpuset_mems": "0"},
    "processor, the defaults spelt out": {"cpu_period": 100_000, "cpu_shares": 1024},
    "block input and output": {"blkio_weight": 500},
    "processes": {"pids_limit": 200},
    "log": {"log_driver": "json-file", "log_opts": {"max-size": "1m", "max-file": "3"}},
    "log options alone": {"log_opts": {"max-file": "2"}},
    "no log": {"log_driver": "none"},
    "health check": {"healthcheck": Healthcheck(("CMD-SHELL", "true"), 1.5, 2.0, 4, 0.0)},
    "health check, as a list": {"healthcheck": Healthcheck(("CMD", "nc", "-z", "127.0.0.1", "80"))},
    "health check off": {"healthcheck": Healthcheck(("NONE",))},
    "labels": {"labels": {"org.example.a": "1", "b": ""}},
    "steering only": {"service": "s", "kolla": True, "depends_on": ("x",), "data_plane": True},
}  # fmt: skip


def container(image: str, name: str, **fields: Any) -> Container:
    return Container(name=name, image=image, **{"command": SLEEP, **fields} if fields else {})


@pytest.mark.parametrize("case", CASES)
def test_round_trip(engine: Engine, busybox_image: str, name: str, case: str) -> None:
    wanted = Container(name=name, image=busybox_image, **CASES[case])
    engine.create(wanted)
    assert compare(engine, wanted) == ()


def test_the_engine_s_default_ulimits_are_nobody_s_wish(
    engine: Engine, busybox_image: str, name: str, docker_client: docker.DockerClient
) -> None:
    """`default-ulimits` of the engine stand in every container as if they had been asked for."""
    for asked in ((), (Ulimit("nofile", 1024, 2048),)):
        wanted = Container(name, busybox_image, command=SLEEP, ulimits=asked)
        body = options.create(wanted, owner=engine.owner)
        body["HostConfig"]["Ulimits"].append({"Name": "nproc", "Soft": 100, "Hard": 200})
        docker_client.api.create_container_from_config(body, name)
        assert compare(engine, wanted) == ()
        more = replace(wanted, ulimits=(*asked, Ulimit("nproc", 100, 100)))
        assert [d.field for d in compare(engine, more)] == ["ulimits.nproc"]
        less = [d.field for d in compare(engine, replace(wanted, ulimits=()))]
        assert less == (["ulimits.nofile"] if asked else []), (
            "what was asked for once and is not any more is a difference"
        )
        engine.remove(name)


def test_the_cases_name_every_option() -> None:
    named = {option for case in CASES.values() for option in case}
    # kernel_memory has no meaning on today's kernels, and engines since 23 refuse to know it.
    assert set(TABLE) - named == {"image", "kernel_memory"}


# What was asked for, what is wanted now, and the fields that must be told, no more and no fewer.
CHANGES: list[tuple[dict[str, Any], dict[str, Any], set[str]]] = [
    ({}, {"command": ("sleep", "1")}, {"command"}),
    ({"command": ("sleep", "1")}, {"command": None}, {"command"}),
    ({}, {"entrypoint": ("nice",)}, {"entrypoint"}),
    ({"entrypoint": ("nice",)}, {}, {"entrypoint"}),
    ({"environment": {"A": "1"}}, {"environment": {"A": "2"}}, {"environment.A"}),
    ({"environment": {"A": "1", "B": ""}}, {"environment": {"A": "1"}}, {"environment.B"}),
    ({"environment": {"A": "1"}}, {"environment": {"A": "1", "B": ""}}, {"environment.B"}),
    ({"environment": {"PATH": "/x:/bin"}}, {}, {"environment.PATH"}),
    ({}, {"user": "1000"}, {"user"}),
    ({"user": "1000"}, {}, {"user"}),
    ({}, {"working_dir": "/tmp"}, {"working_dir"}),
    ({"hostname": "a"}, {"hostname": "b"}, {"hostname"}),
    ({"hostname": "a"}, {}, {"hostname"}),
    ({"hostname": "a", "domainname": "b.example"}, {"hostname": "a"}, {"domainname"}),
    ({"mounts": (Mount("/tmp", "/t"),)}, {"mounts": (Mount("/tmp", "/t", "ro"),)}, {"mounts./t"}),
    ({"mounts": (Mount("/tmp", "/t"),)}, {"mounts": (Mount("/tmp", "/u"),)}, {"mounts./t", "mounts./u"}),
    ({"mounts": (Mount(VOLUME, "/t"),)}, {"mounts": (Mount("/tmp", "/t"),)}, {"mounts./t"}),
    ({"tmpfs": {"/a": ""}}, {"tmpfs": {"/a": "size=1m"}}, {"tmpfs./a"}),
    ({}, {"network_mode": "none"}, {"network_mode"}),
    ({"ports": ("18080:80",)}, {"ports": ("18080:80/udp",)}, {"ports"}),
    ({"dns_search": ("a.example",)}, {"dns_search": ("b.example",)}, {"dns_search"}),
    ({"dns_opt": ("rotate",)}, {}, {"dns_opt"}),
    ({"tty": True}, {}, {"tty"}),
    ({}, {"stdin_open": True}, {"stdin_open"}),
    ({"oom_score_adj": 100}, {"oom_score_adj": 200}, {"oom_score_adj"}),
    ({"dns": ("9.9.9.9",)}, {"dns": ("1.1.1.1",)}, {"dns"}),
    ({"extra_hosts": {"a": "10.0.0.1"}}, {"extra_hosts": {"a": "10.0.0.2"}}, {"extra_hosts.a"}),
    ({}, {"privileged": True}, {"privileged"}),
    ({"cap_add": ("NET_ADMIN", "SYS_NICE")}, {"cap_add": ("NET_ADMIN",)}, {"cap_add"}),
    ({}, {"cap_drop": ("MKNOD",)}, {"cap_drop"}),
    ({}, {"security_opt": ("seccomp=unconfined",)}, {"security_opt"}),
    ({"devices": ("/dev/null",)}, {"devices": ("/dev/null:/dev/null:r",)}, {"devices"}),
    ({}, {"pid_mode": "host"}, {"pid_mode"}),
    ({}, {"ipc_mode": "host"}, {"ipc_mode"}),
    ({"cgroupns_mode": "private"}, {"cgroupns_mode": "host"}, {"cgroupns_mode"}),
    ({"cgroupns_mode": "private"}, {}, {"cgroupns_mode"}),
    ({}, {"init": True}, {"init"}),
    ({"read_only": True}, {}, {"read_only"}),
    ({}, {"shm_size": 32 << 20}, {"shm_size"}),
    ({"shm_size": 32 << 20}, {}, {"shm_size"}),
    ({"sysctls": {"net.core.somaxconn": "512"}, "network_mode": "none"}, {"network_mode": "none"}, {"sysctls.net.core.somaxconn"}),
    ({"group_add": ("44",)}, {}, {"group_add"}),
    ({}, {"restart_policy": "no"}, {"restart_policy"}),
    ({"restart_policy": "on-failure:3"}, {"restart_policy": "on-failure:4"}, {"restart_policy"}),
    ({}, {"stop_signal": "SIGQUIT"}, {"stop_signal"}),
    ({"stop_timeout": 60}, {}, {"stop_timeout"}),
    ({"ulimits": (Ulimit("nofile", 1024, 2048),)}, {"ulimits": (Ulimit("nofile", 1024, 4096),)}, {"ulimits.nofile"}),
    ({"mem_limit": 64 << 20}, {"mem_limit": 128 << 20}, {"mem_limit"}),
    ({"mem_limit": 64 << 20}, {"mem_limit": 64 << 20, "memswap_limit": 65 << 20}, {"memswap_limit"}),
    ({"mem_limit": 64 << 20, "mem_reservation": 32 << 20}, {"mem_limit": 64 << 20}, {"mem_reservation"}),
    ({"cpu_period": 50_000, "cpu_quota": 25_000}, {"cpu_period": 50_000}, {"cpu_quota"}),
    ({"cpu_period": 50_000}, {}, {"cpu_period"}),
    ({"cpu_shares": 512}, {}, {"cpu_shares"}),
    ({"cpuset_cpus": "0"}, {}, {"cpuset_cpus"}),
    ({"cpuset_mems": "0"}, {}, {"cpuset_mems"}),
    ({"pids_limit": 10}, {"pids_limit": 20}, {"pids_limit"}),
    ({}, {"log_driver": "none"}, {"log_driver"}),
    ({"log_opts": {"max-file": "2"}}, {"log_opts": {"max-file": "3"}}, {"log_opts.max-file"}),
    ({"log_opts": {"max-file": "2"}}, {}, {"log_opts.max-file"}),
    ({}, {"healthcheck": Healthcheck(("CMD", "true"))}, {"healthcheck"}),
    ({"healthcheck": Healthcheck(("CMD", "true"))}, {"healthcheck": Healthcheck(("CMD", "true"), retries=5)}, {"healthcheck"}),
    ({"healthcheck": Healthcheck(("CMD", "true"))}, {}, {"healthcheck"}),
    ({"labels": {"a": "1"}}, {}, {"labels.a"}),
    ({}, {"labels": {"a": "1"}}, {"labels.a"}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), CHANGES)
def test_each_change_is_seen_as_itself(
    engine: Engine, busybox_image: str, name: str, before: dict[str, Any], after: dict[str, Any], expected: set[str]
) -> None:
    engine.create(container(busybox_image, name, **{"command": SLEEP, **before}))
    wanted = container(busybox_image, name, **{"command": SLEEP, **after})
    assert {difference.field for difference in compare(engine, wanted)} == expected


def test_the_changes_name_every_option() -> None:
    named = {option for before, after, _ in CHANGES for option in (*before, *after)}
    # An engine without block weights drops them, which parse covers without an engine.
    assert set(TABLE) - named == {"image", "kernel_memory", "blkio_weight"}


def test_another_image_under_the_same_name(
    engine: Engine, busybox_image: str, name: str, docker_client: docker.DockerClient
) -> None:
    wanted = container(f"{PREFIX}image:1", name)
    made = []
    other = docker_client.containers.create(busybox_image, "true", name=f"{name}-base")
    try:
        made.append(other.commit(f"{PREFIX}image", "1", conf={"Env": ["PATH=/bin", "NEW=1"], "Cmd": ["/bin/true"]}))
        engine.create(wanted)
        assert compare(engine, wanted) == ()
        made.append(other.commit(f"{PREFIX}image", "1", conf={"Env": ["PATH=/bin", "NEW=2"], "Cmd": ["/bin/false"]}))
        assert [d.field for d in compare(engine, wanted)] == ["image"]
    finally:
        engine.remove(name)
        other.remove()
        for entry in reversed(made):
            docker_client.images.remove(entry.id, force=True)  # type: ignore[arg-type]


def test_what_the_image_sets_is_inherited(
    engine: Engine, busybox_image: str, name: str, docker_client: docker.DockerClient
) -> None:
    """An image with every default: leaving them open and spelling them out are the same; overriding them is not."""
    conf = {
        "Env": ["PATH=/bin", "KEEP=1"], "Cmd": ["60"], "Entrypoint": ["/bin/sleep"], "User": "1000", "WorkingDir": "/tmp",
        "StopSignal": "SIGQUIT", "Labels": {"made": "by-image"},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000, "StartPeriod": 7_000_000_000},
    }  # fmt: skip
    base = docker_client.containers.create(busybox_image, "true", name=f"{name}-base")
    image = base.commit(f"{PREFIX}full", "1", conf=conf)
    spelt = {
        "environment": {"KEEP": "1"}, "command": ("60",), "entrypoint": ("/bin/sleep",), "user": "1000",
        "working_dir": "/tmp", "stop_signal": "SIGQUIT", "labels": {"made": "by-image"},
        "healthcheck": Healthcheck(("CMD", "true"), 5.0, 30.0, 3, 7.0),
    }  # fmt: skip
    try:
        opened = Container(name, f"{PREFIX}full:1")
        for made in (opened, replace(opened, **spelt)):  # type: ignore[arg-type]
            engine.create(made)
            assert compare(engine, opened) == ()
            assert compare(engine, replace(opened, **spelt)) == ()  # type: ignore[arg-type]
            engine.remove(name)
        over = {
            "environment": {"KEEP": "2"}, "user": "0", "working_dir": "/", "stop_signal": "SIGTERM", "labels": {"made": "x"},
            "healthcheck": Healthcheck(("NONE",)), "command": ("61",),
        }  # fmt: skip
        engine.create(replace(opened, **over))  # type: ignore[arg-type]
        assert compare(engine, replace(opened, **over)) == ()  # type: ignore[arg-type]
        expected = {"environment.KEEP", "user", "working_dir", "stop_signal", "labels.made", "healthcheck", "command"}
        assert {d.field for d in compare(engine, opened)} == expected
        engine.remove(name)
        engine.create(replace(opened, entrypoint=("/bin/sleep",)))  # takes the image's command away
        assert {d.field for d in compare(engine, opened)} == {"command"}
        assert compare(engine, replace(opened, entrypoint=("/bin/sleep",))) == ()
        engine.remove(name)
        cleared = replace(opened, entrypoint=(), command=SLEEP)
        engine.create(cleared)
        assert compare(engine, cleared) == ()
        assert {d.field for d in compare(engine, opened)} == {"entrypoint", "command"}
    finally:
        engine.remove(name)
        base.remove()
        docker_client.images.remove(image.id, force=True)  # type: ignore[arg-type]


def test_nothing_reaches_the_engine_but_the_named_options() -> None:
    body = options.create(Container("a", "b", environment={"X": "<<secret:x>>"}), owner="s/h")
    assert set(body) <= {
        "Image", "Env", "Labels", "HostConfig", "ExposedPorts", "Cmd", "Entrypoint", "User", "WorkingDir", "Hostname",
        "Domainname", "StopSignal", "StopTimeout", "Healthcheck", "Tty", "OpenStdin",
    }  # fmt: skip
    assert "secret" not in str(body["Labels"])
    assert body["Labels"][options.OWNER] == "s/h"


def test_steering_does_not_enter_the_digest() -> None:
    plain = Container("a", "image")
    steering = {f.name for f in fields(Container)} - set(TABLE)
    assert steering >= {"name", "service", "stability", "log_files", "depends_on"}
    assert normal.digest(plain) == normal.digest(replace(plain, name="b", service="x", stability=9.0, cap_add=()))
    assert normal.digest(plain) != normal.digest(replace(plain, environment={"A": ""}))
