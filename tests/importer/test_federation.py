"""Identity providers of Keystone: their files come along from wherever kolla-ansible was told that they are."""

import json
from pathlib import Path

from reconciler.document import yaml
from reconciler.importer.convert import PASSWORDS
from reconciler.importer.types import Fate, Result
from reconciler.importer.vault import Vault
from reconciler.secret import Secret, reveal
from tests.importer.sources import GLOBALS, entry, fresh, read, vaulted
from tests.importer.test_convert import made

RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-email"}]}]


def source(root: Path, *, client: str | bytes, outside: str = "", vault: Vault | None = None) -> Result:
    """One provider below config/keystone/federation/, and one in `outside`, which says where its folder is."""
    said = f"""
keystone_identity_providers:
  - name: inside
    openstack_domain: people
    protocol: openid
    identifier: https://in.example
    public_name: In
    attribute_mapping: all
    metadata_folder: "{{{{ node_custom_config }}}}/keystone/federation/in"
    certificate_file: /etc/kolla/config/keystone/federation/key-1.pem
  - name: out
    openstack_domain: people
    protocol: openid
    identifier: https://out.example
    public_name: Out
    attribute_mapping: all
    metadata_folder: {outside or root / "elsewhere/meta"}
keystone_identity_mappings:
  - {{name: all, file: "{{{{ node_custom_config }}}}/keystone/all.json"}}
"""
    files: dict[str, str | bytes] = {
        "etc/globals.yml": GLOBALS + said,
        "etc/config/keystone/federation/in/in.example.provider": '{"issuer": "https://in.example"}\n',
        "etc/config/keystone/federation/in/in.example.client": client,
        "etc/config/keystone/federation/in/in.example.conf": "{}\n",
        "etc/config/keystone/federation/key-1.pem": "a certificate\n",
        "etc/config/keystone/all.json": json.dumps(RULES),
        "elsewhere/meta/out.example.provider": '{"issuer": "https://out.example"}\n',
        "elsewhere/meta/out.example.client": '{\n  "client_id": "x",\n  "client_secret": "t\\"wo"\n}\n',
        "elsewhere/meta/README": "not of them\n",
    }
    return made(read(root, files, vault))


def test_paths_of_the_deployment_host_become_places_of_the_site(tmp_path: Path) -> None:
    secret = fresh()
    found = source(tmp_path, client=json.dumps({"client_id": "c", "client_secret": secret}))
    content = yaml.load(found.files["globals.yml"].encode(), "globals.yml").data
    inside, outside = content["keystone_identity_providers"]
    assert (inside["metadata_folder"], inside["certificate_file"]) == ("in", "key-1.pem")
    assert outside["metadata_folder"] == "out"
    assert content["keystone_identity_mappings"] == [{"name": "all", "file": "mappings/all.json"}]
    below = {path.removeprefix("config/keystone/") for path in found.files if path.startswith("config/keystone/")}
    assert below == {
        *(f"federation/in/in.example.{end}" for end in ("provider", "client", "conf")), "federation/key-1.pem", "federation/mappings/all.json",
        *(f"federation/out/out.example.{end}" for end in ("provider", "client")),
    }  # fmt: skip
    moved = entry(found, "keystone/federation/out/out.example.provider")
    assert moved.input.place.file == str(tmp_path / "elsewhere/meta/out.example.provider")
    names = {name: reveal(value) for name, value in found.secrets[PASSWORDS].items() if "client" in name}
    assert sorted(names.values()) == sorted([secret, 't"wo'])
    for path, said in found.files.items():
        assert secret not in said and "t\\" not in said, path
    client = found.files["config/keystone/federation/in/in.example.client"]
    (name,) = (name for name, value in names.items() if value == secret)
    assert json.loads(client) == {"client_id": "c", "client_secret": f"{{{{ {name} }}}}"}


def test_what_ansible_vault_encrypted_is_a_secret_as_a_whole(tmp_path: Path) -> None:
    password = fresh()
    opened = Vault(Secret(password))
    text = '{"client_id": "c", "client_secret": "s"}'
    found = source(tmp_path, client=vaulted(text, password), vault=opened)
    assert found.sealed["config/keystone/federation/in/in.example.client"].reveal() == text


def test_a_folder_that_is_not_on_this_machine_is_said(tmp_path: Path) -> None:
    found = source(tmp_path, client="{}", outside="/nowhere/at/all")
    told = entry(found, "keystone_identity_providers")
    assert told.fate is Fate.UNSUPPORTED and "must be a folder below config/keystone/federation/" in told.reason
