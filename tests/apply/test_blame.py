"""Whom each reason blames, and when something is tried once more."""

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.apply import blame
from reconciler.engine import faults
from reconciler.model import Container, Failure, Mount
from reconciler.reasons import Blame, Reason, read

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WEB = Container("web", "image")


def test_what_nobody_knows_is_the_hosts() -> None:
    """Nothing that worked is given up for it."""
    assert blame.of(read("NeverHeardOf")) is blame.of(None) is Blame.HOST
    assert (blame.of(Reason.Unhealthy), blame.of(Reason.PullFailed)) == (Blame.CONFIGURATION, Blame.SERVICE)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ('running apparmor_parser: exec: "apparmor_parser": executable file not found in $PATH', "HostFailed"),
        ('OCI runtime create failed: exec: "nosuch": executable file not found in $PATH: unknown', "StartFailed"),
        (
            'failed to create shim task: OCI runtime create failed: exec: "/x": stat /x: no such file or directory',
            "StartFailed",
        ),
        ("driver failed programming external connectivity on endpoint web: port is already allocated", "PortInUse"),
        ("failed to create endpoint web on network bridge: iptables failed", "HostFailed"),
        ("write /var/lib/docker/tmp: no space left on device", "DiskFull"),
        ("error setting rlimit type 7: operation not permitted", "UlimitRefused"),
        (
            "runc did not terminate successfully: exit status 1: unable to set memory limit to 8388608 (current usage: 24510464)",
            "MemoryInUse",
        ),
        ("network backend not found", "HostFailed"),
        ("unknown or invalid runtime name: kata", "HostFailed"),
        # while it is stopped
        ("failed to update store for object type *libnetwork.endpoint: open : no such file", "EngineUnreachable"),
        ("grpc: the client connection is closing: unknown", "EngineUnreachable"),
        ("failed to create shim task: ttrpc: closed: unknown", "EngineUnreachable"),
    ],
)
def test_the_engines_words_tell_the_host_from_the_configuration(words: str, reason: str) -> None:
    assert faults.explain(words, doing="start web", fallback=Reason.StartFailed).reason == reason


def test_what_a_runtime_says_of_memory_is_told_in_words_for_people() -> None:
    said = "Cannot update container 51f0: runc did not terminate successfully: exit status 1: unable to set memory limit to 25165824 (current usage: 247799808, peak usage: 260407296)"
    assert str(faults.explain(said, doing="update web (mem_limit)")) == (
        "update web (mem_limit): it may have 24 MiB, and has 236 MiB in use (raise the limit, or make it use less first)"
    )


def failure(reason: Reason, message: str = "", tries: int = 1) -> Failure:
    return Failure(reason, message, blame.of(reason), blame.again(tries, NOW), tries)


def test_what_is_tried_again_comes_less_and_less_often() -> None:
    pauses = [(blame.again(tries, NOW) - NOW) / timedelta(minutes=1) for tries in (1, 2, 3, 6, 7, 400)]
    assert pauses == [1, 2, 4, 32, 60, 60]


def test_a_configuration_is_never_tried_again_by_itself(tmp_path: Path) -> None:
    assert not blame.is_due(failure(Reason.Unhealthy), WEB, str(tmp_path), NOW + timedelta(days=9))
    assert blame.is_due(replace(failure(Reason.Unhealthy), blames=Blame.SERVICE), WEB, "", NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("tries", "minutes", "due"),
    [(1, 0.0, False), (1, -0.1, True), (1, -60.0, True), (7, 59.9, False), (7, -0.1, True), (7, -1440.0, True)],
)
def test_a_clock_that_was_set_back_puts_nothing_off(tries: int, minutes: float, due: bool) -> None:
    """What has longer to wait than it had when it failed."""
    failed = replace(failure(Reason.Unhealthy, tries=tries), blames=Blame.SERVICE)
    assert blame.is_due(failed, WEB, "", NOW + timedelta(minutes=minutes)) is due


