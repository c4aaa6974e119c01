"""A network of machines: each has an engine and daemons of its own, and a port at one switch; the test sits at the same switch.

    with Lan(folder, {"cc1": ["192.0.2.11"], "cc2": ["192.0.2.12"]}, images) as lan:
        lan.machines["cc1"].program("status")
        lan.start([sys.executable, "client.py"], log)

Everything lies in network namespaces that end with the block; this machine's own network takes no notice. There is no VRRP: an address that is to be
virtual is a plain one of a machine.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.migration.machine import CHECKOUT, Machine
from tests.support import engine, paths

SWITCH = "192.0.2.1"
_SWITCH = """\
set -e
ip link set lo up
ip link add name switch type bridge
ip address add {address}/24 dev switch
ip link set switch up
echo ready
exec sleep infinity
"""


class Member(Machine):
    """A machine that is plugged into a switch; its engine shares the image layers of the tests' engine."""

    def __init__(self, root: Path, name: str, hosts: Mapping[str, str], images: Sequence[str]) -> None:
        super().__init__(root, name, (), hosts)
        self._images = images

    def __enter__(self) -> Self:
        super().__enter__()
        self.images(self._images)
        return self

    def _prepare(self) -> None:
        share_images(paths.cache("migration", "engine", self.name), self._images)

    @property
    def pid(self) -> int:
        """Its first process."""
        return self._pid

    def processes(self, program: str) -> list[int]:
        """Its processes of a program, in whatever container, by the numbers that they have outside of it."""
        found, left = [], [self.pid]
        while left:
            folder = Path(f"/proc/{left.pop()}")
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
                if (folder / "comm").read_text().strip() == program:
                    found.append(int(folder.name))
                for task in (folder / "task").iterdir():
                    left += map(int, (task / "children").read_text().split())
        return found

    def start(self, argv: Sequence[str | Path], log: Path) -> "subprocess.Popen[bytes]":
        """Run a program in it that goes on."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self._door(Path("/")), *map(str, argv)], env=self._environment({"PYTHONPATH": str(CHECKOUT)}),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip


class Lan:
    """`machines` gives the addresses of each; `images` are what their engines need."""

    def __init__(self, root: Path, machines: Mapping[str, Sequence[str]], images: Sequence[str]) -> None:
        self.root, self.addresses = root, machines
        names = {name: addresses[0] for name, addresses in machines.items()}
        self.machines = {name: Member(root / name, name, names, images) for name in machines}
        self._stack = contextlib.ExitStack()
        self._switch: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            self.root.mkdir(parents=True, exist_ok=True)
            undo.callback(shutil.rmtree, self.root, ignore_errors=True)
            self._switch = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", _SWITCH.format(address=SWITCH)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            undo.callback(self._switch_off)
            assert self._switch.stdout is not None and self._switch.stdout.readline() == "ready\n"
            for name, machine in self.machines.items():
                undo.enter_context(machine)
                self._plug(name, machine)
            self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, argv: Sequence[str | Path], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Run a program at the switch, outside of every machine; it goes on."""
        return subprocess.Popen(
            [*self._door(), *map(str, argv)], env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def run(self, argv: Sequence[str | Path]) -> str:
        """The same until it ends; returns what it printed, whether it failed or not."""
        return subprocess.run(
            [*self._door(), *map(str, argv)], env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False,
        ).stdout  # fmt: skip

    def _door(self) -> list[str]:
        assert self._switch is not None
        return ["nsenter", f"--target={self._switch.pid}", "--net"]

    def _plug(self, name: str, machine: Member) -> None:
        assert self._switch is not None
        script = (
            f"ip link add {name} netns {self._switch.pid} type veth peer name lan0 netns {machine.pid}; "
            f"nsenter --target={self._switch.pid} --net ip link set {name} master switch up"
        )
        subprocess.run(["sh", "-ec", script], check=True, capture_output=True)
        for address in self.addresses[name]:
            machine.run(["ip", "address", "add", f"{address}/24", "dev", "lan0"])
        machine.run(["ip", "link", "set", "lan0", "up"])

    def _switch_off(self) -> None:
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()


def _environment() -> dict[str, str]:
    mark = {name: text for name, text in os.environ.items() if name.startswith("RECONCILER_TEST")}
    return {"PATH": os.environ["PATH"], "HOME": "/root", "PYTHONPATH": str(CHECKOUT), **mark}


# --- images ---------------------------------------------------------------------------------------------------------


def share_images(root: Path, names: Sequence[str]) -> None:
    """Put the layers of images under an engine's data root, as links to those that the tests' engine has: no copy, no time. An engine
    writes to no layer. What is not there this way is loaded afterwards (`Machine.images`)."""
    found = engine.find()
    source = engine.home() / "data"
    if found is None or not found.ours or not (source / "image/overlay2/repositories.json").exists():
        return
    wanted = _chosen(source, names)
    if _chosen(root, names) == wanted:
        return
    for entry in root.iterdir():
        subprocess.run(["rm", "-rf", str(entry)], check=True)
    identities = {digest.removeprefix("sha256:") for tags in wanted.values() for digest in tags.values()}
    parts = sorted({part for identity in identities for part in _parts(source, identity)})
    # An engine mounts its data root upon itself, and links do not cross mounts: the file system is looked at from elsewhere.
    top = next(folder for folder in root.parents if folder.is_mount())
    script = 'mount --bind "$0" "$1" && cd "$1$2" && xargs -0 cp -al --parents --target-directory "$1$3"'
    with tempfile.TemporaryDirectory() as view:
        subprocess.run(
            ["unshare", "--mount", "--propagation=private", "sh", "-ec", script, str(top), view,
             f"/{source.relative_to(top)}", f"/{root.relative_to(top)}"],
            input="\0".join(parts), text=True, check=True, capture_output=True,
        )  # fmt: skip
    (root / "image/overlay2/repositories.json").write_text(json.dumps({"Repositories": wanted}))


def _chosen(root: Path, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Repository → tag → id of what is there of some images."""
    file = root / "image/overlay2/repositories.json"
    if not file.exists():
        return {}
    every = json.loads(file.read_text())["Repositories"]
    repositories = {name.rpartition(":")[0] for name in names}
    return {
        repository: {tag: digest for tag, digest in every[repository].items() if tag in names}
        for repository in sorted(repositories & every.keys())
    }


def _parts(source: Path, identity: str) -> Iterator[str]:
    """The files and folders of an image, below a data root."""
    store = "image/overlay2"
    for part in (f"{store}/imagedb/content/sha256/{identity}", f"{store}/imagedb/metadata/sha256/{identity}"):
        if (source / part).exists():
            yield part
    configuration = json.loads((source / store / "imagedb/content/sha256" / identity).read_text())
    chain = ""
    for layer in configuration["rootfs"]["diff_ids"]:
        chain = _chain(chain, layer)
        folder = f"{store}/layerdb/sha256/{chain.removeprefix('sha256:')}"
        yield folder
        cached = (source / folder / "cache-id").read_text()
        yield f"overlay2/{cached}"
        yield f"overlay2/l/{(source / 'overlay2' / cached / 'link').read_text()}"


def _chain(parent: str, layer: str) -> str:
    """The name of a stack of layers, as the image specification makes it."""
    return f"sha256:{hashlib.sha256(f'{parent} {layer}'.encode()).hexdigest()}" if parent else layer
