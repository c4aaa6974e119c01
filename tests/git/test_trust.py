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


def _fails(reason: str, repo: Path, commit: str, policy: SignaturePolicy, said: str) -> None:
    """`said` is all that is said of it, with `{}` where the commit stands and `{file}` for the policy's allowed_signers."""
    with pytest.raises(errors.Terminal) as caught:
        trust.verify(repo, commit, policy)
    assert (caught.value.reason, str(caught.value)) == (reason, said.format(commit, file=policy.allowed_signers))


def _raw(repo: Path, commit: str) -> bytes:
    done = subprocess.run(["git", "-C", repo, "cat-file", "commit", commit], capture_output=True, check=True)
    return done.stdout


_UNSIGNED = "commit {} is not signed and the policy asks for a signature (sign it: git commit -S)"
_ALTERED = "(the commit was altered; do not use it)"
_UNFIT = f"commit {{}}: the SSH signature does not fit the commit: Signature verification failed: incorrect signature {_ALTERED}"
_ANEW = "(make the commit anew with git itself)"
_NO_BLOCK = f"commit {{}}: its signature is neither one SSH nor one OpenPGP block {_ANEW}"
_UNUSABLE = "the signature policy cannot be used: "


def test_ssh_signatures(repo: Path, tmp_path: Path, alice: Signer) -> None:
    unsigned = servers.commit(repo, {"a": "1"}, "one")
    signed = servers.commit(repo, {"a": "2"}, "two\n\ngpgsig in the text\n", sign=alice)
    policy = _allowed(tmp_path, f"alice@example.org,a2@example.org {_key(alice)}")
    assert trust.verify(repo, signed, policy) == f"alice@example.org {alice.fingerprint}"
    assert trust.verify(repo, unsigned, SignaturePolicy()) is None
    _fails("SignatureMissing", repo, unsigned, policy, _UNSIGNED)
    mallory = servers.ssh_signer(tmp_path, "mallory")
    other = servers.commit(repo, {"a": "3"}, "three", sign=mallory)
    unknown = f"commit {{}} is signed by {mallory.fingerprint}, which {{file}} does not list (sign with an allowed key, or add this one)"
    _fails("SignerNotAllowed", repo, other, policy, unknown)
    for path in (None, tmp_path / "absent"):
        unusable = f"{_UNUSABLE}allowed_signers '{{file}}' is not a file (give OpenSSH's allowed_signers file)"
        _fails("SignaturePolicyInvalid", repo, signed, SignaturePolicy("ssh", allowed_signers=path), unusable)


def test_ssh_validity_and_namespaces(repo: Path, tmp_path: Path, alice: Signer) -> None:
    # The commit claims a date at which the key was valid; whoever holds an expired key can do that.
    signed = servers.commit(
        repo, {"a": "1"}, "backdated", sign=Signer(alice.config, {"GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"})
    )
    line = f"alice@example.org {{}} {_key(alice)}"
    assert trust.verify(repo, signed, _allowed(tmp_path, line.format('valid-before="20990101",namespaces="git"')))
    late = (
        f"commit {{}} is signed by {alice.fingerprint}, which {{file}} lists but does not allow now for git "
        "(expired, not yet valid, or for other namespaces: renew its line, or sign with a current key)"
    )
    for option in ('valid-before="20200601"', 'valid-after="20990101"', 'namespaces="file"'):
        _fails("SignatureInvalid", repo, signed, _allowed(tmp_path, line.format(option)), late)
    # Wherever its line stands among others.
    other = _key(servers.ssh_signer(tmp_path, "mallory"))
    among = _allowed(tmp_path, "# people", line.format('valid-before="20200601"'), f"m@example.org {other}")
    _fails("SignatureInvalid", repo, signed, among, late)
    # Another line may still allow it.
    assert trust.verify(
        repo, signed, _allowed(tmp_path, line.format('valid-before="20200601"'), f"now@example.org {_key(alice)}")
    )


def test_an_altered_commit(repo: Path, tmp_path: Path, alice: Signer) -> None:
    signed = servers.commit(repo, {"a": "1"}, "pay 1", sign=alice)
    policy = _allowed(tmp_path, f"alice {_key(alice)}")
    data = _raw(repo, signed)
    _fails("SignatureInvalid", repo, _object(repo, "commit", data.replace(b"pay 1", b"pay 9")), policy, _UNFIT)
    _fails("SignatureInvalid", repo, _object(repo, "commit", data.replace(b"author@", b"others@")), policy, _UNFIT)
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
    elsewhere = f"commit {{}}: the SSH signature does not fit the commit: Couldn't verify signature: namespace does not match {_ALTERED}"
    _fails("SignatureInvalid", repo, _object(repo, "commit", forged), policy, elsewhere)


