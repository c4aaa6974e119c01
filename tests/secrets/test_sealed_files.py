"""Encrypted files below a site's config/: a keyring, a key, a certificate. The real sops encrypts, and a node writes them."""

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.errors import SiteInvalid
from reconciler.git import content
from reconciler.render import bind_tree, formats, render
from reconciler.secret import redact
from reconciler.secrets import sops
from reconciler.source import prepare
from tests.render.sites import file, make_site, one_service
from tests.secrets.conftest import Key
from tests.support import sealed

KEYRING = '[client.nova]\n\tkey = {key}\n\tcaps mon = "profile rbd"\n'
SERVICE = """
groups: {compute: []}
containers:
  keyring_holder:
    image: x
    command: y
    group: compute
    files:
      - name: ceph.client.nova.keyring
        overrides: ["nova/{host}/ceph.client.nova.keyring", nova/ceph.client.nova.keyring]
        destination: /etc/ceph/ceph.client.nova.keyring
        owner: nova
      - {name: about, template: about}
"""
ABOUT = "{{ first_override('nova/{host}/ceph.client.nova.keyring', 'nova/ceph.client.nova.keyring') }}"


@pytest.fixture(scope="module")
def encrypt(age_key: Key) -> Callable[[str], str]:
    """As an operator does it: `sops encrypt` of a file that sops knows no format for."""

    def run(text: str) -> str:
        command = [
            str(sops.find_program()),
            "encrypt",
            "--age",
            age_key.recipient,
            "--filename-override",
            "x.keyring",
            "/dev/stdin",
        ]
        return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout.decode()

    return run


