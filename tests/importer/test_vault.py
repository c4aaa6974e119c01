"""ansible-vault's format, opened; what cannot be opened says where and why, and quotes nothing."""

import contextlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler import errors
from reconciler.cli.main import program
from reconciler.document.yaml import Place
from reconciler.importer.ansible import variables
from reconciler.importer.vault import Vault
from reconciler.secret import Secret
from tests.importer.sources import GLOBALS, facts_of, folder, fresh, opened, passwords, read, vaulted

INVENTORY = "[control]\nctl1\n[network:children]\ncontrol\n"

HERE = Place("globals.yml", 7, 3)


@pytest.mark.parametrize("header", ["$ANSIBLE_VAULT;1.1;AES256", "$ANSIBLE_VAULT;1.2;AES256;prod"])
@pytest.mark.parametrize("text", ["", "x", "sixteen letters.", "ümläut\r\n0123\n"])
def test_it_opens_byte_for_byte_with_the_one_that_fits(header: str, text: str) -> None:
    password = fresh()
    vault = Vault(Secret(fresh()), Secret(password))
    assert vault.open(vaulted(text, password, header), HERE).reveal() == text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-20], "cut short|does not open it"),
        (lambda content: content[:40] + b"zz" + content[42:], "cut short"),
        (lambda content: content.replace(b"1.1", b"1.0", 1), "other than 1.1 or 1.2"),
        (lambda content: b"$ANSIBLE_VAULT;1.1;AES256\n", "cut short"),
        (lambda content: b"", "other than 1.1 or 1.2"),
        (lambda content: vaulted("x", fresh()), "the vault password does not open it"),
    ],
)
def test_what_cannot_be_opened_says_where(damage: object, said: str) -> None:
    password = fresh()
    with pytest.raises(errors.Terminal, match=rf"^globals\.yml:7:3: .*({said})"):
        Vault(Secret(password)).open(damage(vaulted("text", password)), HERE)  # type: ignore[operator]


def test_without_a_password_it_says_which_option() -> None:
    with pytest.raises(errors.Terminal, match=r"globals\.yml:7:3: .*--vault-password-file"):
        Vault().open(vaulted("x", fresh()), HERE)


def test_single_values_and_whole_files() -> None:
    password, secret = fresh(), fresh()
    body = vaulted(secret, password).decode()
    inline = "a: !vault |\n" + "".join(f"  {line}\n" for line in body.splitlines()) + "b: 1\n"
    first, second = variables(inline.encode(), "f", Vault(Secret(password))).variables
    assert first.value == Secret(secret) and (second.value, second.text, second.place.line) == (
        1,
        "b: 1\n",
        inline.count("\n"),
    )
    (whole,) = variables(vaulted(f"a: {{b: [{secret}, 3]}}\n", password), "f", Vault(Secret(password))).variables
    assert whole.value == {"b": [Secret(secret), Secret("3")]} and whole.text == "" and whole.encrypted


def test_overrides_are_opened_and_nothing_of_them_is_in_the_clear_afterwards(
    tmp_path: Path, key: tuple[Path, str]
) -> None:
    """Of what is merged each value is a secret, of what is read whole the file; what cannot be either way stays where it is."""
    password = fresh()
    hidden = [fresh() for _ in range(7)]
    bind, quoted, vendor, settings, lost, wrapped, erlang = hidden
    merged = (
        f"# bind as {bind}\n[ldap]\nuser = {bind}\npassword = '{quoted}'\nurl = {{{{ kolla_internal_vip_address }}}}\nuse_pool = true\nempty =\n"
        "[DEFAULT]\n"
    )
    files = {
        "keystone.conf": vaulted(merged, password),
        "nova/vendordata.json": vaulted(f'{{"key": "{vendor}", "not": "{{{{ a template }}}}"}}', password),
        "horizon/_9999-custom-settings.py": vaulted(f"SECRET = '{settings}' + '{{{{ region }}}}'\n", password),
        "glance.conf": vaulted(f"[DEFAULT]\nx = {lost}\n", fresh()),
        "nova.conf": vaulted(f"[DEFAULT]\nx = 1,\n  {wrapped}\n", password),
        "rabbitmq/advanced.config": vaulted(f"[{{rabbit, [{{x, <<\"{erlang}\">>}}]}}].\n", password),
    }  # fmt: skip
    facts = facts_of("10.0.0.11", "10.2.0.11")
    given: dict[str, str | bytes] = {f"etc/config/{path}": content for path, content in files.items()}
    given |= {"etc/passwords.yml": json.dumps(passwords()), "facts/ctl1": facts, "vault": password}
    folder(tmp_path, {"etc/globals.yml": GLOBALS, "inventory/hosts": INVENTORY, **given})
    words = ["import", "kolla-ansible", "--etc", "etc", "--inventory", "inventory/hosts", "--facts", "facts", "--out", "site",
             "--vault-password-file", "vault", "--age-recipient", key[1], "--page", "report.html", "--all"]  # fmt: skip
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(program, words)
    site = tmp_path / "site"
    assert "the site validates" in done.output, done.output
    written = [path.read_bytes() for path in (*site.rglob("*"), tmp_path / "report.html") if path.is_file()]
    assert not [word for word in hidden if any(word.encode() in content for content in written) or word in done.output]

    text = (site / "config/keystone.conf").read_text()
    assert text == (
        "[ldap]\nuser = {{ config_keystone_conf_user }}\npassword = '{{ config_keystone_conf_password }}'\n"
        "url = {{ kolla_internal_vip_address }}\nuse_pool = {{ config_keystone_conf_use_pool }}\nempty =\n[DEFAULT]\n"
    )
    kept = opened(site / "passwords.yml", key)
    assert [kept[f"config_keystone_conf_{name}"] for name in ("user", "password", "use_pool")] == [bind, quoted, "true"]
    whole = opened(site / "config/nova/vendordata.json", key)["data"]
    assert whole == f'{{"key": "{vendor}", "not": "{{{{ a template }}}}"}}'
    said = " ".join(done.output.split())
    for told in (
        "keystone.conf: with config_keystone_conf_user, config_keystone_conf_password, config_keystone_conf_use_pool of passwords.yml in the "
        "place of its values, which were encrypted",
        "nova/vendordata.json: encrypted as a whole",
        "horizon/_9999-custom-settings.py: was encrypted and is a template: put what is secret in it into passwords.yml",
        "glance.conf: the vault password does not open it, or it was altered; it stays where it is",
        "nova.conf: was encrypted, and its line 3 is not a section or one setting",
        "rabbitmq/advanced.config: encrypted as a whole",
    ):
        assert told in said, (told, done.output)


def test_an_encrypted_override_without_any_password_says_which_option(tmp_path: Path) -> None:
    with pytest.raises(errors.Terminal, match=r"etc/config/nova\.conf: is encrypted .*--vault-password-file"):
        read(tmp_path, {"etc/config/nova.conf": vaulted("[DEFAULT]\n", fresh())})
