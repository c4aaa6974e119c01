"""Clients that use a cluster while it changes, and note what they saw: one line of JSON for each thing done.

python -m tests.clusters.clients writer|asker|caller|starter|tokens|visitor|direct|images|keeper|cacher|storer|members …      ends with SIGTERM, after the line that it writes
"""

import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pymysql
import requests

_ended = False


def _until_ended() -> Iterator[int]:
    def end(number: int, frame: object) -> None:
        global _ended
        _ended = True

    signal.signal(signal.SIGTERM, end)
    number = 0
    while not _ended:
        yield number
        number += 1


def _note(file: IO[str], **what: object) -> None:
    file.write(json.dumps(what) + "\n")
    file.flush()


def writer(log: IO[str], address: str, password_file: str) -> None:
    """Insert one row after another over one connection; where that fails once more, over a new one, and at once. A row that both tries had
    is there once."""
    password = Path(password_file).read_text()
    connection: pymysql.Connection[pymysql.cursors.Cursor] | None = None

    def connect() -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(
            host=address, user="root", password=password, autocommit=True, connect_timeout=30, read_timeout=30, write_timeout=30
        )  # fmt: skip

    def first_one() -> "pymysql.Connection[pymysql.cursors.Cursor]":
        """A load balancer may need a moment to believe that a member serves."""
        for _ in range(60):
            with contextlib.suppress(pymysql.MySQLError):
                return connect()
            time.sleep(1)
        return connect()

    with contextlib.closing(first_one()) as first, first.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS written")
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS written.rows_of (run VARCHAR(20), number INT, PRIMARY KEY (run, number))"
        )
    for number in _until_ended():
        began, why = time.time(), []
        while True:
            try:
                connection = connection or connect()
                with connection.cursor() as cursor:
                    cursor.execute("INSERT IGNORE INTO written.rows_of VALUES (%s, %s)", (Path(log.name).stem, number))
                break
            except pymysql.MySQLError as error:
                why.append(str(error)[:200])
                if connection is not None:
                    with contextlib.suppress(Exception):
                        connection.close()
                connection = None
                if len(why) > 20:
                    break
        _note(log, number=number, began=began, ended=time.time(), failed=why)
        time.sleep(0.02)


def asker(log: IO[str], url: str, authority: str = "", headers: Mapping[str, str] | None = None) -> None:
    """Ten requests a second, each over a connection of its own."""
    begun = time.monotonic()
    form = {"Connection": "close", **(headers or {})}
    for number in _until_ended():
        began, why = time.time(), ""
        try:
            answer = requests.get(url, timeout=60, headers=form, verify=authority or True)
            if answer.status_code >= 400:
                why = f"{answer.status_code} {answer.text[:150]}"
        except requests.RequestException as error:
            why = str(error)[:200]
        _note(log, number=number, began=began, ended=time.time(), failed=[why] if why else [])
        time.sleep(max(0.0, begun + (number + 1) * 0.1 - time.monotonic()))


def caller(log: IO[str], url: str, keystone: str, password_file: str) -> None:
    """The same as one whom the service knows by a token."""
    asker(log, url, headers={"X-Auth-Token": _issue(keystone, password_file).headers["X-Subject-Token"]})


def _issue(url: str, password_file: str) -> requests.Response:
    """Ask Keystone for a token."""
    user = {"name": "admin", "domain": {"id": "default"}, "password": Path(password_file).read_text()}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    return requests.post(f"{url}/auth/tokens", json=body, timeout=60, headers={"Connection": "close"})


def _first(issue: Callable[[], requests.Response]) -> str:
    """The token to begin with, once ten in a row were made: what was switched off a moment ago still has its share of the requests."""
    newest, row, until = "", 0, time.monotonic() + 300
    while row < 10:
        try:
            answer = issue()
            answer.raise_for_status()
        except requests.RequestException:
            if time.monotonic() > until:
                raise
            row = 0
        else:
            newest, row = answer.headers["X-Subject-Token"], row + 1
        time.sleep(0.5)
    return newest