def test_content_that_somebody_signed(tmp_path: Path, alice: Signer) -> None:
    policy = _allowed(tmp_path, f"alice {_key(alice)}", f"bob {_key(servers.ssh_signer(tmp_path, 'bob'))}")
    assert policy.allowed_signers is not None
    made = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "report", "-f", alice.config["user.signingKey"]],
        input=b"all is well",
        capture_output=True,
        check=True,
    ).stdout
    trust.verify_bytes(b"all is well", made, "alice", "report", policy.allowed_signers)
    up = "(it was altered on the way, or made up)"
    unfit = f"the signature does not belong to this content: Signature verification failed: incorrect signature {up}"
    elsewhere = (
        f"the signature does not belong to this content: Couldn't verify signature: namespace does not match {up}"
    )
    not_bob = f"it is signed by {alice.fingerprint}, which is not the key of bob (somebody else speaks, or the key was changed)"
    for content, principal, namespace, reason, said in (
        (b"all is lost", "alice", "report", "SignatureInvalid", unfit),
        (b"all is well", "alice", "git", "SignatureInvalid", elsewhere),
        (b"all is well", "bob", "report", "SignerNotAllowed", not_bob),
    ):
        with pytest.raises(errors.Terminal) as caught:
            trust.verify_bytes(content, made, principal, namespace, policy.allowed_signers)
        assert (caught.value.reason, str(caught.value)) == (reason, said)


def test_malformed_signatures(repo: Path, tmp_path: Path, alice: Signer) -> None:
    signed = servers.commit(repo, {"a": "1"}, "one", sign=alice)
    policy = _allowed(tmp_path, f"alice {_key(alice)}")
    data = _raw(repo, signed)
    head, _, rest = data.partition(b"\ngpgsig ")
    armor, _, tail = rest.partition(b"-----END SSH SIGNATURE-----\n")
    header = b"gpgsig " + armor + b"-----END SSH SIGNATURE-----\n"
    assert head + b"\n" + header + tail == data
    malformed, new = "commit {} is malformed: ", "(make a new commit with git itself)"
    twice = f"{malformed}header 'gpgsig' occurs more than once {new}"  # libgit2 would take the first
    order = (
        f"{malformed}its headers do not begin with tree, parent, author, committer, in this order and once each {new}"
    )
    other = f"commit {{}}: header 'gpgsig-sha256' is not one that is checked here {_ANEW}"
    for broken, said in (
        (head + b"\n" + header + header + tail, twice),
        (head + b"\n" + header + header.replace(b"gpgsig", b"gpgsig-sha256", 1) + tail, other),
        (head.replace(b"\nauthor", b"\n" + header.rstrip(b"\n") + b"\nauthor") + b"\n" + tail, order),
        (head + b"\ngpgsig nonsense\n" + tail, _NO_BLOCK),
        (
            head + b"\n" + header.replace(b"-----END SSH", b"-----BEGIN SSH SIGNATURE-----\n -----END SSH") + tail,
            _NO_BLOCK,
        ),
        (head + b"\ngpgsig -----BEGIN SIGNED MESSAGE-----\n x\n -----END SIGNED MESSAGE-----\n" + tail, _NO_BLOCK),
    ):
        _fails("SignatureMalformed", repo, _object(repo, "commit", broken), policy, said)
    # A copy inside a merged tag's text is not the commit's header.
    hidden = head + b"\nmergetag object x\n " + header.rstrip(b"\n").replace(b"\n", b"\n ") + b"\n" + header + tail
    _fails("SignatureInvalid", repo, _object(repo, "commit", hidden), policy, _UNFIT)
    # An unsigned commit that shows a signature in its message.
    unsigned = head + b"\n\n" + header + tail
    _fails("SignatureMissing", repo, _object(repo, "commit", unsigned), policy, _UNSIGNED)


