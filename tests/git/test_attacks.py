"""A git server that attacks: what it may show a node, and what the node makes of it. The rows of docs/security.md, Attacks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import settings
from reconciler.source.follow import Follower
from reconciler.state import StateDirectory
from tests.git import servers
from tests.git.servers import Signer


class Server:
    """A server with one repository, of which it shows what it likes, and a node that demands alice's or bob's signature."""

    def __init__(self, folder: Path) -> None:
        self.alice, self.bob, self.mallory = (servers.ssh_signer(folder, name) for name in ("alice", "bob", "mallory"))
        signers = folder / "allowed_signers"
        signers.write_text("".join(f"{n} {' '.join(s.public.split()[:2])}\n" for n, s in (("alice", self.alice), ("bob", self.bob))))  # fmt: skip
        self.repository = servers.make_repo(folder / "site.git")
        (folder / "settings.toml").write_text(
            f'host = "n1"\nstate_dir = "{folder}/state"\n[git]\nurl = "{self.repository.as_uri()}"\n'
            f'[trust]\nsignatures = "ssh"\nallowed_signers = "{signers}"\n'
        )
        self._settings = settings.load(folder / "settings.toml")
        self.validated: list[str] = []
        self.restart()

    def restart(self) -> None:
        """The node's program starts anew."""
        self.state = StateDirectory(self._settings.state_dir)
        self.follower = Follower(self._settings, self.state, self.validated.append)

    def commit(self, text: str, sign: Signer | None = None, **more: object) -> str:
        return servers.commit(self.repository, {"globals.yml": text}, text, sign=sign or self.alice, **more)  # type: ignore[arg-type]

    def show(self, commit: str) -> None:
        """The branch is at that commit, as far as the server says."""
        servers.git(self.repository, "update-ref", "refs/heads/main", commit)

    def look(self) -> tuple[str, str]:
        """What is in force afterwards, and why the head is not: "" when it is."""
        self.follower.look()
        refusal = self.follower.refusal
        return self.follower.in_force[0], refusal.reason if refusal else ""


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def _back(server: Server, first: str, second: str) -> str:
    return first


def _rewritten(server: Server, first: str, second: str) -> str:
    return server.commit("another second", parents=[first])


def _without_history(server: Server, first: str, second: str) -> str:
    return server.commit("no parents", parents=[])


def _another_repository(server: Server, first: str, second: str) -> str:
    """Of another site, signed by the same people."""
    other = servers.make_repo(server.repository.with_name("other.git"))
    servers.commit(other, {"globals.yml": "other"}, "other", sign=server.alice)
    head = servers.commit(other, {"globals.yml": "other 2"}, "other 2", sign=server.alice)
    servers.git(server.repository, "fetch", "-q", str(other), "main:refs/heads/other")
    return head


def _a_foreign_signature(server: Server, first: str, second: str) -> str:
    return server.commit("mallory's", server.mallory)


def _no_signature(server: Server, first: str, second: str) -> str:
    return servers.commit(server.repository, {"globals.yml": "nobody's"}, "nobody's")


def _the_signature_of_another_commit(server: Server, first: str, second: str) -> str:
    """The tree of one, with what another was signed for."""
    evil = servers.commit(server.repository, {"globals.yml": "evil"}, "evil")
    tree = servers.git(server.repository, "rev-parse", f"{evil}^{{tree}}").strip()
    text = servers.git(server.repository, "cat-file", "commit", server.commit("third", parents=[second]))
    _, _, rest = text.partition("\n")
    return servers.raw_object(server.repository, "commit", f"tree {tree}\n{rest}".encode())


def _a_tag_in_its_place(server: Server, first: str, second: str) -> str:
    head = server.commit("third", parents=[second])
    data = f"object {head}\ntype commit\ntag v1\ntagger x <x@example.org> 1700000000 +0000\n\nx\n"
    return servers.raw_object(server.repository, "tag", data.encode())


ATTACKS: dict[str, tuple[Callable[[Server, str, str], str], str]] = {
    "roll-back": (_back, "HistoryRewritten"),
    "rewrite": (_rewritten, "HistoryRewritten"),
    "a history of its own": (_without_history, "HistoryRewritten"),
    "cross-repository": (_another_repository, "HistoryRewritten"),
    "a commit of its own": (_a_foreign_signature, "SignerNotAllowed"),
    "an unsigned commit": (_no_signature, "SignatureMissing"),
    "mix-and-match": (_the_signature_of_another_commit, "SignatureInvalid"),
    "a tag for a commit": (_a_tag_in_its_place, ""),
}


# One of a kind in the default run: each look starts several children.
QUICK = ("roll-back", "mix-and-match")


@pytest.mark.parametrize(
    "attack", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ATTACKS]
)
def test_what_a_server_shows_does_not_count(server: Server, attack: str) -> None:
    make, reason = ATTACKS[attack]
    first = server.commit("first")
    second = server.commit("second")
    assert server.look() == (second, "")
    server.validated.clear()
    shown = make(server, first, second)
    servers.git(server.repository, "update-ref", "--no-deref", "refs/heads/main", second)
    (server.repository / "refs/heads/main").write_text(f"{shown}\n")  # git itself refuses a tag there
    server.restart()  # it has not forgotten
    assert server.look() == (second, reason)
    assert server.validated == [], "not even looked at"


@pytest.mark.slow
def test_objects_are_what_their_names_say(server: Server) -> None:
    """Content that is put in the place of another is noticed by its hash, signature or not."""
    first = server.commit("first")
    assert server.look() == (first, "")
    second = server.commit("second")
    blob, evil = (
        servers.git(server.repository, "rev-parse", f"{second}:globals.yml").strip(),
        servers.raw_object(server.repository, "blob", b"evil"),
    )
    place, other = (server.repository / "objects" / oid[:2] / oid[2:] for oid in (blob, evil))
    place.chmod(0o644)
    place.write_bytes(other.read_bytes())
    in_force, _ = server.look()
    assert in_force == first and server.validated == [first]


@pytest.mark.slow
def test_a_frozen_branch_is_a_quiet_day_until_it_moves(server: Server) -> None:
    """A server that shows the old tip cannot be told from one that nobody pushed to; nothing is lost, and nothing goes back."""
    first = server.commit("first")
    assert server.look() == (first, "")
    second = server.commit("second")
    server.show(first)
    assert server.look() == (first, "")
    server.show(second)
    assert server.look() == (second, "")
    server.show(first)
    assert server.look() == (second, "HistoryRewritten")


def test_a_new_host_believes_the_commit_that_it_was_given(server: Server) -> None:
    """`anchor accept` before the first pass: another repository that the same people sign does not come in."""
    root = server.commit("root")
    server.follower.accept(root, "known from elsewhere")
    server.show(_another_repository(server, root, root))
    assert server.look() == (root, "HistoryRewritten")
