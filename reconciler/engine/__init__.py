"""The Docker Engine: what it has, and one method per thing it may be asked to do. docker-py lives only here."""

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from docker import errors as docker_errors
from docker.utils import parse_repository_tag

from reconciler import errors
from reconciler.engine import events, faults, jobs, logs, observe, options, parse
from reconciler.engine.connection import Connection
from reconciler.engine.events import Event
from reconciler.engine.health import Health, Waiter
from reconciler.engine.observe import EngineView
from reconciler.model import Container, Desired, Image, Job, State, Volume
from reconciler.options import requests
from reconciler.options.normal import normal
from reconciler.reasons import Reason

__all__ = ["Engine", "EngineView", "Event", "Health"]


class Admit(Protocol):
    """Judges a container, given the engine's volumes, and says what its paths are. Raises errors.Terminal (PolicyDenied).

    `paths_only`: it was made already, and only what its paths are may have changed since.
    """

    def __call__(
        self, container: Container, volumes: Mapping[str, Volume], *, paths_only: bool = False
    ) -> Mapping[str, object]: ...


_FINISHING = 0.2  # seconds between two looks whether a container has ended
_DEFAULT_STOP = 10  # seconds between SIGTERM and SIGKILL where neither container nor caller says


class Engine:
    """One Docker Engine, seen and changed on behalf of one owner.

    `url` is a DOCKER_HOST value, None for the engine's default; `owner` is the installation's key, the value of the ownership
    label, `also` are keys that count as its own, `adopted` says which ids are its own without a label; `site` (`<site>/<host>`) goes
    into a label for people. `admit` judges every container right before it is made or started, given the engine's volumes, and says what
    its paths are: when they are others right afterwards, the container goes. `timeout` in seconds is for one request. Safe to use from
    up to eight threads. Every method raises errors.Transient (EngineUnreachable, EngineTimeout) besides what it names. A change whose
    answer does not come in time is looked for before it counts as EngineTimeout.
    """

    def __init__(self, url: str | None, *, owner: str, also: Collection[str] = (), timeout: float = 60.0) -> None:
        self._connection = Connection(url, timeout)
        self._cache = observe.Cache()
        self._observer = observe.Observer(self._connection, owner, self._cache, frozenset(also))
        self.site = ""
        self.admit: Admit | None = None
        self.adopted: Callable[[], Collection[str]] = tuple

    @property
    def owner(self) -> str:
        """Whose containers are seen as owned, and made."""
        return self._observer.owner

    @owner.setter
    def owner(self, owner: str) -> None:
        self._observer.owner = owner

    @property
    def also(self) -> Collection[str]:
        """Other keys whose containers count as this owner's."""
        return self._observer.also

    @also.setter
    def also(self, also: Collection[str]) -> None:
        self._observer.also = frozenset(also)

    @property
    def data_root(self) -> str:
        """The folder where the engine keeps images and volumes."""
        return self._connection.facts().data_root

    def admitting(self, admit: Admit) -> "Engine":
        """This engine, over the same connections, with a judge of its own."""
        view = copy.copy(self)
        view.admit = admit
        return view

    def close(self) -> None:
        """Close the connections; the next use connects again."""
        self._connection.close()

    # --- looking -----------------------------------------------------------------------------------------------------

    def observe(self, desired: Desired, *, deep: bool, extra_names: Iterable[str] = ()) -> EngineView:
        """See `Observer.observe`. While `watch` runs in another thread, what did not change is not read again."""
        return self._observer.observe(desired, deep=deep, extra_names=extra_names)

    def watch(self, callback: Callable[[Event], None], *, stop: threading.Event) -> None:
        """Call `callback` for every event until `stop` is set; blocks, so run it in a thread of its own.

        Never raises for the engine: it connects again and reads on from where it was. A kind `engine` event says
        `connected` (look at everything: something may have been missed) or `disconnected`.
        """

        def heard(event: Event) -> None:
            self._cache.heard(event)
            callback(event)

        events.Stream(self._connection, heard, stop).run()

    def info(self) -> Mapping[str, Any]:
        """The engine's `/info`, for `doctor`."""
        return dict(self._connection.ask("ask the engine about itself", self._connection.api.info))

    def exists(self, name: str) -> bool:
        """Whether there is a container of that name, whoever's."""
        return self._connection.inspect(name) is not None

    def runs(self, name: str) -> bool:
        """Whether a container is there and runs."""
        data = self._connection.inspect(name)
        return data is not None and bool(data["State"]["Running"])

    def names(self) -> dict[str, str]:
        """Every container's name by its id."""
        listed = self._connection.ask("list containers", lambda: self._connection.api.containers(all=True))
        return {str(entry["Id"]): observe.name_of(entry) for entry in listed}

    def name_of(self, identity: str) -> str:
        """The name of the container with that id; "" when there is none, or nobody can tell."""
        with contextlib.suppress(errors.ReconcilerError):
            data = self._connection.inspect(identity)
            return str(data["Name"]).lstrip("/") if data else ""
        return ""

    def identity(self, name: str) -> tuple[str, datetime | None]:
        """Id and start time. Raises errors.Transient (ContainerMissing)."""
        data = self._require(name)
        return str(data["Id"]), parse.moment(data["State"].get("StartedAt"))

    def made_for(self, site: str) -> Mapping[str, str]:
        """The containers that were made for `<site>/<host>`, whoever made them: name → the key on their label."""
        api, filters = self._connection.api, {"label": f"{options.SITE}={site}"}
        listed = self._connection.ask("list containers", lambda: api.containers(all=True, filters=filters))
        return {observe.name_of(entry): str((entry.get("Labels") or {}).get(options.OWNER, "")) for entry in listed}

    def volumes(self) -> Mapping[str, str]:
        """Every volume's name and its folder on the host."""
        found = self._connection.ask("list volumes", self._connection.api.volumes)
        return {volume["Name"]: volume.get("Mountpoint") or "" for volume in found.get("Volumes") or ()}

    def last_words(self, container: Container, lines: int = 20, *, name: str | None = None) -> str:
        """The last lines of the container's `log_files` and of its output. "" when there are none; raises nothing.

        They came through foreign.py: what the service wrote of secrets that this process knows is masked.
        """
        return logs.last_words(self._connection, container, name or container.name, lines)

    def output(self, name: str, lines: int) -> str:
        """The last lines that a container wrote, as they come, masked as those of `last_words`. "" when there are none; raises nothing."""
        return logs.output(self._connection, name, lines)

    def wait_healthy(
        self,
        container: Container,
        *,
        name: str | None = None,
        timeout: float | None = None,
        stability: float | None = None,
        stop: threading.Event | None = None,
        usual: float | None = None,
        patient: bool = False,
    ) -> Health:
        """Wait until the container is healthy and stays so, or `stop` is set. Seconds default to its `start_timeout` and
        `stability`; `usual` are those that it took before, as far as that is known; `patient`: where its service allows a
        start more than the usual time it has that, also while the engine calls it unhealthy."""
        waiter = Waiter(self._connection, container, name or container.name, stop, usual, patient=patient)
        return waiter.wait(
            container.start_timeout if timeout is None else timeout,
            container.stability if stability is None else stability,
        )

    # --- images and volumes ------------------------------------------------------------------------------------------

    def pull(self, image: str, on_progress: Callable[[str, int, int], None] | None = None) -> None:
        """Bring an image. `on_progress` gets (layer, bytes, of bytes).

        Raises errors.Terminal (ImageNotFound, RegistryDenied, DigestMismatch) or errors.Transient (RegistryUnreachable,
        DiskFull); the message names image and registry.
        """
        doing = f"pull {image}"
        repository, tag = parse_repository_tag(image)
        with self._connection.asking(doing, image=image, fallback=Reason.PullFailed):
            for step in self._connection.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
                if "error" in step:
                    raise faults.explain(
                        faults.first_line(step["error"]), doing=doing, image=image, fallback=Reason.PullFailed
                    )
                detail = step.get("progressDetail") or {}
                if on_progress and detail.get("total"):
                    on_progress(str(step.get("id", "")), int(detail.get("current", 0)), int(detail["total"]))
        data = self._connection.inspect_image(image)
        if data is None:
            raise errors.Transient(
                f"{doing}: it is not there though the engine reported success", reason=Reason.PullFailed
            )
        if tag and tag.startswith("sha256:") and not any(d.endswith(tag) for d in data.get("RepoDigests") or ()):
            raise errors.Terminal(
                f"{doing}: what registry {faults.registry(image)} served has another digest",
                reason=Reason.DigestMismatch,
            )

    def image(self, reference: str) -> Image | None:
        """What the engine has under that name; None when it has nothing."""
        data = self._connection.inspect_image(reference)
        return parse.image(data) if data is not None else None

    def images_size(self) -> tuple[int, int]:
        """How many images there are under some name, and the bytes of all layers, each counted once. The engine looks at its volumes as well,
        which takes as long as `du` does there."""
        told = self._connection.ask("measure the images", self._connection.api.df)
        named = [image for image in told.get("Images") or () if image.get("RepoTags") or image.get("RepoDigests")]
        return len(named), int(told.get("LayersSize") or 0)

    def create_volume(self, name: str, *, service: str = "") -> None:
        """Make a named volume with our labels; one that exists stays as it is."""
        labels = {options.OWNER: self.owner, options.SITE: self.site, options.SERVICE: service}
        api = self._connection.api
        self._connection.ask(f"create volume {name}", lambda: api.create_volume(name, labels=labels))

    # --- containers --------------------------------------------------------------------------------------------------

    def create(self, container: Container, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> str:
        """Make a container, not started, and the named volumes it lacks. Returns its id.

        Raises errors.Terminal (NameInUse, ImageNotFound, MountMissing, CapabilityRefused, EngineRefused, PolicyDenied,
        MountExchanged) and errors.Transient (DiskFull).
        """
        called = name or container.name
        self._admitted(container)
        self._make_volumes(container)
        body = options.create(container, owner=self.owner, labels={options.SITE: self.site, **(labels or {})})
        api: Any = self._connection.api

        def made() -> bool:
            data = self._connection.inspect(called)
            return data is not None and data["Config"]["Labels"].get(options.SPEC) == body["Labels"][options.SPEC]

        answers: list[Mapping[str, Any]] = []
        self._connection.settle(
            f"create {called}",
            lambda: answers.append(api.create_container_from_config(body, called)),
            made,
        )
        return str((answers[0] if answers else self._require(called))["Id"])

    def start(self, name: str) -> None:
        """Start a container; one that runs is left alone.

        Raises errors.Terminal (MountMissing, CapabilityRefused, UlimitRefused, DeviceMissing, StartFailed) and errors.Transient
        (PortInUse, DiskFull, ContainerMissing); as `create` what the policy says.
        """
        api = self._connection.api
        with self._watched(name):
            self._connection.settle(
                f"start {name}", lambda: api.start(name), lambda: self.runs(name), fallback=Reason.StartFailed
            )

    def stop(self, name: str, timeout: int | None = None) -> None:
        """Send the container's stop signal, after `timeout` seconds SIGKILL. One that is not there counts as stopped."""
        data = self._connection.inspect(name)
        if data is None or data["State"]["Status"] in (State.EXITED, State.CREATED, State.DEAD):
            return
        seconds = self._stop_seconds(data, timeout)
        api = self._connection.api

        def stopped() -> bool:
            return not self.runs(name)

        self._connection.settle(f"stop {name}", lambda: api.stop(name, timeout=seconds), stopped, patience=seconds)

    def finish(self, name: str, signal: str, seconds: float) -> None:
        """Send a signal on which a container ends by itself, and wait up to `seconds` until it has. Whether it has is for `stop` to see."""
        self.signal(name, signal)
        deadline = time.monotonic() + seconds
        while self.runs(name) and time.monotonic() < deadline:
            time.sleep(_FINISHING)

    def restart(self, name: str, timeout: int | None = None) -> None:
        """Stop as `stop` does, then start. Raises as `start`."""
        before = self._require(name)
        seconds = self._stop_seconds(before, timeout)
        api = self._connection.api

        def restarted() -> bool:
            now = self._connection.inspect(name)
            return (
                now is not None
                and now["State"]["Running"]
                and now["State"]["StartedAt"] != before["State"]["StartedAt"]
            )

        with self._watched(name):
            self._connection.settle(
                f"restart {name}",
                lambda: api.restart(name, timeout=seconds),
                restarted,
                fallback=Reason.StartFailed,
                patience=seconds + 10.0,
            )

    def signal(self, name: str, signal: str) -> None:
        """Send a signal (`HUP`, `SIGHUP`) to the container's first process."""
        api = self._connection.api
        self._connection.ask(f"send {signal} to {name}", lambda: api.kill(name, signal=signal))

    def rename(self, name: str, new_name: str) -> None:
        """Give a container another name. Raises errors.Terminal (NameInUse), errors.Transient (ContainerMissing)."""
        identity = str(self._require(name)["Id"])
        api = self._connection.api

        def renamed() -> bool:
            data = self._connection.inspect(new_name)
            return data is not None and data["Id"] == identity

        def rename() -> None:
            try:
                api.rename(identity, new_name)
            except docker_errors.APIError as error:
                if "sandbox" not in str(error):
                    raise
                # Between two starts of what ends at once it counts as running and has no network that could be called otherwise.
                api.stop(identity, timeout=0)
                api.rename(identity, new_name)

        self._connection.settle(f"rename {name} to {new_name}", rename, renamed)

    def remove(self, name: str, adopted: Collection[str] = ()) -> None:
        """Remove a container, running or not; its volumes stay. One that is not there is fine.

        `adopted` are ids of containers that are ours without our label. Raises errors.Terminal (NotOwned) for any other.
        """
        data = self._connection.inspect(name)
        if data is None:
            return
        api, identity = self._connection.api, str(data["Id"])
        if not self._is_ours(data["Config"].get("Labels") or {}) and identity not in adopted:
            raise errors.Terminal(
                f"remove {name}: it was made by somebody else and is left alone", reason=Reason.NotOwned
            )

        def remove() -> None:
            try:
                api.remove_container(identity, force=True, v=False)
            except docker_errors.NotFound:
                return
            except docker_errors.APIError as error:
                if "already in progress" not in str(error):
                    raise
                self._gone(identity)

        self._connection.settle(f"remove {name}", remove, lambda: self._connection.inspect(identity) is None)

    def update(self, container: Container) -> None:
        """Bring the limits and the restart policy, which change without a new container, to what `container` says.

        Raises errors.Terminal (EngineRefused) when the engine or its kernel does not take one of them.
        """
        data = self._require(container.name)
        facts = self._connection.facts()
        now = parse.running(data, None, owner=self.owner, engine=facts, wanted=container).spec
        want = normal(container)
        fields = requests.updated(now, want)
        if not fields:
            return
        doing = f"update {container.name} ({', '.join(sorted(fields))})"
        shared = bool(data["HostConfig"].get("NanoCpus"))
        if shared and "cpu_period" in fields:
            raise errors.Terminal(
                f"{doing}: it was given a number of CPUs by hand, and the engine does not let a period be set beside that. "
                f"Remove the container ({container.name}): it is made anew",
                reason=Reason.EngineRefused,
            )
        for body in requests.updates(now, want, cpus=facts.cpus, shared=shared):
            self._connection.ask(doing, self._connection.post, "/containers/{0}/update", str(data["Id"]), body)

    def execute(
        self,
        name: str,
        command: Sequence[str],
        timeout: float = 60.0,
        *,
        user: str = "",
        limit: int = 64 << 10,
        anybodys: bool = False,
    ) -> tuple[int, str]:
        """Run a command in a running container: exit code and the last `limit` bytes of its output. `anybodys`: whoever made it; a command that a
        commit says is never run so.

        Raises errors.Transient (EngineTimeout) after `timeout` seconds: the command may still run. errors.Terminal (ExecFailed; NotOwned: the
        container was made by somebody else, and may do what nobody granted to this program's own).
        """
        data = None if anybodys else self._connection.inspect(name)
        if data is not None:
            ours = self._is_ours(data["Config"].get("Labels") or {}) or str(data["Id"]) in self.adopted()
            if not ours:
                raise errors.Terminal(
                    f"no command is run in {name}: it was made by somebody else", reason=Reason.NotOwned
                )
        connection = Connection(self._connection.url, timeout)
        try:
            return observe.execute(
                connection, name, command, user=user, limit=limit, identity=str(data["Id"]) if data else name
            )
        finally:
            connection.close()

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        """Run a job's container to its end: exit code and last lines; the container is removed afterwards. `claim` goes on its label.

        A container that an earlier run of ours left, with the same claim, is taken over: waited for when it still runs, its exit code taken when
        it ended. Raises errors.Terminal (JobTimeout when it ran longer than its timeout and was stopped; NameInUse) and as
        `create` and `start`.
        """
        runner = jobs.Runner(
            self._connection,
            self._is_ours,
            create=lambda container, labels: self.create(container, labels=labels),
            start=self.start,
            stop=self.stop,
            remove=self.remove,
        )
        return runner.run(job, claim)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        return parse.is_ours(labels, self.owner, self.also)

    def _admitted(self, container: Container, *, paths_only: bool = False) -> Mapping[str, object]:
        if self.admit is None:
            return {}
        named = any(not mount.source.startswith("/") for mount in container.mounts)
        found = self._connection.ask("list volumes", self._connection.api.volumes) if named else {}
        volumes = {v["Name"]: parse.volume(v, owner=self.owner, also=self.also) for v in found.get("Volumes") or ()}
        return self.admit(container, volumes, paths_only=paths_only)

    @contextlib.contextmanager
    def _watched(self, name: str) -> Iterator[None]:
        """Judge a container by what the engine has of it, right before and right after it is started.

        The engine resolves a bind's path when it starts the container, and not when it makes it.
        """
        if self.admit is None:
            yield
            return
        data = self._require(name)
        container = parse.running(data, None, owner=self.owner, engine=self._connection.facts()).spec
        before = self._admitted(container, paths_only=True)
        yield
        try:
            after = self._admitted(container, paths_only=True)
            exchanged = [path for path, what in before.items() if what is not None and after[path] != what]
            why = f"what is at {', '.join(exchanged)} was exchanged" if exchanged else ""
        except errors.Terminal as error:
            why = str(error)
        if why:
            self.stop(name, 0)
            raise errors.Terminal(
                f"{name} was stopped: while it was started, what it binds became something else ({why}). Look who may write to "
                "the folders above",
                reason=Reason.MountExchanged,
            )

    def _require(self, name: str) -> Mapping[str, Any]:
        data = self._connection.inspect(name)
        if data is None:
            raise errors.Transient(
                f"there is no container {name} (it was removed meanwhile)", reason=Reason.ContainerMissing
            )
        return data

    def _stop_seconds(self, data: Mapping[str, Any], timeout: int | None) -> int:
        if timeout is not None:
            return timeout
        return int(data["Config"].get("StopTimeout") or _DEFAULT_STOP)

    def _gone(self, identity: str) -> None:
        deadline = time.monotonic() + 10
        while self._connection.inspect(identity) is not None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _make_volumes(self, container: Container) -> None:
        wanted = {mount.source for mount in container.mounts if not mount.source.startswith("/")}
        if wanted:
            present = self.volumes()
            for name in sorted(wanted - present.keys()):
                self.create_volume(name, service=container.service)
