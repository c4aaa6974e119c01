"""`python -m tests.demo run` shows what the program does on this machine; `clean` removes everything that it made.

Exit codes: 0 everything happened; 1 something did not, and what to look at; 130 interrupted.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker import errors as docker_errors

from tests.demo import bed as beds
from tests.demo import steps
from tests.demo.bed import DemoFailed
from tests.demo.show import Show, short
from tests.support import engine, packages


def run(show: Show) -> int:
    """The whole demo; a previous one is removed first."""
    root = beds.root()
    if beds.processes(root):
        raise DemoFailed("a demo is under way (`make demo-clean` ends it)")
    url = engine.ensure("demo").url
    with _client(url) as client:
        if beds.clean(root, client):
            show.say("The previous demo was removed.")
        _refuse_collisions(client)
    started = time.monotonic()
    with beds.Bed(root, url) as bed:
        for number, step in enumerate(steps.STEPS, 1):
            show.headline(number, (step.__doc__ or "").strip())
            began = time.monotonic()
            step(bed, show)
            show.line(f"  ({time.monotonic() - began:.0f} s)", "dim")
        before = bed.seen()
        bed.stop_daemon()
        if bed.seen() != before:
            raise DemoFailed("the end of the daemon changed containers")
    _goodbye(show, root, time.monotonic() - started)
    return 0


def clean(show: Show) -> int:
    """Remove what a demo left."""
    root = beds.root()
    found = engine.find()
    if found is None and root.exists():
        found = engine.ensure("demo")  # containers of a stopped engine are removed, too
    if found is None:
        removed = beds.clean(root, None)
    else:
        with _client(found.url) as client:
            removed = beds.clean(root, client)
    show.say(f"removed: {', '.join(removed)}" if removed else "nothing of a demo is here")
    return 0


def _refuse_collisions(client: docker.APIClient) -> None:
    """Raises DemoFailed when something else has the demo's names or ports."""
    if found := beds.collisions(client):
        raise DemoFailed(
            "refused: the engine has things that are not the demo's, under names that it needs:\n"
            + "\n".join(f"  {item}" for item in found)
            + "\nThey stay as they are. Run the demo on a machine that is no Kolla host."
        )
    if ports := beds.taken():
        raise DemoFailed(f"refused: somebody listens on {', '.join(ports)} (`ss -ltnp` says who)")


def _goodbye(show: Show, root: Path, seconds: float) -> None:
    show.line()
    show.line("━" * show.width, "bold cyan")
    show.say(
        f"All of it in {seconds:.0f} s. The control plane still runs; the daemon, the Git server and the stand-in for "
        "GitLab have ended. To look around:"
    )
    show.line()
    for command in (
        f"source {short(root / 'openrc')}",
        "docker ps",
        "openstack endpoint list -c 'Service Name' -c Interface -c URL",
        "reconciler status; reconciler history; reconciler drift",
        f"git -C {short(root / 'site')} log --stat",
    ):
        show.line(f"  {command}")
    show.line()
    show.say("`make demo-clean` removes everything; `make demo` starts again from nothing.")


def _failed(show: Show, root: Path, error: BaseException) -> None:
    show.line()
    show.failure(str(error) or type(error).__name__)
    log = root / "daemon.log"
    if log.exists():
        show.say(
            f"To look at: {short(log)}, `reconciler --config {short(root / 'reconciler.toml')} history`, `docker ps -a`, "
            f"`docker logs NAME`, {short(root / 'state')}. Then: `make demo-clean`."
        )


@contextlib.contextmanager
def _client(url: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=url, timeout=120)
    try:
        yield client
    finally:
        client.close()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("verb", choices=["run", "clean"])
    verb, show = parser.parse_args().verb, Show()
    try:
        if verb == "clean":
            return clean(show)
        if os.environ.get(beds.MARK) != str(beds.root()):
            # Everything of the demo shows whose it is, this process too; an engine that is started here is not of it.
            engine.ensure("demo")
            environment = {**os.environ, beds.MARK: str(beds.root())}
            os.execve(sys.executable, [sys.executable, "-m", "tests.demo", "run"], environment)
        signal.signal(signal.SIGTERM, _interrupt)
        return run(show)
    except KeyboardInterrupt:
        show.failure("interrupted (`make demo-clean` removes what is there)")
        return 130
    except (
        AssertionError,
        DemoFailed,
        OSError,
        ValueError,
        engine.EngineError,
        packages.PackagesMissing,
        docker_errors.DockerException,
    ) as error:
        _failed(show, beds.root(), error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
