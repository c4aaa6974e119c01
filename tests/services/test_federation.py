"""Users that identity providers send: what Apache, Keystone and the dashboard are told, what is registered, and what is refused."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from reconciler.engine import Engine
from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import render
from reconciler.render.tokens import SecretRef
from tests.services import golden, test_validation
from tests.support import sealed

engine = test_validation.engine
SITE = golden.HERE / "one_node" / "site"
BELOW = "config/keystone/federation/"
ISSUER = "sso.example%3A8443%2Frealms%2Fstaff"
RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-preferred_username"}]}]
GLOBALS = """
enable_horizon: "yes"
keystone_identity_providers:
  - name: sso
    openstack_domain: people
    protocol: openid
    identifier: https://sso.example:8443/realms/staff
    public_name: 'Staff "login"'
    attribute_mapping: staff
    metadata_folder: sso
    certificate_file: sso/key-1.pem
  - {name: other, openstack_domain: people, protocol: saml2, identifier: urn:other, public_name: Other, attribute_mapping: staff}
keystone_identity_mappings: [{name: staff, file: staff.json}]
"""
FILES = {
    f"{BELOW}sso/{ISSUER}.provider": b'{"issuer": "https://sso.example:8443/realms/staff"}\n',
    f"{BELOW}sso/{ISSUER}.client": b'{"client_id": "cloud", "client_secret": "{{ keystone_federation_openid_crypto_password }}"}\n',
    f"{BELOW}sso/{ISSUER}.conf": b"{}\n",
    f"{BELOW}sso/key-1.pem": b"a certificate\n",
    f"{BELOW}staff.json": json.dumps(RULES).encode(),
}


def desired(more: str = "", files: dict[str, bytes] | None = None, said: str = GLOBALS) -> Desired:
    text = (SITE / "globals.yml").read_text() + said + more
    return render(
        golden.load(SITE, {"globals.yml": text.encode(), **(FILES if files is None else files)}), "aio", "0" * 40
    )


def files_of(found: Desired, container: str) -> dict[str, str]:
    """What a container is given, by path below its folder."""
    return {file.path.partition("/")[2]: file.content for file in found.files if file.container == container}


def refused(said: str = GLOBALS, files: dict[str, bytes] | None = None) -> str:
    with pytest.raises(SiteInvalid) as caught:
        desired(said=said, files=files)
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_apache_keystone_and_the_dashboard_know_the_provider() -> None:
    found = desired()
    here = files_of(found, "keystone")
    site = here["wsgi-keystone.conf"]
    for line in (
        "OIDCMetadataDir /etc/apache2/metadata",
        "OIDCOAuthVerifyCertFiles key-1#/etc/apache2/cert/key-1.pem",
        "OIDCCryptoPassphrase <<secret:keystone_federation_openid_crypto_password>>",
        "<LocationMatch /v3/auth/OS-FEDERATION/identity_providers/sso/protocols/openid/websso>",
        "OIDCDiscoverURL http://192.0.2.250:5000/redirect_uri?iss=https%3A//sso.example%3A8443/realms/staff",
        "<LocationMatch /v3/OS-FEDERATION/identity_providers/sso/protocols/openid/auth>",
    ):
        assert f"    {line}\n" in site
    assert "JwksUri" not in site and "identity_providers/other" not in site
    settings = here["keystone.conf"]
    assert re.findall("^methods = .*|^trusted_dashboard = .*|^remote_id_attribute = .*", settings, re.MULTILINE) == [
        "methods = password,token,openid,application_credential",
        *["trusted_dashboard = http://192.0.2.250/auth/websso/"] * 2,
        "remote_id_attribute = HTTP_OIDC_ISS",
    ]
    names: dict[str, Any] = {"_": lambda text: text}
    part = files_of(found, "horizon")["_9998-kolla-settings.py"].partition("WEBSSO_ENABLED")
    exec(part[1] + part[2].partition("OPENSTACK_")[0], names)
    assert names["WEBSSO_CHOICES"][1:] == (("sso_openid", 'Staff "login"'), ("other_saml2", "Other"))
    assert names["WEBSSO_IDP_MAPPING"]["sso_openid"] == ("sso", "openid")
    balance = next(text for name, text in files_of(found, "haproxy").items() if name.endswith("/keystone.cfg"))
    assert "balance source" in balance and "roundrobin" not in balance


def test_the_password_at_the_provider_is_a_secret_of_its_file() -> None:
    delivered = [file for file in desired().files if file.path.startswith("keystone/federation/")]
    assert {file.path.removeprefix("keystone/federation/oidc/") for file in delivered} == {
        "attribute_maps/staff.json", "cert/key-1.pem", *(f"metadata/{ISSUER}.{end}" for end in ("provider", "client", "conf")),
    }  # fmt: skip
    assert {file.path for file in delivered if file.secrets} == {f"keystone/federation/oidc/metadata/{ISSUER}.client"}
    whole = {**FILES, f"{BELOW}sso/{ISSUER}.client": sealed.whole("client").encode()}
    client = files_of(desired(files=whole), "keystone")[f"federation/oidc/metadata/{ISSUER}.client"]
    assert isinstance(client, SecretRef)


def test_what_is_registered() -> None:
    found = {item.id: item.fields for item in desired().registrations}
    assert json.loads(found["keystone:mapping:staff"]["rules"]) == RULES
    assert found["keystone:identity_provider:sso"] == {
        "name": "sso", "domain": "people", "description": 'Staff "login"', "remote_ids": ["https://sso.example:8443/realms/staff"],
    }  # fmt: skip
    assert found["keystone:protocol:sso/openid"] == {"name": "openid", "provider": "sso", "mapping": "staff"}
    assert {
        "keystone:domain:people",
        "keystone:identity_provider:other",
        "keystone:protocol:other/saml2",
    } <= found.keys()


@pytest.mark.parametrize("more", ['enable_keystone_federation: "no"\n', ""])
def test_without_it_nothing_of_it_is_there(more: str) -> None:
    found = desired(more, said=GLOBALS if more else "")
    everything = "".join(file.content for file in found.files) + str(found.registrations)
    assert not re.search("OIDC|WEBSSO|federation|identity_provider", everything)


def test_apache_in_front_mounts_what_keystone_does_besides_unless_it_has_its_own() -> None:
    def mounted(more: str) -> dict[str, set[str]]:
        found = desired(f"openstack_release: '2026.1'\nkeystone_extra_volumes: ['/opt/idp:/opt/idp:ro']\n{more}")
        return {
            one.name: {mount.source for mount in one.mounts if mount.source.startswith("/opt")}
            for one in found.containers
        }

    assert mounted("")["keystone"] == mounted("")["keystone_httpd"] == {"/opt/idp"}
    assert mounted("keystone_httpd_extra_volumes: ['/opt/web:/opt/web:ro']\n")["keystone_httpd"] == {"/opt/web"}


def test_since_2026_1_apache_is_a_container_in_front() -> None:
    found = desired("openstack_release: '2026.1'\n")
    containers = {item.name: item for item in found.containers}
    here, front = files_of(found, "keystone"), files_of(found, "keystone_httpd")
    assert containers["keystone_httpd"].image.endswith("/httpd:2026.1-debian-trixie")
    assert (
        "http = 127.0.0.1:5000\n" in here["keystone-uwsgi.ini"]
        and "socket = 127.0.0.1:5001\n" in here["keystone-uwsgi.ini"]
    )
    assert 'ProxyPass / "uwsgi://localhost:5001/"' in front["httpd-keystone.conf"]
    assert "OIDCMetadataDir" in front["httpd-keystone.conf"]
    assert f"federation/oidc/metadata/{ISSUER}.client" in front and not [name for name in here if "federation" in name]
    # Each is healthy by itself, or neither would ever be.
    assert "127.0.0.1:5000/healthcheck" in str(containers["keystone"].healthcheck)
    assert "192.0.2.11:5000" in str(containers["keystone_httpd"].healthcheck)
    assert '["http://192.0.2.250"' in front["federation/modoidc-error-page.html"]


def test_a_copy_of_kolla_ansibles_template_knows_the_keys() -> None:
    copy = b"OIDCOAuthVerifyCertFiles {{ keystone_federation_openid_certificate_key_ids | join(' ') }}\n"
    found = files_of(desired(files={**FILES, "config/keystone/wsgi-keystone.conf": copy}), "keystone")
    assert found["wsgi-keystone.conf"].strip() == "OIDCOAuthVerifyCertFiles key-1#/etc/apache2/cert/key-1.pem"


def without(path: str) -> dict[str, bytes]:
    return {name: content for name, content in FILES.items() if name != BELOW + path}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("metadata_folder: sso", "metadata_folder: /etc/kolla/config/sso", "must be a folder below config/keystone/federation/ of the site"),
        ("metadata_folder: sso", "metadata_folder: sso/../x", "must be a folder below config/keystone/federation/ of the site"),
        ("metadata_folder: sso", "metadata_folder: '{{ node_custom_config }}/sso'", "overrides are in config/ of the site"),
        ("metadata_folder: sso", "metadata_folder: none", "config/keystone/federation/none/*.client:1:1: is missing (write it"),
        ("certificate_file: sso/key-1.pem", "certificate_file: /etc/x.pem", "must be a file below config/keystone/federation/ of the site"),
        ("file: staff.json", "file: other.json", "config/keystone/federation/other.json:1:1: is missing (write it"),
        ("file: staff.json", "file: ../staff.json", "must be a file below config/keystone/federation/ of the site"),
        ("    metadata_folder: sso\n", "", "must be a provider that says its metadata_folder"),
        ("public_name: Other", "shown: Other", "unknown key 'shown'"),
        ("name: sso", "name: a/b", "must be a name of letters, digits"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_to_do(old: str, new: str, said: str) -> None:
    assert said in refused(GLOBALS.replace(old, new, 1))


def test_each_file_that_a_provider_needs_is_asked_for() -> None:
    for end in ("provider", "client"):
        assert f"config/keystone/federation/sso/*.{end}:1:1: is missing (write it" in refused(
            files=without(f"sso/{ISSUER}.{end}")
        )
    desired(files=without(f"sso/{ISSUER}.conf"))
    assert "is not JSON" in refused(files={**FILES, f"{BELOW}sso/{ISSUER}.client": b"{'client_id': 1}"})
    problems = refused(files={**FILES, f"{BELOW}staff.json": b'{"rules": []}'})
    assert "the rules of the mapping staff are no list of objects" in problems


def rsa_certificate(key: rsa.RSAPrivateKey | None = None) -> bytes:
    """At one of an elliptic curve mod_auth_openidc of Debian bookworm crashes as it reads its configuration."""
    key, now = key or rsa.generate_private_key(65537, 2048), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sso.example")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    until = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return until.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.slow
@pytest.mark.images
@pytest.mark.engine
@pytest.mark.parametrize("mistake", ["", "keystone_federation_oidc_additional_options: {OIDCNoSuch: 1}\n"])
def test_apache_of_the_genuine_image_takes_the_site(
    mistake: str, engine: Engine, kolla_images: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the check that a node makes before it puts the files to use; mod_auth_openidc is in the image."""
    files = {**FILES, f"{BELOW}sso/key-1.pem": rsa_certificate()}
    more = "keystone_federation_oidc_jwks_uri: https://sso.example/keys\nkeystone_federation_oidc_forwarded_headers: X-Forwarded-Proto\n"
    monkeypatch.setattr(golden, "desired", lambda *_: desired(more + mistake, files))
    said = test_validation.checked(engine, tmp_path / "config", kolla_images, "keystone")
    assert ("OIDCNoSuch" in said) if mistake else said == "", said