def _upload(keystone: str, glance: str, password_file: str, content: bytes) -> tuple[dict[str, str], str]:
    """Make an image; gives the headers to ask with, and the image's id."""
    headers = {"X-Auth-Token": _issue(keystone, password_file).headers["X-Subject-Token"], "Connection": "close"}
    about = {"name": "of the test", "disk_format": "raw", "container_format": "bare"}
    made = requests.post(f"{glance}/v2/images", json=about, timeout=60, headers=headers)
    made.raise_for_status()
    identity = str(made.json()["id"])
    form = {**headers, "Content-Type": "application/octet-stream"}
    requests.put(f"{glance}/v2/images/{identity}/file", data=content, timeout=60, headers=form).raise_for_status()
    return headers, identity


def images(log: IO[str], keystone: str, glance: str, password_file: str) -> None:
    """Ten downloads a second of an image that it uploaded, each over a connection of its own and compared with what went in."""
    content = os.urandom(256 * 1024)
    headers, identity = _upload(keystone, glance, password_file, content)
    url = f"{glance}/v2/images/{identity}/file"
    begun = time.monotonic()
    for number in _until_ended():
        began, why = time.time(), ""
        try:
            answer = requests.get(url, timeout=60, headers=headers)
            if answer.status_code != 200:
                why = f"{answer.status_code} {answer.text[:150]}"
            elif hashlib.sha256(answer.content).digest() != hashlib.sha256(content).digest():
                why = f"{len(answer.content)} other bytes"
        except requests.RequestException as error:
            why = str(error)[:200]
        _note(log, number=number, kind="image", began=began, ended=time.time(), failed=[why] if why else [])
        time.sleep(max(0.0, begun + (number + 1) * 0.1 - time.monotonic()))


def starter(log: IO[str], keystone: str, glance: str, nova: str, password_file: str) -> None:
    """One server after another: asked for, and looked at until Nova is done with it. `status`: what became of it, "" where Nova did not
    take it. Only lists are asked for: of a server itself Nova cannot speak, nor end it, where there is no Neutron."""
    headers, image = _upload(keystone, glance, password_file, b"nothing")
    headers |= {"OpenStack-API-Version": "compute 2.84"}
    flavor = {"name": "of the test", "id": "1", "ram": 1, "vcpus": 1, "disk": 0}
    requests.post(f"{nova}/flavors", json={"flavor": flavor}, timeout=60, headers=headers).raise_for_status()
    server = {"name": "of the test", "imageRef": image, "flavorRef": "1", "networks": "none"}

    def ask(method: str, path: str, **more: object) -> dict[str, Any]:
        answer = requests.request(method, f"{nova}{path}", timeout=60, headers=headers, json=more or None)
        if answer.status_code >= 400:
            raise requests.HTTPError(f"{method} {answer.status_code} {answer.text[:150]}")
        found: dict[str, Any] = answer.json() if answer.text else {}
        return found

    for number in _until_ended():
        began, why, status = time.time(), [], ""
        try:
            identity = ask("POST", "/servers", server=server)["server"]["id"]
            status = "BUILD"
            while status == "BUILD" and time.time() < began + 180:
                time.sleep(0.2)
                try:
                    ended = {
                        one["id"]: end
                        for end in ("ACTIVE", "ERROR")
                        for one in ask("GET", f"/servers?status={end}")["servers"]
                    }
                    status = ended.get(identity, "BUILD")
                except requests.RequestException as error:
                    why.append(str(error)[:200])
        except requests.RequestException as error:
            why.append(str(error)[:200])
        _note(log, number=number, began=began, ended=time.time(), failed=why, status=status)
        time.sleep(0.5)


