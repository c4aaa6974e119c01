"""What service.yml says of the host, and what a host allows."""

import re
from dataclasses import replace

import pytest

from reconciler import catalogue, data
from reconciler.errors import SiteInvalid
from reconciler.model import (
    Actual,
    Container,
    Desired,
    Difference,
    HostKept,
    HostKind,
    HostSetting,
    Memory,
    Registrar,
    Registration,
    Running,
    State,
    Verb,
)
from reconciler.node import host_rules, policy
from reconciler.plan import Basis, diff
from reconciler.plan.preview import preview
from reconciler.reasons import Reason
from reconciler.review.risks import KINDS, risks
from reconciler.review.types import Group, Review
from tests.render.sites import make_site, rendered

SERVICE = """
    groups: {app: [control], other: [compute]}
    containers:
      app: {group: app, image: x, command: y, kolla: false}
      agent: {group: other, image: x, command: y, kolla: false}
    jobs:
      sync: {container: app}
    host:
"""


def read(*lines: str, host: str = "ctl1") -> tuple[HostSetting, ...]:
    return rendered(SERVICE + "".join(f"      {line}\n" for line in lines), host=host).host_settings


def sysctl(name: str, value: str, *before: str) -> HostSetting:
    return HostSetting("sysctl", name, {"live": value, "boot": value}, "app", before)


def test_every_kind_is_read() -> None:
    assert read(
        "sysctl: [{name: net.ipv4.ip_forward, value: 1}, {name: net.ipv4.tcp_mem, value: ' 1  2\t3 '}]",
        "modules: [{name: dm-multipath}, {name: off, enabled: false}]",
    ) == (
        HostSetting("module", "dm_multipath", {"live": "loaded", "boot": "loaded"}, "app", ("app", "sync")),
        sysctl("net.ipv4.ip_forward", "1", "app", "sync"),
        sysctl("net.ipv4.tcp_mem", "1 2 3", "app", "sync"),
    )


def test_names_and_files_are_read() -> None:
    assert read(
        "hosts: [{address: 10.0.0.11, names: [ctl1, ctl1.example.org]}]",
        "files: [{path: /etc/udev/rules.d/99-x.rules, content: 'KERNEL==\"{{ \"kvm\" }}\"', devices: [kvm]}]",
    ) == (
        HostSetting(
            "file", "/etc/udev/rules.d/99-x.rules", {"content": 'KERNEL=="kvm"', "mode": "0644"}, "app", ("app", "sync"), ("kvm",)
        ),
        HostSetting("hosts", "ctl1", {"line": "10.0.0.11 ctl1 ctl1.example.org"}, "app", ("app", "sync")),
    )  # fmt: skip


def test_a_file_may_be_a_template() -> None:
    body = SERVICE + "      files: [{path: /usr/local/lib/kolla/x, template: x.j2, perm: '0755'}]\n"
    (made,) = rendered(body, templates={"x.j2": "#!/bin/sh\necho {{ 1 + 1 }}\n"}).host_settings
    assert made.fields == {"content": "#!/bin/sh\necho 2\n", "mode": "0755"}


def test_an_entry_may_count_once_for_each() -> None:
    line = "modules: [{name: '{{ item.name }}', each: \"{{ [{'name': 'a-b', 'params': 'x=1  y'}, {'name': 'c'}] }}\", parameters: \"{{ item.params | default('') }}\"}]"
    assert [(s.name, s.fields.get("parameters")) for s in read(line)] == [("a_b", "x=1 y"), ("c", None)]


def test_a_list_may_be_an_expression() -> None:
    assert read("modules: \"{{ [{'name': 'ip_vs'}] + [] }}\"")[0].name == "ip_vs"


def test_it_is_where_what_needs_it_is() -> None:
    line = "sysctl: [{name: a.b, value: 1, containers: [agent]}, {name: a.c, value: 1}, {name: a.d, value: 1, group: other}]"
    assert read(line) == (sysctl("a.c", "1", "app", "sync"),)
    assert read(line, host="cmp1") == (
        sysctl("a.b", "1", "agent"),
        sysctl("a.c", "1", "agent"),
        sysctl("a.d", "1", "agent"),
    )


