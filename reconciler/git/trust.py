"""May this commit be applied: is it signed by a key we allow, and does it descend from what was accepted before.

The signature is taken out of the raw commit bytes by our own strict parser (libgit2 takes the first of several) and judged
by the field's own programs, ssh-keygen and gpg, which know expiry, revocation and algorithms.

Reasons raised, all errors.Terminal: SignatureMissing, SignatureMalformed, SignatureInvalid (altered content, expired or
revoked key), SignerNotAllowed, HistoryRewritten, SignaturePolicyInvalid (the policy's own files cannot be used), and those
of `clone`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reconciler import errors
from reconciler.git import clone
from reconciler.reasons import Reason
from reconciler.system import run, scratch

_SSH = (b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----")
_PGP = (b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----")
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """Which signatures are asked for, and whose keys are allowed.

    `allowed_signers` is OpenSSH's file (ssh-keygen(1), ALLOWED SIGNERS); `gpg_home` a GnuPG home whose public keys are the
    allowed ones, or `gpg_keys` a file of armored public keys. Mode "any" asks for either kind.
    """

    mode: Literal["none", "ssh", "gpg", "any"] = "none"
    allowed_signers: Path | None = None
    gpg_home: Path | None = None
    gpg_keys: Path | None = None


def verify(repository: Path, commit: str, policy: SignaturePolicy) -> str | None:
    """Who signed a commit: the principal and key of an SSH signature, the fingerprint and user of a GPG one.

    None when the policy asks for no signature. Expiry is judged as of now, not as of the date that the commit claims: that
    date is chosen by whoever holds the key, an expired one too. Raises errors.Terminal, see the module.
    """
    if policy.mode == "none":
        return None
    kind, signature, payload = signature_of(repository, commit)
    if policy.mode not in (kind, "any"):
        raise errors.Terminal(
            f"commit {commit} carries a {kind} signature where the policy asks for {policy.mode} (sign it as the policy asks)",
            reason=Reason.SignerNotAllowed,
        )
    with scratch.folder("reconciler-trust-") as place:
        judge = _verify_ssh if kind == "ssh" else _verify_gpg
        return judge(place, commit, signature, payload, policy)


def signature_of(repository: Path, commit: str) -> tuple[Literal["ssh", "gpg"], bytes, bytes]:
    """The kind of a commit's one signature, the armored signature, and the bytes it signs.

    Raises errors.Terminal (SignatureMissing, SignatureMalformed, GitObjectCorrupt).
    """
    try:
        raw = clone.read(repository, commit)
    except errors.Terminal as error:
        if error.reason == Reason.CommitMalformed:
            raise errors.Terminal(str(error), reason=Reason.SignatureMalformed) from None
        raise
    odd = sorted({name for name, _ in raw.headers if name.lower().startswith("gpgsig") and name != "gpgsig"})
    if odd:
        raise _malformed(commit, f"header {odd[0]!r} is not one that is checked here")
    values = raw.values("gpgsig")
    if not values:
        raise errors.Terminal(
            f"commit {commit} is not signed and the policy asks for a signature (sign it: git commit -S)",
            reason=Reason.SignatureMissing,
        )
    # commits.parse refuses a repeated header, so there is exactly one, and these are exactly its bytes.
    stored = b"gpgsig " + values[0].replace(b"\n", b"\n ") + b"\n"
    # A mergetag's own lines begin with a space, so a line that begins with `gpgsig` is the header itself.
    before, found, after = raw.data.partition(b"\n" + stored)
    if not found:
        raise _malformed(commit, "its signature header cannot be found again")
    payload = before + b"\n" + after
    armor = values[0].strip(b"\n") + b"\n"
    for kind, (begin, end) in (("ssh", _SSH), ("gpg", _PGP)):
        if armor.startswith(begin + b"\n") and armor.endswith(b"\n" + end + b"\n") and armor.count(b"-----BEGIN ") == 1:
            return ("ssh" if kind == "ssh" else "gpg"), armor, payload
    raise _malformed(commit, "its signature is neither one SSH nor one OpenPGP block")


def _malformed(commit: str, what: str) -> errors.Terminal:
    return errors.Terminal(
        f"commit {commit}: {what} (make the commit anew with git itself)", reason=Reason.SignatureMalformed
    )


def _unusable(what: str) -> errors.Terminal:
    return errors.Terminal(f"the signature policy cannot be used: {what}", reason=Reason.SignaturePolicyInvalid)


# --- SSH ------------------------------------------------------------------------------------------------------------


def _verify_ssh(scratch: Path, commit: str, signature: bytes, payload: bytes, policy: SignaturePolicy) -> str:
    allowed = policy.allowed_signers
    if allowed is None or not allowed.is_file():
        raise _unusable(f"allowed_signers {str(allowed)!r} is not a file (give OpenSSH's allowed_signers file)")
    blob = scratch / "signature"
    blob.write_bytes(signature)
    check = _ssh_keygen("check-novalidate", "-n", "git", "-s", blob, stdin=payload)
    if check.code != 0:
        raise errors.Terminal(
            f"commit {commit}: the SSH signature does not fit the commit: {_words(check)} (the commit was altered; do not use it)",
            reason=Reason.SignatureInvalid,
        )
    key = (re.findall(rb"SHA256:[A-Za-z0-9+/=]+", check.stdout) or [b"unknown key"])[0].decode()
    found = _ssh_keygen("find-principals", "-f", allowed, "-s", blob)
    for principal in found.stdout.decode(errors="replace").splitlines() if found.code == 0 else ():
        if not principal or principal.startswith("-"):
            continue
        if _signed_by(principal, "git", allowed, blob, payload):
            return f"{principal} {key}"
    # The file itself says whether the key is unknown or known and out of its time.
    if _listed(scratch, allowed, blob):
        raise errors.Terminal(
            f"commit {commit} is signed by {key}, which {allowed} lists but does not allow now for git "
            f"(expired, not yet valid, or for other namespaces: renew its line, or sign with a current key)",
            reason=Reason.SignatureInvalid,
        )
    raise errors.Terminal(
        f"commit {commit} is signed by {key}, which {allowed} does not list (sign with an allowed key, or add this one)",
        reason=Reason.SignerNotAllowed,
    )


def verify_bytes(payload: bytes, signature: bytes, principal: str, namespace: str, allowed_signers: Path) -> None:
    """Check an armored SSH signature of `payload`: that of a key which `allowed_signers` allows this principal now.

    `principal` holds no pattern. Raises errors.Terminal (SignatureInvalid: it does not belong to this content;
    SignerNotAllowed: it does, and the key is not one of this principal's).
    """
    with scratch.folder("reconciler-trust-") as place:
        blob = place / "signature"
        blob.write_bytes(signature)
        if _signed_by(principal, namespace, allowed_signers, blob, payload):
            return
        check = _ssh_keygen("check-novalidate", "-n", namespace, "-s", blob, stdin=payload)
    if check.code != 0:
        raise errors.Terminal(
            f"the signature does not belong to this content: {_words(check)} (it was altered on the way, or made up)",
            reason=Reason.SignatureInvalid,
        )
    key = (re.findall(rb"SHA256:[A-Za-z0-9+/=]+", check.stdout) or [b"unknown key"])[0].decode()
    raise errors.Terminal(
        f"it is signed by {key}, which is not the key of {principal} (somebody else speaks, or the key was changed)",
        reason=Reason.SignerNotAllowed,
    )


def _signed_by(principal: str, namespace: str, allowed: Path, blob: Path, payload: bytes) -> bool:
    return _ssh_keygen("verify", "-n", namespace, "-f", allowed, "-I", principal, "-s", blob, stdin=payload).code == 0


def _listed(scratch: Path, allowed: Path, blob: Path) -> bool:
    """Whether allowed_signers has the signature's key with whatever options: asked of a copy without any."""
    bare = scratch / "without-options"
    lines = []
    for line in allowed.read_text(errors="replace").splitlines():
        match = re.match(r"\s*[^#\s]\S*\s+(?:.*\s)?((?:sk-)?(?:ssh|ecdsa)-\S+\s+AAAA\S+)", line)
        lines += [f"someone {match[1]}"] if match else []
    bare.write_text("\n".join(lines) + "\n")
    return _ssh_keygen("find-principals", "-f", bare, "-s", blob).code == 0


def _ssh_keygen(what: str, *words: str | Path, stdin: bytes = b"") -> run.Completed:
    return run.program(["ssh-keygen", "-Y", what, *words], stdin=stdin, seconds=_SECONDS)


def _words(done: run.Completed) -> str:
    text = (done.stderr or done.stdout).decode(errors="replace").strip()
    return text.splitlines()[-1][:200] if text else f"exit code {done.code}"


# --- GPG ------------------------------------------------------------------------------------------------------------


def _verify_gpg(scratch: Path, commit: str, signature: bytes, payload: bytes, policy: SignaturePolicy) -> str:
    home, blob, signed = scratch / "home", scratch / "signature.asc", scratch / "payload"
    home.mkdir(mode=0o700)
    blob.write_bytes(signature)
    signed.write_bytes(payload)
    imported = _gpg(home, "--import", stdin=_allowed_keys(policy))
    if b"[GNUPG:] IMPORT_OK" not in imported.stdout:
        raise _unusable(f"no GPG key can be imported: {_words(imported)} (give armored public keys)")
    done = _gpg(home, "--verify", blob, signed)
    rows = [
        line.split()[1:] for line in done.stdout.decode(errors="replace").splitlines() if line.startswith("[GNUPG:] ")
    ]
    status: dict[str, list[list[str]]] = {}
    for row in rows:
        status.setdefault(row[0], []).append(row[1:])
    if "NO_PUBKEY" in status:
        raise errors.Terminal(
            f"commit {commit} is signed by GPG key {status['NO_PUBKEY'][0][0]}, which is not among the allowed keys "
            "(sign with an allowed key, or add this one)",
            reason=Reason.SignerNotAllowed,
        )
    for word, what in (
        ("REVKEYSIG", "the key was revoked"),
        ("EXPKEYSIG", "the key has expired"),
        ("EXPSIG", "the signature has expired"),
    ):
        if word in status:
            raise errors.Terminal(
                f"commit {commit} is signed by GPG key {status[word][0][0]}: {what} (renew it, or sign with a current key)",
                reason=Reason.SignatureInvalid,
            )
    good, valid = status.get("GOODSIG", []), status.get("VALIDSIG", [])
    if done.code != 0 or len(status.get("NEWSIG", [])) != 1 or len(good) != 1 or len(valid) != 1:
        reason = Reason.SignatureInvalid if "BADSIG" in status else Reason.SignatureMalformed
        raise errors.Terminal(
            f"commit {commit}: gpg finds no single good signature: {_words(done)} (the commit was altered; do not use it)",
            reason=reason,
        )
    return f"{valid[0][0]} {' '.join(good[0][1:])}"


def _allowed_keys(policy: SignaturePolicy) -> bytes:
    if policy.gpg_keys is not None:
        try:
            return policy.gpg_keys.read_bytes()
        except OSError as error:
            raise _unusable(
                f"gpg_keys {str(policy.gpg_keys)!r}: {error.strerror} (give a file of armored keys)"
            ) from None
    if policy.gpg_home is None or not policy.gpg_home.is_dir():
        raise _unusable(f"gpg_home {str(policy.gpg_home)!r} is not a directory (give gpg_home or gpg_keys)")
    exported = _gpg(policy.gpg_home, "--export")
    if not exported.stdout:
        raise _unusable(f"gpg_home {str(policy.gpg_home)!r} holds no public key: {_words(exported)}")
    return exported.stdout


def _gpg(home: Path, *words: str | Path, stdin: bytes = b"") -> run.Completed:
    # Status lines go to stdout; --export writes its keys there and has no status of its own.
    status = [] if words[0] == "--export" else ["--status-fd", "1"]
    options: list[str | Path] = [
        "--no-options",
        "--homedir",
        home,
        "--batch",
        "--no-tty",
        "--quiet",
        "--no-permission-warning",
        "--lock-never",
    ]
    options += [
        "--no-autostart",
        "--disable-dirmngr",
        "--no-auto-key-retrieve",
        "--no-auto-check-trustdb",
        "--trust-model",
        "always",
    ]
    return run.program(["gpg", *options, *status, *words], stdin=stdin, seconds=_SECONDS)


# --- the anchor -----------------------------------------------------------------------------------------------------


def advance(repository: Path, anchor: str | None, head: str) -> Literal["same", "forward"]:
    """How `head` relates to the last accepted commit (None: nothing was accepted yet, any head is forward).

    Raises errors.Terminal (HistoryRewritten) when `head` does not descend from `anchor`, and as clone.is_ancestor does.
    """
    if anchor is None:
        return "forward"
    if anchor == head:
        return "same"
    try:
        descends = clone.is_ancestor(repository, anchor, head)
    except errors.Terminal as error:
        # An anchor that the clone does not have cannot be in head's history, all of which was fetched.
        if error.reason != Reason.RevisionUnknown or anchor not in str(error):
            raise
        descends = False
    if descends:
        return "forward"
    raise errors.Terminal(
        f"the branch was rewritten: its head {head} does not descend from the accepted commit {anchor}. This node stays as it "
        f"is. If the rewrite is intended: reconciler anchor accept {head[:12]} --reason '…'; else push a branch that "
        f"contains {anchor[:12]}",
        reason=Reason.HistoryRewritten,
    )
