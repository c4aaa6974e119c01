"""The connection to the engine: one pooled client for all threads, and the two ways to ask it something."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import docker
import requests
import urllib3
from docker import errors as docker_errors
from docker.transport import UnixHTTPAdapter

from reconciler import errors
from reconciler.engine import faults, parse
from reconciler.foreign import said
from reconciler.reasons import Reason

T = TypeVar("T")

THREADS = 8
_OLDEST = (1, 41)  # of the API: Docker Engine 20.10
_HEADERS = {"Host": "docker"}
_RAISED = (
    docker_errors.DockerException,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    OSError,
)


class _Client(docker.APIClient):
    """docker-py's client is a requests session: this one reads no ~/.netrc and no proxy, not even for its first request. It goes no further
    with an engine that only looks like Docker's, or is older than what is tried here."""

    @property
    def trust_env(self) -> bool:
        return False

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        pass

    def _retrieve_server_version(self) -> str:
        try:
            told = self.version(api_version=False)
        except requests.exceptions.JSONDecodeError:
            told = None
        return supported(told)


def supported(answer: Any) -> str:
    """The version of the API, from what an engine answers to /version. Raises errors.Terminal (EngineUnsupported).

    Podman answers most of Docker's API and does other things for it: health checks are timers of systemd, restarts after a boot a unit of
    their own, and options come back otherwise than they were given, which would be drift that is healed for ever.
    """
    told = answer if isinstance(answer, Mapping) else {}
    version, parts = str(told.get("ApiVersion", "")), told.get("Components")
    parts = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    podman = next((part for part in parts if "podman" in str(part.get("Name", "")).lower()), None)
    if podman is not None:
        what = f"Podman {podman.get('Version')} answers there, which is no Docker Engine"
    elif not re.fullmatch(r"\d+\.\d+", version):
        what = f"what answers there is no Docker Engine: its API is {version[:20]!r}"
    elif tuple(map(int, version.split("."))) < _OLDEST:
        what = f"Docker Engine {told.get('Version')} is too old"
    else:
        return version
    raise errors.Terminal(
        f"{said(what)} (install Docker Engine 20.10 or later, and give its socket as engine.url in the settings)",
        reason=Reason.EngineUnsupported,
    )


class Connection:
    """A client that connects at its first use. Safe to use from up to 2 × `THREADS` threads.

    `url` is the value of DOCKER_HOST (`unix:///run/docker.sock`), None for the engine's default. `timeout` in seconds.
    """

    def __init__(self, url: str | None, timeout: float = 60.0) -> None:
        self.url, self.timeout = url, timeout
        self._lock = threading.Lock()
        self._api: docker.APIClient | None = None
        self._facts: parse.Facts | None = None

    @property
    def api(self) -> docker.APIClient:
        """docker-py's low-level client. Raises errors.Transient (EngineUnreachable) and errors.Terminal (EngineUnsupported)."""
        with self._lock:
            if self._api is None:
                with self.asking("connect to the engine"):
                    self._api = self.new_client(self.timeout)
            return self._api

    def new_client(self, timeout: float | None) -> docker.APIClient:
        """A client of its own, for a request that stays open. Raises docker-py's errors."""
        client: Any = _Client  # its annotations know no None and no fractions
        return cast(
            docker.APIClient,
            client(base_url=self.url, version="auto", timeout=timeout, num_pools=2, max_pool_size=2 * THREADS + 2),
        )

    def close(self) -> None:
        """Close the pooled connections; the next use connects again."""
        with self._lock:
            if self._api is not None:
                self._api.close()
                self._api = None

    def facts(self) -> parse.Facts:
        """What the engine fills in by itself; asked once."""
        if self._facts is None:
            self._facts = parse.facts(self.ask("ask the engine about itself", self.api.info))
        return self._facts

    @contextlib.contextmanager
    def asking(self, doing: str, *, image: str = "", fallback: Reason = Reason.EngineRefused) -> Iterator[None]:
        """Turns what the client raises into errors of the hierarchy."""
        try:
            yield
        except _RAISED as error:
            raise faults.translate(error, doing=doing, image=image, fallback=fallback) from None

    def ask(self, doing: str, call: Callable[..., T], *arguments: Any, fallback: Reason = Reason.EngineRefused) -> T:
        """Call and return, errors translated."""
        with self.asking(doing, fallback=fallback):
            return call(*arguments)

    def settle(
        self,
        doing: str,
        call: Callable[[], object],
        reached: Callable[[], bool],
        *,
        fallback: Reason = Reason.EngineRefused,
        patience: float = 10.0,
    ) -> None:
        """Ask for a change. When the answer does not come in time, look every half second whether it happened.

        Raises errors.Transient (EngineTimeout) when it is still not so after `patience` seconds, else what the engine
        refused with.
        """
        try:
            self.ask(doing, call, fallback=fallback)
        except errors.Transient as error:
            if error.reason != Reason.EngineTimeout:
                raise
            deadline = time.monotonic() + patience
            while not reached():
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def post(self, path: str, identity: str, body: Mapping[str, Any]) -> None:
        """A request that docker-py has no method for, or none with every option. `path` has `{0}` for the id."""
        api: Any = self.api
        api._raise_for_status(api._post_json(api._url(path, identity), data=body))

    def inspect(self, name: str) -> Mapping[str, Any] | None:
        """A container's inspect JSON; None when there is none of that name or id."""
        return self._read(f"inspect {name}", "/containers/{0}/json", name)

    def inspect_image(self, reference: str) -> Mapping[str, Any] | None:
        """An image's inspect JSON; None when the engine has none of that name or id."""
        return self._read(f"inspect image {reference}", "/images/{0}/json", reference)

    def _read(self, doing: str, path: str, identity: str) -> Mapping[str, Any] | None:
        """A GET that observing makes by the dozen.

        On a Unix socket it goes to docker-py's own urllib3 pool: the layers of requests above that take four times as
        much processor time as everything else together.
        """
        api: Any = self.api
        with self.asking(doing):
            adapter = getattr(api, "_custom_adapter", None)
            if isinstance(adapter, UnixHTTPAdapter):
                url = api._url(path, identity).removeprefix(api.base_url)
                pool = adapter.get_connection(api.base_url)
                answer = pool.request("GET", url, headers=_HEADERS, timeout=self.timeout, retries=False)
                if answer.status == 200:
                    return dict(json.loads(answer.data))
            try:
                return dict(api._result(api._get(api._url(path, identity)), json=True))
            except docker_errors.NotFound:
                return None
