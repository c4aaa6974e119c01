"""secrets generate, rotate, check with the real sops and fresh keys."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from reconciler.secrets import sops
from tests.cli.conftest import SITE, write
from tests.git.servers import ssh_key

Cli = Callable[..., Result]

PASSWORDS = """\
passwords:
  hello_password: {kind: random, length: 20}
  hello_token: {kind: uuid}
  hello_blank: {kind: blank}
"""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A fresh ed25519 SSH key, as a host has one."""
    return ssh_key(tmp_path / "host_key")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    more = {"services/hello/service.yml": SITE["services/hello/service.yml"] + PASSWORDS}
    return write(tmp_path / "site", {**SITE, **more})


def test_filled_checked_and_rotated(cli: Cli, site: Path, key: Path) -> None:
    public = Path(f"{key}.pub").read_text().strip()
    words = ["--service", "hello", "--recipient", public]
    first = cli("secrets", "generate", site, *words)
    assert first.exit_code == 0, first.output
    assert first.stdout == f"2 filled in {site}/passwords.yml: hello_password, hello_token\n"
    before = (site / "passwords.yml").read_bytes()
    assert (
        cli("secrets", "generate", site, "--service", "hello").stdout
        == f"{site}/passwords.yml is complete: nothing changed\n"
    )
    assert (site / "passwords.yml").read_bytes() == before

    lacking = json.loads(cli("secrets", "check", site, "--json", "--ssh-key-file", key).stdout)
    assert lacking["opened"] is True
    assert lacking["recipients"] == [" ".join(public.split()[:2])]
    assert "keystone_admin_password" in lacking["missing"]
    assert "hello_password" not in lacking["missing"]

    assert cli("secrets", "rotate", site, "--name", "hello_password", "--ssh-key-file", key).exit_code == 0
    after = (site / "passwords.yml").read_bytes()
    old, new = (sops.ciphertexts(content, name="passwords.yml") for content in (before, after))
    assert {name for name in old if old[name] != new[name]} == {"hello_password"}


def test_what_the_check_advises_helps(cli: Cli, site: Path, key: Path) -> None:
    """Each piece of advice, followed, ends what it was given for."""
    service = site / "services/hello/service.yml"
    service.write_text(service.read_text().replace("{{ site_greeting }}", "{{ hello_password }}"))
    words = ["--ssh-key-file", key]

    def check() -> dict[str, Any]:
        found = cli("secrets", "check", site, "--json", *words)
        said: dict[str, Any] = json.loads(found.stdout)
        assert found.exit_code == (1 if said["missing"] or said["unwritable"] else 0)
        return said

    public = Path(f"{key}.pub").read_text().strip()
    cli("secrets", "generate", site, "--service", "hello", "--recipient", public)
    # "run `reconciler secrets generate`"
    lacking = check()
    assert lacking["unwritable"] == [] and len(lacking["missing"]) > 3
    assert "run `reconciler secrets generate" in cli("secrets", "check", site).stdout
    (site / "globals.yml").write_text((site / "globals.yml").read_text() + "# nothing else\n")
    assert cli("secrets", "generate", site, *words).exit_code == 0
    assert check()["missing"] == []
    # "say `format:` … `format: text`"
    sops.set_value(site / "passwords.yml", "hello_password", "abc#d ef", keys=sops.Keys(ssh_key_file=key), name="p")
    (message,) = check()["unwritable"]
    assert "hello_password cannot be written into hello/hello.conf" in message and "format: text" in message
    assert "abc#d" not in message and message in cli("secrets", "check", site, *words).stdout
    text = service.read_text()
    service.write_text(text.replace("- {name: hello.conf,", "- {name: hello.conf, format: text,"))
    assert service.read_text() != text and check()["unwritable"] == []
    # "`reconciler secrets rotate`"
    service.write_text(text.replace("- {name: hello.conf,", "- {name: hello.conf, format: keepalived,"))
    (message,) = check()["unwritable"]
    assert "`reconciler secrets rotate`" in message
    assert cli("secrets", "rotate", site, "--name", "hello_password", *words).exit_code == 0
    assert check()["unwritable"] == []


def test_errors_have_reasons(cli: Cli, site: Path, key: Path) -> None:
    for words, reason in (
        (["check", site], "SecretMissing"),
        (["generate", site, "--service", "nosuch"], "ServiceUnknown"),
        (["generate", site, "--service", "hello"], "SopsNoRecipients"),
        (["rotate", site, "--name", "nosuch"], "SecretUnknown"),
    ):
        found = cli("secrets", *words)
        assert found.exit_code == 1
        assert f"[{reason}]" in found.stderr, found.stderr


