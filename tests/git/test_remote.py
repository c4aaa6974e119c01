"""Poll and fetch against real servers, and every way in which a server can fail us."""

import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.git import remote, transport, tree, trust
from reconciler.git.remote import Poller, Remote
from tests.git import servers
from tests.git.servers import FaultProxy, HttpServer, SshServer


@dataclass
class Site:
    """Repositories under `root`, served over https: `remote` reads them, `head` is what main is at."""

    root: Path
    server: HttpServer
    token: str
    remote: Remote
    head: str

    def via(self, proxy: FaultProxy, **more: Any) -> Remote:
        return replace(self.remote, url=proxy.url("site.git"), timeout=0.7, deadline=10.0, **more)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("git")
    token = secrets.token_urlsafe(20)
    (root / "token").write_text(token + "\n")
    repo = servers.make_repo(root / "site.git")
    servers.commit(repo, {"globals.yml": "a: 1\n"}, "first")
    head = servers.commit(repo, {"hosts/node1.yml": "b: 2\n"}, "second")
    servers.make_repo(root / "empty.git")
    with servers.http_server(root, token=token) as server:
        url = server.url("site.git")
        yield Site(
            root, server, token, Remote(url, token_file=root / "token", ca_file=server.ca_file, deadline=30), head
        )


@pytest.fixture(scope="module")
def proxy(site: Site) -> Iterator[FaultProxy]:
    with servers.fault_proxy(site.server) as proxy:
        yield proxy


@pytest.fixture
def fresh_proxy(proxy: FaultProxy) -> FaultProxy:
    proxy.mode, proxy.then, proxy.headers, proxy.body, proxy.pause = "pass", None, {}, b"", 0.2
    proxy.reset()
    return proxy


