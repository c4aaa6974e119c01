"""A service that asks Keystone who comes, as those of OpenStack do, by keystonemiddleware. For the Python of an OpenStack image.

python door.py OSLO-CONFIGURATION ADDRESS PORT      ends with SIGTERM, after what it is at
"""

import signal
import socketserver
import sys
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterable
from typing import Any

from keystonemiddleware.auth_token import AuthProtocol  # type: ignore[import-not-found]  # the image has it

ended = threading.Event()


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    """A thread for each request; `server_close` waits for all."""

    daemon_threads = False
    request_queue_size = 64
    timeout = 0.2


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """Without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def welcome(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Who is let in is told so."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("HTTP_X_USER_NAME", "").encode()]


guarded = AuthProtocol(welcome, {"oslo_config_project": "door", "oslo_config_file": sys.argv[1]})


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The load balancer needs no token."""
    inside = welcome if environ["PATH_INFO"] == "/healthcheck" else guarded
    found: Iterable[bytes] = inside(environ, start_response)
    return found


signal.signal(signal.SIGTERM, lambda *_: ended.set())
server = wsgiref.simple_server.make_server(sys.argv[2], int(sys.argv[3]), answer, Server, Quiet)
while not ended.is_set():
    server.handle_request()
server.timeout = 0.05
for _ in range(64):  # what waits to be taken up
    server.handle_request()
server.server_close()
