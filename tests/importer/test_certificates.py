"""Certificates and keys of kolla-ansible's folder: where they go, what is said of them, and that no key is anywhere in the clear."""

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from reconciler.cli.main import program
from reconciler.importer import report
from reconciler.importer.convert import PASSWORDS, Options, convert, inputs
from reconciler.importer.types import Entry, Fate, Result
from reconciler.importer.vault import Vault
from reconciler.secret import Secret, reveal
from reconciler.secrets import sops
from tests.importer.sources import GLOBALS, MULTINODE, SHIPPED, facts_of, folder, fresh, passwords, read, vaulted
from tests.importer.test_verb import run

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
OPTIONS = Options("hill", ("age1xyz",), now=NOW)
_NONE = NoEncryption()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey, how: KeySerializationEncryption = _NONE) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


def certificate(key: ec.EllipticCurvePrivateKey, days: int = 400) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hill")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=700))
    signed = made.not_valid_after(NOW + timedelta(days=days)).sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def pair(days: int = 400) -> tuple[str, str]:
    key = new_key()
    return certificate(key, days), pem(key)


def made(root: Path, files: dict[str, str | bytes | None], said: str = "", vault: Vault | None = None) -> Result:
    below = {f"etc/certificates/{name}": content for name, content in files.items() if content is not None}
    source = read(root, {"etc/globals.yml": GLOBALS + said, **below}, vault)
    result = convert(source, SHIPPED, OPTIONS)
    assert Counter(inputs(source)) == Counter(one.input for one in result.entries)
    return result


def of(result: Result, name: str) -> Entry:
    (found,) = [
        one for one in result.entries if one.input.kind == "file" and one.input.name.endswith(f"certificates/{name}")
    ]
    return found


def test_each_file_goes_where_services_read_it(tmp_path: Path) -> None:
    (backend, key), (keystone, keystone_key), (host, host_key) = pair(), pair(), pair()
    external, internal = "".join(pair()), "".join(pair())
    files: dict[str, str | bytes | None] = {
        "haproxy.pem": external,
        "haproxy-internal.pem": internal,
        "backend-cert.pem": backend,
        "backend-key.pem": key,
        "keystone-cert.pem": keystone,
        "keystone-key.pem": keystone_key,
        "ctl1-cert.pem": host,
        "ctl1-key.pem": host_key,
        "ctl2/nova-cert.pem": keystone,
        "ctl2/nova-key.pem": keystone_key,
        "ca/root.crt": pair()[0],
        "private/root/root.key": pair()[1],
        "openssl-kolla.cnf": "[req]\n",
    }
    result = made(tmp_path, files)
    assert reveal(result.secrets[PASSWORDS]) == {
        "haproxy_external_certificate": external.removesuffix("\n"),
        "haproxy_internal_certificate": internal.removesuffix("\n"),
    }
    sealed = [name for name in files if name.endswith("-key.pem")]
    assert reveal(result.sealed) == {f"config/certificates/{name}": files[name] for name in sealed}
    clear = [name for name in files if name.endswith(("-cert.pem", ".crt"))]
    assert {path: text for path, text in result.files.items() if "certificates/" in path} == {
        f"config/certificates/{name}": files[name] for name in clear
    }
    for name in ("private/root/root.key", "openssl-kolla.cnf"):
        assert (of(result, name).fate, of(result, name).target) == (Fate.DIFFERENT, "")
    assert of(result, "haproxy.pem").fate is Fate.RENAMED and of(result, "haproxy.pem").target == PASSWORDS
    assert of(result, "backend-cert.pem").reason == "ends on 2027-07-06"
    assert not [one for one in result.entries if one.look]


def test_what_is_wrong_with_them_is_said_and_shown(tmp_path: Path) -> None:
    (ended, ended_key), (soon, soon_key), (one, _), (_, other) = pair(-1), pair(20), pair(), pair()
    locked = new_key()
    files: dict[str, str | bytes | None] = {
        "haproxy.pem": one + other,
        "haproxy-internal.pem": one,
        "backend-cert.pem": ended,
        "backend-key.pem": ended_key,
        "glance-cert.pem": soon + pair()[0],
        "glance-key.pem": soon_key,
        "keystone-cert.pem": one,
        "keystone-key.pem": other,
        "heat-cert.pem": one,
        "nova-key.pem": other,
        "proxysql-cert.pem": one,
        "ctl1-cert.pem": certificate(locked),
        "ctl1-key.pem": pem(locked, BestAvailableEncryption(fresh().encode())),
        "neutron-key.pem": "no key\n",
        "ca/not.crt": "no certificate\n",
    }
    result = made(tmp_path, files)
    for name, what in (
        ("haproxy.pem", "its private key does not belong to its first certificate"),
        ("haproxy-internal.pem", "holds no private key"),
        ("backend-cert.pem", "ended on 2026-05-31"),
        ("glance-cert.pem", "the first of its 2 certificates ends on 2026-06-21, in 20 days"),
        ("keystone-key.pem", "does not belong to certificates/keystone-cert.pem"),
        ("heat-cert.pem", "goes with certificates/backend-key.pem, which does not belong to it"),
        ("nova-key.pem", "does not belong to certificates/backend-cert.pem"),
        ("proxysql-cert.pem", "no private key goes with it"),
        ("ctl1-key.pem", "its private key has a passphrase"),
        ("neutron-key.pem", "holds no private key"),
        ("ca/not.crt", "holds no certificate"),
    ):
        found = of(result, name)
        assert what in found.reason and found.look and found.target, (name, found)
        assert what in report.text(result), name
    assert "\ntaken, and to look at:\n" in report.text(result)
    assert "config/certificates/neutron-key.pem" in result.sealed
    for name in ("keystone-cert.pem", "ctl1-cert.pem", "glance-key.pem"):
        assert not of(result, name).look, name


