"""The site of the virtual machines, and what a test asks of the node."""

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.images.build import BUSYBOX
from tests.vm.machine import Machine

HOST = "ctl1"
SITE = {
    "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: 127.0.0.1}}\n    groups: [edge]\n",
    "reconciler.yml": "name: real\n",
    "globals.yml": "kolla_internal_vip_address: 127.0.0.1\nedge_colour: blue\n",
    "services/edge/variables.yml": "edge_colour: {description: A colour., type: string, default: blue}\n",
    "services/edge/templates/edge.conf.j2": "[DEFAULT]\ncolour = {{ edge_colour }}\n",
    "services/edge/service.yml": f"""\
description: A privileged process with a file, and what it needs of the host
groups: {{edge: []}}
host:
  sysctl: [{{name: net.ipv4.ip_nonlocal_bind, value: 1}}]
  modules: [{{name: ip_vs}}]
  hosts: [{{address: 192.0.2.9, names: [peer, peer.example.org]}}]
  files: [{{path: /etc/udev/rules.d/99-edge.rules, content: 'KERNEL=="full", MODE="0640"', devices: [full]}}]
containers:
  edge:
    group: edge
    kolla: false
    image: {BUSYBOX}
    privileged: true
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1; done"]
    stop_timeout: 5
    stability: 1
    files:
      - {{name: edge.conf, template: edge.conf.j2, merge: ini, overrides: [edge.conf], destination: /etc/edge.conf, mode: "0644"}}
""",
}


class Node:
    """The machine, with the site's repository on it."""

    def __init__(self, machine: Machine, program: str) -> None:
        self.machine, self.program = machine, program
        self.run = machine.run

    def prepare(self) -> None:
        """A host key, and empty repositories."""
        self.make_host_key()
        self.run("git init -q --bare -b main /srv/site.git && git init -q -b main /srv/work")

    def make_host_key(self) -> str:
        """Give it a host key; returns the public one."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        self.machine.put("/etc/ssh/ssh_host_ed25519_key", private, 0o600)
        self.machine.put("/etc/ssh/ssh_host_ed25519_key.pub", public)
        return public.decode()

    def commit(self, files: dict[str, str], message: str) -> str:
        """Commit into the site's repository; returns the commit."""
        for name, content in files.items():
            self.machine.put(f"/srv/work/{name}", content)
        git = "git -C /srv/work -c user.name=operator -c user.email=operator@example.org"
        # A power cut must not take what git has not put on the disk: it is the operator's, and nobody's to heal.
        self.run(f"{git} add -A && {git} commit -qm '{message}' && {git} push -q /srv/site.git HEAD:main && sync")
        return self.head()

    def head(self) -> str:
        """The newest commit of the site."""
        return self.run("git -C /srv/work rev-parse HEAD").stdout.strip()

    def converged(self, commit: str) -> bool:
        """Whether the daemon says that this commit is in force and all is well."""
        found = self.report()
        ready = [c for c in found.get("conditions", ()) if c["type"] == "Ready"]
        return str(found.get("revision", "")) == commit and bool(ready) and ready[0]["status"] is True

    def report(self) -> dict[str, Any]:
        """The daemon's last report, as it lies in its state; empty while there is none.

        `reconciler status` shows the same, and starts an interpreter for it: asked every second, that takes the daemon's processor.
        """
        done = self.run("cat /var/lib/reconciler/report.json", check=False)
        return dict(json.loads(done.stdout)) if done.code == 0 else {}

    def status(self) -> dict[str, Any]:
        """What `reconciler status` shows."""
        return dict(json.loads(self.run(f"{self.program} status --json").stdout))

    def has_nothing_to_do(self) -> bool:
        """Whether a look of its own finds everything as the commit says."""
        return self.run(f"{self.program} plan --detailed-exitcode", check=False).code == 0

    def container(self, name: str = "edge") -> tuple[str, str, int]:
        """ID, time of start and PID of the site's container, or another."""
        found = json.loads(self.run(f"docker inspect {name}").stdout)[0]
        return found["Id"], found["State"]["StartedAt"], found["State"]["Pid"]

    def pid(self) -> str:
        """The daemon's PID, "0" when it does not run."""
        return self.run("systemctl show -p MainPID --value reconciler").stdout.strip()
