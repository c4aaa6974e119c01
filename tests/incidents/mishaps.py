"""The incidents: what somebody does, and what an operator does about it where the program does not."""

import contextlib
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from docker import errors as docker_errors

from tests.git import servers
from tests.incidents.bed import ADDRESS_TO_LOSE, Bed, command, filled
from tests.incidents.own_engine import SmallBed
from tests.support.lab import ADDRESS

KEYS = "/etc/keystone/fernet-keys"


@dataclass(frozen=True, slots=True)
class Mishap:
    """`says` is a pattern for what is said first. What `happens` ends when an operator mends it: then its block is left; `alone`:
    the program puts it right by itself, and nothing is mended."""

    name: str
    text: str
    says: str
    happens: Callable[[Any], AbstractContextManager[object]]  # on a Bed, or a SmallBed
    alone: bool = False
    seconds: float = 240.0
    engine: bool = False  # needs an engine of its own


MISHAPS: list[Mishap] = []


def _alone(text: str, says: str) -> Callable[[Callable[[Bed], None]], None]:
    """What the program puts right."""

    def take(function: Callable[[Bed], None]) -> None:
        def happens(bed: Bed) -> AbstractContextManager[None]:
            function(bed)
            return contextlib.nullcontext()

        MISHAPS.append(Mishap(function.__name__, text, says, happens, alone=True))

    return take


def _mended(text: str, says: str) -> Callable[[Callable[[Bed], Iterator[None]]], None]:
    """What somebody has to put right: what comes after the `yield`."""

    def take(function: Callable[[Bed], Iterator[None]]) -> None:
        MISHAPS.append(Mishap(function.__name__, text, says, contextlib.contextmanager(function)))

    return take


# --- containers -----------------------------------------------------------------------------------------------------


@_alone("kills Keystone", r"start +keystone ")
def kill(bed: Bed) -> None:
    bed.docker("kill", "keystone")


@_alone("stops MariaDB", r"start +mariadb ")
def stop(bed: Bed) -> None:
    bed.docker("stop", "mariadb", timeout=30)


@_alone("removes memcached", r"create +memcached ")
def remove(bed: Bed) -> None:
    bed.docker("remove", "memcached", force=True)


@_alone("restarts RabbitMQ by hand", r"rabbitmq")
def restart(bed: Bed) -> None:
    bed.docker("restart", "rabbitmq", timeout=60)


@_alone("pauses Keystone (`docker pause`)", r"keystone")
def pause(bed: Bed) -> None:
    bed.docker("pause", "keystone")


@_alone("gives memcached another memory limit (`docker update`)", r"memcached")
def limits(bed: Bed) -> None:
    bed.docker("update", "memcached", mem_limit="300m", memswap_limit="300m")


@_alone("lets the kernel kill memcached for want of memory", r"memcached.*used up its memory")
def out_of_memory(bed: Bed) -> None:
    with contextlib.suppress(AssertionError, docker_errors.APIError):
        bed.inside("memcached", "dd if=/dev/zero of=/dev/shm/filler bs=1M; sleep 1")


@_mended("commits a memory limit in which Keystone cannot live", r"keystone.*(mem_limit|memory|137)")
def limit_too_low(bed: Bed) -> Iterator[None]:
    with _committed(bed, {"globals.yml": "keystone_dimensions: {mem_limit: 24m, memswap_limit: 24m}\n"}):
        yield