@pytest.fixture(scope="module")
def ssh(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with servers.ssh_server(site.root, keys=tmp_path_factory.mktemp("keys")) as server:
        yield server


def _ssh_remote(ssh: SshServer, name: str = "site.git", **more: Any) -> Remote:
    return replace(Remote(ssh.url(name), ssh_key=ssh.key, known_hosts=ssh.known_hosts, deadline=30), **more)


def _fails(reason: str, function: object, *arguments: object) -> errors.ReconcilerError:
    with pytest.raises(errors.ReconcilerError) as caught:
        function(*arguments)  # type: ignore[operator]
    assert caught.value.reason == reason, str(caught.value)
    return caught.value


# --- poll -----------------------------------------------------------------------------------------------------------


def test_a_poll_is_one_small_round_trip_however_many_refs(tmp_path: Path) -> None:
    repo = servers.make_repo(tmp_path / "many.git")
    head = servers.commit(repo, {"a": "1"}, "one")
    servers.many_refs(repo, head, 2000)
    (tmp_path / "token").write_text(secrets.token_urlsafe(20))
    token = (tmp_path / "token").read_text()
    with servers.http_server(tmp_path, token=token) as server, servers.fault_proxy(server) as proxy:
        where = Remote(proxy.url("many.git"), token_file=tmp_path / "token", ca_file=server.ca_file)
        with Poller(where) as poller:
            assert poller.poll() == {"refs/heads/main": head}
            for _ in range(3):
                proxy.reset()
                assert poller.poll() == {"refs/heads/main": head}
                # On the wire, TLS records included; no new connection, so no handshake.
                assert proxy.connections == 0
                assert 100 < proxy.bytes_up + proxy.bytes_down <= 1024
            assert len(poller.poll(["refs/heads/load"])) == 2000


def test_only_the_asked_refs_come_back(site: Site) -> None:
    repo = site.root / "site.git"
    for name in ("main-2", "testing/x", "testing/y/z", "testingx"):
        servers.git(repo, "update-ref", f"refs/heads/{name}", site.head)
    assert remote.poll(site.remote) == {"refs/heads/main": site.head}
    below = {"refs/heads/testing/x": site.head, "refs/heads/testing/y/z": site.head}
    assert remote.poll(site.remote, ["refs/heads/testing"]) == below
    assert remote.poll(site.remote, ["refs/heads/testing/x", "refs/heads/gone"]) == {"refs/heads/testing/x": site.head}
    local = Remote(str(repo))
    assert remote.poll(local, ["refs/heads/testing"]) == below


def test_a_server_without_protocol_2_is_asked_the_old_way(site: Site, tmp_path: Path) -> None:
    with servers.http_server(site.root, token=site.token, protocol_v2=False) as server:
        old = replace(site.remote, url=server.url("site.git"), ca_file=server.ca_file)
        assert remote.poll(old) == {"refs/heads/main": site.head}
        assert remote.fetch(old, tmp_path / "clone") == {"refs/heads/main": site.head}
        _fails("GitBranchMissing", remote.poll, replace(old, branch="nope"))
        _fails("GitEmptyRepository", remote.poll, replace(old, url=server.url("empty.git")))


@pytest.mark.parametrize(
    ("mode", "headers", "reason", "wait"),
    [
        ("401", {}, "GitAuthFailed", None),
        ("403", {}, "GitForbidden", None),
        ("404", {}, "GitNotFound", None),
        ("429", {"Retry-After": "37"}, "GitRateLimited", 37.0),
        ("429", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "GitRateLimited", 0.0),
        ("429", {"Retry-After": "soon"}, "GitRateLimited", None),
        ("500", {}, "GitServerError", None),
        ("503", {"Retry-After": "5"}, "GitServerError", 5.0),
        ("hang", {}, "GitTimeout", None),
        ("drip", {}, "GitTimeout", None),
        ("drip-head", {}, "GitTimeout", None),
        ("drip-body", {}, "GitTimeout", None),
        ("garbage", {}, "GitProtocolError", None),
        ("cut", {}, "GitProtocolError", None),
        ("200", {"Content-Type": "text/html"}, "GitProtocolError", None),
        ("418", {}, "GitProtocolError", None),
    ],
)
def test_each_failure_of_a_server_has_its_reason_and_ends_in_time(
    site: Site, fresh_proxy: FaultProxy, mode: str, headers: dict[str, str], reason: str, wait: float | None
) -> None:
    fresh_proxy.mode, fresh_proxy.headers = mode, headers
    started = time.monotonic()
    error = _fails(reason, remote.poll, site.via(fresh_proxy))
    assert time.monotonic() - started < 20  # the limit is 0.7 s
    waits = reason in ("GitTimeout", "GitRateLimited", "GitServerError", "GitProtocolError")
    assert isinstance(error, errors.Transient if waits else errors.Terminal)
    assert getattr(error, "retry_after", None) == wait
    assert fresh_proxy.url("site.git") in str(error)
    assert site.token not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"0000junk",
        b"0003",
        b"fff5" + b"x" * 70000,
        b"0010not an oid x\n0000",
        b"003d" + b"a" * 40 + b" refs/heads/main\n",  # no flush
        b"003d" + b"a" * 40 + b" refs/heads/../x\n0000",
        (b"003d" + b"a" * 40 + b" refs/heads/main\n") * 2 + b"0000",
        b"003d" + b"a" * 40 + b" refs/heads/main\n" + b"00",
    ],
)
def test_an_answer_that_is_not_strictly_git_is_refused(site: Site, fresh_proxy: FaultProxy, body: bytes) -> None:
    fresh_proxy.mode, fresh_proxy.body = "200", body
    _fails("GitProtocolError", remote.poll, site.via(fresh_proxy))


def test_an_endless_answer_is_refused(site: Site, fresh_proxy: FaultProxy) -> None:
    lines = b"".join(b"0043" + b"a" * 40 + b" refs/heads/main/%05d\n" % number for number in range(80_000))
    fresh_proxy.mode, fresh_proxy.body = "200", lines
    assert "bytes" in str(_fails("GitProtocolError", remote.poll, replace(site.via(fresh_proxy), timeout=10.0)))


def test_credentials_do_not_follow_a_redirect_to_another_origin(site: Site, fresh_proxy: FaultProxy) -> None:
    with servers.fault_proxy(site.server, mode="404") as other:
        fresh_proxy.mode = "302"
        fresh_proxy.headers = {"Location": other.url("site.git") + "/git-upload-pack"}
        error = _fails("GitProtocolError", remote.poll, site.via(fresh_proxy))
        assert other.connections == 0
        assert f"127.0.0.1:{other.port}" in str(error)
        assert "uthorization: Basic" in fresh_proxy.requests[0]  # the first origin was meant to get it


