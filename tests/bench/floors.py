"""What the machine needs for the bare minimum of the same work: requests over a socket, nothing around them."""

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any


class Engine:
    """Bare HTTP/1.1 over the engine's socket on one kept connection."""

    def __init__(self, url: str) -> None:
        self._connection = _UnixConnection(url.removeprefix("unix://"))

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        """One answer, parsed."""
        return json.loads(self.call("GET", path))

    def call(self, method: str, path: str) -> bytes:
        """One request; its answer's body. Raises AssertionError for anything but success."""
        self._connection.request(method, path)
        response = self._connection.getresponse()
        body = response.read()
        assert response.status < 400, body
        return body

    def look(self) -> None:
        """What a pass has to ask even when events tell what changed: the lists."""
        for path in ("/containers/json?all=1", "/volumes"):
            self.get(path)

    def look_closely(self) -> None:
        """The list, and every container of it, one after the other."""
        for entry in self.get("/containers/json?all=1"):
            self.get(f"/containers/{entry['Id']}/json")


def create_and_start(client: Any, bodies: dict[str, Any], parallel: int) -> None:
    """Create and start containers with nothing in between. `client` is docker-py's low-level one."""

    def one(name: str) -> None:
        client.create_container_from_config(bodies[name], name)
        client.start(name)

    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(one, bodies))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)
