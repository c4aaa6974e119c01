"""Real git servers for tests: lighttpd with git http-backend, sshd, a proxy that misbehaves on demand, repositories.

Everything is a context manager, listens on 127.0.0.1 only, makes its keys and certificates when it starts, and ends
every process and thread it started.

    with http_server(root, token="secret") as server:
        oid = commit(make_repo(root / "site.git"), {"globals.yml": "a: 1\n"}, "first")
        remote.poll(remote.Remote(server.url("site.git"), ca_file=server.ca_file, token_file=...))
"""

import contextlib
import datetime
import http.server
import ipaddress
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# A git that reads no configuration but a repository's own, and has one author at all times.
_GIT_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "author",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "Carl Committer",
    "GIT_COMMITTER_EMAIL": "carl@example.org",
}


# --- repositories ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signer:
    """A key to sign commits with: `config` is git's, `environment` what gpg needs; made by `ssh_signer`, `gpg_signer`."""

    config: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    public: str = ""  # the public key line (ssh) or armored block (gpg)
    fingerprint: str = ""


def git(repo: Path, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
    """Run git in a repository and return its stripped output; raises AssertionError with git's own words."""
    done = subprocess.run(
        ["git", "-C", str(repo), *words], input=stdin, capture_output=True, env={**_GIT_ENV, **(env or {})}, check=False
    )
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode().strip()


def make_repo(path: Path, *, branch: str = "main") -> Path:
    """An empty bare repository that serves over every transport here."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "-q", "--bare", f"--initial-branch={branch}", ".")
    return path


def commit(
    repo: Path,
    files: Mapping[str, str | bytes | None],
    message: str,
    *,
    branch: str = "main",
    sign: Signer | None = None,
    parents: Sequence[str] | None = None,
) -> str:
    """Commit `files` (None deletes) on top of `branch` (or of `parents`) and move the branch there; returns the oid."""
    ref = branch if branch.startswith("refs/") else f"refs/heads/{branch}"
    if parents is None:
        tip = git(repo, "for-each-ref", "--format=%(objectname)", ref)
        parents = [tip] if tip else []
    with tempfile.TemporaryDirectory() as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index"}
        if parents:
            git(repo, "read-tree", parents[0], env=env)
        for name, content in files.items():
            if content is None:
                git(repo, "rm", "-q", "--cached", "--", name, env={**env, "GIT_WORK_TREE": scratch})
                continue
            data = content.encode() if isinstance(content, str) else content
            blob = git(repo, "hash-object", "-w", "--stdin", stdin=data)
            git(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=env)
        tree = git(repo, "write-tree", env=env)
    return commit_tree(repo, tree, message, ref=ref, sign=sign, parents=parents)


def commit_tree(
    repo: Path,
    tree: str,
    message: str,
    *,
    ref: str = "refs/heads/main",
    sign: Signer | None = None,
    parents: Sequence[str] = (),
) -> str:
    """Commit an existing tree object (it may be a hostile one) and move `ref` there; returns the oid."""
    options = [word for name, value in (sign.config if sign else {}).items() for word in ("-c", f"{name}={value}")]
    words = ["commit-tree", tree, "-m", message, *(["-S"] if sign else [])]
    words += [word for parent in parents for word in ("-p", parent)]
    oid = git(repo, *options, *words, env=sign.environment if sign else None)
    git(repo, "update-ref", ref, oid)
    return oid


def force_push(
    repo: Path, files: Mapping[str, str | bytes | None], message: str, *, branch: str = "main", **more: Any
) -> str:
    """Rewrite `branch`: its tip becomes a commit without parents; returns the oid."""
    return commit(repo, files, message, branch=branch, parents=[], **more)  # type: ignore[arg-type]


def raw_object(repo: Path, kind: str, data: bytes) -> str:
    """Write any bytes as a loose object of `kind`, valid or not; returns the oid."""
    return git(repo, "hash-object", "-t", kind, "-w", "--stdin", "--literally", stdin=data)


def raw_tree(repo: Path, entries: Sequence[tuple[bytes, bytes, str]]) -> str:
    """A tree object with (mode, name, oid) rows exactly as given; returns the oid."""
    return raw_object(
        repo, "tree", b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
    )


def many_refs(repo: Path, oid: str, count: int) -> None:
    """Add `count` branches refs/heads/load/<n>, all at `oid`."""
    lines = "".join(f"create refs/heads/load/{number:05d} {oid}\n" for number in range(count))
    git(repo, "update-ref", "--stdin", stdin=lines.encode())
    git(repo, "pack-refs", "--all")


# --- keys and certificates ------------------------------------------------------------------------------------------


def ssh_key(path: Path) -> Path:
    """An ed25519 key pair at `path` and `path`.pub; returns the private one."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


def ssh_signer(directory: Path, name: str = "signer") -> Signer:
    """A fresh SSH signing key under `directory`."""
    key = ssh_key(directory / name)
    public = key.with_name(f"{name}.pub").read_text().strip()
    config = {"gpg.format": "ssh", "user.signingKey": str(key)}
    line = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, check=True).stdout.decode()
    return Signer(config, {}, public, line.split()[1])


