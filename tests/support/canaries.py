"""Every secret of a lab, searched for wherever words get to, in every test that has a lab.

    with Canaries(root, engine_url, label) as canaries:
        canaries.learn(...)         # a secret
        canaries.saw(place, text)   # something that left the program
    assert canaries.found() == []

While the lab lives, the processes that this one started and what the engine says of the lab's containers are looked at; at the end
come the files below the lab's folder. What may hold a secret is named in `KEPT`, with the reason. A gzip stream is unpacked first;
in other compressed or encrypted bytes nothing can be found.
"""

import base64
import contextlib
import gzip
import html
import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, quote_plus

import docker
import re2
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

SHORTEST = 8  # shorter ones are in innocent words
_LINE = 24  # a line of a private key counts by itself from this length on
_CUT = 20  # so much of a beginning is a find, whatever follows
_HEAD = 27  # bytes of a public key in DER that say of which kind it is
_PAUSE = 0.1  # seconds between two looks at the processes
_CGI = "GATEWAY_INTERFACE"  # the test's own git server hands its program the token that it was given
_LOOKS = 4  # at a process: it is what it was forked from until it starts its own program

# Below a lab's folder: where secrets belong.
KEPT: Mapping[str, str] = {
    "etc-kolla": "the files that services read",
    "site": "the work tree of the test: ciphertext, and what the test keeps beside it",
    "git": "the repository: ciphertext, packed",
    "state/rollback": "files before a change that has not proved itself, 0600 (docs/security.md, On the node)",
    "state/repository.git": "ciphertext, packed",
    "token": "the token's own file",
    "ssh_host_ed25519_key": "the key's own file",
}


def spellings(secret: str) -> dict[str, bytes]:
    """The encodings that are searched for, by name; those that spell it as it is are left out."""
    data = secret.encode()
    found: dict[str, bytes] = {"as it is": data, "its beginning": data[:_CUT]}
    for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
        for shift in range(3):
            # What stands before and after decides the first and the last sign: they are left out.
            whole = encode(b"\0" * shift + data).rstrip(b"=")
            found[f"{name}, shifted by {shift}"] = whole[(0, 2, 3)[shift] : len(whole) - 1]
    found["base32"] = base64.b32encode(data).rstrip(b"=")[:-1]
    found["hex"] = data.hex().encode()
    found["HEX"] = data.hex().upper().encode()
    found["URL"] = quote(secret, safe="").encode()
    found["form"] = quote_plus(secret).encode()
    found["JSON"] = json.dumps(secret)[1:-1].encode()
    found["HTML"] = html.escape(secret).encode()
    found["shell"] = shlex.quote(secret).strip("'").encode()
    found["Python"] = repr(secret)[1:-1].encode()
    found["YAML"] = secret.replace("'", "''").encode()
    found["oslo.config"] = secret.replace("$", "$$").encode()
    found["reversed"] = data[::-1]
    found["UTF-16"] = secret.encode("utf-16-le")
    return {
        name: text for name, text in found.items() if len(text) >= SHORTEST and (text != data or name == "as it is")
    }


