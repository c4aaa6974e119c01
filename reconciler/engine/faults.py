"""The engine's complaints as errors of the hierarchy: a table from its words to a documented reason.

The engine has no error codes worth the name, so its texts are matched. Rows are tried in order, the first that matches
wins; what matches none is told in the engine's own first line.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import requests
import urllib3
from docker import errors as docker_errors

from reconciler import errors
from reconciler.foreign import said
from reconciler.reasons import Reason


@dataclass(frozen=True, slots=True)
class Rule:
    """`words` is a pattern searched for in the engine's text, `advice` what to do about it; `says` what is said in the place of that text."""

    words: str
    reason: Reason
    advice: str
    transient: bool = False
    says: Callable[[re.Match[str]], str] | None = None


_ANY: Sequence[Rule] = (
    Rule("no space left on device|disk quota exceeded", Reason.DiskFull, "make room for the engine's data", True),
)
_PULL: Sequence[Rule] = (
    *_ANY,
    Rule(
        "verification failed for digest|unexpected commit digest|failed size validation|does not match.*digest|"
        "layers from manifest don't match image configuration",
        Reason.DigestMismatch,
        "the registry served other content than the digest names",
    ),
    Rule(
        "pull access denied|unauthorized|authentication required|no basic auth credentials|denied: |forbidden",
        Reason.RegistryDenied,
        "check the name, and the engine's login for that registry",
    ),
    Rule(
        "manifest unknown|manifest for .* not found|name unknown|not found: |no matching manifest",
        Reason.ImageNotFound,
        "check name and tag",
    ),
    Rule(
        "invalid reference format|invalid repository name|repository name must be",
        Reason.ImageNotFound,
        "correct the name",
    ),
    Rule(
        "connection refused|no such host|i/o timeout|deadline exceeded|TLS handshake|x509|connection reset|no route to host|"
        "network is unreachable|server gave HTTP response to HTTPS client|EOF|Client.Timeout|server misbehaving|received unexpected HTTP status|"
        "toomanyrequests|Service Unavailable|Bad Gateway",
        Reason.RegistryUnreachable,
        "check that the registry runs and that this host reaches it",
        True,
    ),
)
_CONTAINER: Sequence[Rule] = (
    *_ANY,
    # What an engine says that is asked to end, or has just begun.
    Rule(
        "failed to update store for object type|client connection is closing|transport is closing|ttrpc: closed|"
        "error while dialing|daemon is shutting down|context canceled",
        Reason.EngineUnreachable,
        "the engine ends or begins; it is tried again by itself",
        True,
    ),
    Rule("container name .* is already in use", Reason.NameInUse, "remove or rename the other container"),
    Rule("No such image", Reason.ImageNotFound, "pull it first"),
    Rule("port is already allocated|address already in use", Reason.PortInUse, "end what listens there, or take another port", True),
    Rule(
        "bind source path does not exist|is not a shared mount|is not a shared or slave mount|error mounting|"
        "error while creating mount source path|invalid mount config",
        Reason.MountMissing,
        "make the folder or mount it, or correct the volume",
    ),
    Rule(
        "unknown capability|unable to apply caps|invalid CapAdd|invalid CapDrop",
        Reason.CapabilityRefused,
        "ask for a capability that this host has",
    ),
    Rule("setting rlimit|invalid ulimit|ulimit", Reason.UlimitRefused, "lower the ulimit, or raise the engine's own"),
    Rule(
        r"unable to set memory limit to ([0-9]{1,19}) \(current usage: ([0-9]{1,19})\b",
        Reason.MemoryInUse,
        "raise the limit, or make it use less first",
        says=lambda match: f"it may have {int(match[1]) >> 20} MiB, and has {int(match[2]) >> 20} MiB in use",
    ),
    Rule(
        "error gathering device information|no such device|not a device node|could not select device driver",
        Reason.DeviceMissing,
        "load the driver, or take the device out",
    ),
    Rule(
        "apparmor|selinux|cgroup|iptables|containerd.{0,60}(unavailable|refused|no such file)|failed to create endpoint|network .* not found|"
        "cannot allocate memory|too many open files|input/output error|unknown or invalid runtime name",
        Reason.HostFailed,
        "mend the host; it is tried again by itself",
    ),
    Rule("No such container|marked for removal", Reason.ContainerMissing, "it was removed meanwhile", True),
)  # fmt: skip


def translate(
    error: Exception, *, doing: str, image: str = "", fallback: Reason = Reason.EngineRefused
) -> errors.ReconcilerError:
    """An error of the hierarchy for what docker-py, requests or urllib3 raised while `doing` ("start keystone").

    `image` turns it into a pull's. `fallback` is the reason of what is not in the tables.
    """
    if isinstance(error, errors.ReconcilerError):
        return error
    if _is_timeout(error):
        return errors.Transient(
            f"the engine did not answer in time to: {doing} (it hangs or is overloaded: `journalctl -u docker`, load and disk)",
            reason=Reason.EngineTimeout,
        )
    if isinstance(error, docker_errors.APIError):
        text = first_line(str(error.explanation or error))
        return explain(
            text, doing=doing, image=image, fallback=fallback, transient=error.is_server_error() and not image
        )
    if isinstance(
        error, (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
    ) or "Error while fetching server API version" in str(error):
        return unreachable(error)
    return errors.Transient(f"{doing}: {first_line(str(error))}", reason=fallback)


def _is_timeout(error: BaseException) -> bool:
    """Whether a time-out is at the bottom: requests wraps those of its body readers in other errors."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def explain(
    text: str, *, doing: str, image: str = "", fallback: Reason = Reason.EngineRefused, transient: bool = False
) -> errors.ReconcilerError:
    """The error for the engine's own words."""
    where = f"{doing} (registry {registry(image)})" if image else doing
    for rule in _PULL if image else _CONTAINER:
        if match := re.search(rule.words, text, re.IGNORECASE if rule.words.islower() else 0):
            kind = errors.Transient if rule.transient else errors.Terminal
            return kind(f"{where}: {rule.says(match) if rule.says else text} ({rule.advice})", reason=rule.reason)
    kind = errors.Transient if transient and fallback != Reason.StartFailed else errors.Terminal
    return kind(f"{where}: {text}", reason=fallback)


def unreachable(error: Exception) -> errors.Transient:
    """No engine answers."""
    cause: BaseException = error
    while cause.__context__ is not None:
        cause = cause.__context__
    text = getattr(cause, "strerror", None) or first_line(str(cause))
    return errors.Transient(
        f"the Docker Engine does not answer: {text} (check `systemctl status docker` and the engine's address in the settings)",
        reason=Reason.EngineUnreachable,
    )


def registry(image: str) -> str:
    """The registry an image name points to, as the engine reads it."""
    first, separator, _ = image.partition("/")
    return first if separator and (":" in first or "." in first or first == "localhost") else "docker.io"


def first_line(text: str) -> str:
    """The engine's first line, at most 600 characters."""
    lines = said(text).strip().splitlines()
    return lines[0][:600] if lines else "no reason given"
