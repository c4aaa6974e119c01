"""System calls by number, and which of them a child may make at each stage.

A stage is an allow-list: what is not named fails with EPERM. Numbers are those of the kernel's own tables (`unistd.h`), which
never change; None where an architecture does not have the call.
"""

from dataclasses import dataclass
from typing import Final

EXEC: Final = 4  # PROT_EXEC
_OPEN_TO_WRITE: Final = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # WRONLY, RDWR, CREAT, TRUNC, the bit of TMPFILE
_AF_INET, _AF_INET6 = 2, 10
_CLONE_THREAD: Final = 0x10000


@dataclass(frozen=True, slots=True)
class Only:
    """A call is allowed only when its argument `index` (32 bits of it) has no bit of `without`, or the one bit of `having`,
    or is `among` these."""

    index: int
    without: int = 0
    having: int = 0
    among: tuple[int, ...] = ()


# name → (x86_64, aarch64)
NUMBERS: Final[dict[str, tuple[int | None, int | None]]] = {
    "access": (21, None),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "brk": (12, 214),
    "capget": (125, 90),
    "capset": (126, 91),
    "chmod": (90, None),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "close_range": (436, 436),
    "connect": (42, 203),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "eventfd2": (290, 19),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fadvise64": (221, 223),
    "fallocate": (285, 47),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fcntl": (72, 25),
    "fdatasync": (75, 83),
    "finit_module": (313, 273),
    "flock": (73, 32),
    "fstat": (5, 80),
    "fstatfs": (138, 44),
    "fsync": (74, 82),
    "ftruncate": (77, 46),
    "futex": (202, 98),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getitimer": (36, 102),
    "getpeername": (52, 205),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "link": (86, None),
    "linkat": (265, 37),
    "landlock_create_ruleset": (444, 444),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "mmap": (9, 222),
    "mount": (165, 40),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pipe2": (293, 59),
    "pivot_root": (155, 41),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "prlimit64": (302, 261),
    "pselect6": (270, 72),
    "ptrace": (101, 117),
    "pwrite64": (18, 68),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "recvfrom": (45, 207),
    "recvmmsg": (299, 243),
    "recvmsg": (47, 212),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "request_key": (249, 218),
    "restart_syscall": (219, 128),
    "rmdir": (84, None),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "seccomp": (317, 277),
    "select": (23, None),
    "rseq": (334, 293),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setitimer": (38, 103),
    "setns": (308, 268),
    "setsockopt": (54, 208),
    "shutdown": (48, 210),
    "sigaltstack": (131, 132),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "stat": (4, None),
    "statfs": (137, 43),
    "statx": (332, 291),
    "symlinkat": (266, 36),
    "sysinfo": (99, 179),
    "time": (201, None),
    "times": (100, 153),
    "umask": (95, 166),
    "umount2": (166, 39),
    "uname": (63, 160),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "utimensat": (280, 88),
    "write": (1, 64),
    "writev": (20, 66),
}

Stage = dict[str, Only | None]


def _all(names: str) -> Stage:
    return dict.fromkeys(names.split())


# Compute, and answer on what is open already. Signals cannot be caught or held back any more: what was set before holds.
SEALED: Final[Stage] = {
    **_all("read readv write writev lseek fstat close brk munmap mremap madvise futex"),
    **_all("clock_gettime clock_getres gettimeofday time clock_nanosleep nanosleep times getrusage sched_yield"),
    **_all("setitimer getitimer rt_sigreturn sigaltstack restart_syscall getrandom exit exit_group"),
    **_all("getpid gettid getuid geteuid getgid getegid"),
    "mmap": Only(2, without=EXEC),
    "mprotect": Only(2, without=EXEC),
}

# Read the files that Landlock leaves, nothing interpreted yet; then seal.
READING: Final[Stage] = {
    **SEALED,
    **_all("newfstatat statx stat lstat readlink readlinkat getdents64 access faccessat faccessat2 getcwd pread64"),
    **_all(
        "dup dup2 dup3 fadvise64 statfs fstatfs sysinfo uname sched_getaffinity rt_sigaction rt_sigprocmask seccomp capget capset close_range"
    ),
    "open": Only(1, without=_OPEN_TO_WRITE),
    "openat": Only(2, without=_OPEN_TO_WRITE),
    # Descriptor flags, locks, a copy; not the ones that make signals.
    "fcntl": Only(1, among=(0, 1, 2, 3, 4, 5, 6, 7, 1030, 1034)),
    "prlimit64": Only(0, among=(0,)),  # its own
    "ioctl": Only(1, among=(0x5401, 0x5413, 0x5421, 0x5450, 0x5451)),  # terminal or not; blocking or not; close on exec
}

# Speak IP to a server, and write where Landlock lets it: so nothing that changes a file by its path and that Landlock does not
# judge (modes, owners, times). No socket of the machine itself (engine, D-Bus, audit), no server.
CONNECTED: Final[Stage] = {
    **READING,
    **_all("mkdir mkdirat rename renameat renameat2 unlink unlinkat rmdir link linkat symlinkat fchmod"),
    **_all("umask fsync fdatasync ftruncate fallocate flock pwrite64"),
    **_all("connect sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg getsockopt setsockopt getsockname getpeername"),
    **_all("shutdown poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 pipe2 getppid"),
    "socket": Only(0, among=(_AF_INET, _AF_INET6)),
    "open": None,
    "openat": None,
    # A thread, not a process: libgit2 packs with several.
    **_all("set_robust_list rseq"),
    "clone": Only(0, having=_CLONE_THREAD),
}

# What another program that works for us (sops) never needs: everything else is its own affair, behind Landlock.
DENIED_TO_PROGRAMS: Final = tuple(
    _all(
        "socket socketpair ptrace process_vm_readv process_vm_writev pidfd_getfd bpf perf_event_open userfaultfd keyctl "
        "add_key request_key io_uring_setup mount umount2 pivot_root chroot unshare setns init_module finit_module kexec_load"
    )
)
