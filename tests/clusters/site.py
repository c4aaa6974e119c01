"""A site of three controllers on machines of their own, with genuine images and a daemon each; they agree through the etcd that the site itself has."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from reconciler.secret import Secret
from reconciler.secrets import sops
from tests.clusters.lan import Lan
from tests.git import servers
from tests.images import build, kolla

SITE = "clusters"
VIP, EXTERNAL = "192.0.2.10", "192.0.2.9"
HOSTS = {"cc1": "192.0.2.11", "cc2": "192.0.2.12", "cc3": "192.0.2.13"}
ETCD = [f"http://{address}:2379" for address in HOSTS.values()]
IMAGES = {
    "": ("cron", "etcd", "haproxy"),
    "enable_mariadb": ("mariadb-server", "mariadb-clustercheck"),
    "enable_rabbitmq": ("rabbitmq", "keystone"),  # the clients of the test run in the latter
    "enable_memcached": ("memcached",),
    "enable_valkey": ("valkey-server", "valkey-sentinel"),
    "enable_ovn": ("ovn-nb-db-server", "ovn-sb-db-server"),
    "enable_keystone": ("keystone", "keystone-fernet", "keystone-ssh"),
    "enable_glance": ("glance-api",),
    "enable_placement": ("placement-api",),
    "enable_nova": ("nova-api", "nova-conductor", "nova-scheduler"),
}
# Of OVN there are the databases: what translates between them has no image here, and there is no switch to control.
EMPTY = ("ovn-northd", "ovn-controller")
# Everything is off that the test does not ask for. Addresses that are virtual elsewhere are plain ones of the first machine.
GLOBALS: Mapping[str, object] = {
    "kolla_base_distro": "debian",
    "kolla_internal_vip_address": VIP,
    "enable_openstack_core": False,
    **{name: False for name in IMAGES if name},
    "enable_etcd": True,
    "enable_ovn_sb_db_relay": False,
    "enable_keepalived": False,
    "enable_proxysql": False,
    "enable_fluentd": False,
    "default_container_dimensions": {},
    "haproxy_max_connections": 2000,
    "haproxy_retry_requests": True,
    "mariadb_innodb_log_file_size_mb": 64,
    "mariadb_innodb_buffer_pool_size_mb": 128,
}
POLICY = """\
name: clusters
rollout:
  waves: [{name: last controller, hosts: [{group: control, last: 1}]}, {name: controllers, hosts: [{group: control}]}]
  bake: 3
