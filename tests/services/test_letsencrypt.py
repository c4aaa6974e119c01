"""Two load balancers and an authority that speaks ACME: Kolla's own scripts get certificates and put them into the genuine HAProxy."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker.models.containers import Container as Running

from reconciler.errors import SiteInvalid
from reconciler.render import render, write
from reconciler.secrets.passwords import PasswordSpec, make
from tests.conftest import LABEL, PREFIX
from tests.images import build, kolla
from tests.services import golden
from tests.support import certificates, packages
from tests.support.lab import wait_for

SITE = golden.HERE / "letsencrypt/site"
HOSTS = {"lb-1": "192.0.2.11", "lb-2": "192.0.2.12"}
INTERNAL, EXTERNAL = "192.0.2.250", "203.0.113.250"  # the first host has both
STAND_IN, OWN, ISSUED = "stand-in", "the test's own authority", "Pebble Intermediate CA"
MORE = """
letsencrypt_external_fqdns: [cloud.example]
letsencrypt_external_cert_server: https://127.0.0.1:14000/dir
letsencrypt_internal_cert_server: https://127.0.0.1:14000/dir
enable_proxysql: "no"
enable_fluentd: "no"
haproxy_max_connections: 1000
haproxy_http_request_timeout: 10m
haproxy_client_timeout: 10m
"""
# What a user notices: one connection that stays, and new ones all the time, until /tmp/stop is there.
CLIENT = """\
import json, os, socket, ssl, sys, time
def connect():
    return ssl._create_unverified_context().wrap_socket(socket.create_connection((sys.argv[1], 443), 10))
def ask(connection):
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: cloud.example\\r\\n\\r\\n")
    said = b""
    while b"\\r\\n\\r\\n" not in said:
        more = connection.recv(65536)
        if not more:
            raise OSError("closed in the middle of " + repr(said))
        said += more
    return int(said.split()[1])
told = {"asked": 0, "failed": [], "kept": []}
kept, shown = connect(), set()
kept.sendall(b"GET / HTTP/1.1\\r\\nHost: cloud.example\\r\\n")
open("/tmp/asking", "w").close()
while not os.path.exists("/tmp/stop"):
    time.sleep(0.02)
    told["asked"] += 1
    try:
        with connect() as one:
            shown.add(one.getpeercert(True))
            ask(one)
    except OSError as error:
        told["failed"].append(str(error))
try:
    kept.sendall(b"\\r\\n")
    told["kept"] = kept.recv(65536).split()[1].decode()
except (OSError, IndexError) as error:
    told["kept"] = repr(error)
told["certificates"] = len(shown)
with open("/tmp/part", "w") as file:
    json.dump(told, file)
os.rename("/tmp/part", "/tmp/told")
"""


def site(more: str = "", files: Mapping[str, bytes] | None = None) -> Any:
    text = (SITE / "globals.yml").read_text()
    said = "".join(line for line in text.splitlines(True) if line.partition(":")[0] not in more)
    return golden.load(SITE, {"globals.yml": f"{said}{more}".encode(), **(files or {})})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("letsencrypt_email: ''\n", "say letsencrypt_email"),
        ("letsencrypt_email: operators\n", "globals.yml:[0-9]+:[0-9]+: must be an address of electronic mail"),
        ("letsencrypt_eab_key_id: ''\n", "letsencrypt_eab_key_id in globals.yml and letsencrypt_eab_hmac in passwords.yml"),
        ("kolla_external_fqdn: 203.0.113.250\n", "say kolla_external_fqdn"),
        ("kolla_internal_fqdn: 192.0.2.250\n", "say kolla_internal_fqdn"),
        ("letsencrypt_external_cert_server: ''\nletsencrypt_internal_cert_server: ''\n", "asks for no certificate"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(more: str, said: str) -> None:
    with pytest.raises(SiteInvalid, match=said):
        render(site(more), "lb-1", "0" * 40)


def test_kollas_script_takes_no_load_balancer_by_ipv6() -> None:
    inventory = (SITE / "inventory.yml").read_bytes().replace(b"192.0.2.12", b"'2001:db8::12'")
    with pytest.raises(SiteInvalid, match="IPv4 address alone, and lb-2 has another one"):
        render(site(files={"inventory.yml": inventory}), "lb-1", "0" * 40)


@pytest.mark.parametrize(
    ("more", "managed", "brought"),
    [
        ("letsencrypt_internal_cert_server: ''\n", "external", {"haproxy-internal.pem"}),
        ("letsencrypt_external_cert_server: ''\n", "internal", {"haproxy.pem"}),
        ("kolla_external_vip_address: 192.0.2.250\n", "internal", set()),
        ("kolla_external_vip_address: 192.0.2.250\nhaproxy_single_external_frontend: yes\n", "internal", {"haproxy.pem"}),
        ("enable_letsencrypt: no\n", None, {"haproxy.pem", "haproxy-internal.pem"}),
    ],
)  # fmt: skip
def test_what_lego_does_not_bring_the_site_does(more: str, managed: str | None, brought: set[str]) -> None:
    """Another label makes another container: Kolla would put an older certificate back at each start of one that once had it."""
    found = render(site(more), "lb-1", "0" * 40)
    (haproxy,) = (one for one in found.containers if one.name == "haproxy")
    assert haproxy.labels.get("letsencrypt_managed_certs") == managed
    (listed,) = (file.content for file in found.files if file.path == "haproxy/config.json")
    dests = {entry["dest"].rpartition("/")[2] for entry in json.loads(listed)["config_files"]}
    assert {name for name in dests if name.endswith(".pem")} == brought
    (start,) = (file.content for file in found.files if file.path == "haproxy/haproxy_run.sh")
    assert ("openssl" in start) == bool(managed)
    assert {one.name for one in found.containers} >= {"haproxy_ssh", "letsencrypt_lego"} if managed else True


def pem(issuer: str, age: timedelta, life: timedelta) -> bytes:
    """A certificate of cloud.example, as old as that, for as long as that."""
    key, start = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) - age
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("cloud.example", issuer)]
    made = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
    signed = made.not_valid_before(start).not_valid_after(start + life).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("certificate", "here", "said"),
    [
        (("an authority", DAY, 90 * DAY), True, ""),
        (("an authority", 74 * DAY, 90 * DAY), True, ""),
        (("an authority", 76 * DAY, 90 * DAY), True, "letsencrypt_lego does not renew it"),
        (("an authority", 91 * DAY, 90 * DAY), False, "letsencrypt_lego does not renew it"),
        (("an authority", 19 * HOUR, DAY), True, ""),
        (("cloud.example", HOUR, DAY), True, "is a stand-in, which clients refuse"),
        (("cloud.example", HOUR, DAY), False, ""),
        (("cloud.example", 25 * HOUR, DAY), False, "is a stand-in, which clients refuse"),
        (None, True, "cannot be read: restart haproxy"),
    ],
)
def test_a_certificate_that_does_not_come_is_told(
    tmp_path: Path, certificate: tuple[str, timedelta, timedelta] | None, here: bool, said: str
) -> None:
    (script,) = (
        check.script
        for check in render(site("letsencrypt_internal_cert_server: ''\n"), "lb-2", "0" * 40).checks
        if check.name == "haproxy_certificates"
    )
    if certificate:
        (tmp_path / "haproxy.pem").write_bytes(pem(*certificate))
    (tmp_path / "ip").write_text(f"#!/bin/bash\necho {'local' if here else 'unicast'} $3\n")
    (tmp_path / "ip").chmod(0o755)
    found = subprocess.run(
        ["bash", "-c", script.replace("/etc/haproxy/certificates", str(tmp_path))],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (found.returncode, said in found.stdout) == (1 if said else 0, True), found
    assert not found.stderr and ("internal" not in found.stdout)


@dataclass(slots=True)
class Balancers:
    """Containers of both hosts, by host and name."""

    client: docker.DockerClient
    release: kolla.Release
    folder: Path
    networks: Mapping[str, Running]
    values: Mapping[str, Any]
    running: dict[tuple[str, str], Running] = field(default_factory=dict)

    def start(self, host: str, *names: str, more: str = MORE) -> None:
        """The containers of the site with their files, as the engine would be asked for them; in the place of those that were there."""
        root = {"config/certificates/ca/root.crt": (self.folder / "ca.pem").read_bytes()}
        found = render(site(f'{more}openstack_release: "{self.release.name}"\n', root), host, "0" * 40)
        for file in found.files:
            path = self.folder / host / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(file, {name: self.values.get(name, "unused0unused") for name in file.secrets}))
        for wanted in (one for name in names for one in found.containers if one.name == name):
            if before := self.running.pop((host, wanted.name), None):
                before.remove(force=True)
            volumes = []
            for mount in wanted.mounts:
                source = mount.source.replace(found.config_root, str(self.folder / host))
                if not source.startswith("/"):
                    source = f"{PREFIX}{host}-{os.getpid()}-{source}"
                volumes.append(f"{source}:{mount.target}:{mount.mode}")
            self.running[host, wanted.name] = self.client.containers.run(
                kolla.default_target(self.release).name(wanted.image.rpartition("/")[2].partition(":")[0]),
                name=f"{PREFIX}{host}-{os.getpid()}-{wanted.name}", environment=dict(wanted.environment), volumes=volumes,
                network_mode=f"container:{self.networks[host].id}", labels={LABEL: "1"}, detach=True,
            )  # fmt: skip

    def sh(self, host: str, name: str, command: str) -> str:
        """What a command prints in a container; it has to succeed."""
        code, output = self.running[host, name].exec_run(["bash", "-c", command])
        assert code == 0, (command, code, output.decode(), self.running[host, name].logs(tail=20).decode())
        return str(output.decode())

    def shown(self, host: str, address: str) -> str:
        """Who signed the certificate that is shown there, and its fingerprint; nothing while nobody answers."""
        ask = f"openssl s_client -connect {address}:443 < /dev/null 2> /dev/null | openssl x509 -noout -issuer -fingerprint || true"
        return self.sh(host, "haproxy", ask)

    def check(self, host: str) -> tuple[int | None, str]:
        """The check of the catalogue."""
        (script,) = (
            check.script for check in render(site(MORE), host, "0" * 40).checks if check.name == "haproxy_certificates"
        )
        code, output = self.running[host, "haproxy"].exec_run(["bash", "-c", script])
        return code, output.decode()

    def everywhere(self) -> set[str]:
        """What both hosts show, at both addresses."""
        return {self.shown(host, address) for host in HOSTS for address in (INTERNAL, EXTERNAL)}

    def clean(self) -> None:
        """Remove the containers, then the volumes."""
        for container in self.running.values():
            container.remove(force=True, v=True)
        for volume in self.client.volumes.list():
            if volume.name.startswith(tuple(f"{PREFIX}{host}-{os.getpid()}-" for host in HOSTS)):
                volume.remove(force=True)


@pytest.fixture(params=kolla.RELEASES)
def balancers(
    request: pytest.FixtureRequest, docker_client: docker.DockerClient, tmp_path: Path
) -> Iterator[Balancers]:
    release = kolla.RELEASES[request.param]
    wanted = {"haproxy", "httpd", *build.ACME} - {*build.GONE.get(release.name, ["httpd"])}
    target = kolla.default_target(release)
    absent = sorted(image for image in wanted if not build.present(docker_client, target.name(image)))
    if absent:
        pytest.skip(
            f"{', '.join(absent)} are missing: `python -m tests.images.build --release {release.name} {' '.join(absent)}`"
        )
    packages.install(["pebble"])
    with contextlib.ExitStack() as undo:
        networks = {}
        for host in HOSTS:
            networks[host] = docker_client.containers.run(
                build.BUSYBOX, ["sleep", "1000000"], network_mode="none", cap_add=["NET_ADMIN"], detach=True,
                sysctls={"net.ipv4.ip_nonlocal_bind": "1"}, labels={LABEL: "1"},
            )  # fmt: skip
            undo.callback(networks[host].remove, force=True)
            networks[host].reload()
        one, other = (network.attrs["State"]["Pid"] for network in networks.values())
        wire = f"ip link add wire netns {one} type veth peer name wire netns {other}"
        subprocess.run(wire.split(), check=True, capture_output=True)
        for host, network in networks.items():
            own = [f"{HOSTS[host]}/24", *((f"{INTERNAL}/32", f"{EXTERNAL}/32") if host == "lb-1" else ())]
            for words in (*(f"address add {address} dev wire" for address in own), "link set wire up"):
                assert network.exec_run(["ip", *words.split()])[0] == 0
        # The other one takes what is sent there, as the tests do, and has not the addresses.
        for address in (INTERNAL, EXTERNAL):
            here = f"nsenter --net=/proc/{other}/ns/net ip route add local {address} dev lo"
            subprocess.run(here.split(), check=True, capture_output=True)
        pair = make(PasswordSpec("haproxy_ssh_key", "ssh_key"))
        values = {f"haproxy_ssh_key.{half}": pair[half].reveal() for half in ("private_key", "public_key")}
        certificates.authority(tmp_path, "acme")
        for side in ("external", "internal"):
            values[f"haproxy_{side}_certificate"] = "".join(
                (tmp_path / f"acme.{part}").read_text() for part in ("pem", "key")
            )
        values["letsencrypt_eab_hmac"] = make(PasswordSpec("letsencrypt_eab_hmac")).reveal()
        found = Balancers(docker_client, release, tmp_path, networks, values)
        undo.callback(found.clean)
        _authority(found)
        yield found


def _authority(found: Balancers) -> None:
    """Pebble, which knows one customer and signs for 90 days, and somebody who says where the names are."""
    settings = {
        "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "/given/acme.pem",
        "privateKey": "/given/acme.key", "httpPort": 80, "tlsPort": 443, "certificateValidityPeriod": 90 * 86400,
        "externalAccountBindingRequired": True, "externalAccountMACKeys": {"customer-7": found.values["letsencrypt_eab_hmac"]},
    }  # fmt: skip
    (found.folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    start = (
        "pebble-challtestsrv -http01 '' -https01 '' -tlsalpn01 '' -defaultIPv6 '' -defaultIPv4 203.0.113.250 &"
        "PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 exec pebble -config /given/pebble.json -dnsserver 127.0.0.1:8053"
    )
    found.running["lb-1", "authority"] = found.client.containers.run(
        kolla.default_target().name("haproxy"), ["-c", start], entrypoint="bash", user="root", network_mode=f"container:{found.networks['lb-1'].id}",
        volumes=["/usr/bin/pebble:/usr/bin/pebble:ro", "/usr/bin/pebble-challtestsrv:/usr/bin/pebble-challtestsrv:ro", f"{found.folder}:/given:ro"],
        labels={LABEL: "1"}, detach=True,
    )  # fmt: skip
    where = json.dumps({"host": "internal.example.", "addresses": [INTERNAL]})
    told = ["curl", "-sf", "-d", where, "http://127.0.0.1:8055/add-a"]
    wait_for("the names", lambda: found.running["lb-1", "authority"].exec_run(told)[0] == 0)


@contextlib.contextmanager
def asking(found: Balancers) -> Iterator[dict[str, Any]]:
    """What a client notices meanwhile; filled when it ends."""
    found.sh("lb-1", "haproxy", "rm -f /tmp/asking /tmp/stop /tmp/told")
    found.running["lb-1", "haproxy"].exec_run(["python3", "-W", "ignore", "-c", CLIENT, EXTERNAL], detach=True)
    wait_for("the client", lambda: found.sh("lb-1", "haproxy", "ls /tmp/asking 2> /dev/null || true"))
    told: dict[str, Any] = {}
    yield told
    found.sh("lb-1", "haproxy", "touch /tmp/stop")
    wait_for("what it noticed", lambda: found.sh("lb-1", "haproxy", "ls /tmp/told 2> /dev/null || true"))
    told.update(json.loads(found.sh("lb-1", "haproxy", "cat /tmp/told")))


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.images
def test_certificates_come_and_no_connection_ends(balancers: Balancers) -> None:
    found = balancers
    # One that had certificates of the site's own shows these until it gets others, after a restart as well.
    found.start("lb-2", "haproxy", more=MORE + 'enable_letsencrypt: "no"\n')
    wait_for("haproxy", lambda: OWN in found.shown("lb-2", EXTERNAL), 60)
    found.start("lb-2", "haproxy", "haproxy_ssh", "letsencrypt_webserver")
    for _ in range(2):
        wait_for("haproxy again", lambda: OWN in found.shown("lb-2", EXTERNAL), 60)
        assert OWN in found.shown("lb-2", INTERNAL) and found.check("lb-2") == (0, "")
        found.running["lb-2", "haproxy"].restart()
    # One without has a stand-in.
    found.start("lb-1", "haproxy", "haproxy_ssh", "letsencrypt_webserver")
    wait_for(
        "haproxy with stand-ins",
        lambda: all(STAND_IN in found.shown("lb-1", address) for address in (INTERNAL, EXTERNAL)),
        60,
    )
    code, said = found.check("lb-1")
    assert code == 1 and said.count("is a stand-in, which clients refuse") == 2, said
    for host in HOSTS:
        wait_for("sshd", lambda host=host: "sshd" in found.sh(host, "haproxy_ssh", "pgrep -a sshd || true"), 60)
    workers = [found.sh(host, "haproxy", "pgrep -x haproxy") for host in HOSTS]

    with asking(found) as told:
        found.start("lb-1", "letsencrypt_lego")
        try:
            wait_for("certificates", lambda: all(ISSUED in shown for shown in found.everywhere()), 120)
        except AssertionError:
            lego, authority = (
                found.running["lb-1", name].logs(tail=60).decode() for name in ("letsencrypt_lego", "authority")
            )
            raise AssertionError(lego + authority) from None
    assert told["failed"] == [] and told["kept"] == "503" and told["certificates"] == 2 and told["asked"] > 20, told
    first = found.everywhere()
    assert len(first) == 2, "both hosts have the same, an own one for each side"
    assert [found.sh(host, "haproxy", "pgrep -x haproxy") for host in HOSTS] == workers, "nothing was started anew"
    assert [found.check(host) for host in HOSTS] == [(0, "")] * 2

    # The one who has not the address asks nobody.
    found.start("lb-2", "letsencrypt_lego")
    wait_for("the other one", lambda: found.sh("lb-2", "letsencrypt_lego", "pgrep -x cron || true"), 120)
    assert "is passive" in found.running["lb-2", "letsencrypt_lego"].logs().decode()

    # A name comes in: Kolla's script asks for another certificate of this side, and the other side keeps its own.
    with asking(found) as told:
        found.start(
            "lb-1", "letsencrypt_lego", more=MORE.replace("[cloud.example]", "[cloud.example, dashboard.example]")
        )
        wait_for("another one", lambda: all(found.shown(host, EXTERNAL) not in first for host in HOSTS), 120)
    assert told["failed"] == [] and told["kept"] == "503" and told["certificates"] == 2, told
    second = found.everywhere()
    assert len(second) == 2 and len(second & first) == 1 and all(ISSUED in shown for shown in second)

    # A reload and a restart keep them; a host that lost them, or is new, gets them without another one being asked for.
    reload = found.sh("lb-1", "haproxy", "kolla_set_configs && /etc/haproxy/haproxy_reload.sh && sleep 3")
    assert {found.shown("lb-1", address) for address in (INTERNAL, EXTERNAL)} == second, reload
    found.running["lb-1", "haproxy"].restart()
    found.sh("lb-2", "haproxy", "rm /etc/haproxy/certificates/*")
    found.running["lb-2", "haproxy"].restart()
    wait_for(
        "stand-ins",
        lambda: {STAND_IN in found.shown("lb-2", address) for address in (INTERNAL, EXTERNAL)} == {True},
        60,
    )
    wait_for("the others", lambda: {found.shown("lb-1", address) for address in (INTERNAL, EXTERNAL)} == second, 60)
    caught = found.sh("lb-1", "letsencrypt_lego", "letsencrypt-lego-catch-up.sh")
    assert caught.count("192.0.2.12 has an older certificate, or a stand-in.") == 2 and "192.0.2.11" not in caught, (
        caught
    )
    assert found.everywhere() == second
    assert found.sh("lb-1", "letsencrypt_lego", "letsencrypt-lego-catch-up.sh") == "", "and then it has nothing to do"
