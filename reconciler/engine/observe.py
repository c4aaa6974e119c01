"""One look at the engine: containers, images, volumes, and whether running Kolla containers have their current files."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from reconciler import errors
from reconciler.engine import parse
from reconciler.engine.connection import THREADS, Connection
from reconciler.engine.events import Event
from reconciler.foreign import said, whole_lines
from reconciler.model import ASIDE, Container, Desired, Image, Running, State, Volume
from reconciler.reasons import Reason

_ENDED = "ended with exit code"
_KILLED = f"{_ENDED} 137"
_SETTLES = 3.0  # seconds
CHECK = ("/usr/local/bin/kolla_set_configs", "--check")

_T = TypeVar("_T")
_SAME, _CHANGED = 0, 1
_PARSED = ("Id", "Name", "Image", "Config", "HostConfig", "RestartCount")
_HEADER = 8
_GLANCE = 0.2  # seconds between two looks whether anybody still waits for an output


@dataclass(frozen=True, slots=True)
class EngineView:
    """What the engine has. `volumes` maps a name to its folder on the host, `own_volumes` are those that we made,
    `volume_details` tell what each is; `unknown` is keyed like Actual.unknown: `container:NAME`, `image:REFERENCE`,
    `stale:NAME`."""

    containers: Mapping[str, Running] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    own_volumes: frozenset[str] = frozenset()
    volume_details: Mapping[str, Volume] = field(default_factory=dict)
    stale: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


class Cache:
    """Inspect results. An image's never change under its id; what a name stands for, and a container's, are kept only
    while events say what changes.

    The configuration of a container changes by rename and update alone, its state by start, die and the like; each of
    these is an event that drops the entry. What is read while such an event arrives is not kept.
    """

    def __init__(self) -> None:
        self.live = False
        self._lock = threading.Lock()
        self._containers: dict[str, Mapping[str, Any]] = {}
        self._generation: dict[str, int] = {}
        self._epoch = 0
        self._images: dict[str, Image] = {}
        self._parsed: dict[str, tuple[Mapping[str, Any], Image | None, tuple[str, Container | None], Running]] = {}

    def heard(self, event: Event) -> None:
        """Take an event of the engine into account."""
        with self._lock:
            if event.kind == "engine":
                self.live = event.action == "connected"
                self._epoch += 1
                self._containers.clear()
                self._generation.clear()
                self._forget_names()
            elif event.kind == "image":
                self._generation[""] = self._generation.get("", 0) + 1
                self._forget_names()
            elif event.kind == "container":
                self._containers.pop(event.id, None)
                self._generation[event.id] = self._generation.get(event.id, 0) + 1
                if event.action == "destroy":
                    self._generation.pop(event.id, None)

    def _forget_names(self) -> None:
        self._images = {key: image for key, image in self._images.items() if key == image.id}

    def container(self, identity: str, listed: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The kept inspect JSON, if it agrees with what the engine lists."""
        with self._lock:
            data = self._containers.get(identity) if self.live else None
        return data if data is not None and _agrees(data, listed) else None

    def mark(self, identity: str) -> tuple[int, int]:
        """To be taken before reading and handed to `keep` after it."""
        with self._lock:
            return self._epoch, self._generation.get(identity, 0)

    def keep(self, identity: str, data: Mapping[str, Any], mark: tuple[int, int]) -> None:
        """Keep what was read, unless an event came in between."""
        with self._lock:
            if self.live and mark == (self._epoch, self._generation.get(identity, 0)):
                self._containers[identity] = data

    def parsed(
        self,
        data: Mapping[str, Any],
        image: Image | None,
        asked: tuple[str, Container | None],
        parse: Callable[[], Running],
    ) -> Running:
        """What `parse` makes of the very same JSON and image, for the same owner and desired container, is made once."""
        identity = str(data["Id"])
        before = self._parsed.get(identity)
        if before is not None and before[0] is data and before[1] is image and before[2] == asked:
            return before[3]
        found = parse()
        self._parsed[identity] = (data, image, asked, found)
        return found

    def image(self, target: str) -> Image | None:
        """What a name or an id stands for; names are kept only while events say what happens to them."""
        with self._lock:
            image = self._images.get(target)
            return image if image is not None and (self.live or target == image.id) else None

    def keep_image(self, target: str, image: Image, mark: tuple[int, int]) -> None:
        """Keep what was read; a name only if no event about images came in between. `mark` is that of ""."""
        with self._lock:
            if target == image.id or (self.live and mark == (self._epoch, self._generation.get("", 0))):
                self._images[target] = image

    def retain(self, containers: Iterable[str], images: Iterable[str]) -> None:
        """Forget every container and image that is not in use any more."""
        with self._lock:
            self._containers = {key: self._containers[key] for key in containers if key in self._containers}
            self._images = {key: self._images[key] for key in images if key in self._images}
            self._parsed = {key: self._parsed[key] for key in self._containers if key in self._parsed}


