"""Figures about asking the git server where the branch is."""

import base64
import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from reconciler.git import remote
from tests.bench.measure import Context, Row, repeat
from tests.git import servers
from tests.support.lab import Lab

REFS = 2_000
_BODY = b"0014command=ls-refs\n" + b"0001" + b"%04xref-prefix refs/heads/main\n" % (4 + 27) + b"0000"


class Relay:
    """Passes bytes on to a port, counts them, and how often the client spoke and then waited."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.bytes, self.turns, self.connections, self._last = 0, 0, 0, "down"

    def __enter__(self) -> "Relay":
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self.connections += 1
                self._spawn(self._pass, client, server, "up")
                self._spawn(self._pass, server, client, "down")

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    self.bytes += len(data)
                    self.turns += way == "up" and self._last == "down"
                    self._last = way
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def poll(context: Context) -> Iterator[Row]:
    """Bytes and round trips of a poll in a repository with many branches."""
    root = context.folder / "git"
    repository = servers.make_repo(root / "site.git")
    oid = servers.commit(repository, {"globals.yml": "{}\n"}, "one commit for all branches")
    rows = "".join(f"create refs/heads/feature/branch-{number:05} {oid}\n" for number in range(REFS - 1))
    servers.git(repository, "update-ref", "--stdin", stdin=rows.encode())
    servers.git(repository, "pack-refs", "--all")
    runs = context.runs(20, 5)
    for tls in (True, False):
        with servers.http_server(root, tls=tls, token="token") as server, Relay(server.port) as relay:
            (context.folder / "token").write_text("token")
            scheme = "https" if tls else "http"
            source = remote.Remote(f"{scheme}://127.0.0.1:{relay.port}/site.git", token_file=context.folder / "token",
                                   ca_file=server.ca_file)  # fmt: skip
            if tls:
                yield from _git_itself(relay, server, source.url, root)
            yield from _polls(relay, source, runs, scheme)


def _polls(relay: Relay, source: remote.Remote, runs: int, scheme: str) -> Iterator[Row]:
    sizes, turns = [], []
    with remote.Poller(source) as poller:
        poller.poll()  # the connection is made, and kept
        relay.reset()
        for _ in range(runs):
            relay.reset()
            assert poller.poll()
            sizes.append(float(relay.bytes))
            turns.append(float(relay.turns))
            assert relay.connections == 0
        taken = repeat(runs, poller.poll, scale=1000.0)
    yield Row(f"one poll over {scheme}, {REFS} refs: both directions", "B", tuple(sizes), 1024)
    yield Row("  round trips", "", tuple(turns), 1)
    yield Row("  time", "ms", taken)


def _git_itself(relay: Relay, server: servers.HttpServer, url: str, root: Path) -> Iterator[Row]:
    """For comparison: what git's own client needs for the same question."""
    relay.reset()
    there = url.replace("https://", "https://oauth2:token@")
    servers.git(root / "site.git", "-c", f"http.sslCAInfo={server.ca_file}", "ls-remote", there, "refs/heads/main")
    yield Row("for comparison, `git ls-remote URL main` over https", "B", (float(relay.bytes),))
    yield Row("  round trips, with those of TLS", "", (float(relay.turns),))


def bare_poll(lab: Lab, runs: int) -> tuple[float, ...]:
    """Milliseconds of the same POST on a kept connection with http.client and nothing around it."""
    context = ssl.create_default_context(cafile=str(lab.server.ca_file))
    token = (lab.root / "token").read_text()
    headers = {
        "Authorization": "Basic " + base64.b64encode(f"oauth2:{token}".encode()).decode(),
        "Content-Type": "application/x-git-upload-pack-request",
        "Accept": "application/x-git-upload-pack-result",
        "Git-Protocol": "version=2",
        "User-Agent": "git/2.0 (bench)",
    }
    connection = http.client.HTTPSConnection("127.0.0.1", lab.server.port, context=context)

    def ask() -> None:
        connection.request("POST", "/site.git/git-upload-pack", _BODY, headers)
        answer = connection.getresponse().read()
        assert b"refs/heads/main" in answer, answer

    try:
        ask()
        return repeat(runs, ask, scale=1000.0)
    finally:
        connection.close()
