"""Who is answered at all: every route of the real daemon and reporter, under every name, from every page, in every spelling."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import settings
from reconciler.daemon.service import Daemon
from reconciler.fleet.service import Service
from reconciler.web import Answer, Server
from reconciler.web.routes import Routes, crowd

from .test_server import raw

SECRET = "0123456789abcdef0123"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "hook").write_text(SECRET)
    (tmp_path / "settings.toml").write_text(
        f'host = "ctl1"\nstate_dir = "{tmp_path}/state"\n[git]\nurl = "file://{tmp_path}/site.git"\n'
        f'[daemon]\nmetrics = "127.0.0.1:0"\nnames = ["ctl1.example.org", "192.0.2.7", "2001:db8::7"]\n'
        f'webhook = {{secret_file = "{tmp_path}/hook", kinds = ["gitlab", "github", "gitea"]}}\n'
        f'[report]\nlisten = "127.0.0.1:0"\nkey_file = "{tmp_path}/none"\n'
        f'[reporter]\nstate_dir = "{tmp_path}/reporter"\nlisten = "127.0.0.1:0"\nurl = "https://fleet.example.org/north/"\n'
    )
    made = Daemon(settings.load(tmp_path / "settings.toml"))
    made._serve()
    yield made
    for server in made._servers:
        server.close()


@pytest.fixture
def servers(daemon: Daemon) -> Iterator[list[Server]]:
    reporter = Service(daemon.settings)
    reporter._serve()
    assert reporter._server
    yield [*daemon._servers, reporter._server]
    reporter._server.close()
    reporter.reporter.close(0.0)


def status(answer: bytes) -> int:
    version, code = answer.split(b" ")[:2]
    assert version == b"HTTP/1.1"
    return int(code)


def ask(server: Server, method: str, path: str, host: str | None, *more: str, version: str = "1.1") -> int:
    lines = [f"{method} {path} HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *more, "", ""]
    return status(raw(server, "\r\n".join(lines).encode("latin-1")))


def test_the_tables(servers: list[Server]) -> None:
    """What is served is what these tests go through."""
    hooks = [("POST", f"/hooks/{kind}") for kind in ("gitlab", "github", "gitea")]
    page = [("GET", path) for path in ("/", "/metrics", "/status.json")]
    assert [sorted(server.routes) for server in servers] == [
        sorted([*page, ("GET", "/report"), *hooks]),
        [("GET", "/report")],
        sorted([*page, ("GET", "/interruptions.json")]),
    ]


def test_no_route_answers_to_a_foreign_name(servers: list[Server]) -> None:
    for server in servers:
        for method, path in server.routes:
            for host in (
                "evil.example.org", "evil.example.org:9777", "127.0.0.1.nip.io", "localhost.evil.example.org", "xlocalhost", "",
                "ctl1.evil.example.org", "192.0.2.8", "2001:db8::1", "[2001:db8::1]", "127.0.0.1@evil.example.org", "localhost:x",
                "evil.example.org, localhost", "localhost/", "0x7f.1", "2130706433", "[::1", "*", "0.0.0.0", "[::]",
            ):  # fmt: skip
                assert ask(server, method, path, host) == 421, (path, host)
            assert ask(server, method, path, None, version="1.0") == 421
            assert ask(server, method, path, None) == 400
            assert ask(server, method, path, "localhost", "Host: evil.example.org") == 400
            assert ask(server, method, path, "localhost", "Host: localhost") == 400
            # A target that names a host counts as that host; one that only looks so is a path.
            assert ask(server, method, f"http://evil.example.org{path}", "localhost") == 421
            assert ask(server, method, f"http://localhost{path}", "evil.example.org") == 421
            assert ask(server, method, f"http://localhost@evil.example.org{path}", "localhost") == 421
            assert ask(server, method, f"//localhost{path}", "localhost") == 404


def test_every_route_answers_to_its_own_names(servers: list[Server]) -> None:
    own = socket.gethostname()
    for number, server in enumerate(servers):
        names = [
            "127.0.0.1",
            "localhost",
            "LOCALHOST.",
            f"localhost:{server.port}",
            "[::1]:1",
            "127.8.8.8",
            own,
            own.partition(".")[0],
        ]
        names += (
            ["fleet.example.org"]
            if number == 2
            else ["ctl1", "CTL1:443", "ctl1.example.org", "192.0.2.7", "[2001:db8::7]"]
        )
        for method, path in server.routes:
            for host in names:
                assert ask(server, method, path, host) not in (400, 403, 404, 405, 421), (path, host)
            assert ask(server, method, f"http://localhost:1{path}?a=b", "localhost") not in (400, 403, 404, 405, 421)


def test_no_route_answers_a_foreign_page(servers: list[Server]) -> None:
    for server in servers:
        for method, path in server.routes:
            for headers in (
                ["Origin: https://evil.example.org"],
                ["Origin: null"],
                ["Origin: "],
                ["Origin: http://localhost:1"],  # another port is another origin
                ["Origin: http://localhost", "Origin: http://evil.example.org"],
                ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"],
                ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"],
                ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"],
                ["Sec-Fetch-Site: cross-site"],
                ["Sec-Fetch-Site: odd"],
            ):
                assert ask(server, method, path, "localhost", *headers) == 403, (path, headers)
            for headers in (
                ["Origin: http://localhost"],
                ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"],
                ["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"],
            ):
                assert ask(server, method, path, "localhost", *headers) not in (400, 403, 421), (path, headers)
            # A link to the page, as commit statuses have it; a form that posts is no link.
            link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]
            assert (ask(server, method, path, "localhost", *link) == 403) is (method == "POST")


def test_every_answer_forbids_to_be_used_elsewhere(servers: list[Server]) -> None:
    for server in servers:
        for path in (*(path for _, path in server.routes), "/none"):
            for host in ("localhost", "evil.example.org"):
                answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                head = answer.partition(b"\r\n\r\n")[0].decode().lower()
                for expected in ("x-content-type-options: nosniff", "frame-ancestors 'none'", "x-frame-options: deny",
                                 "cross-origin-resource-policy: same-origin", "cache-control: "):  # fmt: skip
                    assert expected in head, (path, expected)
                assert (
                    "access-control" not in head
                    and "max-age" not in head
                    and head.count("content-security-policy") == 1
                )


DOUBTFUL = {
    "two lengths": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a length and chunks": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "a signed length": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: +4\r\n\r\nabcd",
    "a hexadecimal length": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x4\r\n\r\nabcd",
    "a list of lengths": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4, 5\r\n\r\nabcd",
    "an endless length": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 4000 + b"\r\n\r\n",
    "a negative length": b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -4\r\n\r\nabcd",
    "a folded header": b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "a folded host": b"GET /fine HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n",
    "bare line feeds": b"GET /fine HTTP/1.1\nHost: localhost\n\n",
    "one bare line feed": b"GET /fine HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "a bare carriage return": b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX: a\rY: b\r\n\r\n",
    "a space before the colon": b"GET /fine HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "no colon": b"GET /fine HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n",
    "a control character": b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX: a\x1b[2Jb\r\n\r\n",
    "a delete character": b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX-Gitlab-Token: a\x7f\r\n\r\n",
    "a zero byte": b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n",
    "two spaces": b"GET  /fine HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tab": b"GET\t/fine HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP/0.9": b"GET /fine\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a path of another alphabet": b"GET /fin\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a proxy": b"CONNECT evil.example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "the server as such": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another scheme": b"GET file:///fine HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a broken address": b"GET http://[::1/fine HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a question with a body": b"GET /fine HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd",
    "an empty line first": b"\r\n\r\nGET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n",
}  # fmt: skip
OTHERS = {
    "HTTP/2": (505, b"GET /fine HTTP/2.0\r\nHost: localhost\r\n\r\n"),
    "an encoding": (501, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "chunks": (413, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a long length": (413, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    "a long target": (431, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a long header": (431, b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"),
    "many headers": (431, b"GET /fine HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 + b"\r\n"),
    "an expectation": (417, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: wonders\r\n\r\nx"),
    "a path that is not there": (404, b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a path with dots": (404, b"GET /../fine HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "no host": (421, b"GET /fine HTTP/1.0\r\n\r\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    made = Server("127.0.0.1:0", {"/fine": lambda r: Answer(200, b"fine")}, {"/echo": lambda r: Answer(200, r.read())})
    yield made
    made.close()


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_can_be_read_in_two_ways_is_not_read(plain: Server, what: str) -> None:
    """And what follows it on the connection is no second request: there is one answer."""
    answer = raw(plain, DOUBTFUL[what] + b"GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status(answer) == 400 and answer.count(b"HTTP/1.1 ") == 1 and b"\r\n\r\nfine" not in answer


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_served(plain: Server, what: str) -> None:
    code, request = OTHERS[what]
    answer = raw(plain, request)
    assert status(answer) == code and answer.count(b"HTTP/1.1 %d" % code) == 1


def test_one_answer_on_a_connection(plain: Server) -> None:
    one = b"GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert raw(plain, one * 50).count(b"HTTP/1.1 200 OK") == 1
    smuggled = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab" + one
    answer = raw(plain, smuggled)
    assert answer.endswith(b"\r\n\r\nab") and answer.count(b"HTTP/1.1 ") == 1


def test_who_waits_to_be_told_to_send_is_told(plain: Server) -> None:
    expects = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    assert raw(plain, expects % 0).startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", plain.port), timeout=10) as client:
        client.sendall(expects % 2)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ab")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert raw(plain, expects % (2 << 20)).startswith(b"HTTP/1.1 413 ")  # before it sends all that


def test_a_head_that_is_cut_in_the_middle_of_its_end(plain: Server) -> None:
    request = b"GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for cut in range(1, len(request)):
        with socket.create_connection(("127.0.0.1", plain.port), timeout=10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(request[:cut])
            client.sendall(request[cut:])
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 "), cut


def test_whom_an_address_counts_as() -> None:
    assert crowd("192.0.2.7") == crowd("::ffff:192.0.2.7") == "192.0.2.7"
    assert crowd("2001:db8::1") == crowd("2001:db8::ffff:1") == "2001:db8::/64"
    assert crowd("2001:db8:0:1::1") != crowd("2001:db8::1")
    assert crowd("fe80::1%eth0") == "fe80::/64"


def test_a_server_on_all_addresses() -> None:
    """The address that was reached is one of its names, in whichever spelling; the one it listens on is not."""
    server = Server("[::]:0", {"/fine": lambda r: Answer(200, b"fine")})
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"GET /fine HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    finally:
        server.close()
    assert list(Routes({"/a": lambda r: Answer(200)}, {"/b": lambda r: Answer(200)})) == [("GET", "/a"), ("POST", "/b")]
