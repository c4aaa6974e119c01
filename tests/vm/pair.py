"""Two machines with two wires between them, both nodes of one site, with genuine images of Kolla."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.git import servers
from tests.support import wheel
from tests.vm.disk import disk
from tests.vm.machine import Machine
from tests.vm.node import Node, save
from tests.vm.program import PROGRAM, install

ADDRESSES = {"lb1": "192.0.2.1", "lb2": "192.0.2.2"}  # on the first wire, eth0
_NETWORK = "[Match]\nName=eth0\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nAddress={}/24\n"


@dataclass(frozen=True)
class Pair:
    """The nodes by name, and the site's work tree, whose repository both read."""

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

    def converge(self, commit: str, *names: str, seconds: float = 1200.0) -> None:
        """Tell the nodes (all, or some) to look, and wait until the commit is in force there."""
        chosen = [self.nodes[name] for name in names or self.nodes]
        for node in chosen:
            node.run("systemctl reload reconciler")
        for node in chosen:
            node.machine.wait(f"{commit} is in force", lambda node=node: node.converged(commit), seconds)


@contextlib.contextmanager
def pair(suite: str, engine_url: str, images: Sequence[str], files: Mapping[str, str]) -> Iterator[Pair]:
    """Both machines up, the program installed and the images loaded, and `files` the first commit, in force on both."""
    with TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        share, tree = folder / "share", folder / "site"
        (share / "wheels").mkdir(parents=True)
        wheel.build(share / "wheels")
        save(engine_url, images, share / "images.tar")
        servers.git(folder, "init", "-q", "-b", "main", str(tree))
        servers.make_repo(share / "site.git")
        plain = disk(suite)
        # What is the same on both is installed once.
        first = Machine(folder / "first", plain, shares={"share": share})
        machines = []
        try:
            first.start()
            first.run("docker load -q -i /mnt/share/images.tar", seconds=3600)
            install(first)
            installed = replace(plain, image=first.power_off(), form="qcow2")
            for end, other in (ADDRESSES, reversed(ADDRESSES)):
                wires = [(folder / f"{end}.{card}", folder / f"{other}.{card}") for card in range(2)]
                machines.append(
                    Machine(folder / end, installed, name=end, memory=1536, shares={"share": share}, wires=wires)
                )
                machines[-1].start()
            found = Pair({m.name: Node(m, PROGRAM) for m in machines}, tree, share / "site.git")
            _set_up(found, files)
            yield found
        finally:
            for machine in (first, *machines):
                machine.stop()


def _set_up(pair: Pair, files: Mapping[str, str]) -> None:
    keys = []
    for name, node in pair.nodes.items():
        keys.append(" ".join(node.make_host_key().split()[:2]))
        node.machine.put("/etc/systemd/network/05-eth0.network", _NETWORK.format(ADDRESSES[name]))
        node.run("networkctl reload && networkctl reconfigure eth0")
    rules = f"creation_rules:\n  - path_regex: passwords.*\n    age: '{','.join(keys)}'\n"
    pair.write({**files, ".sops.yaml": rules})
    subprocess.run(
        [sys.executable, "-m", "reconciler", "secrets", "generate", pair.tree], check=True, capture_output=True
    )
    pair.commit({}, "The site")
    for name, node in pair.nodes.items():
        words = f"{PROGRAM} node install --url file:///mnt/share/site.git --host {name} --mode apply"
        done = node.run(words, seconds=1800, check=False)
        assert done.code == 0, done.stdout + done.stderr
    pair.converge(pair.head)
