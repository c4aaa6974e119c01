"""What a user does in the cloud, with OpenStack's own client library: each makes something, waits for it and checks it."""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack
from openstack.connection import Connection

from tests.demo.bed import DemoFailed

TEMPLATE = {
    "heat_template_version": "2021-04-16",
    "resources": {
        "word": {"type": "OS::Heat::RandomString", "properties": {"length": 16}},
        "net": {"type": "OS::Neutron::Net", "properties": {"name": "of-a-stack"}},
        "subnet": {
            "type": "OS::Neutron::Subnet",
            "properties": {"network": {"get_resource": "net"}, "cidr": "192.0.2.0/24", "enable_dhcp": False},
        },
    },
    "outputs": {"word": {"value": {"get_attr": ["word", "value"]}}},
}
_SIZE = 3 * 2**20 + 17  # bytes, no multiple of anything


class Cloud:
    """A cloud's administrator. Whatever does not come about in `patience` seconds raises DemoFailed with what the service says."""

    def __init__(self, connection: Connection, patience: float = 180.0) -> None:
        self.connection, self.patience = connection, patience

    def ready_compute(self) -> tuple[str, str]:
        """Host and state of the one compute, when the cell has it and placement knows what it offers."""
        # The library's `services` has no state for what has not yet reported.
        found = self._wait(
            "a compute that the cell knows", lambda: [*self.connection.compute.hypervisors(details=True)]
        )
        name = found[0].name
        self._wait(
            f"placement knows {name}",
            lambda: [p for p in self.connection.placement.resource_providers() if p.name == name],
        )
        return name, f"{found[0].state}, {found[0].status}"

    def made(self, name: str) -> dict[str, str]:
        """The identifiers of the flavor, network, subnet and security group of that name."""
        network = self.connection.network
        found = {
            "flavor": self.connection.compute.find_flavor(name),
            "network": network.find_network(name),
            "subnet": network.find_subnet(name),
            "security_group": network.find_security_group(name),
        }
        if absent := ", ".join(what for what, item in found.items() if item is None):
            raise DemoFailed(f"the cloud has no {absent} called {name}")
        rules = [rule for rule in found["security_group"].security_group_rules if rule["direction"] == "ingress"]
        if sorted(str(rule["port_range_max"]) for rule in rules) != ["22", "5010", "None"]:
            raise DemoFailed(f"the security group {name} has other rules than the commit says: {rules}")
        return {what: str(item.id) for what, item in found.items()}

    def image(self) -> tuple[Any, str]:
        """An image of random bytes, sent and fetched again; returns it and the digest of what came back."""
        content = os.urandom(_SIZE)
        image = self.connection.image.create_image(
            "random bytes", data=content, disk_format="raw", container_format="bare", validate_checksum=True, wait=True
        )
        back = self.connection.image.download_image(str(image.id)).content
        if back != content:
            raise DemoFailed(f"{len(content)} bytes were sent as an image and {len(back)} others came back")
        return image, hashlib.sha256(back).hexdigest()

    def network(self) -> tuple[Any, Any, Any]:
        """A network, its subnet and a port in it."""
        network = self.connection.network.create_network(name="plain")
        subnet = self.connection.network.create_subnet(
            network_id=network.id, name="plain", ip_version=4, cidr="198.51.100.0/24"
        )
        port = self.connection.network.create_port(network_id=network.id, name="first")
        return network, subnet, port

    def server(self, image: Any, port: Any) -> Any:
        """A server of that image on that port."""
        flavor = self.connection.compute.create_flavor(name="tiny", ram=64, vcpus=1, disk=1)
        made = self.connection.compute.create_server(
            name="first", image_id=image.id, flavor_id=flavor.id, networks=[{"port": port.id}]
        )

        def active() -> Any:
            now = self.connection.compute.get_server(made.id)
            if now.status == "ERROR":
                raise DemoFailed(f"the server is in error: {(now.fault or {}).get('message', 'nova says nothing')}")
            return now if now.status == "ACTIVE" else None

        return self._wait("the server is active", active)

    def stack(self) -> Any:
        """A stack of a word, a network and its subnet."""
        made = self.connection.orchestration.create_stack(name="first", template=TEMPLATE, timeout_mins=5)

        def complete() -> Any:
            now = self.connection.orchestration.get_stack(made.id)
            if now.status.endswith("FAILED"):
                raise DemoFailed(f"the stack: {now.status_reason}")
            return now if now.status == "CREATE_COMPLETE" else None

        return self._wait("the stack is complete", complete)

    def volume(self) -> Any:
        """A volume of 1 GiB."""
        made = self.connection.block_storage.create_volume(name="first", size=1)

        def there() -> Any:
            now = self.connection.block_storage.get_volume(made.id)
            if now.status == "error":
                raise DemoFailed("the volume is in error (see /var/log/kolla/cinder)")
            return now if now.status == "available" else None

        return self._wait("the volume is available", there)

    def secret(self) -> tuple[Any, int]:
        """A secret, sent and fetched again; returns it and its length."""
        payload = os.urandom(24).hex()
        made = self.connection.key_manager.create_secret(
            name="first", payload=payload, payload_content_type="text/plain", secret_type="passphrase"
        )
        back = self.connection.key_manager.get(
            f"/secrets/{made.secret_id}/payload", headers={"Accept": "text/plain"}
        ).text
        if back != payload:
            raise DemoFailed("the key manager gives back another secret than it was given")
        return made, len(back)

    def _wait(self, what: str, ready: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + self.patience
        while not (found := ready()):
            if time.monotonic() > deadline:
                raise DemoFailed(f"not within {self.patience:g} s: {what}")
            time.sleep(0.5)
        return found


@contextlib.contextmanager
def connect(openrc: Path) -> Iterator[Cloud]:
    """The administrator whom an openrc file names."""
    found = dict(re.findall(r"^export OS_(\w+)='?([^'\n]*)", openrc.read_text(), re.MULTILINE))
    connection = openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        app_name="demo-cloud",
        region_name=found["REGION_NAME"],
        interface="public",
        auth={
            "auth_url": found["AUTH_URL"],
            "username": found["USERNAME"],
            "password": found["PASSWORD"],
            "project_name": found["PROJECT_NAME"],
            "user_domain_name": found["USER_DOMAIN_NAME"],
            "project_domain_name": found["PROJECT_DOMAIN_NAME"],
        },
    )
    try:
        yield Cloud(connection)
    finally:
        connection.close()
