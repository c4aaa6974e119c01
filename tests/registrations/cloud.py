"""Stand-ins for Keystone, Nova and Neutron, as far as flavors, networks, subnets and security groups need them: they keep what they are
given, answer in pages, and refuse as the real ones do. The real ones are in the demo of the whole cloud."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PROJECT = "0123456789abcdef0123456789abcdef"
PAGE = 2  # items


class Cloud:
    """What the stand-ins keep, by collection; `asked` is every request but those for tokens."""

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.passwords = {"neutron": "right"}
        self.busy: set[str] = set()  # ids that are in use
        self.url = ""

    def add(self, collection: str, **item: Any) -> dict[str, Any]:
        made = {
            "id": f"{collection}-{len(self.asked)}-{len(self.kept.get(collection, ()))}",
            "project_id": PROJECT,
            **item,
        }
        if collection == "security_groups":
            made["security_group_rules"] = [{"id": "out", "direction": "egress", "ethertype": "IPv4"}]
        self.kept.setdefault(collection, []).append(made)
        return made

    def connection(self, **more: str) -> dict[str, str]:
        return {
            "url": self.url,
            "auth_url": self.url,
            "username": "neutron",
            "password": "right",
            "project": "service",
            **more,
        }


@contextmanager
def standing() -> Iterator[Cloud]:
    cloud = Cloud()

    class Handler(_Handler):
        of = cloud

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Cloud

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if urlsplit(self.path).path.endswith("/auth/tokens"):
            self._token(content)
            return
        collection, _, _ = self._about()
        if self._known():
            (item,) = content.values()
            if collection == "security_group_rules":
                group = self._item("security_groups", item["security_group_id"])
                made = {**item, "id": f"rule-{len(self.of.asked)}"}
                group["security_group_rules"].append(made)
            else:
                made = self.of.add(collection, **item)
            self._answer(201, {next(iter(content)): made})

    def do_GET(self) -> None:
        collection, _, filters = self._about()
        if self.path.endswith("/v3"):
            self._answer(
                200,
                {
                    "version": {
                        "id": "v3.14",
                        "status": "stable",
                        "links": [{"rel": "self", "href": f"{self.of.url}/v3/"}],
                    }
                },
            )
        elif self._known():
            marker = filters.pop("marker", "")
            filters.pop("is_public", None)
            every = self.of.kept.get(collection, [])
            items = [item for item in every if all(str(item.get(key)) == value for key, value in filters.items())]
            start = next((number + 1 for number, item in enumerate(items) if item["id"] == marker), 0)
            shown = items[start : start + PAGE]
            more = {f"{collection}_links": [{"rel": "next", "href": "x"}]} if start + PAGE < len(items) else {}
            self._answer(200, {collection: shown, **more})

    def do_PUT(self) -> None:
        collection, name, _ = self._about()
        (changes,) = json.loads(self.rfile.read(int(self.headers["Content-Length"]))).values()
        if self._known():
            self._item(collection, name).update(changes)
            self._answer(200, {})

    def do_DELETE(self) -> None:
        collection, name, _ = self._about()
        if not self._known():
            return
        if name in self.of.busy:
            self._answer(409, {"NeutronError": {"message": f"{name} is in use", "type": "InUse", "detail": ""}})
            return
        if collection == "security_group_rules":
            for group in self.of.kept["security_groups"]:
                group["security_group_rules"] = [rule for rule in group["security_group_rules"] if rule["id"] != name]
        else:
            self.of.kept[collection].remove(self._item(collection, name))
        self._answer(204, None)

    def _item(self, collection: str, name: str) -> dict[str, Any]:
        return next(item for item in self.of.kept[collection] if item["id"] == name)

    def _about(self) -> tuple[str, str, dict[str, str]]:
        """Collection, the id of an item, and filters."""
        parts = urlsplit(self.path)
        words = [word for word in parts.path.split("/") if word and not word.startswith("v")] + ["", ""]
        return words[0].replace("-", "_"), "" if words[1] == "detail" else words[1], dict(parse_qsl(parts.query))

    def _known(self) -> bool:
        self.of.asked.append(f"{self.command} {self.path}")
        if self.headers.get("X-Auth-Token") == "a token":
            return True
        self._answer(401, {"error": {"message": "who are you", "code": 401}})
        return False

    def _token(self, content: dict[str, Any]) -> None:
        user = content["auth"]["identity"]["password"]["user"]
        if self.of.passwords.get(user["name"]) != user["password"]:
            self._answer(401, {"error": {"message": "wrong", "code": 401}})
            return
        token = {
            "methods": ["password"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": user["name"], "domain": {"id": "default", "name": "Default"}},
            "project": {"id": PROJECT, "name": "service", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r", "name": "admin"}],
        }
        self._answer(201, {"token": token}, {"X-Subject-Token": "a token"})

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
