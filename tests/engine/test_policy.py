"""What a commit may ask of a host: Kolla's services pass, what would hand over the host does not."""

import pytest

from reconciler.admission import Admission
from reconciler.model import Container, Desired, Job, Mount
from reconciler.policy import HostPolicy, check

DEFAULT = HostPolicy()


def bind(source: str, mode: str = "rw") -> Container:
    return Container("c", "image", mounts=(Mount(source, "/x", mode),))


@pytest.mark.parametrize(
    "source",
    [
        "/", "/etc", "/etc/shadow", "/etc/ssh/", "/etc/docker", "/proc", "/proc/1", "/sys", "/sys/module", "/root", "/root/.ssh",
        "/var", "/var/lib", "/var/lib/docker", "/var/lib/docker/volumes", "/var/lib/reconciler", "/var/lib/reconciler/anchor",
        "/run/docker.sock", "/var/run/docker.sock", "/run/../run/docker.sock", "/run/containerd/containerd.sock", "//etc/shadow",
        "/home/op", "/boot", "/usr", "/usr/bin", "/etc/kolla", "/tmp", "/bin",
    ],
)  # fmt: skip
def test_binds_that_are_refused(source: str) -> None:
    for mode in ("rw", "ro"):
        assert len(check(bind(source, mode), DEFAULT)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "/run", "/run/openvswitch", "/run/netns", "/run/libvirt", "/var/run/openvswitch", "/lib/modules", "/usr/lib/modules",
        "/dev", "/dev/shm", "/etc/localtime", "/etc/timezone", "/sys/fs/cgroup", "/sys/kernel/config", "/var/lib/nova/",
        "/var/log/journal", "/usr/lib/docker", "/etc/kolla/keystone/", "/etc/kolla/certificates/ca", "/srv/data", "named_volume",
    ],
)  # fmt: skip
def test_binds_that_kolla_needs(source: str) -> None:
    assert check(bind(source), DEFAULT) == []


def test_a_host_may_allow_more_and_less() -> None:
    assert check(bind("/sys", "ro"), HostPolicy(exact=("/sys",))) == []
    assert check(bind("/anything"), HostPolicy(binds=("*",))) == []
    assert check(bind("/etc/shadow"), HostPolicy(binds=("*",))) != []
    assert check(bind("/var/lib/other/kolla/x"), DEFAULT, config_root="/var/lib/other/kolla") == []
    assert check(bind("/run"), HostPolicy(exact=())) != [], "it exposes the engine's socket"


def test_everything_else_a_host_may_refuse() -> None:
    container = Container(
        "c", "evil.example/x:1", privileged=True, pid_mode="host", ipc_mode="host", cap_add=("CAP_SYS_ADMIN", "net_admin"),
        security_opt=("seccomp:unconfined",), devices=("/dev/kvm", "/dev/mem:/dev/x"),
    )  # fmt: skip
    assert check(container, DEFAULT) == []
    strict = HostPolicy(
        privileged=False, pid_host=False, ipc_host=False, security_opt=(), capabilities=("NET_ADMIN",),
        devices=("/dev/kvm",), registries=("quay.io/openstack.kolla",),
    )  # fmt: skip
    found = check(container, strict)
    assert len(found) == 7
    for word in ("privileged", "pid_mode", "ipc_mode", "SYS_ADMIN", "seccomp=unconfined", "/dev/mem", "evil.example"):
        assert sum(word in text for text in found) == 1
    near = Container("c", "quay.io/openstack.kolla.evil/x")
    assert check(near, strict) and not check(Container("c", "quay.io/openstack.kolla/x:1"), strict)
    assert check(Container("c", "i", devices=("/etc/../dev/sda",)), strict)


def test_jobs_are_checked_too() -> None:
    site = Desired("s", "h", "r", "/etc/kolla", (Container("ok", "i"),), jobs=(Job("bad", bind("/etc"), "1"),))
    assert Admission.of(site, DEFAULT, {}, local=False).denied(site).keys() == {"bad"}