def test_a_redirect_within_the_origin_is_followed(site: Site, fresh_proxy: FaultProxy, tmp_path: Path) -> None:
    moved = replace(site.via(fresh_proxy), url=fresh_proxy.url("old-name"))
    fresh_proxy.mode, fresh_proxy.then = "308", "pass"
    fresh_proxy.headers = {"Location": "/site.git/git-upload-pack"}
    assert remote.fetch(moved, tmp_path / "clone") == {"refs/heads/main": site.head}
    fresh_proxy.mode, fresh_proxy.headers = "302", {"Location": "/users/sign_in"}
    _fails("GitProtocolError", remote.poll, moved)
    fresh_proxy.headers = {"Location": "/old-name/git-upload-pack"}
    _fails("GitProtocolError", remote.poll, moved)


def test_a_wrong_certificate(site: Site, tmp_path: Path) -> None:
    _fails("GitCertificateInvalid", remote.poll, replace(site.remote, ca_file=None))
    ca_file, pair = servers.certificate(tmp_path, address="127.0.0.2")
    with servers.fault_proxy(site.server, pair=pair, mode="404") as impostor:
        _fails("GitCertificateInvalid", remote.poll, replace(site.via(impostor), ca_file=ca_file))
        assert impostor.requests == []
    # libgit2's own view of the same
    _fails("GitCertificateInvalid", remote._in_child, "heads", replace(site.remote, ca_file=None), {"refs": []})


def test_unreachable(site: Site) -> None:
    gone = replace(site.remote, url=f"https://127.0.0.1:{servers.free_port()}/site.git")
    error = _fails("GitUnreachable", remote.poll, gone)
    assert isinstance(error, errors.Transient)
    assert str(error).startswith(f"{gone.url}: Connection refused (")
    _fails("GitUnreachable", remote._in_child, "heads", gone, {"refs": []})
    _fails("GitUnreachable", remote.poll, replace(site.remote, url="https://does-not-exist.invalid/site.git"))


def test_a_token_is_read_at_each_use(site: Site, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(site.token)
    with Poller(replace(site.remote, token_file=token_file)) as poller:
        assert poller.poll()
        token_file.write_text("revoked-token")
        error = _fails("GitAuthFailed", poller.poll)
        assert "revoked-token" not in str(error)
        token_file.write_text(site.token)
        assert poller.poll()
        token_file.unlink()
        _fails("GitRemoteInvalid", poller.poll)
    _fails("GitAuthFailed", remote.poll, replace(site.remote, token_file=None))


def test_a_wrong_credential_is_not_offered_for_ever(site: Site, fresh_proxy: FaultProxy, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("wrong")
    wrong = replace(site.via(fresh_proxy), token_file=tmp_path / "token", timeout=8.0)  # lighttpd delays a refusal
    _fails("GitAuthFailed", remote._in_child, "heads", wrong, {"refs": [wrong.ref]})
    assert fresh_proxy.connections <= 3
    assert fresh_proxy.bytes_up < 4096


def test_a_connection_that_the_server_closed_is_made_anew(site: Site, fresh_proxy: FaultProxy) -> None:
    with Poller(site.via(fresh_proxy)) as poller:
        assert poller.poll()
        time.sleep(0.1)
        fresh_proxy.mode = "500"
        for connection in list(poller._client._guard._sockets):  # type: ignore[union-attr]
            connection.shutdown(2)
        _fails("GitServerError", poller.poll)
        fresh_proxy.mode = "pass"
        assert poller.poll()


def test_the_token_is_in_no_argument_or_environment(site: Site, fresh_proxy: FaultProxy) -> None:
    fresh_proxy.mode = "hang"
    where = replace(site.via(fresh_proxy), timeout=2.0, deadline=2.0)

    def ask() -> None:
        with suppress(errors.ReconcilerError):
            remote._in_child("heads", where, {"refs": []})

    thread = threading.Thread(target=ask)
    thread.start()
    seen = b""
    while thread.is_alive():
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                argv = (process / "cmdline").read_bytes()
                if b"reconciler.git.transport" in argv:
                    seen += argv + (process / "environ").read_bytes()
        time.sleep(0.1)
    thread.join()
    assert b"reconciler.git.transport:heads" in seen
    assert site.token.encode() not in seen


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret-in-url@example.org/site.git",
        "https://secret-in-url@example.org/site.git",
        "ssh://git:secret-in-url@example.org/site.git",
        "git://example.org/site.git",
        "ext::sh -c x",
        "https:///site.git",
        "https://example.org/a b",
        "relative/path",
        "-oProxyCommand=x@host:path",
    ],
)
def test_urls_that_are_not_for_us(url: str) -> None:
    assert "secret-in-url" not in str(_fails("GitRemoteInvalid", remote.poll, Remote(url)))


