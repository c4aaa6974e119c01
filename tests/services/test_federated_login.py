"""A login with a token of an identity provider, at the genuine Apache and Keystone, by the files and registrations that a site gives them."""

import base64
import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import docker
import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from docker.models.containers import Container

from reconciler.model import Registrar, Registration
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry
from reconciler.render import tokens
from tests.conftest import LABEL, PREFIX
from tests.images import build, kolla
from tests.registrations.conftest import START_SECONDS, free_port
from tests.services import test_federation as site

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

ADMIN = "only-of-this-test"
GLOBALS = 'keystone_oidc_enable_memcached: "no"\n'
ISSUER = "https://sso.example:8443/realms/staff"
PROVIDER = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "jwks_uri": f"{ISSUER}/keys",
    "response_types_supported": ["id_token"],
}
SET_UP = """\
set -e
mkdir -p /var/log/kolla/keystone /etc/keystone/fernet-keys
cp /given/keystone.conf /etc/keystone/keystone.conf
chown -R keystone:keystone /var/log/kolla/keystone /etc/keystone /data
run() { setpriv --reuid keystone --regid keystone --clear-groups "$@"; }
run keystone-manage db_sync
run keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
run keystone-manage bootstrap --bootstrap-password "$ADMIN" --bootstrap-username admin --bootstrap-project-name admin \
  --bootstrap-role-name admin --bootstrap-service-name keystone --bootstrap-region-id RegionOne \
  --bootstrap-internal-url "http://127.0.0.1:$PORT/v3"
# Keystone reads in one SQLite connection while it writes in another.
run python3 -c 'import sqlite3; sqlite3.connect("/data/keystone.db").execute("PRAGMA journal_mode=WAL")'
"""
# Apache serves Keystone until 2025.1; after that it stands in front, in a container of its own.
INSIDE = """\
cp /given/wsgi-keystone.conf /etc/apache2/conf-enabled/
cp -r /given/federation/oidc/metadata /given/federation/oidc/cert /etc/apache2/
chown -R www-data:www-data /etc/apache2/metadata /etc/apache2/cert
exec apache2ctl -DFOREGROUND
"""
BEHIND = "exec uwsgi /given/keystone-uwsgi.ini\n"


def keystone_conf(rendered: str) -> str:
    """What a site says of federation, beside a database of the test's own."""
    kept = re.findall(r"^\[(?:auth|federation|openid)\]\n(?:.+\n)*", rendered, re.MULTILINE)
    assert len(kept) == 3
    own = "[DEFAULT]\nlog_file = /var/log/kolla/keystone/keystone.log\n[database]\nconnection = sqlite:////data/keystone.db\n"
    return f"{own}[identity]\npassword_hash_rounds = 4\n{''.join(kept)}"


def bearer(key: rsa.RSAPrivateKey, **claims: Any) -> str:
    """A token as a provider signs it."""
    until = int((datetime.now(UTC) + timedelta(minutes=30)).timestamp())
    said = {"iss": ISSUER, "sub": "1", "aud": "cloud", "exp": until, **claims}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT", "kid": "key-1"}, said)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signed = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    return (text + b"." + base64.urlsafe_b64encode(signed).rstrip(b"=")).decode()


