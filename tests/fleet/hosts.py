"""Simulated hosts that really sign: one HTTP server on many loopback addresses, a key for each, and a site that declares them.

The signatures are made here by other means than the program's (`cryptography`, not ssh-keygen), after OpenSSH's
PROTOCOL.sshsig: the format is checked from two sides, and a thousand of them take no time.
"""

import base64
import contextlib
import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reconciler.reasons import Reason
from reconciler.report import StatusText
from reconciler.report.signed import NAMESPACE, Statement, encode
from tests.git import servers

SITE = "north"
SERVICE = {
    "services/web/service.yml": """\
description: A container for tests
groups: {web: []}
containers:
  web:
    group: web
    image: "busybox:1.36"
    kolla: false
    command: [sleep, inf]
""",
    "services/web/variables.yml": "{}\n",
}


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class Key:
    """An ed25519 key that makes SSHSIG signatures."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        public = self._private.public_key()
        self._blob = _text(b"ssh-ed25519") + _text(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
        self.public = f"ssh-ed25519 {base64.b64encode(self._blob).decode()}"

    def sign(self, line: bytes, namespace: str = NAMESPACE) -> bytes:
        """The line, and its armored signature."""
        common = _text(namespace.encode()) + _text(b"") + _text(b"sha512")
        made = self._private.sign(b"SSHSIG" + common + _text(hashlib.sha512(line).digest()))
        blob = (
            b"SSHSIG" + (1).to_bytes(4, "big") + _text(self._blob) + common + _text(_text(b"ssh-ed25519") + _text(made))
        )
        armor = base64.encodebytes(blob)
        return line + b"-----BEGIN SSH SIGNATURE-----\n" + armor + b"-----END SSH SIGNATURE-----\n"


def converged(commit: str, text: str = "3 containers, 1 changed in 2.0 s") -> StatusText:
    return StatusText(commit, "success", text, "converged")


def failed(commit: str, text: str = "web: not healthy within 120 s (rolled back)") -> StatusText:
    return StatusText(commit, "failed", text, "failed web Unhealthy")


@dataclass
class Host:
    """What one host answers: `answer`, made by `say` or set by a test; None: it hangs up."""

    name: str
    address: str
    key: Key = field(default_factory=Key)
    answer: bytes | None = None
    code: int = 200
    wire: Callable[[socket.socket], None] | None = None  # what it does with a connection instead

    def statement(self, commit: str, *statuses: StatusText, **changes: Any) -> Statement:
        said = Statement(SITE, self.name, datetime.now(UTC), commit, statuses, Reason.Converged)
        return replace(said, **changes)

    def say(self, commit: str, *statuses: StatusText, **changes: Any) -> bytes:
        """Sign a statement and answer with it from now on."""
        self.answer = self.key.sign(encode(self.statement(commit, *statuses, **changes)))
        return self.answer


class Hosts:
    """Hosts by name. Groups are dealt out in turn."""

    def __init__(self, count: int, groups: int = 1) -> None:
        self.all = [Host(f"n{n}", f"127.9.{n // 250}.{n % 250 + 1}") for n in range(count)]
        self.groups = [f"rack{n}" for n in range(groups)]
        self.port = 0
        self.asked = 0
        self._by_address = {host.address: host for host in self.all}

    def __getitem__(self, number: int) -> Host:
        return self.all[number]

    def group(self, number: int) -> str:
        return self.groups[number % len(self.groups)]

    def site(self, policy: str = "", **files: str | None) -> dict[str, str | None]:
        """The site's files."""
        lines = [
            f"  {h.name}: {{addresses: {{network: {h.address}}}, groups: [{self.group(n)}, web], report_key: {h.key.public}}}\n"
            for n, h in enumerate(self.all)
        ]
        groups = "".join(f"  {group}: {{}}\n" for group in self.groups)
        return {
            "inventory.yml": f"hosts:\n{''.join(lines)}groups:\n{groups}",
            "globals.yml": "enable_openstack_core: false\n",
            "reconciler.yml": f"name: {SITE}\n{policy}",
            **SERVICE,
            **files,
        }

    def say(self, commit: str, status: Callable[[str], StatusText] = converged) -> None:
        """Every host says the same about a commit, which is in force on it."""
        for host in self.all:
            host.say(commit, status(commit))

    @contextlib.contextmanager
    def served(self) -> Iterator["Hosts"]:
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host = owner._by_address.get(self.connection.getsockname()[0])
                owner.asked += 1
                assert self.path == "/report"
                if host is not None and host.wire is not None:
                    with contextlib.suppress(OSError):
                        host.wire(self.connection)
                    return
                if host is None or host.answer is None:
                    self.close_connection = True
                    return
                self.send_response(host.code)
                self.end_headers()
                self.wfile.write(host.answer)

            def log_message(self, *_: object) -> None:
                """Silent."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        server = Server(("0.0.0.0", 0), Handler)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


@dataclass
class Place:
    """A repository, a state directory, and the settings of a reporter."""

    folder: Path
    hosts: Hosts
    forge: str = ""

    def __post_init__(self) -> None:
        self.repository = servers.make_repo(self.folder / "site.git")
        self.settings = self.folder / "reporter.toml"
        self.state = self.folder / "reporter"
        self.write()

    def push(self, files: dict[str, str | None] | None = None, message: str = "a change") -> str:
        """Commit and push; by default something that no host cares about."""
        return servers.commit(self.repository, files or {"README.md": f"{datetime.now(UTC)}\n"}, message)

    def write(self, **reporter: Any) -> None:
        values = {"port": self.hosts.port, "timeout": 20, "listen": "", "patience": 900, **reporter}
        lines = "".join(f"{k} = {v!r}\n".replace("'", '"') for k, v in values.items())
        self.settings.write_text(
            f'state_dir = "{self.folder}/node"\n[git]\nurl = "{self.repository.as_uri()}"\n{self.forge}\n'
            f'[reporter]\nstate_dir = "{self.state}"\n{lines}\n[log]\nlevel = "debug"\nformat = "json"\n'
        )
