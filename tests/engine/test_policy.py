"""What a commit may ask of a host: Kolla's services pass, what would hand over the host does not."""

import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from reconciler import errors, settings
from reconciler.model import Container, Desired, File, HostKind, HostSetting, Job, Mount, Ulimit, Volume
from reconciler.node import aims, host_rules, policy
from reconciler.node.admission import Admission
from reconciler.node.policy import KOLLA, STRICT, HostPolicy, check, root_denied
from reconciler.node.target import host_policy
from reconciler.options.table import TABLE
from reconciler.source.prepare import Prepared
from reconciler.state import StateDirectory
from tests.support.paths import CHECKOUT

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


# --- every option is granted, or harmless --------------------------------------------------------------------------


def test_every_option_is_granted_by_a_setting_or_harmless_for_a_reason() -> None:
    """A new option of containers fails here until somebody has thought about it."""
    assert all(bool(row.granted_by) != bool(row.harmless) for row in TABLE.values())
    judged = [option for options in policy.ROWS for option in options]
    assert sorted(judged) == sorted(name for name, row in TABLE.items() if row.granted_by)
    assert host_rules.ROWS.keys() == set(get_args(HostKind)), "and every kind of setting of the host itself"
    named = {setting for row in TABLE.values() for setting in row.granted_by}
    assert named == {field.name for field in fields(HostPolicy)} - {
        "forbidden",
        "config_roots",
        "host_sysctls",
        "host_modules",
        "host_names",
        "host_files",
        "host_switches",
    }


@pytest.mark.parametrize("name", ["host_sysctls", "host_modules", "host_files"])
def test_the_operations_page_lists_what_is_granted_of_the_host(name: str) -> None:
    """What a commit may do without anybody's consent stands there, entry by entry."""
    row = re.search(
        rf"^\| `{name}` \|[^|]*\|(?P<kolla>[^|]*)\|", (CHECKOUT / "docs/operations.md").read_text(), re.MULTILINE
    )
    assert row
    assert sorted(re.findall(r"`([^`]+)`", row["kolla"].partition(";")[0])) == sorted(getattr(KOLLA, name))


# What asks for one thing only → the setting that grants it, and how.
ASKING: tuple[tuple[Container, dict[str, object]], ...] = (
    (Container("c", "i", privileged=True), {"privileged": True}),
    (Container("c", "i", pid_mode="host"), {"pid_host": True}),
    (Container("c", "i", ipc_mode="host"), {"ipc_host": True}),
    (Container("c", "i", cgroupns_mode="host"), {"cgroupns_host": True}),
    (Container("c", "i", network_mode="host"), {"networks": ("host",)}),
    (Container("c", "i", network_mode="lan"), {"networks": ("lan",)}),
    (Container("c", "i", ports=("80:80",)), {"ports": True}),
    (Container("c", "i", cap_add=("cap_sys_admin",)), {"capabilities": ("SYS_ADMIN",)}),
    (Container("c", "i", cap_add=("ALL",)), {"capabilities": ("*",)}),
    (Container("c", "i", security_opt=("seccomp:unconfined",)), {"security_opt": ("seccomp=unconfined",)}),
    (Container("c", "i", security_opt=("apparmor=unconfined",)), {"security_opt": ("apparmor=unconfined",)}),
    (Container("c", "i", security_opt=("apparmor=lxc-container-default",)), {"security_opt": ("*",)}),
    (Container("c", "i", security_opt=('seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',)), {"security_opt": ("*",)}),
    (Container("c", "i", security_opt=("label:disable",)), {"security_opt": ("label=disable",)}),
    (Container("c", "i", security_opt=("label=type:spc_t",)), {"security_opt": ("label=type:spc_t",)}),
    (Container("c", "i", security_opt=("systempaths=unconfined",)), {"security_opt": ("systempaths=unconfined",)}),
    (Container("c", "i", devices=("/dev/kmsg",)), {"devices": ("/dev/kmsg",)}),
    (Container("c", "i", devices=("/dev/../dev/sda:/x",)), {"devices": ("/dev",)}),
    (Container("c", "i", sysctls={"net.ipv4.ip_forward": "1"}), {"sysctls": ("net.ipv4.ip_forward",)}),
    (Container("c", "i", ulimits=(Ulimit("rtprio", 99, 99),)), {"ulimits": ("rtprio",)}),
    (Container("c", "i", oom_score_adj=-1), {"oom_score": True}),
    (Container("c", "i", log_driver="syslog"), {"log_drivers": ("syslog",)}),
    (Container("c", "i", log_opts={"syslog-address": "unix:///run/x"}), {"log_drivers": ("*",)}),
    (Container("c", "i", mounts=(Mount("/srv/x", "/x"),)), {"binds": ("/srv",)}),
    (Container("c", "i", mounts=(Mount("/etc/localtime", "/x"),)), {"exact": ("/etc/localtime",)}),
    (Container("c", "i", mounts=(Mount("v", "/x", "rw,shared"),)), {"propagation": True}),
)  # fmt: skip


