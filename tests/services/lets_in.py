"""Run in a container of a genuine service: stands for Keystone, lets everybody in, and knows the services that it is told of."""

import json
import os
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

PORT = 5999
USER = "admin:admin"  # a token that says who it is: Nova takes one without asking anybody


def settings(service: str) -> str:
    """The lines of a section by which a service logs in there."""
    return f"""
auth_type = password
auth_url = http://127.0.0.1:{PORT}/v3
username = {service}
password = none
project_name = service
project_domain_id = default
user_domain_id = default
region_name = RegionOne
"""


class Keystone(BaseHTTPRequestHandler):
    """What answers. `urls` maps the type of a service to its URL."""

    urls: ClassVar[Mapping[str, str]] = {}

    def answer(self, code: int, body: object, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        links = [{"rel": "self", "href": f"http://127.0.0.1:{PORT}/v3/"}]
        self.answer(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        domain = {"id": "default", "name": "Default"}
        catalog = [
            {
                "id": kind, "type": kind, "name": kind,
                "endpoints": [
                    {"id": kind + side, "interface": side, "region": "RegionOne", "region_id": "RegionOne", "url": url}
                    for side in ("internal", "public")
                ],
            }
            for kind, url in self.urls.items()
        ]  # fmt: skip
        token = {
            "methods": ["password"], "user": {"id": "admin", "name": "admin", "domain": domain},
            "project": {"id": "admin", "name": "service", "domain": domain}, "roles": [{"id": "a", "name": "admin"}],
            "issued_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2099-01-01T00:00:00.000000Z", "catalog": catalog,
        }  # fmt: skip
        self.answer(201, {"token": token}, X_Subject_Token=USER)

    def log_message(self, *words: object) -> None:
        pass


def begin(kind: type[Keystone]) -> None:
    """Answers from now on, in a process of its own."""
    if os.fork() == 0:
        ThreadingHTTPServer(("127.0.0.1", PORT), kind).serve_forever()
