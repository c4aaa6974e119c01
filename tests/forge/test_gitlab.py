import secrets
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler import errors
from reconciler.forge import Forge, ForgeSettings, MergeRequest
from reconciler.forge.api import shorten, valid_target

from .conftest import COMMIT, CONTEXT, success
from .gitlab_server import GitLab
from .gitlab_state import MergeRequest as Request
from .gitlab_state import Project, User
from .standin import Fault, StandIn

Connect = Callable[..., Forge]
MARKER = "<!-- reconciler:site -->"


def raised(call: Callable[[], object]) -> errors.ReconcilerError:
    with pytest.raises(errors.ReconcilerError) as caught:
        call()
    return caught.value


def everything(error: BaseException | None) -> str:
    """All text that a log or a traceback could show of an error, its causes and their requests."""
    text = "".join(traceback.format_exception(error))
    while error is not None:
        text += repr(error) + repr(vars(error))
        request = getattr(error, "request", None)
        text += repr(getattr(request, "headers", ""))
        error = error.__cause__ or error.__context__
    return text


# Statuses.


def test_post_and_find(gitlab: GitLab, connect_to: Connect) -> None:
    forge = connect_to(gitlab)
    assert forge.find_status(COMMIT, CONTEXT) is None
    forge.post_status(success(target_url="https://node1/status"), "main")
    assert forge.find_status(COMMIT, CONTEXT, "main") == success(target_url="https://node1/status")
    assert forge.find_status(COMMIT, CONTEXT, "other") is None
    assert forge.find_status(COMMIT, "reconciler/site/node2") is None
    forge.post_status(success("two", state="failed"), "main")
    assert forge.find_status(COMMIT, CONTEXT) == success("two", state="failed")
    assert "38 containers, 0 changed in 0.2 s" in gitlab.statuses_table()


def test_another_users_status_is_not_ours(gitlab: GitLab, connect_to: Connect) -> None:
    other = User(77, "other")
    gitlab.projects["cloud/site"].post_status(other, COMMIT, {"state": "success", "name": CONTEXT, "ref": "main"})
    assert connect_to(gitlab).find_status(COMMIT, CONTEXT) is None


def test_pending_twice_is_done(gitlab: GitLab, connect_to: Connect) -> None:
    forge = connect_to(gitlab)
    forge.post_status(success("first", state="pending"), "main")
    forge.post_status(success("second", state="pending"), "main")
    assert [r.status for r in gitlab.projects["cloud/site"].rows] == ["pending"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.answer(409, "is locked"),
        Fault.answer(500),
        Fault.answer(503, retry_after="0"),
        Fault("close"),
        Fault("garbage"),
        Fault.answer(500, done=True),
        Fault("close", done=True),
        Fault("garbage", done=True),
    ],
    ids=lambda f: f"{f.kind}-{f.status}-{'done' if f.done else 'lost'}",
)
def test_retried_without_a_second_row(gitlab: GitLab, connect_to: Connect, fault: Fault) -> None:
    gitlab.fail("POST", "/statuses/", fault)
    connect_to(gitlab).post_status(success(), "main")
    assert [r.status for r in gitlab.projects["cloud/site"].rows] == ["success"]