class Canaries:
    """`label` is of the lab's containers (`key=value`); all that carry it are looked at, those of a moment too."""

    def __init__(self, root: Path, engine_url: str, label: str) -> None:
        self._root, self._engine_url, self._label = root, engine_url, label
        self._secrets: set[str] = set()
        self._seen: dict[bytes, str] = {}  # text → where it was first
        self._stop = threading.Event()
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        _hear(self)
        events = docker.APIClient(base_url=self._engine_url, timeout=600)
        self._stack.callback(events.close)
        stream = events.events(filters={"label": self._label})
        threads = [
            threading.Thread(target=self._sample, daemon=True),
            threading.Thread(target=self._follow, args=(stream,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        self._stack.callback(lambda: [thread.join(10) for thread in threads])
        self._stack.callback(stream.close)
        self._stack.callback(self._stop.set)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _HEARD.discard(self)
        self._stack.close()

    # --- what is searched for ----------------------------------------------------------------------------------------

    def learn(self, value: Any, public: str = "") -> None:
        """A secret, or mappings and lists of them. A private key is those of its lines that do not spell its public half."""
        if isinstance(value, Mapping):
            for name, item in value.items():
                if name != "public_key":
                    self.learn(item, str(value.get("public_key", "")))
        elif isinstance(value, list | tuple):
            for item in value:
                self.learn(item, public)
        elif isinstance(value, str) and "BEGIN CERTIFICATE" not in value:
            lines = value.strip().splitlines()
            public = public or _public_half(value)
            if len(lines) > 1:
                # The first line of an OpenSSH key's body is the same for all of them.
                lines = [line for line in lines[2 if "OPENSSH" in lines[0] else 0 :] if not line.startswith("-----")]
                self._secrets |= {line for line in lines if len(line) >= _LINE and not _shares(line, public)}
            elif len(value) >= SHORTEST:
                self._secrets.add(value)

    @property
    def count(self) -> int:
        """How many secrets are searched for."""
        return len(self._secrets)

    # --- where ------------------------------------------------------------------------------------------------------

    def saw(self, place: str, text: str | bytes) -> None:
        """Something that left the program at `place`."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        with self._lock:
            self._seen.setdefault(data, place)

    def _sample(self) -> None:
        """Command line and environment of every process below this one, again and again."""
        ours, others = {os.getpid(): _LOOKS + 1}, set()
        while not self._stop.wait(_PAUSE):
            there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
            others &= there
            ours = {pid: looks for pid, looks in ours.items() if pid in there}
            for pid in sorted(there - others):
                if pid not in ours and _parent(pid) not in ours:
                    others.add(pid)
                    continue
                ours[pid] = ours.get(pid, 0) + 1
                if ours[pid] <= _LOOKS:
                    for name in ("cmdline", "environ"):
                        with contextlib.suppress(OSError):
                            text = Path(f"/proc/{pid}/{name}").read_bytes()
                            if _CGI.encode() not in text:
                                self.saw(f"{name} of a process", text)

    def _follow(self, stream: Any) -> None:
        """The engine's own events, which quote what is executed in a container, and each container as it was made."""
        with (
            contextlib.suppress(Exception),
            contextlib.closing(self._client()) as client,
        ):  # closing the stream raises anything
            for event in stream:
                self.saw("the engine's events", event)
                if b'"create"' in event:
                    with contextlib.suppress(docker.errors.DockerException):
                        self.saw("inspect", json.dumps(client.inspect_container(json.loads(event)["id"])))

    def _client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self._engine_url, timeout=60)

    def look(self) -> None:
        """What there is now: the lab's containers, volumes and files."""
        with contextlib.closing(self._client()) as client:
            for entry in client.containers(all=True, filters={"label": self._label}):
                with contextlib.suppress(docker.errors.NotFound):
                    self.saw(f"inspect of {entry['Names'][0]}", json.dumps(client.inspect_container(entry["Id"])))
            self.saw("volumes", json.dumps(client.volumes(filters={"label": self._label})))
        self.look_at_files()

    def look_at_files(self) -> None:
        """All files of the lab's folder but `KEPT`, their names, and core dumps where tests are run."""
        for path in self._files():
            with contextlib.suppress(OSError):
                data = path.read_bytes()
                if data.startswith(b"\x1f\x8b"):
                    with contextlib.suppress(OSError, EOFError):
                        data = gzip.decompress(data)
                self.saw(f"the name of {path}", str(path))
                self.saw(str(path), data)
        for dump in Path.cwd().glob("core*"):
            if dump.is_file():
                self.saw(str(dump), dump.read_bytes())

    def _files(self) -> Iterator[Path]:
        for folder, below, names in os.walk(self._root):
            here = Path(folder).relative_to(self._root).as_posix()
            below[:] = [name for name in below if (name if here == "." else f"{here}/{name}") not in KEPT]
            for name in names:
                path = Path(folder, name)
                if path.relative_to(self._root).as_posix() not in KEPT and path.is_file() and not path.is_symlink():
                    yield path

    # --- what came of it ----------------------------------------------------------------------------------------------

    def found(self) -> list[str]:
        """Place and encoding of every find, with what stands around it and the secret itself cut to its first signs."""
        names: dict[bytes, str] = {}
        for secret in self._secrets:
            for name, text in spellings(secret).items():
                names.setdefault(text, f"{secret[:3]}…, {name}")
        if not names:
            return []
        options = re2.Options()
        options.max_mem, options.encoding = 256 << 20, re2.Options.Encoding.LATIN1
        pattern = re2.compile(b"|".join(re2.escape(text) for text in sorted(names)), options)
        found = []
        with self._lock:
            seen = list(self._seen.items())
        for data, place in seen:
            if match := pattern.search(data):
                around = data[max(match.start() - 60, 0) : match.start()]
                found.append(f"{place}: a secret ({names.get(match[0], 'cut')}) after {around!r}")
        return found


def _public_half(value: str) -> str:
    """What a private key in PEM spells of its public half, which its certificate spells as well; "" for anything else."""
    try:
        key = serialization.load_pem_private_key(value.encode(), None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ""
    whole = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = whole[_HEAD:]  # what comes before says which kind of key it is, as in the private one
    return " ".join(base64.b64encode(b"\0" * shift + own).decode() for shift in range(3))


def _shares(line: str, public: str) -> bool:
    return any(line[start : start + 16] in public for start in range(len(line) - 15))


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


# An audit hook stays for good: there is one, and it tells whoever listens. It sees every program that this process starts, however short
# it lives, with its whole command line and environment.
_HEARD: set[Canaries] = set()
_installed: list[Callable[[str, tuple[Any, ...]], None]] = []


def _hear(listener: Canaries) -> None:
    _HEARD.add(listener)
    if not _installed:
        _installed.append(_audit)
        sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _HEARD or event not in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        return
    words, environment = (arguments[1], arguments[3]) if event == "subprocess.Popen" else arguments[1:3]
    for listener in list(_HEARD):
        listener.saw("the command line of a program", repr(words))
        if _CGI not in (environment or {}):
            listener.saw("the environment of a program", repr(environment))