def test_what_no_service_could_have_stays_with_the_reason(tmp_path: Path) -> None:
    cert, key = pair()
    files: dict[str, str | bytes | None] = {
        "ca/both.crt": cert + key,
        "ca/der.crt": x509.load_pem_x509_certificate(cert.encode()).public_bytes(Encoding.DER),
        "trove-cert.pem": cert,
        "nobody/keystone-cert.pem": cert,
        "haproxy.key": key,
    }
    result = made(tmp_path, files)
    reasons = {name: of(result, name).reason for name in files}
    assert {of(result, name).fate for name in files} == {Fate.UNSUPPORTED}
    assert "holds a private key, and what is below ca/ would be in every container" in reasons["ca/both.crt"]
    assert "trove is not in the catalogue yet" in reasons["trove-cert.pem"]
    assert "nobody" in reasons["nobody/keystone-cert.pem"]
    assert not result.sealed and not [path for path in result.files if "certificates" in path]
    (tmp_path / "etc/certificates/haproxy.pem").symlink_to("/nowhere/at/all.pem")
    assert "is a link to a file that is not here" in of(made(tmp_path, {}), "haproxy.pem").reason


def test_variables_say_which_files_count(tmp_path: Path) -> None:
    cert, key = pair()
    both = "".join(pair())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/key.pem").write_text(key)
    said = (
        'kolla_external_fqdn_cert: "{{ kolla_certificates_dir }}/wild.pem"\n'
        'kolla_internal_fqdn_cert: "{{ node_config }}/certificates/wild.pem"\n'
        "kolla_tls_backend_cert: /etc/kolla/certificates/mine.pem\n"
        f"kolla_tls_backend_key: {tmp_path}/elsewhere/key.pem\n"
    )
    files: dict[str, str | bytes | None] = {"wild.pem": both, "mine.pem": cert, "haproxy.pem": "".join(pair())}
    result = made(tmp_path, files, said)
    assert reveal(result.secrets[PASSWORDS]) == {
        "haproxy_external_certificate": both.strip(),
        "haproxy_internal_certificate": both.strip(),
    }
    assert result.files["config/certificates/backend-cert.pem"] == cert
    assert reveal(result.sealed["config/certificates/backend-key.pem"]) == key
    assert of(result, "haproxy.pem").reason.startswith("kolla_external_fqdn_cert names ")
    variables = {one.input.name: one for one in result.entries if one.input.kind == "variable"}
    for name, target in (("external_fqdn_cert", PASSWORDS), ("tls_backend_key", "config/certificates/backend-key.pem")):
        assert (variables[f"kolla_{name}"].fate, variables[f"kolla_{name}"].target) == (Fate.RENAMED, target)

    held = made(
        tmp_path / "held",
        {"private/mine.pem": both},
        "kolla_external_fqdn_cert: '{{kolla_certificates_dir}}/private/mine.pem'\n",
    )
    assert reveal(held.secrets[PASSWORDS]) == {"haproxy_external_certificate": both.strip()}
    gone = made(tmp_path / "gone", {"haproxy.pem": both}, "kolla_external_fqdn_cert: /etc/ssl/gone/wild.pem\n")
    assert of(gone, "haproxy.pem").fate is Fate.DIFFERENT and not gone.secrets
    assert [one.fate for one in gone.entries if one.input.name == "kolla_external_fqdn_cert"] == [Fate.UNSUPPORTED]