def test_rendered_with_secrets_and_without(cli: Cli, site: Path, key: Path, tmp_path: Path) -> None:
    text = (site / "services/hello/service.yml").read_text().replace("{{ site_greeting }}", "{{ hello_password }}")
    (site / "services/hello/service.yml").write_text(text)
    public = Path(f"{key}.pub").read_text().strip()
    assert cli("secrets", "generate", site, "--service", "hello", "--recipient", public).exit_code == 0
    out = tmp_path / "out"
    assert cli("render", site, "--host", "web1", "--out", out).exit_code == 0
    assert (out / "hello/hello.conf").read_text() == "greeting = <<secret:hello_password>>\n"
    real = cli("render", site, "--host", "web1", "--out", tmp_path / "real", "--secrets", "sops", "--ssh-key-file", key)
    assert real.exit_code == 0, real.output
    value = sops.decrypt((site / "passwords.yml").read_bytes(), name="", keys=sops.Keys(ssh_key_file=key))[
        "hello_password"
    ]
    written = tmp_path / "real/hello/hello.conf"
    assert written.read_text() == f"greeting = {value.reveal()}\n"
    assert written.stat().st_mode & 0o777 == 0o600
    assert value.reveal() not in real.output


def test_a_host_is_let_in_and_shut_out(cli: Cli, site: Path, key: Path, tmp_path: Path) -> None:
    """By the name that the inventory has; what a node would refuse before is well afterwards."""
    other = ssh_key(tmp_path / "other_key")
    mine, web1 = (" ".join(Path(f"{one}.pub").read_text().split()[:2]) for one in (key, other))
    (site / ".sops.yaml").write_text(f"creation_rules:\n  - age:\n      - {mine}  # the operator\n")
    inventory = (site / "inventory.yml").read_text()
    (site / "inventory.yml").write_text(
        inventory.replace("groups: [web]}", f'groups: [web], report_key: "{web1}"}}', 1)
    )
    service = site / "services/hello/service.yml"
    text = service.read_text().replace("{{ site_greeting }}", "{{ hello_password }}")
    service.write_text(
        text.replace("passwords:\n", "passwords:\n  kept_password: {kind: random, fixed: tell the server}\n")
    )
    assert cli("secrets", "generate", site, "--service", "hello").exit_code == 0
    words = ["--ssh-key-file", key]
    refused = cli("validate", site)
    assert "web1 cannot open it" in refused.stdout and "`reconciler secrets recipients add web1`" in refused.stdout

    for who, reason in (("web2", "ReportKeyMissing"), ("web9", "SopsNoRecipients"), (str(key), "SopsNoRecipients")):
        assert f"[{reason}]" in cli("secrets", "recipients", "add", who, site, *words).stderr
    unknown = cli("secrets", "recipients", "remove", "web9", site, *words).stderr
    assert "of a host that is not there any more say the key: `reconciler secrets recipients list` has it" in unknown
    assert cli("secrets", "recipients", "add", "web1", site, *words).exit_code == 0
    assert cli("validate", site).exit_code == 0
    listed = json.loads(cli("secrets", "recipients", "list", site, "--json").stdout)
    assert [(row["host"], row["files"]) for row in listed["recipients"]] == [
        ("", ["passwords.yml"]),
        ("web1", ["passwords.yml"]),
    ]
    assert (site / ".sops.yaml").read_text().endswith(f"      - {mine}  # the operator\n      - {web1}  # web1\n")

    def values() -> dict[str, Any]:
        content = (site / "passwords.yml").read_bytes()
        return sops.decrypt(content, name="passwords.yml", keys=sops.Keys(ssh_key_file=key))

    before = values()
    found = cli("secrets", "recipients", "remove", "web1", site, "--rotate", *words)
    assert found.exit_code == 0 and "yours to replace: kept_password: tell the server" in found.stdout, found.output
    assert (
        "name in `changed_by_hand` of reconciler.yml" in found.stdout
        and "web1 is still in the inventory" in found.stdout
        and "`reconciler secrets recipients add web1`" in found.stdout
    )
    same = {name for name, value in values().items() if value == before[name]}
    assert same == {"kept_password"} and {"hello_password", "hello_token"} <= before.keys()
    assert "web1 cannot open it" in cli("validate", site).stdout


def test_a_user_with_one_password_gets_another_name_with_it(cli: Cli, site: Path, key: Path) -> None:
    """The catalogue's own: RabbitMQ's."""
    words = ["--ssh-key-file", str(key)]
    cli("secrets", "generate", site, "--service", "rabbitmq", "--recipient", Path(f"{key}.pub").read_text().strip())
    before = (site / "globals.yml").read_text()
    found = cli("secrets", "rotate", site, "--name", "rabbitmq_password", *words)
    assert found.exit_code == 0 and "rabbitmq_user is openstack_2" in found.stdout, found.output
    assert "openstack goes when no host needs it any more" in found.stdout
    assert (site / "globals.yml").read_text() == f"{before}rabbitmq_user: openstack_2\n"
    told = json.loads(cli("secrets", "rotate", site, "--name", "rabbitmq_password", "--json", *words).stdout)
    assert told["user"] == {"variable": "rabbitmq_user", "before": "openstack_2", "after": "openstack_3"}
    kept = json.loads(
        cli("secrets", "rotate", site, "--name", "rabbitmq_password", "--same-user", "--json", *words).stdout
    )
    assert kept["user"] is None and "openstack_3" in (site / "globals.yml").read_text()

    write(site, {"groups/all.yml": "rabbitmq_user: somebody\n"})
    left = cli("secrets", "rotate", site, "--name", "rabbitmq_password", *words)
    assert left.exit_code == 0 and "rabbitmq_user is set in globals.yml" not in left.output
    assert "is set in groups/all.yml: give the user another name there" in " ".join(left.output.split())