def test_names_that_are_no_refs(site: Site) -> None:
    for name in ("main", "refs/heads/a..b", "refs/heads/x:refs/heads/y", "refs/heads/*"):
        _fails("GitRemoteInvalid", remote.poll, site.remote, [name])


# --- ssh ------------------------------------------------------------------------------------------------------------


def test_ssh(site: Site, ssh: SshServer, tmp_path: Path) -> None:
    where = _ssh_remote(ssh)
    assert remote.poll(where) == {"refs/heads/main": site.head}
    assert remote.fetch(where, tmp_path / "clone") == {"refs/heads/main": site.head}
    assert tree.read(tmp_path / "clone", site.head)["hosts/node1.yml"] == b"b: 2\n"
    _fails("GitNotFound", remote.poll, _ssh_remote(ssh, "nope.git"))
    _fails("GitEmptyRepository", remote.poll, _ssh_remote(ssh, "empty.git"))
    _fails("GitBranchMissing", remote.poll, _ssh_remote(ssh, branch="nope"))


def test_ssh_credentials(ssh: SshServer, tmp_path: Path) -> None:
    _fails("GitAuthFailed", remote.poll, _ssh_remote(ssh, ssh_key=servers.ssh_key(tmp_path / "other")))
    _fails("GitAuthFailed", remote.poll, _ssh_remote(ssh, ssh_key=None))
    _fails("GitRemoteInvalid", remote.poll, _ssh_remote(ssh, ssh_key=tmp_path / "absent"))


def test_ssh_host_keys(ssh: SshServer, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    _fails("GitHostKeyUnknown", remote.poll, _ssh_remote(ssh, known_hosts=known))
    _fails("GitHostKeyUnknown", remote.poll, _ssh_remote(ssh, known_hosts=None))
    line = ssh.known_hosts.read_text()
    known.write_text(f"# a comment\n@cert-authority *.example.org ssh-ed25519 AAAA\n{line}")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)  # hashed names
    assert "127.0.0.1" not in known.read_text()
    assert remote.poll(_ssh_remote(ssh, known_hosts=known))
    known.write_text(f"{line}@revoked {line}")
    _fails("GitHostKeyUnknown", remote.poll, _ssh_remote(ssh, known_hosts=known))


def test_ssh_server_with_another_host_key(site: Site, tmp_path: Path) -> None:
    with servers.ssh_server(site.root, keys=tmp_path) as first:
        where = _ssh_remote(first)
        assert remote.poll(where)
        remembered = tmp_path / "remembered"
        remembered.write_text(first.known_hosts.read_text())
        where = replace(where, known_hosts=remembered)
    with servers.ssh_server(site.root, keys=tmp_path, port=first.port):
        assert isinstance(_fails("GitHostKeyChanged", remote.poll, where), errors.Terminal)
        _fails("GitHostKeyChanged", remote.fetch, where, tmp_path / "clone")
        assert not (tmp_path / "clone").exists()
    _fails("GitUnreachable", remote.poll, where)


# --- fetch ----------------------------------------------------------------------------------------------------------


def _local(tmp_path: Path) -> tuple[Path, Remote, Path]:
    repo = servers.make_repo(tmp_path / "origin.git")
    return repo, Remote(f"file://{repo}", deadline=30), tmp_path / "state" / "clone"


def test_fetch_over_https(site: Site, tmp_path: Path) -> None:
    assert remote.fetch(site.remote, tmp_path / "clone") == {"refs/heads/main": site.head}
    assert tree.read(tmp_path / "clone", site.head) == {"globals.yml": b"a: 1\n", "hosts/node1.yml": b"b: 2\n"}
    assert {path.name for path in tmp_path.iterdir()} == {"clone", "clone.lock"}
    for path in (tmp_path / "clone").rglob("*"):
        if path.is_file() and path.suffix not in (".pack", ".idx"):
            assert site.token.encode() not in path.read_bytes()


def test_a_fetch_that_drips_ends_at_its_deadline(site: Site, fresh_proxy: FaultProxy, tmp_path: Path) -> None:
    fresh_proxy.mode = "drip"
    where = replace(site.via(fresh_proxy), deadline=2.0)
    started = time.monotonic()
    _fails("GitTimeout", remote._in_child, "fetch", where, _argument(where, tmp_path / "clone"))
    assert time.monotonic() - started < 25
    assert not (tmp_path / "clone").exists()
    fresh_proxy.mode = "pass"
    assert remote.fetch(replace(where, timeout=10.0, deadline=30.0), tmp_path / "clone")
    assert {path.name for path in tmp_path.iterdir()} == {"clone", "clone.lock"}


