"""The same schedules on a real Docker Engine: `python -m tests.faults.real [SCHEDULES [SEED]]`.

The engine and its adapter are the real ones; faults come between the executor and the adapter, as an answer that is lost, a call that does not
reach, a kill. Commits, registrars, forge, etcd and the disk are those of the modelled node. What the real engine does by itself (stopping,
names that are taken, states, ids, start times) the invariants are held against.

Names and images of the schedule get a prefix of this process; nothing is pulled, for there is no registry: a pull gives the image its name.
"""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import docker
from hypothesis import HealthCheck, Phase, given, seed, settings

from reconciler.apply.ports import Health
from reconciler.engine import Engine as Adapter
from reconciler.engine import EngineView
from reconciler.model import ASIDE, Container, Desired, FileState, Image, Job, Running, State
from tests.apply.bed import Disk as Moments
from tests.apply.fake import FakeEngine
from tests.faults.node import Bench
from tests.faults.ports import Engine
from tests.faults.schedule import PASSES, TALLY, Schedule, Violated, play, schedules
from tests.images import build
from tests.scenarios.world import World
from tests.support import engine as engines

# image:1 and image:2 of a schedule, what somebody tags as image:1, and what others run.
_IMAGES = {"image:1": "a", "image:2": "b", "another": "c", "image:9": "a"}
_TOLD = "io.reconciler.test"


