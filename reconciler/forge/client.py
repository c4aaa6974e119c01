"""HTTP with a forge: one request with its limits, and what each answer means.

The token is read for every request, is sent to the configured address only (redirects are not followed, ~/.netrc is
not read), and is taken out of whatever a server says before that enters a message.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3
from requests.auth import AuthBase

from reconciler import errors
from reconciler.foreign import line
from reconciler.forge.api import ForgeSettings, misconfigured
from reconciler.secret import Secret
from reconciler.sessions import Session

T = TypeVar("T")

NOTES_A_PAGE = 20
MAX_ANSWER = 32 << 20  # bytes; a page of notes at their longest fits
MAX_PAGES = 200
_LONGEST_WAIT = 86_400.0  # seconds; whatever a Retry-After says


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer: status code, JSON value (None when empty), and whether another page follows."""

    code: int
    body: Any
    more: bool

    @property
    def message(self) -> str:
        """What the server says is wrong, in one line."""
        body = self.body if isinstance(self.body, dict) else {}
        return line(str(body.get("message") or body.get("error") or body.get("errors") or ""))


class _Untrusted(errors.Transient):
    """TLS failed: another try in a second cannot help, another one after an operator's visit can."""


class _Token(AuthBase):
    """Adds the token header. An auth object also keeps `requests` from looking into ~/.netrc."""

    def __init__(self, file: Path, header: str, prefix: str) -> None:
        self._file, self._header, self._prefix = file, header, prefix
        self._secret: Secret | None = None

    def read(self) -> str:
        """The token. Raises Terminal ForgeMisconfigured, which never holds any of the content."""
        try:
            token = self._file.read_bytes().strip()
        except OSError as error:
            raise misconfigured(f"token file {self._file} cannot be read: {error.strerror}") from None
        if not token or len(token) > 4096 or not all(33 <= byte <= 126 for byte in token):
            raise misconfigured(f"token file {self._file} must hold one line of printable characters: the token")
        text = token.decode("ascii")
        if self._secret is None or self._secret.reveal() != text:
            self._secret = Secret(text)  # as long as it lives, it is taken out of what the server says
        return text

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self._header] = self._prefix + self.read()
        return request


