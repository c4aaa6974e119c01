"""Fixtures that every test folder may use: the engine, a registry, images; and a check that nothing is left behind.

What a test makes in the engine carries the label `reconciler-test` or a name that starts with `rt-`, and is removed by
the test itself; a session that leaves some of it fails.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import hypothesis
import pytest
import structlog
from docker import errors as docker_errors

from tests.images import build, kolla
from tests.support import engine, packages
from tests.support import registry as registries

LABEL = "reconciler-test"
PREFIX = "rt-"
IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
_USER = f"session-{os.getpid()}"
_MARK = "RECONCILER_TEST_SESSION"

# How long an example takes says something of the machine, not of the program. A pipeline tries the same examples each time.
hypothesis.settings.register_profile(
    "reconciler", deadline=None, derandomize=IN_CI, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("reconciler")


def _unavailable(message: str) -> None:
    """What a test needs cannot be had: the pipeline fails, a developer's machine skips with the reason."""
    if IN_CI:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session", autouse=True)
def no_process_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the session when a process that a test started still runs at its end."""
    os.environ[_MARK] = _USER
    yield
    left = _processes(str(tmp_path_factory.getbasetemp()))
    del os.environ[_MARK]
    if left:
        pytest.fail("tests left processes running:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """A run in the background of a script ignores SIGINT, and every process that a test starts would inherit that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    """The program sets up its log for the whole process; the next test starts without."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """The value for DOCKER_HOST of a running engine; set in os.environ too. Stopped at the end if nobody else uses it."""
    before = os.environ.get("DOCKER_HOST")
    os.environ.pop(_MARK, None)  # an engine outlives the session when somebody else comes to use it
    try:
        found = engine.ensure(_USER)
    except (engine.EngineError, packages.PackagesMissing) as error:
        _unavailable(str(error))
        raise
    finally:
        os.environ[_MARK] = _USER
    os.environ["DOCKER_HOST"] = found.url
    with contextlib.closing(docker.DockerClient(base_url=found.url)) as client:
        first = _things(client)
        yield found.url
        left = sorted(_watched(_things(client), found) - _watched(first, found))
    if before is None:
        del os.environ["DOCKER_HOST"]
    else:
        os.environ["DOCKER_HOST"] = before
    engine.release(_USER)
    if left:
        pytest.fail("tests left in the engine:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def docker_client(engine_url: str) -> Iterator[docker.DockerClient]:
    """A client of the test engine, for looking at what our code did."""
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        yield client


@pytest.fixture(scope="session")
def busybox_image(engine_url: str) -> str:
    """The name of a small image with sh, sleep, httpd, nc and the rest of busybox."""
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        return build.busybox(client)


@pytest.fixture(scope="session")
def registry(engine_url: str) -> Iterator[registries.Registry]:
    """A registry on loopback; see tests.support.registry."""
    running = registries.start(engine_url)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def kolla_images(engine_url: str) -> dict[str, str]:
    """Genuine Kolla images: short name (`keystone`) to the full name in the engine.

    The set-up brings them (`make images`); a test run does not build: that would take minutes without a word.
    """
    target = kolla.default_target()
    names = {image: target.name(image) for image in build.WANTED}
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        absent = [image for image, name in names.items() if not build.present(client, name)]
        names.update({image: target.name(image) for image in build.EXTRA if build.present(client, target.name(image))})
    if absent:
        _unavailable(f"Kolla images are missing ({', '.join(absent)}): run `make images`")
    return names


@pytest.fixture(scope="session")
def privileged_allowed(engine_url: str, busybox_image: str) -> bool:
    """Whether this machine grants `privileged`; tried once. `if not privileged_allowed: pytest.skip("needs privileged")`"""
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        name = f"{PREFIX}privileged-{os.getpid()}"
        try:
            client.containers.run(
                busybox_image, ["true"], name=name, privileged=True, network_mode="host", labels={LABEL: "1"}
            )
        except docker_errors.DockerException:
            return False
        finally:
            with contextlib.suppress(docker_errors.NotFound):
                client.containers.get(name).remove(force=True)
        return True


# --- nothing is left behind -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Thing:
    """A container or a volume; `marked` says that its name or label shows it as a test's own."""

    text: str
    marked: bool


def _things(client: docker.DockerClient) -> set[_Thing]:
    return {
        _Thing(f"{kind} {name}", name.startswith(PREFIX) or LABEL in labels)
        for kind, name, labels in engine.things(client)
    }


def _watched(things: set[_Thing], found: engine.Engine) -> set[str]:
    """What counts: everything in an engine that only this session uses, else what is marked as a test's own.

    Two sessions at once cannot tell their things apart, so then nothing counts.
    """
    others = [user for user in engine.in_use() if user != _USER]
    if any(user.startswith("session-") for user in others):
        return set()
    alone = found.ours and not others
    return {thing.text for thing in things if alone or thing.marked}


def _processes(folder: str) -> list[str]:
    """Running processes that carry the session's mark, or name its temporary folder, as `PID command`."""
    mark = f"{_MARK}={_USER}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                marked = mark in (entry / "environ").read_bytes().split(b"\0")
                if command and (marked or f"{folder}/" in command):
                    found.append(f"{entry.name} {command[:120]}")
    return sorted(found)
