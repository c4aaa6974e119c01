"""kolla-ansible of a release in an environment of its own, with what is stood in for.

Everything that would touch a machine is replaced in `plugins/standin.py`. `genconfig` alone writes files; containers and
registrations come out of other parts of a role. So in a copy of the roles each `config.yml` includes those parts after the
real one, and what they ask of the engine, the database and Keystone ends in the journal.
"""

import ast
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import paths

HERE = Path(__file__).parent
RELEASES = tuple(sorted(path.name.removeprefix("kolla-").removesuffix(".lock") for path in HERE.glob("kolla-*.lock")))
# Parts of a role beside config.yml that describe containers, databases, users and the host. Without effect, thanks to the stand-in.
PARTS = ("check-containers", "config-host", "bootstrap", "register", "setup-ovs", "post-config")
# Their bootstrap.yml forms a cluster: it goes by what runs, and registers nothing.
NO_BOOTSTRAP = ("bifrost", "ceilometer", "common", "etcd", "hacluster", "mariadb", "rabbitmq")

# Their post-config.yml asks what runs.
NO_POST_CONFIG = ("opensearch",)
# What a role leaves out when configuration is only written: modules are loaded in no other way.
NOT_WHEN_CONFIGURED = '    - kolla_action != "config"\n'


class OracleError(Exception):
    """The oracle could not be set up, or a play of its own failed; the message carries the end of its log."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one at a time on this machine, whoever makes what is at `path`."""
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest() -> str:
    """What decides how the oracle answers beside its release and the site: this module, the stand-in and the runner."""
    made = hashlib.sha256()
    for path in (HERE / "environment.py", HERE / "oracle.py", *sorted((HERE / "plugins").glob("*.py"))):
        made.update(ast.dump(ast.parse(path.read_bytes())).encode())  # not how it is laid out, and no comments
    return made.hexdigest()


def prepare(release: str) -> tuple[Path, Path]:
    """A release's environment, and its playbooks and roles as patched. Made when they are missing or the lock changed."""
    lock = HERE / f"kolla-{release}.lock"
    if not lock.exists():
        raise OracleError(f"no lock for {release}; there are {', '.join(RELEASES)}")
    name = digest()[:12]
    shared = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = paths.cache("parity", "kolla-ansible") / f"{release}-{shared}"
    with locked(folder):
        if not (folder / ".installed").exists():
            print(f"installing kolla-ansible for {release}", file=sys.stderr, flush=True)
            _run([sys.executable, "-m", "venv", "--clear", folder])
            pip = [folder / "bin" / "pip", "--disable-pip-version-check", "--quiet", "install"]
            _run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock])  # type: ignore[list-item]
            (folder / ".installed").touch()
        patched = folder / f"plays-{name}"
        if not patched.exists():
            _patch(folder / "share" / "kolla-ansible" / "ansible", patched)
    return folder, patched


def _patch(source: Path, target: Path) -> None:
    """A copy of kolla-ansible's playbooks in which every role's config.yml says all that the role would do."""
    half = target.with_name(target.name.replace("plays-", "half-"))
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(source, half)
    for config in sorted(half.glob("roles/*/tasks/config.yml")):
        role = config.parts[-3]
        config.rename(config.with_name("kolla-config.yml"))
        included = ["kolla-config"]
        for part in PARTS:
            left_out = {"bootstrap": NO_BOOTSTRAP, "post-config": NO_POST_CONFIG}.get(part, ())
            if config.with_name(f"{part}.yml").exists() and role not in left_out:
                included.append(part)
        config.write_text("---\n" + "".join(f"- include_tasks: {part}.yml\n" for part in included))
    modules = half / "roles/module-load/tasks/main.yml"
    text = modules.read_text()
    if NOT_WHEN_CONFIGURED not in text:
        raise OracleError(f"{modules} loads modules under other conditions than it did")
    modules.write_text(text.replace(NOT_WHEN_CONFIGURED, "    - true\n"))
    half.rename(target)


def _run(argv: list[str | Path]) -> None:
    done = subprocess.run([str(word) for word in argv], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OracleError(f"{' '.join(map(str, argv[:4]))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