def test_gpg_signatures(repo: Path, tmp_path: Path, alice: Signer) -> None:
    with servers.gpg_signer() as greta, servers.gpg_signer("Eve <eve@example.org>") as eve:
        keys = tmp_path / "keys.asc"
        keys.write_text(greta.public)
        policy = SignaturePolicy("gpg", gpg_keys=keys)
        signed = servers.commit(repo, {"a": "1"}, "one", sign=greta)
        assert trust.verify(repo, signed, policy) == f"{greta.fingerprint} Greta Signer <greta@example.org>"
        home = SignaturePolicy("gpg", gpg_home=Path(greta.environment["GNUPGHOME"]))
        assert trust.verify(repo, signed, home) == f"{greta.fingerprint} Greta Signer <greta@example.org>"
        by_eve = servers.commit(repo, {"a": "2"}, "two", sign=eve)
        unknown = f"commit {{}} is signed by GPG key {eve.fingerprint[-16:]}, which is not among the allowed keys (sign with an allowed key, or add this one)"
        _fails("SignerNotAllowed", repo, by_eve, policy, unknown)
        bad = (
            'commit {}: gpg finds no single good signature: gpg: BAD signature from "Greta Signer <greta@example.org>" [unknown] '
            + _ALTERED
        )
        _fails(
            "SignatureInvalid", repo, _object(repo, "commit", _raw(repo, signed).replace(b"one", b"two")), policy, bad
        )
        _fails("SignatureMissing", repo, servers.commit(repo, {"a": "3"}, "three"), policy, _UNSIGNED)

        by_ssh = servers.commit(repo, {"a": "4"}, "four", sign=alice)
        another = "commit {} carries a %s signature where the policy asks for %s (sign it as the policy asks)"
        _fails("SignerNotAllowed", repo, by_ssh, policy, another % ("ssh", "gpg"))
        allowed = _allowed(tmp_path, f"alice {_key(alice)}").allowed_signers
        either = SignaturePolicy("any", allowed_signers=allowed, gpg_keys=keys)
        assert (trust.verify(repo, by_ssh, either) or "").startswith("alice ")
        assert trust.verify(repo, signed, either)
        _fails(
            "SignerNotAllowed", repo, signed, SignaturePolicy("ssh", allowed_signers=allowed), another % ("gpg", "ssh")
        )

        keys.write_text("no keys")
        none = f"{_UNUSABLE}no GPG key can be imported: gpg: no valid OpenPGP data found. (give armored public keys)"
        _fails("SignaturePolicyInvalid", repo, signed, policy, none)
        keys.unlink()
        away = f"{_UNUSABLE}gpg_keys '{keys}': No such file or directory (give a file of armored keys)"
        _fails("SignaturePolicyInvalid", repo, signed, policy, away)
        for path in (None, tmp_path / "absent"):
            unusable = f"{_UNUSABLE}gpg_home '{path}' is not a directory (give gpg_home or gpg_keys)"
            _fails("SignaturePolicyInvalid", repo, signed, SignaturePolicy("gpg", gpg_home=path), unusable)
        (tmp_path / "empty").mkdir(mode=0o700)
        empty = f"{_UNUSABLE}gpg_home '{tmp_path / 'empty'}' holds no public key: gpg: WARNING: nothing exported"
        _fails("SignaturePolicyInvalid", repo, signed, SignaturePolicy("gpg", gpg_home=tmp_path / "empty"), empty)

        # Revocation: gpg prepared the certificate when it made the key; the colon keeps it from being used by accident.
        home_of_greta = Path(greta.environment["GNUPGHOME"])
        certificate = (home_of_greta / "openpgp-revocs.d" / f"{greta.fingerprint}.rev").read_text()
        armor = certificate[certificate.index(":-----BEGIN") + 1 :]
        keys.write_text(greta.public + "\n" + armor)
        _fails("SignatureInvalid", repo, signed, policy, _dated(greta, "the key was revoked"))


def _dated(signer: Signer, what: str) -> str:
    return f"commit {{}} is signed by GPG key {signer.fingerprint[-16:]}: {what} (renew it, or sign with a current key)"


def test_an_expired_gpg_key(repo: Path, tmp_path: Path) -> None:
    with servers.gpg_signer(expire="seconds=6") as brief:
        made = time.monotonic()
        keys = tmp_path / "keys.asc"
        keys.write_text(brief.public)
        policy = SignaturePolicy("gpg", gpg_keys=keys)
        signed = servers.commit(repo, {"a": "1"}, "in time", sign=brief)
        time.sleep(max(0.0, made + 7 - time.monotonic()))
        _fails("SignatureInvalid", repo, signed, policy, _dated(brief, "the key has expired"))


def test_the_anchor_only_moves_forward(repo: Path) -> None:
    first = servers.commit(repo, {"a": "1"}, "one")
    second = servers.commit(repo, {"a": "2"}, "two")
    assert trust.advance(repo, None, first) == "forward"
    assert trust.advance(repo, first, first) == "same"
    assert trust.advance(repo, first, second) == "forward"
    rewritten = servers.force_push(repo, {"a": "3"}, "rewritten")
    for anchor, head in ((second, first), (second, rewritten), ("1" * 40, second)):
        with pytest.raises(errors.Terminal) as caught:
            trust.advance(repo, anchor, head)
        assert (caught.value.reason, str(caught.value)) == (
            "HistoryRewritten",
            f"the branch was rewritten: its head {head} does not descend from the accepted commit {anchor}. This node "
            f"stays as it is. If the rewrite is intended: reconciler anchor accept {head[:12]} --reason '…'; else push a "
            f"branch that contains {anchor[:12]}",
        )
    with pytest.raises(errors.Terminal) as caught:
        trust.advance(repo, second, "1" * 40)
    assert caught.value.reason == "RevisionUnknown"
