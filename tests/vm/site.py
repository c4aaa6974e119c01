"""A site whose nodes are machines: one, or two with two wires between them. Their images are genuine ones of Kolla."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest

from tests.git import servers
from tests.images import build, kolla
from tests.support import wheel
from tests.vm.kept import loaded
from tests.vm.machine import CARDS, Machine
from tests.vm.node import Node
from tests.vm.program import PROGRAM, install

# Fetched by each machine from the shared folder, which is a 9p share: nothing there can be read from inside a child's walls.
_URL = "file:///srv/site.git"
_FETCH = "git --git-dir /srv/site.git fetch -q /mnt/share/site.git +main:main"
_NETWORK = "[Match]\nName=eth0\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nAddress={}/24\n"


@dataclass(frozen=True)
class Site:
    """The nodes by name, and the site's work tree, whose repository all have a copy of."""

    nodes: dict[str, Node]
    tree: Path
    repository: Path

    def write(self, files: Mapping[str, str]) -> None:
        """Put files into the work tree."""
        for name, content in files.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(content)

    def commit(self, files: Mapping[str, str], message: str) -> str:
        """Commit into the site's repository; returns the commit."""
        self.write(files)
        servers.git(self.tree, "add", "-A")
        servers.git(self.tree, "commit", "-qm", message)
        servers.git(self.tree, "push", "-q", str(self.repository), "HEAD:main")
        return self.head

    @property
    def head(self) -> str:
        """The newest commit."""
        return servers.git(self.tree, "rev-parse", "HEAD")

    def edit(self, name: str, old: str, new: str, message: str) -> str:
        """Commit another text in the place of one that is in a file."""
        before = (self.tree / name).read_text()
        assert old in before, before
        return self.commit({name: before.replace(old, new)}, message)

    def converge(self, commit: str, *names: str, seconds: float = 3600.0) -> None:
        """Tell the nodes (all, or some) to look, and wait until the commit is in force there."""
        chosen = [self.nodes[name] for name in names or self.nodes]
        for node in chosen:
            node.run(f"{_FETCH} && systemctl reload reconciler")
        for node in chosen:
            node.machine.wait(f"{commit} is in force", lambda node=node: node.converged(commit), seconds)


def genuine(engine_url: str, images: Sequence[str], *sets: str) -> list[str]:
    """The full names of genuine images; skips the test where the engine has not all. `sets`: those of `tests.images.build` that bring them."""
    names = [kolla.default_target().name(image) for image in images]
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        absent = [name for name in names if not build.present(client, name)]
    if absent:
        how = " ".join(["python -m tests.images.build", *(f"--set {name}" for name in sets)])
        pytest.skip(f"needs the images {', '.join(absent)} (`{how}`)")
    return names


@contextlib.contextmanager
def site(
    suite: str,
    engine_url: str,
    kind: str,
    images: Sequence[str],
    addresses: Mapping[str, str],
    files: Mapping[str, str],
) -> Iterator[Site]:
    """All machines up, the program installed, the images in their engines, and `files` the first commit, in force on each.

    `kind` is what the machine with these images is called in the cache. `addresses` are those of the nodes on the first wire, eth0, by name. A wire of a machine that is alone leads to nobody.
    """
    with TemporaryDirectory(prefix="vm-") as name, ThreadPoolExecutor(len(addresses)) as pool:
        folder = Path(name)
        share, tree = folder / "share", folder / "site"
        (share / "wheels").mkdir(parents=True)
        wheel.build(share / "wheels")
        servers.git(folder, "init", "-q", "-b", "main", str(tree))
        servers.make_repo(share / "site.git")
        made = loaded(suite, engine_url, kind, images)
        machines = []
        for end in addresses:
            other = next((each for each in addresses if each != end), "nobody")
            wires = [(folder / f"{end}.{card}", folder / f"{other}.{card}") for card in range(CARDS)]
            machines.append(Machine(folder / end, made, name=end, share=share, wires=wires))
        try:
            list(pool.map(_start, machines))
            found = Site({m.name: Node(m, PROGRAM) for m in machines}, tree, share / "site.git")
            _set_up(found, addresses, files, pool)
            yield found
        finally:
            for machine in machines:
                machine.stop()


def _start(machine: Machine) -> None:
    machine.start()
    install(machine)


def _set_up(site: Site, addresses: Mapping[str, str], files: Mapping[str, str], pool: ThreadPoolExecutor) -> None:
    keys = []
    for name, node in site.nodes.items():
        keys.append(" ".join(node.make_host_key().split()[:2]))
        node.machine.put("/etc/systemd/network/05-eth0.network", _NETWORK.format(addresses[name]))
        node.run("networkctl reload && networkctl reconfigure eth0")
    rules = f"creation_rules:\n  - path_regex: passwords.*\n    age: '{','.join(keys)}'\n"
    site.write({**files, ".sops.yaml": rules})
    subprocess.run(
        [sys.executable, "-m", "reconciler", "secrets", "generate", site.tree], check=True, capture_output=True
    )
    site.commit({}, "The site")
    list(pool.map(_make_node, site.nodes.values()))
    site.converge(site.head)


def _make_node(node: Node) -> None:
    node.run(f"git init -q --bare -b main /srv/site.git && {_FETCH}")
    words = f"{PROGRAM} node install --url {_URL} --host {node.machine.name} --mode apply"
    done = node.run(words, seconds=1800, check=False)
    assert done.code == 0, done.stdout + done.stderr