def test_retry_after_is_honoured(gitlab: GitLab, connect_to: Connect) -> None:
    gitlab.fail("POST", "/statuses/", Fault.answer(429, retry_after="1"))
    begin = time.monotonic()
    connect_to(gitlab).post_status(success(), "main")
    assert 1.0 <= time.monotonic() - begin < 20


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_a_long_retry_after_is_handed_on(gitlab: GitLab, connect_to: Connect, kind: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    when = "3600" if kind == "seconds" else later.strftime("%a, %d %b %Y %H:%M:%S GMT")
    gitlab.fail("POST", "/statuses/", Fault.answer(429, retry_after=when))
    begin = time.monotonic()
    error = raised(lambda: connect_to(gitlab).post_status(success(), "main"))
    assert isinstance(error, errors.Transient)
    assert error.reason == "ForgeBusy"
    assert error.retry_after == pytest.approx(3600, abs=60)
    assert time.monotonic() - begin < 60
    assert gitlab.count("POST") == 1


def test_retries_end(gitlab: GitLab, connect_to: Connect) -> None:
    gitlab.fail("POST", "/statuses/", *[Fault.answer(503)] * 100)
    begin = time.monotonic()
    error = raised(lambda: connect_to(gitlab, retry_for=1.0).post_status(success(), "main"))
    assert error.reason == "ForgeBusy"
    assert time.monotonic() - begin < 20


def test_job_limit_stops_this_commit(gitlab: GitLab, connect_to: Connect) -> None:
    gitlab.projects["cloud/site"].job_limit = 0
    gitlab.projects["cloud/site"].add_commit("b" * 40)
    forge = connect_to(gitlab)
    error = raised(lambda: forge.post_status(success(), "main"))
    assert isinstance(error, errors.Terminal)
    assert error.reason == "ForgeLimitReached"
    assert gitlab.count("POST") == 1
    assert raised(lambda: forge.post_status(success(), "main")).reason == "ForgeLimitReached"
    assert gitlab.count("POST") == 1
    gitlab.projects["cloud/site"].job_limit = 10
    forge.post_status(success(commit="b" * 40), "main")
    assert gitlab.count("POST") == 2


def test_other_refusals(gitlab: GitLab, connect_to: Connect) -> None:
    forge = connect_to(gitlab)
    gitlab.fail("POST", "/statuses/", Fault.answer(422, "something else"), Fault.answer(400, "no such thing"))
    for words in ("something else", "no such thing"):
        error = raised(lambda: forge.post_status(success(), "main"))
        assert isinstance(error, errors.Terminal)
        assert error.reason == "ForgeRejected"
        assert words in str(error)
    unknown = raised(lambda: forge.post_status(success(commit="f" * 40), "main"))
    assert unknown.reason == "ForgeRejected"
    assert "commit pushed" in str(unknown)


# Rights and the token.


@pytest.mark.parametrize(
    ("level", "scopes", "protected", "words"),
    [
        (30, {"api"}, True, "protected branch the right to push or merge"),
        (10, {"api"}, False, "the Developer role"),
        (40, {"read_api"}, False, "insufficient_scope"),
    ],
)
def test_forbidden_says_what_is_missing(
    gitlab: GitLab, connect_to: Connect, tmp_path: Path, level: int, scopes: set[str], protected: bool, words: str
) -> None:
    weak = tmp_path / "weak"
    weak.write_text("weak-" + secrets.token_hex(8))
    gitlab.add_user("weak", weak.read_text(), level=level, scopes=frozenset(scopes))
    if protected:
        gitlab.projects["cloud/site"].protected.add("main")
    error = raised(lambda: connect_to(gitlab, token_file=weak).post_status(success(), "main"))
    assert isinstance(error, errors.Terminal)
    assert error.reason == "ForgeForbidden"
    assert words in str(error)
    assert str(weak) in str(error)
    assert gitlab.count("POST") == 1


def test_a_rotated_token_needs_no_restart(gitlab: GitLab, connect_to: Connect, token_file: Path, token: str) -> None:
    forge = connect_to(gitlab)
    token_file.write_text("revoked-" + secrets.token_hex(8))
    error = raised(lambda: forge.post_status(success(), "main"))
    assert error.reason == "ForgeForbidden"
    assert "expired or revoked" in str(error)
    token_file.write_text(token)
    forge.post_status(success(), "main")
    assert len(gitlab.projects["cloud/site"].rows) == 1


def test_unusable_token_files(gitlab: GitLab, connect_to: Connect, tmp_path: Path) -> None:
    file = tmp_path / "odd"
    forge = connect_to(gitlab, token_file=file)
    assert "cannot be read" in str(raised(lambda: forge.post_status(success(), "main")))
    for content in (b"", b"\n", b"top\nsecret", b"top secret", b"top\xffsecret"):
        file.write_bytes(content)
        error = raised(lambda: forge.post_status(success(), "main"))
        assert error.reason == "ForgeMisconfigured"
        assert "secret" not in everything(error)
    assert gitlab.seen == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("close"),
        Fault("hang", seconds=3),
        Fault("drip"),
        Fault("large"),
        Fault("garbage"),
        *[Fault.answer(code, "said by the server: {token}") for code in (302, 400, 401, 403, 404, 409, 422, 429, 500)],
    ],
    ids=lambda f: f"{f.kind}-{f.status}",
)
def test_the_token_is_in_no_error(gitlab: GitLab, connect_to: Connect, token: str, fault: Fault) -> None:
    body = {"message": str(fault.body["message"]).replace("{token}", token)} if fault.body else None
    gitlab.fail("POST", "/statuses/", Fault(fault.kind, fault.status, body, seconds=fault.seconds))
    error = raised(lambda: connect_to(gitlab, timeout=0.3, retry_for=0.0).post_status(success(), "main"))
    assert token not in everything(error)
    if fault.kind == "status" and fault.status != 302:
        assert "said by the server: ***" in str(error)


