"""The second wall, with the first one taken away: native code of a stranger runs inside a child, and gets nowhere."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.node import doctor
from reconciler.system import run, walls
from reconciler.system.walls import landlock, seccomp, syscalls
from tests.support.lab import CHECKOUT
from tests.system import hostile

LIMITS: dict[str, Any] = {"seconds": 60, "cpu_seconds": 20, "memory": 256 << 20}
NAMESPACES = ["unshare", "mount", "setns"]
LANDLOCK = ["landlock_create_ruleset"]
_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]


def drive(
    function: str,
    argument: Any,
    *,
    denied: list[str],
    prefix: list[str] | None = None,
    python: str = sys.executable,
    **more: Any,
) -> Any:
    """What a child answers that another process starts, in whose environment there is a secret."""
    wall = {"read": [], **more.pop("wall", {})}
    request = {
        "function": f"tests.system.hostile:{function}",
        "argument": argument,
        "limits": LIMITS,
        "wall": wall,
        "denied": denied,
    }
    done = subprocess.run(
        [*(prefix or []), python, "-m", "tests.system.driver"],
        input=json.dumps(request),
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], hostile.SECRET: "s3cr3t-of-the-parent", **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter: pytest's own are closed to others again by the next run that starts."""
    with tempfile.TemporaryDirectory(prefix="walls-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def target(folder: Path) -> Iterator[dict[str, Any]]:
    """What there is to be had: a site, a key, a library, servers, and this process."""
    (folder / "site").mkdir()
    (folder / "site" / "inventory.yml").write_text("hosts: {}\n")
    (folder / "key").write_text("a private key")
    library = folder / "site" / "native.so"
    library.write_bytes(Path(hostile.LIBC._name or "/lib/x86_64-linux-gnu/libc.so.6").read_bytes()[:64])
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(folder / "engine.sock"))
        (folder / "engine.sock").chmod(0o777)
        local.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        name = f"reconciler-walls-{os.getpid()}"
        abstract.bind(b"\0" + name.encode())
        abstract.listen()
        yield {
            "site": str(folder / "site" / "inventory.yml"),
            "key": str(folder / "key"),
            "library": str(library),
            "folder": str(folder / "site"),
            "port": tcp.getsockname()[1],
            "socket": str(folder / "engine.sock"),
            "abstract": name,
            "starter": os.getpid(),
        }


@pytest.fixture(scope="module")
def python_for_all() -> Iterator[str]:
    """An interpreter that everybody can start: the one that runs the tests may lie in root's home."""
    with tempfile.TemporaryDirectory(prefix="walls-") as made:
        Path(made).chmod(0o755)
        system = f"/usr/bin/python3.{sys.version_info.minor}"
        base = system if Path(system).exists() else sys.executable
        subprocess.run([base, "-m", "venv", "--without-pip", f"{made}/venv"], check=True)
        (packages,) = Path(made).glob("venv/lib/python3*/site-packages")
        own = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "tests.pth").write_text(f"{own}\n{CHECKOUT}\n")
        found = f"{made}/venv/bin/python"
        tried = subprocess.run(
            [*_NOBODY, found, "-c", "import reconciler.system.run"], cwd="/", check=False, capture_output=True
        )
        if tried.returncode:
            pytest.skip(f"no interpreter that others may start: {tried.stderr[-300:].decode()}")
        yield found


AS = {
    "root": ([], []),
    "root without namespaces": ([], NAMESPACES),
    "root without Landlock": ([], LANDLOCK),
    "root without either": ([], [*NAMESPACES, *LANDLOCK]),
    "nobody": (_NOBODY, []),
    "nobody without namespaces": (_NOBODY, NAMESPACES),
    "nobody without either": (_NOBODY, [*NAMESPACES, *LANDLOCK]),
}


