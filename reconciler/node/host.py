"""What the node itself shows: files below the config root, kolla-ansible's systemd units, addresses; and, with the engine's
view, the whole actual state."""

import errno
import ipaddress
import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from reconciler import errors
from reconciler.engine import Engine
from reconciler.model import Actual, Desired, FileState, Job
from reconciler.reasons import Reason
from reconciler.system import run
from reconciler.system.files import is_leftover, opened

UNITS = Path("/etc/systemd/system")
RUNNING_UNITS = Path("/run/systemd/units")  # systemd keeps a link here for every unit that is not inactive
MAX_BYTES = 16 << 20  # no file of ours is larger

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a FIFO must not hold us
_UNIT = re.compile(r"(?:invocation:)?kolla-(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)-container\.service")


def observe(
    engine: Engine, desired: Desired, deep: bool, *, extra_names: Iterable[str] = (), units: Path = UNITS
) -> Actual:
    """Everything there is now, except registrations, which their own clients observe.

    `deep` also asks running Kolla containers whether their configuration is current. Raises errors.Transient when the
    engine as a whole cannot be read; single things that cannot are in `unknown`, as `container:NAME`, `image:REFERENCE`,
    `stale:NAME`, `file:PATH`, `job:NAME` and `units`.
    """
    view = engine.observe(desired, deep=deep, extra_names=extra_names)
    unknown = dict(view.unknown)
    files, unread = observe_files(desired, Path(desired.config_root))
    unknown |= {f"file:{path}": why for path, why in unread.items()}
    created: set[str] = set()
    for job in desired.jobs:
        if job.creates:
            try:
                if is_created(job, view.volumes):
                    created.add(job.name)
            except OSError as error:
                unknown[f"job:{job.name}"] = f"cannot look for {job.creates}: {error.strerror}"
    found: frozenset[str] = frozenset()
    try:
        found = observe_units(units)
    except OSError as error:
        unknown["units"] = f"cannot list the units of systemd: {error.strerror}"
    return Actual(
        containers=view.containers,
        images=view.images,
        files=files,
        volumes=view.own_volumes,
        engine_volumes=view.volume_details,
        stale=view.stale,
        created=frozenset(created),
        units=found,
        unknown=unknown,
        deep=deep,
    )


def observe_files(desired: Desired, root: Path) -> tuple[Mapping[str, FileState], Mapping[str, str]]:
    """Every file of `desired` that is there, and every other one in the directories of its containers and jobs.

    Paths are relative to `root`. No link is followed below the root; a link is reported as one. The second mapping names the
    paths (or, with a `/` at the end, directories) that could not be read, and why.
    """
    folders = {_folder(file.path) for file in desired.files} - {""}
    folders |= {container.config_directory.strip("/") for container in desired.containers}
    folders |= {job.container.config_directory.strip("/") for job in desired.jobs}
    wanted = {file.path for file in desired.files}
    found: dict[str, FileState] = {}
    unknown: dict[str, str] = {}
    # Only what the root itself should hold is looked at there: it may be shared with others.
    _read_folder(root, "", sorted(path for path in wanted if "/" not in path), wanted, found, unknown)
    waiting = sorted(folders - {""}, reverse=True)
    seen: set[str] = set()
    while waiting:
        folder = waiting.pop()
        if folder not in seen:
            seen.add(folder)
            waiting += _read_folder(root, folder, None, wanted, found, unknown)
    for file in desired.files:
        if file.path not in found and f"{_folder(file.path)}/" in unknown:
            unknown.setdefault(file.path, unknown[f"{_folder(file.path)}/"])
    return found, unknown


