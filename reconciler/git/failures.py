"""What went wrong with a remote: one constructor per reason, and the translation of HTTP statuses and libgit2's words.

Transient: GitUnreachable, GitTimeout, GitProtocolError, GitObjectCorrupt, GitRateLimited, GitServerError. Terminal (an operator must act):
GitCertificateInvalid, GitHostKeyChanged, GitHostKeyUnknown, GitAuthFailed, GitForbidden, GitNotFound, GitEmptyRepository,
GitBranchMissing, GitRemoteInvalid (the remote's own settings cannot be used).
"""

import re
from urllib.parse import urlsplit, urlunsplit

from reconciler import errors

_TRANSIENT = {
    "GitUnreachable",
    "GitTimeout",
    "GitProtocolError",
    "GitObjectCorrupt",
    "GitRateLimited",
    "GitServerError",
}

_ADVICE = {
    "GitUnreachable": "check the network, name resolution and that the server runs",
    "GitTimeout": "the server or the network is too slow, or the server hangs",
    "GitCertificateInvalid": "give the CA that signed it as ca_file, or renew the server's certificate",
    "GitHostKeyChanged": "if the server was really reinstalled, replace its line in known_hosts; else someone is in between",
    "GitHostKeyUnknown": "get the server's key over a channel you trust and add it to known_hosts (ssh-keyscan prints it)",
    "GitAuthFailed": "the token or key is wrong, expired or revoked: put a valid one in its file",
    "GitForbidden": "the credential is valid but may not read this repository: give it read_repository rights",
    "GitNotFound": "check the URL; servers also say this to a credential that may not see the repository",
    "GitEmptyRepository": "push a commit; if there was one, its branch was deleted: push it again, or restore the repository",
    "GitBranchMissing": "push the branch, or correct the branch in the settings",
    "GitProtocolError": "check that the URL is a git repository's and that no proxy or login page answers in its place",
    "GitObjectCorrupt": "its repository is damaged: run `git fsck` there, and look at its log; the node keeps to what it has",
    "GitRateLimited": "poll less often, or raise the server's limit",
    "GitServerError": "see the server's own log",
    "GitRemoteInvalid": "correct the settings",
}


def failure(reason: str, url: str, what: str, *, retry_after: float | None = None) -> errors.ReconcilerError:
    """The error for `reason`; the message names the URL without credentials, what happened, and what to do."""
    message = f"{public(url)}: {what} ({_ADVICE[reason]})"
    if reason in _TRANSIENT:
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
        401: "GitAuthFailed",
        403: "GitForbidden",
        404: "GitNotFound",
        410: "GitNotFound",
        429: "GitRateLimited",
    }.get(status)
    if reason is None:
        reason = "GitServerError" if status >= 500 else "GitTimeout" if status == 408 else "GitProtocolError"
    more = f", to be tried again in {wait:g} s" if wait is not None else ""
    return failure(reason, url, f"the server answered HTTP {status}{more}", retry_after=wait)


# libgit2's words, first match wins. It has no finer error codes than these messages.
_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"object not found|loose object|corrupt|inflate|zlib|checksum|hash mismatch|bad object|packfile|missing (blob|tree|commit|object)",
        "GitObjectCorrupt",
    ),
    (r"ssl certificate|certificate is invalid|certificate verify|hostname mismatch", "GitCertificateInvalid"),
    (r"timed? ?out|timeout|resource temporarily unavailable", "GitTimeout"),
    (
        r"too many redirects or authentication replays|authenticat|invalid credentials|401|publickey|callback returned",
        "GitAuthFailed",
    ),
    (r"private key|public key|passphrase|keypair", "GitAuthFailed"),
    (
        r"failed to resolve address|failed to connect|connection refused|no route|unreachable|connection reset",
        "GitUnreachable",
    ),
    (
        r"status code: 40[4]|could not find repository|failed to resolve path|not found|does not appear to be a git",
        "GitNotFound",
    ),
    (r"status code: 403|permission denied", "GitForbidden"),
    (r"status code: 429", "GitRateLimited"),
    (r"status code: 5\d\d", "GitServerError"),
)


# How a server that meets a damaged object while it sends commits looks from here: it just ends.
_BROKEN_OFF = re.compile(r"could not read from remote|eof|hung up|unexpected end|early end", re.IGNORECASE)


def libgit2(url: str, words: str, *, sending: bool = False) -> errors.ReconcilerError:
    """The error for what libgit2 said; what is not recognised is GitProtocolError. `sending`: the server had answered, and was
    sending commits."""
    words = " ".join(words.split())[:400]
    if sending and _BROKEN_OFF.search(words):
        return failure(
            "GitServerError",
            url,
            f"{words}: it ended while it sent commits; its repository may be damaged: run `git fsck` there",
        )
    for pattern, reason in _WORDS:
        if re.search(pattern, words, re.IGNORECASE):
            return failure(reason, url, words)
    return failure("GitProtocolError", url, words)