@pytest.mark.parametrize("who", AS)
def test_nothing_gets_out(who: str, target: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """Under every combination of what a kernel may lack, for root and for nobody."""
    prefix, denied = AS[who]
    if os.geteuid() != 0:
        pytest.skip("has to become several users")
    python = request.getfixturevalue("python_for_all") if prefix else sys.executable
    argument = {**target, "attacks": list(hostile.ATTACKS)}
    found = drive(
        "attempt",
        argument,
        denied=denied,
        prefix=prefix,
        python=python,
        wall={"read": [str(Path(target["site"]).parent)]},
    )
    assert {name: got for name, got in found["answer"].items() if got} == {}
    assert len(found["answer"]) >= 80
    assert sorted(path.name for path in Path(target["folder"]).iterdir()) == ["inventory.yml", "native.so"]


def test_without_a_wall_they_get_through(target: dict[str, Any]) -> None:
    """The attacks are real: most of them work in a process without walls."""
    argument = json.dumps({**target, "attacks": sorted(hostile.ATTACKS.keys() - _FATAL)})
    code = f"import json; from tests.system import hostile; print(json.dumps(hostile.attempt(json.loads({argument!r}), b'')))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )
    got = {name for name, what in json.loads(done.stdout.splitlines()[-1]).items() if what}
    assert got >= _REAL, sorted(_REAL - got)


# What would end the process that tries, change this machine, or answer only once.
_FATAL = {"execute", "execute_from_memory", "signal_everybody", "stop_the_machine", "mount", "change_the_root", "limit_another",
          "leave_a_namespace", "start_a_process_by_number", "start_a_process_anew", "become_another_user", "new_session",
          "remove_a_file", "fork", "trace_the_parent", "change_a_mode", "write_a_file", "make_a_folder", "make_a_link",
          "share_memory_by_name", "install_a_filter", "splice", "send_a_file"}  # fmt: skip
_REAL = {"load_a_library", "import_an_extension", "map_executable_memory", "make_memory_executable", "start_a_program",
         "start_a_shell", "spawn", "start_a_thread", "read_passwd", "read_own_environment", "read_a_key", "read_a_mapping",
         "read_the_environment_of_the_parent", "list_the_machine", "list_processes", "look_for_a_file", "connect_ipv4",
         "send_a_datagram", "connect_a_unix_socket", "connect_an_abstract_socket", "open_netlink", "make_a_socket_pair",
         "find_a_name", "signal_the_parent", "signal_own_group", "stop_the_clock", "catch_a_signal", "watch_descriptors",
         "use_keyrings", "add_a_key", "system_v_memory", "anonymous_file", "open_a_process", "set_own_rules",
         "duplicate_a_descriptor"}  # fmt: skip


def test_a_child_that_stays_connected_reaches_its_server_and_nothing_else(target: dict[str, Any]) -> None:
    """Fetching and delivering: one port, the named files, no program, no socket of the machine, no other process."""
    reach = {"find_a_name", "connect_ipv4", "send_a_datagram", "connect_ipv6", "watch_descriptors", "start_a_thread", "read_a_key",
             "duplicate_a_descriptor", "look_for_a_file", "follow_a_link", "stop_the_clock", "catch_a_signal", "import_a_module",
             "get_more_capabilities", "raise_a_limit", "install_a_filter", "ask_for_signals"}  # fmt: skip
    attacks = [name for name in hostile.ATTACKS if name not in reach]
    wall = {"read": [target["key"]], "sealed": False, "network": True, "ports": [target["port"]]}
    argument = {key: value for key, value in target.items() if key != "site"} | {
        "attacks": [*attacks, "read_a_key", "connect_ipv4"]
    }
    argument["site"] = target["key"]
    for denied in ([], NAMESPACES):
        found = drive("attempt", argument, denied=denied, wall=wall)["answer"]
        got = {name for name, what in found.items() if what} - {"read_the_site_again"}  # it is the key here
        assert got == {"read_a_key", "connect_ipv4"}
    other = {**wall, "ports": [1]}
    assert not drive("attempt", {**argument, "attacks": ["connect_ipv4"]}, denied=[], wall=other)["answer"][
        "connect_ipv4"
    ]


def test_without_any_wall_nothing_runs() -> None:
    """Neither a filter nor Landlock: refused, and an operator may say otherwise."""
    argument: dict[str, Any] = {"answer": "ran"}
    none = [*NAMESPACES, *LANDLOCK, "seccomp"]
    found = drive("answer", argument, denied=none)
    assert found["reason"] == "WallMissing"
    assert "RECONCILER_WALL=lowered" in found["message"] and "landlock" in found["message"]
    assert drive("answer", argument, denied=none, RECONCILER_WALL="lowered") == {"answer": "ran"}
    assert drive("answer", argument, denied=none, RECONCILER_WALL="1")["reason"] == "WallMissing"
    assert drive("answer", argument, denied=["seccomp"]) == {"answer": "ran"}  # Landlock and no network
    assert (
        drive("answer", argument, denied=["seccomp", *NAMESPACES])["reason"] == "WallMissing"
    )  # it could send datagrams


def test_doctor_says_which_walls_stand(tmp_path: Path) -> None:
    standing = walls.examine()
    assert standing.filter and standing.landlock >= 1 and "network" in standing.namespaces
    (check,) = doctor.walls_of(standing, lowered=False)
    assert check.verdict == "ok" and "network" in check.message
    (check,) = doctor.walls_of(walls.Standing(frozenset(), 0, True), lowered=False)
    assert check.verdict == "warn" and "Landlock" in check.message + check.advice
    (check,) = doctor.walls_of(walls.Standing(), lowered=False)
    assert check.verdict == "fail" and "WallMissing" in check.message
    (check,) = doctor.walls_of(walls.Standing(), lowered=True)
    assert check.verdict == "warn"


# --- answers --------------------------------------------------------------------------------------------------------


def ask(function: str, argument: Any, **more: Any) -> Any:
    limits = run.Limits(**{**LIMITS, **more.pop("limits", {})})
    return run.python(f"tests.system.hostile:{function}", argument, limits=limits, **more)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[" * 100_000, '{"hosts": 1}', "NaN", '"\\ud800"', "1e999", "\x00", "{}" * 2, '{"a": {"b": 1}}', "\udcff"],
)  # fmt: skip
def test_what_a_child_answers_is_checked(text: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        ask("raw", {"raw": text}, answers=dict[str, str])
    assert caught.value.reason == "ChildFailed"


@pytest.mark.parametrize(
    "described",
    [
        {},
        [],
        {"kind": "SiteInvalid", "message": "", "reason": "", "retry_after": None, "problems": [{"file": 1}]},
        {"kind": "Terminal", "message": 1, "reason": "X", "retry_after": None, "problems": []},
        {"kind": "Transient", "message": "m", "reason": "Xyz", "retry_after": "soon", "problems": []},
    ],
)
def test_what_a_child_says_of_an_error_is_checked(described: Any) -> None:
    with pytest.raises(errors.Terminal) as caught:
        ask("raw", {"raw": json.dumps(described), "code": 70})
    assert caught.value.reason == "ChildFailed"


def test_an_error_cannot_steer_a_terminal() -> None:
    said = {
        "kind": "Terminal",
        "message": "\x1b[2Jgone\x00\u202e",
        "reason": "not a reason\n",
        "retry_after": None,
        "problems": [],
    }
    with pytest.raises(errors.Terminal) as caught:
        ask("raw", {"raw": json.dumps(said), "code": 70})
    assert caught.value.reason == "ChildFailed" and str(caught.value).isprintable()
    with pytest.raises(errors.Terminal) as caught:
        ask("say", {"text": "\x1b]0;title\x07\x1b[31m" + "x" * 100_000})
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 5000


def test_too_many_parts_are_not_read() -> None:
    with pytest.raises(errors.Terminal) as caught:
        ask("raw", {"raw": "[" + "[]," * 2_100_000 + "[]]"})
    assert caught.value.reason == "LimitExceeded"


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_flood_is_cut_off(descriptor: int) -> None:
    with pytest.raises(errors.Terminal) as caught:
        ask("flood", {"descriptor": descriptor})
    assert caught.value.reason == "LimitExceeded" and "wrote more than" in str(caught.value)


def test_progress_is_handed_on_and_bounded() -> None:
    said = bytearray()
    assert ask("progress", {}, progress=said.extend, answers=str) == "done"
    assert said == b"12\n.."


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [False, True])
def test_what_never_ends_is_ended(native: bool) -> None:
    with pytest.raises(errors.Terminal) as caught:
        ask("spin", {"native": native}, limits={"cpu_seconds": 1})
    assert caught.value.reason == "LimitExceeded"


@pytest.mark.parametrize("function", ["sleep", "silent"])
def test_what_never_answers_is_ended(function: str) -> None:
    with pytest.raises(errors.Transient) as caught:
        ask(function, {}, limits={"seconds": 1.5})
    assert caught.value.reason == "DeadlineExceeded"


@pytest.mark.parametrize("how", ["objects", "mapped", "native"])
def test_memory_has_an_end(how: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        ask("grow", {"how": how}, limits={"memory": 96 << 20})
    assert caught.value.reason == "LimitExceeded"


@pytest.mark.parametrize(("function", "signal"), [("crash", 11), ("foreign_call", 31)])
def test_a_child_that_dies_is_told_about(function: str, signal: int) -> None:
    if function == "foreign_call" and hostile._COLUMN:
        pytest.skip("x86-64 alone has two ways to call")
    with pytest.raises(errors.Terminal) as caught:
        ask(function, {})
    assert caught.value.reason == "ChildFailed" and f"exit -{signal}" in str(caught.value)


# --- the filter -----------------------------------------------------------------------------------------------------


def test_stages_only_shrink() -> None:
    assert syscalls.SEALED.keys() < syscalls.READING.keys() < syscalls.CONNECTED.keys()
    forbidden = {
        "execve",
        "execveat",
        "fork",
        "vfork",
        "ptrace",
        "process_vm_readv",
        "bpf",
        "io_uring_setup",
        "kill",
        "tkill",
    }
    assert not forbidden & syscalls.CONNECTED.keys()
    assert not {"openat", "open", "socket", "clone", "rt_sigaction", "prlimit64", "seccomp"} & syscalls.SEALED.keys()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("stage", ["SEALED", "READING", "CONNECTED"])
def test_the_filter_decides_as_the_table_says(machine: str, stage: str) -> None:
    """Runs the program as the kernel would, for both machines, for every number there is."""
    chosen: syscalls.Stage = getattr(syscalls, stage)
    column = ("x86_64", "aarch64").index(machine)
    code = seccomp.program(chosen, machine)
    assert len(code) // 8 <= 4096  # the kernel's own bound
    numbers = {row[column]: name for name, row in syscalls.NUMBERS.items() if row[column] is not None}
    architecture = (0xC000003E, 0xC00000B7)[column]
    for number in range(600):
        name = numbers.get(number, "")
        for arguments in ((0,) * 6, (4,) * 6, (0x10000,) * 6, (2,) * 6, (0xFFFFFFFF,) * 6):
            got = _decide(code, architecture, number, arguments)
            expected = _allowed(chosen, name, arguments)
            if name == "clone3":
                assert got == 0x00050026
            else:
                assert (got == 0x7FFF0000) is expected, (name, number, arguments)
    assert _decide(code, 0x40000003, 0, (0,) * 6) == 0x80000000
    assert _decide(code, architecture, 0x40000000, (0,) * 6) == 0x80000000


def _allowed(stage: syscalls.Stage, name: str, arguments: tuple[int, ...]) -> bool:
    if name not in stage:
        return False
    only = stage[name]
    if only is None:
        return True
    value = arguments[only.index]
    if only.without:
        return not value & only.without
    return bool(value & only.having) if only.having else value in only.among


def _decide(code: bytes, architecture: int, number: int, arguments: tuple[int, ...]) -> int:
    import struct

    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    rows = list(struct.iter_unpack("<HBBI", code))
    at, register = 0, 0
    while True:
        kind, yes, no, value = rows[at]
        at += 1
        if kind == 0x20:
            register = struct.unpack_from("<I", data, value)[0]
        elif kind == 0x06:
            return int(value)
        else:
            held = {0x15: register == value, 0x45: bool(register & value), 0x35: register >= value}[kind]
            at += yes if held else no


@pytest.mark.skipif(landlock.abi() < 6, reason="this kernel has an older interface itself")
@pytest.mark.parametrize("version", range(1, 7))
def test_every_version_of_landlock_is_spoken(version: int, tmp_path: Path) -> None:
    """Debian 12's kernel has the second, Ubuntu 24.04's the fourth; a newer kernel takes the words of an older one."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("ours")
    (tmp_path / "other").write_text("theirs")
    script = f"""
from pathlib import Path
from reconciler.system.walls import kernel, landlock
landlock.abi = lambda: {version}
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
assert landlock.restrict(read=[Path({str(tmp_path / "mine")!r})]) == {version}
assert Path({str(tmp_path / "mine/file")!r}).read_text() == "ours"
try:
    Path({str(tmp_path / "other")!r}).read_text()
except PermissionError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr
