"""An API behind haproxy, asked ten times a second over TLS while an option, an image and a certificate change."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, notes, prove, running
from tests.clusters.site import EXTERNAL, HOSTS, VIP, Site
from tests.support import certificates
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def api(engine_url: str) -> Iterator[Site]:
    def begin(site: Site) -> None:
        certificates.authority(site.root / "tls", "first", "second", address=EXTERNAL)
        site.set_secret("haproxy_external_certificate", pem(site, "first"))
        site.globals |= {"kolla_external_vip_address": EXTERNAL, "kolla_enable_tls_external": True}

    with running(engine_url, "enable_mariadb", "enable_memcached", "enable_keystone", begin=begin) as site:
        yield site


def pem(site: Site, name: str) -> str:
    """A certificate with its key, as haproxy takes it."""
    return (site.root / f"tls/{name}.pem").read_text() + (site.root / f"tls/{name}.key").read_text()


def served(site: Site) -> str:
    """The certificate that is shown to whoever comes."""
    script = f"import ssl; print(ssl.get_server_certificate(({EXTERNAL!r}, 5000)))"
    return site.lan.run([sys.executable, "-c", script]).strip()


def asked(site: Site, name: str, change: Callable[[], None]) -> dict[str, Any]:
    """What became of ten requests a second while something changes."""
    with site.client("asker", name, f"https://{EXTERNAL}:5000/v3", str(site.root / "tls/ca.pem")) as log:
        wait_for("the API answers", lambda: log.exists() and len(notes(log)) > 20, 60)
        change()
        time.sleep(15)
    rows = notes(log)
    found = {
        "requests": len(rows),
        "failed": [row for row in rows if row["failed"]],
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
    }
    print(name, json.dumps(found), flush=True)
    return found


def test_a_changed_option_fails_no_request(api: Site) -> None:
    before = {host: api.started(host, "keystone") for host in HOSTS}
    site = {"config/keystone.conf": "[token]\nexpiration = 7200\n"}
    found = asked(api, "option", lambda: prove(api, api.push("shorter tokens", site)))
    assert all(api.started(host, "keystone") != before[host] for host in HOSTS)
    assert "expiration = 7200" in api.execute("cc1", "keystone", "cat", "/etc/keystone/keystone.conf")
    assert found["failed"] == []


def test_a_new_image_fails_no_request(api: Site) -> None:
    image = next(name for name in api.images if "/keystone:" in name)
    for machine in api.lan.machines.values():
        machine.run(
            ["docker", "build", "--quiet", "--tag", f"{image}-2", "-"], give=f"FROM {image}\nLABEL another=image\n"
        )
    found = asked(api, "image", lambda: prove(api, api.push("another image", keystone_image_full=f"{image}-2")))
    for machine in api.lan.machines.values():
        told = machine.run(["docker", "inspect", "--format", "{{.Config.Image}}", "keystone"]).stdout.strip()
        assert told == f"{image}-2"
    assert found["failed"] == []


def test_a_new_certificate_fails_no_request(api: Site) -> None:
    def renew() -> None:
        api.set_secret("haproxy_external_certificate", pem(api, "second"))
        prove(api, api.push("another certificate"))

    assert served(api) == (api.root / "tls/first.pem").read_text().strip()
    before = {host: api.started(host, "haproxy") for host in HOSTS}
    found = asked(api, "certificate", renew)
    assert served(api) == (api.root / "tls/second.pem").read_text().strip()
    assert {host: api.started(host, "haproxy") for host in HOSTS} == before, "it was not even restarted"
    assert found["failed"] == []


def test_new_fernet_keys_in_the_middle_of_a_change_end_no_token(api: Site) -> None:
    """Made on the first host that has the change, and sent to the others while theirs are replaced: what did not reach one is sent again. Each
    of them can read what is made with the newest, which it had before as the one to come."""
    (api.root / "password").write_text(api.secret("keystone_admin_password"))
    before = keys(api)
    rotate = ["docker", "exec", "--user", "root", "keystone_fernet", "/usr/bin/fernet-rotate.sh"]
    with api.client("tokens", "keys", f"http://{VIP}:5000/v3", str(api.root / "password")) as log:
        wait_for("tokens are made", lambda: log.exists() and len(notes(log)) > 50, 60)
        commit = api.push("longer tokens", {"config/keystone.conf": "[token]\nexpiration = 10800\n"})
        wait_for("one host is proved", lambda: api.proved(commit), PATIENCE, pause=0.5)
        api.lan.machines["cc3"].run(rotate, check=False)
        assert len(api.proved(commit)) < len(HOSTS), "it was in the middle"
        assert keys(api)["cc3"] != before["cc3"]
        prove(api, commit)
        api.lan.machines["cc3"].run([*rotate[:-1], "/usr/bin/fernet-push.sh"])
        time.sleep(5)
    rows = notes(log)
    print("keys", json.dumps({"requests": len(rows), "failed": [row for row in rows if row["failed"]]}), flush=True)
    assert len(set(before.values())) == len(set(keys(api).values())) == 1
    assert not any(row["failed"] for row in rows)


def keys(site: Site) -> dict[str, str]:
    """Host -> the digests of its fernet keys."""
    command = (
        "docker",
        "exec",
        "--user",
        "root",
        "keystone_fernet",
        "sh",
        "-c",
        "cd /etc/keystone/fernet-keys && sha256sum *",
    )
    return {host: site.lan.machines[host].run(command).stdout for host in HOSTS}
