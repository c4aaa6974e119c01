"""A machine of its own on this one: its own network, host name, processes, /etc, /var and /run, and a Docker Engine of its own.

So the paths are those of a real node (/etc/kolla, /etc/systemd/system, /run/docker.sock), and neither this machine nor
the engine of the other tests takes notice. Everything in it ends with its first process.

What is stood in for: systemd (`service_manager.py`), because it was not booted with one; privileged containers, which
not every machine grants; the network card, which is one end of a pair. Its engine's images stay in the cache.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import engine, packages, paths

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
SYSTEM_PYTHON = "/usr/bin/python3"
SOCKET = "unix:///run/docker.sock"
_SECONDS = 60.0

# The first process: sets the machine up, then only takes notice of processes that ended.
_FIRST = """\
set -e
hostname {name}
mount -t tmpfs tmpfs /run
mount --make-shared /run
mkdir -p /run/systemd/system /run/dbus /run/lock
for part in etc var; do
  mkdir -p {root}/$part {root}/work-$part
  mount -t overlay overlay -o lowerdir=/$part,upperdir={root}/$part,workdir={root}/work-$part /$part
done
rm -rf /etc/systemd/system /var/log /var/lib/reconciler
mkdir -p /etc/systemd/system /var/log /etc/kolla /var/lib/docker
mount --bind {data} /var/lib/docker
printf '127.0.0.1 localhost\\n{hosts}' > /etc/hosts
printf '%s\\n' {name} > /etc/hostname
mount --bind {root}/systemctl /usr/bin/systemctl
ip link set lo up
ip link add eth0 type veth peer name eth0-far
{addresses}
ip link set eth0-far up
ip link set eth0 up
dbus-daemon --config-file={root}/bus.conf --fork --nopidfile
exec {python} {root}/first.py
"""
_WAITS = """\
import os, signal, time
open("{root}/ready", "w").close()
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.2)
"""
_BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class Machine:
    """`with Machine(folder, "ctl1", ["192.0.2.11"]) as machine: machine.run(["docker", "ps"])`."""

    def __init__(self, root: Path, name: str, addresses: Sequence[str], hosts: Mapping[str, str] | None = None) -> None:
        self.root, self.name, self.addresses = root, name, tuple(addresses)
        self.hosts = dict(hosts or {name: addresses[0]})
        self._stack = contextlib.ExitStack()
        self._first: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo, held(self.name) as hold:
            undo.callback(self._end)
            self._prepare()
            self._start(hold)
            self._service_manager()
            self._engine()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    # --- what is done in it -------------------------------------------------------------------------------------------

    def run(
        self, argv: Sequence[str | Path], *, check: bool = True, timeout: float = 300, cwd: Path = Path("/"),
        extra: Mapping[str, str] | None = None, give: str = "",
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a program in the machine, as root and with a clean environment."""
        done = subprocess.run(
            [*self._door(cwd), *map(str, argv)], env=self._environment(extra), input=give, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def program(self, *words: str | Path, check: bool = True, timeout: float = 300, give: str = "") -> str:
        """The program under test, as an operator calls it. Returns what it printed."""
        argv = [sys.executable, "-m", "reconciler", *words]
        done = self.run(argv, check=check, timeout=timeout, give=give, extra={"PYTHONPATH": str(CHECKOUT)})
        return done.stdout + done.stderr

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of every container, by name."""
        names = self.run(["docker", "ps", "--all", "--format", "{{.Names}}"]).stdout.split()
        found = json.loads(self.run(["docker", "inspect", *names]).stdout) if names else []
        return {entry["Name"].lstrip("/"): entry for entry in found}

    def identities(self) -> dict[str, tuple[str, int, str]]:
        """Container → id, process, start time, of those that run."""
        return {
            name: (entry["Id"], entry["State"]["Pid"], entry["State"]["StartedAt"])
            for name, entry in self.containers().items()
            if entry["State"]["Running"]
        }

    def files(self, folder: str = "/etc/kolla") -> dict[str, tuple[bytes, int, int, int, int]]:
        """Every file below a folder: content, mode, owner, group, time in ns."""
        root = self.root / folder.lstrip("/")
        found = {}
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                stat = path.stat()
                entry = (path.read_bytes(), stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, stat.st_mtime_ns)
                found[str(path.relative_to(root))] = entry
        return found

    def _door(self, cwd: Path) -> list[str]:
        return ["nsenter", f"--target={self._pid}", "--mount", "--net", "--uts", "--pid", f"--wd={cwd}"]

    def _environment(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("SSL_CERT_FILE", "RECONCILER_TEST_SESSION") if name in os.environ}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8", **kept, **(extra or {})}

    # --- how it begins and ends ---------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What is to be done with the machine's store before it starts."""

    def _start(self, hold: int) -> None:
        packages.install(["dbus-daemon", "python3-dbus", "python3-gi"])
        self.root.mkdir(parents=True, exist_ok=True)
        manager = HERE / "service_manager.py"
        (self.root / "systemctl").write_text(f'#!/bin/sh\nexec {SYSTEM_PYTHON} {manager} "$@"\n')
        (self.root / "systemctl").chmod(0o755)
        (self.root / "bus.conf").write_text(_BUS)
        (self.root / "first.py").write_text(_WAITS.format(root=self.root))
        hosts = "".join(f"{address} {name}\\n" for name, address in self.hosts.items())
        addresses = "\n".join(f"ip address add {address}/24 dev eth0" for address in self.addresses)
        script = _FIRST.format(
            name=self.name, root=self.root, hosts=hosts, addresses=addresses, python=SYSTEM_PYTHON,
            data=paths.cache("migration", "engine", self.name),
        )  # fmt: skip
        with (self.root / "first.log").open("wb") as log:
            self._first = subprocess.Popen(
                ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc",
                 "--propagation=slave", "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(None), start_new_session=True,
                pass_fds=[hold],
            )  # fmt: skip
        self._until("the machine starts", (self.root / "ready").exists, self.root / "first.log")
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        self._pid = int(children.read_text().split()[0])

    def _service_manager(self) -> None:
        self._background([SYSTEM_PYTHON, HERE / "service_manager.py"], "service-manager.log")
        ready = self.root / "manager"
        self._until(
            "systemd's stand-in starts",
            lambda: self.run(["test", "-e", "/run/service-manager-ready"], check=False).returncode == 0,
            ready.with_name("service-manager.log"),
        )

    def _engine(self) -> None:
        configuration = {
            "hosts": [SOCKET], "bridge": "none", "iptables": False, "ip6tables": False,
            "ip-forward": False, "cgroup-parent": f"/rt-{self.name}", "shutdown-timeout": 5,
        }  # fmt: skip
        (self.root / "daemon.json").write_text(json.dumps(configuration))
        self.start_engine()
        for kind in ("container", "volume"):  # of an earlier life
            listed = (
                ["docker", kind, "ls", "--all", "--quiet"] if kind == "container" else ["docker", kind, "ls", "--quiet"]
            )
            if names := self.run(listed).stdout.split():
                self.run(["docker", kind, "rm", "--force", *names])

    def start_engine(self) -> None:
        """Start the engine, with the containers and volumes that it has."""
        self._background(["dockerd", "--config-file", self.root / "daemon.json"], "dockerd.log")
        self._until(
            "the engine starts",
            lambda: self.run(["docker", "version"], check=False).returncode == 0,
            self.root / "dockerd.log",
        )

    def kill_engine(self) -> None:
        """kill -9 for the engine and every process of its containers: none of them had time to say anything."""
        names = self.run(["docker", "ps", "--quiet"]).stdout.split()
        inside = self.run(["docker", "inspect", "--format", "{{.State.Pid}}", *names]).stdout.split() if names else []
        self.run(["pkill", "-KILL", "dockerd"])
        self.run(["pkill", "-KILL", "containerd"], check=False)  # its shims as well
        self.run(["kill", "-KILL", *inside], check=False)
        self.run(["rm", "-f", "/run/docker.pid", "/var/run/docker.pid"], check=False)

    def images(self, names: Iterable[str]) -> None:
        """See that the engine has these images; they come from the engine of the other tests."""
        have = set(self.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).stdout.split())
        missing = sorted(set(names) - have)
        if missing:
            found = engine.find()
            assert found is not None
            with subprocess.Popen(["docker", "save", *missing], env=self._environment({"DOCKER_HOST": found.url}),
                                  stdout=subprocess.PIPE) as source:  # fmt: skip
                argv = [*self._door(Path("/")), "docker", "load", "--quiet"]
                subprocess.run(argv, env=self._environment(None), stdin=source.stdout, check=True, capture_output=True)

    def _background(self, argv: Sequence[str | Path], log: str) -> None:
        with (self.root / log).open("ab") as output:
            subprocess.Popen(
                [*self._door(Path("/")), *map(str, argv)], env=self._environment(None), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def _until(self, what: str, ready: Any, log: Path) -> None:
        deadline = time.monotonic() + _SECONDS
        while not ready():
            ended = self._first is None or self._first.poll() is not None
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"not: {what}\n{engine.tail(log)}")
            time.sleep(0.1)

    def _end(self) -> None:
        if self._first is not None:
            if self._pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)  # and with it everything in the machine
            else:
                self._first.kill()
            self._first.wait()
            self._first = None
        shutil.rmtree(self.root, ignore_errors=True)
        cgroups = Path("/sys/fs/cgroup")
        for top in (*cgroups.glob(f"rt-{self.name}"), *cgroups.glob(f"*/rt-{self.name}")):
            for folder in sorted((top, *(path for path in top.rglob("*") if path.is_dir())), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()


@contextlib.contextmanager
def held(name: str) -> Iterator[int]:
    """A file descriptor that keeps a machine's name for whoever has it open, the machine's first process for one. Two of a name would have one
    store of containers between them, and the second takes away what the first has. Raises AssertionError."""
    path = paths.cache("migration", "engine").joinpath(f"{name}.lock")
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AssertionError(
                f"the machine {name} is there already, made by process {file.read().strip()}"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield file.fileno()
