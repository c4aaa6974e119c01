"""Whatever a commit holds, a node takes it or refuses it with a reason; what was in force stays in force."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import settings
from reconciler.engine import Engine
from reconciler.git import tree
from reconciler.node.cycle import reconcile
from reconciler.node.node import Node
from reconciler.secrets import sops
from reconciler.source.follow import Follower
from reconciler.source.prepare import prepare
from reconciler.state import StateDirectory
from reconciler.text import printable
from tests.cli.conftest import SITE
from tests.git.servers import commit, git, make_repo, raw_object


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "origin.git")


@pytest.fixture
def own(tmp_path: Path, origin: Path) -> settings.Settings:
    file = tmp_path / "node.toml"
    file.write_text(f'host = "web1"\nstate_dir = "{tmp_path}/state"\n[git]\nurl = "{origin}"\n')
    return settings.load(file)


@pytest.fixture
def follower(own: settings.Settings) -> Iterator[Follower]:
    state = StateDirectory(own.state_dir)
    state.create()

    def validate(revision: str) -> None:
        prepare(state.repository, revision, "", own.host, sops.Keys())

    with contextlib.closing(Follower(own, state, validate).poller) as poller:
        made = Follower(own, state, validate)
        made.poller = poller
        yield made


def odd_commit(origin: Path, *headers: bytes, author: bytes = b"a <a@b>", message: bytes = b"subject\n") -> str:
    """A commit with the newest tree, and any author, headers and message."""
    top, parent = git(origin, "rev-parse", "main^{tree}"), git(origin, "rev-parse", "main")
    lines = [b"tree " + top.encode(), b"parent " + parent.encode(), b"author " + author + b" 1700000000 +0000"]
    lines += [b"committer c <c@d> 1700000000 +0000", *headers]
    oid = raw_object(origin, "commit", b"\n".join(lines) + b"\n\n" + message)
    git(origin, "update-ref", "refs/heads/main", oid)
    return oid


BAD = {
    "a surrogate of a template": {"globals.yml": "site_greeting: \"{{ '\\\\ud800' }}\"\n"},
    "U+0000 of a template": {"globals.yml": "site_greeting: \"{{ '\\\\u0000' }}\"\n"},
    "groups in a circle": {"inventory.yml": SITE["inventory.yml"] + "".join(f"  g{n}: {{children: [g{(n + 1) % 2000}]}}\n" for n in range(2000))},
    "deep flow": {"globals.yml": "site_x: " + "[" * 5000},
    "a number of many digits": {"globals.yml": f"site_x: {'9' * 5000}\n"},
    "an odd file name": {"hosts/a\u202eb.yml": "{}\n"},
    "nothing": {"inventory.yml": ""},
}  # fmt: skip


def test_bad_commits_are_refused_and_the_next_good_one_taken(origin: Path, follower: Follower) -> None:
    good = commit(origin, SITE, "good")
    assert follower.look().ok and follower.in_force == (good, "")
    for name, files in BAD.items():
        bad = commit(origin, {**SITE, **files}, name)
        assert follower.look().ok and follower.in_force == (good, ""), name
        refusal = follower.refusal
        assert refusal is not None and (refusal.commit, refusal.reason) == (bad, "SiteInvalid"), name
        assert refusal.problems and all(printable(problem) == problem for problem in refusal.problems), name
        commit(origin, {path: None for path in files if path not in SITE}, "without the new files")
    mended = commit(origin, SITE, "mended")
    assert follower.look().ok and follower.refusal is None and follower.in_force == (mended, "")


ODD: tuple[tuple[tuple[bytes, ...], bytes, bytes], ...] = (
    ((b"encoding unicode_escape",), b"\\ud800 <\\ud800>", b"\\ud800\\n\x1b[31m\n\nbody \\udfff\n"),
    ((b"encoding idna",), b"a..b <a>", b"xn--\xff\n"),
    ((b"encoding undefined",), b"a <a>", b"text\n"),
    ((b"encoding hex",), b"a <a>", b"text\n"),
    ((b"encoding utf-16",), b"a <a>", b"\xd8\x00\xd8\n"),
    ((), "\u202eevil \x1b]0;x\x07 <a\x1b>".encode(), "\x1b[2J\u2028\ufeff\x9b\n\n\x1b[31m\nb\n".encode()),
    ((), b"\xff\xfe <\xff>", b"\xed\xa0\x80\n"),
    ((), b"n" * 100_000 + b" <a>", b"s" * 100_000 + b"\n"),
)


def test_commits_with_odd_texts_are_taken_and_can_be_shown(origin: Path, follower: Follower) -> None:
    commit(origin, SITE, "good")
    for headers, author, message in ODD:
        odd = odd_commit(origin, *headers, author=author, message=message)
        assert follower.look().ok and follower.in_force == (odd, ""), message
        info = tree.commit_info(follower.state.repository, odd)
        for text in (info.author, info.author_email, info.subject):
            assert printable(text) == text and len(text) <= 1000
        assert printable(info.body, keep_newlines=True) == info.body


def test_what_nobody_foresaw_is_a_refusal(origin: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    good = commit(origin, SITE, "good")
    assert follower.look().ok
    bad = commit(origin, {"globals.yml": "site_greeting: other\n"}, "bad")

    def fails(revision: str) -> None:
        raise ZeroDivisionError(f"secret of {revision}")

    with monkeypatch.context() as patch:
        patch.setattr(follower, "_prepare", fails)
        assert follower.look().ok and follower.in_force == (good, "")
        refusal = follower.refusal
        assert refusal is not None and (refusal.commit, refusal.reason) == (bad, "InternalError")
        assert "ZeroDivisionError at follow.py" in refusal.message and "secret of" not in refusal.message
    # It may have been the node's own trouble: the next look tries again.
    assert follower.look().ok and follower.in_force == (bad, "")


def test_what_nobody_foresaw_while_polling_is_a_source_that_failed(
    origin: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = commit(origin, SITE, "good")
    assert follower.look().ok

    def fails(refs: object) -> dict[str, str]:
        raise RecursionError

    monkeypatch.setattr(follower.poller, "poll", fails)
    source = follower.look()
    assert (source.ok, source.reason) == (False, "InternalError") and follower.in_force == (good, "")


def test_a_pass_ends_with_a_report_whatever_it_meets(
    origin: Path, own: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = commit(origin, SITE, "good")
    node = Node(own, engine=Engine("unix:///nonexistent", owner="web1", timeout=1.0), forge=False)
    try:
        monkeypatch.setattr(node.engine, "made_for", lambda label: {})  # a node that never had anything
        monkeypatch.setattr(node.observer, "observe", lambda *_, **__: [][1])
        report = reconcile(node)
        assert report.revision == good and report.subject == "good"
        assert report.failure is not None and report.failure[0] == "InternalError"
        assert "IndexError" in report.failure[1] and not report.converged
    finally:
        node.close()
