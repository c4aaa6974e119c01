"""The remote repository: `poll` asks where its branches are, `fetch` brings them into a bare clone.

Over http(s) a poll is one small request from this process (`lsrefs`). Everything else, and every fetch, is libgit2's work
in a limited child process (`transport`), because nothing but the end of its process stops libgit2 on a dripping server.
Tokens are read from their file at each use, by the process that uses them, and are in no argument, message or log.

Reasons raised. errors.Transient: GitUnreachable, GitTimeout, GitProtocolError, GitRateLimited (`retry_after` from the
server), GitServerError. errors.Terminal: GitCertificateInvalid, GitHostKeyChanged, GitHostKeyUnknown, GitAuthFailed,
GitForbidden, GitNotFound, GitEmptyRepository, GitBranchMissing, GitRemoteInvalid (the settings themselves: an unknown kind
of URL, a password inside it, a file that cannot be read), GitObjectCorrupt (what the server sends does not fit its ids,
even in a fresh clone), LimitExceeded.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from reconciler import errors, secret
from reconciler.git import content, refnames
from reconciler.git.failures import failure
from reconciler.reasons import Reason
from reconciler.system import run, scratch, walls

if TYPE_CHECKING:
    from reconciler.git import lsrefs

_CHILD_MEMORY = 2 << 30


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository and how to reach it. https, http, ssh (`ssh://` and `user@host:path`), `file://` and plain paths.

    `token_file` (with `username`) is for http(s), `ssh_key` and `known_hosts` for ssh; `ca_file` replaces the system's CAs.
    `timeout`: seconds for one answer (a whole http poll; each wait of a fetch). `deadline`: seconds for everything.
    """

    url: str
    branch: str = "main"
    token_file: Path | None = None
    username: str = "oauth2"
    ca_file: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    timeout: float = 20
    deadline: float = 120

    @property
    def ref(self) -> str:
        """The full name of the branch."""
        return f"refs/heads/{self.branch}"

    @property
    def kind(self) -> Literal["http", "ssh", "file"]:
        """How the URL is spoken to. Raises errors.Terminal (GitRemoteInvalid)."""
        return _kind(self.url)

    @property
    def port(self) -> int:
        """The TCP port that it is spoken to on."""
        if self.kind == "ssh":
            return host_and_port(self.url)[1]
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)


def poll(remote: Remote, refs: Sequence[str] | None = None) -> dict[str, str]:
    """Full ref name → commit id (40 hex digits), for the asked refs that exist.

    `refs` are full names (default: the remote's branch); a name also stands for everything below it
    (`refs/heads/testing` gives `refs/heads/testing/x`). When the remote's branch is asked for it must exist. For repeated
    polls use `Poller`, which keeps its connection. Raises the errors of the module.
    """
    with Poller(remote) as poller:
        return poller.poll(refs)