def is_created(job: Job, volumes: Mapping[str, str]) -> bool:
    """Whether `job.creates` ("volume:path") is there. `volumes` maps names to folders on the host.

    Raises OSError when it cannot be told.
    """
    name, _, path = job.creates.partition(":")
    if name not in volumes:
        return False
    root = Path(volumes[name])
    if not root.is_dir():
        raise FileNotFoundError(2, "its volume's folder cannot be reached from here", str(root))
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(errno.EINVAL, "its path leads upwards with '..'", path)
    if not parts:
        return any(root.iterdir())
    try:
        with opened(root, "/".join(parts[:-1])) as directory:
            os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def observe_units(folder: Path = UNITS, running: Path = RUNNING_UNITS) -> frozenset[str]:
    """Names of the containers that a systemd unit of kolla-ansible runs, or would start at the next boot. A unit whose file is
    there and which does neither starts nothing. Raises OSError."""
    found: set[str] = set()
    for place in (running, *_wants(folder)):
        with suppress(FileNotFoundError):
            names = [entry.name for entry in place.iterdir()]
            found |= {match["name"] for name in names if (match := _UNIT.fullmatch(name))}
    return frozenset(found)


def _wants(folder: Path) -> list[Path]:
    """Where the links of what is enabled are."""
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name.endswith((".wants", ".requires")))
    except FileNotFoundError:
        return []


def missing_addresses(declared: Mapping[str, str]) -> Mapping[str, str]:
    """Of the declared addresses (network → address), those that no interface of this host has.

    A socket would not tell: with ip_nonlocal_bind, which load balancers need, any address can be bound. Raises errors.Transient
    (AddressesUnknown), errors.Terminal (ProgramMissing).
    """
    done = run.program(["ip", "-json", "address", "show"], seconds=10)
    try:
        links = json.loads(done.stdout) if done.code == 0 else None
        present = {info["local"] for link in links or () for info in link.get("addr_info", ()) if "local" in info}
    except (ValueError, KeyError, TypeError, AttributeError):
        links = None
    if links is None:
        raise errors.Transient(
            f"cannot list this host's addresses: {done.message or 'ip gave no JSON'}", reason=Reason.AddressesUnknown
        )
    return {network: address for network, address in declared.items() if not _is_here(address, present)}


def _is_here(address: str, present: Collection[str]) -> bool:
    """All of 127.0.0.0/8 is this host's, though `ip` names one address of it."""
    return address in present or ipaddress.ip_address(address).is_loopback


def _read_folder(
    root: Path,
    folder: str,
    names: list[str] | None,
    wanted: Collection[str],
    found: dict[str, FileState],
    unknown: dict[str, str],
) -> list[str]:
    """Read `names` (None: all) of one directory into `found`; returns the directories in it."""
    below: list[str] = []
    prefix = f"{folder}/" if folder else ""
    try:
        with opened(root, folder) as directory:
            for name in sorted(os.listdir(directory)) if names is None else names:  # noqa: PTH208 - of a handle
                if is_leftover(name):
                    continue
                path = prefix + name
                try:
                    state = _read(directory, name)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    unknown[path] = error.strerror or str(error)
                    continue
                if state.kind == "directory" and path not in wanted:
                    below.append(path)
                else:
                    found[path] = state
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            unknown[f"{folder}/"] = f"{root / folder} is, or lies below, a link or something else that is no directory"
        else:
            unknown[f"{folder}/"] = error.strerror or str(error)
    return below


def _read(directory: int, name: str) -> FileState:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    content: bytes | None = None
    if stat.S_ISREG(found.st_mode):
        handle = os.open(name, _FILE, dir_fd=directory)
        try:
            found = os.fstat(handle)
            if stat.S_ISREG(found.st_mode) and found.st_size <= MAX_BYTES:
                content = _read_all(handle)
        finally:
            os.close(handle)
    return FileState(
        content=content,
        mode=stat.S_IMODE(found.st_mode),
        owner=found.st_uid,
        group=found.st_gid,
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
        kind=_kind(found.st_mode),
    )


def _read_all(handle: int) -> bytes | None:
    pieces, size = [], 0
    while piece := os.read(handle, 1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            return None
    return b"".join(pieces)


def _kind(mode: int) -> Literal["file", "directory", "symlink", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
