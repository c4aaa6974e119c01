"""What went wrong with a remote: one constructor per reason, and the translation of HTTP statuses and libgit2's words.

What is tried again by itself is Transient; for the rest an operator must act: Terminal.
"""

import re
from urllib.parse import urlsplit, urlunsplit

from reconciler import errors
from reconciler.reasons import Reason


def failure(
    reason: Reason, url: str, what: str, *, retry_after: float | None = None, advice: str = ""
) -> errors.ReconcilerError:
    """The error for `reason`; the message names the URL without credentials, what happened, and what to do: what the reason always
    advises, or `advice`."""
    message = f"{public(url)}: {what} ({advice or reason.advice})"
    if reason.tried_again:
        return errors.Transient(message, reason=reason, retry_after=retry_after)
    return errors.Terminal(message, reason=reason)


def public(url: str) -> str:
    """The URL as it may be shown: without user information, query and fragment for http(s)."""
    if not url.startswith(("http://", "https://")):
        return re.sub(r"^(ssh://[^/@:]*):[^/@]*@", r"\1@", url)
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def http_status(url: str, status: int, retry_after: str | None = None) -> errors.ReconcilerError:
    """The error for an HTTP status that is no success; `retry_after` is that header's value."""
    from reconciler.system.answers import (
        retry_after as seconds,  # loads an HTTP client, which fetching over ssh does not need
    )

    wait = seconds(retry_after or "")
    reason = {
        401: Reason.GitAuthFailed,
        403: Reason.GitForbidden,
        404: Reason.GitNotFound,
        410: Reason.GitNotFound,
        429: Reason.GitRateLimited,
    }.get(status)
    if reason is None:
        reason = (
            Reason.GitServerError if status >= 500 else Reason.GitTimeout if status == 408 else Reason.GitProtocolError
        )
    more = f", to be tried again in {wait:g} s" if wait is not None else ""
    return failure(reason, url, f"the server answered HTTP {status}{more}", retry_after=wait)


# libgit2's words, first match wins. It has no finer error codes than these messages.
_WORDS: tuple[tuple[str, Reason], ...] = (
    (
        r"object not found|loose object|corrupt|inflate|zlib|checksum|hash mismatch|bad object|packfile|missing (blob|tree|commit|object)",
        Reason.GitObjectCorrupt,
    ),
    (r"ssl certificate|certificate is invalid|certificate verify|hostname mismatch", Reason.GitCertificateInvalid),
    (r"timed? ?out|timeout|resource temporarily unavailable", Reason.GitTimeout),
    (
        r"too many redirects or authentication replays|authenticat|invalid credentials|401|publickey|callback returned",
        Reason.GitAuthFailed,
    ),
    (r"private key|public key|passphrase|keypair", Reason.GitAuthFailed),
    (
        r"failed to resolve address|failed to connect|connection refused|no route|unreachable|connection reset",
        Reason.GitUnreachable,
    ),
    (
        r"status code: 40[4]|could not find repository|failed to resolve path|not found|does not appear to be a git",
        Reason.GitNotFound,
    ),
    (r"status code: 403|permission denied", Reason.GitForbidden),
    (r"status code: 429", Reason.GitRateLimited),
    (r"status code: 5\d\d", Reason.GitServerError),
)


# How a server that meets a damaged object while it sends commits looks from here: it just ends.
_BROKEN_OFF = re.compile(r"could not read from remote|eof|hung up|unexpected end|early end", re.IGNORECASE)


def libgit2(url: str, words: str, *, sending: bool = False) -> errors.ReconcilerError:
    """The error for what libgit2 said; what is not recognised is GitProtocolError. `sending`: the server had answered, and was
    sending commits."""
    words = " ".join(words.split())[:400]
    if sending and _BROKEN_OFF.search(words):
        return failure(
            Reason.GitServerError,
            url,
            f"{words}: it ended while it sent commits; its repository may be damaged: run `git fsck` there",
        )
    for pattern, reason in _WORDS:
        if re.search(pattern, words, re.IGNORECASE):
            return failure(reason, url, words)
    return failure(Reason.GitProtocolError, url, words)
