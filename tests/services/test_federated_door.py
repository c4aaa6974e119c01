"""What a stranger says of themselves reaches Keystone nowhere as the word of an identity provider, however the address is spelt."""

import contextlib
import os
from pathlib import Path

import docker
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from reconciler.render import tokens
from tests.conftest import LABEL, PREFIX
from tests.registrations.conftest import free_port
from tests.services import test_federation as site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images]

# In the place of Keystone: what a request says that only Apache may say.
START = """\
set -e
mkdir -p /var/log/kolla/keystone
cp /given/wsgi-keystone.conf /etc/apache2/conf-enabled/
cp -r /given/federation/oidc/metadata /given/federation/oidc/cert /etc/apache2/
chown -R www-data:www-data /etc/apache2/metadata /etc/apache2/cert
cat > /var/lib/kolla/venv/bin/keystone-wsgi-public << 'APP'
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("reached: %s" % environ.get("HTTP_OIDC_ISS")).encode()]
APP
exec apache2ctl -DFOREGROUND
"""
FEDERATION, WEBSSO = "/v3/OS-FEDERATION/identity_providers", "/v3/auth/OS-FEDERATION"


def test_nobody_passes_by(kolla_images: dict[str, str], engine_url: str, tmp_path: Path) -> None:
    """Keystone's database takes SSO for sso, and `sso ` as well."""
    port = free_port()
    certificate = {f"{site.BELOW}sso/key-1.pem": site.rsa_certificate(rsa.generate_private_key(65537, 2048))}
    files = site.files_of(
        site.desired('keystone_oidc_enable_memcached: "no"\n', {**site.FILES, **certificate}), "keystone"
    )
    for name in ("wsgi-keystone.conf", *(name for name in files if name.startswith("federation/"))):
        text = tokens.bind(files[name], dict.fromkeys(tokens.names(files[name]), "a1B2c3D4e5F6g7H8i9J0ku"))
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("192.0.2.11:5000", f"127.0.0.1:{port}").replace("*:5000", f"*:{port}"))
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        container = client.containers.run(
            kolla_images["keystone"], [START], entrypoint=["dumb-init", "--", "bash", "-c"], user="root", network_mode="host",
            name=f"{PREFIX}door-{os.getpid()}", labels={LABEL: "1"}, volumes={str(tmp_path): {"bind": "/given", "mode": "ro"}}, detach=True,
        )  # fmt: skip

        def said(path: str) -> str:
            headers = {"OIDC-iss": "https://sso.example/", "OIDC-email": "root@example"}
            with contextlib.suppress(requests.RequestException):
                answer = requests.get(
                    f"http://127.0.0.1:{port}{path}", headers=headers, timeout=10, allow_redirects=False
                )
                return answer.text if answer.text.startswith("reached") else f"{answer.status_code}"
            return ""

        try:
            wait_for("Apache", lambda: said("/v3"), 60)
            assert said("/v3") == "reached: https://sso.example/", "where it means nothing"
            for provider in ("sso", "SSO", "Sso", "sso%20", "other"):
                for protocol in ("openid", "OPENID", "openid%20", "mapped"):
                    for path in (
                        f"{FEDERATION}/{provider}/protocols/{protocol}/auth",
                        f"{WEBSSO}/identity_providers/{provider}/protocols/{protocol}/websso?origin=x",
                    ):
                        assert said(path) in ("200", "302", "401"), path
            for protocol in ("openid", "OPENID", "openid%20", "mapped"):
                assert said(f"{WEBSSO}/websso/{protocol}?origin=x") in ("200", "302", "401"), protocol
        finally:
            container.remove(force=True)
