"""`reconciler certificates`: signed once, kept while valid, its key for operators only, and never in the clear on the disk."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from reconciler.secrets import authority, sops
from tests.cli.conftest import SITE, write
from tests.git.servers import ssh_key

Cli = Callable[..., Result]
ROOT, ROOT_KEY = "config/certificates/ca/root.crt", ".authority/root.key"
BACKEND, BACKEND_KEY = "config/certificates/backend-cert.pem", "config/certificates/backend-key.pem"


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """A host's and an operator's."""
    return {name: ssh_key(tmp_path / name) for name in ("host", "operator")}


def public(key: Path) -> str:
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


@pytest.fixture
def site(tmp_path: Path, keys: dict[str, Path]) -> Path:
    inventory = SITE["inventory.yml"].replace("groups: [db]}", f'groups: [db], report_key: "{public(keys["host"])}"}}')
    text = SITE["services/hello/service.yml"] + "passwords: {hello_password: {kind: random}}\n"
    more = {
        "inventory.yml": inventory,
        "globals.yml": SITE["globals.yml"]
        + "kolla_internal_vip_address: 10.0.0.9\nkolla_internal_fqdn: cloud.example\n"
        "kolla_enable_tls_internal: yes\nkolla_enable_tls_backend: yes\n",
        "services/hello/service.yml": text,
        ".sops.yaml": f"creation_rules:\n  - age: {public(keys['host'])},{public(keys['operator'])}\n",
    }
    return write(tmp_path / "site", {**SITE, **more})


def contents(site: Path) -> dict[str, bytes]:
    return {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def test_signed_once_and_kept_while_valid(cli: Cli, site: Path, keys: dict[str, Path]) -> None:
    words = ["--ssh-key-file", keys["operator"]]
    refused = cli("certificates", site, *words)
    assert "[SopsNoRecipients]" in refused.stderr and "name one with --recipient" in refused.stderr
    assert not (site / "config").exists() and not (site / ".authority").exists()
    rules = (site / ".sops.yaml").read_bytes()
    (site / ".sops.yaml").unlink()
    refused = cli("certificates", site, "--recipient", public(keys["operator"]), *words)
    assert "[SopsNoRecipients]" in refused.stderr and "no rule of the site's .sops.yaml" in refused.stderr, (
        refused.output
    )
    assert not (site / "config").exists() and not (site / ".authority").exists()
    (site / ".sops.yaml").write_bytes(rules)
    assert cli("secrets", "generate", site, "--service", "hello").exit_code == 0

    done = cli("certificates", site, *words)
    assert done.exit_code == 0 and "the authority is new" in done.stdout, done.output
    first = contents(site)
    assert sops.recipients(first[ROOT_KEY], name=ROOT_KEY) == [public(keys["operator"])]
    assert sops.recipients(first[BACKEND_KEY], name=BACKEND_KEY) == [public(keys["host"]), public(keys["operator"])]
    assert not [name for name, content in first.items() if b"PRIVATE KEY" in content], "no key in the clear"
    values = sops.decrypt(first["passwords.yml"], name="p", keys=sops.Keys(ssh_key_file=keys["host"]))
    for name in ("haproxy_external_certificate", "haproxy_internal_certificate"):
        text = values[name].reveal()
        assert text.startswith("-----BEGIN CERTIFICATE-----") and text.endswith("-----END PRIVATE KEY-----\n")
    assert "is encrypted" not in cli("secrets", "recipients", "list", site).stdout

    assert "stays" in cli("certificates", site, *words).stdout and contents(site) == first
    # A host that joins needs another name; those that are valid stay.
    inventory = (site / "inventory.yml").read_text()
    (site / "inventory.yml").write_text(
        inventory.replace("groups:\n  web", "  web3: {addresses: {network: 10.0.0.4}, groups: [web]}\ngroups:\n  web")
    )
    told: list[dict[str, Any]] = json.loads(cli("certificates", site, "--json", *words).stdout)["certificates"]
    assert [row["renewed"] for row in told] == ["", "", "it is not for web3, 10.0.0.4"]
    second = contents(site)
    changed = {name for name in second if second[name] != first.get(name)}
    assert changed == {"inventory.yml", BACKEND, BACKEND_KEY}
    assert all(
        row["renewed"] == "as asked"
        for row in json.loads(cli("certificates", site, "--renew", "--json", *words).stdout)["certificates"]
    )
    assert contents(site)[ROOT] == first[ROOT]


def test_an_authority_that_signs_nothing_any_more(cli: Cli, site: Path, keys: dict[str, Path]) -> None:
    """What the message says to remove is what is in the way of a new one."""
    words, now = ["--ssh-key-file", keys["operator"]], datetime.now(UTC)
    assert cli("secrets", "generate", site, "--service", "hello").exit_code == 0
    old = authority.found("lab", now - timedelta(days=3651), 3650)
    signed = authority.sign(old, ["cloud.example"], now - timedelta(days=3651), 397)
    for name, content in (
        (ROOT, old.certificate.encode()),
        (ROOT_KEY, sops.encrypt_whole(old.key, [public(keys["operator"])], name=ROOT_KEY)),
        (BACKEND, signed.certificate.encode()),
        (BACKEND_KEY, sops.encrypt_whole(signed.key, [public(keys["operator"])], name=BACKEND_KEY)),
    ):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    before = contents(site)
    found = cli("certificates", site, *words)
    assert f"the authority ended on {now - timedelta(days=1):%Y-%m-%d}" in found.stderr and contents(site) == before
    for name in (ROOT, ROOT_KEY, BACKEND, BACKEND_KEY):
        assert name in found.stderr
        (site / name).unlink()
    assert cli("certificates", site, *words).exit_code == 0
    (site / ROOT).write_bytes(b"\xff\xfe")
    assert "is not the key of" in cli("certificates", site, *words).stderr


@pytest.mark.slow
def test_what_is_somebody_elses_is_left_alone(cli: Cli, site: Path, keys: dict[str, Path]) -> None:
    words = ["--ssh-key-file", keys["operator"]]
    assert cli("secrets", "generate", site, "--service", "hello").exit_code == 0
    assert cli("certificates", site, *words).exit_code == 0
    for name in (ROOT, ROOT_KEY):
        kept = (site / name).read_bytes()
        (site / name).unlink()
        before = contents(site)
        found = cli("certificates", site, *words)
        assert "[SecretIncomplete]" in found.stderr and contents(site) == before, found.stderr
        (site / name).write_bytes(kept)
    mine = {name: (site / name).read_bytes() for name in (ROOT, ROOT_KEY)}
    for name in mine:
        (site / name).unlink()
    before = contents(site)
    found = cli("certificates", site, *words)
    assert "is another authority's, and is not replaced" in found.stderr and "[NotOwned]" in found.stderr
    assert contents(site) == before, "no new authority beside certificates of the old one"
    for name, content in mine.items():
        (site / name).write_bytes(content)
    denied = cli("certificates", site, "--ssh-key-file", keys["host"])
    assert "[SopsNoKey]" in denied.stderr, "a host cannot sign"


def test_without_tls_there_is_nothing_to_sign(cli: Cli, site: Path) -> None:
    text = (site / "globals.yml").read_text()
    (site / "globals.yml").write_text(
        text.replace("kolla_enable_tls_internal: yes\nkolla_enable_tls_backend: yes\n", "")
    )
    found = cli("certificates", site)
    assert found.exit_code == 0 and "no TLS is switched on" in found.stdout and not (site / ".authority").exists()


def test_what_lego_gets_is_not_signed(cli: Cli, site: Path, keys: dict[str, Path]) -> None:
    words = ["--ssh-key-file", keys["operator"]]
    said = (site / "globals.yml").read_text()
    acme = "enable_letsencrypt: yes\nletsencrypt_internal_cert_server: https://ca.example/\n"
    (site / "globals.yml").write_text(
        said + acme + "kolla_external_vip_address: 10.0.0.8\nkolla_enable_tls_external: yes\n"
    )
    assert cli("secrets", "generate", site, "--service", "hello").exit_code == 0
    found = cli("certificates", site, "--json", *words)
    assert [row["for"] for row in json.loads(found.stdout)["certificates"]] == ["what is behind the load balancer"]
    assert "letsencrypt_lego gets the certificate of the internal and external endpoints" in found.stderr

    (site / "globals.yml").write_text(
        said.replace("tls_backend", "tls_external").replace("external: yes", "external: no") + acme
    )
    before = contents(site)
    found = cli("certificates", site, *words)
    assert found.exit_code == 0 and "of the internal endpoints" in found.stdout and contents(site) == before
