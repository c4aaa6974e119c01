"""Render a site with kolla-ansible, once per state of its inputs: what it wrote, and what it would have asked for."""

import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.parity import environment
from tests.parity.environment import OracleError
from tests.support import paths

SECTION = re.compile(r"^\[([^\]]+)\]")


@dataclass(frozen=True, slots=True)
class Site:
    """A site as kolla-ansible takes it. `folder` holds `inventory`, `globals.yml`, `facts.yml` and perhaps `config/`,
    `certificates/`, `group_vars/` and `host_vars/`."""

    name: str
    folder: Path
    release: str = "2025.1"

    def read(self, name: str) -> Any:
        """A YAML file of the site; an empty mapping when there is none."""
        path = self.folder / name
        return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file of it, by path."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self.folder)), path.read_bytes()


@dataclass(frozen=True, slots=True)
class Written:
    """A file that kolla-ansible wrote on a host."""

    text: str
    mode: int
    role: str = ""


@dataclass(frozen=True, slots=True)
class Render:
    """What kolla-ansible makes of a site. Paths are absolute on the host."""

    inventory: Mapping[str, Any]  # as `ansible-inventory --list`
    known: frozenset[str]  # every variable that it has a default for
    files: Mapping[str, Mapping[str, Written]]  # host → path → file
    journal: tuple[Mapping[str, Any], ...]  # host, role, task, module, args
    passwords: Mapping[str, Any]
    incomplete: tuple[str, ...] = ()  # parts that failed in the oracle
    seconds: float = 0.0
    log: str = field(default="", compare=False)


def render(site: Site) -> Render:
    """The oracle's render of a site, from the cache if nothing that it depends on changed."""
    name = f"{site.name}-{site.release}-{_digest(site)}"
    kept = paths.cache("parity", "renders") / f"{name}.json.gz"
    with environment.locked(kept.with_name(name)):
        if not kept.exists():
            made = _run(site, paths.cache("parity", "logs") / f"{name}.log")
            part = kept.with_suffix(".part")
            part.write_bytes(gzip.compress(json.dumps(made).encode(), 6))
            part.rename(kept)
    return _load(json.loads(gzip.decompress(kept.read_bytes())))


def _load(data: Mapping[str, Any]) -> Render:
    files = {
        host: {path: Written(*written) for path, written in content.items()} for host, content in data["files"].items()
    }
    rest = {name: data[name] for name in ("inventory", "passwords", "seconds")}
    lists = {name: tuple(data[name]) for name in ("journal", "incomplete")}
    return Render(files=files, known=frozenset(data["known"]), **lists, **rest)  # type: ignore[arg-type]


def _digest(site: Site) -> str:
    made = hashlib.sha256((environment.HERE / f"kolla-{site.release}.lock").read_bytes())
    made.update(environment.digest().encode())
    for path, content in site.files():
        made.update(f"{path}\0{len(content)}\0".encode() + content)
    return made.hexdigest()[:16]


