"""The servers that a node speaks to over HTTP, in this process: a GitLab, an etcd, a receiver of alerts.

The program's own clients make and read every request; what is exchanged for others is the connection. Each request is a failpoint.
"""

import base64
import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from reconciler.rollout.policy import WAVE
from reconciler.rollout.records import permit_key, place_key
from tests.faults.points import Faults
from tests.forge import standin
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import Project

FORGE, ETCD, ALERTS = "http://forge.test", "http://etcd.test:2379", "http://alerts.test/hook"
SITE: Final = "site"
_ENGINE: Final = "http+docker://"
_STATUS: Final = {"refused": 422, "conflict": 409, "busy": 429, "error": 503}
_Answer = tuple[int, Any]


@cache
def _routes() -> GitLab:
    """The stand-in's rules; nobody connects to it."""
    made = GitLab()
    made._server.server_close()
    return made


class Web:
    """What is there: `project` has every status that was posted, `alerts` what a receiver was told last of each alert, by fingerprint."""

    def __init__(self, faults: Faults, token: str) -> None:
        self._faults = faults
        self._gitlab = _routes()
        self._gitlab.tokens.clear()
        self._gitlab.projects.clear()
        self._gitlab.add_user("node", token)
        self.project: Project = self._gitlab.add_project("cloud/site")
        self.etcd = Etcd()
        self.alerts: dict[str, str] = {}
        self.told = 0

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Within it, every session of this process reaches these servers and no other but an engine on its socket."""
        sent = HTTPAdapter.send

        def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **more: Any) -> requests.Response:
            if str(request.url).startswith(_ENGINE):
                return sent(adapter, request, **more)
            return self._send(request)

        with mock.patch.object(HTTPAdapter, "send", send):
            yield

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        point, answer = self._asked(request)
        kind = self._faults.hit(point)
        if kind == "unreachable":
            raise requests.exceptions.ConnectionError("nobody answers", request=request)
        if kind == "hang":
            raise requests.exceptions.ReadTimeout("no answer", request=request)
        if kind in _STATUS:
            headers = {"Retry-After": "30"} if kind == "busy" else {}
            return _response(request, _STATUS[kind], {"message": "for some reason"}, headers)
        if kind == "garbage":
            if point == "alert.send":
                answer()  # of a receiver nothing is known but that 200 is a yes
            return _response(request, 200, b"<html>Deploy in progress\xff</html>")
        code, body = answer()
        if kind == "killed-after":
            self._faults.die(point)
        if kind == "lost":
            raise requests.exceptions.ReadTimeout("no answer", request=request)
        return _response(request, code, body)

    def _asked(self, request: requests.PreparedRequest) -> tuple[str, Callable[[], _Answer]]:
        url = request.url or ""
        data = request.body or b""
        data = data.encode() if isinstance(data, str) else data
        if url.startswith(FORGE):
            return ("forge.post" if request.method == "POST" else "forge.find"), lambda: self._forge(request, data)
        body = json.loads(data)
        if url.startswith(ETCD):
            path = urlsplit(url).path
            reads = path.endswith("/txn") and all("requestRange" in one for one in body["success"])
            point = "etcd.read" if reads else "etcd.transact" if path.endswith("/txn") else "etcd.lease"
            return point, lambda: (200, self.etcd.ask(path, body))
        assert url == ALERTS, url
        return "alert.send", lambda: self._alert(body)

    def _forge(self, request: requests.PreparedRequest, data: bytes) -> _Answer:
        parts = urlsplit(request.url or "")
        headers = {name.title(): value for name, value in request.headers.items()}
        asked = standin.Request(request.method or "", str(parts.path), dict(parse_qsl(str(parts.query))), headers, data)
        reply = self._gitlab._reply(asked)
        return reply.status, reply.body

    def _alert(self, body: Mapping[str, Any]) -> _Answer:
        for alert in body["alerts"]:
            self.alerts[alert["fingerprint"]] = alert["status"]
            self.told += 1
        return 204, None


def _response(
    request: requests.PreparedRequest, code: int, body: Any, headers: Mapping[str, str] | None = None
) -> requests.Response:
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    raw = urllib3.HTTPResponse(
        io.BytesIO(data), headers={"Content-Type": "application/json", **(headers or {})}, status=code, preload_content=False
    )  # fmt: skip
    return HTTPAdapter().build_response(request, raw)


@dataclass
class Etcd:
    """Keys with revisions, transactions and leases, behind the paths of etcd's JSON gateway."""

    revision: int = 1
    keys: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    leases: set[str] = field(default_factory=set)
    under: dict[str, str] = field(default_factory=dict)  # key → its lease

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a member of version 3 answers."""
        header = {"cluster_id": "7", "member_id": "1", "revision": str(self.revision)}
        if path == "/v3/lease/grant":
            self.leases.add(found := str(1000 + len(self.leases)))
            return {"header": header, "ID": found, "TTL": str(body["TTL"])}
        if path == "/v3/lease/keepalive":
            return {"result": {"header": header, **({"TTL": "60"} if body["ID"] in self.leases else {})}}
        assert path == "/v3/kv/txn", path
        if any(self._changed(_text(one["key"])) != int(one["modRevision"]) for one in body.get("compare", ())):
            return {"header": header}
        if any("requestRange" not in one for one in body["success"]):
            self.revision += 1
        responses = [self._do(one) for one in body["success"]]
        return {"header": {**header, "revision": str(self.revision)}, "succeeded": True, "responses": responses}

    def hold(self, host: str | None) -> None:
        """Another host takes the place of the wave when it is free, or (None) gives it back."""
        name = f"/reconciler/{SITE}/{place_key(WAVE, 0)}"
        held = self.keys.get(name, (b"", 0))[0]
        if host and not held:
            self.revision += 1
            self.keys[name] = json.dumps({"host": host}).encode(), self.revision
        elif host is None and held == json.dumps({"host": "there"}).encode():
            self.revision += 1
            del self.keys[name]

    def has_permit(self, host: str) -> bool:
        """Whether a host claimed what it needs for a change, and has not given it back."""
        return f"/reconciler/{SITE}/{permit_key(host)}" in self.keys

    def _changed(self, key: str) -> int:
        return self.keys.get(key, (b"", 0))[1]

    def _do(self, one: Mapping[str, Any]) -> dict[str, Any]:
        if put := one.get("requestPut"):
            self.keys[_text(put["key"])] = base64.b64decode(put["value"]), self.revision
            self.under[_text(put["key"])] = put.get("lease", "0")
            return {"response_put": {}}
        if delete := one.get("requestDeleteRange"):
            for key in self._range(delete):
                del self.keys[key]
            return {"response_delete_range": {}}
        asked = one["requestRange"]
        names = self._range(asked)
        found = [] if asked.get("countOnly") else names[: int(asked.get("limit", len(names)) or len(names))]
        kvs = [self._kv(name, with_value=not asked.get("keysOnly")) for name in found]
        return {"response_range": {**({"kvs": kvs} if kvs else {}), "count": str(len(names))}}

    def _range(self, span: Mapping[str, Any]) -> list[str]:
        first, end = _text(span["key"]), _text(span.get("rangeEnd", ""))
        return sorted(key for key in self.keys if (first <= key < end if end else key == first))

    def _kv(self, name: str, *, with_value: bool) -> dict[str, str]:
        value, revision = self.keys[name]
        shown = {"value": base64.b64encode(value).decode()} if with_value else {}
        lease = self.under.get(name, "0")
        return {"key": base64.b64encode(name.encode()).decode(), "mod_revision": str(revision), "lease": lease, **shown}


def _text(coded: str) -> str:
    return base64.b64decode(coded).decode()
