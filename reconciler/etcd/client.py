"""A thin client of etcd's JSON gateway (3.4 and newer): transactions, leases, the state of members; several endpoints, mutual TLS.

Every read is linearizable: a member that is cut off from the others gives no answer, rather than an old one. A request that got no
answer is sent to the next endpoint. So a transaction may be carried out twice, or once and be answered "refused": whoever compares
revisions reads again before judging, and nothing else may be sent through here.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import requests
from requests.adapters import HTTPAdapter

from reconciler import errors
from reconciler.codec import UNREADABLE
from reconciler.foreign import line
from reconciler.reasons import Reason
from reconciler.settings import Fleet
from reconciler.system.answers import Bounded
from reconciler.system.sessions import Session

T = TypeVar("T")

SECONDS: Final = 3.0  # for one exchange; etcd itself gives up after 5 to 7 s without a leader
CONNECT: Final = 1.0
MOST: Final = 8 << 20  # bytes of an answer; a read of a site of 1,000 hosts has 200 KB at most
OPERATIONS: Final = 128  # of one transaction: etcd's own limit


@dataclass(frozen=True, slots=True)
class Key:
    """A key as a read found it."""

    name: str
    value: bytes
    revision: int  # of its last change
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """What to read: one key, or with `below` all whose names begin so. `names`: without values; `count`: only how many;
    `first`: only the first of them."""

    name: str
    below: bool = False
    names: bool = False
    count: bool = False
    first: bool = False  # with its value, and how many there are


@dataclass(frozen=True, slots=True)
class Found:
    keys: tuple[Key, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a member says of itself; `fault` when it does not."""

    url: str
    fault: str = ""
    version: str = ""
    leader: bool = False
    size: int = 0  # bytes of its database
    cluster: str = ""


