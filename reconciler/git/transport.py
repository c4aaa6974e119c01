"""libgit2 on the wire: what `remote` runs in a limited child process. One argument in, one answer out, both JSON."""

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import pygit2
from pygit2.enums import CredentialType

from reconciler import errors
from reconciler.git import objects
from reconciler.git.failures import failure, libgit2
from reconciler.git.remote import Remote, from_json, host_and_port, matches, missing_branch, read_credential
from reconciler.reasons import Reason
from reconciler.system import files

_MAX_PACK_BYTES = 1 << 30
_MOST_BYTES = 1 << 30  # of a clone in which something was let go; above, it is copied without that
_MAX_PACKS = 50
_CHECKED_OBJECTS = 20_000
_KEPT = "refs/reconciler/kept/"


def warm(_: str) -> None:
    """For `run_child`: libraries that finding a server by its name may load, for they cannot be loaded any more later."""
    for name in ("files", "dns", "resolve", "myhostname"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(f"libnss_{name}.so.2")


def heads(argument: dict[str, Any]) -> dict[str, str]:
    """The asked refs of the remote, name → id. Argument: `remote`, `refs`, `home`."""
    remote = from_json(argument["remote"])
    _settings(remote, argument["home"])
    with tempfile.TemporaryDirectory(dir=argument["home"]) as scratch:
        repo = _empty(Path(scratch), remote)
        with _translated(remote):
            return _asked_heads(repo.remotes.create_anonymous(remote.url), remote, argument["refs"])


def fetch(argument: dict[str, Any]) -> dict[str, str]:
    """Fetch into the clone, or into a new one that then takes its place. Argument: also `repository`, `fresh`, `keep`."""
    remote, refs, keep = from_json(argument["remote"]), argument["refs"], argument["keep"]
    _settings(remote, argument["home"])
    clone = Path(argument["repository"])
    clone.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(clone.with_name(f"{clone.name}.lock"), timeout=remote.deadline):
            _sweep(clone)
            if clone.exists() and not argument["fresh"]:
                # What is wrong with the clone itself shows as an unreadable object or in words we have no reason for.
                with contextlib.suppress(_Damaged):
                    found, dropped = _into(clone, remote, refs, keep, suspect=True)
                    if dropped and files.size(clone) > _MOST_BYTES:
                        _rebuild(clone, remote)
                    return found
            return _replace(clone, remote, refs, keep)
    except filelock.Timeout:
        raise failure(Reason.GitTimeout, remote.url, f"another fetch holds {clone}.lock") from None
    except (pygit2.GitError, OSError) as error:
        _require_room(error, clone)
        raise libgit2(remote.url, str(error)) from None


def _require_room(error: Exception, clone: Path) -> None:
    """Raises errors.Transient (DiskFull) when that is why: the clone is not damaged, and the server not to blame."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    if getattr(error, "errno", None) in numbers or any(os.strerror(number) in str(error) for number in numbers):
        raise errors.Transient(
            f"no space left to fetch into {clone} (make room on its file system)", reason=Reason.DiskFull
        ) from None


class _Damaged(Exception):
    """The existing clone cannot be used: make a new one."""


class _Callbacks(pygit2.RemoteCallbacks):
    def __init__(self, remote: Remote) -> None:
        super().__init__()
        self._remote = remote
        self._given = 0
        self.server_refused = False

    def credentials(self, url: str, username_from_url: str | None, allowed_types: CredentialType) -> Any:
        remote = self._remote
        if allowed_types & CredentialType.USERNAME and not allowed_types & CredentialType.SSH_KEY:
            return pygit2.Username(username_from_url or "git")
        # libgit2 asks again for as long as the server refuses: what was refused once will be refused again.
        self._given += 1
        if self._given > 1:
            raise failure(Reason.GitAuthFailed, remote.url, "the server refuses the credential")
        if allowed_types & CredentialType.USERPASS_PLAINTEXT and remote.kind == "http":
            credential = read_credential(remote)
            if credential:
                return pygit2.UserPass(*credential)
            raise failure(Reason.GitAuthFailed, remote.url, "the server asks for a credential and no token_file is set")
        if allowed_types & CredentialType.SSH_KEY and remote.kind == "ssh":
            if remote.ssh_key is None:
                raise failure(Reason.GitAuthFailed, remote.url, "the server asks for a key and no ssh_key is set")
            if not remote.ssh_key.is_file():
                raise failure(Reason.GitRemoteInvalid, remote.url, f"ssh_key {remote.ssh_key} is not a file")
            return pygit2.Keypair(username_from_url or "git", None, str(remote.ssh_key), "")
        raise failure(
            Reason.GitAuthFailed, remote.url, "the server asks for a kind of credential that is not supported"
        )

    def certificate_check(self, certificate: None, valid: bool, host: bytes) -> bool:
        # For ssh, `valid` says whether the key is in known_hosts.
        self.server_refused = self.server_refused or not valid
        return valid

    def transfer_progress(self, stats: Any) -> None:
        if stats.received_bytes > _MAX_PACK_BYTES:
            raise errors.Terminal(
                f"{self._remote.url}: the server sends more than {_MAX_PACK_BYTES >> 20} MiB (keep large files out of Git)",
                reason=Reason.LimitExceeded,
            )


# What Landlock was told of a file holds as long as the kernel knows that file again, and on a share of a hypervisor it does not.
_UNREADABLE = (
    "look at its owner and mode; on a 9p share of a hypervisor nothing can be read from inside the walls: keep the repository "
    "on a disk of this machine, or reach it by ssh or https"
)


def _settings(remote: Remote, home: str) -> None:
    objects.isolate()
    settings = pygit2.settings
    settings.homedir = home
    settings.server_connect_timeout = int(min(remote.timeout, remote.deadline) * 1000)
    settings.server_timeout = int(min(remote.timeout, remote.deadline) * 1000)
    # Windows of 1 GiB, the default, would not fit the child's address space twice.
    settings.mwindow_size = 32 << 20
    settings.mwindow_mapped_limit = 256 << 20
    if remote.ca_file:
        try:
            settings.set_ssl_cert_locations(str(remote.ca_file), None)
        except pygit2.GitError as error:
            raise failure(Reason.GitRemoteInvalid, remote.url, f"ca_file {remote.ca_file}: {error}") from None
    if remote.kind == "file":
        try:
            list(Path(remote.url.removeprefix("file://")).iterdir())
        except PermissionError:
            raise failure(
                Reason.GitForbidden, remote.url, "the directory may not be read", advice=_UNREADABLE
            ) from None
        except OSError as error:
            raise failure(Reason.GitNotFound, remote.url, f"there is no repository: {error.strerror}") from None


def _empty(path: Path, remote: Remote) -> pygit2.Repository:
    repo = pygit2.init_repository(str(path), bare=True, initial_head=remote.ref)
    # Redirects within the origin were followed before, by `lsrefs`; libgit2 would take the credential anywhere.
    repo.config["http.followRedirects"] = "false"
    return repo


@contextlib.contextmanager
def _translated(remote: Remote, callbacks: _Callbacks | None = None, *, sending: bool = False) -> Iterator[None]:
    try:
        yield
    except errors.ReconcilerError:
        raise
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        if callbacks and callbacks.server_refused:
            if remote.kind == "http":
                raise failure(
                    Reason.GitCertificateInvalid, remote.url, "the server's certificate is not valid"
                ) from None
            host, port = host_and_port(remote.url)
            what = f"the key that {host} (port {port}) shows is not the one in {remote.known_hosts}"
            raise failure(Reason.GitHostKeyChanged, remote.url, what) from None
        _require_room(error, Path("the clone"))
        raise libgit2(remote.url, str(error), sending=sending) from None


def _asked_heads(connection: Any, remote: Remote, refs: Sequence[str]) -> dict[str, str]:
    """Connect and pick the asked refs. Raises the errors of `remote`, also for a branch that is asked and not there."""
    callbacks = _Callbacks(remote)
    with _translated(remote, callbacks):
        connection.connect(callbacks=callbacks)
        found = {head.name: str(head.oid) for head in connection.list_heads(connect=False)}
    asked = {name: oid for name, oid in found.items() if matches(name, refs) and not name.endswith("^{}")}
    odd = [name for name in asked if not pygit2.reference_is_valid_name(name)]
    if odd:
        raise failure(
            Reason.GitProtocolError, remote.url, f"the server has a ref with an invalid name: {odd[0][:100]!r}"
        )
    if remote.ref in refs and remote.ref not in asked:
        raise missing_branch(remote, found)
    return asked


# --- the clone ------------------------------------------------------------------------------------------------------


def _into(
    clone: Path, remote: Remote, refs: Sequence[str], keep: Collection[str] | None, *, suspect: bool
) -> tuple[dict[str, str], bool]:
    """Fetch into an existing bare repository: where the refs are now, and whether a commit was let go. `suspect`: what may be its own fault is
    raised as _Damaged."""
    try:
        with objects.opened(clone) as repo:
            _fetch_heads(repo, remote, refs)
            names = [name for name in repo.references if matches(name, refs)]
            fetched = {name: str(repo.references[name].peel(pygit2.Commit).id) for name in names}
            for oid in fetched.values():
                _check(repo, oid)
            dropped = _forget(repo, list(fetched.values()), keep)
            if suspect:
                _compact(repo, clone)
    except errors.ReconcilerError as error:
        if suspect and error.reason in (
            Reason.RepositoryUnusable,
            Reason.GitObjectCorrupt,
            Reason.GitProtocolError,
        ):
            raise _Damaged from None
        raise
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        _require_room(error, clone)
        if suspect:
            raise _Damaged from None
        raise libgit2(remote.url, str(error)) from None
    return fetched, dropped


def _fetch_heads(repo: pygit2.Repository, remote: Remote, refs: Sequence[str]) -> None:
    connection = repo.remotes.create_anonymous(remote.url)
    asked = _asked_heads(connection, remote, refs)
    before = {name: str(repo.references[name].target) for name in repo.references if matches(name, refs)}
    for name, oid in before.items():
        _keep(repo, oid, asked.get(name))
        if name not in asked:
            repo.references.delete(name)  # it may be in the way of a new one (`a` and `a/b`)
    if asked:
        callbacks = _Callbacks(remote)
        with _translated(remote, callbacks, sending=True):
            connection.fetch([f"+{name}:{name}" for name in asked], callbacks=callbacks)


def _keep(repo: pygit2.Repository, oid: str, successor: str | None) -> None:
    """Keep a commit whose branch moves on: it may be the one that the node still enforces after a rewrite."""
    if oid != successor:
        repo.references.create(f"{_KEPT}{oid}", oid, force=True)


def _forget(repo: pygit2.Repository, tips: Sequence[str], keep: Collection[str] | None) -> bool:
    """Drop what `_keep` kept and the branches contain after all, and with `keep` all but these. Returns whether something was let go."""

    def contained(oid: str) -> bool:
        return any(oid == tip or repo.descendant_of(tip, oid) for tip in tips)

    for oid in keep or ():
        if oid in repo and not contained(oid):
            repo.references.create(f"{_KEPT}{oid}", oid, force=True)
    dropped = False
    for name in [name for name in repo.references if name.startswith(_KEPT)]:
        oid = str(repo.references[name].target)
        if contained(oid):
            repo.references.delete(name)
        elif keep is not None and name.removeprefix(_KEPT) not in keep:
            repo.references.delete(name)
            dropped = True
    return dropped


def _check(repo: pygit2.Repository, oid: str) -> None:
    """Raise errors.Terminal (GitObjectCorrupt) unless a commit's history is there and its files match their ids.

    The files' check is bounded; what it leaves out is checked when it is read.
    """
    tree = objects.read_commit(repo, oid).tree
    try:
        for count, _ in enumerate(repo.walk(oid)):
            if count >= _CHECKED_OBJECTS:
                break
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise objects.corrupt(repo, oid, f"has a history that cannot be read: {error}") from None
    waiting, seen = [tree], {tree}
    while waiting and len(seen) < _CHECKED_OBJECTS:
        with contextlib.suppress(ValueError):  # a tree that cannot be parsed is intact, and refused when it is read
            for entry in objects.parse_tree(
                objects.read_object(repo, waiting.pop(), "tree", limit=objects.MAX_TREE_BYTES)
            ):
                if entry.oid in seen or entry.mode == b"160000":
                    continue
                seen.add(entry.oid)
                kind, size = objects.header(repo, entry.oid)
                if kind == "tree":
                    waiting.append(entry.oid)
                elif size <= objects.MAX_TREE_BYTES:
                    objects.read_object(repo, entry.oid, kind)


@contextlib.contextmanager
def _anew(clone: Path, remote: Remote) -> Iterator[Path]:
    """An empty repository beside the clone, which takes its place when it is complete."""
    fresh = Path(tempfile.mkdtemp(prefix=f"{clone.name}.new-", dir=clone.parent))
    try:
        _empty(fresh, remote)
        yield fresh
        if clone.exists() or clone.is_symlink():
            clone.rename(tempfile.mkdtemp(prefix=f"{clone.name}.old-", dir=clone.parent) + "/clone")
        fresh.rename(clone)
    finally:
        _sweep(clone)


def _copy(clone: Path, fresh: Path, *refs: str) -> None:
    pygit2.Repository(str(fresh)).remotes.create_anonymous(str(clone)).fetch(list(refs))


def _rebuild(clone: Path, remote: Remote) -> None:
    """Put a copy in its place that has only what its refs reach: what a server showed once is gone with its refs."""
    with _anew(clone, remote) as fresh:
        _copy(clone, fresh, "+refs/*:refs/*")


def _replace(clone: Path, remote: Remote, refs: Sequence[str], keep: Collection[str] | None) -> dict[str, str]:
    """Make a clone beside the place, and put it there when it is complete."""
    with _anew(clone, remote) as fresh:
        fetched, _ = _into(fresh, remote, refs, keep, suspect=False)
        if clone.is_dir():
            # As far as it can still be read: the accepted commit may be nowhere else after a rewrite.
            with contextlib.suppress(pygit2.GitError, KeyError, ValueError, OSError):
                _copy(clone, fresh, f"+{_KEPT}*:{_KEPT}*", f"+{remote.ref}:{_KEPT}replaced")
    return fetched


def _sweep(clone: Path) -> None:
    """Put back or remove what an interrupted replacement left beside the clone."""
    for left in clone.parent.glob(f"{clone.name}.old-*/clone"):
        if not clone.exists():
            left.rename(clone)
    for left in clone.glob("objects/pack/pack_git2_*"):  # libgit2's, of a fetch that was killed
        left.unlink(missing_ok=True)
    for kind in ("new", "old"):
        for left in clone.parent.glob(f"{clone.name}.{kind}-*"):
            shutil.rmtree(left, ignore_errors=True)


def _compact(repo: pygit2.Repository, clone: Path) -> None:
    """Put all objects into one pack once there are many: each fetch leaves one. Nothing is dropped, reachable or not."""
    packs = clone / "objects" / "pack"
    old = list(packs.glob("*.pack"))
    if len(old) <= _MAX_PACKS:
        return
    repo.pack(path=packs)
    new = set(packs.glob("*.pack")) - set(old)
    if len(new) == 1:
        for pack in old:
            # The index goes first: a pack without its index is ignored, an index without its pack is an error.
            pack.with_suffix(".idx").unlink(missing_ok=True)
            pack.unlink()