@_mended("takes memcached's port", r"memcached")
def port(bed: Bed) -> Iterator[None]:
    """The container is killed, and somebody else is quicker."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bed.docker("kill", "memcached")
    while True:
        with contextlib.suppress(OSError):
            taken.bind((ADDRESS, 11211))
            break
    taken.listen()
    with taken:
        yield


# --- files and disks ------------------------------------------------------------------------------------------------


@_alone("edits keystone.conf on the disk", r"write +keystone/keystone.conf ")
def edit(bed: Bed) -> None:
    path = bed.config_root / "keystone" / "keystone.conf"
    path.write_text(path.read_text() + "\n[token]\nexpiration = 1\n")


@_alone("deletes haproxy.cfg", r"write +haproxy/haproxy.cfg ")
def delete(bed: Bed) -> None:
    (bed.config_root / "haproxy" / "haproxy.cfg").unlink()


@_alone("edits keystone.conf inside the container", r"restart +keystone .*differs")
def edit_inside(bed: Bed) -> None:
    bed.inside(
        "keystone",
        "sed -i 's/^debug = .*/debug = True/' /etc/keystone/keystone.conf; echo >> /etc/keystone/keystone.conf",
    )


@_mended("fills the disk of the config root, and a file there is edited", r"DiskFull|no space left|No space left")
def config_full(bed: Bed) -> Iterator[None]:
    with filled(bed.config_root):
        path = bed.config_root / "memcached" / "config.json"
        path.write_text("x" * path.stat().st_size)
        yield


@_mended("fills the disk of the state directory, and a commit comes", r"DiskFull|no space left|No space left")
def state_full(bed: Bed) -> Iterator[None]:
    with filled(bed.disk), _committed(bed, {"config/keystone.conf": "[token]\nexpiration = 4000\n"}):
        yield


@_mended("fills the disk of the logs", r"space|log")
def logs_full(bed: Bed) -> Iterator[None]:
    bed.inside("cron", "cat /dev/zero > /var/log/kolla/filler 2>/dev/null; true")
    bed.docker("kill", "keystone")
    try:
        yield
    finally:
        bed.inside("cron", "rm /var/log/kolla/filler")


@_mended("deletes the state directory", r"StateLost|state directory")
def state_lost(bed: Bed) -> Iterator[None]:
    away = bed.state.with_name("away")
    bed.state.rename(away)
    yield
    shutil.rmtree(bed.state, ignore_errors=True)
    away.rename(bed.state)


# --- what services know ---------------------------------------------------------------------------------------------


@_mended("removes the fernet keys", rf"there is no key in {KEYS}")
def keys(bed: Bed) -> Iterator[None]:
    bed.inside("keystone_fernet", f"rm {KEYS}/*")
    yield
    advice = re.search(r"`docker exec keystone_fernet ([^`]+)`", str(bed.shown()))
    assert advice, "nothing is advised"
    bed.inside("keystone_fernet", advice[1], user="")


@_alone("changes the password of a database user", r"register +mariadb:user:keystone@%")
def database_password(bed: Bed) -> None:
    bed.sql("ALTER USER 'keystone'@'%' IDENTIFIED BY 'something else'")


@_mended("changes the root password of the database", r"denied|Denied|password")
def root_password(bed: Bed) -> Iterator[None]:
    own, other = bed.secret("database_password"), "another one"
    change = "ALTER USER 'root'@'%' IDENTIFIED BY '{0}', 'root'@'localhost' IDENTIFIED BY '{0}'"
    bed.sql(change.format(other))
    yield
    bed.sql(change.format(own), other)


@_alone("deletes a permission in RabbitMQ", r"register +rabbitmq:")
def permission(bed: Bed) -> None:
    bed.inside("rabbitmq", "rabbitmqctl clear_permissions openstack", user="rabbitmq")


@_mended("deletes the user of RabbitMQ", r"rabbitmq")
def broker_user(bed: Bed) -> Iterator[None]:
    bed.inside("rabbitmq", "rabbitmqctl delete_user openstack", user="rabbitmq")
    yield
    bed.inside("rabbitmq", "rabbitmqctl import_definitions /etc/rabbitmq/definitions.json", user="rabbitmq")


@_alone("deletes an endpoint of Keystone", r"register +keystone:endpoint:")
def endpoint(bed: Bed) -> None:
    bed.sql("DELETE FROM keystone.endpoint WHERE interface = 'public'")


@_mended("makes MariaDB read-only", r"mariadb: the server is read-only")
def read_only(bed: Bed) -> Iterator[None]:
    bed.sql("SET GLOBAL read_only = ON")
    yield
    bed.sql("SET GLOBAL read_only = OFF")


@_mended("lets RabbitMQ run out of memory (alarm)", r"alarms.*memory")
def memory_alarm(bed: Bed) -> Iterator[None]:
    bed.inside("rabbitmq", "rabbitmqctl set_vm_memory_high_watermark 0.0000001", user="rabbitmq")
    yield
    bed.inside("rabbitmq", "rabbitmqctl set_vm_memory_high_watermark 0.6", user="rabbitmq")


@_mended("lets RabbitMQ run out of disk (alarm)", r"alarms.*disk")
def disk_alarm(bed: Bed) -> Iterator[None]:
    bed.inside("rabbitmq", "rabbitmqctl set_disk_free_limit 100TB", user="rabbitmq")
    yield
    bed.inside("rabbitmq", "rabbitmqctl set_disk_free_limit 50MB", user="rabbitmq")


@_mended("takes the virtual address off its interface", rf"haproxy_addresses.*{ADDRESS_TO_LOSE}")
def address(bed: Bed) -> Iterator[None]:
    own = f"{ADDRESS_TO_LOSE}/32"
    command("ip", "address", "del", own, "dev", "lo")
    yield
    command("ip", "address", "add", own, "dev", "lo")


# --- the repository -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _committed(bed: Bed, more: dict[str, str]) -> Iterator[None]:
    """A commit that adds to files; afterwards one that takes it back."""
    before = {name: (bed.site / name).read_text() if (bed.site / name).exists() else None for name in more}
    bed.write({name: (before[name] or "") + text for name, text in more.items()})
    bed.push("what somebody commits")
    try:
        yield
    finally:
        bed.write(before)
        bed.push("taken back")


@_mended("commits `[token] expiration = banana`", r"ConfigInvalid|banana")
def banana(bed: Bed) -> Iterator[None]:
    with _committed(bed, {"config/keystone.conf": "[token]\nexpiration = banana\n"}):
        yield


@_mended("commits a token provider that does not exist", r"nosuch|keystone")
def provider(bed: Bed) -> Iterator[None]:
    with _committed(bed, {"config/keystone.conf": "[token]\nprovider = nosuch\n"}):
        yield


@_mended("commits a misspelt variable", r"enable_keepalivd")
def misspelt(bed: Bed) -> Iterator[None]:
    with _committed(bed, {"globals.yml": "enable_keepalivd: true\n"}):
        yield


@_mended("deletes the branch", r"GitBranchMissing|is there no more")
def branch(bed: Bed) -> Iterator[None]:
    servers.git(bed.repository, "update-ref", "-d", "refs/heads/main")
    yield
    servers.git(bed.repository, "update-ref", "refs/heads/main", bed.head)


@_mended("revokes the token of the repository", r"GitAuthFailed|token|refuse")
def token(bed: Bed) -> Iterator[None]:
    path = bed.root / "token"
    before = path.read_text()
    path.write_text("0123456789abcdef0123456789abcdef")
    yield
    path.write_text(before)


# --- the engine -----------------------------------------------------------------------------------------------------


def _engine(text: str, says: str) -> Callable[[Callable[[SmallBed], Iterator[None]]], None]:
    def take(function: Callable[[SmallBed], Iterator[None]]) -> None:
        happens = contextlib.contextmanager(function)
        MISHAPS.append(Mishap(function.__name__, text, says, happens, engine=True))

    return take


@_engine("freezes the engine (SIGSTOP)", r"EngineTimeout|does not answer|did not answer")
def engine_hung(bed: SmallBed) -> Iterator[None]:
    bed.engine.signal(signal.SIGSTOP)
    yield
    bed.engine.signal(signal.SIGCONT)


@_engine("stops the engine while it is busy", r"EngineUnreachable|EngineTimeout")
def engine_stopped(bed: SmallBed) -> Iterator[None]:
    with bed.engine.under_load():
        bed.engine.end(signal.SIGTERM)
        yield
        bed.engine.begin()


@_engine("kills the engine (SIGKILL)", r"EngineUnreachable|EngineTimeout")
def engine_killed(bed: SmallBed) -> Iterator[None]:
    bed.engine.end(signal.SIGKILL)
    yield
    bed.engine.begin()