def folder(tmp_path: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        tmp_path.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(path).write_text(text)
    return tmp_path


INVENTORY = """
hosts:
  cmp1: {addresses: {network: 10.0.0.21}, groups: [compute]}
  cmp2: {addresses: {network: 10.0.0.22}, groups: [compute]}
  cmp3: {addresses: {network: 10.0.0.23}}
groups: {compute: {}}
"""


def test_a_keyring_arrives_to_the_last_byte_where_it_belongs(
    tmp_path: Path, age_key: Key, encrypt: Callable[[str], str]
) -> None:
    shared, own = KEYRING.format(key="shared$1=="), "one line\n"
    files = {
        "inventory.yml": INVENTORY,
        "globals.yml": "enable_openstack_core: false\nenable_haproxy: false\nenable_mariadb: false\nenable_memcached: false\n"
        "enable_cron: false\nenable_rabbitmq: false\nkolla_internal_vip_address: 10.0.0.250\n",
        "services/own/service.yml": f"description: x{SERVICE}",
        "services/own/templates/about": ABOUT,
        "config/nova/ceph.client.nova.keyring": encrypt(shared),
        "config/nova/cmp2/ceph.client.nova.keyring": encrypt(own),
    }
    source = content.Source(folder(tmp_path, files)).to_json()
    written = {}
    for host in ("cmp1", "cmp2", "cmp3"):
        prepared = prepare.prepare_source(source, "work tree", host, age_key.keys)
        assert shared.strip() not in repr(prepared)
        found = [one for one in prepared.desired.files if one.path.endswith("keyring")]
        written[host] = [formats.write(one, prepared.secrets) for one in found]
        assert len(prepared.secrets) == len(found)
    assert written == {"cmp1": [shared], "cmp2": [own], "cmp3": []}


def test_a_node_that_cannot_open_it_says_which_file(
    tmp_path: Path, other_ssh_key: Key, encrypt: Callable[[str], str]
) -> None:
    site = {"inventory.yml": INVENTORY, "globals.yml": "enable_openstack_core: false\nenable_haproxy: false\nenable_mariadb: false\n"
            "enable_memcached: false\nenable_cron: false\nenable_rabbitmq: false\nkolla_internal_vip_address: 10.0.0.250\n",
            "services/own/service.yml": f"description: x{SERVICE}", "services/own/templates/about": ABOUT,
            "config/nova/ceph.client.nova.keyring": encrypt("k")}  # fmt: skip
    with pytest.raises(errors.Terminal, match=r"config/nova/ceph.client.nova.keyring"):
        prepare.prepare_source(
            content.Source(folder(tmp_path, site)).to_json(), "work tree", "cmp1", other_ssh_key.keys
        )


KEYTAB = b"\x05\x02\0\xff\xfe" + bytes(range(256)) + b"\r\n\xed\xa0\x80 <<secret:nobody>>"
BINARY = """
groups: {compute: []}
containers:
  holder:
    image: x
    command: y
    group: compute
    files:
      - {name: krb5.keytab, overrides: [own/krb5.keytab], destination: /etc/krb5.keytab}
      - {name: encoded, template: encoded, optional: true, reads: [own/krb5.keytab]}
"""


def with_keytab(tmp_path: Path, age_key: Key, template: str) -> prepare.Prepared:
    plain = tmp_path / "plain"
    plain.write_bytes(KEYTAB)
    command = [str(sops.find_program()), "encrypt", "--age", age_key.recipient, "--input-type", "binary"]
    done = subprocess.run([*command, "--output-type", "binary", str(plain)], capture_output=True, check=True)
    files = {
        "inventory.yml": INVENTORY,
        "globals.yml": "enable_openstack_core: false\nenable_haproxy: false\nenable_mariadb: false\nenable_memcached: false\n"
        "enable_cron: false\nenable_rabbitmq: false\nkolla_internal_vip_address: 10.0.0.250\n",
        "services/own/service.yml": f"description: x{BINARY}",
        "services/own/templates/encoded": template,
        "config/own/krb5.keytab": done.stdout.decode(),
    }
    source = content.Source(folder(tmp_path / "site", files)).to_json()
    return prepare.prepare_source(source, "work tree", "cmp1", age_key.keys)


def test_a_keytab_arrives_though_it_is_no_text(tmp_path: Path, age_key: Key) -> None:
    prepared = with_keytab(tmp_path, age_key, "k = {{ lookup('file', 'own/krb5.keytab') | b64encode }}\n")
    tree = bind_tree(prepared.desired, prepared.secrets)
    assert tree["holder/krb5.keytab"] == KEYTAB
    encoded = base64.b64encode(KEYTAB).decode()
    assert tree["holder/encoded"].decode() == f"k = {encoded}\n"
    assert redact(f"a {encoded} b {KEYTAB.hex()}", prepared.secrets.values()) == "a *** b ***"


@pytest.mark.parametrize("use", ["", "| to_json", "| quote"])
def test_a_secret_that_is_no_text_does_not_get_into_one(use: str, tmp_path: Path, age_key: Key) -> None:
    name = "lookup('file', 'own/krb5.keytab')"
    with pytest.raises(errors.ReconcilerError) as caught:
        prepared = with_keytab(tmp_path, age_key, f"a\n{{{{ {name} {use} }}}}\n")
        bind_tree(prepared.desired, prepared.secrets)
    assert "is no text (let it be the whole of a file" in str(caught.value)


# --- without a key -----------------------------------------------------------------------------------------------

PLACE = "config/nova/ceph.client.nova.keyring"


def whole(seed: str = "content", **more: str) -> str:
    """A file as sops leaves it, opened by nobody."""
    return json.dumps({"data": sealed.cipher(seed), **more, "sops": sealed.metadata()}, indent="\t")


def test_without_a_key_the_file_is_one_secret() -> None:
    site = one_service(SERVICE, {PLACE: whole()}, templates={"about": ABOUT})
    made = file(render(site, "cmp1", "r"), "keyring-holder/ceph.client.nova.keyring")
    (name,) = made.secrets
    assert (made.content, made.format, made.sources) == (f"<<secret:{name}>>", "text", (PLACE,))
    rotated = one_service(SERVICE, {PLACE: whole("other")}, templates={"about": ABOUT})
    digests = [render(one, "cmp1", "r").secrets[name] for one in (site, rotated)]
    assert digests[0] != digests[1]
    assert file(render(site, "cmp1", "r"), "keyring-holder/about").content == "nova/ceph.client.nova.keyring"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (whole(extra="clear"), "the value of extra is not encrypted"),
        (sealed.text({"key": "x"}), "is encrypted value by value"),
        (whole().replace("data:", "data:!"), f"{PLACE}"),
        (whole().replace('"age": [', '"kms": [{"arn": "x"}], "age": ['), "kms"),
    ],
)
def test_what_a_node_would_refuse_is_told_without_a_key(content: str, message: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        one_service(SERVICE, {PLACE: content}, templates={"about": ABOUT})
    assert any(message in str(problem) and PLACE in str(problem) for problem in caught.value.problems)


def test_an_encrypted_file_is_not_merged_into_another() -> None:
    body = "containers: {app: {image: x, command: y, files: [{name: a.conf, content: '[a]', merge: ini, overrides: [a.conf]}]}}"
    with pytest.raises(SiteInvalid, match=r"config/a\.conf:1:1: is encrypted, and cannot be merged key by key"):
        render(one_service(body, {"config/a.conf": whole()}), "ctl1", "r")


def test_a_template_can_hold_an_encrypted_file() -> None:
    body = "containers: {app: {image: x, command: y, files: [{name: f, template: t, reads: [app/key]}]}}"
    site = one_service(body, {"config/app/key": whole()}, templates={"t": "a\n{{ override('app/key') }}\n"})
    made = file(render(site, "ctl1", "r"), "app/f")
    assert made.content == f"a\n<<secret:{made.secrets[0]}>>\n"


# --- whether a secret is there -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [(None, "none"), ("", "none"), ("x", "there")])
def test_a_blank_secret_is_defined_when_an_operator_filled_it(value: str | None, expected: str) -> None:
    body = "passwords: {ceph_key: {kind: blank}, made: {kind: random}}\n"
    body += "containers: {app: {image: x, command: y, files: [{name: f, template: t}]}}\n"
    secrets = {"made": "m"} | ({} if value is None else {"ceph_key": value})
    services = {
        "app/service.yml": f"description: x\n{body}",
        "app/templates/t": "{{ 'there' if ceph_key is defined else 'none' }}{{ made }}",
    }
    assert (
        file(render(make_site(services, secrets=secrets), "ctl1", "r"), "app/f").content == f"{expected}<<secret:made>>"
    )


def test_a_secret_without_a_value_that_is_used_says_how_to_give_it_one() -> None:
    services = {
        "app/service.yml": "description: x\npasswords: {ceph_key: {kind: blank}}\ncontainers: {app: {image: x, command: y, files: [{name: f, template: t}]}}\n",
        "app/templates/t": "{{ ceph_key }}",
    }
    with pytest.raises(SiteInvalid) as caught:
        render(make_site(services), "ctl1", "r")
    assert str(caught.value.problems[0]) == (
        "catalogue/app/templates/t:1:1: the secret 'ceph_key' has no value on this host (write `ceph_key: …` with `sops edit passwords.yml`)"
    )
