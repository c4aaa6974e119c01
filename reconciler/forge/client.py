"""HTTP with a forge: one request with its limits, and what each answer means.

The token is read for every request, is sent to the configured address only (redirects are not followed, ~/.netrc is
not read), and is taken out of whatever a server says before that enters a message.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
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
from reconciler.reasons import Reason
from reconciler.secret import Secret
from reconciler.system.answers import LONGEST_WAIT, Bounded, TooLarge, retry_after
from reconciler.system.sessions import Session

T = TypeVar("T")

NOTES_A_PAGE = 20
MAX_ANSWER = 32 << 20  # bytes; a page of notes at their longest fits
USUAL_ANSWER = 8 << 20  # bytes of anything else; parsed, an answer can take twenty times that
MAX_PAGES = 200
_READ = "read access to the project"
_FULL_PAGES = 4  # as much as this many pages at their largest may come, on however many


@dataclass(frozen=True, slots=True)
class Answer:
    """A parsed answer: status code, JSON value (None when empty), whether another page follows, and its size in bytes."""

    code: int
    body: Any
    more: bool
    size: int = 0

    @property
    def message(self) -> str:
        """What the server says is wrong, in one line."""
        body = self.body if isinstance(self.body, dict) else {}
        return line(_words(body.get("message") or body.get("error") or body.get("errors") or ""))

    @property
    def words(self) -> str:
        """The beginning of everything that it says."""
        return _words(self.body, deep=4)


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
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Bounded(settings.timeout, most=MAX_ANSWER))

    def once(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: frozenset[int] = frozenset(),
        right: str = _READ,
        most: int = USUAL_ANSWER,
    ) -> Answer:
        """One request. Returns a 2xx answer or one whose code is in `accept`; raises what `Forge` lists.

        `right` completes "needs …" in the message of a 403. `most` is the limit of the answer in bytes.
        """
        answer, headers = self._exchange(method, path, params, body, most)
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

    def pages(
        self,
        path: str,
        params: Mapping[str, str | int],
        *,
        size: str = "per_page",
        most: int = USUAL_ANSWER,
        right: str = _READ,
    ) -> Iterator[dict[str, Any]]:
        """The objects of a list, page after page, not retried. `size` names the page-size parameter; `most` is for a page."""
        wanted = {size: 100, **params}
        left = _FULL_PAGES * most
        for page in range(1, MAX_PAGES + 1):
            answer = self._page(path, {**wanted, "page": page}, most, right)
            yield from answer.body
            if not answer.more:
                return
            left -= answer.size
            if left < 0:
                break
        raise errors.Terminal(
            f"GET {path} has more than {MAX_PAGES} pages, or {_FULL_PAGES * most >> 20} MiB: not read to the end",
            reason=Reason.ForgeRejected,
        )

    def listed(self, path: str, *, most: int = USUAL_ANSWER) -> list[dict[str, Any]]:
        """The objects of a list that has no pages, not retried."""
        objects: list[dict[str, Any]] = self._page(path, {}, most).body
        return objects

    def fingerprint(self) -> str:
        """Tells one token from another without being one. Raises Terminal ForgeMisconfigured."""
        return hashlib.sha256(self._token.read().encode()).hexdigest()

    def unexpected(self, what: str) -> errors.Transient:
        """What to raise when an answer is not what the forge would say: a proxy's page, a cut answer."""
        return errors.Transient(
            f"{self._host} does not answer like the configured forge: {what}", reason=Reason.ForgeUnreachable
        )

    def _page(self, path: str, params: Mapping[str, str | int], most: int, right: str = _READ) -> Answer:
        answer = self.once("GET", path, params=params, most=most, right=right)
        if not isinstance(answer.body, list) or not all(isinstance(row, dict) for row in answer.body):
            raise self.unexpected(f"GET {path} is not a list of objects")
        return answer

    def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        body: Mapping[str, Any] | None,
        most: int,
    ) -> tuple[Answer, Mapping[str, str]]:
        # Raised outside the except block: a chained error of `requests` would carry the headers of the request.
        failure: errors.ReconcilerError
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
                if len(response.content) <= most:
                    return self._parsed(method, path, response), response.headers
            failure = self._too_large(most)
        except errors.ReconcilerError as error:
            failure = error
        except TooLarge:
            failure = self._too_large(MAX_ANSWER)
        except requests.exceptions.SSLError as error:
            failure = _Untrusted(
                f"{self._host}: TLS failed: {errors.root_cause(error)} (is ca_file the authority of this server?)",
                reason=Reason.ForgeUnreachable,
            )
        except requests.exceptions.ReadTimeout:
            failure = errors.Transient(
                f"{self._host} answers too slowly: timed out after {self._settings.timeout:g} s",
                reason=Reason.ForgeUnreachable,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = errors.Transient(
                f"{self._host} cannot be reached: {errors.root_cause(error)}", reason=Reason.ForgeUnreachable
            )
        except OSError as error:
            failure = misconfigured(f"CA file {self._settings.ca_file} cannot be used: {error.strerror or 'not found'}")
        raise failure

    def _too_large(self, most: int) -> errors.Terminal:
        return errors.Terminal(f"{self._host} answers with more than {most >> 20} MiB", reason=Reason.ForgeRejected)

    def _parsed(self, method: str, path: str, response: requests.Response) -> Answer:
        try:
            value = json.loads(response.content) if response.content.strip() else None
        except (ValueError, RecursionError):
            value = None
            if response.ok and not response.is_redirect:
                raise self.unexpected(f"{method} {path} is not JSON") from None
        return Answer(response.status_code, value, "next" in response.links, len(response.content))

    def _error(self, what: str, answer: Answer, headers: Mapping[str, str], right: str) -> errors.ReconcilerError:
        told = f": {answer.message}" if answer.message else ""
        if answer.code in (409, 429) or answer.code >= 500 or _rate_limited(answer.code, headers):
            return errors.Transient(
                f"{self._host} is busy: {what} answers {answer.code}{told}",
                reason=Reason.ForgeBusy,
                retry_after=_retry_after(headers),
            )
        if answer.code == 401:
            return errors.Terminal(
                f"{self._host} does not accept the token in {self._settings.token_file} (wrong, expired or revoked){told}",
                reason=Reason.ForgeForbidden,
            )
        if answer.code == 403:
            return errors.Terminal(
                f"the token in {self._settings.token_file} may not {what}: it needs {right}{told}",
                reason=Reason.ForgeForbidden,
            )
        if 300 <= answer.code < 400:
            to = line(_host_of(headers.get("Location", "")), 100)
            return errors.Terminal(
                f"{what} is redirected to {to}: a token is not sent there (set the forge's url and project to the final ones)",
                reason=Reason.ForgeRejected,
            )
        hint = " (is the project right, does the token see it, is the commit pushed?)" if answer.code == 404 else ""
        return errors.Terminal(
            f"{self._host} rejects {what} with {answer.code}{told}{hint}", reason=Reason.ForgeRejected
        )


def _host_of(location: str) -> str:
    try:
        return urlsplit(location).netloc.rpartition("@")[2] or "another address"
    except ValueError:
        return "an address that is none"


def _words(said: Any, deep: int = 3) -> str:
    """A message of whatever shape, as far as it is of use: the first few parts of it, a few levels down."""
    if isinstance(said, dict) and deep:
        return ", ".join(f"{str(name)[:100]}: {_words(part, deep - 1)}" for name, part in islice(said.items(), 5))
    if isinstance(said, list) and deep:
        return ", ".join(_words(part, deep - 1) for part in said[:5])
    return said[:1000] if isinstance(said, str) else "…" if isinstance(said, (dict, list)) else str(said)[:100]


def _rate_limited(code: int, headers: Mapping[str, str]) -> bool:
    """GitHub says 403 for its rate limits, too."""
    return code == 403 and ("Retry-After" in headers or headers.get("X-RateLimit-Remaining") == "0")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wants us to wait, None when it does not say."""
    if (said := headers.get("Retry-After", "").strip()) or headers.get("X-RateLimit-Remaining") != "0":
        return retry_after(said)
    reset = headers.get("X-RateLimit-Reset", "")
    if not (reset.isascii() and reset.isdigit()):
        return None
    return min(max(float(reset[:12]) - time.time(), 0.0), LONGEST_WAIT)
