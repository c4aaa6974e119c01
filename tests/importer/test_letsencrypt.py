"""A cloud of kolla-ansible's whose certificates come by ACME: what it says comes over, and its secret is not left in the clear."""

from pathlib import Path

from reconciler import site
from reconciler.importer.convert import Options
from reconciler.importer.types import Fate
from reconciler.render import render
from tests.importer.sources import SHIPPED, read
from tests.importer.test_convert import made
from tests.services import golden
from tests.support.paths import CHECKOUT

CLOUD = CHECKOUT / "tests/parity/sites/letsencrypt"
# What Kolla's own inventory has below these.
GROUPS = """
[loadbalancer:children]
network
[letsencrypt:children]
loadbalancer
[letsencrypt-webserver:children]
letsencrypt
[letsencrypt-lego:children]
letsencrypt
"""


def test_it_comes_over_whole(tmp_path: Path) -> None:
    files = {
        "etc/globals.yml": (CLOUD / "globals.yml").read_text(),
        "etc/passwords.yml": "haproxy_ssh_key: {private_key: mine, public_key: yours}\n",
        "inventory/hosts": (CLOUD / "inventory").read_text() + GROUPS,
    }
    addresses = {("ctl1", "network"): "10.150.0.11", ("ctl2", "network"): "10.150.0.12"}
    result = made(read(tmp_path, files), Options("hill", ("age1xyz",), addresses=addresses))
    assert not [one for one in result.entries if one.fate in (Fate.UNSUPPORTED, Fate.UNKNOWN)]
    secrets = {name for held in result.secrets.values() for name in held}
    assert {"letsencrypt_eab_hmac", "haproxy_ssh_key"} <= secrets
    assert "pw_letsencrypt_eab_hmac" not in "".join(result.files.values())

    text = {path: content.encode() for path, content in result.files.items() if not path.startswith(".")}
    imported = site.load({**text, "passwords.yml": golden.passwords(SHIPPED)}, SHIPPED)
    running = {item.name for item in render(imported, "ctl2", "r").containers}
    assert {"haproxy_ssh", "letsencrypt_lego", "letsencrypt_webserver"} <= running
