"""A Docker Engine for the demo and the tests.

Found when one runs (`DOCKER_HOST`, `/var/run/docker.sock`), else Debian's dockerd is started on a socket and a data
root of its own under the cache folder. The images stay there between runs; the process stays while somebody uses it, and
starts without the containers and volumes of an earlier life.

    python -m tests.support.engine ensure [--as NAME]   prints DOCKER_HOST=…; NAME now uses the engine
    python -m tests.support.engine stop [--as NAME]     NAME no longer uses it; the last one to leave stops it
    python -m tests.support.engine env                  prints DOCKER_HOST=… of the engine that runs, starts none

Users are files under `engine/users/`: `demo` and `manual` hold the engine until they are given up, `session-PID` as
long as that process lives. An engine that we did not start is never stopped.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import filelock
from docker import errors as docker_errors

from tests.support import packages, paths

SYSTEM_SOCKET = Path("/var/run/docker.sock")
START_SECONDS = 60.0
STOP_SECONDS = 45.0
_SOCKET_LENGTH = 85  # the kernel takes 107 bytes; containerd/containerd.sock.ttrpc is 21 longer


class EngineError(Exception):
    """No engine could be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Engine:
    """`url` is the value for DOCKER_HOST; `ours` says that it runs on our own socket."""

    url: str
    ours: bool


def home() -> Path:
    """Everything of our own engine: data root, socket, pidfile, log, users."""
    return paths.cache("engine")


def socket_path() -> Path:
    """Where our own engine listens."""
    return home() / "run" / "docker.sock"


def find() -> Engine | None:
    """The engine that answers now, or None. Raises EngineError when DOCKER_HOST names one that does not answer."""
    own = f"unix://{socket_path()}"
    named = os.environ.get("DOCKER_HOST")
    if named and named != own:
        if not answers(named):
            raise EngineError(
                f"DOCKER_HOST is {named} but no Docker Engine answers there (start it, or unset DOCKER_HOST)"
            )
        return Engine(named, ours=False)
    if not named and SYSTEM_SOCKET.exists() and answers(f"unix://{SYSTEM_SOCKET}"):
        return Engine(f"unix://{SYSTEM_SOCKET}", ours=False)
    return Engine(own, ours=True) if answers(own) else None


def answers(url: str) -> bool:
    """Whether an engine answers a ping at `url`."""
    client = docker.DockerClient(base_url=url, version="1.41", timeout=5)
    try:
        return bool(client.ping())
    except (docker_errors.DockerException, OSError):
        return False
    finally:
        client.close()


def ensure(user: str) -> Engine:
    """Find or start the engine and note `user`. Safe to call twice and from two processes. Raises EngineError."""
    with _locked():
        engine = find()
        if engine is None:
            _start()
            _empty()
            engine = Engine(f"unix://{socket_path()}", ours=True)
        if engine.ours:
            _users().joinpath(user).touch()
        return engine


def release(user: str) -> bool:
    """Give the engine up for `user`; True when that stopped it. Others who use it keep it running."""
    with _locked():
        _users().joinpath(user).unlink(missing_ok=True)
        if in_use() or not _dockerd_pid():
            return False
        _stop()
        return True


def in_use() -> list[str]:
    """Names of those who use our engine now; a session whose process has ended does not count."""
    names = []
    for entry in sorted(_users().iterdir()):
        kind, _, pid = entry.name.partition("-")
        if kind == "session" and not Path("/proc", pid).exists():
            entry.unlink(missing_ok=True)
        else:
            names.append(entry.name)
    return names


# --- start and stop -------------------------------------------------------------------------------------------------


def _start() -> None:
    if os.geteuid() != 0:
        raise EngineError(
            "no Docker Engine runs and only root can start one: run this as root, or start the system's own with "
            "`sudo apt-get install docker.io && sudo adduser $USER docker` and log in again"
        )
    if len(str(socket_path())) > _SOCKET_LENGTH:
        raise EngineError(f"{socket_path()} is too long for a socket: set RECONCILER_CACHE to a shorter folder")
    if not shutil.which("dockerd"):
        packages.install(["docker.io"])
    _clear_stale()
    _mount_cgroups()
    config = home() / "daemon.json"
    config.write_text(json.dumps(_configuration(), indent=2) + "\n")
    log = home() / "dockerd.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["dockerd", "--config-file", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while not answers(f"unix://{socket_path()}"):
        if process.poll() is not None or time.monotonic() > deadline:
            _terminate(process.pid, 5)
            raise EngineError(f"dockerd did not come up; the end of {log}:\n{tail(log)}")
        time.sleep(0.2)