def test_a_service_without_containers_has_it_everywhere() -> None:
    body = "groups: {app: [control]}\nhost:\n  sysctl: [{name: vm.swappiness, value: 10}, {name: vm.x, value: 1, group: app}]\n"
    assert [s.name for s in rendered(body, host="cmp1").host_settings] == ["vm.swappiness"]
    assert [s.name for s in rendered(body).host_settings] == ["vm.swappiness", "vm.x"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sysctl: [{name: ip_forward, value: 1}]", "'ip_forward' is not the name of a kernel setting"),
        ("sysctl: [{name: net..x, value: 1}]", "'net..x' is not the name"),
        ("sysctl: [{name: net.//.//.//.etc.passwd, value: 1}]", "is not the name"),
        ("sysctl: [{name: 'net./.x', value: 1}]", "is not the name"),
        ("sysctl: [{name: 'net.ipv4.a b', value: 1}]", "is not the name"),
        ("sysctl: [{name: net.a, value: ''}]", "the value is empty"),
        ("sysctl: [{name: net.a, value: \"{{ true }}\"}]", "must be a number or a text"),
        ("sysctl: [{name: net.a, value: \"1\\u0007\"}]", "cannot be printed"),
        ("modules: [{name: ../evil}]", "'../evil' is not the name of a kernel module"),
        ("modules: [{name: x, parameters: '--dirname=/var/lib/x'}]", "are not parameters of a module"),
        ("modules: [{name: x, parameters: 'install /bin/evil'}]", "are not parameters of a module"),
        ("hosts: [{address: nowhere, names: [x]}]", "'nowhere' is not an address"),
        ("hosts: [{address: 10.0.0.1, names: []}]", "has no names"),
        ("hosts: [{address: 10.0.0.1, names: [localhost]}]", "localhost is the host's own"),
        ("hosts: [{address: 10.0.0.1, names: ['a b']}]", "'a b' is not the name of a host"),
        ("hosts: [{address: 10.0.0.1, names: ['a#b']}]", "is not the name of a host"),
        ("files: [{path: etc/x, content: x}]", "'etc/x' is not an absolute path"),
        ("files: [{path: /etc/udev/rules.d/../x, content: x}]", "is not an absolute path in its normal spelling"),
        ("files: [{path: /etc/x}]", "either a template or its content"),
        ("files: [{path: /etc/x, template: nobody.j2}]", "unknown template 'nobody.j2'"),
        ("files: [{path: /etc/x, content: x, perm: '4755'}]", "must be a quoted octal mode"),
        ("files: [{path: /etc/x, content: x, devices: [../kvm]}]", "'../kvm' is not the name of a device"),
        ("files: [{path: /etc/x, content: '{{ nobody }}'}]", "nobody"),
        ("modules: [{name: x, containers: [nobody]}]", "unknown container 'nobody'"),
        ("modules: [{name: x, group: nobody}]", "unknown group 'nobody'"),
        ("sysctl: [{name: net.a, value: 1}, {name: net.a, value: 2}]", "app asks for sysctl net.a too, and for something else: 1, and here 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(line: str, said: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        read(line)
    assert any(said in str(problem) for problem in caught.value.problems), caught.value.problems


def test_several_services_may_ask_for_the_same() -> None:
    from reconciler.render import render

    one = "description: x\ncontainers: {%s: {image: x, command: y, kolla: false}}\nhost: {sysctl: [{name: net.a, value: %s}]}\n"
    same = make_site({"a/service.yml": one % ("one", 1), "b/service.yml": one % ("two", 1)})
    assert render(same, "ctl1", "0" * 40).host_settings == (replace(sysctl("net.a", "1", "one", "two"), service="a"),)
    with pytest.raises(SiteInvalid, match=r"a asks for sysctl net\.a too, and for something else: 1, and here 2"):
        render(make_site({"a/service.yml": one % ("one", 1), "b/service.yml": one % ("two", 2)}), "ctl1", "0" * 40)


# --- what a host allows ----------------------------------------------------------------------------------------------


def module(name: str) -> HostSetting:
    return HostSetting("module", name, {"live": "loaded", "boot": "loaded"})


@pytest.mark.parametrize("name", ["net.ipv4.ip_nonlocal_bind", "vm.max_map_count", "fs.inotify.max_user_watches"])
def test_kolla_may_set(name: str) -> None:
    assert not host_rules.denied(sysctl(name, "1"), policy.KOLLA)


@pytest.mark.parametrize(
    "name", ["kernel.core_pattern", "kernel.modprobe", "fs.suid_dumpable", "kernel.randomize_va_space", "network.x", "fs.inotifyx.y"]
)  # fmt: skip
def test_what_would_hand_over_the_host_is_refused_with_the_name_of_its_setting(name: str) -> None:
    said = f"the host's sysctl {name} is not allowed on this host (policy.host_sysctls in its settings)"
    assert host_rules.denied(sysctl(name, "1"), policy.KOLLA) == [said]
    assert not host_rules.denied(sysctl(name, "1"), policy.HostPolicy(host_sysctls=(name,)))


@pytest.mark.parametrize(
    "name", ["vm.mmap_min_addr", "vm.mmap_rnd_bits", "net.core.bpf_jit_harden", "kernel.modprobe", "kernel.yama.ptrace_scope"]
)  # fmt: skip
def test_what_guards_the_kernel_no_beginning_of_a_name_grants(name: str) -> None:
    wide = policy.HostPolicy(host_sysctls=("net.", "vm.", "kernel."))
    (said,) = host_rules.denied(sysctl(name, "0"), wide)
    assert "would have to name it itself" in said
    for named in (name, "*"):
        assert not host_rules.denied(sysctl(name, "0"), policy.HostPolicy(host_sysctls=("vm.", named)))


def test_a_host_of_kolla_grants_what_the_catalogue_asks() -> None:
    kinds: dict[str, HostKind] = {
        "sysctl": "sysctl", "modules": "module", "hosts": "hosts", "files": "file", "bridges": "bridge", "ports": "port", "open_vswitch": "ovs",
    }  # fmt: skip
    shipped = catalogue.load(data.services(), "catalogue", trusted=True)

    def by_default(name: str) -> str:
        return re.sub(r"\{\{ (ceph_cluster) \}\}", lambda match: str(shipped.variables[match[1]].default), name)

    asked = [
        HostSetting(
            kinds[section],
            by_default(str(entry.get("name") or entry.get("path"))).replace("dm-", "dm_"),
            {"content": service.templates.get(entry.get("template", ""), "")},
        )
        for service in shipped.services.values()
        for section, entries in service.section("host").items()
        for entry in entries
        if "each" not in entry
    ]
    # A template, for not every release asks for the same ones.
    named = re.findall(r"'name': '(\w+)'", str(shipped.variables["neutron_modules_default"].default))
    assert named
    asked += [module(name) for name in named]
    assert len(asked) > 15
    assert [setting.id for setting in asked if host_rules.denied(setting, policy.KOLLA)] == []


def test_files_stay_in_their_folders() -> None:
    def said(path: str, rules: policy.HostPolicy = policy.KOLLA) -> str:
        return "; ".join(host_rules.denied(HostSetting("file", path, {"content": "", "mode": "0644"}), rules))

    assert not said("/etc/udev/rules.d/99-kvm.rules") and not said("/usr/local/lib/kolla/x")
    assert not said("/etc/ceph/ceph.conf")
    for path in (
        "/etc/passwd",
        "/etc/udev/rules.dx/a",
        "/etc/cron.d/x",
        "/etc/modprobe.d/x.conf",  # its `install` lines run whatever they say when a module is loaded
        "/root/.ssh/authorized_keys",
        "/etc/hosts",
        "/etc/ceph/ceph.client.admin.keyring",
        "/usr/bin/x",
    ):
        assert (
            said(path) == f"the file {path} of the host is not allowed on this host (policy.host_files in its settings)"
        )
    assert "leads upwards" in said("/etc/udev/rules.d/../../passwd")
    assert not said("/usr/bin/ovs-vsctl", policy.HostPolicy(host_files=("/usr/bin/ovs-vsctl",)))
    assert said("/etc/sysctl.d/zz-reconciler.conf", policy.HostPolicy(host_files=("/etc",))), "it has a kind of its own"
    assert host_rules.denied(HostSetting("hosts", "x", {"line": "10.0.0.1 x"}), policy.STRICT)
    assert not host_rules.denied(HostSetting("hosts", "x", {"line": "10.0.0.1 x"}), policy.KOLLA)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('KERNEL=="kvm", GROUP="42427", MODE="0660"', ""),
        ('# RUN+="x"\nSUBSYSTEM=="block", ATTR{size}=="1", ENV{ID}!="RUN+=x", SYMLINK+="disk/x"', ""),
        ('KERNEL=="kvm", RUN+="/bin/evil"', "RUN+="),
        ('KERNEL=="kvm", RU\\\nN{program}+="/bin/evil"', "RUN+="),
        ('PROGRAM=="/bin/evil"', "PROGRAM=="),
        ('IMPORT{program}=="/bin/evil"', "IMPORT=="),
        ('ENV{SYSTEMD_WANTS}+="evil.service"', "ENV+="),
        ('ATTR{power/control}="auto"', "ATTR="),
        ('KERNEL=="a", RUN +="x"', "RUN+="),
        ('KERNEL=="a",\\\n# no end of it \\\n  RUN+="x"', "RUN+="),
        ('SUBSYSTEM=="block" OWNER="a"GROUP="b",, MODE="0600",\n\n', ""),
    ],
)
def test_rules_of_udev_name_devices_and_run_nothing(rule: str, said: str) -> None:
    asked = HostSetting("file", "/etc/udev/rules.d/9.rules", {"content": rule, "mode": "0644"})
    found = host_rules.denied(asked, policy.KOLLA)
    assert (found == []) if not said else (len(found) == 1 and f"says {said}, which does more" in found[0])
    assert not host_rules.denied(asked, policy.HostPolicy(host_files=("/etc/udev/rules.d/9.rules",)))


