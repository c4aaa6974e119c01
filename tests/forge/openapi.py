"""Checks both directions of a conversation against an OpenAPI description."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from .standin import Reply, Request

DESCRIPTION = Path(__file__).with_name("gitlab-openapi.yaml")


class Checker:
    """Says what violates the description."""

    def __init__(self, path: Path = DESCRIPTION) -> None:
        self._description = _loaded(path)
        self._api = _api(path)

    def request(self, request: Request) -> list[str]:
        """Violations of a request; query parameters that nobody described included."""
        sent = self._mock(request)
        found = [] if self._query_known(request) else [f"unknown query parameter in {sorted(request.query)}"]
        if request.data and not request.headers.get("Content-Type", "").startswith("application/json"):
            found.append(f"body is {request.headers.get('Content-Type')}, not JSON")
        try:
            self._api.validate_request(sent)
        except OpenAPIError as error:
            found.append(_text(error))
        return [f"{request.method} {request.path}: request: {text}" for text in found]

    def answer(self, request: Request, reply: Reply, data: bytes) -> list[str]:
        """Violations of an answer."""
        try:
            self._api.validate_response(self._mock(request), MockResponse(data, reply.status))
        except OpenAPIError as error:
            return [f"{request.method} {request.path}: answer {reply.status}: {_text(error)}"]
        return []

    def _mock(self, request: Request) -> MockRequest:
        return MockRequest(
            "http://127.0.0.1",
            request.method,
            request.path,
            args=request.query,
            headers=request.headers,
            data=request.data,
        )

    def _query_known(self, request: Request) -> bool:
        parameters = self._description["components"]["parameters"]
        for template, operations in self._description["paths"].items():
            parts, given = template.split("/"), request.path.split("/")
            if len(parts) == len(given) and all(p == g or p.startswith("{") for p, g in zip(parts, given, strict=True)):
                listed = operations.get(request.method.lower(), {}).get("parameters", [])
                known = [parameters[p["$ref"].rsplit("/", 1)[1]] if "$ref" in p else p for p in listed]
                return set(request.query) <= {p["name"] for p in known if p["in"] == "query"}
        return True  # the path itself is unknown, which the validator says


@cache
def _loaded(path: Path) -> dict[str, Any]:
    description: dict[str, Any] = yaml.safe_load(path.read_text())
    return description


@cache
def _api(path: Path) -> OpenAPI:
    return OpenAPI.from_dict(_loaded(path))


def _text(error: BaseException) -> str:
    """The whole chain: the outer message alone says only that something is invalid."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        inner = "; ".join(str(e.message) for e in getattr(current, "schema_errors", []))
        parts.append(f"{current}{': ' + inner if inner else ''}")
        current = current.__cause__
    return " <- ".join(dict.fromkeys(parts))