class Client:
    """Requests to one forge. `root` is the address of its API, without a slash at the end."""

    def __init__(
        self,
        settings: ForgeSettings,
        root: str,
        *,
        header: str,
        prefix: str = "",
        extra: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._root = root
        self._host = urlsplit(root).netloc
        self._token = _Token(settings.token_file, header, prefix)
        self._sleep = sleep
        self._session = Session(str(settings.ca_file) if settings.ca_file else True, outside=True)
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": "reconciler", **(extra or {})})

    def once(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: frozenset[int] = frozenset(),
        right: str = "read access to the project",
    ) -> Answer:
        """One request. Returns a 2xx answer or one whose code is in `accept`; raises what `Forge` lists.

        `right` completes "needs …" in the message of a 403.
        """
        answer, headers = self._exchange(method, path, params, body)
        if 200 <= answer.code < 300 or answer.code in accept:
            return answer
        raise self._error(f"{method} {path}", answer, headers, right)

    def retry(self, operation: Callable[[bool], T]) -> T:
        """Run `operation` until it raises nothing transient or `retry_for` seconds have passed.

        It is told whether it is repeated: what was asked before may have been done, unseen.
        """
        backoff = tenacity.wait_random_exponential(multiplier=0.5, max=15)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, errors.Transient) else None
            return (asked or 0.0) + backoff(state)

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda e: isinstance(e, errors.Transient) and not isinstance(e, _Untrusted)
            ),
            stop=tenacity.stop_before_delay(self._settings.retry_for),
            wait=wait,
            sleep=self._sleep,
            reraise=True,
        )
        tries = 0

        def attempt() -> T:
            nonlocal tries
            tries += 1
            return operation(tries > 1)

        return attempts(attempt)

    def pages(self, path: str, params: Mapping[str, str | int], *, size: str = "per_page") -> Iterator[dict[str, Any]]:
        """The objects of a list, page after page, not retried. `size` names the page-size parameter."""
        wanted = {size: 100, **params}
        for page in range(1, MAX_PAGES + 1):
            answer = self._page(path, {**wanted, "page": page})
            yield from answer.body
            if not answer.more:
                return
        raise errors.Terminal(
            f"GET {path} has more than {MAX_PAGES} pages: not read to the end", reason="ForgeRejected"
        )

    def listed(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list that has no pages, not retried."""
        objects: list[dict[str, Any]] = self._page(path, {}).body
        return objects

    def fingerprint(self) -> str:
        """Tells one token from another without being one. Raises Terminal ForgeMisconfigured."""
        return hashlib.sha256(self._token.read().encode()).hexdigest()

    def unexpected(self, what: str) -> errors.Transient:
        """What to raise when an answer is not what the forge would say: a proxy's page, a cut answer."""
        return errors.Transient(
            f"{self._host} does not answer like the configured forge: {what}", reason="ForgeUnreachable"
        )

    def _page(self, path: str, params: Mapping[str, str | int]) -> Answer:
        answer = self.once("GET", path, params=params)
        if not isinstance(answer.body, list) or not all(isinstance(row, dict) for row in answer.body):
            raise self.unexpected(f"GET {path} is not a list of objects")
        return answer

    def _exchange(
        self, method: str, path: str, params: Mapping[str, str | int] | None, body: Mapping[str, Any] | None
    ) -> tuple[Answer, Mapping[str, str]]:
        # Raised outside the except block: a chained error of `requests` would carry the headers of the request.
        failure: errors.ReconcilerError
        deadline = time.monotonic() + self._settings.timeout
        try:
            with self._session.request(
                method,
                self._root + path,
                params=params,
                json=body,
                auth=self._token,
                allow_redirects=False,
                stream=True,
                timeout=self._settings.timeout,
            ) as response:
                data = self._read(response, deadline)
                return self._parsed(method, path, response, data), response.headers
        except errors.ReconcilerError as error:
            failure = error
        except requests.exceptions.SSLError as error:
            failure = _Untrusted(
                f"{self._host}: TLS failed: {errors.root_cause(error)} (is ca_file the authority of this server?)",
                reason="ForgeUnreachable",
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = errors.Transient(
                f"{self._host} cannot be reached: {errors.root_cause(error)}", reason="ForgeUnreachable"
            )
        except OSError as error:
            failure = misconfigured(f"CA file {self._settings.ca_file} cannot be used: {error.strerror or 'not found'}")
        raise failure

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        """The body, within the size limit and the deadline: a server that drips must not hold the caller."""
        data = bytearray()
        while chunk := response.raw.read1(1 << 16, decode_content=True):
            data += chunk
            if len(data) > MAX_ANSWER:
                raise errors.Terminal(
                    f"{self._host} answers with more than {MAX_ANSWER >> 20} MiB", reason="ForgeRejected"
                )
            if time.monotonic() > deadline:
                raise errors.Transient(f"{self._host} answers too slowly", reason="ForgeUnreachable")
        return bytes(data)

    def _parsed(self, method: str, path: str, response: requests.Response, data: bytes) -> Answer:
        try:
            value = json.loads(data) if data.strip() else None
        except (ValueError, RecursionError):
            value = None
            if response.ok and not response.is_redirect:
                raise self.unexpected(f"{method} {path} is not JSON") from None
        return Answer(response.status_code, value, "next" in response.links)

    def _error(self, what: str, answer: Answer, headers: Mapping[str, str], right: str) -> errors.ReconcilerError:
        told = f": {answer.message}" if answer.message else ""
        if answer.code in (409, 429) or answer.code >= 500 or _rate_limited(answer.code, headers):
            return errors.Transient(
                f"{self._host} is busy: {what} answers {answer.code}{told}",
                reason="ForgeBusy",
                retry_after=_retry_after(headers),
            )
        if answer.code == 401:
            return errors.Terminal(
                f"{self._host} does not accept the token in {self._settings.token_file} (wrong, expired or revoked){told}",
                reason="ForgeForbidden",
            )
        if answer.code == 403:
            return errors.Terminal(
                f"the token in {self._settings.token_file} may not {what}: it needs {right}{told}",
                reason="ForgeForbidden",
            )
        if 300 <= answer.code < 400:
            to = urlsplit(headers.get("Location", "")).netloc or "another address"
            return errors.Terminal(
                f"{what} is redirected to {to}: a token is not sent there (set the forge's url and project to the final ones)",
                reason="ForgeRejected",
            )
        hint = " (is the project right, does the token see it, is the commit pushed?)" if answer.code == 404 else ""
        return errors.Terminal(f"{self._host} rejects {what} with {answer.code}{told}{hint}", reason="ForgeRejected")


def _rate_limited(code: int, headers: Mapping[str, str]) -> bool:
    """GitHub says 403 for its rate limits, too."""
    return code == 403 and ("Retry-After" in headers or headers.get("X-RateLimit-Remaining") == "0")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wants us to wait (at most a day), None when it does not say."""
    value = headers.get("Retry-After", "").strip()
    now = datetime.now(UTC)
    if value.isdecimal():
        seconds = float(value[:9])
    elif value:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
    elif headers.get("X-RateLimit-Remaining") == "0" and headers.get("X-RateLimit-Reset", "").isdecimal():
        seconds = float(headers["X-RateLimit-Reset"][:12]) - now.timestamp()
    else:
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT)
