"""What is rendered, read by the programs that it is for: in genuine Kolla images, copied there by Kolla's own script."""

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.render import write
from tests.services import golden

pytestmark = [pytest.mark.images, pytest.mark.engine]

# Container → case, host, image, and what its program says of its configuration without being started.
PROGRAMS = {
    "haproxy": ("one_node", "aio", "haproxy", "haproxy -c -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/services.d/"),
    "haproxy-tls": (
        "three_nodes",
        "lb-2",
        "haproxy",
        "haproxy -c -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/services.d/",
    ),
    "cron": ("one_node", "aio", "cron", "logrotate -d /etc/logrotate.conf"),
    "mariadb": ("one_node", "aio", "mariadb-server", "mariadbd --verbose --help > /dev/null"),
    "rabbitmq": (
        "one_node",
        "aio",
        "rabbitmq",
        """erl -noshell -eval '{ok, _} = file:consult("/etc/rabbitmq/advanced.config"),
           {ok, _} = file:consult("/etc/rabbitmq/enabled_plugins"), {ok, _} = file:consult("/etc/rabbitmq/erl_inetrc"), halt().'""",
    ),
    "keystone": (
        "one_node",
        "aio",
        "keystone",
        "mkdir -p /var/log/kolla/keystone && APACHE_CONFDIR= . /etc/apache2/envvars && apache2 -t &&"
        ' python3 -c \'import keystone.conf as conf; conf.configure(); conf.CONF([], project="keystone");'
        " assert conf.CONF.token.expiration == 3600'",
    ),
    "keystone_ssh": (
        "one_node",
        "aio",
        "keystone-ssh",
        "ssh-keygen -A > /dev/null && mkdir -p /run/sshd && /usr/sbin/sshd -t",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_program_takes_the_configuration(
    name: str, kolla_images: dict[str, str], docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    case, host, image, command = PROGRAMS[name]
    found = golden.desired(case, host)
    container = next(item for item in found.containers if item.name == name.removesuffix("-tls"))
    for file in found.files:
        if file.container == container.name:
            path = tmp_path / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write(file, {secret: value(secret) for secret in file.secrets}))
    script = 'sudo() { if [ "$(id -u)" = 0 ]; then shift; "$@"; else command sudo "$@"; fi; }\n'
    script += f"sudo -E kolla_set_configs && sudo -E kolla_set_configs --check && {command}"
    running = docker_client.containers.create(
        kolla_images[image],
        ["bash", "-c", script],
        name=f"rt-read-{name}-{os.getpid()}",
        labels={"reconciler-test": "1"},
        environment=dict(container.environment),
        network_mode="none",
        volumes={str(tmp_path / container.config_directory): {"bind": "/var/lib/kolla/config_files", "mode": "ro"}},
        ulimits=[docker.types.Ulimit(name="nofile", soft=20000, hard=20000)],
    )
    try:
        running.start()
        code = running.wait(timeout=120)["StatusCode"]
        assert code == 0, running.logs().decode(errors="replace")[-3000:]
    finally:
        running.remove(force=True, v=True)


def value(secret: str) -> str:
    """A value for a secret, made now."""
    if secret in ("haproxy_external_certificate", "haproxy_internal_certificate"):
        return certificate()
    if secret == "keystone_ssh_key.public_key":
        return "ssh-ed25519 " + secrets.token_hex(34)
    return secrets.token_urlsafe(24)


def certificate() -> str:
    """A self-signed certificate and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloud.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (made.public_bytes(serialization.Encoding.PEM) + private).decode()