def _argument(where: Remote, clone: Path) -> dict[str, object]:
    return {"refs": [where.ref], "repository": str(clone), "fresh": False, "keep": None}


def test_a_rewritten_branch_is_fetched_and_refused_by_the_anchor(tmp_path: Path) -> None:
    repo, where, clone = _local(tmp_path)
    first = servers.commit(repo, {"a": "1"}, "one")
    remote.fetch(where, clone)
    second = servers.commit(repo, {"a": "2"}, "two")
    assert remote.fetch(where, clone) == {"refs/heads/main": second}
    assert trust.advance(clone, first, second) == "forward"
    rewritten = servers.force_push(repo, {"a": "3"}, "rewritten")
    assert remote.fetch(where, clone) == {"refs/heads/main": rewritten}
    with pytest.raises(errors.Terminal, match="reconciler anchor accept") as caught:
        trust.advance(clone, second, rewritten)
    assert caught.value.reason == "HistoryRewritten"
    assert tree.read(clone, second) == {"a": b"2"}  # still there to be enforced
    remote.fetch(where, clone, fresh=True)
    assert tree.read(clone, second) == {"a": b"2"}  # in a new clone too


def test_a_server_that_shows_another_history_each_time_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything of it is verified. What the node goes by stays, and so do those that the branch moved on from."""
    most = 1 << 20
    monkeypatch.setattr(transport, "_MOST_BYTES", most)
    repo, where, clone = _local(tmp_path)
    (tmp_path / "home").mkdir()
    argument = {**_argument(where, clone), "remote": remote.to_json(where), "home": str(tmp_path / "home")}
    older = servers.commit(repo, {"a": "0"}, "one")
    first = servers.commit(repo, {"a": "1"}, "two")
    transport.fetch({**argument, "keep": [first]})
    sizes = []
    for number in range(12):
        if number % 2:  # one that goes on from what the node goes by
            servers.git(repo, "update-ref", "refs/heads/main", first)
            last = servers.commit(repo, {"a": secrets.token_bytes(200_000)}, "another")
        else:
            last = servers.force_push(repo, {"a": secrets.token_bytes(200_000)}, "another")
        assert transport.fetch({**argument, "keep": [first]}) == {"refs/heads/main": last}
        sizes.append(sum(path.lstat().st_size for path in clone.rglob("*")))
        for known in (older, first, last):
            assert tree.read(clone, known)
    assert max(sizes) < most + 500_000, sizes
    assert {path.name for path in clone.parent.iterdir()} == {"clone", "clone.lock"}
    (clone / "objects/pack/pack_git2_abcdef").touch()
    transport.fetch({**argument, "keep": None})
    assert not list(clone.glob("objects/pack/pack_git2_*"))


def _truncate_pack(clone: Path) -> None:
    pack = next(clone.glob("objects/pack/*.pack"))
    pack.chmod(0o644)
    os.truncate(pack, 20)


def _flip_byte(clone: Path) -> None:
    pack = next(clone.glob("objects/pack/*.pack"))
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(data)


def _empty_ref(clone: Path) -> None:
    (clone / "refs/heads/main").write_text("")


def _no_objects(clone: Path) -> None:
    for path in clone.glob("objects/pack/*"):
        path.unlink()


def _no_head(clone: Path) -> None:
    (clone / "HEAD").unlink()


@pytest.mark.parametrize("damage", [_truncate_pack, _flip_byte, _empty_ref, _no_objects, _no_head])
def test_a_damaged_clone_is_replaced(tmp_path: Path, damage: object) -> None:
    repo, where, clone = _local(tmp_path)
    head = servers.commit(repo, {"a": "1" * 5000, "b/c": secrets.token_hex(4000)}, "one")
    remote.fetch(where, clone)
    damage(clone)  # type: ignore[operator]
    with pytest.raises(errors.Terminal):
        tree.read(clone, tree.resolve(clone, "refs/heads/main"))
    # A server that cannot be reached just now does not cost us what is left.
    away = repo.rename(tmp_path / "away.git")
    _fails("GitNotFound", remote.fetch, where, clone)
    assert clone.exists()
    away.rename(repo)
    assert remote.fetch(where, clone) == {"refs/heads/main": head}
    assert len(tree.read(clone, head)) == 2
    assert {path.name for path in clone.parent.iterdir()} == {"clone", "clone.lock"}


def test_an_interrupted_replacement_is_put_back_or_swept(tmp_path: Path) -> None:
    repo, where, clone = _local(tmp_path)
    head = servers.commit(repo, {"a": "1"}, "one")
    remote.fetch(where, clone)
    marker = clone / "still-the-same"
    marker.touch()
    (clone.parent / "clone.old-abc").mkdir()
    clone.rename(clone.parent / "clone.old-abc" / "clone")
    (clone.parent / "clone.new-abc").mkdir()
    assert remote.fetch(where, clone) == {"refs/heads/main": head}
    assert marker.exists()
    assert {path.name for path in clone.parent.iterdir()} == {"clone", "clone.lock"}


def test_branches_below_a_name_come_and_go(tmp_path: Path) -> None:
    repo, where, clone = _local(tmp_path)
    head = servers.commit(repo, {"a": "1"}, "one")
    servers.git(repo, "update-ref", "refs/heads/testing/x", head)
    asked = ["refs/heads/main", "refs/heads/testing"]
    assert remote.fetch(where, clone, asked).keys() == {"refs/heads/main", "refs/heads/testing/x"}
    (clone / "still-the-same").touch()
    servers.git(repo, "update-ref", "-d", "refs/heads/testing/x")
    servers.git(repo, "update-ref", "refs/heads/testing/x/y", head)
    assert remote.fetch(where, clone, asked).keys() == {"refs/heads/main", "refs/heads/testing/x/y"}
    assert (clone / "still-the-same").exists()


def test_many_fetches_leave_few_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MAX_PACKS", 3)
    repo, where, clone = _local(tmp_path)
    (tmp_path / "home").mkdir()
    heads = []
    for number in range(8):
        heads.append(servers.commit(repo, {"a": str(number)}, "change"))
        transport.fetch({**_argument(where, clone), "remote": remote.to_json(where), "home": str(tmp_path / "home")})
    assert len(list(clone.glob("objects/pack/*.pack"))) <= 4
    assert [tree.read(clone, head)["a"] for head in heads] == [str(number).encode() for number in range(8)]


def test_a_commit_whose_objects_are_altered_at_the_source_is_never_accepted(tmp_path: Path) -> None:
    repo, where, clone = _local(tmp_path)
    head = servers.commit(repo, {"a": "1"}, "one")
    blob = servers.git(repo, "rev-parse", f"{head}:a")
    other = servers.raw_object(repo, "blob", b"evil")
    place = repo / "objects" / blob[:2] / blob[2:]
    place.chmod(0o644)
    place.write_bytes((repo / "objects" / other[:2] / other[2:]).read_bytes())
    with pytest.raises(errors.ReconcilerError):
        remote.fetch(where, clone)
    assert not clone.exists()


def test_plain_paths(site: Site, tmp_path: Path) -> None:
    assert remote.poll(Remote(str(site.root / "site.git"))) == {"refs/heads/main": site.head}
    _fails("GitNotFound", remote.poll, Remote(str(tmp_path / "absent.git")))
    _fails("GitEmptyRepository", remote.fetch, Remote(f"file://{site.root}/empty.git"), tmp_path / "clone")


@pytest.mark.parametrize("how", ["garbage", "gone"])
def test_a_damaged_repository_is_told_from_a_proxy(tmp_path: Path, how: str) -> None:
    (tmp_path / "git").mkdir()
    repository = servers.make_repo(tmp_path / "git" / "site.git")
    head = servers.commit(repository, {"b": "y"}, "one")
    blob = servers.git(repository, "rev-parse", f"{head}:b").strip()
    path = repository / "objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    content = path.read_bytes()
    path.unlink()
    if how == "garbage":
        path.write_bytes(b"\0" * len(content))
    with pytest.raises(errors.Transient) as caught:
        remote.fetch(Remote(f"file://{repository}"), tmp_path / "clone")
    assert caught.value.reason == "GitObjectCorrupt" and "git fsck" in str(caught.value)
    with servers.http_server(tmp_path / "git") as server:
        with pytest.raises(errors.Transient) as caught:
            remote.fetch(Remote(server.url("site.git"), ca_file=server.ca_file), tmp_path / "other")
        assert caught.value.reason == "GitServerError" and "git fsck" in str(caught.value)
