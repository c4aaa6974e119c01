"""Flavors, networks, subnets and security groups at genuine Nova and Neutron, which have a genuine Keystone and MariaDB."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator

import docker
import pytest
import requests

from reconciler.model import Registrar, Registration
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry
from tests.conftest import LABEL, PREFIX
from tests.images import build, kolla
from tests.registrations.conftest import _SCRIPTS, NOTHING, START_SECONDS, Site, connect, free_port
from tests.registrations.test_cloud import ALL, FLAVOR, GROUP, NETWORK, SUBNET, changed

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

_IMAGES = {"nova": "nova-api", "neutron": "neutron-server"}
CARRIED = changed(NETWORK, physical_network="physnet1")


@pytest.fixture(scope="module")
def cloud(servers, engine_url: str) -> Iterator[Registry]:  # type: ignore[no-untyped-def]
    """A registry with the registrars of both, whose users Keystone has."""
    keystone, database = servers["keystone"], servers["mariadb"]
    identity = f"http://127.0.0.1:{keystone.port}/v3"
    password = secrets.token_urlsafe(24)
    with (
        contextlib.closing(docker.DockerClient(base_url=engine_url)) as client,
        Registry([keystone.registrar(password=keystone.admin)], str, patience=10, proofs=Proofs()) as admin,
        contextlib.ExitStack() as stack,
    ):
        target = kolla.default_target()
        absent = [image for image in _IMAGES.values() if not build.present(client, target.name(image))]
        if absent:
            pytest.skip(f"needs the images {', '.join(absent)} (`python -m tests.images.build --set cloud`)")
        project = {"name": "service", "domain": "default"}
        admin.converge(Registration("keystone", "project", "default/service", project))
        registrars = []
        for kind, image in _IMAGES.items():
            user = {"name": kind, "domain": "default", "password": password}
            admin.converge(Registration("keystone", "user", f"default/{kind}", user))
            role = {"user": kind, "domain": "default", "role": "admin", "project": "service"}
            admin.converge(Registration("keystone", "role_assignment", f"default/{kind}/service/admin", role))
            with contextlib.closing(connect(database, "root", database.admin)) as connection:
                for name in (kind, f"{kind}_main"):
                    connection.cursor().execute(f"CREATE DATABASE {name}")
            port = free_port()
            container = client.containers.run(
                target.name(image),
                [(_SCRIPTS / f"{kind}.sh").read_text()],
                entrypoint=["dumb-init", "--", "bash", "-c"],
                user="root",
                name=f"{PREFIX}registrations-{kind}-{os.getpid()}",
                labels={LABEL: "1"},
                environment={
                    "PORT": str(port),
                    "KEYSTONE": identity,
                    "PASSWORD": password,
                    "DATABASE": f"mysql+pymysql://root:{database.admin}@127.0.0.1:{database.port}/{kind}",
                },
                network_mode="host",
                tmpfs={"/data": "mode=1777"},
                detach=True,
            )
            stack.callback(container.remove, force=True)
            where = {"url": f"http://127.0.0.1:{port}", "auth_url": identity, "username": kind, "password": password}
            registrars.append((container, Registrar(kind, {**where, "project": "service"})))
        for container, registrar in registrars:
            _wait(container, str(registrar.connection["url"]))
        with Registry([registrar for _, registrar in registrars], str, patience=10, proofs=Proofs()) as found:
            yield found


def _wait(container, url: str) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 2 * START_SECONDS
    while True:
        container.reload()
        if container.status != "running" or time.monotonic() > deadline:
            log = container.logs(tail=40).decode(errors="replace")
            pytest.fail(f"{container.name} did not start ({container.status}):\n{log}", pytrace=False)
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).status_code < 500:
                return
        time.sleep(0.3)


def test_everything_is_made_told_changed_and_taken_away(cloud: Registry) -> None:
    wanted = (FLAVOR, CARRIED, SUBNET, GROUP)
    found, unknown = cloud.observe(wanted, NOTHING)
    assert not unknown and found == dict.fromkeys((item.id for item in wanted), None)
    for _ in range(2):
        for item in wanted:
            cloud.converge(item)
        _is_so(cloud, *wanted)
    known, unknown = cloud.identify(wanted, NOTHING)
    assert not unknown and len({value for value in known.values() if value}) == 4
    later = (
        changed(CARRIED, shared=True),
        changed(SUBNET, dhcp=False),
        changed(GROUP, description="who may come in", rules=["any from 10.0.0.0/8", "ipv6 icmp", "udp 5000-5010"]),
    )
    for item in later:
        cloud.converge(item)
    _is_so(cloud, *later)
    assert cloud.identify(wanted, NOTHING)[0] == known
    for number in range(5):
        cloud.converge(changed(Registration("nova", "flavor", f"f{number}", FLAVOR.fields), name=f"f{number}"))
    assert cloud.identify(wanted, NOTHING)[0] == known, "more than a page of flavors"
    for item in reversed(ALL):
        cloud.withdraw(Registration(item.kind, item.type, item.key, {}))
    assert cloud.identify(wanted, NOTHING)[0] == dict.fromkeys(known)


def test_a_network_with_a_subnet_goes_whole(cloud: Registry, keystone: Site) -> None:
    """Neutron takes its subnets with it, as long as nobody has a port in them."""
    for item in (NETWORK_OF_ITS_OWN, SUBNET_OF_ITS_OWN):
        cloud.converge(item)
    cloud.withdraw(NETWORK_OF_ITS_OWN)
    found, unknown = cloud.identify([NETWORK_OF_ITS_OWN, SUBNET_OF_ITS_OWN], NOTHING)
    assert not unknown and set(found.values()) == {None}


NETWORK_OF_ITS_OWN = Registration("neutron", "network", "own", {"name": "own", "shared": False, "external": False})
SUBNET_OF_ITS_OWN = Registration(
    "neutron",
    "subnet",
    "own/own",
    {"name": "own", "network": "own", "cidr": "fd00:1::/64", "dhcp": False, "gateway": ""},
)


def _is_so(cloud: Registry, *wanted: Registration) -> None:
    found, unknown = cloud.observe(wanted, NOTHING)
    assert not unknown
    for item in wanted:
        told = found[item.id]
        assert told is not None and {key: told[key] for key in item.fields} == item.fields
