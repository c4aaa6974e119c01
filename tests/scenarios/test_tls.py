"""TLS everywhere on genuine containers: certificates of the site's own authority at the load balancer, behind it, and at the broker."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from keystoneauth1 import session
from keystoneauth1.identity import v3

from tests.git.servers import ssh_key
from tests.scenarios import cloud
from tests.support.lab import ADDRESS, VIP, Lab, results, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

KEYSTONE, BROKER = 5000, 5671
PLACES = {"the load balancer": (VIP, KEYSTONE), "Keystone": (ADDRESS, KEYSTONE), "the broker": (ADDRESS, BROKER)}
GLOBALS = """
kolla_enable_tls_internal: true
kolla_enable_tls_backend: true
kolla_copy_ca_into_containers: true
rabbitmq_enable_tls: true
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine_url: str, kolla_images: dict[str, str]) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("tls") / "lab", engine_url) as lab:
        operator = ssh_key(lab.root / "operator")
        cloud.first(lab, " ".join(Path(f"{operator}.pub").read_text().split()[:2]))
        lab.write({"globals.yml": (lab.site / "globals.yml").read_text() + GLOBALS})
        sign(lab)
        lab.push("TLS everywhere")
        report = lab.reconcile()
        assert report.converged, [(o.action.id, o.message) for o in report.failed]
        wait_for("a token", lambda: token(lab), 60, 0.5)
        yield lab


def sign(lab: Lab, *words: str) -> None:
    lab.run("certificates", str(lab.site), "--ssh-key-file", str(lab.root / "operator"), *words)


def root(lab: Lab) -> Path:
    return lab.site / "config/certificates/ca/root.crt"


def shown(lab: Lab, place: str) -> bytes:
    """The certificate that is shown there, which is believed by the authority alone, with its name."""
    context = ssl.create_default_context(cafile=str(root(lab)))
    with (
        socket.create_connection(PLACES[place], timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=PLACES[place][0]) as both,
    ):
        return both.getpeercert(binary_form=True) or b""


def token(lab: Lab) -> str:
    """A token through the load balancer, by whoever believes the site's authority; "" where there is none."""
    password = lab.target().prepared.secrets["keystone_admin_password"].reveal()
    whoever = v3.Password(
        auth_url=f"https://{VIP}:{KEYSTONE}/v3",
        username="admin",
        password=password,
        project_name="admin",
        user_domain_id="default",
        project_domain_id="default",
    )
    with contextlib.suppress(Exception):
        return str(session.Session(auth=whoever, verify=str(root(lab))).get_token())
    return ""


def test_everything_that_listens_shows_a_certificate_of_the_site(lab: Lab) -> None:
    assert token(lab)
    found = {place: shown(lab, place) for place in PLACES}
    assert all(found.values()) and found["Keystone"] == found["the broker"] != found["the load balancer"]
    with pytest.raises(requests.exceptions.SSLError, match="unable to get local issuer"):
        requests.get(f"https://{VIP}:{KEYSTONE}/v3", timeout=10)
    for place in PLACES:
        with pytest.raises(requests.exceptions.RequestException):
            requests.get(f"http://{':'.join(map(str, PLACES[place]))}/v3", timeout=10).raise_for_status()
    assert lab.reconcile(deep=True).plan.empty  # type: ignore[union-attr]


def test_another_certificate_is_shown_by_everybody_and_drops_no_connection_of_the_load_balancer(lab: Lab) -> None:
    before, kept = {place: shown(lab, place) for place in PLACES}, lab.identities()
    authority, stop, failed, asked = root(lab).read_bytes(), threading.Event(), list[str](), list[float]()

    def ask() -> None:
        """New connections to the load balancer, whatever is behind it: what does not reach it fails."""
        context = ssl.create_default_context(cafile=str(root(lab)))
        while not stop.wait(0.1):
            began = time.monotonic()
            try:
                with (
                    socket.create_connection(PLACES["the load balancer"], timeout=10) as connection,
                    context.wrap_socket(connection, server_hostname=VIP),
                ):
                    asked.append(time.monotonic() - began)
            except OSError as error:
                failed.append(str(error))

    client = threading.Thread(target=ask)
    client.start()
    try:
        sign(lab, "--renew")
        lab.push("other certificates")
        report = lab.reconcile()
    finally:
        stop.set()
        client.join()
    assert report.converged, [(o.action.id, o.message) for o in report.failed]
    print("renewed", len(asked), "connections, slowest", round(max(asked), 3), results(report), flush=True)
    assert root(lab).read_bytes() == authority, "who believed the site before believes it still"
    assert failed == [] and len(asked) > 10
    after = {place: shown(lab, place) for place in PLACES}
    assert all(after[place] != before[place] for place in PLACES)
    assert lab.identities()["haproxy"] == kept["haproxy"], "it was told to read the new one"
    wait_for("a token", lambda: token(lab), 60, 0.5)