def _empty() -> None:
    """Remove containers and volumes of an earlier life: whoever made them ended without cleaning up, and their names are in
    the way."""
    with contextlib.closing(docker.DockerClient(base_url=f"unix://{socket_path()}", timeout=120)) as client:
        for container in client.api.containers(all=True):
            with contextlib.suppress(docker_errors.NotFound):
                client.api.remove_container(container["Id"], force=True, v=True)
        for volume in client.api.volumes()["Volumes"] or []:
            client.api.remove_volume(volume["Name"], force=True)


def _configuration() -> dict[str, object]:
    # No bridge and no packet filter: everything here uses the host's network, as Kolla does, and the
    # machine's own rules stay as they are. 127.0.0.0/8 counts as an insecure registry by default.
    run = home() / "run"
    return {
        "hosts": [f"unix://{socket_path()}"],
        "data-root": str(home() / "data"),
        "exec-root": str(run),
        "pidfile": str(run / "docker.pid"),
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m"},
        "max-concurrent-downloads": 2,
        "shutdown-timeout": 20,
    }


def _stop() -> None:
    pid = _dockerd_pid()
    if pid:
        # SIGTERM lets dockerd end its containers, containerd and shims.
        _terminate(pid, STOP_SECONDS)
    _clear_stale()


def _clear_stale() -> None:
    """Remove what a killed engine left: processes, mounts, and the run folder, whose pids now mean others."""
    run = home() / "run"
    for pid in processes(str(run)):
        _terminate(pid, 5)
    for pid in _orphans():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((m for m in mounts if m.startswith(f"{home()}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(mode=0o711, exist_ok=True)
    for entry in _users().iterdir():
        if entry.name != f"session-{os.getpid()}":
            entry.unlink(missing_ok=True)


def _mount_cgroups() -> None:
    """dockerd needs a cgroup hierarchy; a machine without an init system may have none mounted."""
    if any(line.split()[2] in ("cgroup", "cgroup2") for line in Path("/proc/mounts").read_text().splitlines()):
        return
    done = subprocess.run(
        ["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise EngineError(f"no cgroup file system is mounted and it cannot be: {done.stderr.strip()}")


def _dockerd_pid() -> int | None:
    pids = processes(str(home() / "daemon.json"))
    return pids[0] if pids else None


def processes(word: str) -> list[int]:
    """Engine processes that have `word` in their command line: dockerd, containerd and its shims."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                program = Path(command[0]).name
                if program.startswith(("dockerd", "containerd")) and any(word in part for part in command[1:]):
                    found.append(int(entry.name))
    return sorted(found)


def _orphans() -> list[int]:
    """Processes of our engine's containers: they go on when the engine and its shims are killed."""
    folder = home() / "data" / "containers"
    ids = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parts = (entry / "cgroup").read_text().replace("\n", "/").split("/")
                if ids & {part.removeprefix("docker-").removesuffix(".scope") for part in parts}:
                    found.append(int(entry.name))
    return found


def _terminate(pid: int, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if ended(pid):
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to take notice."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _users() -> Path:
    return paths.cache("engine", "users")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    with filelock.FileLock(home() / "lock", timeout=300):
        yield


def tail(file: Path, lines: int = 15) -> str:
    """The last lines of a log, cut to 300 characters each, for an error message."""
    if not file.exists():
        return "(no log)"
    return "\n".join(line[:300] for line in file.read_text(errors="replace").splitlines()[-lines:])


def things(client: docker.DockerClient) -> Iterator[tuple[str, str, dict[str, str]]]:
    """All containers and volumes of an engine: what each is, its name and its labels."""
    for container in client.api.containers(all=True):
        yield "container", container["Names"][0].lstrip("/"), container["Labels"] or {}
    for volume in client.api.volumes()["Volumes"] or []:
        yield "volume", volume["Name"], volume["Labels"] or {}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.engine")
    parser.add_argument("verb", choices=["ensure", "stop", "env"])
    parser.add_argument("--as", dest="user", default="manual", help="who uses the engine (default: manual)")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "ensure":
            print(f"DOCKER_HOST={ensure(options.user).url}")
        elif options.verb == "env":
            engine = find()
            if engine is None:
                print("no Docker Engine runs (start one: python -m tests.support.engine ensure)", file=sys.stderr)
                return 1
            print(f"DOCKER_HOST={engine.url}")
        elif release(options.user):
            print("engine stopped; its images stay in the cache")
        elif in_use():
            print(f"engine kept: still used by {', '.join(in_use())}")
        else:
            print("no engine of ours was running")
    except (EngineError, packages.PackagesMissing) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