@pytest.mark.parametrize(
    "rule",
    [
        # With each of these udevadm (systemd 252) runs what RUN says.
        'x "\nKERNEL=="null", RUN+="/bin/evil"',
        'KERNEL=="null", SYMLINK+="a\x0b#", RUN+="/bin/evil"',
        'KERNEL=="null", SYMLINK+="a\u2028#", RUN+="/bin/evil"',
        'KERNEL=="null", SYMLINK+="a\\\\", OWNER=", RUN+="/bin/evil", OWNER="root"',
        'KERNEL=="null"\x00RUN+="/bin/evil"',
        # Other ways to have two readers disagree.
        '# x\rRUN+="/bin/evil"',
        'OWNER=e"\\x22, RUN+=\\x22/bin/evil"',
        'KERNEL=="a", OWNER="root',
        "KERNEL=='a'",
        f'# {"x" * 16384}RUN+="/bin/evil"',
        'KERNEL=="sda", SYMLINK+="../../etc/evil"',
    ],
)
def test_a_rule_that_udev_may_read_otherwise_is_none_that_names_devices(rule: str) -> None:
    asked = HostSetting("file", "/etc/udev/rules.d/9.rules", {"content": rule, "mode": "0644"})
    (found,) = host_rules.denied(asked, policy.KOLLA)
    assert "policy.host_files" in found and found.isprintable()


