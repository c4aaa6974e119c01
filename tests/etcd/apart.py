"""Three members, each in a network namespace of its own, plugged into one switch; the test's thread stands at the same switch.

    with Apart(tmp_path) as etcd:
        etcd.cut(0)      # member 0 hears nothing of the others, and clients reach it all the same

The namespaces end with the block; this machine's own network takes no notice.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support import packages
from tests.support.etcd import Cluster

_NEWNET: Final = 0x40000000
ADDRESSES: Final = ("192.0.2.11", "192.0.2.12", "192.0.2.13")
_PEERS: Final = (("INPUT", "--dport"), ("INPUT", "--sport"), ("OUTPUT", "--dport"), ("OUTPUT", "--sport"))


class Apart:
    def __init__(self, root: Path) -> None:
        packages.install(["etcd-server", "iproute2"])
        self._root, self._stack = root, contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            switch = stack.enter_context(_namespace())
            self._members = [stack.enter_context(_namespace()) for _ in ADDRESSES]
            _run(
                switch,
                "ip link add name switch type bridge && ip address add 192.0.2.1/24 dev switch && ip link set switch up",
            )
            for number, (pid, address) in enumerate(zip(self._members, ADDRESSES, strict=True)):
                _run(
                    switch,
                    f"ip link add port{number} type veth peer name port netns {pid} && ip link set port{number} master switch up",
                )
                _run(pid, f"ip address add {address}/24 dev port && ip link set port up")
            stack.enter_context(_inside(switch))
            doors = [["nsenter", f"--net=/proc/{pid}/ns/net"] for pid in self._members]
            self.cluster = stack.enter_context(Cluster(self._root, addresses=ADDRESSES, doors=doors))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def cut(self, number: int) -> None:
        """Drop what goes to and from the port by which members talk to each other."""
        for chain, side in _PEERS:
            _run(self._members[number], f"iptables -A {chain} -p tcp {side} 2380 -j DROP")

    def mend(self, number: int) -> None:
        _run(self._members[number], "iptables -F")


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """A network namespace, by a process that is in it."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout and process.stdout.readline() == b"ready\n", "no namespace could be made"
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _run(pid: int, script: str) -> None:
    """In the namespace of a process."""
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-ec", script], check=True, timeout=60)


@contextlib.contextmanager
def _inside(pid: int) -> Iterator[None]:
    """This thread in the namespace of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before, open(f"/proc/{pid}/ns/net") as there:
        if libc.setns(there.fileno(), _NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            yield
        finally:
            libc.setns(before.fileno(), _NEWNET)
