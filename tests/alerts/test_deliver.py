"""What is said of a receiver that cannot be reached: why, and no address whose path may be a secret."""

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.alerts import deliver
from tests.support import certificates


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    """HOST:PORT of something that speaks TLS with a certificate of an authority of its own."""
    certificates.authority(tmp_path / "theirs", "receiver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "theirs/receiver.pem", tmp_path / "theirs/receiver.key")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as spoken:
                spoken.recv(65536)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def echo() -> Iterator[str]:
    """HOST:PORT of something that says what it hears."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(self.request.recv(65536))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _said(url: str, ca_file: Path | None = None) -> tuple[str, str]:
    error = deliver.run({"kind": "webhook", "url": url, "ca_file": str(ca_file or ""), "messages": [{}]})["error"]
    return error["reason"], error["message"]


def test_why_a_receiver_is_not_reached_is_said(tmp_path: Path, receiver: str, echo: str) -> None:
    certificates.authority(tmp_path / "ours")
    reason, said = _said(f"https://{receiver}/hooks/secret-word", tmp_path / "ours/ca.pem")
    assert reason == "AlertTargetUnreachable"
    assert said.startswith(f"{receiver}: TLS failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: ")
    assert said.endswith("(is ca_file the authority of this server?)") and "secret-word" not in said

    # It is trusted; that it does not speak HTTP is another matter.
    reason, said = _said(f"https://{receiver}/hooks/secret-word", tmp_path / "theirs/ca.pem")
    assert reason == "AlertTargetUnreachable"
    assert said == f"{receiver} cannot be reached (ConnectionError)"

    # What it says itself is not repeated: it may be what it was asked.
    reason, said = _said(f"http://{echo}/hooks/secret-word")
    assert (reason, said) == ("AlertTargetUnreachable", f"{echo} cannot be reached (ConnectionError)")

    reason, said = _said("http://127.0.0.1:9/hooks/secret-word")
    assert (reason, said) == ("AlertTargetUnreachable", "127.0.0.1:9 cannot be reached: Connection refused")