@pytest.fixture(params=[kolla.FIRST, kolla.NEXT], ids=lambda release: release.name)
def served(
    request: pytest.FixtureRequest, docker_client: docker.DockerClient, tmp_path: Path
) -> Iterator[tuple[str, rsa.RSAPrivateKey, list[Registration]]]:
    """Where Keystone is, the provider's key, and what the site registers."""
    release: kolla.Release = request.param
    target, behind = kolla.default_target(release), release is kolla.NEXT
    for image in ("keystone", "httpd") if behind else ("keystone",):
        if not build.present(docker_client, target.name(image)):
            pytest.skip(f"needs {image} (`python -m tests.images.build --release {release.name} {image}`)")
    key = rsa.generate_private_key(65537, 2048)
    port, http, socket = free_port(), free_port(), free_port()
    given = {
        f"{site.BELOW}sso/{site.ISSUER}.provider": json.dumps(PROVIDER).encode(),
        f"{site.BELOW}sso/key-1.pem": site.rsa_certificate(key),
    }
    found = site.desired(f"openstack_release: '{release.name}'\n{GLOBALS}", {**site.FILES, **given})
    places = {
        "192.0.2.11:5000": f"127.0.0.1:{port}", "*:5000": f"*:{port}", "127.0.0.1:5000": f"127.0.0.1:{http}",
        "127.0.0.1:5001": f"127.0.0.1:{socket}", "localhost:5001": f"localhost:{socket}", "/etc/keystone/certs": "/given",
    }  # fmt: skip
    for container in ("keystone", "keystone_httpd"):
        for name, content in site.files_of(found, container).items():
            text = tokens.bind(content, dict.fromkeys(tokens.names(content), "a1B2c3D4e5F6g7H8i9J0ku"))
            text = re.sub("|".join(map(re.escape, places)), lambda match: places[match[0]], text)
            path = tmp_path / container / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(keystone_conf(text) if name == "keystone.conf" else text)
    with contextlib.ExitStack() as stack:

        def run(name: str, image: str, **how: Any) -> Container:
            running = docker_client.containers.run(
                target.name(image), user="root", network_mode="host", name=f"{PREFIX}{name}-{os.getpid()}",
                labels={LABEL: "1"}, detach=True, **how,
            )  # fmt: skip
            stack.callback(running.remove, force=True)
            return running

        (tmp_path / "logs").mkdir()

        def volume(container: str, place: str) -> dict[str, dict[str, str]]:
            logs = {"bind": "/var/log/kolla", "mode": "rw"}
            return {str(tmp_path / container): {"bind": place, "mode": "ro"}, str(tmp_path / "logs"): logs}

        def alive() -> None:
            for running in all_of_it:
                running.reload()
                if running.status != "running" or time.monotonic() > deadline:
                    pytest.fail(running.logs(tail=40).decode(errors="replace"), pytrace=False)
            time.sleep(0.3)

        deadline = time.monotonic() + START_SECONDS
        script = SET_UP + (BEHIND if behind else INSIDE)
        all_of_it = [
            run(
                "federated", "keystone", command=[script], entrypoint=["dumb-init", "--", "bash", "-c"],
                environment={"PORT": str(port), "ADMIN": ADMIN}, volumes=volume("keystone", "/given"), tmpfs={"/data": "mode=1777"},
            )
        ]  # fmt: skip
        if behind:
            while not answers(f"http://127.0.0.1:{http}/v3"):
                alive()
            strategy = {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"}
            all_of_it.append(
                run(
                    "in-front",
                    "httpd",
                    environment=strategy,
                    volumes=volume("keystone_httpd", "/var/lib/kolla/config_files"),
                )
            )
        while not answers(f"http://127.0.0.1:{port}/v3"):
            alive()
        kinds = ("domain", "mapping", "identity_provider", "protocol")
        yield f"http://127.0.0.1:{port}", key, [item for item in found.registrations if item.type in kinds]


def answers(url: str) -> bool:
    """Whether Keystone does, and not only Apache for it."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=5).ok
    return False


def test_a_token_of_the_provider_is_a_login_until_the_provider_is_withdrawn(
    served: tuple[str, rsa.RSAPrivateKey, list[Registration]],
) -> None:
    url, key, wanted = served
    where = f"{url}/v3/OS-FEDERATION/identity_providers/sso/protocols/openid/auth"

    def login(token: str) -> requests.Response:
        return requests.get(where, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    good = bearer(key, preferred_username="ann")
    registrar = Registrar("keystone", {"url": url, "username": "admin", "password": ADMIN, "project": "admin"})
    with Registry([registrar], str, patience=10, proofs=Proofs()) as registry:
        for type_ in ("domain", "mapping", "identity_provider", "protocol"):
            for item in wanted:
                if item.type == type_:
                    registry.converge(item)
        answer = login(good)
        assert answer.status_code == 201, answer.text
        assert answer.headers["X-Subject-Token"]
        user = answer.json()["token"]["user"]
        assert user["name"] == "ann" and user["OS-FEDERATION"]["identity_provider"]["id"] == "sso"
        assert login(bearer(rsa.generate_private_key(65537, 2048), preferred_username="ann")).status_code == 401
        assert login(bearer(key, preferred_username="ann", exp=1)).status_code == 401
        assert login(bearer(key, iss=f"{ISSUER}/other", preferred_username="ann")).status_code in (
            401,
            403,
            404,
        )
        assert "X-Subject-Token" not in requests.get(where, timeout=20).headers
        for item in wanted:
            if item.type in ("protocol", "identity_provider"):
                registry.withdraw(item)
        assert login(good).status_code in (401, 403, 404)


def test_a_browser_is_sent_to_the_provider(served: tuple[str, rsa.RSAPrivateKey, list[Registration]]) -> None:
    """Which Apache finds by the name of its file, in two steps: to its own address, and from there."""
    url, _, _ = served
    path = (
        "/v3/auth/OS-FEDERATION/identity_providers/sso/protocols/openid/websso?origin=http://192.0.2.250/auth/websso/"
    )
    public = {"Host": "192.0.2.250:5000"}
    first = requests.get(url + path, headers=public, allow_redirects=False, timeout=20)
    assert first.status_code == 302, first.text
    here = first.headers["Location"].replace("http://192.0.2.250:5000", url)
    second = requests.get(here, headers=public, allow_redirects=False, timeout=20, cookies=first.cookies)
    assert second.status_code == 302, second.text
    place, _, asked = second.headers["Location"].partition("?")
    assert place == f"{ISSUER}/authorize"
    assert {
        "client_id": ["cloud"],
        "scope": ["openid email profile"],
        "response_type": ["id_token"],
    }.items() <= parse_qs(asked).items()
    assert parse_qs(asked)["redirect_uri"] == ["http://192.0.2.250:5000/redirect_uri"]