class Observer:
    """Looks at the engine for one owner, by its key; what carries a key of `also` counts as its own, too."""

    def __init__(self, connection: Connection, owner: str, cache: Cache, also: Collection[str] = ()) -> None:
        self._connection, self.owner, self._cache, self.also = connection, owner, cache, also

    def observe(self, desired: Desired, *, deep: bool, extra_names: Iterable[str] = ()) -> EngineView:
        """Every container that is ours, desired, moved aside or named in `extra_names`, what they are made from, volumes.

        `deep` also runs `kolla_set_configs --check` in the running ones. What cannot be read is in `unknown`. Raises
        errors.Transient (EngineUnreachable, EngineTimeout) when the engine as a whole cannot be read.
        """
        wanted = {c.name: c for c in desired.containers} | {job.name: job.container for job in desired.jobs}
        names = {*wanted, *extra_names}
        api = self._connection.api
        listed = self._connection.ask("list containers", lambda: api.containers(all=True))
        volumes = self._connection.ask("list volumes", api.volumes)
        facts = self._connection.facts()
        chosen = {entry["Id"]: entry for entry in listed if self._is_of_interest(entry, names)}
        unknown: dict[str, str] = {}
        with ThreadPoolExecutor(THREADS, thread_name_prefix="observe") as pool:
            inspected = _each(pool, chosen, lambda identity: self._inspect(identity, chosen[identity]))
            data = {}
            for identity, found in inspected.items():
                if isinstance(found, errors.ReconcilerError):
                    unknown[f"container:{name_of(chosen[identity])}"] = str(found)
                elif found is not None:
                    data[identity] = found
            images = self._images(
                pool, {c.image for c in wanted.values()}, {d["Image"] for d in data.values()}, unknown
            )
            by_id = {entry["Id"]: name_of(entry) for entry in listed}
            containers: dict[str, Running] = {}
            for found in data.values():
                name = str(found["Name"]).lstrip("/")
                own = images.get(found["Image"])
                want = wanted.get(name.removeprefix(ASIDE))
                try:
                    containers[name] = self._cache.parsed(
                        found,
                        own,
                        (" ".join((self.owner, *sorted(self.also))), want),
                        partial(self._parse, found, own, want, facts, by_id),
                    )
                except (KeyError, TypeError, ValueError) as error:
                    unknown[f"container:{name}"] = f"the engine's description cannot be read: {error!r}"
            stale = self._stale(pool, containers, wanted, unknown) if deep else {}
            for name in [n for n in containers if f"stale:{n}" in unknown]:
                before = containers[name]
                seen = self._again(before.id, patience=_SETTLES if _KILLED in unknown[f"stale:{name}"] else 0.0)
                own = images.get(seen["Image"]) if seen else None
                now = self._parse(seen, own, wanted.get(name), facts, by_id) if seen else None
                if now is None or (now.state, now.started_at) != (before.state, before.started_at):
                    # It was killed while it was asked: that is what there is to tell.
                    del unknown[f"stale:{name}"], containers[name]
                    containers |= {name: now} if now else {}
        self._cache.retain(data, images)
        return EngineView(
            containers=containers,
            images={ref: image for ref, image in images.items() if any(c.image == ref for c in wanted.values())},
            volumes={volume["Name"]: volume.get("Mountpoint") or "" for volume in volumes.get("Volumes") or ()},
            own_volumes=frozenset(v["Name"] for v in volumes.get("Volumes") or () if self._is_ours(v)),
            volume_details={
                v["Name"]: parse.volume(v, owner=self.owner, also=self.also) for v in volumes.get("Volumes") or ()
            },
            stale=stale,
            unknown=unknown,
        )

    def _parse(
        self,
        data: Mapping[str, Any],
        own: Image | None,
        want: Container | None,
        facts: parse.Facts,
        names: Mapping[str, str],
    ) -> Running:
        return parse.running(data, own, owner=self.owner, also=self.also, engine=facts, wanted=want, names=names)

    def _is_of_interest(self, entry: Mapping[str, Any], names: set[str]) -> bool:
        name = name_of(entry)
        return self._is_ours(entry) or name in names or (name.startswith(ASIDE) and name.removeprefix(ASIDE) in names)

    def _is_ours(self, entry: Mapping[str, Any]) -> bool:
        return parse.is_ours(entry.get("Labels"), self.owner, self.also)

    def _inspect(self, identity: str, listed: Mapping[str, Any]) -> Mapping[str, Any] | None:
        kept = self._cache.container(identity, listed)
        if kept is not None:
            return kept
        mark = self._cache.mark(identity)
        found = self._connection.inspect(identity)
        if found is None:
            return None
        data = _essence(found)
        self._cache.keep(identity, data, mark)
        return data

    def _again(self, identity: str, patience: float) -> Mapping[str, Any] | None:
        """A container as it is now. The engine needs a moment to notice that one is dead: so many seconds it gets."""
        deadline = time.monotonic() + patience
        while (
            (found := self._connection.inspect(identity)) and found["State"]["Running"] and time.monotonic() < deadline
        ):
            time.sleep(0.1)
        return _essence(found) if found else None

    def _images(
        self, pool: ThreadPoolExecutor, references: set[str], ids: set[str], unknown: dict[str, str]
    ) -> dict[str, Image]:
        """Images by reference and, for those that containers were made from, by id. Absent ones are left out."""
        result: dict[str, Image] = {}
        for target, image in _each(pool, references | ids, self._image).items():
            if isinstance(image, errors.ReconcilerError):
                unknown[f"image:{target}"] = str(image)
            elif image is not None:
                result[target] = image
        return result

    def _image(self, target: str) -> Image | None:
        kept = self._cache.image(target)
        if kept is not None:
            return kept
        mark = self._cache.mark("")
        data = self._connection.inspect_image(target)
        if data is None:
            return None
        image = parse.image(data)
        self._cache.keep_image(target, image, mark)
        return image

    def _stale(
        self,
        pool: ThreadPoolExecutor,
        containers: Mapping[str, Running],
        wanted: Mapping[str, Container],
        unknown: dict[str, str],
    ) -> dict[str, str]:
        """The running Kolla containers whose files are not what they were started with, and what the check said."""
        names = [n for n, r in containers.items() if r.state is State.RUNNING and n in wanted and wanted[n].kolla]
        stale = {}
        for name, answer in _each(
            pool, names, lambda name: execute(self._connection, name, CHECK, user="root")
        ).items():
            if isinstance(answer, errors.ReconcilerError):
                unknown[f"stale:{name}"] = str(answer)
            elif answer[0] == _CHANGED:
                lines = answer[1].strip().splitlines()
                stale[name] = lines[-1][-300:] if lines else "its configuration changed"
            elif answer[0] != _SAME:
                unknown[f"stale:{name}"] = f"kolla_set_configs --check {_ENDED} {answer[0]}"
        return stale


