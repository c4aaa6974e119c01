"""What native code of a stranger would try, run inside a child after its walls stand: the sandbox of templates has fallen.

Each attack returns what it got when it got through, and raises when it was refused. `ctypes` is imported here, before the
walls, so that every system call can be made by number.
"""

import ctypes
import errno
import mmap
import os
import platform
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
_COLUMN = 0 if platform.machine() == "x86_64" else 1
SECRET = "RECONCILER_WALL_SECRET"  # in the environment of the process that starts the child

Attack = Callable[[], Any]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


def by_number(name: str, x86: int, arm: int, *arguments: Any) -> None:
    """An attack that is one system call."""

    def made() -> int:
        return call((x86, arm)[_COLUMN], *arguments)

    ATTACKS[name] = made


def call(number: int, *arguments: Any) -> int:
    given = [a if isinstance(a, bytes | ctypes.Array) or a is None else ctypes.c_long(a) for a in arguments]
    answer = int(LIBC.syscall(ctypes.c_long(number), *given, *([ctypes.c_long(0)] * (6 - len(given)))))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


# --- load and execute -----------------------------------------------------------------------------------------------


@attack
def load_a_library() -> Any:
    return str(ctypes.CDLL("libresolv.so.2"))


@attack
def load_a_library_of_the_branch() -> Any:
    return str(ctypes.CDLL(ARGUMENT["library"]))


@attack
def import_an_extension() -> Any:
    import _sqlite3

    return str(_sqlite3)


@attack
def import_a_module() -> Any:
    import antigravity

    return str(antigravity)


@attack
def map_executable_memory() -> Any:
    return len(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))


@attack
def make_memory_executable() -> Any:
    area = mmap.mmap(-1, 4096)
    where = ctypes.addressof(ctypes.c_char.from_buffer(area))
    if LIBC.mprotect(ctypes.c_void_p(where), 4096, 4) < 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    return "executable"


@attack
def execute_from_memory() -> Any:
    held = os.memfd_create("program")
    os.write(held, Path(sys.executable).read_bytes())
    os.execv(f"/proc/self/fd/{held}", ["program", "-c", "print(1)"])


@attack
def execute() -> Any:
    os.execv("/bin/true", ["true"])


@attack
def start_a_program() -> Any:
    return subprocess.run(["/bin/true"], check=True).returncode


@attack
def start_a_shell() -> Any:
    if os.system("true") != 0:
        raise OSError(errno.EPERM, "system")
    return "ran"


@attack
def spawn() -> Any:
    return os.posix_spawn("/bin/true", ["true"], {})


@attack
def fork() -> Any:
    if os.fork() == 0:
        os._exit(0)
    return "forked"


@attack
def start_a_thread() -> Any:
    threading.Thread(target=time.sleep, args=(0,)).start()
    return "started"


# --- read and write -------------------------------------------------------------------------------------------------


def reading(name: str, path: Callable[[], str]) -> None:
    def made() -> Any:
        return Path(path()).read_bytes()[:200].decode(errors="replace")

    ATTACKS[name] = made


reading("read_passwd", lambda: "/etc/passwd")
reading("read_own_environment", lambda: "/proc/self/environ")
reading("read_the_environment_of_the_first_process", lambda: "/proc/1/environ")
reading("read_the_environment_of_the_parent", lambda: f"/proc/{ARGUMENT['starter']}/environ")
reading("read_a_mapping", lambda: "/proc/self/maps")
reading("read_the_kernels_settings", lambda: "/proc/sys/kernel/core_pattern")
reading("read_the_site_again", lambda: ARGUMENT["site"])
reading("read_a_key", lambda: ARGUMENT["key"])


@attack
def read_the_memory_of_the_parent() -> Any:
    with open(f"/proc/{ARGUMENT['starter']}/mem", "rb") as memory:
        memory.seek(0x400000)
        return memory.read(16).hex()


@attack
def read_memory_by_number() -> Any:
    buffer = ctypes.create_string_buffer(16)
    vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 16)
    return call((310, 270)[_COLUMN], ARGUMENT["starter"], vector, 1, vector, 1, 0)


@attack
def list_the_machine() -> Any:
    return os.listdir("/")


@attack
def list_processes() -> Any:
    return os.listdir("/proc")


@attack
def look_for_a_file() -> Any:
    return os.stat("/etc/passwd").st_size


@attack
def follow_a_link() -> Any:
    return os.readlink(f"/proc/{ARGUMENT['starter']}/exe")


@attack
def write_a_file() -> Any:
    return Path(ARGUMENT["folder"], "written").write_text("x")