def test_a_folder_elsewhere_and_files_that_vault_encrypted(tmp_path: Path) -> None:
    cert, key = pair()
    word = fresh()
    folder(tmp_path / "pki", {"backend-cert.pem": cert, "backend-key.pem": vaulted(key, word)})
    result = made(tmp_path, {}, f"kolla_certificates_dir: {tmp_path}/pki\n", Vault(Secret(word)))
    assert reveal(result.sealed) == {"config/certificates/backend-key.pem": key}
    assert result.files["config/certificates/backend-cert.pem"] == cert


def test_links_are_followed_and_each_file_is_one_input(tmp_path: Path) -> None:
    cert, key = pair()
    folder(tmp_path / "pki", {"root.crt": cert, "live.pem": cert + key})
    (tmp_path / "pki/round").symlink_to(tmp_path / "pki")
    (tmp_path / "etc/certificates").mkdir(parents=True)
    (tmp_path / "etc/certificates/ca").symlink_to(tmp_path / "pki")
    (tmp_path / "etc/certificates/haproxy.pem").symlink_to(tmp_path / "pki/live.pem")
    result = made(tmp_path, {})
    assert max(Counter(one.input for one in result.entries).values()) == 1
    assert result.files["config/certificates/ca/root.crt"] == cert
    assert reveal(result.secrets[PASSWORDS]) == {"haproxy_external_certificate": (cert + key).strip()}


def test_overrides_that_are_no_text_come_over_byte_for_byte(tmp_path: Path) -> None:
    image = bytes(range(256))
    files = {f"etc/config/{name}": image for name in ("ironic/ironic-agent.kernel", "horizon/themes/hill/x.key")}
    result = convert(read(tmp_path, files), SHIPPED, OPTIONS)
    assert result.binary == {"config/ironic/ironic-agent.kernel": image}
    assert [one.fate for one in result.entries if one.input.name.endswith("x.key")] == [Fate.UNSUPPORTED]


def test_nothing_of_config_becomes_a_certificate(tmp_path: Path) -> None:
    source = read(tmp_path, {"etc/config/certificates/backend-cert.pem": pair()[0]})
    result = convert(source, SHIPPED, OPTIONS)
    assert of(result, "backend-cert.pem").fate is Fate.DIFFERENT and not of(result, "backend-cert.pem").target


TLS = """\
kolla_enable_tls_internal: "yes"
kolla_enable_tls_external: "yes"
kolla_enable_tls_backend: "yes"
kolla_copy_ca_into_containers: "yes"
kolla_external_vip_address: "192.0.2.250"
kolla_external_vip_interface: "bond0"
"""


def test_a_cloud_with_tls_validates_and_renders_and_no_key_is_in_the_clear(
    tmp_path: Path, key: tuple[Path, str]
) -> None:
    (cert, backend), both = pair(), "".join(pair())
    hosts = {"ctl1": 11, "ctl2": 12, "ctl3": 13, "cmp01": 21, "cmp02": 22}
    folder(
        tmp_path,
        {
            "etc/globals.yml": GLOBALS + TLS,
            "etc/passwords.yml": json.dumps(passwords()),
            "etc/certificates/haproxy.pem": both,
            "etc/certificates/haproxy-internal.pem": both,
            "etc/certificates/backend-cert.pem": cert,
            "etc/certificates/backend-key.pem": backend,
            "etc/certificates/ca/root.crt": cert,
            "etc/config/horizon/themes/hill/logo.png": bytes(range(256)),
            "inventory/hosts": MULTINODE,
            **{f"facts/{name}": facts_of(f"10.0.0.{number}", f"10.2.0.{number}") for name, number in hosts.items()},
        },
    )
    words = ("--facts", tmp_path / "facts", "--age-recipient", key[1])
    done = run(tmp_path, *words, "--json", "--page", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert [one["message"] for one in json.loads(done.stdout)["problems"] if one["severity"] == "error"] == []
    site = tmp_path / "site"
    body = backend.splitlines()[1]
    clear = (body, both.splitlines()[-2])
    assert (site / "config/horizon/themes/hill/logo.png").read_bytes() == bytes(range(256))
    written = [
        path.read_text(errors="replace") for path in (*site.rglob("*"), tmp_path / "page.html") if path.is_file()
    ]
    assert not [text for text in (*written, done.output) if any(secret in text for secret in clear)]
    content = (site / "config/certificates/backend-key.pem").read_bytes()
    examined = sops.examine(content, name="backend-key.pem")
    opened = sops.unlock(
        examined.text, name="backend-key.pem", recipients=examined.recipients, keys=sops.Keys(key[0]), exact=True
    )
    assert reveal(opened) == {"data": backend}

    rendered = tmp_path / "rendered"
    shown = CliRunner().invoke(
        program,
        [
            "render",
            str(site),
            "--host",
            "ctl1",
            "--out",
            str(rendered),
            "--secrets",
            "sops",
            "--age-key-file",
            str(key[0]),
        ],
    )
    assert shown.exit_code == 0, shown.output
    files = {path.relative_to(rendered).as_posix(): path.read_text() for path in rendered.rglob("*.pem")}
    assert files["haproxy/haproxy.pem"] == files["haproxy/haproxy-internal.pem"] == both
    assert (files["keystone/keystone-cert.pem"], files["keystone/keystone-key.pem"]) == (cert, backend)
    assert "ssl crt /etc/haproxy/certificates/haproxy.pem" in (rendered / "haproxy/services.d/keystone.cfg").read_text()
    again = run(tmp_path, *words, "--age-key-file", key[0])
    assert (again.exit_code, "nothing was written" in again.output) == (0, True), again.output


def answered(root: Path, words: tuple[str | Path, ...], answers: tuple[tuple[str, str], ...]) -> tuple[int, str]:
    """The import at a real terminal: each question and its answer. Exit code, and what was on the terminal."""
    master, slave = pty.openpty()
    where = ("--etc", root / "etc", "--inventory", root / "inventory/hosts", "--out", root / "site")
    command = [sys.executable, "-m", "reconciler", "import", "kolla-ansible", *map(str, (*where, *words))]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "HOME": str(root), "NO_COLOR": "1"}
    with (
        subprocess.Popen(command, stdin=slave, stderr=slave, stdout=subprocess.DEVNULL, env=environment) as process,
        contextlib.ExitStack() as ending,
    ):
        ending.callback(process.kill)  # after a failure nobody answers it any more
        os.close(slave)
        seen, told = "", ""
        for question, answer in answers:
            while question not in seen:
                assert select.select([master], [], [], 120)[0], f"no question {question!r} after {told + seen!r}"
                seen += os.read(master, 4096).decode()
            before, _, seen = seen.partition(question)
            told += before + question
            os.write(master, f"{answer}\n".encode())
        code = process.wait(120)
        os.close(master)
    return code, told