"""

_PROVED = f"""
import sys
from reconciler.etcd import Client, Store
print(*(name for name in Store(Client(sys.argv[1:-1]), {SITE!r}).everything() if name.startswith(sys.argv[-1])))
"""


class Site:
    """`enabled` are the switches of GLOBALS that are on. The site begins with the first of `releases`, and has images of all of them.
    `computes` are hosts beside the controllers, with their addresses."""

    def __init__(
        self,
        root: Path,
        enabled: Sequence[str],
        releases: Sequence[kolla.Release] = (kolla.FIRST,),
        computes: Mapping[str, str] | None = None,
    ) -> None:
        self.root, self.hosts = root, {**HOSTS, **(computes or {})}
        self.controllers = {*HOSTS}
        self.globals = {**GLOBALS, **dict.fromkeys(enabled, True), "openstack_release": releases[0].name}
        self.images = [
            kolla.default_target(release).name(image)
            for release in releases
            for name in ("", *enabled)
            for image in IMAGES[name]
            if image not in build.GONE.get(release.name, ())
        ]
        self.images += [build.BUSYBOX] if computes else []
        more = {"cc1": [VIP, EXTERNAL]}
        addresses = {name: [address, *more.get(name, ())] for name, address in self.hosts.items()}
        self.lan = Lan(root / "lan", addresses, sorted(set(self.images)))
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.settings = {name: self.root / f"{name}.toml" for name in self.hosts}  # as a path in the machine
        self.files: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        self.lan.__enter__()
        try:
            self.repository = servers.make_repo(self.root / "site.git")
            self._write_first()
            self._write_settings()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for process in self.daemons.values():
                process.kill()
                process.wait()
        finally:
            self.lan.__exit__(kind, error, trace)

    # --- the site ------------------------------------------------------------------------------------------------------

    def _write_first(self) -> None:
        key = servers.ssh_key(self.root / "key").with_suffix(".pub").read_text().split()
        folder = self.root / "site"
        folder.mkdir()
        texts = {
            "inventory.yml": self.inventory(),
            "globals.yml": yaml.safe_dump(self.globals),
            "reconciler.yml": POLICY,
            ".sops.yaml": f"creation_rules:\n  - path_regex: passwords.*\n    age: {key[0]} {key[1]}\n",
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
        subprocess.run(
            [sys.executable, "-m", "reconciler", "secrets", "generate", str(folder), "--ssh-key-file", str(self.root / "key")],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}

    def inventory(self) -> str:
        """The text of inventory.yml with `hosts`, in their order."""
        hosts = {
            name: {"addresses": {"network": address}, "groups": ["control", "network"] if name in self.controllers else ["compute"],
                   "facts": {"processor_vcpus": 2, "memtotal_mb": 8000, "distribution": "Debian"}}
            for name, address in self.hosts.items()
        }  # fmt: skip
        groups = {name: {"children": []} for name in EMPTY}
        return yaml.safe_dump({"hosts": hosts, "groups": groups}, sort_keys=False)

    def _write_settings(self) -> None:
        for name in self.lan.machines:
            (self.root / f"{name}.toml").write_text(
                f'host = "{name}"\nstate_dir = "/var/lib/reconciler"\n\n[git]\nurl = "{self.repository.as_uri()}"\n\n'
                f'[secrets]\nssh_key_file = "{self.root}/key"\n\n[engine]\nurl = "unix:///run/docker.sock"\n\n'
                f'[daemon]\ninterval = 2\nmetrics = ""\n\n[log]\nformat = "json"\n\n'
                f"[fleet]\netcd = {ETCD!r}\ntimeout = 2\n".replace("'", '"')
            )

    def push(self, message: str, files: Mapping[str, str] | None = None, **globals_: object) -> str:
        """Commit the site with other files and globals; returns the commit."""
        self.globals |= globals_
        self.files |= {
            **{name: text.encode() for name, text in (files or {}).items()},
            "globals.yml": yaml.safe_dump(self.globals).encode(),
        }
        return servers.commit(self.repository, self.files, message)

    def set_secret(self, name: str, value: str) -> None:
        """Give a password of the site another value; `push` makes it count."""
        path = self.root / "site" / "passwords.yml"
        sops.set_value(path, name, Secret(value), keys=sops.Keys(ssh_key_file=self.root / "key"), name=path.name)
        self.files[path.name] = path.read_bytes()

    def rotate(self, name: str, *words: str) -> None:
        """Give a password of the site a fresh value, as an operator does; `push` makes it count. Its user may have another name with it."""
        folder = self.root / "site"
        argv = [
            "secrets",
            "rotate",
            "--json",
            *words,
            "--name",
            name,
            str(folder),
            "--ssh-key-file",
            str(self.root / "key"),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *argv], check=True, capture_output=True, timeout=120, text=True
        )
        self.files["passwords.yml"] = (folder / "passwords.yml").read_bytes()
        if user := json.loads(done.stdout)["user"]:
            self.globals[user["variable"]] = user["after"]

    def secret(self, name: str) -> str:
        """A password of the site, in the clear."""
        keys = sops.Keys(ssh_key_file=self.root / "key")
        return str(sops.decrypt(self.files["passwords.yml"], name="passwords.yml", keys=keys)[name].reveal())

    # --- daemons -----------------------------------------------------------------------------------------------------

    def start(self, host: str) -> None:
        """The real daemon of a host."""
        argv = [sys.executable, "-m", "reconciler", "--config", str(self.settings[host]), "run"]
        self.daemons[host] = self.lan.machines[host].start(argv, self.root / f"{host}.log")

    def stop(self, host: str, number: int = signal.SIGTERM) -> None:
        """End a daemon. `nsenter` waits for it as its child, and hands on no signal."""
        process = self.daemons.pop(host)
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child[0]) if child else process.pid, number)
        process.wait(120)

    def wipe(self, host: str) -> None:
        """Take from a host all that a new disk would lack: containers, volumes, state, settings, rendered files."""
        if host in self.daemons:
            self.stop(host, signal.SIGKILL)
        script = (
            "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes > /dev/null; "
            "docker volume ls --quiet | xargs --no-run-if-empty docker volume rm > /dev/null; "
            "rm -rf /var/lib/reconciler /run/reconciler /etc/reconciler; find /etc/kolla -mindepth 1 -delete"
        )
        self.lan.machines[host].run(["sh", "-ec", script])

    def install(self, host: str) -> str:
        """`node install` as on a new host, with the site's etcd added to the settings, and its daemon; returns what it said."""
        words: list[str | Path] = [
            "--url",
            self.repository.as_uri(),
            "--host",
            host,
            "--ssh-key-file",
            self.root / "key",
        ]
        words += ["--engine", "unix:///run/docker.sock", "--metrics", "", "--no-start"]
        machine = self.lan.machines[host]
        said = machine.program("node", "install", *words)
        path = self.settings[host] = Path("/etc/reconciler/reconciler.toml")
        text = machine.run(["cat", path]).stdout.replace("[daemon]\n", "[daemon]\ninterval = 2\n")
        machine.run(["sh", "-c", f"cat > {path}"], give=f"{text}\n[fleet]\netcd = {json.dumps(ETCD)}\ntimeout = 2\n")
        self.start(host)
        return said

    def program(self, host: str, *words: str, check: bool = True) -> str:
        """The program, as an operator calls it on a host."""
        return self.lan.machines[host].program("--config", self.settings[host], *words, check=check)

    @contextlib.contextmanager
    def client(self, kind: str, name: str, *words: str) -> Iterator[Path]:
        """One of `clients.py` at the switch, outside of every machine, while the block lasts; gives the file with its notes."""
        notes = self.root / f"{name}.jsonl"
        with (
            self.root.joinpath("clients.log").open("ab") as log,
            self.lan.start([sys.executable, "-m", "tests.clusters.clients", kind, notes, *words], log) as process,
        ):
            try:
                yield notes
            finally:
                process.terminate()
                assert process.wait(90) == 0, self.root.joinpath("clients.log").read_text()[-3000:]

    @contextlib.contextmanager
    def container(self, host: str, name: str, image: str, *words: str, files: Sequence[Path] = ()) -> Iterator[Path]:
        """A client in a container of an image, on the network of a machine, while the block lasts; gives the file with its notes."""
        notes, machine = self.root / f"{name}.jsonl", self.lan.machines[host]
        binds = [word for path in files for word in ("--volume", f"{path}:{path}:ro")]
        argv = [
            "docker",
            "run",
            "--rm",
            "--name",
            f"rt-{name}",
            "--network=host",
            "--user=root",
            *binds,
            f"--entrypoint={words[0]}",
        ]
        with machine.start([*argv, kolla.default_target().name(image), *words[1:]], notes) as process:
            try:
                yield notes
            finally:
                machine.run(["docker", "stop", "--time=60", f"rt-{name}"], check=False)
                process.wait(90)

    # --- what can be seen ----------------------------------------------------------------------------------------------

    def execute(self, host: str, container: str, *argv: str, check: bool = True) -> str:
        """What a command in a container prints."""
        return self.lan.machines[host].run(["docker", "exec", container, *argv], check=check).stdout.strip()

    def started(self, host: str, container: str) -> str:
        """When a container was started."""
        argv = ["docker", "inspect", "--format", "{{.State.StartedAt}}", container]
        return self.lan.machines[host].run(argv).stdout.strip()

    def kill(self, host: str, program: str, name: str = "KILL") -> None:
        """A signal, by default kill -9, for every process of a program on a machine, in whatever container."""
        self.lan.machines[host].run(["pkill", f"-{name}", "--exact", program])

    # --- MariaDB -------------------------------------------------------------------------------------------------------

    def query(self, host: str, statement: str, check: bool = True) -> list[str]:
        """The rows that a member answers with, as its administrator; empty with `check` false when it does not answer."""
        argv = ["mariadb", "--no-defaults", f"--host={HOSTS[host]}", "--user=root", f"--password={self.root_password}"]
        return self.execute(host, "mariadb", *argv, "-BN", f"--execute={statement}", check=check).splitlines()

    def status(self, host: str, *names: str) -> dict[str, str]:
        """Galera's own words about a member; empty while it does not answer."""
        words = ",".join(f"'{name}'" for name in names)
        rows = self.query(host, f"SHOW GLOBAL STATUS WHERE Variable_name IN ({words})", check=False)
        return dict(row.split("\t") for row in rows if "\t" in row)

    @property
    def root_password(self) -> str:
        return self.secret("database_password")

    def proved(self, commit: str) -> set[str]:
        """The hosts that have proved a commit, as etcd knows."""
        done = self.lan.run([sys.executable, "-c", _PROVED, *ETCD, f"proof/{commit}/"])
        return {name.rpartition("/")[2] for name in done.split()}
