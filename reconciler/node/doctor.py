"""What has to be right on a node for it to do its work: one check per thing, each says what to do when it is not."""

import email.utils
import os
import shutil
import socket
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reconciler import __version__, errors
from reconciler.document import sealed
from reconciler.engine import Engine
from reconciler.git import remote as git
from reconciler.git import tree
from reconciler.git.failures import public
from reconciler.model import Desired
from reconciler.node import facts, host, listeners
from reconciler.reasons import Reason
from reconciler.secrets import sops
from reconciler.settings import Settings
from reconciler.source.follow import described
from reconciler.state import Hold, StateDirectory
from reconciler.system import files, walls

Verdict = Literal["ok", "warn", "fail"]

_CLOCK_WARN, _CLOCK_FAIL = 5.0, 120.0  # seconds; certificates and Keystone's tokens do not bear more
_ROOM = "make room on its file system (where the engine keeps its images there as well, `docker image prune` removes those that nothing uses)"
_FREE_WARN, _FREE_FAIL = 5 << 30, 1 << 30  # bytes
_INODES_WARN = 0.05  # share that is free
_START_ENGINE = "start it (systemctl start docker), or correct engine.url in the settings"
_ENGINE_ADVICE = {
    Reason.EngineTimeout: "it runs and hangs: look at its log (journalctl -u docker), the load and the disk; a restart of it ends containers",
    Reason.EngineUnsupported: "",  # the message says what to do
}


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. `advice` says what to do; empty when all is well."""

    name: str
    verdict: Verdict
    message: str
    advice: str = ""


def examine(settings: Settings, *, only: frozenset[str] = frozenset()) -> Iterator[Check]:
    """Run the checks, those named in `only` or all, and give their results as they come. Raises nothing of ours."""
    for name, check in _CHECKS.items():
        if only and name not in only:
            continue
        try:
            yield from check(settings)
        except errors.ReconcilerError as error:
            yield Check(name, "fail", f"{error} [{error.reason}]", "see the message")
        except OSError as error:
            yield Check(name, "fail", f"{error.filename or ''}: {error.strerror or error}", "see the message")


def names() -> tuple[str, ...]:
    """The names of all checks."""
    return tuple(_CHECKS)


# --- programs and the engine ----------------------------------------------------------------------------------------


def _versions(settings: Settings) -> Iterator[Check]:
    yield Check("versions", "ok", f"reconciler {__version__}, Python {'.'.join(map(str, _python()))}")
    try:
        program = sops.find_program(settings.secrets.program)
        yield Check("versions", "ok", f"sops is {program}")
    except errors.ReconcilerError as error:
        yield Check("versions", "fail", str(error), "install sops, or name it in secrets.program of the settings")


def _python() -> tuple[int, ...]:
    import sys

    return tuple(sys.version_info[:3])


def _walls(settings: Settings) -> Iterator[Check]:
    yield from walls_of(walls.examine(), lowered=walls.lowered())


def walls_of(standing: walls.Standing, *, lowered: bool) -> Iterator[Check]:
    """What stands around a child that looks at what a stranger wrote, and what is missing."""
    words = ", ".join(sorted(standing.namespaces)) or "none"
    found = f"filter: {'yes' if standing.filter else 'no'}, Landlock: {standing.landlock or 'no'}, namespaces: {words}"
    if not standing.filter and not (standing.landlock and "network" in standing.namespaces):
        message = f"{found}: children are {'let run all the same' if lowered else 'refused (WallMissing)'}"
        advice = "allow the system calls seccomp, landlock_* and unshare to the service, or use a newer kernel"
        yield Check("walls", "warn" if lowered else "fail", message, advice)
    elif not (standing.filter and standing.landlock and "network" in standing.namespaces):
        yield Check(
            "walls", "warn", found, "docs/security.md says what is lost without a filter, Landlock or namespaces"
        )
    else:
        yield Check("walls", "ok", found)


def _engine(settings: Settings) -> Iterator[Check]:
    engine = Engine(settings.engine.url, owner="", timeout=min(settings.engine.timeout, 10.0))
    try:
        found = engine.info()
    except errors.ReconcilerError as error:
        yield Check("engine", "fail", str(error), _ENGINE_ADVICE.get(error.reason, _START_ENGINE))
        return
    finally:
        engine.close()
    text = f"Docker Engine {found.get('ServerVersion')}, storage {found.get('Driver')}, cgroup {found.get('CgroupVersion')}"
    yield Check("engine", "ok", text)
    for warning in found.get("Warnings") or ():
        yield Check("engine", "warn", str(warning), "options that need it are refused when a container asks for them")
    root = Path(found.get("DockerRootDir") or "/var/lib/docker")
    if root.exists():
        yield _space("engine", root, "images and volumes")


# --- the repository -------------------------------------------------------------------------------------------------


def _git(settings: Settings) -> Iterator[Check]:
    remote = _remote(settings)
    started = time.monotonic()
    try:
        found = git.poll(remote)
    except errors.ReconcilerError as error:
        # Settings that were just changed may name a branch that never was; without any branch, what was accepted was deleted.
        anchor = StateDirectory(settings.state_dir).anchor if error.reason is Reason.GitEmptyRepository else None
        reason, message = described(error, remote, anchor)
        yield Check("git", "fail", message, f"the node keeps to its last good revision meanwhile [{reason}]")
        return
    took = time.monotonic() - started
    yield Check("git", "ok", f"{settings.git.branch} is at {found[remote.ref][:12]} ({took * 1000:.0f} ms)")
    anchor = StateDirectory(settings.state_dir).anchor
    if anchor is None:
        yield Check("git", "ok", "no revision was accepted yet: the first pass does that")
    elif anchor.commit != found[remote.ref]:
        yield Check(
            "git",
            "warn",
            f"the accepted revision is {anchor.commit[:12]}",
            "see `reconciler status` for why it is behind",
        )


def _clock(settings: Settings) -> Iterator[Check]:
    # Whoever is asked what time it is needs no password, and may be somebody else.
    url = public(settings.git.url)
    if not url.startswith(("http://", "https://")):
        yield Check("clock", "ok", "not compared: the repository is not reached by http(s)")
        return
    verify: bool | str = str(settings.git.ca_file) if settings.git.ca_file else True
    # A clock that is wrong makes a certificate look wrong; nothing is sent to whoever answers, and what it says is a hint.
    there = next((at for way in (verify, False) if (at := _time_there(url, way)) is not None), None)
    if there is None:
        yield Check("clock", "warn", "the git server does not say what time it is", "compare it with another clock")
        return
    off = abs(time.time() - there)
    text = f"{off:.0f} s from the git server's"
    if off > _CLOCK_FAIL:
        yield Check("clock", "fail", text, "set the clock and run a time daemon (chrony): certificates and tokens fail")
    elif off > _CLOCK_WARN:
        yield Check("clock", "warn", text, "run a time daemon (chrony)")
    else:
        yield Check("clock", "ok", text)


def _time_there(url: str, verify: bool | str) -> float | None:
    """What time a web server says it is, in seconds since the epoch; None when it does not answer so."""
    import requests

    from reconciler.system.sessions import Session

    try:
        with Session(verify) as session, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the certificate is not looked at is known
            answer = session.head(url, timeout=10, allow_redirects=False)
        return email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (OSError, KeyError, ValueError, TypeError, requests.RequestException):
        return None


# --- keys and files -------------------------------------------------------------------------------------------------


def _keys(settings: Settings) -> Iterator[Check]:
    keys = sops.Keys(settings.secrets.age_key_file, settings.secrets.ssh_key_file, settings.secrets.program)
    if not (keys.age_key_file or keys.ssh_key_file):
        yield Check(
            "sops key",
            "warn",
            "no key is set, so no passwords can be decrypted",
            'set secrets.ssh_key_file = "/etc/ssh/ssh_host_ed25519_key" in the settings, and add its public key to .sops.yaml',
        )
        return
    if missing := sops.unreadable(keys):
        yield Check(
            "sops key",
            "fail",
            missing,
            "put it back, or correct [secrets] in the settings: no password can be decrypted",
        )
        return
    ours = [sealed.bare(text) for text in sops.identities(keys)]
    yield Check("sops key", "ok", f"this node is {', '.join(ours)}" if ours else "a key is set")
    content = _passwords(settings)
    if content is None:
        return  # no revision was accepted yet, or it has no passwords
    if ours and not set(ours) & set(sops.recipients(content)):
        yield Check(
            "sops key",
            "fail",
            "passwords.yml is not encrypted for this node",
            f"run `reconciler secrets recipients add '{ours[0]}'` in the site where a fitting key is at hand, and push",
        )
        return
    sops.decrypt(content, name="passwords.yml", keys=keys)
    yield Check("sops key", "ok", "it opens passwords.yml of the accepted revision")


def _passwords(settings: Settings) -> bytes | None:
    state = StateDirectory(settings.state_dir)
    anchor = state.anchor
    if anchor is None:
        return None
    return tree.read(state.repository, anchor.commit, settings.git.path).get("passwords.yml")


def _permissions(settings: Settings) -> Iterator[Check]:
    g, s = settings.git, settings.secrets
    forge = settings.forge.token_file if settings.forge else None
    private = {path for path in (g.token_file, g.ssh_key, s.age_key_file, s.ssh_key_file, forge) if path}
    wrong = False
    for path in sorted(private):
        try:
            found = path.stat()
        except OSError as error:
            wrong = True
            yield Check("permissions", "fail", f"{path}: {error.strerror}", "put it there, or correct the settings")
            continue
        if found.st_mode & 0o077:
            wrong = True
            mode = stat.S_IMODE(found.st_mode)
            yield Check("permissions", "fail", f"{path} has mode {mode:04o}: others may read it", f"chmod 600 {path}")
    for path in [settings.state_dir, *settings.state_dir.glob("*.json")]:
        if path.exists() and path.stat().st_mode & 0o077:
            wrong = True
            yield Check("permissions", "warn", f"{path} is open to others", f"chmod go= {path}")
    for root in settings.policy.config_roots:
        if Path(root).exists() and (how := files.exchangeable(Path(root).resolve() / "*")):
            wrong = True
            advice = "make root the owner of that folder, and let nobody else write to it: no file is written there until then"
            yield Check("permissions", "fail", f"{root}: {how}", advice)
    if not wrong:
        yield Check("permissions", "ok", "keys, tokens and state are readable by their owner only")


def _state(settings: Settings) -> Iterator[Check]:
    state = StateDirectory(settings.state_dir)
    hold = Hold(state, settings.policy.config_roots)
    if not state.path.exists() and hold.witness is None:
        yield Check("state", "ok", "none yet: the first pass makes it")
        return
    hold.require()
    accepted = f"it accepted {state.anchor.commit[:12]} last" if state.anchor else "no revision was accepted yet"
    yield Check("state", "ok", f"{state.path} is this node's, and can be written to; {accepted}")


def _disk(settings: Settings) -> Iterator[Check]:
    for path, what in ((settings.state_dir, "state"), (Path(settings.policy.config_roots[0]), "configuration")):
        yield _space("disk", _existing(path), what)


def _space(name: str, path: Path, what: str) -> Check:
    free = shutil.disk_usage(path).free
    inodes = os.statvfs(path)
    text = f"{free / (1 << 30):.1f} GiB free for {what} ({path})"
    if free < _FREE_FAIL:
        return Check(name, "fail", text, _ROOM)
    if free < _FREE_WARN:
        return Check(name, "warn", text, "make room before the next image change")
    if inodes.f_files and inodes.f_favail / inodes.f_files < _INODES_WARN:
        return Check(name, "warn", f"few inodes are left for {what} ({path})", "remove many small files")
    return Check(name, "ok", text)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


# --- the host -------------------------------------------------------------------------------------------------------


def _addresses(settings: Settings) -> Iterator[Check]:
    desired = _last_good(settings)
    if desired is None or not desired.addresses:
        yield Check("addresses", "ok", "none are known yet")
        return
    missing = host.missing_addresses(desired.addresses)
    for address in dict.fromkeys(missing.values()):
        networks = [network for network, wanted in missing.items() if wanted == address]
        yield Check(
            "addresses",
            "fail",
            f"this host does not have {address}, declared for {', '.join(networks)}",
            "correct inventory.yml, or configure the interface; or this machine is not the host it takes itself for",
        )
    if not missing:
        yield Check(
            "addresses", "ok", f"all declared ones are here ({', '.join(sorted(set(desired.addresses.values())))})"
        )


def _names(settings: Settings) -> Iterator[Check]:
    desired = _last_good(settings)
    if desired is None or not desired.names:
        yield Check("names", "ok", "none are known yet")
        return
    own = facts.names()
    wrong = {fact: name for fact, name in desired.names.items() if name != own[fact]}
    for fact, name in wrong.items():
        yield Check(
            "names",
            "warn",
            f"the {fact} of this machine is {own[fact]}, and {name} for the site",
            f"rename the machine, or say facts: {{{fact}: {own[fact]}}} under the host in inventory.yml; the plan shows what that changes",
        )
    if not wrong:
        yield Check(
            "names", "ok", f"it is called as the site has it ({', '.join(dict.fromkeys(desired.names.values()))})"
        )


def _ports(settings: Settings) -> Iterator[Check]:
    """Published ports of containers that do not run: somebody else must not have them."""
    desired = _last_good(settings)
    wanted = [(c, port) for c in desired.containers for port in c.ports] if desired else []
    if not wanted:
        yield Check("ports", "ok", "no published ports are declared")
        return
    engine = Engine(settings.engine.url, owner="", timeout=10.0)
    names: dict[str, str] = {}
    try:
        view = engine.observe(desired, deep=False) if desired else None
        names = engine.names()
    finally:
        engine.close()
    running = {name for name, found in view.containers.items() if found.state == "running"} if view else set()
    taken = False
    for container, text in wanted:
        address, port, protocol = _published(text)
        if container.name in running or protocol != "tcp" or not port:
            continue
        if not _is_free(address, port):
            taken = True
            yield Check(
                "ports",
                "fail",
                f"{address or '*'}:{port}, which {container.name} publishes, is taken"
                + (f" by {who}" if (who := listeners.holder(port, lambda identity: names.get(identity, ""))) else ""),
                f"end it, or let {container.name} publish another port"
                if who
                else f"find who has it: ss -ltnp 'sport = :{port}'",
            )
    if not taken:
        yield Check("ports", "ok", f"{len(wanted)} published ports are ours or free")


def _published(text: str) -> tuple[str, int, str]:
    """ "address:host_port:container_port/proto" in parts."""
    outside, _, protocol = text.partition("/")
    address, _, port = outside.rpartition(":")[0].rpartition(":")
    return address.strip("[]"), int(port) if port.isdigit() else 0, protocol or "tcp"


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _units(settings: Settings) -> Iterator[Check]:
    found = sorted(host.observe_units())
    desired = _last_good(settings)
    ours = {container.name for container in desired.containers} if desired else set()
    both = [name for name in found if name in ours]
    if both:
        yield Check(
            "kolla-ansible",
            "warn",
            f"systemd units of kolla-ansible also manage {', '.join(both)}",
            "the next pass that may change something takes them over; if they come back, see OtherTool in docs/operations.md",
        )
    elif found:
        yield Check("kolla-ansible", "ok", f"its units manage containers that are not ours: {', '.join(found)}")
    else:
        yield Check("kolla-ansible", "ok", "no systemd units of it")


def _last_good(settings: Settings) -> Desired | None:
    return StateDirectory(settings.state_dir).memory().last_good


def _remote(settings: Settings) -> git.Remote:
    g = settings.git
    return git.Remote(
        g.url, g.branch, g.token_file, g.username, g.ca_file, g.ssh_key, g.known_hosts, g.timeout, g.deadline
    )


_CHECKS: dict[str, Callable[[Settings], Iterator[Check]]] = {
    "versions": _versions,
    "walls": _walls,
    "engine": _engine,
    "git": _git,
    "clock": _clock,
    "sops key": _keys,
    "permissions": _permissions,
    "state": _state,
    "disk": _disk,
    "addresses": _addresses,
    "names": _names,
    "ports": _ports,
    "kolla-ansible": _units,
}
