"""A virtual machine that runs, and what is said to it: by QEMU's guest agent, on a socket of its own, without any network."""

import base64
import contextlib
import json
import shlex
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


@dataclass(frozen=True)
class Done:
    """How a command in the machine ended."""

    code: int
    stdout: str
    stderr: str


class Machine:
    """One virtual machine. `folder` has its disk (a copy on write of `disk`), its sockets and its console's text.

    `shares` are folders of this machine that it sees below /mnt, read-only, by name. `wires` lead to another machine each: the socket of
    this end and that of the other, in a folder with a short path. Their cards are eth0, eth1 …; without wires there are none.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        *,
        name: str = "node",
        memory: int = 2048,
        shares: Mapping[str, Path] | None = None,
        wires: Sequence[tuple[Path, Path]] = (),
    ) -> None:
        self.name, self._folder, self._disk = name, folder, disk
        self._memory, self._shares, self._wires = memory, dict(shares or {}), tuple(wires)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        overlay = folder / "overlay.qcow2"
        words: list[str | Path] = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            disk.form,
            "-b",
            disk.image,
            overlay,
        ]
        subprocess.run(words, check=True)

    def start(self) -> None:
        """Power on, and wait until systemd has brought everything up. Raises AssertionError with the console's end."""
        with (self._folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until the machine answers and systemd has no job left."""
        try:
            wait_for(f"{self.name} answers", self._answers, BOOT_SECONDS, 0.5)
            wait_for(f"{self.name} is up", lambda: self._state() in ("running", "degraded"), BOOT_SECONDS, 1.0)
        except AssertionError as error:
            raise AssertionError(f"{error}; its console ends with:\n{self.console[-3000:]}") from None
        for tag in self._shares:
            self.run(
                f"mkdir -p /mnt/{tag} && mountpoint -q /mnt/{tag} || mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro {tag} /mnt/{tag}"
            )
        self.run(f"hostnamectl hostname {self.name}")

    def stop(self) -> None:
        """Pull the plug for good."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def power_off(self) -> Path:
        """Shut down in an orderly way; returns the disk, a qcow2 image on top of the one that it was made from."""
        assert self._process is not None
        self._order("systemctl poweroff --no-block")
        self._process.wait(BOOT_SECONDS)
        self._process = None
        return self._folder / "overlay.qcow2"

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
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self._agent("guest-exec-status", {"pid": pid}))
            return bool(found["exited"])

        # Not more often: the agent writes a line of the journal for each question.
        wait_for(f"`{script[:200]}` ends", ended, seconds, 0.4)
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
            wait_for(what, ready, seconds, 1.0)
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
        words = [
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "2",
            "-cpu",
            "max",
            "-machine",
            "q35",
            "-m",
            str(self._memory),
        ]
        words += ["-nographic", "-monitor", "none", "-serial", "stdio", "-nic", "none"]
        words += ["-kernel", str(self._disk.kernel), "-initrd", str(self._disk.initrd)]
        words += [
            "-append",
            "console=ttyS0 root=/dev/vda rw quiet mitigations=off net.ifnames=0 systemd.show_status=false",
        ]
        words += ["-drive", f"file={folder / 'overlay.qcow2'},if=virtio,format=qcow2"]
        words += ["-chardev", f"socket,path={folder / 'agent'},server=on,wait=off,id=agent", "-device", "virtio-serial"]
        words += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        words += ["-qmp", f"unix:{folder / 'monitor'},server=on,wait=off"]
        words += ["-object", "rng-random,filename=/dev/urandom,id=rng", "-device", "virtio-rng-pci,rng=rng"]
        for tag, path in self._shares.items():
            words += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly=on"]
        for number, wire in enumerate(self._wires):
            ends = zip(("local", "remote"), wire, strict=True)
            words += [
                "-netdev",
                f"dgram,id=eth{number}," + ",".join(f"{end}.type=unix,{end}.path={path}" for end, path in ends),
            ]
            mac = f"52:54:00:{number:02x}:00:{sum(self.name.encode()) % 256:02x}"
            words += ["-device", f"virtio-net-pci,netdev=eth{number},mac={mac}"]
        return words

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

    def _monitor(self, command: str, arguments: Mapping[str, Any] | None = None) -> None:
        with self._line("monitor", _ANSWER_SECONDS) as (send, receive):
            receive()
            for word, given in (("qmp_capabilities", {}), (command, arguments or {})):
                send({"execute": word, "arguments": given})
                while "return" not in (answer := receive()):
                    assert "error" not in answer, f"{word} on {self.name}: {answer['error']}"

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