@pytest.mark.parametrize(("asked", "grant"), ASKING, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_a_tightened_host_gives_each_thing_only_by_its_name(asked: Container, grant: dict[str, object]) -> None:
    if "networks" not in grant:
        asked = replace(asked, network_mode="none")
    assert len(check(asked, STRICT)) == 1
    assert check(asked, replace(STRICT, **grant)) == []  # type: ignore[arg-type]
    assert check(asked, KOLLA) == []


def test_what_no_host_gives() -> None:
    """Others' namespaces, and what is not known here."""
    site = policy.Context(containers={"mine"})
    for wrong in (
        {"pid_mode": "container:theirs"}, {"ipc_mode": "container:theirs"}, {"network_mode": "container:theirs"},
        {"devices": ("vendor.example/gpu=all",)}, {"pid_mode": "odd"}, {"cgroupns_mode": "odd"}, {"mounts": (Mount("/srv/x", "/x", "rw,odd"),)},
        {"mounts": (Mount("../etc", "/x"),)}, {"mounts": (Mount("a/b", "/x"),)}, {"mounts": (Mount(".", "/x"),)},
    ):  # fmt: skip
        assert len(check(Container("c", "i", **wrong), KOLLA, context=site)) == 1, wrong  # type: ignore[arg-type]
    for mode in ("pid_mode", "ipc_mode", "network_mode"):
        assert check(Container("c", "i", **{mode: "container:mine"}), KOLLA, context=site) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("volume", "strict"),
    [
        (Volume(owned=True, owner="k"), True),
        (Volume(), False),
        (Volume("nfs-plugin", owned=True, owner="k"), False),
        (Volume(options={"type": "nfs", "o": "addr=10.0.0.1", "device": ":/export"}, owned=True, owner="k"), False),
        (Volume(options={"type": "cifs", "device": "//server/share"}, owned=True, owner="k"), False),
        (Volume(options={"type": "none", "o": "bind", "device": "/srv/x"}, owned=True, owner="k"), False),
        (Volume(options={"type": "ext4", "device": "/dev/sda1"}, owned=True, owner="k"), False),
        (Volume(options={"type": "tmpfs", "device": "tmpfs"}, owned=True, owner="k"), False),
    ],
)  # fmt: skip
def test_a_volume_is_what_its_driver_makes_of_it(volume: Volume, strict: bool) -> None:
    asked = Container("c", "i", network_mode="none", mounts=(Mount("v", "/x"),))
    context = policy.Context(volumes={"v": volume})
    assert (check(asked, STRICT, context=context) == []) is strict
    assert check(asked, KOLLA, context=context) == []
    assert check(asked, replace(STRICT, volumes=("v",)), context=context) == []
    for device in ("/", "/etc", "/run/docker.sock"):
        disguised = policy.Context(volumes={"v": Volume(options={"type": "none", "o": "bind", "device": device})})
        assert len(check(asked, KOLLA, context=disguised)) == 1


