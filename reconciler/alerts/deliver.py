"""Sends messages to one target, in a child process: what hangs is killed, and what apprise loads is gone afterwards.

Errors of the hierarchy: Transient AlertTargetUnreachable, AlertTargetBusy; Terminal AlertTargetRefused,
AlertTargetMisconfigured. No message holds a key or an address that may hold a password.
"""

import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler import errors, secret
from reconciler.reasons import Reason

_SECONDS = 10.0  # for one request
SIGNATURE = "X-Reconciler-Signature-256"


def run(argument: Mapping[str, Any]) -> dict[str, Any]:
    """{"kind", "url", "key_file", "ca_file", "url_file", "messages"}: send the messages in order, up to the first failure.

    Returns {"done": how many arrived, "error": None or {"transient", "reason", "message", "retry_after"}}.
    """
    return _sent(_http, argument)


def run_apprise(argument: Mapping[str, Any]) -> dict[str, Any]:
    """As `run`, for a target of the kind `apprise`."""
    return _sent(_apprise, argument)


def warm(name: str) -> None:
    """For `run_child`: no library is loaded any more once a server can be spoken to."""
    from reconciler.system.answers import Bounded
    from reconciler.system.sessions import Session

    with Session() as session:
        session.mount("https://", Bounded(_SECONDS))
    if name == "run_apprise":
        from apprise.apprise import N_MGR

        N_MGR.load_modules()  # type: ignore[no-untyped-call]


def _sent(send: Callable[[Mapping[str, Any], Any], None], argument: Mapping[str, Any]) -> dict[str, Any]:
    done = 0
    try:
        for message in argument["messages"]:
            send(argument, message)
            done += 1
    except errors.ReconcilerError as error:
        described = {
            "transient": isinstance(error, errors.Transient),
            "reason": error.reason,
            "message": str(error),
            "retry_after": getattr(error, "retry_after", None),
        }
        return {"done": done, "error": described}
    return {"done": done, "error": None}


def _http(target: Mapping[str, Any], message: Mapping[str, Any]) -> None:
    import requests
    from urllib3.exceptions import MaxRetryError

    from reconciler.system.answers import Bounded
    from reconciler.system.sessions import Session

    body = json.dumps(message, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "reconciler", **_proof(target, body)}
    host = urlsplit(target["url"]).netloc
    ca_file = target.get("ca_file")
    # Raised outside the except block: an error of `requests` would carry the headers of the request along.
    failure: errors.ReconcilerError
    try:
        with Session(ca_file or True, outside=True) as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, Bounded(_SECONDS, most=1, cut=True))  # nothing of the body is of interest
            answer = session.post(
                target["url"],
                data=body,
                headers=headers,
                allow_redirects=False,
                stream=True,
                timeout=_SECONDS,
            )
            if 200 <= answer.status_code < 300:
                return
            failure = _refusal(host, answer.status_code, answer.headers.get("Retry-After", ""))
    except requests.exceptions.SSLError as error:
        why = errors.root_cause(error)
        failure = _unreachable(f"{host}: TLS failed: {why} (is ca_file the authority of this server?)")
    except requests.exceptions.Timeout:
        failure = _unreachable(f"{host} does not answer within {_SECONDS:g} s")
    except requests.RequestException as error:
        # Of a connection that was never made the system says why. Anything else may hold the address, whose path may be a secret: an error of
        # `requests` names it, and a server may answer with what it was asked.
        made = not isinstance(next(iter(error.args), None), MaxRetryError)
        why = f" ({type(error).__name__})" if made else f": {errors.root_cause(error)}"
        failure = _unreachable(f"{host} cannot be reached{why}")
    except OSError as error:
        failure = _misconfigured(f"CA file {ca_file} cannot be used: {error.strerror or 'not found'}")
    raise failure


def _proof(target: Mapping[str, Any], body: bytes) -> dict[str, str]:
    if not target.get("key_file"):
        return {}
    key = _read(Path(target["key_file"]))
    if target["kind"] == "gitlab":
        return {"Authorization": f"Bearer {key}"}
    return {SIGNATURE: "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}


def _refusal(host: str, code: int, retry_after: str) -> errors.ReconcilerError:
    from reconciler.system import answers

    if code in (409, 429) or code >= 500:
        return errors.Transient(
            f"{host} is busy: it answers {code}",
            reason=Reason.AlertTargetBusy,
            retry_after=answers.retry_after(retry_after),
        )
    advice = {
        401: "is the key right?",
        403: "is the key right?",
        404: "is the address right, is the integration active?",
    }
    hint = advice.get(code, "is the address the final one?" if 300 <= code < 400 else "see its log")
    return errors.Terminal(f"{host} refuses the alert with {code} ({hint})", reason=Reason.AlertTargetRefused)


def _apprise(target: Mapping[str, Any], message: Mapping[str, str]) -> None:
    import apprise

    address = _read(Path(target["url_file"]))
    said: list[str] = []
    logger = logging.getLogger("apprise")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    asset = apprise.AppriseAsset(async_mode=False, app_id="reconciler", app_desc="reconciler")
    sender = apprise.Apprise(asset=asset)
    try:
        if not sender.add(address):
            raise _misconfigured(f"{target['url_file']} holds no address that apprise understands")
        if not sender.notify(
            title=message["title"],
            body=message["body"],
            notify_type=apprise.NotifyType(message["type"]),
            body_format=apprise.NotifyFormat.TEXT,
        ):
            scheme = address.partition(":")[0]
            raise _unreachable(f"{scheme} took no notification: {_hidden(said, address) or 'no reason given'}")
    finally:
        logger.removeHandler(handler)


def _hidden(said: Sequence[str], address: str) -> str:
    """The last thing apprise said, without any part of the address but its host."""
    text = " ".join(said[-1].split())[:300] if said else ""
    rest = address.partition("://")[2]
    host = re.split(r"[/?]", rest)[0].rpartition("@")[2]
    for part in sorted(set(re.split(r"[/?&=@:]", rest.replace(host, "", 1))), key=len, reverse=True):
        if len(part) > 3:
            text = text.replace(part, "…")
    return text


def _read(path: Path) -> str:
    """The one line of a key file. Raises errors.Terminal, which holds nothing of it."""
    try:
        content = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _misconfigured(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'no text'}") from None
    if not content or not content.isprintable():
        raise _misconfigured(f"{path} must hold one line of text")
    secret.keep([secret.Secret(content)])
    return content


def _unreachable(message: str) -> errors.Transient:
    return errors.Transient(message, reason=Reason.AlertTargetUnreachable)


def _misconfigured(message: str) -> errors.Terminal:
    return errors.Terminal(message, reason=Reason.AlertTargetMisconfigured)
