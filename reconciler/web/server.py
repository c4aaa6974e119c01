"""A small HTTP server that slow, many and hostile clients cannot wear out: one answer per connection, limits on everything.

One thread talks to all clients, so that one that is slow holds a socket and nothing else; a request that is whole goes to one of
a few threads with its handler. A deadline is for a whole request, however it drips. `places` says who gives way when there
are too many, `routes` who is answered at all.
"""

import contextlib
import errno
import resource
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Final

import structlog

from reconciler import errors
from reconciler.log import frames
from reconciler.reasons import Reason
from reconciler.web import message
from reconciler.web.message import MAX_BODY, Answer, Handler, Refused, Request
from reconciler.web.places import FEWEST_PLACES, MOST_PLACES, Connection, Places, Stage
from reconciler.web.routes import Routes, crowd

__all__ = ["MAX_BODY", "Server"]

log = structlog.get_logger()

# Seconds for the whole of it; forges give up on a hook after ten.
_SECONDS: Final = {Stage.HEAD: 10.0, Stage.BODY: 30.0, Stage.ANSWER: 30.0, Stage.LINGER: 3.0}
_WORKERS = 4  # handlers at the same time
_SAME = 2  # of them for one path: a handler that hangs must not stop the others
_WAITING = 8  # whole requests for one path may wait on one place in so many
_DRAINED = 8 << 20  # bytes that are thrown away so that a client which still sends hears its answer
_CHUNK = 64 << 10  # bytes
_TICK = 0.25  # seconds between two looks at the deadlines
_BACKLOG = 128
_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Server:
    """Serves `get` and `post`, path → handler, on `host:port` from threads of its own.

    `names` are what this host is called beside its addresses and its system's name: nobody is answered who asks for another
    one. Handlers must be safe to call from several threads. Raises errors.Terminal (MetricsAddress).
    """

    def __init__(
        self,
        address: str,
        get: Mapping[str, Handler],
        post: Mapping[str, Handler] | None = None,
        names: Collection[str] = (),
    ) -> None:
        self.routes = Routes(get, post, names)
        self._listener = _listen(address)
        self.port: int = self._listener.getsockname()[1]
        self._places = Places(_room())
        self._work = _Work(self._done, self._places.room // _WAITING)
        self._answered: deque[tuple[Connection, bytes]] = deque()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._ending = False
        self._accepting_from = 0.0  # on the clock: no connection is taken before
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and hang up. A handler that runs is not waited for."""
        self._ending = True
        self._rouse()
        self._thread.join(10.0)

    # --- the thread that talks to clients ----------------------------------------------------------------------------

    def _run(self) -> None:
        look_at = 0.0
        while not self._ending:
            idle = not self._places and not self._accepting_from
            ready = self._selector.select(None if idle else _TICK)
            now = time.monotonic()
            # Newcomers last: whoever is here shows first what it has, for there may not be room for all.
            for key, _ in sorted(ready, key=lambda event: event[0].fileobj is self._listener):
                self._safely(key.data, key.fileobj, now)
            if now >= look_at:
                look_at = now + _TICK
                self._overdue(now)
        for one in self._places:
            self._end(one)
        self._selector.close()
        for own in (self._listener, self._wake, self._waker):
            own.close()

    def _safely(self, one: Connection | None, source: object, now: float) -> None:
        try:
            self._serve(one, source, now)
        except Exception as error:  # whatever one client brings about, the others go on
            log.error("http.failed", error=type(error).__name__, frames=frames(error))
            if one is not None:
                self._end(one)

    def _serve(self, one: Connection | None, source: object, now: float) -> None:
        if source is self._listener:
            self._accept(now)
        elif one is None:
            self._collect(now)
        elif one.socket.fileno() >= 0:  # else it was ended by what was ready before it
            if one.stage is Stage.ANSWER:
                self._send(one, now)
            else:
                self._receive(one, now)

    def _overdue(self, now: float) -> None:
        for one in self._places:
            if now > one.deadline and one.stage is not Stage.WORK:
                self._end(one)
        if 0 < self._accepting_from <= now:
            self._accepting_from = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self, now: float) -> None:
        came = []
        for _ in range(self._places.room // 8):
            try:
                client, address = self._listener.accept()
            except OSError as error:
                if error.errno in _NO_MORE_FILES:  # it would be ready again at once, and we be busy with nothing else
                    self._selector.unregister(self._listener)
                    self._accepting_from = now + 4 * _TICK
                break
            client.setblocking(False)
            with contextlib.suppress(OSError):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = str(address[0])
            came.append(Connection(client, peer, crowd(peer), now + _SECONDS[Stage.HEAD], now))
            self._places.take(came[-1])
            self._selector.register(client, selectors.EVENT_READ, came[-1])
        for one in came:  # what they said while they waited to be taken counts for them
            self._safely(one, one.socket, now)
        for last in self._places.too_many():
            self._end(last)

    def _receive(self, one: Connection, now: float) -> None:
        try:
            data = one.socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if one.stage is Stage.LINGER:
            one.drained += len(data)
            if not data or one.drained > _DRAINED:
                self._end(one)
            return
        if not data:
            self._end(one)
            return
        one.moved(now)
        one.received += data
        self._places.buffered += len(data)
        try:
            self._advance(one, now)
        except Refused as refused:
            self._answer(one, message.encode(refused.answer, *_asked(one)), now)
        while full := self._places.too_much():
            for last in full:
                self._end(last)

    def _advance(self, one: Connection, now: float) -> None:
        """Look at what is there of a request. Raises Refused."""
        if one.stage is Stage.HEAD:
            end = message.head_end(one.received, one.looked)
            if end is None:
                one.looked = len(one.received)
                return
            one.head = message.parse(bytes(one.received[:end]))
            one.handler = self.routes.handler(one.head, str(one.socket.getsockname()[0]))
            del one.received[:end]
            self._places.buffered -= end
            one.stage, one.deadline = Stage.BODY, now + _SECONDS[Stage.BODY]
            if one.head.headers.get("expect") and one.head.length and not one.received:
                with contextlib.suppress(OSError):
                    one.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert one.head is not None and one.handler is not None and one.head.length is not None
        if len(one.received) >= one.head.length:
            self._places.buffered -= len(one.received) - one.head.length
            del one.received[one.head.length :]
            body = one.received
            request = Request(one.head.path, one.head.headers, one.peer, lambda: bytes(body))
            one.stage = Stage.WORK
            self._selector.unregister(one.socket)
            if not self._work.take(one, one.handler, request):
                busy = Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"too many ask this\n", headers={"Retry-After": "1"})
                self._answer(one, message.encode(busy, *_asked(one)), now)

    def _collect(self, now: float) -> None:
        """Send what handlers have answered."""
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        while self._answered:
            one, answer = self._answered.popleft()
            self._answer(one, answer, now)

    def _answer(self, one: Connection, answer: bytes, now: float) -> None:
        if one.stage is Stage.WORK:
            self._selector.register(one.socket, selectors.EVENT_WRITE, one)
        else:
            self._selector.modify(one.socket, selectors.EVENT_WRITE, one)
        self._places.buffered -= len(one.received)
        one.received = bytearray()
        one.stage, one.deadline, one.to_send = Stage.ANSWER, now + _SECONDS[Stage.ANSWER], memoryview(answer)
        self._send(one, now)

    def _send(self, one: Connection, now: float) -> None:
        try:
            sent = one.socket.send(one.to_send[: 4 * _CHUNK])
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end(one)
            return
        one.moved(now)
        one.to_send = one.to_send[sent:]
        if not one.to_send:
            # To close what still has data to read would reset it, and the client might not hear the answer.
            one.stage, one.deadline = Stage.LINGER, now + _SECONDS[Stage.LINGER]
            try:
                one.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self._end(one)
                return
            self._selector.modify(one.socket, selectors.EVENT_READ, one)

    def _end(self, one: Connection) -> None:
        if self._places.leave(one):
            with contextlib.suppress(KeyError, ValueError):  # while a handler works it is not registered
                self._selector.unregister(one.socket)
            one.socket.close()

    # --- from other threads ------------------------------------------------------------------------------------------

    def _done(self, one: Connection, answer: Answer) -> None:
        method, headers = _asked(one)
        try:
            encoded = message.encode(answer, method, headers)
        except ValueError as error:
            log.error("http.failed", path=one.head and one.head.path, error=type(error).__name__)
            encoded = message.encode(Answer(HTTPStatus.INTERNAL_SERVER_ERROR), method, headers)
        self._answered.append((one, encoded))
        self._rouse()

    def _rouse(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: nobody is left to hear
            self._waker.send(b"x")


class _Work:
    """Whole requests, and the threads that handle them: started when there is something to do, gone when there is not."""

    def __init__(self, done: Callable[[Connection, Answer], None], most: int) -> None:
        self._done, self._most = done, most
        self._guard = threading.Lock()
        self._waiting: deque[tuple[Connection, Handler, Request]] = deque()
        self._of_path: Counter[str] = Counter()  # that wait
        self._running: Counter[str] = Counter()  # by path
        self._threads = 0

    def take(self, one: Connection, handler: Handler, request: Request) -> bool:
        """False when too many wait for the same."""
        with self._guard:
            if self._of_path[request.path] >= self._most:
                return False
            self._of_path[request.path] += 1
            self._waiting.append((one, handler, request))
            if self._threads < _WORKERS:
                self._threads += 1
                threading.Thread(target=self._run, name="http-handler", daemon=True).start()
            return True

    def _run(self) -> None:
        while (item := self._next()) is not None:
            one, handler, request = item
            try:
                answer = handler(request)
            except Exception as error:  # whatever a handler meets, the others go on; the text may hold anything
                log.error("http.failed", path=request.path, error=type(error).__name__, frames=frames(error))
                answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR)
            with self._guard:
                self._running[request.path] -= 1
            self._done(one, answer)

    def _next(self) -> tuple[Connection, Handler, Request] | None:
        """The first that may run; None: this thread is not needed any more."""
        with self._guard:
            for number, item in enumerate(self._waiting):
                path = item[2].path
                if self._running[path] < _SAME:
                    del self._waiting[number]
                    self._of_path[path] -= 1
                    self._running[path] += 1
                    return item
            self._threads -= 1
            return None


def _asked(one: Connection) -> tuple[str, Mapping[str, str]]:
    """Method and headers of what is answered; of a request that could not be read, those that make no difference."""
    return (one.head.method, one.head.headers) if one.head else ("GET", {})


def _room() -> int:
    """How many connections a server may hold: a quarter of the files that this process may open, which are for other things too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_PLACES if files == resource.RLIM_INFINITY else min(MOST_PLACES, max(FEWEST_PLACES, files // 4))


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except (OSError, ValueError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise errors.Terminal(
            f'nothing can be served on {address}: {reason} (correct the address in the settings, or "" for none)',
            reason=Reason.MetricsAddress,
        ) from None
    return listener