class Poller:
    """Polls one remote again and again over a kept connection. A context manager; not for several threads at once."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._client: lsrefs.Client | None = None
        if remote.kind == "http":
            # Only here: a child that fetches needs no HTTP client of ours, which would be a quarter of its start.
            from reconciler.git.lsrefs import Client

            ca_file = str(_readable(remote, remote.ca_file, "ca_file")) if remote.ca_file else None
            self._client = Client(remote.url, ca_file=ca_file, timeout=min(remote.timeout, remote.deadline))

    def __enter__(self) -> "Poller":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._client:
            self._client.close()

    def poll(self, refs: Sequence[str] | None = None) -> dict[str, str]:
        """As the function `poll`."""
        asked = _asked(self.remote, refs)
        if self._client and (found := self._over_http(self._client, asked)) is not None:
            return found
        answer = _in_child("heads", replace(self.remote, url=self.url), {"refs": asked})
        return {str(name): str(oid) for name, oid in answer.items()}

    @property
    def url(self) -> str:
        """Where the repository turned out to be after redirects within its origin."""
        return self._client.url if self._client else self.remote.url

    def _over_http(self, client: "lsrefs.Client", asked: list[str]) -> dict[str, str] | None:
        """None: the server does not speak protocol v2."""
        from reconciler.git.lsrefs import NotVersion2

        credential = read_credential(self.remote)
        try:
            found = client.refs(asked, credential=credential)
            refs = {name: oid for name, oid in found.items() if matches(name, asked)}
            if self.remote.ref in asked and self.remote.ref not in refs:
                # Only now is it worth a second question: nothing at all, or not this branch.
                raise missing_branch(self.remote, client.refs([], credential=credential, first_only=True))
        except NotVersion2:
            return None
        return refs


def fetch(
    remote: Remote,
    repository: Path,
    refs: Sequence[str] | None = None,
    *,
    fresh: bool = False,
    keep: Iterable[str] | None = None,
) -> dict[str, str]:
    """Bring the asked refs (as for `poll`) with their history into the bare clone at `repository`; returns name → commit id.

    The clone is made when there is none; a half-done or damaged one, or any with `fresh`, is replaced by a new one that was
    complete before it took the place. Branches are overwritten: judging a rewritten one is trust.advance's work, and the
    commits they were at before stay in the clone; with `keep` only these do, so that a server which shows another history each time fills
    no disk. Raises the errors of the module.
    """
    asked = _asked(remote, refs)
    url = remote.url
    if remote.kind == "http":
        # libgit2 knows no Retry-After and few reasons, so a short question comes first.
        with Poller(remote) as poller:
            poller.poll(asked)
            url = poller.url
    kept = None if keep is None else sorted({oid for oid in keep if oid})
    argument = {"refs": asked, "repository": str(repository.absolute()), "fresh": fresh, "keep": kept}
    answer = _in_child("fetch", replace(remote, url=url), argument)
    return {str(name): str(oid) for name, oid in answer.items()}


def read_credential(remote: Remote) -> tuple[str, str] | None:
    """(user name, token) as the token file has it now. Raises errors.Terminal (GitRemoteInvalid)."""
    if remote.token_file is None:
        return None
    try:
        token = remote.token_file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        token = ""
    except OSError as error:
        raise failure(
            Reason.GitRemoteInvalid, remote.url, f"token_file {remote.token_file}: {error.strerror}"
        ) from None
    if not token or re.search(r"[\x00-\x20\x7f]", token):
        raise failure(
            Reason.GitRemoteInvalid, remote.url, f"token_file {remote.token_file} does not hold one line with a token"
        )
    secret.keep([secret.Secret(token)])
    return remote.username, token


def matches(name: str, asked: Sequence[str]) -> bool:
    """Whether a ref is one of the asked names or below one of them."""
    return any(name == ref or name.startswith(ref.rstrip("/") + "/") for ref in asked)


def missing_branch(remote: Remote, others: object) -> errors.ReconcilerError:
    """The error for a branch that is not there, given whether anything else is."""
    if others:
        return failure(Reason.GitBranchMissing, remote.url, f"the repository has no branch {remote.branch!r}")
    return failure(Reason.GitEmptyRepository, remote.url, "the repository is empty")


def _asked(remote: Remote, refs: Sequence[str] | None) -> list[str]:
    asked = list(refs) if refs is not None else [remote.ref]
    for ref in asked:
        if not ref.startswith("refs/") or not refnames.is_valid(ref.rstrip("/")):
            raise failure(Reason.GitRemoteInvalid, remote.url, f"{ref!r} is not the full name of a branch or tag")
    return asked


def _kind(url: str) -> Literal["http", "ssh", "file"]:
    if re.search(r"[\x00-\x20\x7f]", url):
        raise failure(Reason.GitRemoteInvalid, "the url", "it contains a space or control character")
    if url.startswith(("https://", "http://", "ssh://")):
        try:
            parts = urlsplit(url)
            host, password, _ = parts.hostname, parts.password, parts.port
        except ValueError as error:
            raise failure(Reason.GitRemoteInvalid, url, str(error)) from None
        secret = password if parts.scheme == "ssh" else "@" in parts.netloc
        if secret:
            raise failure(
                Reason.GitRemoteInvalid, url, "the url contains a user name or password: put the token in token_file"
            )
        if not host or parts.query or parts.fragment:
            raise failure(Reason.GitRemoteInvalid, url, "the url has no host, or a query or fragment")
        return "ssh" if parts.scheme == "ssh" else "http"
    if url.startswith(("file:///", "/")):
        return "file"
    if re.fullmatch(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:[^:].*", url):
        return "ssh"
    raise failure(
        Reason.GitRemoteInvalid, url, "the url is none of https://, http://, ssh://, user@host:path, file:// and a path"
    )


def _readable(remote: Remote, path: Path, setting: str) -> Path:
    try:
        path.open("rb").close()
    except OSError as error:
        raise failure(Reason.GitRemoteInvalid, remote.url, f"{setting} {path}: {error.strerror}") from None
    return path


# --- the child ------------------------------------------------------------------------------------------------------


def _in_child(function: str, remote: Remote, argument: dict[str, object]) -> dict[str, str]:
    """Run transport.`function` in a limited process with a home directory that holds the known host keys only."""
    with scratch.folder("reconciler-git-") as place:
        home = str(place)
        if remote.kind == "ssh":
            (place / ".ssh").mkdir()
            (place / ".ssh" / "known_hosts").write_text(_known_keys(remote))
        try:
            answer: dict[str, str] = run.python(
                f"reconciler.git.transport:{function}",
                {**argument, "remote": to_json(remote), "home": home},
                limits=run.Limits(
                    seconds=remote.deadline, cpu_seconds=max(10, int(remote.deadline)), memory=_CHILD_MEMORY
                ),
                answers=dict[str, str],
                wall=_wall(remote, home, argument.get("repository")),
            )
        except errors.Transient as error:
            if error.reason == Reason.DeadlineExceeded:
                raise failure(
                    Reason.GitTimeout, remote.url, f"the {function} did not end within {remote.deadline:g} s"
                ) from None
            raise
    if odd := [oid for oid in answer.values() if not re.fullmatch(r"[0-9a-f]{40}", oid)]:
        raise failure(Reason.GitProtocolError, remote.url, f"{odd[0][:60]!r} is no commit id")
    return answer


def _wall(remote: Remote, home: str, repository: object) -> walls.Wall:
    """Speak to this server; read its token, key and authorities; write the clone, and what is made beside it."""
    files = (remote.token_file, remote.ca_file, remote.ssh_key)
    read = [str(path.absolute()) for path in files if path]
    write = [home]
    if repository:
        folder = Path(str(repository)).parent
        folder.mkdir(parents=True, exist_ok=True)
        write.append(str(folder))
    if remote.kind == "file":
        there = Path(remote.url.removeprefix("file://")).absolute()
        places = [str(there), *map(str, content.repository_places(there))]
        return walls.Wall((*read, *places), tuple(write), sealed=False)
    ports = (remote.port, 53)
    return walls.Wall(tuple(read), tuple(write), sealed=False, network=True, ports=ports)


def to_json(remote: Remote) -> dict[str, object]:
    """A remote for a child process; `from_json` reads it back. Holds paths of secrets, never secrets."""
    names = ("url", "branch", "token_file", "username", "ca_file", "ssh_key", "known_hosts", "timeout", "deadline")
    values = {name: getattr(remote, name) for name in names}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def from_json(data: dict[str, object]) -> Remote:
    """A remote from what `to_json` gave."""
    paths = {"token_file", "ca_file", "ssh_key", "known_hosts"}
    return Remote(**{name: Path(str(value)) if name in paths and value else value for name, value in data.items()})  # type: ignore[arg-type]


def host_and_port(url: str) -> tuple[str, int]:
    """Where an ssh URL of either form leads."""
    if url.startswith("ssh://"):
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or 22
    return url.partition("@")[2].partition(":")[0], 22


def _known_keys(remote: Remote) -> str:
    """The lines of known_hosts that are about this server, for libgit2 (which stops at the first line it cannot read).

    Raises errors.Terminal (GitHostKeyUnknown) when there is none, GitRemoteInvalid when the file cannot be read.
    """
    host, port = host_and_port(remote.url)
    if remote.known_hosts is None:
        raise failure(
            Reason.GitHostKeyUnknown, remote.url, "known_hosts is not set, so no key of the server can be trusted"
        )
    _readable(remote, remote.known_hosts, "known_hosts")
    name = host if port == 22 else f"[{host}]:{port}"
    found = run.program(["ssh-keygen", "-F", name, "-f", remote.known_hosts], seconds=20)
    rows = [line.split() for line in found.stdout.decode(errors="replace").splitlines() if not line.startswith("#")]
    revoked = {row[3] for row in rows if row[:1] == ["@revoked"] and len(row) > 3}
    keys = [
        f"{name} {row[1]} {row[2]}\n"
        for row in rows
        if len(row) > 2 and not row[0].startswith("@") and row[2] not in revoked
    ]
    if not keys:
        raise failure(Reason.GitHostKeyUnknown, remote.url, f"{remote.known_hosts} has no valid key for {name}")
    return "".join(keys)