# --- this program's own in the config roots ---------------------------------------------------------------------------

OPEN = replace(
    KOLLA, binds=("*",), exact=("/etc/kolla/.reconciler-validate",), read_only=("/etc/kolla/.reconciler-validate",),
    config_roots=("/etc/kolla", "/srv/kolla"),
)  # fmt: skip
OWN = "are this program's own"


@pytest.mark.parametrize("rules", [KOLLA, STRICT, OPEN], ids=["kolla", "strict", "open"])
@pytest.mark.parametrize("mode", ["rw", "ro"])
@pytest.mark.parametrize(
    "source",
    [
        "/etc/kolla/.reconciler-validate", "/etc/kolla/.reconciler-validate/", "/etc/kolla/.reconciler-validate/reconciler-validate-web/web",
        "/etc/kolla/.reconciler-0123456789ab", "/etc/kolla/.reconciler-", "/etc/kolla/web/../.reconciler-validate",
        "//etc//kolla/./.reconciler-validate",
    ],
)  # fmt: skip
def test_nothing_of_a_commit_binds_what_is_this_programs_own_below_the_config_root(
    rules: HostPolicy, mode: str, source: str
) -> None:
    """What the files of one-shot containers are laid out in, and what says which commit was accepted last."""
    asked = replace(bind(source, mode), network_mode="none")
    (why,) = check(asked, rules)
    assert OWN in why
    assert OWN in check(replace(asked, name="reconciler-validate-web", mounts=(Mount(source, "/x"),)), rules)[0]
    device = "/" + source.lstrip("/")  # two slashes begin the name of a share
    disguised = policy.Context(volumes={"v": Volume(options={"type": "none", "o": "bind", "device": device})})
    (why,) = check(replace(asked, mounts=(Mount("v", "/x", mode),)), rules, context=disguised)
    assert OWN in why


def test_what_only_looks_like_this_programs_own() -> None:
    for source in ("/etc/kolla/.reconciler", "/etc/kolla/web/.reconciler-x", "/etc/kolla/x.reconciler-validate"):
        assert check(replace(bind(source), network_mode="none"), STRICT) == []


def test_a_one_shot_container_reads_what_was_laid_out_for_it() -> None:
    name, other = "reconciler-validate-web", "/etc/kolla/.reconciler-validate/reconciler-validate-webb/web"
    own = Container(
        name, "i", network_mode="none", mounts=(Mount(f"/etc/kolla/.reconciler-validate/{name}/web/", "/x", "ro"),)
    )
    assert check(own, STRICT) == []
    for source, mode in (
        (own.mounts[0].source, "rw"),
        (other, "ro"),
        (f"/etc/kolla/.reconciler-validate/{name}", "ro"),
    ):
        assert OWN in check(replace(own, mounts=(Mount(source, "/x", mode),)), STRICT)[0]
    web = replace(own, name="web", mounts=(Mount("/etc/kolla/.reconciler-validate/web/web", "/x", "ro"),))
    assert OWN in check(web, STRICT)[0]


def test_no_container_can_change_what_lies_directly_in_a_config_root() -> None:
    """Also in one that the site does not use: what was accepted last is said in each."""
    for source in ("/", "/srv", "/srv/kolla", "/etc", "/etc/kolla"):
        assert len(check(bind(source), OPEN)) == 1, source
        assert check(bind(source), replace(OPEN, exact=(source,))) == [], "the host's owner said so"
    assert OWN in check(bind("/srv/kolla/.reconciler-0123456789ab"), OPEN)[0]
    for source in ("/srv/kolla/web", "/srv/other", "/srv/kollax"):
        assert check(bind(source), OPEN) == []
    assert check(bind("/srv", "ro"), OPEN) == [], "who only reads changes nothing"
    # A root within a root.
    within = policy.Context("/srv")
    assert check(bind("/srv/kolla"), OPEN, context=within) and not check(bind("/srv/kolla/web"), OPEN, context=within)
    assert OWN in check(bind("/srv/kolla/.reconciler-validate"), OPEN, context=within)[0]