@attack
def make_a_folder() -> Any:
    return os.mkdir(Path(ARGUMENT["folder"], "made"))


@attack
def make_a_link() -> Any:
    return os.symlink("/etc/passwd", Path(ARGUMENT["folder"], "link"))


@attack
def remove_a_file() -> Any:
    return os.unlink(ARGUMENT["site"])


@attack
def change_a_mode() -> Any:
    return os.chmod(ARGUMENT["site"], 0o777)


@attack
def share_memory_by_name() -> Any:
    return os.open("/dev/shm/hostile", os.O_CREAT | os.O_RDWR)


@attack
def use_an_inherited_descriptor() -> Any:
    open_ones = []
    for descriptor in range(3, 1024):
        try:
            os.fstat(descriptor)
            open_ones.append(descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
    if not open_ones:
        raise OSError(errno.EBADF, "none is open")
    return open_ones


# --- reach others ---------------------------------------------------------------------------------------------------


def speaking(name: str, family: int, kind: int, address: Any) -> None:
    def made() -> Any:
        with socket.socket(family, kind) as made:
            made.settimeout(2)
            made.connect(address() if callable(address) else address)
            return "connected"

    ATTACKS[name] = made


speaking("connect_ipv4", socket.AF_INET, socket.SOCK_STREAM, lambda: ("127.0.0.1", ARGUMENT["port"]))
speaking("connect_ipv6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 22))
speaking("send_a_datagram", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 53))
speaking("connect_a_unix_socket", socket.AF_UNIX, socket.SOCK_STREAM, lambda: ARGUMENT["socket"])
speaking(
    "connect_an_abstract_socket", socket.AF_UNIX, socket.SOCK_STREAM, lambda: b"\0" + ARGUMENT["abstract"].encode()
)


@attack
def open_netlink() -> Any:
    return str(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))


@attack
def open_a_raw_socket() -> Any:
    return str(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))


@attack
def open_vsock() -> Any:
    return str(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM, 0))


@attack
def make_a_socket_pair() -> Any:
    return str(socket.socketpair())


@attack
def find_a_name() -> Any:
    return socket.getaddrinfo("localhost", 80)


@attack
def signal_the_parent() -> Any:
    os.kill(ARGUMENT["starter"], 0)
    return "may"


@attack
def signal_everybody() -> Any:
    os.kill(-1, 0)
    return "may"


@attack
def signal_own_group() -> Any:
    os.killpg(0, 0)
    return "may"


@attack
def stop_the_clock() -> Any:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF, signal.SIGXCPU})
    return "blocked"


@attack
def catch_a_signal() -> Any:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return "ignored"


@attack
def raise_a_limit() -> Any:
    resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
    return "raised"


@attack
def limit_another() -> Any:
    return resource.prlimit(ARGUMENT["starter"], resource.RLIMIT_NOFILE, (3, 3))


@attack
def become_another_user() -> Any:
    os.setresuid(1, 1, 1)
    return "became"


@attack
def watch_descriptors() -> Any:
    return str(select.epoll())