@contextlib.contextmanager
def gpg_signer(name: str = "Greta Signer <greta@example.org>", *, expire: str = "never") -> Iterator[Signer]:
    """A fresh GPG ed25519 signing key in its own home; its agent ends with it. `expire` is gpg's ("never", "seconds=1")."""
    # Under /tmp, not a test's directory: the agent's socket path has a limit of about 100 characters.
    home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    try:
        words = [*gpg, "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", expire]
        subprocess.run(words, check=True, capture_output=True, env=_GIT_ENV)
        rows = subprocess.run(
            [*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, env=_GIT_ENV
        ).stdout.decode()
        fingerprint = re.findall(r"^fpr:+([0-9A-F]{40}):", rows, re.MULTILINE)[0]
        public = subprocess.run(
            [*gpg, "--armor", "--export"], check=True, capture_output=True, env=_GIT_ENV
        ).stdout.decode()
        yield Signer({"user.signingKey": fingerprint}, {"GNUPGHOME": str(home)}, public, fingerprint)
    finally:
        subprocess.run(
            ["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True, env=_GIT_ENV
        )
        shutil.rmtree(home, ignore_errors=True)


def certificate(directory: Path, name: str = "server", *, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """A CA of its own and a certificate for `address` signed by it; returns (ca file, file with certificate and key)."""
    now = datetime.datetime.now(datetime.UTC)

    def make(
        subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, ca: bool
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder().public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        builder = builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if ca:
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        else:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
            issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            builder = builder.add_extension(issuer_id, critical=False)
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = f"test CA of {name}"
    pem = serialization.Encoding.PEM
    ca_file, pair = directory / f"{name}-ca.pem", directory / f"{name}.pem"
    ca_file.write_bytes(make(issuer, ca_key, issuer, ca_key, True).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pair.write_bytes(make(address, key, issuer, ca_key, False).public_bytes(pem) + private)
    pair.chmod(0o600)
    return ca_file, pair


# --- https and http -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A running http(s) git server. `ca_file` is what a client must trust (None without TLS)."""

    port: int
    tls: bool
    ca_file: Path | None
    pair: Path | None  # certificate and key, for a proxy that answers in its place

    def url(self, name: str) -> str:
        """The URL of the repository at `root`/name."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/{name}"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def http_server(
    root: Path, *, tls: bool = True, token: str | None = None, username: str = "oauth2", protocol_v2: bool = True
) -> Iterator[HttpServer]:
    """lighttpd with `git http-backend` over the bare repositories in `root`; basic auth when a token is given.

    `protocol_v2=False` is a server that knows protocol version 0 only.
    """
    with tempfile.TemporaryDirectory(prefix="lighttpd-") as name:
        scratch, port = Path(name), free_port()
        ca_file, pair = certificate(scratch) if tls else (None, None)
        modules = [
            "mod_auth",
            "mod_authn_file",
            "mod_setenv",
            "mod_alias",
            "mod_cgi",
            *(["mod_openssl"] if tls else []),
        ]
        backend = scratch / "backend"
        forget = "" if protocol_v2 else "unset HTTP_GIT_PROTOCOL GIT_PROTOCOL; "
        executable = f"{subprocess.run(['git', '--exec-path'], capture_output=True, check=True, text=True).stdout.strip()}/git-http-backend"
        backend.write_text(
            f"#!/bin/sh\n{forget}export GIT_PROJECT_ROOT='{root}' GIT_HTTP_EXPORT_ALL=1 HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1\n"
            "export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'\n"
            f"exec {executable}\n"
        )
        backend.chmod(0o755)
        lines = [
            f'server.document-root = "{scratch}"',
            'server.bind = "127.0.0.1"',
            f"server.port = {port}",
            f"server.modules = ({', '.join(f'{chr(34)}{module}{chr(34)}' for module in modules)})",
            f'alias.url = ("/" => "{backend}/")',
            'cgi.assign = ("" => "")',
            f'server.errorlog = "{scratch}/error.log"',
            "server.max-keep-alive-requests = 1000",
        ]
        if tls:
            lines += ['ssl.engine = "enable"', f'ssl.pemfile = "{pair}"']
        if token is not None:
            (scratch / "users").write_text(f"{username}:{token}\n")
            lines += [
                'auth.backend = "plain"',
                f'auth.backend.plain.userfile = "{scratch}/users"',
                'auth.require = ("/" => ("method" => "basic", "realm" => "git", "require" => "valid-user"))',
            ]
        (scratch / "lighttpd.conf").write_text("\n".join(lines) + "\n")
        with _daemon(["lighttpd", "-D", "-f", str(scratch / "lighttpd.conf")], port, scratch / "error.log"):
            yield HttpServer(port, tls, ca_file, pair)


@contextlib.contextmanager
def _daemon(argv: Sequence[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A foreground server that is ready once its port answers, and ended (with its children) at exit."""
    with log.with_suffix(".stderr").open("wb") as stderr:
        process = subprocess.Popen(
            argv, env=_GIT_ENV, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True
        )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, f"{argv[0]} ended: {log.with_suffix('.stderr').read_text()}"
            time.sleep(0.02)
        else:
            raise AssertionError(f"{argv[0]} does not answer: {log.with_suffix('.stderr').read_text()}")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(5)


# --- ssh ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class SshServer:
    """A running sshd. `key` is the client's private key, `known_hosts` names the server's key."""

    root: Path
    port: int
    user: str
    key: Path
    known_hosts: Path

    def url(self, name: str) -> str:
        """The ssh:// URL of the repository at `root`/name."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}{self.root}/{name}"


@contextlib.contextmanager
def ssh_server(root: Path, *, keys: Path | None = None, port: int | None = None) -> Iterator[SshServer]:
    """sshd for the repositories in `root`, with its own host key, that lets one client key in.

    A second server on the same `port` is the "changed host key" (each has a new one). `keys` is a directory in which
    client key and known_hosts are put (default: one that goes at exit).
    """
    with tempfile.TemporaryDirectory(prefix="sshd-") as name:
        scratch, port = Path(name), port or free_port()
        keys = keys or scratch
        client = keys / "client" if (keys / "client").exists() else ssh_key(keys / "client")
        host = ssh_key(scratch / "host")
        (scratch / "authorized_keys").write_text((keys / "client.pub").read_text())
        known = keys / "known_hosts"
        kind, blob, *_ = host.with_suffix(".pub").read_text().split()
        known.write_text(f"[127.0.0.1]:{port} {kind} {blob}\n")
        (scratch / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {host}\nAuthorizedKeysFile {scratch}/authorized_keys\n"
            f"PidFile {scratch}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPermitUserRC no\n"
            "Subsystem sftp internal-sftp\n"
            "SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's privilege separation insists on it
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(scratch / "sshd_config")]
        with _daemon(argv, port, scratch / "sshd.log"):
            yield SshServer(root, port, pwd.getpwuid(os.geteuid()).pw_name, client, known)


# --- faults ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FaultProxy:
    """A server in front of another one. Set `mode` at any time; the counters count what passed.

    pass            bytes go through untouched (TLS included), and are counted
    hang            connections are accepted and never answered
    drip            what the server answers comes one byte every `pause` seconds, from the TLS handshake on
    drip-body       an answer of ours: head at once, then one byte of body every `pause` seconds
    drip-head       an answer of ours of which even the head drips
    401 403 404 429 500 301 …  that status, with `headers` and `body`
    garbage         200 with the right content type and a body that is no pkt-line
    cut             a 200 that promises more bytes than it sends
    body            200 with `body`
    """

    port: int
    upstream_port: int
    tls: bool
    ca_file: Path | None
    mode: str = "pass"
    then: str | None = None  # the mode after the next answer of ours
    pause: float = 0.2
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    requests: list[str] = field(default_factory=list)  # request heads seen by our own answers

    def url(self, name: str) -> str:
        """The URL of the upstream's repository, by way of this proxy."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}/{name}"

    def reset(self) -> None:
        """Set the counters to zero."""
        self.connections = self.bytes_up = self.bytes_down = 0
        self.requests.clear()


@contextlib.contextmanager
def fault_proxy(upstream: HttpServer, *, pair: Path | None = None, mode: str = "pass") -> Iterator[FaultProxy]:
    """A `FaultProxy` in front of an http server. Its own answers use the server's certificate, or that in `pair`."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = FaultProxy(listener.getsockname()[1], upstream.port, upstream.tls, upstream.ca_file, mode)
    context = None
    if upstream.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair or upstream.pair or "")
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def accept() -> None:
        while not ended.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            proxy.connections += 1
            thread = threading.Thread(target=_serve_fault, args=(proxy, client, context, ended), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield proxy
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [acceptor, *threads]:
            thread.join(5)


def _serve_fault(
    proxy: FaultProxy, client: socket.socket, context: ssl.SSLContext | None, ended: threading.Event
) -> None:
    with client, contextlib.suppress(OSError):
        if proxy.mode == "hang":
            ended.wait()
        elif proxy.mode in ("pass", "drip"):
            _relay(proxy, client, ended)
        else:
            client.settimeout(5)
            stream = context.wrap_socket(client, server_side=True) if context else client
            with stream:
                _answer(proxy, stream, ended)


def _relay(proxy: FaultProxy, client: socket.socket, ended: threading.Event) -> None:
    drip = proxy.mode == "drip"
    with socket.create_connection(("127.0.0.1", proxy.upstream_port)) as server:

        def up() -> None:
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    proxy.bytes_up += len(data)
                    server.sendall(data)
                server.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=up, daemon=True)
        thread.start()
        server.settimeout(0.1)
        try:
            while not ended.is_set():
                try:
                    data = server.recv(1 if drip else 65536)
                except TimeoutError:
                    continue
                if not data:
                    break
                proxy.bytes_down += len(data)
                client.sendall(data)
                if drip:
                    ended.wait(proxy.pause)
        finally:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _answer(proxy: FaultProxy, stream: socket.socket, ended: threading.Event) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        data = stream.recv(65536)
        if not data:
            return
        head += data
    # A request that is not read to its end would be answered by a reset.
    head, _, rest = head.partition(b"\r\n\r\n")
    length_row = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    missing = (int(length_row[1]) if length_row else 0) - len(rest)
    while missing > 0 and (data := stream.recv(65536)):
        missing -= len(data)
    proxy.requests.append(head.decode("latin-1"))
    mode, body, headers = proxy.mode, proxy.body, dict(proxy.headers)
    status = int(mode) if mode.isdigit() else 200
    if proxy.then:
        proxy.mode, proxy.then = proxy.then, None
    if mode == "garbage":
        body = b"<html>welcome to the hotel's network</html>"
    if mode in ("drip-body", "drip-head"):
        body = b"0" * 10_000
    kind = "application/x-git-upload-pack-result" if status == 200 else "text/plain"
    length = len(body) + (100 if mode == "cut" else 0)
    reason = http.server.BaseHTTPRequestHandler.responses.get(status, ("Odd", ""))[0]
    rows = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {length}", "Connection: close"]
    rows += [f"{name}: {value}" for name, value in {"Content-Type": kind, **headers}.items()]
    opening = ("\r\n".join(rows) + "\r\n\r\n").encode()
    slow = opening + body if mode == "drip-head" else body if mode == "drip-body" else b""
    if not slow:
        stream.sendall(opening + body)
        return
    stream.sendall((opening + body)[: -len(slow)])
    for byte in slow:
        if ended.wait(proxy.pause):
            return
        stream.sendall(bytes([byte]))