@pytest.mark.parametrize(
    ("root", "path", "fine"),
    [
        ("a", ".reconciler-validate/x", False), ("a", ".reconciler-0123456789ab", False), ("a/sub", ".reconciler-x", False),
        ("", "b/.reconciler-validate/x", False), ("a", "web/.reconciler-x", True), ("a", ".reconciler", True), ("", "b/web/x", True),
    ],
)  # fmt: skip
def test_no_commit_brings_a_file_that_is_this_programs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, path: str, fine: bool
) -> None:
    """Of any config root of the host: one may lie in another."""
    top = tmp_path / "roots"
    roots = (str(top), str(top / "a"), str(top / "b"))
    own = settings.Settings(
        settings.Git("file:///nowhere"), state_dir=tmp_path / "state", policy=settings.Policy(config_roots=roots)
    )
    desired = Desired("s", "h", "r", str(top / root), (), files=(File(path, "x"),))
    monkeypatch.setattr(aims, "prepare", lambda *_: Prepared(desired, {}))
    found = aims.Aims(own, StateDirectory(tmp_path / "state"), lambda: datetime.now(UTC))
    if fine:
        assert found._make("r").desired == desired
        return
    with pytest.raises(errors.Terminal) as caught:
        found._make("r")
    assert caught.value.reason == "PolicyDenied" and OWN in str(caught.value)


def test_a_file_of_the_host_lies_in_nothing_that_is_kept_apart() -> None:
    """But where the host's owner named the very folder."""

    def denied(name: str, *allowed: str) -> str:
        rules = replace(KOLLA, host_files=allowed, config_roots=("/etc/kolla",))
        setting = HostSetting("file", name, {"content": "x", "mode": "0644"})
        return "; ".join(host_rules.denied(setting, rules))

    for name in ("/var/lib/reconciler/anchor.json", "/var/lib/docker/x"):
        assert "kept apart" in denied(name, "/var/lib")
    assert "kept apart" in denied("/etc/kolla/web/web.conf", "/etc")
    assert not denied("/etc/kolla/web/web.conf", "/etc/kolla/web") and not denied("/etc/other/x", "/etc")
    assert "kept apart" in denied(
        "/etc/kolla/.reconciler-0123456789ab", "/etc/kolla", "/etc/kolla/.reconciler-0123456789ab"
    )
    assert not denied("/var/lib/other/x", "/var/lib")


# --- the settings --------------------------------------------------------------------------------------------------


def of(text: str) -> HostPolicy:
    found = settings.parse(f'[git]\nurl = "https://git.example/site.git"\n[policy]\n{text}', Path("reconciler.toml"))
    return host_policy(found)


def test_taking_one_thing_away_takes_its_equals_away() -> None:
    kolla = of("")
    assert replace(kolla, forbidden=KOLLA.forbidden) == KOLLA
    for text in ("privileged = true", 'registries = ["quay.io/x"]', "devices = true", 'base = "kolla"'):
        assert of(text).capabilities == ("*",) and of(text).exact == KOLLA.exact
    for text in ("privileged = false", 'binds = ["/srv"]', "pid_host = false", "devices = false", "capabilities = []"):
        found = of(text)
        assert (found.capabilities, found.security_opt, found.privileged) == ((), ("no-new-privileges",), False), text
        assert "host" in found.networks and not check(Container("c", "i"), found)
    assert of('base = "kolla"\nprivileged = false').capabilities == ("*",)
    assert of('base = "strict"\ncapabilities = ["NET_ADMIN"]').capabilities == ("NET_ADMIN",)
    assert check(Container("c", "i"), of('base = "strict"')) != [], "not even the host's network"