class UnavailableError(errors.Transient):
    """etcd does not answer, or not with what can be relied upon. Its reason is EtcdUnavailable."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=Reason.EtcdUnavailable)


class Client:
    """For one thread. Raises UnavailableError from everything that asks."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._endpoints = list(endpoints)  # the one that answered last comes first
        adapter = Bounded(seconds, connect=min(CONNECT, seconds), most=MOST)
        self._session = session(adapter, ca_file, cert_file, key_file)
        self.requests = 0
        self.at = ("", 0)  # of the last read: the cluster's id, and its revision then

    def close(self) -> None:
        self._session.close()

    def read(self, wanted: Sequence[Range]) -> list[Found]:
        """All of them as of one moment. `wanted`: at most `OPERATIONS`."""

        def parts(answer: Mapping[str, Any]) -> list[Found]:
            header = answer.get("header") or {}
            self.at = (line(str(header.get("cluster_id", ""))), int(header.get("revision", 0)))
            found = [_found(part["response_range"]) for part in answer.get("responses") or ()]
            if len(found) != len(wanted):
                raise _NoAnswerError("answers only in part")
            return found

        return self._ask("/v3/kv/txn", {"success": [{"requestRange": _range(item)} for item in wanted]}, parts)

    def transact(
        self, compares: Mapping[str, int], puts: Mapping[str, tuple[bytes, int]], deletes: Sequence[Range]
    ) -> bool:
        """Whether every key of `compares` had that revision (0: did not exist) and everything was written. `puts`: value, lease (0: none)."""
        operations: list[dict[str, Any]] = [
            {"requestPut": {"key": _b64(key), "value": _b64(value), **({"lease": str(lease)} if lease else {})}}
            for key, (value, lease) in puts.items()
        ]
        operations += [{"requestDeleteRange": _span(item)} for item in deletes]
        compared = [
            {"key": _b64(key), "target": "MOD", "result": "EQUAL", "modRevision": str(revision)}
            for key, revision in compares.items()
        ]
        if max(len(operations), len(compared)) > OPERATIONS:
            raise _unavailable(f"a transaction of {len(operations)} operations is more than etcd takes")
        return self._ask(
            "/v3/kv/txn", {"compare": compared, "success": operations}, lambda answer: bool(answer.get("succeeded"))
        )

    def grant(self, seconds: int) -> int:
        """A new lease."""
        return self._ask("/v3/lease/grant", {"TTL": str(seconds)}, lambda answer: int(answer["ID"]))

    def keep_alive(self, lease: int) -> bool:
        """Whether a lease was there to be kept alive."""
        return self._ask(
            "/v3/lease/keepalive", {"ID": str(lease)}, lambda answer: int(answer["result"].get("TTL", 0)) > 0
        )

    def members(self) -> list[Endpoint]:
        """Each endpoint by itself; raises nothing."""
        return [self._member(url) for url in sorted(self._endpoints)]

    def _member(self, url: str) -> Endpoint:
        def told(found: Mapping[str, Any]) -> Endpoint:
            header = found["header"]
            return Endpoint(
                url,
                "",
                line(str(found["version"])),
                found.get("leader") == header["member_id"],
                int(found.get("dbSize", 0)),
                line(str(header.get("cluster_id", ""))),
            )

        try:
            return self._send(url, "/v3/maintenance/status", {}, told)
        except (requests.RequestException, _NoAnswerError) as error:
            return Endpoint(url, _fault(error))

    def _ask(self, path: str, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T:
        """What the first endpoint that answers says, as `read` understands it."""
        faults = []
        for url in tuple(self._endpoints):
            try:
                found = self._send(url, path, body, read)
            except (requests.RequestException, _NoAnswerError) as error:
                faults.append(f"{url}: {_fault(error)}")
                continue
            self._endpoints.sort(key=lambda other: other != url)
            return found
        raise _unavailable("; ".join(faults))

    def _send(self, url: str, path: str, body: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T:
        """One endpoint's answer, as `read` understands it. Raises requests.RequestException, _NoAnswerError: what makes no sense is no
        answer."""
        self.requests += 1
        response = self._session.post(url.rstrip("/") + path, json=body)
        try:
            found = response.json()
        except (ValueError, RecursionError):
            raise _NoAnswerError(f"answers {response.status_code}, and not in JSON: is it etcd?") from None
        if isinstance(found, dict) and (response.status_code != 200 or "error" in found):
            raise _NoAnswerError(line(str(found.get("message") or found.get("error") or response.status_code)))
        try:
            return read(found)
        except UNREADABLE:
            raise _NoAnswerError("answers something that is not etcd's") from None


def session(adapter: HTTPAdapter, ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> Session:
    """A session with members of etcd. With a certificate and its key they are shown."""
    made = Session(str(ca_file) if ca_file else True)
    if cert_file and key_file:
        made.cert = (str(cert_file), str(key_file))
    for scheme in ("http://", "https://"):
        made.mount(scheme, adapter)
    return made


def connect(fleet: Fleet) -> Client:
    """A client as the settings say."""
    return Client(
        fleet.etcd, ca_file=fleet.ca_file, cert_file=fleet.cert_file, key_file=fleet.key_file, seconds=fleet.timeout
    )


class _NoAnswerError(Exception):
    """An endpoint answered, and not with what was asked for."""


def _fault(error: Exception) -> str:
    if isinstance(error, _NoAnswerError):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return errors.root_cause(error)


def _unavailable(message: str) -> UnavailableError:
    return UnavailableError(f"etcd cannot be asked ({message})")


def _b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def _span(item: Range) -> dict[str, Any]:
    """The keys of a range; the end of all that begin with a prefix is that prefix with its last byte one higher."""
    key = item.name.encode()
    return {"key": _b64(key), **({"rangeEnd": _b64(key[:-1] + bytes([key[-1] + 1]))} if item.below else {})}


def _range(item: Range) -> dict[str, Any]:
    return {
        **_span(item),
        **({"keysOnly": True} if item.names else {}),
        **({"countOnly": True} if item.count else {}),
        **({"limit": "1"} if item.first else {}),
    }


def _found(answer: Mapping[str, Any]) -> Found:
    keys = tuple(
        Key(
            base64.b64decode(kv["key"]).decode(),
            base64.b64decode(kv.get("value", "")),
            int(kv["mod_revision"]),
            int(kv.get("lease", 0)),
        )
        for kv in answer.get("kvs") or ()
    )
    return Found(keys, int(answer.get("count", 0)))
