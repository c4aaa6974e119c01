"""Which commit is a branch at: one protocol-v2 `ls-refs` request over http(s), answered in some 65 bytes.

Git's own clients ask first what the server can do and then for everything; the one POST needs neither. A server that does
not know protocol v2 is recognised by its answer. The answer is parsed strictly, its size is capped, and a wall clock ends
the request even when the server sends a byte a second. Reasons: see `failures`.
"""

import base64
import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from reconciler import errors
from reconciler.git import refnames
from reconciler.git.failures import failure, http_status
from reconciler.reasons import Reason
from reconciler.system.sessions import Adapter, Session

MAX_ANSWER_BYTES = 4 << 20
_SERVICE = "/git-upload-pack"
_RESULT = "application/x-git-upload-pack-result"
_REF_LINE = re.compile(rb"([0-9a-f]{40}) ([^ \n\0]+)(?: [^\n\0]*)?\n?\Z")
# Statuses with which a server that only knows version 0 refuses the unknown body.
_NOT_V2 = (400, 405, 415, 422)


class NotVersion2(Exception):
    """The server does not speak protocol v2: ask it the old way."""


class Guard:
    """A wall clock for blocking sockets: at the deadline every connection made under it is shut down.

    Needed because socket timeouts count from the last byte. Shutting down a duplicate of the descriptor reaches the
    connection through TLS handshake, head and body alike.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.expired = False

    def watch(self, connection: socket.socket) -> None:
        """Remember a fresh connection."""
        with self._lock:
            self._sockets.append(connection.dup())
            # Those that have ended since are of no use.
            for old in self._sockets[:-2]:
                old.close()
            del self._sockets[:-2]

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Shut every connection down when the block lasts longer than `seconds`."""
        self.expired = False
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Forget every connection."""
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets.clear()


class Client:
    """ls-refs against one repository; keeps its connection between requests. Not for use by several threads at once.

    `timeout` is the wall clock in seconds for a whole request. `url` is where the repository turned out to be, after
    redirects within the same origin.
    """

    def __init__(self, url: str, *, ca_file: str | None = None, timeout: float = 20.0) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._guard = Guard()
        self._session = Session(ca_file or True)
        adapter = _GuardedAdapter(self._guard)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._session.headers.clear()
        # Some servers answer only what calls itself git.
        self._session.headers.update(
            {
                "User-Agent": "git/2.0 (reconciler)",
                "Accept": _RESULT,
                "Accept-Encoding": "identity",
                "Git-Protocol": "version=2",
            }
        )

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        self._guard.close()

    def refs(
        self, prefixes: Sequence[str], *, credential: tuple[str, str] | None, first_only: bool = False
    ) -> dict[str, str]:
        """Ref name → commit id of every ref that begins with one of `prefixes` (none: every ref).

        `credential` is (user name, token). `first_only` stops reading after one ref. Raises NotVersion2, or an error
        of `failures`.
        """
        body = _request(prefixes)
        with self._guard.within(self.timeout):
            try:
                return self._ask(body, credential, first_only)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise self._translate(error) from None

    def _ask(self, body: bytes, credential: tuple[str, str] | None, first_only: bool) -> dict[str, str]:
        for _ in range(4):
            with self._post(body, credential) as response:
                if not response.is_redirect:
                    return self._read(response, first_only)
                self.url = self._moved(response.headers.get("Location", ""))
        raise failure(Reason.GitProtocolError, self.url, "the server redirects again and again")

    def _post(self, body: bytes, credential: tuple[str, str] | None) -> requests.Response:
        headers = {"Content-Type": "application/x-git-upload-pack-request"}
        if credential:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(credential).encode()).decode()
        for last in (False, True):
            try:
                return self._session.post(
                    self.url + _SERVICE,
                    data=body,
                    headers=headers,
                    timeout=self.timeout,
                    stream=True,
                    allow_redirects=False,
                )
            except requests.ConnectionError as error:
                # A kept connection that the server closed just now; asking is harmless to repeat.
                if (
                    last
                    or self._guard.expired
                    or ("RemoteDisconnected" not in repr(error) and "reset" not in repr(error))
                ):
                    raise
        raise AssertionError("unreachable")

    def _moved(self, location: str) -> str:
        try:
            here, there = urlsplit(self.url), urlsplit(urljoin(self.url + _SERVICE, location))
        except ValueError:
            raise failure(
                Reason.GitProtocolError, self.url, f"the server redirects to what is no address: {location[:100]!r}"
            ) from None
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            # The credential was meant for this origin and goes to no other.
            shown = f"{there.scheme}://{there.netloc.rpartition('@')[2]}"
            raise failure(
                Reason.GitProtocolError,
                self.url,
                f"the server redirects to {shown}, which is not followed: set the url to it",
            )
        if not there.path.endswith(_SERVICE):
            raise failure(
                Reason.GitProtocolError,
                self.url,
                f"the server redirects to a page that is not git's: {there.path[:100]!r}",
            )
        return f"{there.scheme}://{there.netloc}{there.path.removesuffix(_SERVICE)}"

    def _read(self, response: requests.Response, first_only: bool) -> dict[str, str]:
        if response.status_code in _NOT_V2:
            raise NotVersion2
        if response.status_code != 200:
            raise http_status(self.url, response.status_code, response.headers.get("Retry-After"))
        kind = response.headers.get("Content-Type", "")
        if kind.split(";")[0].strip().lower() != _RESULT:
            raise failure(
                Reason.GitProtocolError, self.url, f"the server answered with {kind[:60]!r} instead of git's protocol"
            )
        parser = _Lines(self.url)
        size = 0
        for chunk in response.iter_content(8192):
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise failure(
                    Reason.GitProtocolError,
                    self.url,
                    f"the server's list of refs has more than {MAX_ANSWER_BYTES} bytes",
                )
            parser.feed(chunk)
            if first_only and parser.refs:
                return parser.refs
        if size == 0:
            raise NotVersion2  # version 0 takes our request for the end of a conversation and says nothing
        if self._guard.expired:
            raise TimeoutError
        parser.finish()
        return parser.refs

    def _translate(self, error: Exception) -> Exception:
        if self._guard.expired or isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
            return failure(Reason.GitTimeout, self.url, f"the server did not answer in full within {self.timeout:g} s")
        words = errors.root_cause(error)
        if isinstance(error, requests.exceptions.SSLError):
            reason = (
                Reason.GitCertificateInvalid if "CERTIFICATE_VERIFY_FAILED" in repr(error) else Reason.GitProtocolError
            )
            return failure(reason, self.url, words)
        if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
            return failure(Reason.GitProtocolError, self.url, f"the answer was cut off or garbled: {words}")
        if isinstance(error, requests.ConnectionError) and "BadStatusLine" in repr(error):
            return failure(Reason.GitProtocolError, self.url, "the answer is no HTTP")
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            return failure(Reason.GitRemoteInvalid, self.url, str(error))
        return failure(Reason.GitUnreachable, self.url, words)


class _GuardedAdapter(Adapter):
    def __init__(self, guard: Guard) -> None:
        self._watch = guard.watch
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        watch = self._watch

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                connection = super()._new_conn()
                watch(connection)
                return connection

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                connection = super()._new_conn()
                watch(connection)
                return connection

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


# --- pkt-line -------------------------------------------------------------------------------------------------------


def _packet(line: str) -> bytes:
    data = line.encode()
    return b"%04x" % (len(data) + 4) + data


def _request(prefixes: Sequence[str]) -> bytes:
    """The body of an ls-refs request."""
    rows = b"".join(_packet(f"ref-prefix {prefix}\n") for prefix in prefixes)
    return _packet("command=ls-refs\n") + b"0001" + rows + b"0000"


class _Lines:
    """A strict pkt-line reader for the answer to ls-refs."""

    def __init__(self, url: str) -> None:
        self.refs: dict[str, str] = {}
        self._url = url
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> None:
        self._rest += data
        position = 0
        while len(self._rest) - position >= 4:
            length = self._length(self._rest[position : position + 4])
            if length == 0:
                self._ended = True
                position += 4
                continue
            if len(self._rest) - position < length:
                break
            self._line(self._rest[position + 4 : position + length])
            position += length
        self._rest = self._rest[position:]

    def finish(self) -> None:
        """Raise unless the answer ended where it should."""
        if not self._ended or self._rest:
            raise failure(Reason.GitProtocolError, self._url, "the server's list of refs is cut off")

    def _length(self, digits: bytes) -> int:
        if self._ended:
            raise failure(Reason.GitProtocolError, self._url, "the server sends more after the end of its list of refs")
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", digits):
            raise failure(
                Reason.GitProtocolError,
                self._url,
                f"the answer is not git's protocol: it begins a line with {digits!r}",
            )
        length = int(digits, 16)
        if length in (1, 2, 3, 4) or length > 65520:
            raise failure(Reason.GitProtocolError, self._url, f"the answer has a line of impossible length {length}")
        return length

    def _line(self, line: bytes) -> None:
        if line.startswith(b"ERR "):
            raise NotVersion2
        match = _REF_LINE.match(line)
        name = match[2].decode(errors="replace") if match else ""
        # `HEAD` and the like are valid refs outside refs/.
        if not match or not refnames.is_valid(name) or name in self.refs:
            raise failure(
                Reason.GitProtocolError, self._url, f"the answer has a line that is no ref, or one twice: {line[:80]!r}"
            )
        self.refs[name] = match[1].decode()
