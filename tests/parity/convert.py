"""A site of kolla-ansible's as a site of ours.

Small, and only for this comparison: what `sites/` needs. It takes the groups and variables that kolla-ansible's own inventory
parser found, an address per network from the interfaces' facts, and leaves out what the catalogue does not know, by name.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from reconciler import catalogue, site
from reconciler.catalogue import Catalogue
from reconciler.errors import SiteInvalid
from reconciler.site.networks import NETWORKS
from tests.parity.oracle import Render, Site
from tests.services.golden import SHIPPED, read
from tests.support import sealed

OWN = "site_"
# Whose files kolla-ansible is given by their paths on the deployment host; here they are below a folder of the site.
BELOW = dict.fromkeys(
    ("keystone_identity_providers", "keystone_identity_mappings"), "{{ node_custom_config }}/keystone/federation/"
)
# What is a file of the site with kolla-ansible and a secret with us.
CERTIFICATES = {
    "haproxy_external_certificate": "certificates/haproxy.pem",
    "haproxy_internal_certificate": "certificates/haproxy-internal.pem",
}
# What sites do not bring although kolla-ansible asks for it, and stops: a stand-in, so that we can be compared with as far as it came.
MISSED = tuple(
    f"config/octavia/{name}.pem"
    for name in ("client.cert-and-key", "client_ca.cert", "server_ca.cert", "server_ca.key")
)


@dataclass(frozen=True, slots=True)
class Converted:
    """A site of ours, and what of kolla-ansible's did not make it: `variable NAME`, `file PATH`."""

    site: site.Site
    left_out: tuple[str, ...]
    secrets: Mapping[str, Any]  # what the site's secrets are, by our names
    files: Mapping[str, bytes]  # what the site is made of


def convert(given: Site, rendered: Render, shipped: Catalogue | None = None) -> Converted:
    """Raises SiteInvalid when what is left is no valid site."""
    return _Converter(given, rendered, shipped or catalogue.load(read(SHIPPED), "catalogue")).converted()


