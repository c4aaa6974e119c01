"""Signatures and the anchor: real keys, real signatures, and everything that must not pass for one."""

import subprocess
import time
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.git import trust
from reconciler.git.trust import SignaturePolicy
from tests.git import servers
from tests.git.servers import Signer
from tests.git.test_tree import _object


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return servers.make_repo(tmp_path / "repo.git")


@pytest.fixture
def alice(tmp_path: Path) -> Signer:
    return servers.ssh_signer(tmp_path, "alice")


def _allowed(tmp_path: Path, *lines: str) -> SignaturePolicy:
    path = tmp_path / "allowed_signers"
    path.write_text("# who may change the site\n\n" + "\n".join(lines) + "\n")
    return SignaturePolicy("ssh", allowed_signers=path)


def _key(signer: Signer) -> str:
    return " ".join(signer.public.split()[:2])


def _fails(reason: str, repo: Path, commit: str, policy: SignaturePolicy) -> str:
    with pytest.raises(errors.Terminal) as caught:
        trust.verify(repo, commit, policy)
    assert caught.value.reason == reason, str(caught.value)
    assert commit in str(caught.value) or reason == "SignaturePolicyInvalid"
    return str(caught.value)


def _raw(repo: Path, commit: str) -> bytes:
    done = subprocess.run(["git", "-C", repo, "cat-file", "commit", commit], capture_output=True, check=True)
    return done.stdout


def test_ssh_signatures(repo: Path, tmp_path: Path, alice: Signer) -> None:
    unsigned = servers.commit(repo, {"a": "1"}, "one")
    signed = servers.commit(repo, {"a": "2"}, "two\n\ngpgsig in the text\n", sign=alice)
    policy = _allowed(tmp_path, f"alice@example.org,a2@example.org {_key(alice)}")
    assert trust.verify(repo, signed, policy) == f"alice@example.org {alice.fingerprint}"
    assert trust.verify(repo, unsigned, SignaturePolicy()) is None
    assert "git commit -S" in _fails("SignatureMissing", repo, unsigned, policy)
    mallory = servers.ssh_signer(tmp_path, "mallory")
    other = servers.commit(repo, {"a": "3"}, "three", sign=mallory)
    assert mallory.fingerprint in _fails("SignerNotAllowed", repo, other, policy)
    _fails("SignaturePolicyInvalid", repo, signed, SignaturePolicy("ssh"))
    _fails("SignaturePolicyInvalid", repo, signed, SignaturePolicy("ssh", allowed_signers=tmp_path / "absent"))


def test_ssh_validity_and_namespaces(repo: Path, tmp_path: Path, alice: Signer) -> None:
    # The commit claims a date at which the key was valid; whoever holds an expired key can do that.
    signed = servers.commit(
        repo, {"a": "1"}, "backdated", sign=Signer(alice.config, {"GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"})
    )
    line = f"alice@example.org {{}} {_key(alice)}"
    assert trust.verify(repo, signed, _allowed(tmp_path, line.format('valid-before="20990101",namespaces="git"')))
    expired = _allowed(tmp_path, line.format('valid-before="20200601"'))
    assert "expired" in _fails("SignatureInvalid", repo, signed, expired)
    _fails("SignatureInvalid", repo, signed, _allowed(tmp_path, line.format('valid-after="20990101"')))
    _fails("SignatureInvalid", repo, signed, _allowed(tmp_path, line.format('namespaces="file"')))
    # Wherever its line stands among others.
    other = _key(servers.ssh_signer(tmp_path, "mallory"))
    among = _allowed(tmp_path, "# people", line.format('valid-before="20200601"'), f"m@example.org {other}")
    assert "expired" in _fails("SignatureInvalid", repo, signed, among)
    # Another line may still allow it.
    assert trust.verify(
        repo, signed, _allowed(tmp_path, line.format('valid-before="20200601"'), f"now@example.org {_key(alice)}")
    )


def test_an_altered_commit(repo: Path, tmp_path: Path, alice: Signer) -> None:
    signed = servers.commit(repo, {"a": "1"}, "pay 1", sign=alice)
    policy = _allowed(tmp_path, f"alice {_key(alice)}")
    data = _raw(repo, signed)
    _fails("SignatureInvalid", repo, _object(repo, "commit", data.replace(b"pay 1", b"pay 9")), policy)
    _fails("SignatureInvalid", repo, _object(repo, "commit", data.replace(b"author@", b"others@")), policy)
    # The same signature on another namespace's data is not one of a commit.
    head, _, rest = data.partition(b"\ngpgsig ")
    payload = head + b"\n" + rest.partition(b"-----END SSH SIGNATURE-----\n")[2]
    (tmp_path / "payload").write_bytes(payload)
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", alice.config["user.signingKey"], tmp_path / "payload"],
        check=True,
        capture_output=True,
    )
    armor = (tmp_path / "payload.sig").read_bytes().rstrip(b"\n").replace(b"\n", b"\n ")
    forged = head + b"\ngpgsig " + armor + b"\n" + payload[len(head) + 1 :]
    _fails("SignatureInvalid", repo, _object(repo, "commit", forged), policy)