def test_modules_are_named_one_by_one() -> None:
    assert not host_rules.denied(module("br_netfilter"), policy.KOLLA)
    assert "policy.host_modules" in host_rules.denied(module("evil"), policy.KOLLA)[0]
    assert not host_rules.denied(module("dm_mod"), policy.HostPolicy(host_modules=("dm-mod",)))
    assert host_rules.denied(module("br_netfilter"), policy.STRICT)
    assert host_rules.denied(sysctl("net.a", "1"), policy.STRICT)


# --- the plan --------------------------------------------------------------------------------------------------------

WEB = Container("web", "img", service="app")
FORWARD = sysctl("net.ipv4.ip_forward", "1", "web")
DESIRED = Desired("s", "h", "r1", "/etc/kolla", containers=(WEB,), host_settings=(FORWARD, module("br_netfilter")))
THERE = {"web": Running(WEB, "1", "img", State.RUNNING, None, owned=True)}
OFF = {FORWARD.id: {"live": "0"}, "module:br_netfilter": {"live": "not loaded"}}
ON = {FORWARD.id: {"live": "1", "boot": "1"}, "module:br_netfilter": {"live": "loaded", "boot": "loaded"}}


def lines(desired: Desired, actual: Actual, memory: Memory | None = None, **basis: object) -> list[str]:
    return [action.line for action in diff(desired, actual, memory or Memory(), Basis({}, **basis)).actions]  # type: ignore[arg-type]