class _Converter:
    def __init__(self, given: Site, rendered: Render, shipped: Catalogue) -> None:
        self._given = given
        self._listed = rendered.inventory
        self._known = rendered.known
        # What a release of kolla-ansible knows no password of is there all the same.
        self._passwords = {name: f"pw_{name}" for name in shipped.passwords()} | dict(rendered.passwords)
        self._shipped = shipped
        self._left: dict[str, None] = {}
        self._own: dict[str, str] = {}
        self._globals = given.read("globals.yml")
        self._passwords |= {name: self._globals[name] for name in shipped.passwords() if name in self._globals}
        for name, path in CERTIFICATES.items():
            if (given.folder / path).exists():
                self._passwords[name] = (given.folder / path).read_text().strip()

    def converted(self) -> Converted:
        files = {
            "inventory.yml": self._yaml(self._inventory()),
            "globals.yml": self._yaml({"openstack_release": self._given.release} | self._variables(self._globals)),
            "passwords.yml": sealed.text(self._secrets()).encode(),
            "reconciler.yml": self._yaml({"name": self._given.name}),
        }
        for name, content in self._group_variables():
            files[name] = self._yaml(content)
        for path, content in self._given.files():  # type: ignore[assignment]
            if path.startswith("config/") and path not in files:
                files[path] = self._override(content)  # type: ignore[arg-type]
            elif path.startswith("certificates/") and path not in CERTIFICATES.values():
                files[f"config/{path}"] = content  # type: ignore[assignment]
        if str(self._globals.get("enable_octavia", "no")) == "yes":
            files = {**dict.fromkeys(MISSED, b"in its place"), **files}
        loaded, files = self._load(files)
        return Converted(loaded, tuple(self._left), self._passwords, files)

    def _load(self, files: dict[str, bytes]) -> tuple[site.Site, dict[str, bytes]]:
        """The site without the overrides that no service of ours reads, and its files."""
        try:
            return site.load(files, self._shipped), files
        except SiteInvalid as error:
            unread = {item.file for item in error.problems if item.message == "no service reads this file"}
            if not unread:
                raise
        self._left.update(dict.fromkeys(f"file {path}" for path in sorted(unread)))
        files = {path: content for path, content in files.items() if path not in unread}
        return site.load(files, self._shipped), files

    def _yaml(self, content: Any) -> bytes:
        return yaml.safe_dump(content, sort_keys=False).encode()

    def _variables(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The variables that ours knows; the site's own get the prefix that ours have."""
        result = {}
        for name, value in values.items():
            if name in self._shipped.variables:
                if self._shipped.variables[name].absent(self._given.release):
                    self._left[f"variable {name}"] = None
                else:
                    result[name] = json.loads(json.dumps(value).replace(BELOW[name], "")) if name in BELOW else value
            elif name in self._shipped.passwords():
                continue
            elif name in self._known or name.startswith(("enable_", "ansible_")):
                self._left[f"variable {name}"] = None
            else:
                self._own[name] = OWN + name.removeprefix(OWN)
                result[self._own[name]] = value
        return result

    def _override(self, content: bytes) -> bytes:
        """An override with the new names of the site's own variables."""
        text = content.decode()
        for name, new in self._own.items():
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", new, text)
        return text.encode()

    def _secrets(self) -> dict[str, Any]:
        """A ciphertext for each secret of the catalogue."""
        secrets: dict[str, Any] = {}
        for name in sorted(self._shipped.passwords()):
            value = self._passwords.get(name, name)
            secrets[name] = {part: part for part in value} if isinstance(value, Mapping) else name
        return secrets

    # --- the inventory ---------------------------------------------------------------------------------------------

    def _inventory(self) -> dict[str, Any]:
        facts = self._given.read("facts.yml")
        hosts = {}
        for name in self._hosts("all"):
            own = facts.get("hosts", {}).get(name, {})
            known = {**facts.get("facts", {}), **own.get("facts", {})}
            shown = ("hostname", "nodename", "fqdn", "processor_vcpus", "memtotal_mb", "distribution")
            interfaces = self._interfaces(name)
            addresses = {network: own.get("interfaces", {}).get(used) for network, used in interfaces.items()}
            hosts[name] = {
                "addresses": {network: address for network, address in addresses.items() if address},
                "interfaces": interfaces,
                "facts": {"processor_vcpus": 8, "memtotal_mb": 32000}
                | {key: known[key] for key in shown if key in known},
            }
        groups = {}
        wanted = self._shipped.groups()
        own = [name for name, entry in self._listed.items() if entry.get("vars") and name not in ("_meta", "all")]
        names = [*wanted, *(group for groups in wanted.values() for group in groups), *own]
        for name in names:  # which grows by the site's own groups below these
            if name in self._listed and name not in groups:
                entry = self._listed[name]
                children = [child for child in entry.get("children", ()) if child in self._listed]
                groups[name] = {"hosts": list(entry.get("hosts", ())), "children": children}
                names += children
        return {
            "hosts": hosts,
            "groups": {name: {k: v for k, v in group.items() if v} for name, group in groups.items()},
        }

    def _hosts(self, group: str) -> list[str]:
        entry = self._listed.get(group, {})
        found = dict.fromkeys(entry.get("hosts", ()))
        for child in entry.get("children", ()):
            found.update(dict.fromkeys(self._hosts(child)))
        return list(found)

    def _interfaces(self, host: str) -> dict[str, str]:
        own = self._host_variables(host)
        names = {}
        for network in (*NETWORKS, "neutron_external"):
            name = f"{network}_interface" if network != "octavia_network" else "octavia_network_interface"
            value = self._globals.get(name, own.get(name))
            if isinstance(value, str) and "{{" not in value:
                names[network] = value
        return names

    def _host_variables(self, host: str) -> Mapping[str, Any]:
        found = dict(self._listed.get("_meta", {}).get("hostvars", {}).get(host, {}))
        for name, entry in self._listed.items():
            if name != "_meta" and host in self._hosts(name):
                found = {**entry.get("vars", {}), **found}
        return found

    def _group_variables(self) -> Iterable[tuple[str, Mapping[str, Any]]]:
        interfaces = {f"{network}_interface" for network in (*NETWORKS, "neutron_external")}
        for name, entry in self._listed.items():
            if name not in ("_meta", "all") and entry.get("vars"):
                yield f"groups/{name}.yml", self._variables(entry["vars"])
        for host, values in self._listed.get("_meta", {}).get("hostvars", {}).items():
            # kolla-ansible hands globals.yml over as extra variables, which beat a host's.
            kept = {
                name: value for name, value in values.items() if name not in self._globals and name not in interfaces
            }
            if kept:
                yield f"hosts/{host}.yml", self._variables(kept)