def tokens(log: IO[str], url: str, password_file: str) -> None:
    """Ten requests a second to Keystone, each over a connection of its own: every tenth for a new token, the others whether a token is valid,
    the first of all and the newest in turn."""

    def issue() -> requests.Response:
        return _issue(url, password_file)

    def ask(token: str) -> requests.Response:
        asking = {"X-Auth-Token": token, "X-Subject-Token": token, "Connection": "close"}
        return requests.get(f"{url}/auth/tokens", timeout=60, headers=asking)

    first = newest = _first(issue)
    begun = time.monotonic()
    for number in _until_ended():
        kind = "issue" if number % 10 == 0 else ("first", "newest")[number % 2]
        began, why = time.time(), ""
        try:
            answer = issue() if kind == "issue" else ask(first if kind == "first" else newest)
            if answer.status_code != (201 if kind == "issue" else 200):
                why = f"{answer.status_code} {answer.text[:150]}"
            elif kind == "issue":
                newest = answer.headers["X-Subject-Token"]
        except requests.RequestException as error:
            why = str(error)[:200]
        _note(log, number=number, kind=kind, began=began, ended=time.time(), failed=[why] if why else [])
        time.sleep(max(0.0, begun + (number + 1) * 0.1 - time.monotonic()))


def direct(log: IO[str], url: str, password_file: str, server: str) -> None:
    """Ask one Keystone, which may not be there yet, whether a token is valid that others made; ten times a second. `status`: what it
    answered, 0 where it did not."""
    user = {"name": "admin", "domain": {"id": "default"}, "password": Path(password_file).read_text()}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    token = _first(lambda: requests.post(f"{url}/auth/tokens", json=body, timeout=60))
    asking = {"X-Auth-Token": token, "X-Subject-Token": token, "Connection": "close"}
    for number in _until_ended():
        status, why = 0, ""
        try:
            answer = requests.get(f"{server}/auth/tokens", timeout=60, headers=asking)
            status, why = answer.status_code, answer.text[:150] if answer.status_code >= 400 else ""
        except requests.RequestException as error:
            why = str(error)[:100]
        _note(log, number=number, ended=time.time(), status=status, why=why)
        time.sleep(0.1)