def _run(site: Site, log: Path) -> dict[str, Any]:
    folder, plays = environment.prepare(site.release)
    scratch = Path(tempfile.mkdtemp(prefix="parity-", dir=os.environ.get("TMPDIR") or "/tmp"))
    print(f"kolla-ansible renders {site.name} ({site.release}): this takes minutes, once", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        given = _inputs(site, folder, plays, scratch)
        _play(folder, plays, scratch, log)
        return {**given, **_outcome(scratch), "seconds": round(time.monotonic() - started, 1)}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


# --- what goes in --------------------------------------------------------------------------------------------------


def _inputs(site: Site, folder: Path, plays: Path, scratch: Path) -> dict[str, Any]:
    (scratch / "tmp").mkdir()
    (scratch / "ansible.cfg").touch()
    inventory = scratch / "inventory"
    inventory.mkdir()
    own = (site.folder / "inventory").read_text()
    (inventory / "hosts").write_text(own + _tree(plays / "inventory" / "multinode", own))
    for part in ("group_vars", "host_vars"):
        if (site.folder / part).exists():
            shutil.copytree(site.folder / part, inventory / part)
    for part in ("config", "certificates"):
        (scratch / part).mkdir()
        if (site.folder / part).exists():
            shutil.copytree(site.folder / part, scratch / part, dirs_exist_ok=True)
    shutil.copyfile(site.folder / "globals.yml", scratch / "globals.yml")
    names = yaml.safe_load((folder / "share/kolla-ansible/etc_examples/kolla/passwords.yml").read_text())
    passwords = {name: _password(name) for name in names}
    (scratch / "passwords.yml").write_text(yaml.safe_dump(passwords))
    listed = _ask(folder, scratch, ["ansible-inventory", "-i", str(inventory), "--list", "--export"])
    hosts = _hosts(listed)
    (scratch / "facts").mkdir()
    for host in hosts:
        facts = {f"ansible_{name}": value for name, value in _facts(site, host).items()}
        (scratch / "facts" / f"{host}.json").write_text(json.dumps(facts))
    return {"inventory": listed, "known": sorted(_known(plays)), "passwords": passwords}


def _tree(path: Path, own: str) -> str:
    """Kolla's groups below the ones that a site fills, but for those that its own inventory has."""
    defined = {match[1].partition(":")[0] for line in own.splitlines() if (match := SECTION.match(line))}
    top = ("control", "network", "compute", "monitoring", "storage", "deployment")
    kept, keep = [""], False
    for line in path.read_text().splitlines():
        if match := SECTION.match(line):
            name = match[1].partition(":")[0]
            keep = name not in top and name not in defined
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _password(name: str) -> Any:
    """A value that shows in a listing whose it is, of the kind that Kolla generates for the name."""
    seed = hashlib.sha256(name.encode()).hexdigest()
    if name.endswith("_ssh_key"):
        return {"private_key": f"private half of {name}\n", "public_key": f"ssh-rsa public-half-of-{name}"}
    if name.endswith(("_uuid", "_id")):
        return f"{seed[:8]}-{seed[8:12]}-4{seed[12:15]}-a{seed[15:18]}-{seed[18:30]}"
    if name.endswith("bcrypt_salt"):
        return seed[:21] + "e"
    if name in ("docker_registry_password",):
        return None
    return f"pw_{name}"


def _hosts(listed: Mapping[str, Any]) -> list[str]:
    found: dict[str, None] = {}
    for group in listed.values():
        found.update(dict.fromkeys(group.get("hosts", ())))
    return [name for name in found if name != "localhost" or "localhost" in found]


FACTS = {
    "Debian": {"os_family": "Debian", "distribution_release": "bookworm", "distribution_version": "12"},
    "Ubuntu": {"os_family": "Debian", "distribution_release": "noble", "distribution_version": "24.04"},
    "Rocky": {"os_family": "RedHat", "distribution_release": "Blue Onyx", "distribution_version": "9.5"},
    "CentOS": {"os_family": "RedHat", "distribution_release": "Stream", "distribution_version": "9"},
}


def _facts(site: Site, host: str) -> dict[str, Any]:
    """A host's facts as Ansible would gather them, of what facts.yml says: interfaces with their addresses, and some figures."""
    declared = site.read("facts.yml")
    own = declared.get("hosts", {}).get(host, {})
    facts: dict[str, Any] = {
        "hostname": host.partition(".")[0],
        "fqdn": host,
        "processor_vcpus": 8,
        "memtotal_mb": 32000,
        "distribution": "Debian",
        "architecture": "x86_64",
        "service_mgr": "systemd",
        "user_uid": 0,
        "user_gid": 0,
        "user_id": "root",
        "python": {"executable": sys.executable, "version": {"major": 3, "minor": 11, "micro": 0}},
        "date_time": {"epoch": "1700000000"},
        "env": {},
        **declared.get("facts", {}),
        **own.get("facts", {}),
    }
    facts = {**FACTS[facts["distribution"]], **facts}
    facts.setdefault("distribution_major_version", facts["distribution_version"].partition(".")[0])
    facts.setdefault("nodename", facts["hostname"])
    interfaces = own.get("interfaces", {})
    for number, (name, address) in enumerate(interfaces.items()):
        entry: dict[str, Any] = {
            "device": name,
            "active": True,
            "mtu": 1500,
            "macaddress": f"52:54:00:00:00:{number:02x}",
        }
        if address and ":" in address:
            entry["ipv6"] = [{"address": address, "prefix": "64", "scope": "global"}]
        elif address:
            entry["ipv4"] = {"address": address, "netmask": "255.255.255.0", "prefix": "24"}
        facts[re.sub(r"[^A-Za-z0-9]", "_", name)] = entry
    facts["interfaces"] = [*interfaces, "lo"]
    facts["all_ipv4_addresses"] = [address for address in interfaces.values() if address and ":" not in address]
    facts["all_ipv6_addresses"] = [address for address in interfaces.values() if address and ":" in address]
    return facts


def _known(plays: Path) -> set[str]:
    """Every variable that kolla-ansible gives a default."""
    found: set[str] = set()
    for path in (
        *plays.glob("group_vars/all*"),
        *plays.glob("group_vars/all/*"),
        *plays.glob("roles/*/defaults/*.yml"),
    ):
        if path.is_file():
            found.update(re.findall(r"^#?([a-z][a-z0-9_]*):", path.read_text(), re.MULTILINE))
    return found


# --- the run -------------------------------------------------------------------------------------------------------


def _environment(folder: Path, scratch: Path) -> dict[str, str]:
    return {
        "PATH": f"{folder}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(scratch),
        "LC_ALL": "C.UTF-8",
        "PARITY_SCRATCH": str(scratch),
        "ANSIBLE_CONFIG": str(scratch / "ansible.cfg"),
        "ANSIBLE_HOME": str(scratch / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(scratch / "tmp"),
        "ANSIBLE_CALLBACK_PLUGINS": str(environment.HERE / "plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "standin",
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
        "ANSIBLE_DISPLAY_OK_HOSTS": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORKS": "4",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_PYTHON_INTERPRETER": str(folder / "bin" / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _ask(folder: Path, scratch: Path, argv: list[str]) -> Any:
    done = subprocess.run(argv, env=_environment(folder, scratch), check=False, capture_output=True, text=True)
    if done.returncode:
        raise OracleError(f"{argv[0]}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def _play(folder: Path, plays: Path, scratch: Path, log: Path) -> None:
    given = {
        "kolla_action": "config",
        "CONFIG_DIR": "/etc/kolla",
        "node_custom_config": str(scratch / "config"),
        "kolla_certificates_dir": str(scratch / "certificates"),
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": str(folder / "bin" / "python"),
    }
    (scratch / "given.json").write_text(json.dumps(given))
    argv = [str(folder / "bin" / "ansible-playbook"), "-i", str(scratch / "inventory")]
    for name in ("globals.yml", "passwords.yml", "given.json"):
        argv += ["-e", f"@{scratch / name}"]
    argv.append(str(plays / "site.yml"))
    with log.open("w") as output:
        done = subprocess.run(
            argv,
            env=_environment(folder, scratch),
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise OracleError("\n".join([f"kolla-ansible failed; the end of {log}:", *lines[-30:]]))


def _outcome(scratch: Path) -> dict[str, Any]:
    journal = [json.loads(path.read_text()) for path in sorted((scratch / "journal").glob("*.json"), key=_made)]
    roles = {(line["host"], line["args"]["dest"]): line["role"] for line in journal if "dest" in line["args"]}
    files: dict[str, dict[str, Any]] = {}
    for host in sorted((scratch / "hosts").iterdir()):
        content: dict[str, Any] = {}
        for path in sorted(host.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = "/" + str(path.relative_to(host))
                mode = stat.S_IMODE(path.stat().st_mode)
                content[name] = (path.read_bytes().decode(errors="replace"), mode, roles.get((host.name, name), ""))
        files[host.name] = content
    others = ("copy", "lineinfile", "blockinfile", "incomplete")
    asked = [line for line in journal if line["module"] not in others]
    incomplete = [
        f"{line['host']}: {line['task']}: {line['args']['said']}" for line in journal if line["module"] == "incomplete"
    ]
    return {"files": files, "journal": asked, "incomplete": sorted(set(incomplete))}


def _made(path: Path) -> int:
    return path.stat().st_mtime_ns