def test_malformed_signatures(repo: Path, tmp_path: Path, alice: Signer) -> None:
    signed = servers.commit(repo, {"a": "1"}, "one", sign=alice)
    policy = _allowed(tmp_path, f"alice {_key(alice)}")
    data = _raw(repo, signed)
    head, _, rest = data.partition(b"\ngpgsig ")
    armor, _, tail = rest.partition(b"-----END SSH SIGNATURE-----\n")
    header = b"gpgsig " + armor + b"-----END SSH SIGNATURE-----\n"
    assert head + b"\n" + header + tail == data
    for broken in (
        head + b"\n" + header + header + tail,  # libgit2 would take the first
        head + b"\n" + header + header.replace(b"gpgsig", b"gpgsig-sha256", 1) + tail,
        head.replace(b"\nauthor", b"\n" + header.rstrip(b"\n") + b"\nauthor") + b"\n" + tail,  # before the author
        head + b"\ngpgsig nonsense\n" + tail,
        head + b"\n" + header.replace(b"-----END SSH", b"-----BEGIN SSH SIGNATURE-----\n -----END SSH") + tail,
        head + b"\ngpgsig -----BEGIN SIGNED MESSAGE-----\n x\n -----END SIGNED MESSAGE-----\n" + tail,
    ):
        _fails("SignatureMalformed", repo, _object(repo, "commit", broken), policy)
    # A copy inside a merged tag's text is not the commit's header.
    hidden = head + b"\nmergetag object x\n " + header.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n" + header + tail
    _fails("SignatureInvalid", repo, _object(repo, "commit", hidden), policy)
    # An unsigned commit that shows a signature in its message.
    unsigned = head + b"\n\n" + header + tail
    _fails("SignatureMissing", repo, _object(repo, "commit", unsigned), policy)


def test_gpg_signatures(repo: Path, tmp_path: Path, alice: Signer) -> None:
    with servers.gpg_signer() as greta, servers.gpg_signer("Eve <eve@example.org>") as eve:
        keys = tmp_path / "keys.asc"
        keys.write_text(greta.public)
        policy = SignaturePolicy("gpg", gpg_keys=keys)
        signed = servers.commit(repo, {"a": "1"}, "one", sign=greta)
        assert trust.verify(repo, signed, policy) == f"{greta.fingerprint} Greta Signer <greta@example.org>"
        home = SignaturePolicy("gpg", gpg_home=Path(greta.environment["GNUPGHOME"]))
        assert trust.verify(repo, signed, home) == f"{greta.fingerprint} Greta Signer <greta@example.org>"
        _fails("SignerNotAllowed", repo, servers.commit(repo, {"a": "2"}, "two", sign=eve), policy)
        _fails("SignatureInvalid", repo, _object(repo, "commit", _raw(repo, signed).replace(b"one", b"two")), policy)
        _fails("SignatureMissing", repo, servers.commit(repo, {"a": "3"}, "three"), policy)

        by_ssh = servers.commit(repo, {"a": "4"}, "four", sign=alice)
        _fails("SignerNotAllowed", repo, by_ssh, policy)
        allowed = _allowed(tmp_path, f"alice {_key(alice)}").allowed_signers
        either = SignaturePolicy("any", allowed_signers=allowed, gpg_keys=keys)
        assert (trust.verify(repo, by_ssh, either) or "").startswith("alice ")
        assert trust.verify(repo, signed, either)
        _fails("SignerNotAllowed", repo, signed, SignaturePolicy("ssh", allowed_signers=allowed))

        keys.write_text("no keys")
        _fails("SignaturePolicyInvalid", repo, signed, policy)
        _fails("SignaturePolicyInvalid", repo, signed, SignaturePolicy("gpg", gpg_home=tmp_path / "absent"))

        # Revocation: gpg prepared the certificate when it made the key; the colon keeps it from being used by accident.
        home_of_greta = Path(greta.environment["GNUPGHOME"])
        certificate = (home_of_greta / "openpgp-revocs.d" / f"{greta.fingerprint}.rev").read_text()
        armor = certificate[certificate.index(":-----BEGIN") + 1 :]
        keys.write_text(greta.public + "\n" + armor)
        assert "revoked" in _fails("SignatureInvalid", repo, signed, policy)


def test_an_expired_gpg_key(repo: Path, tmp_path: Path) -> None:
    with servers.gpg_signer(expire="seconds=6") as brief:
        made = time.monotonic()
        keys = tmp_path / "keys.asc"
        keys.write_text(brief.public)
        policy = SignaturePolicy("gpg", gpg_keys=keys)
        signed = servers.commit(repo, {"a": "1"}, "in time", sign=brief)
        time.sleep(max(0.0, made + 7 - time.monotonic()))
        assert "expired" in _fails("SignatureInvalid", repo, signed, policy)


def test_the_anchor_only_moves_forward(repo: Path) -> None:
    first = servers.commit(repo, {"a": "1"}, "one")
    second = servers.commit(repo, {"a": "2"}, "two")
    assert trust.advance(repo, None, first) == "forward"
    assert trust.advance(repo, first, first) == "same"
    assert trust.advance(repo, first, second) == "forward"
    rewritten = servers.force_push(repo, {"a": "3"}, "rewritten")
    for anchor, head in ((second, first), (second, rewritten), ("1" * 40, second)):
        with pytest.raises(errors.Terminal, match="anchor accept") as caught:
            trust.advance(repo, anchor, head)
        assert caught.value.reason == "HistoryRewritten"
    with pytest.raises(errors.Terminal) as caught:
        trust.advance(repo, second, "1" * 40)
    assert caught.value.reason == "RevisionUnknown"