def visitor(log: IO[str], url: str, password_file: str, door: str) -> None:
    """Ten requests a second to a service that asks Keystone who comes, each over a connection of its own, and every fifth with a new token."""
    user = {"name": "visitor", "domain": {"id": "default"}, "password": Path(password_file).read_text()}
    scope = {"project": {"name": "service", "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    token = ""
    begun = time.monotonic()
    for number in _until_ended():
        began, why = time.time(), ""
        try:
            if number % 5 == 0:
                answer = requests.post(f"{url}/auth/tokens", json=body, timeout=60, headers={"Connection": "close"})
                token = answer.headers.get("X-Subject-Token", token)
                why = "" if answer.status_code == 201 else f"Keystone: {answer.status_code} {answer.text[:150]}"
            answer = requests.get(door, timeout=60, headers={"X-Auth-Token": token, "Connection": "close"})
            if (answer.status_code, answer.text) != (200, "visitor"):
                why = f"{answer.status_code} {answer.text[:150]}"
        except requests.RequestException as error:
            why = str(error)[:200]
        _note(log, number=number, began=began, ended=time.time(), failed=[why] if why else [])
        time.sleep(max(0.0, begun + (number + 1) * 0.1 - time.monotonic()))


def keeper(log: IO[str], *endpoints: str) -> None:
    """Put one key after another into etcd; where a member does not answer, the next is asked at once."""
    turn = 0
    for number in _until_ended():
        began, why = time.time(), []
        key = base64.b64encode(f"/kept/{number}".encode()).decode()
        while len(why) < 20:
            try:
                answer = requests.post(f"{endpoints[turn]}/v3/kv/put", json={"key": key, "value": key}, timeout=5)
                answer.raise_for_status()
                break
            except requests.RequestException as error:
                why.append(str(error)[:200])
                turn = (turn + 1) % len(endpoints)
        _note(log, number=number, began=began, ended=time.time(), failed=why)
        time.sleep(0.02)


def ask(address: str, port: int, text: str, lines: int = 1) -> list[str]:
    """So many lines that a server answers; fewer where it ends the connection. Raises OSError."""
    with socket.create_connection((address, port), timeout=5) as connection, connection.makefile("rwb") as stream:
        stream.write(text.encode())
        stream.flush()
        found = (stream.readline().decode() for _ in range(lines))
        return [line.rstrip("\r\n") for line in found if line]


def cacher(log: IO[str], *servers: str) -> None:
    """Ask one memcached after another to keep something; where one does not answer, the next is asked at once."""
    for number in _until_ended():
        began, why = time.time(), []
        while len(why) < 20:
            server = servers[(number + len(why)) % len(servers)]
            try:
                said = ask(server, 11211, "set kept 0 0 1\r\n1\r\n")
                if said == ["STORED"]:
                    break
                why.append(f"{server}: {said}")
            except OSError as error:
                why.append(f"{server}: {error}")
        _note(log, number=number, began=began, ended=time.time(), failed=why)
        time.sleep(0.02)


def primary(sentinels: Sequence[str], name: str) -> str:
    """The address of the server that is written to, as the first sentinel that answers says."""
    for sentinel in sentinels:
        with contextlib.suppress(OSError, IndexError):
            return ask(sentinel, 26379, f"SENTINEL get-master-addr-by-name {name}\r\n", 5)[2]
    return ""


def storer(log: IO[str], password_file: str, name: str, *sentinels: str) -> None:
    """Set one key after another at the Valkey that the sentinels name; where that fails, they are asked again. `copies`: how many others had
    it a moment after it was acknowledged."""
    password = Path(password_file).read_text()
    address = ""
    for number in _until_ended():
        began, why, copies = time.time(), [], 0
        while len(why) < 500:
            try:
                address = address or primary(sentinels, name)
                words = f"AUTH {password}\r\nSET {Path(log.name).stem}:{number} 1\r\nWAIT 1 1000\r\n"
                said = ask(address, 6379, words, 3)
                if said[:2] == ["+OK", "+OK"]:
                    copies = int(said[2].lstrip(":")) if said[2:] else 0
                    break
                why.append(f"{address}: {said[-1:]}")
            except OSError as error:
                why.append(f"{address}: {error}")
            address = ""
            time.sleep(0.05)
        _note(log, number=number, began=began, ended=time.time(), failed=why, copies=copies, address=address)
        time.sleep(0.02)


def members(log: IO[str], user: str, *addresses: str) -> None:
    """What every member of a Galera cluster says of itself, twice a second."""
    names = ("wsrep_cluster_status", "wsrep_cluster_size", "wsrep_local_state_comment", "wsrep_cluster_state_uuid")
    for _ in _until_ended():
        said: dict[str, dict[str, str]] = {}
        for address in addresses:
            with contextlib.suppress(pymysql.MySQLError):
                connection = pymysql.connect(host=address, user=user, connect_timeout=2, read_timeout=2)
                with contextlib.closing(connection), connection.cursor() as cursor:
                    cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_%%'", ())
                    said[address] = {name: value for name, value in cursor.fetchall() if name in names}
        _note(log, at=time.time(), members=said)
        time.sleep(0.5)


CLIENTS: dict[str, Callable[..., None]] = {
    "writer": writer,
    "asker": asker,
    "caller": caller,
    "starter": starter,
    "tokens": tokens,
    "direct": direct,
    "images": images,
    "visitor": visitor,
    "keeper": keeper,
    "cacher": cacher,
    "storer": storer,
    "members": members,
}

if __name__ == "__main__":
    kind, path, *words = sys.argv[1:]
    with Path(path).open("a", encoding="utf-8") as opened:
        CLIENTS[kind](opened, *words)