def test_a_mended_host_is_noticed_before_its_time(tmp_path: Path) -> None:
    missing = failure(Reason.MountMissing)
    bound = replace(WEB, mounts=(Mount(str(tmp_path / "late"), "/x"), Mount("volume", "/y")))
    assert not blame.is_due(missing, bound, "", NOW)
    (tmp_path / "late").touch()
    assert blame.is_due(missing, bound, "", NOW)
    device = replace(WEB, devices=(f"{tmp_path}/dev:/dev/x:rwm",))
    assert not blame.is_due(failure(Reason.DeviceMissing), device, "", NOW)
    (tmp_path / "dev").touch()
    assert blame.is_due(failure(Reason.DeviceMissing), device, "", NOW)
    said = 'exec: "{}": executable file not found in $PATH'
    assert blame.is_due(failure(Reason.HostFailed, said.format("sh")), WEB, "", NOW)
    assert not blame.is_due(failure(Reason.HostFailed, said.format("no-such-parser")), WEB, "", NOW)
    assert not blame.is_due(failure(Reason.HostFailed, "cgroup"), WEB, "", NOW), "nobody can tell: it has to wait"
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        port = thief.getsockname()[1]
        taken = failure(Reason.PortInUse, f"bind 127.0.0.1:{port}: address already in use")
        assert not blame.is_due(taken, WEB, "", NOW)
        published = replace(WEB, ports=(f"0.0.0.0:{port}:80/tcp",))
        assert not blame.is_due(failure(Reason.PortInUse), published, "", NOW)
    assert blame.is_due(taken, WEB, "", NOW) and blame.is_due(failure(Reason.PortInUse), published, "", NOW)


def test_the_ports_of_a_message_are_those_that_it_names() -> None:
    published = replace(WEB, ports=("0.0.0.0:8080:80/tcp", "[::1]:8443:443/udp", "0.0.0.0::90/tcp"))
    assert blame.ports("bind 0.0.0.0:80: in use, bind :443", WEB) == {80, 443}
    assert blame.ports("bind 0.0.0.0:80: in use", published) == {80}, "those that it publishes may be free"
    assert blame.ports("port is already allocated", published) == {8080, 8443}
    assert blame.ports("no port at all", WEB) == frozenset()
    assert blame.ports("bind :0, bind :65535, bind :65536, bind :99999", WEB) == {65535}


def test_one_port_that_is_taken_is_enough() -> None:
    with socket.socket() as thief, socket.socket() as other:
        for one in (thief, other):
            one.bind(("127.0.0.1", 0))
            one.listen()
        ports = [one.getsockname()[1] for one in (thief, other)]
        other.close()
        message = "".join(f"bind 127.0.0.1:{port}: in use; " for port in ports)
        assert not blame.is_due(failure(Reason.PortInUse, message), WEB, "", NOW)
    assert not blame.is_due(failure(Reason.PortInUse, "in use"), WEB, "", NOW), "nobody can tell which"


def test_a_disk_is_mended_when_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = failure(Reason.DiskFull)
    free = [1 << 30]

    def usage(path: str) -> Any:
        assert path == str(tmp_path)
        return SimpleNamespace(free=free[0])

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert not blame.is_due(full, WEB, str(tmp_path), NOW), "a GiB is not enough"
    free[0] += 1
    assert blame.is_due(full, WEB, str(tmp_path), NOW)
    assert not blame.is_due(full, WEB, str(tmp_path / "nowhere"), NOW), "nobody can tell"


def test_one_of_several_mounts_or_devices_that_is_missing_is_enough(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    mounts = (Mount(str(tmp_path / "there"), "/x"), Mount(str(tmp_path / "late"), "/y"))
    assert not blame.is_due(failure(Reason.MountMissing), replace(WEB, mounts=mounts), "", NOW)
    assert blame.is_due(failure(Reason.MountMissing), replace(WEB, mounts=mounts[:1]), "", NOW)
    devices = (f"{tmp_path}/there:/dev/x:rwm", f"{tmp_path}/late:/dev/y:rwm")
    assert not blame.is_due(failure(Reason.DeviceMissing), replace(WEB, devices=devices), "", NOW)
    assert blame.is_due(failure(Reason.DeviceMissing), replace(WEB, devices=devices[:1]), "", NOW)


def test_it_is_time_at_the_moment_that_was_noted() -> None:
    other = failure(Reason.HostFailed)
    assert not blame.is_due(other, WEB, "", other.again - timedelta(seconds=1)) and blame.is_due(
        other, WEB, "", other.again
    )
