"""What is read before sops is started: whatever would make it ask somebody, start a program or leave a value open, is refused."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler import errors
from reconciler.document import sealed as reader
from reconciler.document.yaml import load
from reconciler.secrets import passwords, sops
from tests.secrets.conftest import Key
from tests.support import sealed


class Vault:
    """A key service on loopback that counts who comes. Whoever has connected is in the socket's queue: nobody has to be waited for."""

    def __init__(self) -> None:
        self._visits = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def visits(self) -> int:
        """How many have come so far."""
        with suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()
                self._visits += 1
        return self._visits

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def vault() -> Iterator[Vault]:
    made = Vault()
    yield made
    made.close()


@pytest.fixture
def spy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sops that notes that it was started."""
    program = tmp_path_factory.mktemp("spy") / "sops"
    program.write_text(f'#!/bin/sh\necho "$@" >> {program}.log\nexec {sops.find_program()} "$@"\n')
    program.chmod(0o755)
    return program


def _started(spy: Path) -> list[str]:
    log = Path(f"{spy}.log")
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="module")
def encrypted(age_key: Key, ssh_key: Key) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(sops.encrypt({"a": "hidden words"}, [age_key.recipient, ssh_key.recipient]))
    return made


def _vault(address: str) -> list[dict[str, str]]:
    row = {"vault_address": address, "engine_path": "transit", "key_name": "k", "enc": "vault:v1:AAAA"}
    return [{**row, "created_at": "2025-01-01T00:00:00Z"}]


ODD: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "vault": lambda m, at: {**m, "hc_vault": _vault(at)},
    "vault in a group": lambda m, at: {**m, "key_groups": [{"hc_vault": _vault(at)}, {"age": m["age"]}]},
    "vault and shamir": lambda m, at: {**m, "key_groups": [{"hc_vault": _vault(at)}], "shamir_threshold": 1},
    "other case": lambda m, at: {**m, "HC_VAULT": _vault(at)},
    "kms": lambda m, at: {**m, "kms": [{"arn": "arn:aws:kms:eu-west-1:1:key/x", "enc": "AA=="}]},
    "pgp": lambda m, at: {**m, "pgp": [{"fp": "85D77543B3D624B63CEA9E6DBC17301B491B3F21", "enc": "x"}]},
    "gcp": lambda m, at: {**m, "gcp_kms": [{"resource_id": "projects/x", "enc": "x"}]},
    "azure": lambda m, at: {**m, "azure_kv": [{"vault_url": at, "name": "n", "version": "v", "enc": "x"}]},
    "huawei": lambda m, at: {**m, "hckms": [{"key_id": "x", "enc": "x"}]},
    "an age plugin": lambda m, at: {**m, "age": [{**m["age"][0], "recipient": "age1yubikey1" + "q" * 46}]},
    "two data keys swapped": lambda m, at: {**m, "age": [{**m["age"][0], "enc": m["age"][1]["enc"]}, m["age"][1]]},
    "a data key cut short": lambda m, at: {**m, "age": [{**m["age"][0], "enc": m["age"][0]["enc"][:200]}]},
    "a data key of another alphabet": lambda m, at: {
        **m,
        "age": [{**m["age"][0], "enc": re.sub(r"\n\w", "\n\u00c4", m["age"][0]["enc"])}],
    },
    "no recipient": lambda m, at: {**m, "age": []},
    "no checksum": lambda m, at: {key: value for key, value in m.items() if key != "mac"},
    "a checksum in words": lambda m, at: {**m, "mac": "ENC[x]"},
    "mac of encrypted values only": lambda m, at: {**m, "mac_only_encrypted": True},
    "encrypted_regex": lambda m, at: {**m, "encrypted_regex": "^b"},
    "unencrypted_regex": lambda m, at: {**m, "unencrypted_regex": "^b"},
    "encrypted_suffix": lambda m, at: {**m, "encrypted_suffix": "_x"},
    "comments decide": lambda m, at: {**m, "unencrypted_comment_regex": "open"},
    "suffix that fits": lambda m, at: {**m, "unencrypted_suffix": "a"},
    "unknown": lambda m, at: {**m, "owner": "me"},
    "version": lambda m, at: {**m, "version": "newest"},
    "time": lambda m, at: {**m, "lastmodified": "yesterday"},
    "no mapping": lambda m, at: [m],
}


@pytest.mark.parametrize("what", ODD)
def test_odd_metadata_is_refused_before_sops_starts(
    encrypted: dict[str, Any], age_key: Key, vault: Vault, spy: Path, tmp_path: Path, what: str
) -> None:
    content = json.dumps({**encrypted, "sops": ODD[what](encrypted["sops"], vault.address)}).encode()
    path = tmp_path / "passwords.yml"
    path.write_bytes(content)
    keys = sops.Keys(age_key_file=age_key.file, program=spy)
    calls: list[Callable[[], Any]] = [
        lambda: sops.decrypt(content, name="passwords.yml", keys=keys),
        lambda: sops.set_value(path, "b", "c", keys=keys, name="passwords.yml"),
        lambda: passwords.generate(path, [passwords.PasswordSpec("b")], keys=keys),
        lambda: sops.recipients(content),
    ]
    for call in calls:
        with pytest.raises(errors.Terminal) as caught:
            call()
        assert re.match(r"passwords\.yml:\d+:\d+: ", str(caught.value)), str(caught.value)
        assert "hidden words" not in str(caught.value)
    assert _started(spy) == [] and vault.visits == 0 and path.read_bytes() == content
    # The review says the same of the same file.
    assert reader.read(load(content, "passwords.yml")).flaws if what != "no mapping" else True


def test_a_merge_key_hides_nothing(encrypted: dict[str, Any], age_key: Key, vault: Vault, spy: Path) -> None:
    text = yaml.safe_dump(encrypted)
    rows = json.dumps(_vault(vault.address))
    keys = sops.Keys(age_key_file=age_key.file, program=spy)
    for changed in (
        text.replace("\nsops:\n", f"\nsops:\n  <<: {{hc_vault: {rows}}}\n"),
        text.replace("\nsops:\n", f"\nx: &x {{hc_vault: {rows}}}\nsops:\n  <<: *x\n"),
        f"{text}sops: {{hc_vault: {rows}}}\n",
        f"{text}---\nsops: {{hc_vault: {rows}}}\n",
    ):
        with pytest.raises(errors.Terminal) as caught:
            sops.decrypt(changed.encode(), name="passwords.yml", keys=keys)
        assert caught.value.reason == "SopsFailed" and "passwords.yml:" in str(caught.value)
    assert _started(spy) == [] and vault.visits == 0


REMOTE_RULES = {
    "vault": "hc_vault_transit_uri: {at}/v1/transit/keys/k",
    "vault in a group": "key_groups: [{{hc_vault: ['{at}/v1/transit/keys/k']}}]",
    "kms": "kms: arn:aws:kms:eu-west-1:1:key/x",
    "azure": "azure_keyvault: {at}/keys/k/1",
    "gcp": "gcp_kms: projects/x",
    "pgp": "pgp: 85D77543B3D624B63CEA9E6DBC17301B491B3F21",
    "plugin": "age: age1yubikey1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq",
    "shamir": "shamir_threshold: 2",
    "in the clear": "encrypted_regex: ^secret",
    "unknown": "keyservice: {at}",
    "merge key": "<<: {{hc_vault_transit_uri: '{at}/v1/transit/keys/k'}}",
    "nobody": "path_regex: x",
}


@pytest.mark.parametrize("what", REMOTE_RULES)
def test_a_branch_does_not_choose_to_whom_the_data_key_is_sent(
    tmp_path: Path, age_key: Key, vault: Vault, spy: Path, what: str
) -> None:
    rule = REMOTE_RULES[what].format(at=vault.address)
    own = "" if what in ("plugin", "nobody") else f"\n    age: {age_key.recipient}"
    (tmp_path / ".sops.yaml").write_text(f"creation_rules:\n  - {rule}{own}\n")
    with pytest.raises(errors.Terminal) as caught:
        passwords.generate(tmp_path / "passwords.yml", [passwords.PasswordSpec("b")], keys=sops.Keys(program=spy))
    assert re.search(r"\.sops\.yaml:\d+:\d+: ", str(caught.value)), str(caught.value)
    assert _started(spy) == [] and vault.visits == 0 and not (tmp_path / "passwords.yml").exists()


def test_rules_are_the_site_s_own(tmp_path: Path, age_key: Key, ssh_key: Key) -> None:
    """Those above and below it no review looks at, whichever is nearer to the file."""
    rule = "creation_rules: [{{age: '{}'}}]\nstores: {{yaml: {{indent: 2}}}}\n"
    site = tmp_path / "repository/site"
    (site / "passwords").mkdir(parents=True)
    (tmp_path / "repository/.git").mkdir()
    for folder in (tmp_path, tmp_path / "repository", site / "passwords"):
        (folder / ".sops.yaml").write_text(rule.format(ssh_key.recipient))
    with pytest.raises(errors.Terminal, match=r"write a \.sops\.yaml .* at the top of the site"):
        sops.encrypt({"a": "b"}, None, site=site)
    (site / ".sops.yaml").write_text(rule.format(age_key.recipient))
    for name in ("passwords.yml", "passwords/ctl.yml"):
        made = sops.encrypt({"a": {"b": "c"}}, None, site=site, name=name)
        assert sops.recipients(made) == [age_key.recipient] and b"\n  b: ENC" in made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network namespace")
def test_sops_has_no_network(tmp_path: Path, encrypted: dict[str, Any], age_key: Key, vault: Vault) -> None:
    """A sops that would call somebody finds nobody."""
    program, host, port = tmp_path / "sops", *vault.address.removeprefix("http://").split(":")
    program.write_text(f"#!/bin/bash\nexec 2>/dev/null\n: > /dev/tcp/{host}/{port} && exit 99\nexit 3\n")
    program.chmod(0o755)
    subprocess.run([program], check=False)
    assert vault.visits == 1
    keys = sops.Keys(age_key_file=age_key.file, program=program)
    with pytest.raises(errors.Terminal, match="exit 3"):
        sops.decrypt(yaml.safe_dump(encrypted).encode(), name="p", keys=keys)
    with pytest.raises(errors.Terminal, match="exit 3"):
        sops.encrypt({"a": "b"}, [age_key.recipient], program=program)
    assert vault.visits == 1


@pytest.mark.parametrize("number", ["017", "1e5", "12345", "0x1F", "1.50", "true", "2024-01-02"])
def test_a_number_is_refused_with_advice_that_helps(tmp_path: Path, age_key: Key, number: str) -> None:
    """sops has respelled it before anybody could notice. As text it stays what it was."""

    def encrypt(text: str) -> bytes:
        command = [sops.find_program(), "encrypt", "--input-type", "yaml", "--output-type", "yaml"]
        command += ["--filename-override", "p.yml", "--age", age_key.recipient]
        return subprocess.run(command, input=text.encode(), cwd=tmp_path, capture_output=True, check=True).stdout  # type: ignore[arg-type]

    content = encrypt(f"pin: {number}\n")
    if reader.read(load(content, "p.yml")).flaws:
        with pytest.raises(errors.Terminal, match="put it in quotes") as caught:
            sops.decrypt(content, name="p.yml", keys=age_key.keys)
        assert caught.value.reason == "SopsNotText" and str(caught.value).startswith("p.yml:1:1: the value of pin ")
    else:
        assert sops.decrypt(content, name="p.yml", keys=age_key.keys)["pin"].reveal() == number
    opened = sops.decrypt(encrypt(f'pin: "{number}"\n'), name="p.yml", keys=age_key.keys)
    assert opened["pin"].reveal() == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        ("s3cret", "s3cret"),
        ("\n", ""),
        (" s3cret \n", " s3cret "),
        ("-----BEGIN\nkey\n", "-----BEGIN\nkey\n"),
        ("s3cret\n\n", "s3cret\n\n"),
    ],
)
def test_a_line_end_after_one_line_is_no_part_of_it(age_key: Key, text: str, expected: str) -> None:
    content = sops.encrypt({"a": text, "b": {"c": [text]}}, [age_key.recipient])
    opened = sops.decrypt(content, name="p.yml", keys=age_key.keys)
    assert opened["a"].reveal() == opened["b"]["c"][0].reveal() == expected


def test_what_tests_make_up_looks_like_what_sops_makes() -> None:
    """Sites of other tests have passwords that nobody can open: they are judged as the real ones are."""
    to = [sealed.age_recipient(), sealed.ssh_recipient("ctl1")]
    found = reader.read(load(sealed.text({"a": "a", "b": {"c": "d"}, "e": None}, to).encode(), "p.yml"))
    assert found.flaws == () and found.recipients == tuple(to)
    assert [entry.name for entry in found.entries] == ["a", "b.c", "e"]