def test_given_binds_are_all_there_are() -> None:
    found = of('base = "kolla"\nbinds = ["/srv/app"]')
    for path in ("/run", "/etc/localtime", "/sys/fs/cgroup", "/var/lib/x", "/srv", "/srv/application"):
        assert check(bind(path, "ro"), found), path
    assert not check(bind("/srv/app/x"), found) and not check(bind("/etc/kolla/x"), found)
    assert not check(bind("/run"), of('binds = ["/srv"]\nexact = ["/run"]'))


def test_what_is_kept_apart_follows_from_the_settings() -> None:
    found = settings.parse(
        'state_dir = "/srv/state"\n[git]\nurl = "https://git.example/site.git"\ntoken_file = "/opt/keys/git"\n'
        '[engine]\nurl = "unix:///run/other/engine.sock"\n[secrets]\nage_key_file = "/mnt/keys/age"\n',
        Path("reconciler.toml"),
    )
    rules = host_policy(found)
    assert host_policy(replace(found, policy=settings.Policy(config_roots=("/srv/kolla",)))).config_roots == (
        "/srv/kolla",
    )
    for path in ("/srv", "/srv/state/x", "/opt/keys", "/opt/keys/git", "/run/other", "/mnt/keys/age"):
        assert len(check(bind(path), rules)) == 1, path
    assert not check(bind("/srv/other"), rules)


@pytest.mark.parametrize("text", ['binds = ["srv"]', 'binds = ["/srv/../etc"]', 'config_roots = ["/etc/kolla/.."]',
                                  "config_roots = []", 'exact = ["*"]', 'base = "tight"', 'binds = ["//etc"]'])  # fmt: skip
def test_settings_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        of(text)
    assert caught.value.reason == "SettingsInvalid"


# --- where files may go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "root",
    [
        "/etc/kolla/..", "/etc/kolla/../kolla-other", "/etc/kolla/../../root", "/etc/kolla/.", "/etc/kolla/", "/etc//kolla",
        "//etc/kolla", "/", "", "etc/kolla", "/etc/kollax", "/etc/Kolla", "/etc", "/etc/kolla\n", "/etc/kolla\0/x",
        "/etc/k\u200bolla", "/etc\uff0fkolla", "/var/lib/reconciler", "/var/lib/reconciler/x", "/var/lib", "/srv/ko\u0308lla",
        "/etc/kolla/.reconciler-validate", "/etc/kolla/.reconciler-validate/web", "/var/lib/.reconciler-0123456789ab", "/etc/kolla/a/b",
        "/etc/kolla/a/..b", "/var/lib/a/b/c",
    ],
)  # fmt: skip
def test_roots_that_no_commit_may_choose(root: str) -> None:
    allowed = ("/etc/kolla", "/var/lib", "/srv/k\u00f6lla/")
    assert root_denied(root, allowed, ("/var/lib/reconciler",))


def test_roots_that_a_commit_may_choose() -> None:
    for root in (
        "/etc/kolla",
        "/etc/kolla/a",
        "/etc/kolla/..b",
        "/etc/kolla/.reconciler",
        "/srv/k\u00f6lla/x",
        "/var/lib/kolla",
    ):
        assert not root_denied(root, ("/etc/kolla", "/var/lib", "/srv/k\u00f6lla/"), ("/var/lib/reconciler",)), root
    assert not root_denied("/etc/kolla/a/b", ("/etc/kolla", "/etc/kolla/a"), ()), (
        "the host's owner named the folder on the way"
    )
    assert not root_denied("/srv", ("/",), ()) and root_denied("/srv/kolla", ("/",), ())


def test_every_grant_is_explained() -> None:
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    table = text.partition("## What this host allows")[2].partition("\n## ")[0]
    names = [field.name for field in fields(settings.Policy)]
    assert len(names) > 15 and [name for name in names if f"`{name}" not in table and f"{name} =" not in table] == []