def test_redirects_are_not_followed(gitlab: GitLab, connect_to: Connect) -> None:
    with StandIn() as elsewhere:
        gitlab.fail("POST", "/statuses/", Fault("status", 307, None, {"Location": f"{elsewhere.url}/x?q=1"}))
        error = raised(lambda: connect_to(gitlab).post_status(success(), "main"))
        assert elsewhere.seen == []
    assert error.reason == "ForgeRejected"
    assert f"redirected to {elsewhere.url.removeprefix('http://')}:" in str(error)


def test_netrc_is_not_read(
    gitlab: GitLab, connect_to: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    connect_to(gitlab).post_status(success(), "main")
    assert "Private-Token" in gitlab.seen[0].headers
    assert "Authorization" not in gitlab.seen[0].headers


# The network.


def test_nobody_listens(gitlab: GitLab, connect_to: Connect) -> None:
    error = raised(lambda: connect_to(gitlab, url="http://127.0.0.1:1", retry_for=0.5).post_status(success(), "main"))
    assert isinstance(error, errors.Transient)
    assert (error.reason, str(error)) == ("ForgeUnreachable", "127.0.0.1:1 cannot be reached: Connection refused")


@pytest.mark.parametrize(("kind", "words"), [("hang", "timed out"), ("drip", "too slowly"), ("large", "32 MiB")])
def test_limits_of_one_request(gitlab: GitLab, connect_to: Connect, kind: str, words: str) -> None:
    gitlab.fail("GET", "/user", Fault(kind))  # type: ignore[arg-type]
    begin = time.monotonic()
    error = raised(lambda: connect_to(gitlab, timeout=0.5, retry_for=0.0).find_status(COMMIT, CONTEXT))
    assert words in str(error)
    assert time.monotonic() - begin < 20


def certificate(path: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path.write_bytes(made.public_bytes(pem))
    private = path.with_suffix(".key")
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, private)
    return context


def test_tls(connect_to: Connect, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificate(tmp_path / "ca.pem")
    certificate(tmp_path / "other.pem")
    # The environment must not win over the settings.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    with GitLab(tls=context) as server:
        server.add_project("cloud/site").add_commit(COMMIT)
        server.add_user("reconciler", token)
        connect_to(server, ca_file=tmp_path / "ca.pem").post_status(success(), "main")
        begin = time.monotonic()
        error = raised(lambda: connect_to(server, ca_file=tmp_path / "other.pem").post_status(success(), "main"))
        assert time.monotonic() - begin < 15, "a wrong certificate is not tried again"
        assert error.reason == "ForgeUnreachable"
        assert "certificate verify failed" in str(error)
        missing = raised(lambda: connect_to(server, ca_file=tmp_path / "none.pem").post_status(success(), "main"))
        assert missing.reason == "ForgeMisconfigured"
        assert len(server.projects["cloud/site"].rows) == 1


# Notes.


@pytest.fixture
def project(gitlab: GitLab) -> Project:
    project = gitlab.projects["cloud/site"]
    project.merge_requests.append(Request(1, "more memory", "memory", "main", User(50, "operator")))
    return project


def test_one_note(gitlab: GitLab, connect_to: Connect, project: Project) -> None:
    forge, request = connect_to(gitlab), project.merge_requests[0]
    # Somebody else's note with our marker, and 45 notes before ours: three pages.
    project.write(request, User(51, "mallory"), f"{MARKER}\nfaked")
    for number in range(45):
        project.write(request, User(50, "operator"), f"remark {number}")
    forge.upsert_note(1, MARKER, "first")
    forge.upsert_note(1, MARKER, "second")
    writes = gitlab.count("PUT") + gitlab.count("POST")
    forge.upsert_note(1, MARKER, "second")
    assert gitlab.count("PUT") + gitlab.count("POST") == writes, "the same text again is not written"
    forge.upsert_note(1, "<!-- reconciler:other -->", f"quotes {MARKER}\n{MARKER}")
    ours = [n.body for n in request.notes if n.author.username == "reconciler"]
    assert ours == [f"{MARKER}\nsecond", f"<!-- reconciler:other -->\nquotes {MARKER}\n{MARKER}"]
    assert request.notes[0].body.endswith("faked")


@pytest.mark.parametrize("fault", [Fault.answer(502, done=True), Fault("close", done=True), Fault.answer(409)])
def test_never_two_notes(gitlab: GitLab, connect_to: Connect, project: Project, fault: Fault) -> None:
    gitlab.fail("POST", "/notes", fault)
    connect_to(gitlab).upsert_note(1, MARKER, "text")
    assert [n.body for n in project.merge_requests[0].notes] == [f"{MARKER}\ntext"]


def test_jobs_at_the_same_moment_leave_one_note(gitlab: GitLab, connect_to: Connect, project: Project) -> None:
    jobs = [threading.Thread(target=connect_to(gitlab).upsert_note, args=(1, MARKER, "text")) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [n.body for n in project.merge_requests[0].notes] == [f"{MARKER}\ntext"]


def test_duplicates_of_the_past_are_removed(gitlab: GitLab, connect_to: Connect, project: Project, token: str) -> None:
    request = project.merge_requests[0]
    for text in ("one", "two", "three"):
        project.write(request, gitlab.tokens[token], f"{MARKER}\n{text}")
    connect_to(gitlab).upsert_note(1, MARKER, "four")
    assert [n.body for n in request.notes] == [f"{MARKER}\nfour"]


def test_notes_have_limits(gitlab: GitLab, connect_to: Connect, project: Project) -> None:
    forge = connect_to(gitlab)
    assert "the forge takes 1000000" in str(raised(lambda: forge.upsert_note(1, MARKER, "x" * 1_000_000)))
    for marker in ("plain", "<!-- two\nlines -->", "<!-- a --> <!-- b -->"):
        with pytest.raises(ValueError, match="marker"):
            forge.upsert_note(1, marker, "x")
    assert gitlab.seen == []
    assert raised(lambda: forge.upsert_note(2, MARKER, "x")).reason == "ForgeRejected"


# Merge requests and deployments, on a real repository.


def test_merge_request_of_real_commits(gitlab: GitLab, connect_to: Connect, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=o", "-c", "user.email=o@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", "-C", tmp_path / "work", *identity, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    (tmp_path / "work").mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    git("checkout", "-q", "-b", "change")
    (tmp_path / "work" / "globals.yml").write_text("a: 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    git("clone", "-q", "--bare", ".", str(tmp_path / "site.git"))
    first, second = git("rev-parse", "main"), git("rev-parse", "change")
    real = gitlab.add_project("cloud/real", tmp_path / "site.git")
    forge = connect_to(gitlab, project="cloud/real")
    assert forge.merge_request_of(second) is None
    api = f"{gitlab.url}/api/v4/projects/cloud%2Freal"
    headers = {"PRIVATE-TOKEN": next(iter(gitlab.tokens))}
    body = {"title": "Set a", "source_branch": "change", "target_branch": "main"}
    requests.post(f"{api}/merge_requests", json=body, headers=headers, timeout=5).raise_for_status()
    expected = MergeRequest(1, "Set a", f"{gitlab.url}/cloud/real/-/merge_requests/1", "reconciler")
    assert forge.merge_request_of(second) == expected
    assert forge.merge_request_of(first) is None
    merged = real.merge(1)
    assert real.branches()["main"] == merged
    assert forge.merge_request_of(merged) == forge.merge_request_of(second) == expected
    forge.post_status(success(commit=merged), "main")
    assert raised(lambda: forge.post_status(success(), "main")).reason == "ForgeRejected"
    forge.deployment("node1", merged, "main", "success")
    assert [(d.environment, d.sha) for d in real.deployments] == [("node1", merged)]


def test_deployments(gitlab: GitLab, connect_to: Connect) -> None:
    project, forge = gitlab.projects["cloud/site"], connect_to(gitlab)
    project.add_commit("b" * 40)
    for commit, state in (
        (COMMIT, "running"),
        (COMMIT, "success"),
        (COMMIT, "success"),
        ("b" * 40, "running"),
        ("b" * 40, "failed"),
        (COMMIT, "success"),
    ):
        forge.deployment("node1", commit, "main", state)  # type: ignore[arg-type]
    forge.deployment("node2", COMMIT, "main", "success")
    assert [(d.environment, d.sha[0], d.status) for d in project.deployments] == [
        ("node1", "a", "success"),
        ("node1", "b", "failed"),
        ("node1", "a", "success"),
        ("node2", "a", "success"),
    ]


# Texts and settings.


def test_descriptions_are_cut_between_words(gitlab: GitLab, connect_to: Connect) -> None:
    assert shorten("keystone:\n  health\tcheck", 255) == "keystone: health check"
    assert shorten("one two three", 13) == "one two three"
    assert shorten("one two three", 12) == "one two…"
    assert shorten("one two, three", 9) == "one two…"
    assert shorten("x" * 300, 255) == "x" * 254 + "…"
    assert shorten("a\x00b\x1b[31m\ud800", 255) == r"a\x00b\x1b[31m\ud800"
    connect_to(gitlab).post_status(success("word " * 100), "main")
    assert gitlab.projects["cloud/site"].rows[0].description == "word " * 50 + "word…"


def test_target_urls() -> None:
    for good in ("https://a/b", "http://a", "https://[::1]:8/x?y#z"):
        assert valid_target(good) == good
    for bad in (
        None,
        "",
        "ftp://a",
        "javascript:x",
        "https://",
        "/x",
        "https://a b",
        "https://a/" + "x" * 250,
        "https://[x",
    ):
        assert valid_target(bad) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "gitlab.example.org"}, "not an http"),
        ({"url": "https://user:hunter2@gitlab.example.org"}, "no user"),
        ({"url": "ftp://user:hunter2@gitlab.example.org"}, "not an http"),
        ({"project": "../x?y"}, "not a path"),
        ({"project": "a/b/c", "kind": "gitea"}, "owner/name"),
    ],
)
def test_settings_are_checked(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    values = {"kind": "gitlab", "url": "https://gitlab.example.org", "project": "a/b", **changes}
    error = raised(lambda: ForgeSettings(token_file=tmp_path / "t", **values))  # type: ignore[arg-type]
    assert error.reason == "ForgeMisconfigured"
    assert words in str(error)
    assert "hunter2" not in str(error)