def execute(
    connection: Connection,
    name: str,
    command: Iterable[str],
    *,
    user: str = "",
    limit: int = 64 << 10,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    identity: str = "",
) -> tuple[int, str]:
    """Run a command inside a running container, in that with the id `identity` where it is given: its exit code and the last `limit` bytes of
    both outputs as text.

    Raises errors.Transient (EngineTimeout) when it has not ended after `seconds` (default: the connection's timeout), or `stop`
    was set before: it may still run; and errors.Terminal (ExecFailed) when the engine refuses.
    """
    deadline = time.monotonic() + (connection.timeout if seconds is None else seconds)
    words = list(command)
    api: Any = connection.api
    with connection.asking(f"run {words[0]} in {name}", fallback=Reason.ExecFailed):
        created = api.exec_create(identity or name, words, user=user)
        stream = api.exec_start(created["Id"], socket=True)
        try:
            socket = getattr(stream, "_sock", stream)
            output = _read_frames(socket, _early(stream, socket), deadline, limit, stop or threading.Event())
        finally:
            stream.close()
        code = api.exec_inspect(created["Id"])["ExitCode"]
    if code is None:
        raise errors.Transient(f"the command in {name} has not ended", reason=Reason.EngineTimeout)
    return int(code), said(whole_lines(output, limit))


