"""How a demo is played: its steps one after the other on its plot, whatever was there before removed, and what to say at the end.

Exit codes: 0 everything happened; 1 something did not, and what to look at; 130 interrupted.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import docker
from docker import errors as docker_errors

from tests.demo import bed as beds
from tests.demo.bed import DemoFailed, Plot
from tests.demo.show import Show, short
from tests.demo.steps import Step
from tests.support import engine, packages


@dataclass(frozen=True, slots=True)
class Play:
    """A demo: `make TARGET` plays it, which is `python -m MODULE run`; `look` are commands for somebody who looks around after it."""

    target: str
    module: str
    plot: Plot
    steps: Sequence[Step]
    look: Sequence[str]


def run(play: Play, show: Show) -> int:
    """The whole demo; a previous one is removed first."""
    plot = play.plot
    if beds.processes(plot.root):
        raise DemoFailed(f"a demo is under way (`make {play.target}-clean` ends it)")
    url = engine.ensure(play.target).url
    with _client(url) as client:
        if beds.clean(plot.root, client, plot.owner):
            beds.unlink(plot.links)
            show.say("The previous demo was removed.")
        _refuse_collisions(client, plot)
    started = time.monotonic()
    with beds.Bed(plot, url) as bed:
        for number, step in enumerate(play.steps, 1):
            show.headline(number, (step.__doc__ or "").strip())
            began = time.monotonic()
            step(bed, show)
            show.line(f"  ({time.monotonic() - began:.0f} s)", "dim")
        before = bed.seen()
        bed.stop_daemon()
        if bed.seen() != before:
            raise DemoFailed("the end of the daemon changed containers")
    _goodbye(play, show, time.monotonic() - started)
    return 0


def clean(play: Play, show: Show) -> int:
    """Remove what a demo left."""
    plot = play.plot
    found = engine.find()
    if found is None and plot.root.exists():
        found = engine.ensure(play.target)  # containers of a stopped engine are removed, too
    if found is None:
        removed = beds.clean(plot.root, None, plot.owner)
    else:
        with _client(found.url) as client:
            removed = beds.clean(plot.root, client, plot.owner)
            removed += beds.unlink(plot.links) if removed else []
    show.say(f"removed: {', '.join(removed)}" if removed else "nothing of a demo is here")
    return 0


def _refuse_collisions(client: docker.APIClient, plot: Plot) -> None:
    """Raises DemoFailed when something else has the demo's names or ports."""
    if found := beds.collisions(client, plot.owner, plot.containers, plot.volumes):
        raise DemoFailed(
            "refused: the engine has things that are not the demo's, under names that it needs:\n"
            + "\n".join(f"  {item}" for item in found)
            + "\nThey stay as they are. Run the demo on a machine that is no Kolla host."
        )
    if devices := beds.links(plot.links):
        raise DemoFailed(f"refused: this machine has a switch of its own ({', '.join(devices)}; `ip link` shows them)")
    if ports := beds.taken(plot.ports):
        raise DemoFailed(f"refused: somebody listens on {', '.join(ports)} (`ss -ltnp` says who)")


def _goodbye(play: Play, show: Show, seconds: float) -> None:
    show.line()
    show.line("━" * show.width, "bold cyan")
    show.say(
        f"All of it in {seconds:.0f} s. The control plane still runs; the daemon, the Git server and the stand-in for "
        "GitLab have ended. To look around:"
    )
    show.line()
    root = play.plot.root
    for command in (f"source {short(root / 'openrc')}", *play.look, f"git -C {short(root / 'site')} log --stat"):
        show.line(f"  {command}")
    show.line()
    show.say(f"`make {play.target}-clean` removes everything; `make {play.target}` starts again from nothing.")


def _failed(play: Play, show: Show, error: BaseException) -> None:
    root = play.plot.root
    show.line()
    show.failure(str(error) or type(error).__name__)
    log = root / "daemon.log"
    if log.exists():
        show.say(
            f"To look at: {short(log)}, `reconciler --config {short(root / 'reconciler.toml')} history`, `docker ps -a`, "
            f"`docker logs NAME`, {short(root / 'state')}. Then: `make {play.target}-clean`."
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


def main(play: Play) -> int:
    """The command line of a demo."""
    parser = argparse.ArgumentParser(prog=f"python -m {play.module}", description=__doc__)
    parser.add_argument("verb", choices=["run", "clean"])
    verb, show = parser.parse_args().verb, Show()
    try:
        if verb == "clean":
            return clean(play, show)
        if os.environ.get(beds.MARK) != str(play.plot.root):
            # Everything of the demo shows whose it is, this process too; an engine that is started here is not of it.
            engine.ensure(play.target)
            environment = {**os.environ, beds.MARK: str(play.plot.root)}
            os.execve(sys.executable, [sys.executable, "-m", play.module, "run"], environment)
        signal.signal(signal.SIGTERM, _interrupt)
        return run(play, show)
    except KeyboardInterrupt:
        show.failure(f"interrupted (`make {play.target}-clean` removes what is there)")
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
        _failed(play, show, error)
        return 1
