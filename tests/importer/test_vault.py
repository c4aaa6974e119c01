"""ansible-vault's format, opened; what cannot be opened says where and why, and quotes nothing."""

import pytest

from reconciler import errors
from reconciler.document.yaml import Place
from reconciler.importer.ansible import variables
from reconciler.importer.vault import Vault
from reconciler.secret import Secret
from tests.importer.sources import fresh, vaulted

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
