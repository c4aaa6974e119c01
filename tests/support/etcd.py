"""Real etcd members for tests (Debian's etcd-server): on loopback, killed, paused and started again at will.

    with Cluster(tmp_path) as etcd:
        Client(etcd.urls)

Each has ports of its own and its data below the folder that is given; leaving the block ends them.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.git.servers import free_port
from tests.support import packages

_BEGIN_SECONDS = 60.0


class Cluster:
    """`size` members. Each has one of `addresses` (loopback for all), and is started through
    one of `doors`, the beginning of a command. With `tls`, a folder that holds ca.pem, server.pem and server.key, they want certificates of their clients."""

    def __init__(
        self,
        root: Path,
        size: int = 3,
        *,
        tls: Path | None = None,
        quota: int = 0,
        addresses: Sequence[str] = (),
        doors: Sequence[Sequence[str]] = (),
    ) -> None:
        packages.install(["etcd-server"])
        self._root, self._tls, self._quota = root, tls, quota
        scheme = "https" if tls else "http"
        own = list(addresses) or ["127.0.0.1"] * size
        self._doors = [list(door) for door in doors] or [[] for _ in own]
        self._peers = [f"http://{address}:{2380 if addresses else free_port()}" for address in own]
        self.urls = [f"{scheme}://{address}:{2379 if addresses else free_port()}" for address in own]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * size

    def __enter__(self) -> Self:
        for number in range(len(self.urls)):
            self.start(number)
        self.await_leader()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number in range(len(self.urls)):
            self.kill(number)

    def start(self, number: int) -> None:
        """Start a member that does not run, with the data that it has."""
        data = self._root / f"member{number}"
        command = [
            *self._doors[number],
            *("etcd", "--name", f"m{number}", "--data-dir", str(data), "--unsafe-no-fsync", "--logger", "zap"),
            *("--listen-peer-urls", self._peers[number], "--initial-advertise-peer-urls", self._peers[number]),
            *("--listen-client-urls", self.urls[number], "--advertise-client-urls", self.urls[number]),
            *("--initial-cluster", ",".join(f"m{n}={url}" for n, url in enumerate(self._peers))),
        ]
        if self._tls:
            command += ["--cert-file", f"{self._tls}/server.pem", "--key-file", f"{self._tls}/server.key"]
            command += ["--client-cert-auth", "--trusted-ca-file", f"{self._tls}/ca.pem"]
        if self._quota:
            command += ["--quota-backend-bytes", str(self._quota)]
        with (self._root / f"member{number}.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        """kill -9."""
        process = self._processes[number]
        if process is not None:
            process.kill()
            process.wait()
        self._processes[number] = None

    @contextlib.contextmanager
    def paused(self, numbers: Sequence[int]) -> Iterator[None]:
        """Members that are there and do not answer."""
        stopped = [process for number in numbers if (process := self._processes[number]) is not None]
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        for process in stopped:  # a thread on another processor may answer until then
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield
        finally:
            for process in stopped:
                process.send_signal(signal.SIGCONT)

    def await_leader(self) -> None:
        """Until a linearizable read is answered by every member that runs."""
        running = [url for url, process in zip(self.urls, self._processes, strict=True) if process is not None]
        deadline = time.monotonic() + _BEGIN_SECONDS
        while running:
            with contextlib.suppress(requests.RequestException):
                asked = requests.post(f"{running[0]}/v3/kv/range", json={"key": "AA=="}, timeout=5, **self._client())
                if asked.status_code == 200:
                    running.pop(0)
                    continue
            assert time.monotonic() < deadline, f"no etcd at {running}; see the logs in {self._root}"
            time.sleep(0.05)

    def _client(self) -> dict[str, Any]:
        if self._tls is None:
            return {}
        return {"verify": f"{self._tls}/ca.pem", "cert": (f"{self._tls}/client.pem", f"{self._tls}/client.key")}


class Proxy:
    """Passes requests on to `target`, "host:port". While `drops` it lets them arrive and answers nothing."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.drops = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody is taken any more. One who still waited in accept() would take, after a signal, who comes to the next socket of that number."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError), socket.create_connection(self._target) as server:
            while request := self._request(client):
                server.sendall(request)
                answer = self._request(server)
                if self.drops:
                    self.dropped += 1
                    return
                client.sendall(answer)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        """One message with its body: etcd's gateway and requests both say its length."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            int(row.split(b":")[1]) for row in head.split(b"\r\n") if row.lower().startswith(b"content-length")
        )
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body
