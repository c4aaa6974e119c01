"""What a command inside a container says is read from its first byte, also where that comes together with the head of the engine's answer."""

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine import Engine

_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
_HEAD = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def frame(text: bytes) -> bytes:
    return b"\x01\x00\x00\x00" + len(text).to_bytes(4, "big") + text


class _Answers(socketserver.StreamRequestHandler):
    """An engine with one command, whose output comes in the very write that has the head."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            path = line.decode().split()[1]
            length = 0
            while (header := self.rfile.readline()) != b"\r\n":
                name, _, value = header.decode().partition(":")
                length = int(value) if name.lower() == "content-length" else length
            self.rfile.read(length)
            if path.endswith("/start"):
                whole = frame(b"the first\n") + frame(b"the second\n")
                self.wfile.write(_HEAD + whole[:-5])
                self.wfile.write(whole[-5:])
                return
            said = b'{"ApiVersion": "1.41", "Id": "1", "ExitCode": 3}'
            self.wfile.write(_JSON % (len(said), said))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), _Answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{tmp_path}/s"
        server.shutdown()


def test_nothing_of_it_is_lost(url: str) -> None:
    engine = Engine(url, owner="", timeout=20)
    try:
        for _ in range(20):
            assert engine.execute("app", ["status"], anybodys=True) == (3, "the first\nthe second\n")
    finally:
        engine.close()
