"""What a server's answer may cost whoever reads it."""

import http.server
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from reconciler.system.answers import Bounded
from reconciler.system.sessions import Session

# Called so, and what is in it.
JSON = '["a", "\u00e9"]'.encode()
ANSWERS = (
    ("application/json", JSON),
    ("text/plain", JSON),
    ("application/json; charset=nosuch", JSON),
    ("", JSON),
    ("application/json; charset=punycode", b"a-" + b"z" * (1 << 20)),
)


@pytest.fixture
def url() -> Iterator[str]:
    """Gives the answer whose number is its path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = ANSWERS[int(self.path[1:])]
            self.send_response(200)
            if kind:
                self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_an_answer_is_utf8_whatever_it_is_called(url: str, number: int) -> None:
    """Python reads some encodings, which a header may name, in a time that grows with the square of the text and more: this one in 10 s."""
    with Session() as session:
        session.mount("http://", Bounded(10.0))
        answer: requests.Response = session.get(f"{url}/{number}")
        began = time.process_time()
        if ANSWERS[number][1] == JSON:
            assert answer.json() == ["a", "\u00e9"]
        else:
            with pytest.raises(requests.exceptions.JSONDecodeError):
                answer.json()
    assert time.process_time() - began < 1.0
