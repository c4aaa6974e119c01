"""A server that closes a connection without an answer, as one that ends does: what may be asked twice is, by the genuine HAProxy."""

import json

import docker
import pytest

from reconciler.render import render
from tests.services import containers, golden

pytestmark = [pytest.mark.engine, pytest.mark.images]

MAIN = """\
defaults
    option redispatch
    retries 3
    timeout connect 10s
    timeout client 30s
    timeout server 30s
frontend asked
    mode http
    bind 127.0.0.1:8000
    default_backend keystone_internal_back
"""
ASKED = ("GET /v3/users", "POST /v3/auth/tokens", "POST /v3/users")
SERVERS = "    server rude 127.0.0.1:8001\n    server polite 127.0.0.1:8002\n"
# The first server reads a request to its end and hangs up: a byte left unread would make that a reset, which another client
# may meet while it still writes. Asks eight times in each way, and says how many were answered by which code.
PROGRAM = """\
import collections, contextlib, json, http.client, http.server, os, socket, subprocess, sys, threading, time

def hang_up(server):
    while True:
        connection, _ = server.accept()
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as coming:
            coming.readline()
            coming.read(int(http.client.parse_headers(coming).get("Content-Length", 0)))

class Polite(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_POST = answer
    def log_message(self, *_): pass

class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_): pass

threading.Thread(target=hang_up, args=(socket.create_server(("127.0.0.1", 8001)),), daemon=True).start()
threading.Thread(target=Server(("127.0.0.1", 8002), Polite).serve_forever, daemon=True).start()
haproxy = subprocess.Popen(["haproxy", "-db", "-f", "/tmp/haproxy.cfg"])
for _ in range(600):
    try:
        socket.create_connection(("127.0.0.1", 8000)).close()
        break
    except OSError:
        time.sleep(0.1)
for method, path in (("GET", "/v3/users"), ("POST", "/v3/auth/tokens"), ("POST", "/v3/users")):
    codes = collections.Counter()
    body = "{}" if method == "POST" else ""
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", 8000), timeout=60) as client:
            # In one piece: whoever writes a head and then a body may be answered, and cut off, between the two.
            client.sendall(f"{method} {path} HTTP/1.1\\r\\nHost: cloud\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
            answer = http.client.HTTPResponse(client)
            answer.begin()
            codes[answer.status] += 1
    print(json.dumps({"asked": method + " " + path, "codes": codes}))
haproxy.kill()
# Threads that are in the middle of something must not meet an interpreter that is being taken down.
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize(("retries", "failing"), [("yes", {"POST /v3/users"}), ("no", {*ASKED})])
def test_what_changes_nothing_is_asked_of_another(
    docker_client: docker.DockerClient, retries: str, failing: set[str]
) -> None:
    folder = golden.HERE / "three_nodes/site"
    text = (folder / "globals.yml").read_text() + f"haproxy_retry_requests: {retries}\n"
    desired = render(golden.load(folder, {"globals.yml": text.encode()}), "lb-1", "0" * 40)
    (file,) = (file for file in desired.files if file.path == "haproxy/services.d/keystone.cfg")
    _, name, after = file.content.partition("\nbackend keystone_internal_back\n")
    lines = after.partition("\n\n")[0].splitlines(keepends=True)
    backend = name + "".join(line for line in lines if not line.startswith("    server "))
    with containers.idle(docker_client, "haproxy") as found:
        write = (
            f"cat > /tmp/haproxy.cfg << 'END'\n{MAIN}{backend}{SERVERS}END\ncat > /tmp/ask.py << 'END'\n{PROGRAM}END\n"
        )
        code, (told, wrong) = found.exec_run(["bash", "-c", f"{write}exec python3 /tmp/ask.py"], demux=True)
        assert code == 0, wrong.decode()
    found_by = {line["asked"]: line["codes"] for line in map(json.loads, told.decode().splitlines())}
    assert found_by.keys() == {*ASKED} and {code for codes in found_by.values() for code in codes} == {"200", "502"}
    assert {asked for asked, codes in found_by.items() if "502" in codes} == failing