def test_at_a_terminal_addresses_are_asked_for(tmp_path: Path, key: tuple[Path, str]) -> None:
    inventory = "[control]\nctl1\nctl2\n[network:children]\ncontrol\n"
    folder(tmp_path, {"etc/globals.yml": GLOBALS, "inventory/hosts": inventory})
    words = ("--age-recipient", key[1], "--address", "ctl2:bifrost_network=10.2.0.12")
    code, _ = answered(
        tmp_path,
        words,
        (
            ("addresses that nobody says: 3, of 2 hosts", ""),
            ("Address of ctl1 in the management network, on bond0 (empty: not now): ", "ten"),
            ("'ten' is not an IP address", "10.0.0.11"),
            ("Address of ctl1 in the network 'bifrost_network', on bond1.20 (empty: not now): ", "10.2.0.12"),
            ("ctl2 has 10.2.0.12 already", "10.2.0.11"),
            ("Address of ctl2 in the management network, on bond0 (empty: not now): ", "fd00::12"),
        ),
    )
    text = (tmp_path / "site/inventory.yml").read_text()
    for address in ("10.0.0.11", "10.2.0.11", "10.2.0.12", "fd00::12"):
        assert f'"{address}"' in text, (code, text)
    assert "missing" not in text


def test_without_a_terminal_and_with_yes_there_is_the_list(tmp_path: Path, key: tuple[Path, str]) -> None:
    inventory = "[control]\nctl1\nctl2\n[network:children]\ncontrol\n"
    folder(tmp_path, {"etc/globals.yml": GLOBALS, "inventory/hosts": inventory})
    done = run(tmp_path, "--age-recipient", key[1], "--address", "ctl1=10.0.0.11")
    assert done.exit_code == 1 and "--address HOST:NETWORK=ADDRESS" in done.output
    listed = [line.strip() for line in done.output.splitlines() if line.startswith("  hosts.")]
    assert listed == [
        "hosts.ctl1.addresses.bifrost_network: the address on bond1.20",
        "hosts.ctl2.addresses.network: its address in the management network on bond0",
        "hosts.ctl2.addresses.bifrost_network: the address on bond1.20",
    ]
    assert f"'bifrost' ({'network, api'}" in run(tmp_path, "--address", "ctl1:bifrost=10.0.0.1").output

    # What was typed into the site afterwards is no difference from the import.
    file = tmp_path / "site/inventory.yml"
    text = file.read_text().replace(
        "    # missing: hosts.ctl1.addresses.bifrost_network: the address on bond1.20\n", ""
    )
    file.write_text(
        text.replace('network: "10.0.0.11"\n', 'network: "10.0.0.11"\n      bifrost_network: "10.2.0.11"\n')
    )
    again = run(tmp_path, "--address", "ctl1=10.0.0.11", "--check")
    assert (again.exit_code, "nothing was written" in again.output) == (0, True), again.output
