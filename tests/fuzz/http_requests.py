"""Requests that are nearly right: a seeded grammar, and what is done to its sentences on the way."""

from collections.abc import Sequence
from random import Random

_METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "PRI", "get", "G\x00T", "", "A" * 300]
_PATHS = ["/", "/metrics", "/status.json", "/report", "/hooks/gitlab", "/hooks/github", "/hooks/gitea"]
_TARGETS = [
    "*", "", "//", "/../etc/passwd", "/%00", "http://localhost/metrics", "http://evil.example/", "http://[::1", "https://x@y/", "?", "#",
    "/metrics?" + "a=b&" * 300, "/" + "a" * 20_000, "/metrics\t", "/\u00e9", "localhost:80",
]  # fmt: skip
_VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "http/1.1", "HTTP", ""]
_HOSTS = [
    "localhost",
    "127.0.0.1",
    "127.0.0.1:9777",
    "[::1]",
    "evil.example",
    "",
    "localhost:99999999",
    "\xff",
    "a" * 5000,
]
_NAMES = [
    "Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie",
    "Expect", "Forwarded", "Host", "If-None-Match", "Origin", "Range", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "TE",
    "Trailer", "Transfer-Encoding", "Upgrade", "X-Forwarded-For", "X-Forwarded-Host", "X-Gitea-Signature", "X-Gitlab-Token",
    "X-Hub-Signature-256",
]  # fmt: skip
_VALUES = [
    "", "0", "1", "-1", "+1", "1e3", "0x10", "1, 2", "1,1", "99999999999999999999", "9" * 4000, "chunked", "gzip, chunked",
    "identity", "100-continue", "wonders", "close", "keep-alive", "h2c", "null", "http://localhost", "cross-site", "same-origin",
    "navigate", "document", "*", '"' + "a" * 32 + '"', "bytes=0-1,1-2,-9", "sha256=" + "0" * 64, "0" * 64, "\x00", "\x0b", "\xff\xfe",
    "a\r\n b", "a\nX: b", "text/plain;q=0." + "9" * 500, "application/openmetrics-text; version=1.0.0", "a" * 3000,
]  # fmt: skip
_ENDS = ["\r\n"] * 20 + ["\n", "\r", "\n\r", "\r\n\r\n", ""]
_BODIES = [
    b"",
    b"{}",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"x" * 1000,
    b"x" * 100_000,
    b"\0" * 9,
    b"x" * 1_100_000,
]


def request(random: Random) -> bytes:
    """One sentence of the grammar, mostly damaged."""
    pick = random.choice
    method, path, version, host = (
        _often(random, ["GET", "POST"], _METHODS),
        _often(random, _PATHS, _TARGETS),
        _often(random, ["HTTP/1.1"], _VERSIONS),
        _often(random, ["localhost"], _HOSTS),
    )
    lines = [" ".join((method, path, version)), *([f"Host: {host}"] if random.random() < 0.9 else [])]
    for _ in range(random.choice([0, 1, 1, 2, 3, 8, 120 if random.random() < 0.1 else 4])):
        lines.append(f"{pick(_NAMES)}{pick([': '] * 9 + [':', ' : ', ' ', ''])}{pick(_VALUES)}")
    body = pick(_BODIES[:-1]) if random.random() < 0.97 else _BODIES[-1]
    if random.random() < 0.6:
        lines.append(f"Content-Length: {len(body)}")
    if random.random() < 0.3:
        random.shuffle(lines)
    text = "".join(line + pick(_ENDS) for line in lines) + _often(random, ["\r\n"], _ENDS)
    data = text.encode("latin-1", errors="replace") + body
    return _damaged(random, data) if random.random() < 0.4 else data


def pieces(random: Random, data: bytes) -> Sequence[bytes]:
    """The same bytes as they may arrive."""
    if random.random() < 0.6 or len(data) < 2:
        return [data]
    cuts = sorted(random.randrange(1, len(data)) for _ in range(random.choice([1, 2, 5, 20])))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _often(random: Random, usual: Sequence[str], odd: Sequence[str]) -> str:
    return random.choice(usual if random.random() < 0.75 else odd)


def _damaged(random: Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5, 30])):
        if not found:
            break
        at = random.randrange(len(found))
        kind = random.randrange(5)
        if kind == 0:
            found[at] = random.randrange(256)
        elif kind == 1:
            del found[at : at + random.randrange(1, 20)]
        elif kind == 2:
            found[at:at] = random.choice([b"\r\n", b"\n", b"\0", b" ", b":", b"\r\n\r\n", b"%", b"\xff"])
        elif kind == 3:
            found[at:at] = found[at : at + random.randrange(1, 200)] * random.choice([1, 2, 9])
        else:
            del found[at:]
    return bytes(found)
