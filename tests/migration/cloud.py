"""A cloud that the real kolla-ansible deployed on a `Machine`: its own programs, playbooks, modules and images.

Besides what `machine.py` stands in for: `privileged` is taken out of what is asked of the engine (of the containers here,
`kolla_toolbox` alone asks for it), kernel parameters are not set, nor modules loaded, and the open files of a container are the machine's.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import docker
import yaml

from tests.images import kolla
from tests.migration.machine import Machine
from tests.parity import environment

RELEASE = "2025.1"
IMAGES = (
    "cron", "memcached", "haproxy", "mariadb-server", "mariadb-clustercheck", "rabbitmq", "keystone", "keystone-fernet",
    "keystone-ssh", "kolla-toolbox",
)  # fmt: skip
VIP = "192.0.2.10"
GLOBALS = f"""\
---
# A small cloud: identity, and what it needs.
kolla_base_distro: "debian"
kolla_internal_vip_address: "{VIP}"
network_interface: "eth0"
neutron_external_interface: "eth0-far"

# Nobody else is here to take the address over.
enable_keepalived: "no"
enable_openstack_core: "no"
enable_keystone: "yes"
enable_glance: "no"
enable_fluentd: "no"
enable_proxysql: "no"

default_container_dimensions: {{}}
haproxy_max_connections: 2000
set_sysctl: "no"
"""
WORKER = "share/kolla-ansible/ansible/module_utils/kolla_container_worker.py"
MODULES = "share/kolla-ansible/ansible/roles/module-load/tasks/main.yml"
_ENVELOPE = "        self.params = self.module.params\n"


class KollaAnsible:
    """kolla-ansible as installed, for one or several machines; the first is where it is run."""

    def __init__(self, root: Path, machines: list[Machine], globals_: str = GLOBALS) -> None:
        self.folder, _ = environment.prepare(RELEASE)
        self.root, self.machines = root, machines
        root.mkdir(parents=True, exist_ok=True)
        self.etc = Path("/etc/kolla")
        self._modules()
        self._configure(globals_)

    def _modules(self) -> None:
        """What kolla-ansible's modules import on a node: python3-dbus of the system, Docker's client."""
        modules = self.root / "modules"
        modules.mkdir()
        system = Path("/usr/lib/python3/dist-packages")
        for path in (Path(docker.__file__).parent, *system.glob("dbus"), *system.glob("_dbus_*.so")):
            (modules / path.name).symlink_to(path)
        worker = (self.folder / WORKER).read_text()
        assert _ENVELOPE in worker
        patched = self.root / "kolla_container_worker.py"
        patched.write_text(worker.replace(_ENVELOPE, f"{_ENVELOPE}        self.params['privileged'] = False\n"))
        nothing = self.root / "nothing.yml"
        nothing.write_text("[]\n")
        for found, instead in ((WORKER, patched), (MODULES, nothing)):
            self.machines[0].run(["mount", "--bind", instead, self.folder / found])

    def _configure(self, globals_: str) -> None:
        machine = self.machines[0]
        etc = machine.root / "etc" / "kolla"
        (etc / "globals.yml").write_text(globals_)
        shutil.copyfile(self.folder / "share/kolla-ansible/etc_examples/kolla/passwords.yml", etc / "passwords.yml")
        machine.run([self.folder / "bin" / "kolla-genpwd", "-p", "/etc/kolla/passwords.yml"])
        text = (self.folder / "share/kolla-ansible/ansible/inventory/all-in-one").read_text()
        names = "\n".join(f"{each.name} ansible_connection=local" for each in self.machines)
        (etc / "inventory").write_text(text.replace("localhost       ansible_connection=local", names))

    def run(self, verb: str, *words: str, check: bool = True, timeout: float = 1500) -> str:
        """Run one of its commands; returns what it printed."""
        argv: list[str | Path] = [
            self.folder / "bin" / "kolla-ansible", verb, "--inventory", "/etc/kolla/inventory", "--configdir", "/etc/kolla",
            *words,
        ]  # fmt: skip
        done = self.machines[0].run(argv, check=False, timeout=timeout, extra=self._environment())
        output = done.stdout + done.stderr
        (self.root / f"{verb}.log").write_text(output)
        assert not check or done.returncode == 0, f"kolla-ansible {verb} failed:\n{output[-6000:]}"
        return output

    def ansible(self, *words: str | Path) -> str:
        """Run Ansible itself with the inventory."""
        argv = [self.folder / "bin" / "ansible", "-i", "/etc/kolla/inventory", *words]
        return self.machines[0].run(argv, extra=self._environment()).stdout

    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": f"{self.folder}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": str(self.root / "modules"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ANSIBLE_PYTHON_INTERPRETER": str(self.folder / "bin" / "python"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
        }

    def passwords(self) -> Mapping[str, object]:
        """The passwords of the cloud."""
        found = yaml.safe_load((self.machines[0].root / "etc/kolla/passwords.yml").read_text())
        assert isinstance(found, dict)
        return found


def images() -> dict[str, str]:
    """Short name → full name of what the deployment runs."""
    target = kolla.default_target()
    return {image: target.name(image) for image in IMAGES}


def recap(output: str) -> dict[str, dict[str, int]]:
    """Host → figure → count, of the last lines of a run."""
    found = {}
    for line in output.rpartition("PLAY RECAP")[2].splitlines():
        host, colon, figures = line.partition(" : ")
        if colon:
            found[host.strip()] = {name: int(count) for name, _, count in (f.partition("=") for f in figures.split())}
    return found


def facts(kolla_ansible: KollaAnsible, folder: Path) -> None:
    """Ansible's own view of the machines, as `ansible -m setup --tree` writes it."""
    kolla_ansible.ansible("all", "-m", "setup", "--tree", folder)
