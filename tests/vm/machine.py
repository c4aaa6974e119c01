"""A virtual machine that runs, and what is said to it: by QEMU's guest agent, on a socket of its own, without any network."""

import base64
import contextlib
import json
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.lab import wait_for
from tests.vm.disk import Disk

BOOT_SECONDS = 900  # emulated, on a machine that has other things to do
_ANSWER_SECONDS = 240.0
_CHUNK = 1 << 20  # bytes in one message of the guest agent
CARDS = 2
# What all machines have alike: a state that one of them kept is for another of the same kind only.
# A processor without wide vectors is the cheaper one to emulate: a sixth less work for an interpreter's start than with `max`.
HARDWARE = (
    *(
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-smp",
        "2",
        "-cpu",
        "Nehalem",
        "-machine",
        "q35",
        "-m",
        "2048",
    ),
    *("-nographic", "-monitor", "none", "-serial", "stdio", "-nic", "none"),
    *("-append", "console=ttyS0 root=/dev/vda rw quiet mitigations=off net.ifnames=0 systemd.show_status=false"),
)
_DISK = "disk.qcow2"


@dataclass(frozen=True)
class Done:
    """How a command in the machine ended."""

    code: int
    stdout: str
    stderr: str


class Machine:
    """One virtual machine. `folder` has its disk (a copy of `disk`, or what differs from it), its sockets and its console's text.

    It has 2 GiB of memory. It sees the folder `share` of this machine as /mnt/share, read-only. `wires` lead from its cards eth0 and eth1 to
    another machine each: the socket of this end and that of the other, in a folder with a short path. Without them they lead to nobody.
    """

    def __init__(
        self, folder: Path, disk: Disk, *, name: str = "node", share: Path, wires: Sequence[tuple[Path, Path]] = ()
    ) -> None:
        self.name, self._folder, self._disk, self._share = name, folder, disk, share
        nobody = [(folder / f"eth{number}", folder / "nobody") for number in range(CARDS)]
        self._wires = tuple(wires) or tuple(nobody)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if disk.state:
            shutil.copyfile(disk.image, folder / _DISK)
        else:
            words: list[str | Path] = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", disk.form, "-b", disk.image]
            subprocess.run([*words, folder / _DISK], check=True)

    def start(self) -> None:
        """Power on, or go on from the state that the disk has, and wait until everything is up. Raises AssertionError with the console's end."""
        state = ["-loadvm", self._disk.state] if self._disk.state else []
        with (self._folder / "console.log").open("ab") as console:
            words = [*self._command(), *state]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        if state:
            self._wake()
        self.wait_until_up()

    def save(self, state: str) -> Path:
        """Keep the running machine under a name, in its disk, whose path this returns; and pull the plug."""
        self.run("umount /mnt/share")  # what is mounted from this host cannot be kept
        said = self._monitor("human-monitor-command", {"command-line": f"savevm {state}"})
        assert not said, f"savevm on {self.name}: {said}"
        self._monitor("quit")
        assert self._process is not None
        self._process.wait(_ANSWER_SECONDS)
        self._process = None
        return self._folder / _DISK

    def _wake(self) -> None:
        """Tell a machine that goes on what has become of the world: the time, what is random, and which cards are its own."""
        wait_for(f"{self.name} answers", self._answers, BOOT_SECONDS, 0.5)
        self.run(f"date -u -s @{time.time():.0f} > /dev/null && echo {secrets.token_hex(64)} > /dev/urandom")
        for number in range(CARDS):
            self.run(f"ip link set eth{number} address {self._address(number)}")

    def wait_until_up(self) -> None:
        """Wait until the machine answers and systemd has no job left."""
        try:
            wait_for(f"{self.name} answers", self._answers, BOOT_SECONDS, 0.5)
            wait_for(f"{self.name} is up", lambda: self._state() in ("running", "degraded"), BOOT_SECONDS, 1.0)
        except AssertionError as error:
            raise AssertionError(f"{error}; its console ends with:\n{self.console[-3000:]}") from None
        mount = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro share /mnt/share"
        self.run(f"mkdir -p /mnt/share && mountpoint -q /mnt/share || {mount}; hostnamectl hostname {self.name}")

    def stop(self) -> None:
        """Pull the plug for good."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def power_cut(self) -> None:
        """Power off and on at once: what the machine had not yet written is gone, and it boots again."""
        before = self.boot_id
        self._monitor("system_reset")
        self._booted_after(before)

    def cable(self, card: str, *, plugged: bool) -> None:
        """Pull the cable out of a network card, or put it back."""
        self._monitor("set_link", {"name": card, "up": plugged})

    def reboot(self) -> None:
        """Reboot in an orderly way, and wait until everything is up again."""
        before = self.boot_id
        self._order("systemctl reboot --no-block")
        self._booted_after(before)

    @property
    def boot_id(self) -> str:
        """What the kernel calls this run of its own."""
        return self.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()

    @property
    def console(self) -> str:
        """All that came on the serial console."""
        return (self._folder / "console.log").read_text(errors="replace")

    def run(self, script: str, *, seconds: float = 600.0, check: bool = True, **environment: str) -> Done:
        """Run a shell script as root. With `check`, AssertionError with its output when it fails."""
        words = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
        words["env"] = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            *(f"{k}={v}" for k, v in environment.items()),
        ]
        pid = self._agent("guest-exec", words)["pid"]
        found: dict[str, Any] = {"exited": False}
        until, pause = time.monotonic() + seconds, 0.1
        while not found["exited"]:
            assert time.monotonic() < until, f"`{script[:200]}` does not end on {self.name}, not within {seconds:g} s"
            time.sleep(pause)
            # Not often: each question takes the machine a hundredth of a second, and the agent writes a line of the journal.
            pause = min(pause * 1.5, 3.0)
            found = self._agent("guest-exec-status", {"pid": pid})
        done = Done(
            found.get("exitcode", -int(found.get("signal", 1))), _text(found, "out-data"), _text(found, "err-data")
        )
        if check and done.code:
            raise AssertionError(f"`{script}` ended with {done.code} on {self.name}:\n{done.stdout}{done.stderr}")
        return done

    def put(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file, with its folders."""
        data = content.encode() if isinstance(content, str) else content
        self.run(f"mkdir -p {shlex.quote(str(Path(path).parent))}")
        handle = self._agent("guest-file-open", {"path": path, "mode": "w"})
        for start in range(0, len(data), _CHUNK):
            encoded = base64.b64encode(data[start : start + _CHUNK]).decode()
            self._agent("guest-file-write", {"handle": handle, "buf-b64": encoded})
        self._agent("guest-file-close", {"handle": handle})
        self.run(f"chmod {mode:o} {shlex.quote(path)}")

    def wait(self, what: str, ready: Callable[[], object], seconds: float = 600.0) -> None:
        """`wait_for`, with the journal's end when it does not come true."""
        try:
            wait_for(what, ready, seconds, 3.0)
        except AssertionError as error:
            journal = self.run("journalctl -b --no-pager -n 60", check=False).stdout
            raise AssertionError(f"{error}; the journal of {self.name} ends with:\n{journal}") from None

    def _order(self, command: str) -> None:
        """Start a command that ends the agent, too: how it ends nobody can say."""
        path, *words = command.split()
        self._agent("guest-exec", {"path": path, "arg": words})

    def _booted_after(self, before: str) -> None:
        def again() -> bool:
            return self._answers() and self.boot_id != before

        with contextlib.suppress(OSError, AssertionError):
            wait_for(f"{self.name} boots again", lambda: _quietly(again), BOOT_SECONDS, 1.0)
        self.wait_until_up()
        assert self.boot_id != before

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, f"qemu ended:\n{self.console[-3000:]}"
        return _quietly(lambda: self._agent("guest-ping", timeout=5.0) is not None)

    def _state(self) -> str:
        return self.run("systemctl is-system-running", check=False).stdout.strip()

    def _command(self) -> list[str]:
        folder = self._folder
        words = [*HARDWARE, "-kernel", str(self._disk.kernel), "-initrd", str(self._disk.initrd)]
        # What the machine flushes need not be on this host's own disk: its power cuts leave QEMU, and what QEMU took, as they are.
        words += ["-drive", f"file={folder / _DISK},if=virtio,format=qcow2,cache=unsafe"]
        words += ["-chardev", f"socket,path={folder / 'agent'},server=on,wait=off,id=agent", "-device", "virtio-serial"]
        words += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        words += ["-qmp", f"unix:{folder / 'monitor'},server=on,wait=off"]
        words += ["-object", "rng-random,filename=/dev/urandom,id=rng", "-device", "virtio-rng-pci,rng=rng"]
        words += ["-virtfs", f"local,path={self._share},mount_tag=share,security_model=none,readonly=on"]
        for number, wire in enumerate(self._wires):
            ends = zip(("local", "remote"), wire, strict=True)
            sockets = ",".join(f"{end}.type=unix,{end}.path={path}" for end, path in ends)
            words += ["-netdev", f"dgram,id=eth{number},{sockets}"]
            words += ["-device", f"virtio-net-pci,netdev=eth{number},mac={self._address(number)}"]
        return words

    def _address(self, number: int) -> str:
        return f"52:54:00:{number:02x}:00:{sum(self.name.encode()) % 256:02x}"

    def _agent(self, command: str, arguments: Mapping[str, Any] | None = None, timeout: float = _ANSWER_SECONDS) -> Any:
        """One request to the guest agent. Raises OSError, AssertionError with what it says."""
        with self._line("agent", timeout) as (send, receive):
            send({"execute": "guest-sync", "arguments": {"id": (number := time.monotonic_ns() % (1 << 31))}})
            while receive().get("return") != number:
                pass  # what it still had to say to somebody before us
            send({"execute": command, "arguments": arguments or {}})
            answer = receive()
        assert "return" in answer, f"{command} on {self.name}: {answer}"
        return answer["return"]

    def _monitor(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        with self._line("monitor", _ANSWER_SECONDS) as (send, receive):
            receive()
            for word, given in (("qmp_capabilities", {}), (command, arguments or {})):
                send({"execute": word, "arguments": given})
                while "return" not in (answer := receive()):
                    assert "error" not in answer, f"{word} on {self.name}: {answer['error']}"
        return answer["return"]

    @contextlib.contextmanager
    def _line(self, name: str, timeout: float) -> Iterator[tuple[Callable[[Any], None], Callable[[], dict[str, Any]]]]:
        with socket.socket(socket.AF_UNIX) as link:
            # QEMU speaks with one at a time: until it has hung up on the one before, others are turned away.
            wait_for(f"{self.name}: {name} takes a call", lambda: _connects(link, self._folder / name), timeout)
            link.settimeout(timeout)
            with link.makefile("rwb") as both:

                def send(message: Any) -> None:
                    both.write(json.dumps(message).encode() + b"\n")
                    both.flush()

                def receive() -> dict[str, Any]:
                    line = both.readline()
                    if not line:
                        raise ConnectionError(f"{self.name}: {name} hung up")
                    found = json.loads(line)
                    return found if isinstance(found, dict) else {}

                yield send, receive


def _connects(link: socket.socket, path: Path) -> bool:
    link.setblocking(False)
    try:
        link.connect(str(path))
    except BlockingIOError:
        return False
    return True


def _text(found: Mapping[str, Any], key: str) -> str:
    return base64.b64decode(found.get(key, "")).decode(errors="replace")


def _quietly(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except (OSError, AssertionError, ValueError):
        return False
