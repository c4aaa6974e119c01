"""The host's back ends: on a tree that stands for a host, and in a network namespace of the test's own."""

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from reconciler import errors
from reconciler.host import modules, names, place, sysctl
from reconciler.host.machine import Machine
from reconciler.host.place import Place
from reconciler.host.protocol import Refused
from reconciler.model import LEFTOVER_SUFFIX, HostKept, HostSetting
from reconciler.system import run

# For what is run in namespaces of its own: the service manager of the machine that the tests run on would do it outside of them.
NO_MANAGER = "from pathlib import Path\nfrom reconciler.host import place\nplace._SYSTEMD = Path('/nonexistent')\n"
FORWARD = HostSetting("sysctl", "net.ipv4.ip_forward", {"live": "1", "boot": "1"})
MODULE = HostSetting("module", "br_netfilter", {"live": "loaded", "boot": "loaded"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's file system, as far as settings are concerned."""
    place = tmp_path / "host"
    for path, text in {
        "proc/sys/net/ipv4/ip_forward": "0\n",
        "proc/sys/net/ipv4/tcp_mem": "1\t2\t3\n",
        "proc/sys/net/ipv4/conf/eth0.100/rp_filter": "2\n",
        "proc/modules": "",
    }.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    (place / "sys/module/bridge").mkdir(parents=True)
    tree = place / "lib/modules" / os.uname().release
    tree.mkdir(parents=True)
    (tree / "modules.builtin").write_text("kernel/drivers/net/tun.ko\nkernel/fs/x/some-thing.ko\n")
    return place


def seen(machine: Machine, setting: HostSetting) -> dict[str, str]:
    found, unknown = machine.observe([setting])
    assert not unknown
    return dict(found[setting.id])


def kept(machine: Machine, setting: HostSetting) -> HostKept:
    return HostKept(setting, machine.before(setting))


def test_a_kernel_setting_is_set_kept_for_the_next_boot_and_put_back(root: Path) -> None:
    machine, boot = Machine(root), root / sysctl.BOOT.lstrip("/")
    assert seen(machine, FORWARD) == {"live": "0"}
    before = kept(machine, FORWARD)
    assert machine.put(FORWARD) == ""
    assert seen(machine, FORWARD) == FORWARD.fields
    assert boot.read_text().splitlines()[1:] == ["net.ipv4.ip_forward = 1"] and boot.stat().st_mode & 0o777 == 0o644
    assert machine.put(FORWARD) == "" and len(boot.read_text().splitlines()) == 2, "as often as you like"
    assert machine.back(before) == ""
    assert seen(machine, FORWARD) == {"live": "0"} and not boot.exists(), "the file goes with its last line"


def test_what_others_set_since_is_theirs(root: Path) -> None:
    machine = Machine(root)
    before = kept(machine, FORWARD)
    machine.put(FORWARD)
    (root / "proc/sys/net/ipv4/ip_forward").write_text("2\n")
    machine.back(before)
    assert seen(machine, FORWARD) == {"live": "2"}


@pytest.mark.parametrize("done", [("boot", "live"), ("boot",), ()])
def test_what_a_change_that_was_cut_short_left_of_what_was_set_before_is_put_back(
    root: Path, done: tuple[str, ...]
) -> None:
    machine = Machine(root)
    before = kept(machine, FORWARD)
    machine.put(FORWARD)
    changed = replace(FORWARD, fields={"live": "2", "boot": "2"})
    machine.put(replace(FORWARD, fields={**FORWARD.fields, **dict.fromkeys(done, "2")}))
    assert machine.back(replace(before, setting=changed, earlier=(FORWARD,))) == ""
    assert seen(machine, FORWARD) == {"live": "0"}


def test_of_a_change_that_was_cut_short_others_values_stay_as_well(root: Path) -> None:
    machine = Machine(root)
    before = kept(machine, FORWARD)
    machine.put(FORWARD)
    (root / "proc/sys/net/ipv4/ip_forward").write_text("7\n")
    machine.back(replace(before, setting=replace(FORWARD, fields={"live": "2", "boot": "2"}), earlier=(FORWARD,)))
    assert seen(machine, FORWARD) == {"live": "7"}


def test_a_file_whose_change_was_cut_short_goes_and_what_somebody_wrote_stays(root: Path) -> None:
    machine, path = Machine(root), root / "etc/x.rules"
    one = HostSetting("file", "/etc/x.rules", {"content": "one\n", "mode": "0644"})
    two = replace(one, fields={"content": "two\n", "mode": "0600"})
    for text, gone in (("one\n", True), ("two\n", True), ("theirs\n", False)):
        machine.put(one)
        path.write_text(text)
        assert bool(machine.back(HostKept(two, {}, (one,)))) is not gone and path.exists() is not gone


def test_what_cut_writes_left_beside_our_files_is_swept(root: Path) -> None:
    """And what the host does not let be swept away is no obstacle."""
    machine = Machine(root)
    settings = (
        FORWARD,
        MODULE,
        HostSetting("hosts", "db", {"line": "10.0.0.1 db"}),
        HostSetting("file", "/opt/x", {"content": "", "mode": "0644"}),
    )
    left = [
        root / folder / f".{'0' * 16}{LEFTOVER_SUFFIX}"
        for folder in ("etc/sysctl.d", "etc/modules-load.d", "etc/modprobe.d", "etc", "opt")
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    machine.tidy(settings[:1])
    assert [path.exists() for path in left] == [False, True, True, True, True]
    with mock.patch.object(os, "unlink", side_effect=OSError(errno.EROFS, "read-only")):
        machine.tidy(settings)
    assert left[1].exists()
    machine.tidy(settings)
    assert not any(path.exists() for path in left)


def test_lines_of_others_in_our_file_stay(root: Path) -> None:
    boot = root / sysctl.BOOT.lstrip("/")
    boot.parent.mkdir(parents=True)
    theirs = "# mine\nvm.swappiness = 10\nnet.ipv4.ip_forward=0\n-net.ipv4.ip_forward = 0\n"
    boot.write_text(theirs)
    machine = Machine(root)
    assert seen(machine, FORWARD)["boot"] == "0", "the last one counts"
    before = kept(machine, FORWARD)
    machine.put(FORWARD)
    assert seen(machine, FORWARD)["boot"] == "1"
    assert [line for line in boot.read_text().splitlines() if "reconciler" not in line] == [
        *theirs.splitlines(), "net.ipv4.ip_forward = 1",
    ]  # fmt: skip
    machine.back(before)
    assert boot.read_text() == theirs


def test_a_line_of_ours_is_never_what_was_there_before(root: Path) -> None:
    """As after the loss of this node's memory, which says so of a line that is ours."""
    machine, boot = Machine(root), root / sysctl.BOOT.lstrip("/")
    machine.put(FORWARD)
    lost = kept(machine, FORWARD)
    assert lost.before == {"live": "1"} and kept(machine, MODULE).before == {}
    machine.put(replace(FORWARD, fields={"live": "2", "boot": "2"}))
    machine.back(replace(lost, setting=replace(FORWARD, fields={"live": "2", "boot": "2"})))
    assert not boot.exists()


def test_the_file_of_an_earlier_version_is_understood(root: Path) -> None:
    """Its header stood at the top, whoever's the lines were, and its memory has our lines as what was there before."""
    boot = root / sysctl.BOOT.lstrip("/")
    boot.parent.mkdir(parents=True)
    header = "# Written by reconciler from the site's `host:` sections. Lines that it did not write stay."
    boot.write_text(f"{header}\nvm.swappiness = 10\nnet.ipv4.ip_forward = 1\n")
    machine = Machine(root)
    machine.put(replace(FORWARD, fields={"live": "2", "boot": "2"}))
    assert boot.read_text().splitlines()[1:] == ["vm.swappiness = 10", "net.ipv4.ip_forward = 2"]
    machine.back(HostKept(replace(FORWARD, fields={"live": "2", "boot": "2"}), {"boot": "0"}))
    assert boot.read_text().splitlines()[1:] == ["vm.swappiness = 10", "net.ipv4.ip_forward = 0"]


def test_without_our_header_a_line_is_ours_that_is_as_we_wrote_it(root: Path) -> None:
    machine, boot = Machine(root), root / sysctl.BOOT.lstrip("/")
    before = kept(machine, FORWARD)
    machine.put(FORWARD)
    boot.write_text("net.ipv4.ip_forward = 0\nnet.ipv4.ip_forward = 1\n")
    machine.back(before)
    assert boot.read_text() == "net.ipv4.ip_forward = 0\n"


def test_names_and_values_are_spelt_as_the_kernel_has_them(root: Path) -> None:
    machine = Machine(root)
    assert seen(machine, HostSetting("sysctl", "net.ipv4.tcp_mem", {"live": "1 2 3"}))["live"] == "1 2 3"
    assert seen(machine, HostSetting("sysctl", "net.ipv4.conf.eth0/100.rp_filter", {"live": "1"}))["live"] == "2"
    assert sysctl.path_of("net.ipv4.conf.eth0/100.rp_filter") == "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"


def test_what_this_kernel_does_not_have_is_said_and_never_made(root: Path) -> None:
    machine, setting = Machine(root), HostSetting("sysctl", "net.bridge.x", {"live": "1", "boot": "1"})
    assert seen(machine, setting) == {"live": "absent (this kernel, or this network namespace, does not have it)"}
    assert machine.before(setting) == {}
    assert machine.put(setting) == "the host refuses: cannot set net.bridge.x to 1: No such file or directory"
    assert not (root / "proc/sys/net/bridge").exists()
    assert seen(machine, setting)["boot"] == "1", "it counts as soon as its module is there"
    assert machine.back(HostKept(setting)) == ""


def _apart(script: str, code: str) -> str:
    """What Python code prints in a mount and a network namespace of its own, which `script` sets up before it runs "$@"."""
    words = ["unshare", "--mount", "--net", "sh", "-c", script, "sh", sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout


def test_what_cannot_be_written_to_says_so_and_is_not_a_failure() -> None:
    """As in a container, whose /proc/sys is mounted read-only: by a mount namespace of its own."""
    code = (
        NO_MANAGER + "from reconciler.host.machine import Machine\nfrom reconciler.model import HostSetting\n"
        "s = HostSetting('sysctl', 'net.ipv4.ip_forward', {'live': '1', 'boot': '1'})\n"
        "m = Machine()\nprint(m.observe([s])[0][s.id]['live'])\nprint(m.put(s))\n"
    )
    script = 'mount -t tmpfs none /etc && mkdir /etc/sysctl.d && mount --bind -o ro /proc/sys /proc/sys && exec "$@"'
    assert _apart(script, code).splitlines() == [
        "0 (it cannot be written to here)",
        "the host refuses: cannot set net.ipv4.ip_forward to 1: Read-only file system",
    ]


def test_the_real_kernel_takes_it() -> None:
    """In a network namespace of the test's own, which has net.* settings of its own."""
    code = (
        NO_MANAGER + "from reconciler.host.machine import Machine\nfrom reconciler.model import HostSetting, HostKept\n"
        "m = Machine()\n"
        "for name, value in (('net.ipv4.ip_forward', '1'), ('net.ipv4.ping_group_range', '1 7'), ('net.ipv4.conf.lo.rp_filter', '2')):\n"
        "    s = HostSetting('sysctl', name, {'live': value, 'boot': value})\n"
        "    k = HostKept(s, m.before(s))\n"
        "    assert m.put(s) == '' and dict(m.observe([s])[0][s.id]) == s.fields, name\n"
        "    assert m.back(k) == '' and m.before(s) == k.before, name\n"
        "s = HostSetting('sysctl', 'net.ipv4.ip_forward', {'live': 'many', 'boot': 'many'})\n"
        "print(m.put(s))\n"
    )
    found = _apart('mount -t tmpfs none /etc && exec "$@"', code)
    assert found == "the host refuses: cannot set net.ipv4.ip_forward to many: Invalid argument\n"


def test_modules_are_loaded_built_in_or_not(root: Path) -> None:
    machine = Machine(root)
    for name in ("bridge", "tun", "some_thing"):
        assert seen(machine, HostSetting("module", name))["live"] == "loaded"
    assert seen(machine, MODULE) == {"live": "not loaded"}
    (root / "proc/modules").unlink()
    assert seen(machine, MODULE) == {"live": "not loaded (this kernel takes no modules)"}


def test_a_module_is_loaded_with_modprobe_and_its_line_goes_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setattr(run, "SAFE_PATH", f"{tools}:/usr/bin:/bin")
    machine, boot = Machine(root), root / modules.BOOT.lstrip("/")
    before = kept(machine, MODULE)
    (tools / "modprobe").write_text(f'#!/bin/sh\n[ "$4" = br_netfilter ] && mkdir {root}/sys/module/br_netfilter\n')
    (tools / "modprobe").chmod(0o755)
    assert machine.put(MODULE) == ""
    assert seen(machine, MODULE) == MODULE.fields and boot.read_text().splitlines()[1:] == ["br_netfilter"]
    machine.back(before)
    assert seen(machine, MODULE) == {"live": "loaded"} and not boot.exists(), (
        "what may be in use stays until the next boot"
    )
    (tools / "modprobe").write_text("#!/bin/sh\necho FATAL: Module nosuch not found >&2; exit 1\n")
    refused = machine.put(HostSetting("module", "nosuch", MODULE.fields))
    assert refused == "the host refuses: cannot load nosuch: FATAL: Module nosuch not found"


def test_a_module_is_loaded_with_its_parameters(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools, said = tmp_path / "bin", tmp_path / "said"
    tools.mkdir()
    (tools / "modprobe").write_text(f'#!/bin/sh\necho "$@" > {said}\n')
    (tools / "modprobe").chmod(0o755)
    monkeypatch.setattr(run, "SAFE_PATH", f"{tools}:/usr/bin:/bin")
    machine, options = Machine(root), root / modules.PARAMETERS.lstrip("/")
    nested = HostSetting("module", "kvm_intel", {"live": "loaded", "boot": "loaded", "parameters": "nested=1 ept=0"})
    before = kept(machine, nested)
    machine.put(nested)
    assert said.read_text() == f"--dirname {root} -- kvm_intel nested=1 ept=0\n"
    assert options.read_text().splitlines()[1:] == ["options kvm_intel nested=1 ept=0"]
    assert seen(machine, nested)["parameters"] == "nested=1 ept=0"
    machine.back(before)
    assert not options.exists()


def test_a_link_in_the_way_is_not_followed(root: Path, tmp_path: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/sysctl.d").symlink_to(tmp_path)
    _, unknown = Machine(root).observe([FORWARD])
    assert "link" in unknown[FORWARD.id]


READ_ONLY = """
import os
from pathlib import Path
from reconciler.host.machine import Machine
from reconciler.model import HostKept, HostSetting

settings = [
    HostSetting("sysctl", "net.ipv4.ip_forward", {"live": "1", "boot": "1"}),
    HostSetting("module", "br_netfilter", {"live": "loaded", "boot": "loaded"}),
    HostSetting("module", "kvm", {"live": "loaded", "boot": "loaded", "parameters": "x=1"}),
    HostSetting("hosts", "ctl1", {"line": "10.0.0.11 ctl1"}),
    HostSetting("file", "/etc/udev/rules.d/9.rules", {"content": "x", "mode": "0644"}),
]
for folder in ("sysctl.d", "modules-load.d", "modprobe.d", "udev/rules.d", ""):
    place = Path("/mnt/etc", folder)
    place.mkdir(parents=True, exist_ok=True)
    if LEFT:
        left = place / ".0123456789abcdef.reconciler-new"
        left.write_text("")
        os.utime(left, (0, 0))
if CHANGE:
    print(sorted({Machine(Path("/mnt")).back(HostKept(one)) for one in settings}))
    print(sorted(str(one) for one in Path("/mnt/etc").rglob("*.reconciler-new")))
else:
    os.system("mount -o remount,ro /mnt")
    for one in settings:
        print(Machine(Path("/mnt")).back(HostKept(one)))
"""


def read_only(*, left: bool, change: bool = False) -> list[str]:
    """What the host says of settings that are put back and were never set, on a file system that is read-only unless it is to `change`."""
    code = NO_MANAGER + READ_ONLY.replace("LEFT", str(left)).replace("CHANGE", str(change))
    return _apart('mount -t tmpfs none /mnt && exec "$@"', code).splitlines()


def test_what_cannot_be_swept_away_is_refused_and_not_tried_for_ever() -> None:
    assert read_only(left=False) == [""] * 5, "nothing has to be done"
    folders = ("sysctl.d", "modprobe.d", "modprobe.d", "", "udev/rules.d")
    assert read_only(left=True) == [
        f"the host refuses: cannot change {Path('/mnt/etc', folder)}: Read-only file system" for folder in folders
    ]


def test_what_a_write_that_was_killed_left_goes_with_every_kind() -> None:
    assert read_only(left=True, change=True) == ["['']", "[]"]


def test_a_kernel_setting_that_can_only_be_written_is_put_back_by_doing_nothing() -> None:
    code = (
        NO_MANAGER + "from reconciler.host.machine import Machine\nfrom reconciler.model import HostSetting, HostKept\n"
        "s = HostSetting('sysctl', 'net.ipv4.route.flush', {'live': '1', 'boot': '1'})\n"
        "m = Machine()\nprint(m.observe([s])[0][s.id]['live'])\nprint(m.before(s), repr(m.back(HostKept(s))))\n"
    )
    said = _apart('mount -t tmpfs none /etc && exec "$@"', code).splitlines()
    assert said == ["unknown (it cannot be read here)", "{} ''"]


# --- /etc/hosts ------------------------------------------------------------------------------------------------------

CTL = HostSetting("hosts", "ctl1", {"line": "10.0.0.11 ctl1 ctl1.example"})
CMP = HostSetting("hosts", "cmp1", {"line": "10.0.0.21 cmp1"})
THEIRS = "127.0.0.1 localhost\n127.0.1.1 ctl1  # by the installer\n\n# kept\n::1 ip6-localhost\n"


def test_names_are_in_a_block_at_the_top_and_other_lines_stay(root: Path) -> None:
    machine, path = Machine(root), root / "etc/hosts"
    path.parent.mkdir(exist_ok=True)
    path.write_text(THEIRS)
    path.chmod(0o640)
    assert seen(machine, CTL) == {}
    before = [kept(machine, CTL), kept(machine, CMP)]
    machine.put(CTL)
    machine.put(CMP)
    assert seen(machine, CTL) == CTL.fields and seen(machine, CMP) == CMP.fields
    assert path.read_text() == f"{names.BEGIN}\n10.0.0.11 ctl1 ctl1.example\n10.0.0.21 cmp1\n{names.END}\n{THEIRS}"
    assert path.stat().st_mode & 0o777 == 0o640
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]
    machine.put(HostSetting("hosts", "ctl1", {"line": "10.0.0.12 ctl1"}))
    assert seen(machine, CTL) == {"line": "10.0.0.12 ctl1"}
    for one in before:
        machine.back(one)
    assert path.read_text() == THEIRS


def test_a_line_above_that_says_otherwise_is_seen_and_the_block_moves_up(root: Path) -> None:
    machine, path = Machine(root), root / "etc/hosts"
    machine.put(CTL)
    path.write_text(THEIRS + path.read_text())
    assert seen(machine, CTL) == {"line": "10.0.0.11 ctl1 ctl1.example (but line 2 says 127.0.1.1 ctl1)"}
    machine.put(CTL)
    assert seen(machine, CTL) == CTL.fields and path.read_text().endswith(THEIRS)


def test_a_block_without_its_end_takes_nothing_with_it(root: Path) -> None:
    machine, path = Machine(root), root / "etc/hosts"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{names.BEGIN}\n10.0.0.9 mine\n")
    machine.put(CTL)
    assert path.read_text() == f"{names.BEGIN}\n10.0.0.11 ctl1 ctl1.example\n{names.END}\n10.0.0.9 mine\n"


def test_a_hosts_file_that_is_a_mount_is_written_into() -> None:
    """As in a container, or under the shipped unit: it cannot be exchanged for another one."""
    code = (
        NO_MANAGER + "from reconciler.host.machine import Machine\nfrom reconciler.model import HostSetting, HostKept\n"
        "m = Machine()\n"
        "s = HostSetting('hosts', 'ctl1', {'line': '10.0.0.11 ctl1'})\n"
        "assert m.put(s) == '' and m.observe([s])[0][s.id] == s.fields\n"
        "import socket\nprint(socket.gethostbyname('ctl1'))\n"
        "assert m.back(HostKept(s)) == ''\nprint(open('/etc/hosts').read(), end='')\n"
    )
    script = (
        "mount -t tmpfs none /mnt && echo 127.0.0.1 localhost > /mnt/hosts && mount --bind /mnt/hosts /etc/hosts && "
        'mount --bind -o ro /etc /etc && mount --bind /mnt/hosts /etc/hosts && exec "$@"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("10.0.0.11\n127.0.0.1 localhost\n", "")


def test_what_the_unit_keeps_read_only_is_exchanged_whole_by_the_service_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one the words are run as they are; `tests/vm` has it under the shipped unit."""
    monkeypatch.setattr(place, "_SYSTEMD", tmp_path / "none")
    path = tmp_path / "hosts"
    path.write_text("old\n")
    Place()._hand_over(str(path), b"new \xff\n", 0o640, 7, 8)
    found = path.stat()
    assert path.read_bytes() == b"new \xff\n" and (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 7, 8)
    assert [one.name for one in tmp_path.iterdir()] == ["hosts"]
    with pytest.raises(Refused, match="nowhere"):
        Place()._hand_over(str(tmp_path / "nowhere/hosts"), b"new\n", 0o640, 0, 0)


# --- files -----------------------------------------------------------------------------------------------------------

RULE = HostSetting("file", "/etc/udev/rules.d/99-kvm.rules", {"content": "KERNEL\n", "mode": "0644"}, devices=("kvm",))
SCRIPT = HostSetting("file", "/usr/local/lib/kolla/x", {"content": "#!/bin/sh\n", "mode": "0755"})


def test_a_file_is_written_told_and_goes_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools, said = tmp_path / "bin", tmp_path / "said"
    tools.mkdir()
    (tools / "udevadm").write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    (tools / "udevadm").chmod(0o755)
    monkeypatch.setattr(run, "SAFE_PATH", f"{tools}:/usr/bin:/bin")
    machine, path = Machine(root), root / "etc/udev/rules.d/99-kvm.rules"
    before = kept(machine, RULE)
    assert machine.put(RULE) == "" and seen(machine, RULE) == RULE.fields
    assert path.read_text() == "KERNEL\n" and path.stat().st_mode & 0o777 == 0o644
    told = ["control --reload", "trigger --action=change --name-match=kvm"]
    assert said.read_text().splitlines() == told
    path.chmod(0o600)
    os.chown(path, 7, 7)
    assert seen(machine, RULE)["mode"] == "0600 7:7"
    machine.put(RULE)
    assert seen(machine, RULE) == RULE.fields
    assert machine.back(before) == "" and not path.exists() and said.read_text().splitlines() == told * 3
    assert machine.put(SCRIPT) == "" and os.access(root / "usr/local/lib/kolla/x", os.X_OK), "its folder is made"


def test_what_was_there_before_comes_back_and_what_was_edited_stays(root: Path) -> None:
    machine, path = Machine(root), root / "usr/local/lib/kolla/x"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"theirs \xff\n")
    path.chmod(0o640)
    before = kept(machine, SCRIPT)
    machine.put(SCRIPT)
    machine.back(before)
    assert path.read_bytes() == b"theirs \xff\n" and path.stat().st_mode & 0o777 == 0o640
    machine.put(SCRIPT)
    path.write_text("edited\n")
    assert "edited since this program wrote it, and stays" in machine.back(before)
    assert path.read_text() == "edited\n"


def test_without_udev_the_rule_counts_at_the_next_boot(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SAFE_PATH", str(tmp_path))
    machine = Machine(root)
    assert machine.put(RULE) == "the host refuses: this host has no udevadm" and seen(machine, RULE) == RULE.fields


def test_a_link_or_a_hard_link_in_the_way_is_not_written_through(root: Path, tmp_path: Path) -> None:
    path = root / "usr/local/lib/kolla/x"
    path.parent.mkdir(parents=True)
    (tmp_path / "secret").write_text("untouched\n")
    path.symlink_to(tmp_path / "secret")
    _, unknown = Machine(root).observe([SCRIPT])
    assert "link" in unknown[SCRIPT.id]
    with pytest.raises(errors.Terminal, match="link"):
        Machine(root).put(SCRIPT)
    assert (tmp_path / "secret").read_text() == "untouched\n"