by_number("trace_the_parent", 101, 117, 16, os.getppid())
by_number("open_a_process", 434, 434, 1, 0)
by_number("take_a_descriptor", 438, 438, 3, 0, 0)
by_number("use_io_uring", 425, 425, 8, ctypes.create_string_buffer(120))
by_number("handle_page_faults", 323, 282, 0)
by_number("use_keyrings", 250, 219, 0, -3, 1)
by_number("add_a_key", 248, 217, b"user\0", b"x\0", b"y\0", 1, -3)
by_number("load_a_kernel_program", 321, 280, 0, ctypes.create_string_buffer(128), 72)
by_number("measure_the_kernel", 298, 241, ctypes.create_string_buffer(128), 0, -1, -1, 0)
by_number("mount", 165, 40, b"none\0", b"/\0", b"tmpfs\0", 0, None)
by_number("change_the_root", 161, 51, b"/\0")
by_number("leave_a_namespace", 272, 97, 0x10000000)
by_number("join_a_namespace", 308, 268, 0, 0)
by_number("set_own_rules", 157, 167, 4, 1)
by_number("install_a_filter", 317, 277, 1, 0, None)
by_number("restrict_anew", 444, 444, None, 0, 1)
by_number("system_v_memory", 29, 194, 0x1234, 4096, 0o1600)
by_number("system_v_semaphores", 64, 190, 0x1234, 1, 0o1600)
by_number("open_a_message_queue", 240, 180, b"hostile\0", 0o102, 0o600, None)
by_number("anonymous_file", 319, 279, b"x\0", 0)
by_number("open_with_rules", 437, 437, -100, b"/etc/passwd\0", ctypes.create_string_buffer(24), 24)
by_number("open_by_handle", 304, 265, -100, ctypes.create_string_buffer(24), 0)
by_number("change_personality", 135, 92, 0x0400000)
by_number("send_a_file", 40, 71, 1, 0, None, 10)
by_number("splice", 275, 76, 0, None, 1, None, 10, 0)
by_number("duplicate_a_descriptor", 32, 23, 1)
by_number("control_a_terminal", 16, 29, 0, 0x5412, b"x\0")
by_number("ask_for_signals", 72, 25, 0, 8, 1)
by_number("new_session", 112, 157)
by_number("move_to_a_processor", 203, 122, 0, 8, ctypes.create_string_buffer(b"\1" + b"\0" * 7, 8))
by_number(
    "get_more_capabilities", 126, 91, (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(-1, -1, 0, -1, -1, 0)
)
by_number("start_a_process_by_number", 56, 220, 17, 0)
by_number("start_a_process_anew", 435, 435, ctypes.create_string_buffer(88), 88)
by_number("read_another_clock_setting", 124, 156, 1)
by_number("stop_the_machine", 169, 142, 0, 0, 0)

ARGUMENT: dict[str, Any] = {}


def gather(argument: Mapping[str, Any]) -> bytes:
    """Reads what a child may read, then keeps it."""
    return Path(argument["site"]).read_bytes() if "site" in argument else b""


def attempt(argument: Mapping[str, Any], _: bytes) -> dict[str, str]:
    """Every attack of `argument["attacks"]` → "" when it was refused, else what it got."""
    ARGUMENT.update(argument)
    found = {}
    for name in argument["attacks"]:
        try:
            found[name] = f"got {ATTACKS[name]()!r}"
        except Exception as error:  # whatever comes of it, it is not what was wanted
            found[name] = ""
            print(name, repr(error), file=sys.stderr)
    return found


# --- misbehave ------------------------------------------------------------------------------------------------------


def answer(argument: Any, _: bytes) -> Any:
    return argument["answer"]


def raw(argument: Mapping[str, Any], _: bytes) -> None:
    """Put bytes where the answer goes, and end."""
    os.write(1, argument["raw"].encode(errors="surrogateescape"))
    os._exit(argument.get("code", 0))


def say(argument: Mapping[str, Any], _: bytes) -> None:
    """Write to stderr, and die."""
    os.write(2, argument["text"].encode())
    os._exit(3)


def flood(argument: Mapping[str, Any], _: bytes) -> None:
    """Write to a descriptor without end."""
    block = b"x" * (1 << 16)
    while True:
        os.write(argument["descriptor"], block)


def spin(argument: Mapping[str, Any], _: bytes) -> None:
    """Never come back; in C, where no Python handler runs, when `native`."""
    if argument["native"]:
        LIBC.qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
        LIBC.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        area = ctypes.create_string_buffer(32 << 20)
        sets = ctypes.pythonapi.PyObject_Call  # holds the interpreter's lock
        while sets:
            LIBC.memset(ctypes.addressof(area), 1, len(area))
    while True:
        pass


def sleep(_: Any, __: bytes) -> None:
    """Never come back, and take no processor time."""
    while True:
        time.sleep(100)


def silent(_: Any, __: bytes) -> None:
    """Close everything that could be an answer, and stay."""
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    while True:
        time.sleep(100)


def grow(argument: Mapping[str, Any], _: bytes) -> int:
    """Take memory without end, in one of several ways."""
    kept: list[Any] = []
    while True:
        if argument["how"] == "objects":
            kept.append(b"x" * (1 << 20))
        elif argument["how"] == "mapped":
            kept.append(mmap.mmap(-1, 4 << 20, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))
            kept[-1].write(b"x" * (4 << 20))
        else:
            LIBC.malloc.restype = ctypes.c_void_p
            where = LIBC.malloc(ctypes.c_size_t(4 << 20))
            if not where:
                raise MemoryError
            LIBC.memset(ctypes.c_void_p(where), 1, ctypes.c_size_t(4 << 20))


def crash(_: Any, __: bytes) -> None:
    """Segmentation fault."""
    ctypes.string_at(0)


def foreign_call(_: Any, __: bytes) -> int:
    """A system call in the manner of another architecture's programs (x32)."""
    return call(0x40000000 | 39)


def progress(argument: Mapping[str, Any], _: bytes) -> str:
    """Write to the progress descriptor."""
    os.write(argument["progress"], b"12\n..")
    return "done"