def test_it_is_set_before_what_needs_it_and_modules_first() -> None:
    plan = diff(DESIRED, Actual({}, {}, {}, host_settings=OFF), Memory(), Basis({}))
    assert [action.line for action in plan.actions] == [
        "pull       img  (for web)",
        "set        module:br_netfilter  (live not loaded, should be loaded, boot absent, should be loaded)",
        "set        sysctl:net.ipv4.ip_forward  (live 0, should be 1, boot absent, should be 1)",
        "create     web  (new container)",
    ]
    by_id = {action.id: action for action in plan.actions}
    assert (
        f"set:{FORWARD.id}" in by_id["create:web"].needs
        and "set:module:br_netfilter" in by_id[f"set:{FORWARD.id}"].needs
    )
    assert by_id[f"set:{FORWARD.id}"].needs[-1] == "pull:img", "a wrong tag leaves the host as it is"
    assert not diff(DESIRED, Actual(THERE, {}, {}, host_settings=ON), Memory(), Basis({})).actions


def test_what_was_carried_out_and_differs_is_drift() -> None:
    memory = Memory(last_good=DESIRED)
    actual = Actual(THERE, {}, {}, host_settings={**ON, FORWARD.id: {"live": "0", "boot": "1"}})
    (action,) = diff(DESIRED, actual, memory, Basis({})).actions
    assert action.drift and action.line == "set        sysctl:net.ipv4.ip_forward  (drift: live 0, should be 1)"
    reported = replace(DESIRED, policy={"drift": {"mode": "report"}})
    (held,) = diff(reported, actual, memory, Basis({})).held
    assert held.reason == Reason.DriftReported and held.target == FORWARD.id


def test_what_is_no_longer_wanted_goes_back_to_what_it_was() -> None:
    memory = Memory(host_settings={FORWARD.id: HostKept(FORWARD, {"live": "0"})}, last_good=DESIRED)
    later = replace(DESIRED, host_settings=())
    assert lines(later, Actual(THERE, {}, {}, host_settings=ON), memory) == [
        "reset      sysctl:net.ipv4.ip_forward  (no longer part of the site; back to live 0)"
    ]
    kept = replace(later, policy={"prune": {"mode": "report"}})
    plan = diff(kept, Actual(THERE, {}, {}, host_settings=ON), memory, Basis({}))
    assert not plan.actions and [(h.target, h.reason) for h in plan.held] == [(FORWARD.id, Reason.PruneReported)]


@pytest.mark.parametrize(
    ("found", "left"), [({"live": "1", "boot": "1"}, "1"), ({"live": "1", "boot": "2"}, "1"), ({"live": "2", "boot": "2"}, "2"), ({"live": "7"}, None)]
)  # fmt: skip
def test_a_change_that_was_cut_short_is_put_back_whatever_is_there_of_it(
    found: dict[str, str], left: str | None
) -> None:
    """What is somebody else's is neither, and asks for no difference that the host would have to come to."""
    kept = HostKept(replace(FORWARD, fields={"live": "2", "boot": "2"}), {"live": "0"}, (FORWARD,))
    actual = Actual(THERE, {}, {}, host_settings={FORWARD.id: found})
    memory = Memory(host_settings={FORWARD.id: kept}, last_good=DESIRED)
    (action,) = diff(replace(DESIRED, host_settings=()), actual, memory, Basis({})).actions
    live = [d for d in action.differences if d.field == "live"]
    assert action.verb is Verb.RESET and live == ([Difference("live", "0", left)] if left else [])


@pytest.mark.parametrize("order", [(FORWARD, module("br_netfilter")), (module("br_netfilter"), FORWARD)])
def test_the_order_in_which_things_were_set_is_not_that_of_a_plan(order: tuple[HostSetting, ...]) -> None:
    """Several are set at once, and whichever ends first is noted first."""
    registered = [Registration("mariadb", "user", setting.id, owner="h") for setting in order]
    memory = Memory(host_settings={one.id: HostKept(one) for one in order}, registered=tuple(registered))
    later = replace(DESIRED, host_settings=(), registrars=(Registrar("mariadb", {}),))
    plan = diff(later, Actual(THERE, {}, {}, host_settings=ON, deep=True), memory, Basis({}))
    ids = sorted(one.id for one in order)
    assert [one.target for one in plan.actions if one.verb is Verb.RESET] == ids
    assert [one.target for one in plan.actions if one.verb is Verb.UNREGISTER] == [f"mariadb:user:{one}" for one in ids]


RULE = HostSetting("file", "/etc/udev/rules.d/9.rules", {"content": "one\n", "mode": "0644"}, "app")


def test_a_file_shows_what_changes_and_nothing_that_others_wrote() -> None:
    def first(found: dict[str, str], memory: Memory | None = None) -> tuple[str, str]:
        desired = replace(DESIRED, host_settings=(replace(RULE, fields={"content": "one\ntwo\n", "mode": "0644"}),))
        actual = Actual(THERE, {}, {}, host_settings={RULE.id: found})
        (action,) = diff(desired, actual, memory or Memory(), Basis({})).actions
        return action.cause, action.diff

    ours = Memory(host_settings={RULE.id: HostKept(RULE)})
    cause, text = first(dict(RULE.fields), ours)
    assert cause == "content different, should be as rendered" and "+two" in text and " one" in text
    assert "+one" in first({}, ours)[1] and "+one" in first({})[1]
    assert first({"content": "key = s3cret\n", "mode": "0600"}) == (
        "content different, should be as rendered, mode 0600, should be 0644", "",
    )  # fmt: skip
    assert first({"content": "key = s3cret\n", "mode": "0644"}, ours)[1] == ""
    back = replace(ours, host_settings={RULE.id: HostKept(RULE, {"content": "theirs", "mode": "0644"})})
    plan = diff(
        replace(DESIRED, host_settings=()), Actual(THERE, {}, {}, host_settings={RULE.id: RULE.fields}), back, Basis({})
    )
    assert [a.cause for a in plan.actions] == ["no longer part of the site; back to the file that was there before"]


def test_what_the_host_denies_or_cannot_show_is_left_alone() -> None:
    denied = diff(DESIRED, Actual(THERE, {}, {}, host_settings=OFF), Memory(), Basis({}, denied={FORWARD.id: "no"}))
    assert [(h.target, h.reason) for h in denied.held] == [(FORWARD.id, Reason.PolicyDenied)]
    assert [action.target for action in denied.actions] == ["module:br_netfilter"]
    unknown = Actual(
        THERE,
        {},
        {},
        host_settings={"module:br_netfilter": ON["module:br_netfilter"]},
        unknown={f"host:{FORWARD.id}": "EIO"},
    )
    unseen = diff(DESIRED, unknown, Memory(), Basis({}))
    assert not unseen.actions and [(h.target, h.reason) for h in unseen.held] == [(FORWARD.id, Reason.Unknown)]


def test_a_review_shows_it_as_a_risk_of_its_own() -> None:
    def planned(base: Desired | None, head: Desired) -> Review:
        plan = preview(base, head, bind=lambda text, _: text)
        shapes = tuple(action.id for action in plan.actions)
        whole = Group(("h",), plan, shapes=shapes, exact=(True,) * len(shapes))
        return Review("s", "b" * 40, "h" * 40, hosts=("h",), groups=(whole,))

    off = replace(DESIRED, host_settings=())
    for review, verb in ((planned(off, DESIRED), Verb.SET), (planned(DESIRED, off), Verb.RESET)):
        (risk,) = (risk for risk in risks(review) if risk.kind == "host")
        assert risk.grave and {item.text for item in risk.items} == {
            f"{verb} {FORWARD.id}",
            f"{verb} module:br_netfilter",
        }
    assert "host" in KINDS
