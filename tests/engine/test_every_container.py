"""Property: whatever the grammar of service.yml lets through, the engine makes exactly that of it, so a pass can rest.

A container of a site is made up of every option there is, in good and in odd spellings. Validation refuses it, or the engine
takes it and shows no difference: nothing is left for the engine to refuse, and nothing that would be replaced for ever.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from reconciler import data
from reconciler.engine import Engine
from reconciler.errors import ReconcilerError, SiteInvalid
from reconciler.options.rules import CAPABILITIES, MOUNT_MODES, ULIMITS
from tests.engine.conftest import PREFIX, compare
from tests.render.sites import container, rendered

pytestmark = pytest.mark.engine

# Keys of a container that the engine never hears of, or that name what another test looks at.
STEERING = {
    "enabled", "group", "cluster", "image", "kolla", "config_directory", "depends_on", "files", "permissions", "reload", "drain", "handover", "rollback",
    "stability", "start_timeout", "data_plane", "stateful", "log_files", "validate", "each", "extra_volumes", "image_name", "name",
    "rollout", "tag", "variables",
}  # fmt: skip
# Only the host knows: whether it has the device, the CPU, the driver, the network, the profile; what it is told of another host.
OF_THE_HOST = ("MountMissing", "DeviceMissing", "ImageNotFound", "UlimitRefused", "CapabilityRefused")
HOSTS_WORDS = (
    "cpu", "CPU", "cpuset", "network", "log driver", "logger", "log opt", "AppArmor", "apparmor", "blkio", "kernel memory",
    "log-opt", "max-file", "driver",
)  # fmt: skip

odd = st.sampled_from(
    ["", " ", "=", "a=b", "a b", "ä", ".", "..", "/", "/a", "a/b", "-", "0", "-1", "null", "a:b", "a,b", "A"]
)
number = st.one_of(
    st.integers(-2, 5), st.sampled_from([9, 10, 999, 1000, 1001, 1024, 1 << 20, 6 << 20, 7 << 20, 1 << 40])
)
size = st.one_of(number, st.sampled_from(["0", "1b", "5m", "6m", "64m", "1g", "1.5g", "-1"]))
seconds = st.one_of(st.sampled_from([0, 0.0001, 0.001, 0.1234567891, 1, 1.5, 30, "10", "2m", 86400, 90000]))
words = st.one_of(
    st.just([]), st.just([""]), st.just("sleep 5"), st.lists(st.sampled_from(["sleep", "5", "", "a b"]), max_size=3)
)
address = st.sampled_from(
    ["10.0.0.1", "127.0.0.1", "::1", "fd00::2", "[::1]", "host", "0.0.0.0", "300.1.1.1", "host-gateway"]
)
mode = st.lists(st.one_of(st.sampled_from(sorted(MOUNT_MODES)), odd), max_size=3).map(",".join)
source = st.one_of(
    st.sampled_from(["/tmp", "/tmp/", "/tmp/../tmp", "/etc/hostname", f"{PREFIX}vol", "./a", "a", "ab"]), odd
)
target = st.one_of(st.sampled_from(["/t", "/t/", "/t//u", "/t/./u", "/", "t", "/proc", "/dev/shm"]), odd)
port = st.one_of(
    st.sampled_from(
        ["80", "18080:80", "18080:80/udp", "127.0.0.1:18080:80", "[::1]:18080:80", "::1:18080:80", ":80", "1-3:1-3", "0:80",
         "70000:80", "80/tcp", "018080:080", "18080:80/TCP"]
    ),
    odd,
)  # fmt: skip

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "command": words,
    "entrypoint": words,
    "environment": st.dictionaries(
        st.one_of(st.sampled_from(["A", "a", "PATH", "_B"]), odd), st.one_of(odd, number, st.none()), max_size=3
    ),
    "volumes": st.lists(st.tuples(source, target, mode).map(lambda t: ":".join(t).rstrip(":")), max_size=3),
    "user": st.one_of(st.sampled_from(["0", "1000:1000", "root", "root:root", "1000:", ":5"]), odd),
    "working_dir": st.one_of(st.sampled_from(["/tmp", "/tmp/", "/tmp/../x", "tmp", "/a//b"]), odd),
    "hostname": st.one_of(st.sampled_from(["a", "a.b", "a-", "A", "a" * 63, "a" * 64]), odd),
    "domainname": st.one_of(st.sampled_from(["example.org", "a" * 64]), odd),
    "tmpfs": st.one_of(
        st.lists(st.sampled_from(["/s", "/s:size=1m", "/s:mode=1777,size=1m", "s", "/", "/t"]), max_size=2),
        st.dictionaries(target, st.sampled_from(["", "size=1m", "rw,noexec"]), max_size=2),
    ),
    "network_mode": st.one_of(st.sampled_from(["host", "bridge", "none", "default", "container:absent", ""]), odd),
    "ports": st.lists(port, max_size=3),
    "dns": st.lists(address, max_size=3),
    "dns_search": st.lists(st.one_of(st.sampled_from([".", "example.org", "a.", "a b"]), odd), max_size=3),
    "dns_opt": st.lists(st.one_of(st.sampled_from(["ndots:2", "rotate", "use-vc", "ndots:"]), odd), max_size=3),
    "tty": st.booleans(),
    "stdin_open": st.booleans(),
    "oom_score_adj": st.one_of(st.integers(-1001, 1001), st.sampled_from([-1000, 1000])),
    "extra_hosts": st.one_of(
        st.dictionaries(st.one_of(st.sampled_from(["a", "b.c"]), odd), address, max_size=3),
        st.lists(st.sampled_from(["a:10.0.0.1", "a:10.0.0.2", "b:::1", "c", "d:host-gateway"]), max_size=3),
    ),
    "privileged": st.just(False),  # the host's consent is another matter
    "cap_add": st.lists(
        st.one_of(st.sampled_from(sorted(CAPABILITIES)), st.sampled_from(["cap_net_admin", "NO", "CAP_"])), max_size=3
    ),
    "cap_drop": st.lists(
        st.one_of(st.sampled_from(sorted(CAPABILITIES)), st.sampled_from(["all", "Cap_Chown"])), max_size=3
    ),
    "security_opt": st.lists(
        st.sampled_from(
            [
                "no-new-privileges",
                "no-new-privileges:true",
                "no-new-privileges=false",
                "seccomp=unconfined",
                "label=disable",
                "label:disable",
                "label=type:x",
                "seccomp=/a.json",
                "systempaths=unconfined",
                "apparmor=unconfined",
                "x=y",
                "label",
            ]
        ),
        max_size=2,
        unique=True,
    ),
    "devices": st.lists(
        st.sampled_from(
            [
                "/dev/null",
                "/dev/null:/dev/a",
                "/dev/null:/dev/b:mr",
                "/dev/null:r",
                "/dev/null:x",
                "null",
                "/dev/null:/dev/c:",
            ]
        ),
        max_size=2,
    ),
    "pid_mode": st.one_of(st.sampled_from(["", "host", "private", "container:absent"]), odd),
    "ipc_mode": st.one_of(st.sampled_from(["", "host", "private", "shareable", "none", "container:absent"]), odd),
    "cgroupns_mode": st.one_of(st.sampled_from(["", "host", "private"]), odd),
    "init": st.booleans(),
    "read_only": st.booleans(),
    "shm_size": size,
    "sysctls": st.dictionaries(
        st.one_of(
            st.sampled_from(
                ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max", "vm.swappiness", "kernel.domainname"]
            ),
            odd,
        ),
        st.one_of(number, st.sampled_from(["1", "0x10", "1 2"])),
        max_size=2,
    ),
    "group_add": st.lists(st.one_of(number, st.sampled_from(["5", "root", "a:b", " "])), max_size=3),
    "restart_policy": st.one_of(
        st.sampled_from(
            ["no", "always", "unless-stopped", "on-failure", "on-failure:3", "on-failure:03", "on-failure:0"]
        ),
        odd,
    ),
    "stop_signal": st.one_of(
        st.sampled_from(["TERM", "SIGTERM", "term", "15", "9", "0", "65", "SIGRTMIN+3", "RTMIN+3", "SIGFOO"]), odd
    ),
    "stop_timeout": st.integers(0, 100),
    "pids_limit": number,
    "log_driver": st.sampled_from(["", "json-file", "none", "local"]),
    "log_opts": st.dictionaries(
        st.sampled_from(["max-size", "max-file", "labels", "tag"]), st.sampled_from(["1m", "3", "", 1]), max_size=2
    ),
    "labels": st.dictionaries(
        st.one_of(st.sampled_from(["a", "org.example.a", "io.reconciler.owner"]), odd),
        st.one_of(odd, number, st.booleans()),
        max_size=3,
    ),
    "healthcheck": st.fixed_dictionaries(
        {
            "test": st.sampled_from(
                ["true", ["CMD", "true"], ["CMD"], ["CMD-SHELL", "a", "b"], ["NONE"], "", ["CMD-SHELL", "x"]]
            )
        },
        optional={"interval": seconds, "timeout": seconds, "retries": number, "start_period": seconds},
    ),
    "dimensions": st.fixed_dictionaries(
        {},
        optional={
            "mem_limit": size,
            "mem_reservation": size,
            "memswap_limit": size,
            "cpu_period": number,
            "cpu_quota": number,
            "cpu_shares": number,
            "blkio_weight": number,
            "cpuset_cpus": st.one_of(st.sampled_from(["0", "0-1", "0,1", "1-0", "00"]), odd),
            "cpuset_mems": st.sampled_from(["", "0"]),
            "ulimits": st.dictionaries(
                st.one_of(st.sampled_from(sorted(ULIMITS)), st.sampled_from(["NOFILE", "none"])),
                st.fixed_dictionaries({"soft": number, "hard": number}),
                max_size=2,
            ),
        },
    ),
}


def test_the_values_name_every_option() -> None:
    schema = json.loads(
        data.schema_text("service") if hasattr(data, "schema_text") else Path("schemas/service.schema.json").read_text()
    )
    known = schema["$defs"]["container"]["properties"].keys()
    assert set(known) - STEERING == set(VALUES)
    dimensions = schema["$defs"]["dimensions"]["properties"].keys()
    assert dimensions - {"kernel_memory"} <= {"mem_limit", "mem_reservation", "memswap_limit", "cpu_period", "cpu_quota",
                                             "cpu_shares", "blkio_weight", "cpuset_cpus", "cpuset_mems", "ulimits"}  # fmt: skip


@st.composite
def raw(draw: st.DrawFn) -> dict[str, Any]:
    """A container as a site writes it: a handful of options at a time, so that refusals do not hide one another."""
    keys = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True))
    made = {key: draw(VALUES[key]) for key in keys}
    return {"kolla": False, "command": ["sleep", "5"], "network_mode": "none", **made}


def _rests(engine: Engine, image: str, name: str, given_: dict[str, Any]) -> None:
    body = yaml.safe_dump({"containers": {name: {"image": image, **given_}}}, allow_unicode=True)
    try:
        wanted = container(rendered(body), name)
    except SiteInvalid:
        event("refused by validation")
        assume(False)
    try:
        engine.create(wanted)
    except ReconcilerError as error:
        known = error.reason in OF_THE_HOST or any(word in str(error) for word in HOSTS_WORDS)
        assert known, f"left to the engine: {error}"
        event("refused by the host")
        return
    try:
        found = compare(engine, wanted)
        assert not found, f"would be replaced for ever: {found}"
        event("rests")
    finally:
        engine.remove(name)


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)  # fmt: skip
@given(given_=raw())
def test_what_is_valid_rests(engine: Engine, busybox_image: str, name: str, given_: dict[str, Any]) -> None:
    _rests(engine, busybox_image, name, given_)


@pytest.mark.slow
@settings(
    max_examples=6000, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)  # fmt: skip
@given(given_=raw())
def test_what_is_valid_rests_at_length(engine: Engine, busybox_image: str, name: str, given_: dict[str, Any]) -> None:
    _rests(engine, busybox_image, name, given_)
