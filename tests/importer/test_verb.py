"""`reconciler import kolla-ansible` with the real sops: the site validates, and secrets arrive byte for byte."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import program
from tests.importer.sources import GLOBALS, MULTINODE, facts_of, folder, fresh, opened, passwords, vaulted

Import = Callable[..., Result]


def run(root: Path, *words: str | Path) -> Result:
    where = ("--etc", root / "etc", "--inventory", root / "inventory/hosts", "--out", root / "site")
    return CliRunner().invoke(program, [str(word) for word in ("import", "kolla-ansible", *where, *words)])


def test_a_cloud_becomes_a_site(tmp_path: Path, key: tuple[Path, str]) -> None:
    vault, odd, literal = fresh(), fresh() + " ü'\"\\%{}\r\nline two \n\n", fresh()
    said = {
        **passwords(), "database_password": odd, "rabbitmq_password": "0123", "haproxy_password": "1e3", "zun_database_password": fresh(),
    }  # fmt: skip
    hosts = {"ctl1": 11, "ctl2": 12, "ctl3": 13, "cmp01": 21, "cmp02": 22}
    folder(
        tmp_path,
        {
            "etc/globals.yml": GLOBALS + "kolla_external_fqdn: '{{ no_such_thing }}'\n",
            "etc/passwords.yml": vaulted(json.dumps(said), vault),
            "etc/config/keystone.conf": f"[ldap]\npassword = {literal}\n",
            "etc/config/glance.conf": "[DEFAULT]\nx = {{ no_such_thing }}\n",
            "inventory/hosts": MULTINODE,
            "vault": f"{vault}\n",
            **{f"facts/{name}": facts_of(f"10.0.0.{number}", f"10.2.0.{number}") for name, number in hosts.items()},
        },
    )
    words = ("--facts", tmp_path / "facts", "--vault-password-file", tmp_path / "vault", "--age-recipient", key[1])
    done = run(tmp_path, *words, "--page", tmp_path / "report.html", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["inputs"] == sum(told["counts"].values()) == len(told["entries"]) and told["missing"] == []
    assert told["problems"] == []
    reasons = {one["name"]: one["reason"] for one in told["entries"] if one["fate"] == "unsupported"}
    assert "no_such_thing" in reasons["kolla_external_fqdn"] and "no_such_thing" in reasons["glance.conf"]

    site = tmp_path / "site"
    assert CliRunner().invoke(program, ["validate", str(site)]).exit_code == 0
    aside = {"zun_database_password": said.pop("zun_database_password")}
    assert opened(site / "passwords.yml", key) == said | {"config_keystone_conf_password": literal}
    assert opened(site / ".kolla-ansible/passwords.yml", key) == aside
    assert "mode: report" in (site / "reconciler.yml").read_text()
    clear = [odd, literal, vault, *(value for value in (*said.values(), *aside.values()) if isinstance(value, str))]
    written = [path.read_bytes() for path in (*site.rglob("*"), tmp_path / "report.html") if path.is_file()]
    assert not [value for value in clear if len(value) > 6 and any(value.encode() in content for content in written)]
    assert not [value for value in clear if len(value) > 6 and value in done.output]

    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in site.rglob("*") if path.is_file()}
    again = run(tmp_path, *words, "--age-key-file", key[0])
    assert (again.exit_code, "nothing was written" in again.output) == (0, True), again.output
    globals_ = site / "globals.yml"
    globals_.write_text(globals_.read_text().replace("10.0.0.250", "10.0.0.251"))
    (tmp_path / "etc/passwords.yml").write_text(json.dumps(said | aside | {"database_password": fresh()}))
    moved = run(tmp_path, *words, "--age-key-file", key[0], "--check")
    assert moved.exit_code == 1 and "passwords.yml: database_password has another value" in moved.output, moved.output
    assert "globals.yml:8: 1 line there, 1 in the import" in moved.output
    without = run(tmp_path, *words[:-2], "--check")
    assert "only names were compared of passwords.yml" in without.output and without.exit_code == 1
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before if path != globals_} == {
        path: content for path, content in before.items() if path != globals_
    }


def test_what_is_missing_is_said_and_the_site_is_there(tmp_path: Path, key: tuple[Path, str]) -> None:
    inventory = "[control]\nctl1\n[network:children]\ncontrol\n"
    folder(tmp_path, {"etc/globals.yml": GLOBALS, "inventory/hosts": inventory})
    done = run(tmp_path, "--age-recipient", key[1])
    assert done.exit_code == 1 and "hosts.ctl1.addresses.network: its address in the management network" in done.output
    assert "first give the missing addresses" in done.output and (tmp_path / "site/inventory.yml").is_file()


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({}, (), "globals.yml is not there: name the folder"),
        ({"etc/globals.yml": "a: [1\n"}, (), "globals.yml:2:1: "),
        ({"etc/globals.yml": "a: !thing 1\n"}, (), "globals.yml:1:4: could not determine a constructor for the tag"),
        ({"etc/globals.yml": "x: 1\n", "etc/passwords.yml": "zun_database_password: x\n"}, (), "nobody to encrypt for: give --age-recipient"),
        ({"etc/globals.yml": "x: 1\n", "etc/passwords.yml": "$ANSIBLE_VAULT;1.1;AES256\n61\n"}, (), "give --vault-password-file"),
        ({"etc/globals.yml": "x: 1\n"}, ("--address", "nobody=10.0.0.1"), "no host 'nobody'"),
        ({"etc/globals.yml": "x: 1\n"}, ("--check",), "holds no site to compare with"),
    ],
)  # fmt: skip
def test_nothing_is_left_behind_when_it_cannot_be_done(
    tmp_path: Path, files: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    folder(tmp_path, {"etc/.keep": "", "inventory/hosts": "[control]\nctl1\n", **files})
    done = run(tmp_path, *words)
    assert done.exit_code == 1 and said in done.output and not (tmp_path / "site").exists(), done.output