class Place:
    """An engine, the prefix of this process there, and the images; use as a context manager, which removes all of them."""

    def __init__(self, url: str) -> None:
        self.url, self.prefix = url, f"rt-s{os.getpid()}-"
        self.client = docker.DockerClient(base_url=url, timeout=120)

    def __enter__(self) -> "Place":
        build.busybox(self.client)
        for kind in sorted({*_IMAGES.values()}):
            changes = [f"FROM {build.BUSYBOX}", 'CMD ["sleep", "1000000"]', f"LABEL {_TOLD}={kind}"]
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "Dockerfile").write_text("\n".join(changes))
                self.client.images.build(path=folder, tag=f"{self.prefix}{kind}:kept", rm=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._empty()
        for kind in sorted({*_IMAGES.values()}):
            with contextlib.suppress(docker.errors.ImageNotFound):
                self.client.api.remove_image(f"{self.prefix}{kind}:kept", force=True)
        self.client.close()

    def clear(self) -> None:
        """As before a schedule: no container of ours, and of the images only those that a node has before it pulls any."""
        self._empty()
        self.tag("image:1")
        self.tag("image:9")

    def _empty(self) -> None:
        for entry in self.client.api.containers(all=True):
            if any(self.prefix in name for name in entry["Names"] or ()):
                with contextlib.suppress(docker.errors.NotFound):
                    self.client.api.remove_container(entry["Id"], force=True, v=True)
        for reference in _IMAGES:
            self.untag(reference)

    def tag(self, reference: str, kind: str = "") -> None:
        """Let a name of the schedule be an image."""
        repository, _, tag = self.there(reference).rpartition(":")
        self.client.api.tag(f"{self.prefix}{kind or _IMAGES[reference]}:kept", repository, tag or "latest", force=True)

    def untag(self, reference: str) -> None:
        with contextlib.suppress(docker.errors.ImageNotFound):
            self.client.api.remove_image(self.there(reference), noprune=True, force=True)

    # --- names -------------------------------------------------------------------------------------------------------

    def there(self, name: str) -> str:
        """A name of the schedule as the engine knows it."""
        base = name.removeprefix(ASIDE)
        return f"{ASIDE if base != name else ''}{self.prefix}{base}"

    def here(self, name: str) -> str:
        """The other way round."""
        return name.replace(self.prefix, "", 1)

    def made(self, container: Container) -> Container:
        return replace(container, name=self.there(container.name), image=self.there(container.image))


class Docker(FakeEngine):
    """What the fake engine offers, by a real one. Failpoints are around each change, as they are there."""

    place: Place

    def __init__(self, clock: Callable[[], datetime], faults: Any) -> None:
        self._adapter, self._stranger = (Adapter(self.place.url, owner=owner, timeout=60.0) for owner in ("", "somebody else"))  # fmt: skip
        self._seen: dict[str, Running] | None = None
        self._wanted: Desired | None = None
        super().__init__(clock, faults)

    @property
    def adapter(self) -> Adapter:
        """The program's own, for the owner that the node is."""
        mine: Any = self
        self._adapter.owner, self._adapter.also, self._adapter.site = mine.owner, mine.also, f"{self.place.prefix}site"
        return self._adapter

    @property  # type: ignore[override]
    def containers(self) -> dict[str, Running]:
        """What there is, by the schedule's names. Only this process changes it."""
        if self._seen is None:
            names = [n.lstrip("/") for e in self.place.client.api.containers(all=True) for n in e["Names"] if self.place.prefix in n]  # fmt: skip
            none = Desired("site", "here", "", "/nonexistent")
            wanted = replace(self._wanted or none, containers=tuple(map(self.place.made, self._wanted.containers if self._wanted else ())), jobs=())  # fmt: skip
            view = self.adapter.observe(wanted, deep=False, extra_names=names)
            assert not view.unknown, view.unknown
            self._seen = {self.place.here(name): self._translated(running) for name, running in view.containers.items() if name in names}  # fmt: skip
        return dict(self._seen)

    @containers.setter
    def containers(self, _: dict[str, Running]) -> None:
        """There is nothing to begin with."""

    def _translated(self, running: Running) -> Running:
        spec = running.spec
        return replace(running, spec=replace(spec, name=self.place.here(spec.name), image=self.place.here(spec.image)))

    @property  # type: ignore[override]
    def images(self) -> dict[str, Image]:
        found = {name: self.adapter.image(self.place.there(name)) for name in ("image:1", "image:2", "image:9")}
        return {name: image for name, image in found.items() if image is not None}

    @images.setter
    def images(self, _: dict[str, Image]) -> None: ...

    def look(self, desired: Desired) -> None:
        """The next question about containers is asked of the engine, as for this desired state."""
        self._wanted, self._seen = desired, None

    def _did(self, act: Callable[[], object]) -> Callable[[], None]:
        """Something that changes containers."""

        def call() -> None:
            try:
                act()
            finally:
                self._seen = None

        return call

    # --- looking -------------------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        return self.adapter.exists(self.place.there(name))

    def identity(self, name: str) -> tuple[str, datetime | None]:
        return self.adapter.identity(self.place.there(name))

    def wait_healthy(
        self, container: Container, *, stop: Event | None = None, usual: float | None = None, patient: bool = False
    ) -> Health:
        found = self.adapter.wait_healthy(self.place.made(container), stop=stop, usual=usual, patient=patient)
        self._seen = None
        return Health(found.ok, found.reason, found.message)

    # --- changing ------------------------------------------------------------------------------------------------------

    def pull(self, image: str) -> None:
        self.faults.around(f"pull {image}", lambda: self.place.tag(image))

    def create(self, container: Container) -> str:
        made: list[str] = []
        act = self._did(lambda: made.append(self.adapter.create(self.place.made(container))))
        self.faults.around(f"create {container.name}", act)
        return made[0]

    def start(self, name: str) -> None:
        if self._require(name).state is State.RUNNING:
            return
        self.faults.around(f"start {name}", lambda: self._run(name))

    def stop(self, name: str, timeout: int | None = None) -> None:
        if name in self.containers and self.containers[name].state not in (State.EXITED, State.CREATED):
            self.faults.around(f"stop {name}", self._did(lambda: self.adapter.stop(self.place.there(name), timeout)))

    def restart(self, name: str, timeout: int | None = None) -> None:
        self._require(name)
        half = self._did(lambda: self.adapter.stop(self.place.there(name)))
        self.faults.around(f"restart {name}", lambda: self._run(name), half)

    def remove(self, name: str, adopted: Collection[str] = ()) -> None:
        half = self._did(lambda: self.adapter.stop(self.place.there(name)))
        act = self._did(lambda: self.adapter.remove(self.place.there(name), adopted))
        self.faults.around(f"remove {name}", act, half)

    def rename(self, name: str, new_name: str) -> None:
        act = self._did(lambda: self.adapter.rename(self.place.there(name), self.place.there(new_name)))
        self.faults.around(f"rename {name} {new_name}", act)

    def update(self, container: Container) -> None:
        self.faults.around(f"update {container.name}", self._did(lambda: self.adapter.update(self.place.made(container))))  # fmt: skip

    def _run(self, name: str) -> None:
        running = self.containers[name].state is State.RUNNING
        self._beside(name)
        act = self.adapter.restart if running else self.adapter.start
        self._did(lambda: act(self.place.there(name)))()

    def _beside(self, name: str) -> None:
        base = name.removeprefix(ASIDE)
        for other in {base, f"{ASIDE}{base}"} - {name}:
            found = self.containers.get(other)
            if found is not None and found.state is State.RUNNING:
                self.together.append(name)

    def _set(self, name: str, **changes: Any) -> None:
        assert changes == {"state": State.EXITED}, changes
        self._did(lambda: self.place.client.api.kill(self.place.there(name)))()


class RealEngine(Engine, Docker):
    """All failpoints of the modelled engine, on a real one."""

    def observe(self, desired: Desired, **more: Any) -> EngineView:
        self.look(desired)
        return super().observe(desired, **more)

    def signal(self, name: str, signal: str) -> None:
        self._changes("signal", name)

        def act() -> None:
            self.adapter.signal(self.place.there(name), signal)
            self._reads(name)

        self.faults.around(f"signal {name}", act)

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        done: list[tuple[int, str]] = []

        def act() -> None:
            made = replace(self.place.made(job.container), name=self.place.there(job.name))
            done.append(self.adapter.run_once(replace(job, name=self.place.there(job.name), container=made), claim))
            self.ran.add((job.name, job.inputs))

        self.faults.around(f"run {job.name}", self._did(act))
        return done[0]

    def become(self, world: World) -> None:
        """What somebody did by hand, as the model says it: done to the engine."""
        api, before, after = self.place.client.api, self.containers, world.containers
        for name in before.keys() - after.keys():
            moved = next((new for new in after.keys() - before.keys() if after[new].id == before[name].id), None)
            if moved:
                api.rename(self.place.there(name), self.place.there(moved))
            else:
                api.remove_container(self.place.there(name), force=True)
        known = {running.id for running in before.values()}
        for name, running in after.items():
            old, there = before.get(name), self.place.there(name)
            if running.id not in known:
                self._foreign(name, running, replaces=old is not None)
            elif old is None or old == running:
                continue
            elif old.state is not running.state:
                self._to(running.state, there, old.state)
            elif old.started_at != running.started_at:
                api.restart(there, timeout=0)
            elif old.spec.cpu_shares != running.spec.cpu_shares:
                api.update_container(there, cpu_shares=running.spec.cpu_shares)
            else:  # other options, as somebody makes it anew with our labels
                api.remove_container(there, force=True)
                self.adapter.create(self.place.made(running.spec))
                if old.state is State.RUNNING:
                    api.start(there)
        for reference, image in self.images.items():
            if reference not in world.images:
                self.place.untag(reference)
            elif world.images[reference] != image:
                self.place.tag(reference, _IMAGES["another"])
        self._seen = None

    def _to(self, state: State, there: str, before: State) -> None:
        api = self.place.client.api
        if before is State.PAUSED:
            api.unpause(there)
        if state is State.EXITED and before in (State.RUNNING, State.PAUSED):
            api.kill(there)
        elif state is State.PAUSED and before is State.RUNNING:
            api.pause(there)

    def _foreign(self, name: str, running: Running, *, replaces: bool) -> None:
        there = self.place.there(name)
        if replaces:
            self.place.client.api.remove_container(there, force=True)
        if running.spec.image in self.images:  # else nobody could have made it
            self._stranger.create(_quick(replace(self.place.made(running.spec), name=there)))
            self.place.client.api.start(there)


def _quick(container: Container) -> Container:
    """It ends at once, and is proved soon. What a schedule calls privileged has another variable instead: not every machine grants that."""
    environment = {**container.environment, **({"PRIVILEGED": "1"} if container.privileged else {})}
    return replace(
        container,
        environment=environment,
        privileged=False,
        stop_signal="SIGKILL",
        stop_timeout=1,
        stability=0.05,
        start_timeout=30.0,
    )


class _Disk(Moments):
    """Files keep the time at which they were written."""

    def put(self, path: str, state: FileState) -> None:
        super().put(path, state)
        with contextlib.suppress(OSError):
            os.utime(self.root / path, follow_symlinks=False)

    def settle(self) -> None: ...


class RealBench(Bench):
    """The modelled node on the real engine."""

    def __init__(self, place: Path, *, fleet: bool = False) -> None:
        super().__init__(place, fleet=fleet, engine=RealEngine, disk=_Disk)

    def of(self, desired: Desired) -> Desired:
        desired = super().of(desired)
        jobs = tuple(replace(job, container=replace(_quick(job.container), command=("true",))) for job in desired.jobs)
        return replace(desired, containers=tuple(map(_quick, desired.containers)), jobs=jobs)


@contextlib.contextmanager
def engine(url: str) -> Iterator[Place]:
    """The engine on which schedules are played within the block."""
    with Place(url) as place:
        Docker.place = place
        yield place


def check(place: Place, schedule: Schedule) -> None:
    """Play one schedule on a node of its own."""
    place.clear()
    with tempfile.TemporaryDirectory() as folder:
        play(schedule, Path(folder), RealBench)


def search(place: Place, examples: int, number: int, longest: float) -> int:
    """How many schedules were played, at most for so many seconds. Raises what one breaks; shrinking on a real engine would take hours, so
    the schedule is as it was drawn."""
    played, until = 0, time.monotonic() + longest

    def one(schedule: Schedule) -> None:
        nonlocal played
        if time.monotonic() < until:
            check(place, schedule)
            played += 1

    tried = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])(given(schedules())(one))  # fmt: skip
    seed(number)(tried)()
    return played


def main(arguments: Mapping[int, str]) -> None:
    """See the module; a third argument bounds the seconds."""
    began, user = time.monotonic(), f"schedules-{os.getpid()}"
    found = engines.ensure(user)
    try:
        with engine(found.url) as place:
            played = search(place, int(arguments.get(1, "300")), int(arguments.get(2, "1")), float(arguments.get(3, "1e9")))  # fmt: skip
            print(f"{played} schedules, no violation")
    except Violated as broken:
        notes = "\n".join(getattr(broken, "__notes__", ()))
        print(f"{notes}\n\nviolated: {broken}")
    finally:
        engines.release(user)
        print(f"{PASSES['passes']} passes, {sum(TALLY.values())} faults, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(dict(enumerate(sys.argv)))