def _early(stream: Any, socket: Any) -> bytes:
    """What came together with the answer's head: the client has read it from the socket, and keeps it in the buffer that it read the head with."""
    buffered = getattr(getattr(getattr(stream, "_response", None), "raw", None), "_fp", None)
    buffered = getattr(buffered, "fp", None)
    if buffered is None:
        return b""
    socket.setblocking(False)
    return buffered.peek() or b""


def _read_frames(stream: Any, early: bytes, deadline: float, limit: int, stop: threading.Event) -> bytes:
    """Both outputs, from the engine's framed stream: eight bytes of header, of which the last four are the length. `early`: its beginning."""
    pending, output = early, b""
    while True:
        while len(pending) >= _HEADER and len(pending) >= _HEADER + (size := int.from_bytes(pending[4:_HEADER], "big")):
            output = (output + pending[_HEADER : _HEADER + size])[-limit:]
            pending = pending[_HEADER + size :]
        left = deadline - time.monotonic()
        if left <= 0 or stop.is_set():
            raise TimeoutError
        stream.settimeout(min(left, _GLANCE))
        try:
            piece = stream.recv(64 << 10)
        except TimeoutError:
            continue
        if not piece:
            return output
        pending += piece


def _each(
    pool: ThreadPoolExecutor, items: Iterable[str], call: Callable[[str], _T]
) -> dict[str, _T | errors.ReconcilerError]:
    """`call` for every item at the same time; its error in place of its result."""

    def attempt(item: str) -> _T | errors.ReconcilerError:
        try:
            return call(item)
        except errors.ReconcilerError as error:
            return error

    listed = list(items)
    return dict(zip(listed, pool.map(attempt, listed), strict=True))


def _essence(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What parsing looks at. The rest, with the output of health checks, would be half of what a daemon keeps in memory."""
    state = dict(data["State"])
    if state.get("Health"):
        state["Health"] = {"Status": state["Health"].get("Status", "")}
    kept = {name: data[name] for name in _PARSED if name in data}
    return {**kept, "State": state}


def name_of(listed: Mapping[str, Any]) -> str:
    """A container's own name: links add further ones with a slash inside."""
    names = [str(name).lstrip("/") for name in listed.get("Names") or ()]
    return next((name for name in names if "/" not in name), str(listed["Id"])[:12])


def _agrees(data: Mapping[str, Any], listed: Mapping[str, Any]) -> bool:
    state = data["State"]
    health = (state.get("Health") or {}).get("Status", "")
    shown = str(listed.get("Status") or "")
    said = next((word for word in ("unhealthy", "healthy", "health: starting") if f"({word})" in shown), "")
    return (
        state["Status"] == listed["State"]
        and str(data["Name"]).lstrip("/") == name_of(listed)
        and (health if health != "none" else "") == {"health: starting": "starting"}.get(said, said)
    )
