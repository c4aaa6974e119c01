"""What becomes of inputs: each exactly once, secrets nowhere in the clear, and what is written means what was said."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.document import yaml
from reconciler.importer import report
from reconciler.importer.convert import ASIDE, PASSWORDS, Options, convert, inputs
from reconciler.importer.types import Fate, Result, Source
from reconciler.importer.vault import Vault
from reconciler.secret import Secret, reveal
from tests.importer.sources import SHIPPED, entry, facts_of, fresh, read, vaulted

OPTIONS = Options("hill", ("age1xyz",))


def made(source: Source, options: Options = OPTIONS) -> Result:
    result = convert(source, SHIPPED, options)
    assert Counter(inputs(source)) == Counter(one.input for one in result.entries)
    assert sum(report.counts(result.entries).values()) == len(list(inputs(source)))
    return result


@pytest.mark.parametrize(
    ("line", "fate", "reason"),
    [
        ("kolla_container_engine: docker", Fate.DEFAULT, "only engine"),
        ("kolla_install_type: binary", Fate.DIFFERENT, "from source"),
        ("kolla_external_fqdn_cert: /etc/kolla/x.pem", Fate.UNSUPPORTED, "names no file on this machine"),
        ("ansible_become_pass: hidden", Fate.DIFFERENT, "how Ansible reaches"),
        ("kolla_container_engine: podman", Fate.UNSUPPORTED, "only engine"),
        ("keystone_token_provider: 'fernet'", Fate.DEFAULT, "fernet"),
        ("database_enable_tls_internal: 'no'", Fate.TAKEN, ""),
        ("enable_tacker: no", Fate.DEFAULT, "is off"),
        ("enable_tacker: yes", Fate.UNSUPPORTED, "tacker is not in the catalogue yet"),
        ("zun_x: kvm", Fate.UNSUPPORTED, "zun is not in the catalogue yet"),
        ("enable_tacker_backup: 'False'", Fate.DEFAULT, ""),
        # What is refused is so where it is switched on.
        ("enable_redis: 'no'", Fate.DEFAULT, "is off"),
        ("enable_redis: 'yes'", Fate.UNSUPPORTED, "Valkey has taken its place"),
        ("enable_influxdb: False", Fate.DEFAULT, "is off"),
        ("enable_telegraf: 0", Fate.DEFAULT, "is off"),
        ("enable_elasticsearch: off", Fate.DEFAULT, "is off"),
        ("enable_elasticsearch: '{{ enable_grafana }}'", Fate.UNSUPPORTED, "say enable_opensearch"),
        ("enable_cells: n", Fate.DEFAULT, "the default"),
        ("enable_cells: on", Fate.TAKEN, ""),
        ("nova_cell_database_shard_id: 1", Fate.UNSUPPORTED, "there is one cluster of databases"),
        ("enable_docker_repo: no", Fate.DIFFERENT, "when the node is set up"),
        ("nova_enable_nova_legacy_service: no", Fate.DEFAULT, "is off"),
        ("glance_enable_rolling_upgrade: no", Fate.DIFFERENT, "every upgrade is a rolling one"),
        ("neutron_enable_rolling_upgrade: no", Fate.DIFFERENT, "every upgrade is a rolling one"),
        # Said to be off is what is off here.
        ("om_enable_rabbitmq_quorum_queues: 'no'", Fate.DIFFERENT, "nobody reads it"),
        ("om_enable_queue_manager: 'no'", Fate.DIFFERENT, "nobody reads it"),
        ("prechecks_enable_host_ntp_checks: no", Fate.DIFFERENT, "nobody reads it"),
        ("skyline_enable_sso: no", Fate.DEFAULT, "is off"),
        ("zun_api_enable_healthchecks: no", Fate.DEFAULT, "is off"),
        ("redis_sentinel_enable_healthchecks: no", Fate.DEFAULT, "is off"),
        ("trove_enable_tls_backend: no", Fate.DEFAULT, "is off"),
        ("mariadb_database_enable_tls_internal: no", Fate.UNSUPPORTED, "say database_enable_tls_internal"),
        ("nova_enable_tls_backnd: no", Fate.UNKNOWN, "nobody reads it; did you mean"),
        ("rabbitmq_enable_whatever: no", Fate.UNKNOWN, "nobody reads it"),
        ("designate_backend_external: no", Fate.DEFAULT, "the default"),
        ("enable_openstack_core: yes", Fate.DEFAULT, "the default"),
        ("openstack_release: zed", Fate.UNSUPPORTED, "upgrade with kolla-ansible first: this site is '2025.1'"),
        ("openstack_release: 2025.1", Fate.DEFAULT, "the default"),
        ("kolla_serial: 1", Fate.UNSUPPORTED, "converges by itself"),
        ("kolla_internl_vip_address: 10.0.0.1", Fate.UNKNOWN, "kolla_internal_vip_address"),
        ("docker_registry_username:", Fate.DEFAULT, "left empty"),
        ("enable_container_healthchecks: 1", Fate.DEFAULT, "the default"),
        ("haproxy_max_connections: '4000'", Fate.TAKEN, ""),
        ("site_mine: [1, yes]", Fate.TAKEN, ""),
    ],
)
def test_a_setting_of_the_whole(tmp_path: Path, line: str, fate: Fate, reason: str) -> None:
    found = entry(made(read(tmp_path, {"etc/globals.yml": f"{line}\n"})), line.partition(":")[0])
    assert found.fate is fate and reason in found.reason


def test_an_interface_that_cannot_be_printed_is_said_in_words(tmp_path: Path) -> None:
    result = made(read(tmp_path, {"etc/globals.yml": 'tunnel_interface: "eth\\f1"\n'}))
    text = result.files["inventory.yml"]
    assert "addresses.tunnel: the address on eth" in text and "\f" not in text


def test_comments_and_what_was_written_stay(tmp_path: Path) -> None:
    text = made(read(tmp_path, {})).files["globals.yml"]
    for kept in (
        "# Hill cloud, three controllers\n",
        "\n\n# --- addresses ---\n",
        'kolla_internal_vip_address: "10.0.0.250"   # free\n',
        'docker_registry: ""\n',
        'haproxy_max_connections: "4000"\n',
        "#   hill_resolver: 192.0.2.53\n",
    ):
        assert kept in text
    assert list(yaml.load(text.encode(), "globals.yml").data) == [
        "kolla_base_distro", "kolla_internal_vip_address", "network_interface", "docker_registry", "haproxy_max_connections",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("site_x: yes", True),
        ("site_x: 0777", 511),
        ("site_x: 22:22", 1342),
        ("site_x: 2024-01-31", "2024-01-31"),
        ("site_x: 1e3", "1e3"),
        ("site_x: 'on'", "on"),
        ("site_x: &a {b: &c [1, *c2]}".replace("*c2", "2"), {"b": [1, 2]}),
        ("site_x: {a: yes, b: null}", {"a": True, "b": None}),
        ("site_x: |\n  two\n  lines\n", "two\nlines\n"),
        ("site_x: \"tab\\t\\u00e9 'quoted'\"", "tab\té 'quoted'"),
    ],
)
def test_a_value_means_what_ansible_read(tmp_path: Path, said: str, value: Any) -> None:
    text = made(read(tmp_path, {"etc/globals.yml": f"{said}\n"})).files["globals.yml"]
    assert yaml.load(text.encode(), "globals.yml").data == {"site_x": value}


def test_globals_beat_hosts_and_later_beats_earlier(tmp_path: Path) -> None:
    files = {
        "etc/globals.yml": "glance_api_workers: 2\nglance_api_workers: 3\n",
        "etc/globals.d/90.yml": "glance_api_workers: 4\n",
        "inventory/host_vars/ctl1.yml": "glance_api_workers: 9\nkeystone_api_workers: 5\n",
        "inventory/group_vars/control/a.yml": "keystone_api_workers: 6\n",
    }
    result = made(read(tmp_path, files))
    assert yaml.load(result.files["globals.yml"].encode(), "x").data == {"glance_api_workers": 4}
    assert "90.yml:1, which counts" in next(
        one.reason for one in result.entries if one.input.place.line == 1 and one.fate is Fate.DIFFERENT
    )
    assert "wins in kolla-ansible" in entry(result, "glance_api_workers", "host:ctl1").reason
    assert yaml.load(result.files["hosts/ctl1.yml"].encode(), "x").data == {"keystone_api_workers": 5}
    assert yaml.load(result.files["groups/control.yml"].encode(), "x").data == {
        "keystone_api_workers": 6,
        "haproxy_max_connections": 2000,
    }


def test_addresses_come_from_facts_else_from_what_is_said_else_are_missing(tmp_path: Path) -> None:
    files = {
        "facts/ctl1": facts_of("10.0.0.11", "10.2.0.11"),
        "inventory/host_vars/ctl2.yml": "ansible_host: 10.0.0.12\n",
    }
    source = read(tmp_path, files, facts=True)
    result = made(source, Options("hill", ("age1xyz",), {("ctl3", "network"): "10.0.0.13"}))
    hosts = yaml.load(result.files["inventory.yml"].encode(), "inventory.yml").data["hosts"]
    assert hosts["ctl1"]["addresses"] == {"network": "10.0.0.11", "bifrost_network": "10.2.0.11"}
    assert hosts["ctl1"]["facts"] == {"processor_vcpus": 8, "memtotal_mb": 32000, "distribution": "Debian"}
    assert hosts["ctl2"]["addresses"] == {"network": "10.0.0.12"} and hosts["ctl3"]["addresses"] == {
        "network": "10.0.0.13"
    }
    assert entry(result, "ansible_host", "host:ctl2").fate is Fate.RENAMED
    assert "localhost" not in hosts and entry(result, "localhost").fate is Fate.DIFFERENT
    assert hosts["cmp01"]["interfaces"] == {"bifrost_network": "bond1.20"}
    assert [str(what).partition(":")[0] for what in result.missing] == [
        "hosts.ctl2.addresses.bifrost_network", "hosts.ctl3.addresses.bifrost_network",
        "hosts.cmp01.addresses.network", "hosts.cmp01.addresses.bifrost_network", "hosts.cmp02.addresses.network", "hosts.cmp02.addresses.bifrost_network",
    ]  # fmt: skip


def test_groups_that_are_so_anyway_are_left_out(tmp_path: Path) -> None:
    result = made(read(tmp_path, {}))
    groups = yaml.load(result.files["inventory.yml"].encode(), "inventory.yml").data["groups"]
    assert "mariadb" not in groups and entry(result, "mariadb").fate is Fate.DEFAULT
    assert groups["network"] == {"children": ["control"]} and groups["hill"] == {"children": ["control"]}


def test_passwords_are_what_ansible_makes_of_them(tmp_path: Path) -> None:
    secret = fresh()
    text = f"database_password: 0123\nrabbitmq_password: '0123'\nhaproxy_password: 2024-01-31\nkeystone_admin_password: \"{secret}\\r\\n'\"\n"
    text += "keystone_database_password:\nzun_database_password: 7\nglance_database_password: '{{ other }}'\n"
    result = made(read(tmp_path, {"etc/passwords.yml": text}))
    assert reveal(result.secrets[PASSWORDS]) == {
        "database_password": "83", "rabbitmq_password": "0123", "haproxy_password": "2024-01-31", "keystone_admin_password": f"{secret}\r\n'",
    }  # fmt: skip
    assert reveal(result.secrets[ASIDE]) == {"zun_database_password": "7", "glance_database_password": "{{ other }}"}
    assert entry(result, "keystone_database_password").fate is Fate.DEFAULT


def test_overrides_are_read_here_or_stay_and_literal_secrets_move(tmp_path: Path) -> None:
    secret, other = fresh(), fresh()
    files = {
        "etc/config/keystone.conf": f"[ldap]\npassword = {secret}\n#old_password = {other}\n[token]\nexpiration = 7200\nprovider = fernet\n",
        "etc/config/global.conf": f"[x]\nurl = amqp://me:{other}@10.0.0.1/\n",
        "etc/config/zun/zun.conf": "[DEFAULT]\nx = 1\n",
        "etc/config/keystne.conf": "[DEFAULT]\nx = 1\n",
        "etc/config/binary.conf": b"\xff\xfe",
        "etc/config/horizon/themes/acme/Store.JKS": b"\xfe\xed\0\xff",
        "etc/kolla-build.conf": "[DEFAULT]\n",
        "etc/certificates/haproxy.pem": "x",
        "etc/notes.txt": "x",
    }
    result = made(read(tmp_path, files))
    text = result.files["config/keystone.conf"]
    assert (
        text
        == "[ldap]\npassword = {{ config_keystone_conf_password }}\n\n[token]\nexpiration = 7200\nprovider = fernet\n"
    )
    assert "amqp://me:{{ config_global_conf_password }}@10.0.0.1/" in result.files["config/global.conf"]
    assert reveal(result.secrets[PASSWORDS]) == {
        "config_keystone_conf_password": secret,
        "config_global_conf_password": other,
    }
    assert "zun is not in the catalogue yet" in entry(result, "zun/zun.conf").reason
    assert "did you mean config/keystone.conf?" in entry(result, "keystne.conf").reason
    assert entry(result, "binary.conf").fate is Fate.UNSUPPORTED and "config/binary.conf" not in result.files
    assert "`sops encrypt --input-type binary`" in entry(result, "horizon/themes/acme/Store.JKS").reason
    assert not result.binary, "a keystore does not get into Git in the clear"
    fates = {one.input.name.rpartition("/")[2]: one.fate for one in result.entries if one.input.kind == "file"}
    assert fates["kolla-build.conf"] is fates["haproxy.pem"] is Fate.UNSUPPORTED and fates["notes.txt"] is Fate.UNKNOWN


@pytest.mark.parametrize("said", ["{}", "'{}'", '"{}"', '{}"', "'{}", "\"{}'"])
def test_a_secret_of_an_override_keeps_every_character_but_quotes_around_it(tmp_path: Path, said: str) -> None:
    """A password may end in a quote of its own."""
    secret = fresh()
    result = made(read(tmp_path, {"etc/config/keystone.conf": f"[ldap]\npassword = {said.format(secret)}\n"}))
    around = said[0] == said[-1] != "{"
    assert reveal(result.secrets[PASSWORDS]) == {
        "config_keystone_conf_password": secret if around else said.format(secret)
    }
    named = "{{ config_keystone_conf_password }}"
    assert f"password = {said.format(named) if around else named}\n" in result.files["config/keystone.conf"]


def test_what_was_encrypted_is_nowhere_in_the_clear(tmp_path: Path) -> None:
    password, secret = fresh(), fresh()
    inline = "".join(f"  {line}\n" for line in vaulted(secret, password).decode().splitlines())
    files = {
        "etc/globals.yml": f"kolla_external_fqdn: !vault |\n{inline}mine: !vault |\n{inline}",
        "inventory/group_vars/control.yml": vaulted(
            f"glance_api_workers: 3\nkeystone_admin_password: {secret}\n", password
        ),
    }
    result = made(read(tmp_path, files, Vault(Secret(password))))
    assert secret not in "".join(result.files.values()) + json.dumps(report.document(result)) + report.page(
        result, "x"
    ) + report.text(result, True)
    assert reveal(result.secrets["passwords/control.yml"]) == {"keystone_admin_password": secret}
    assert set(result.secrets[ASIDE]) == {"kolla_external_fqdn", "mine", "glance_api_workers"}


NAMES = st.one_of(
    st.sampled_from(sorted(SHIPPED.variables.keys() - {"node_custom_config"})),  # it names a folder, "/" too
    st.sampled_from(
        [
            "kolla_container_engine",
            "enable_cinder",
            "podman_x",
            "nova_y",
            "tunnel_interface",
            "ansible_host",
        ]
    ),
    st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True),
)
SECRET_NAMES = st.sampled_from(
    [
        "my_password",
        "docker_registry_password",
        "keystone_admin_password",
        "x_secret",
        "s3_access_key",
        "github_token",
        "ansible_become_pass",
    ]
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-9, 99999),
        st.floats(allow_nan=False),
        st.text(max_size=12),
        st.just("{{ nothing }}"),
    ),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.text(max_size=6), below, max_size=3)),
    max_leaves=5,
)
PLAIN = st.dictionaries(NAMES, VALUES, max_size=6)
SECRET = st.dictionaries(SECRET_NAMES, st.from_regex(r"SECRET[0-9]{8}", fullmatch=True), max_size=4)


@settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(parts=st.lists(st.tuples(PLAIN, SECRET), min_size=4, max_size=4))
def test_every_input_ends_once_and_no_secret_in_the_clear(parts: list[tuple[dict[str, Any], dict[str, str]]]) -> None:
    texts = [json.dumps({**plain, **secret}) for plain, secret in parts]
    lines = [
        "".join(
            f"{json.dumps(name)}: {json.dumps(value)}\n# {name}: {value if name in secret else 'x'}\n"
            for name, value in {**plain, **secret}.items()
        )
        for plain, secret in parts
    ]
    names = ["etc/globals.yml", "etc/passwords.yml", "inventory/group_vars/control.yml", "inventory/host_vars/ctl1.yml"]
    with TemporaryDirectory() as scratch:
        files = dict(zip(names, lines, strict=True)) | {"etc/globals.d/1.yml": texts[0]}
        result = made(read(Path(scratch), files))
    told = [
        *result.files.values(),
        json.dumps(report.document(result)),
        report.page(result, "x"),
        report.text(result, True),
    ]
    assert not [text for text in told if "SECRET" in text]
    for path, text in result.files.items():
        if path.endswith(".yml") and path != ".sops.yaml":
            yaml.load(text.encode(), path)


def test_what_kolla_ansible_wrote_for_containers_is_one_input_each(tmp_path: Path) -> None:
    """/etc/kolla is where its configuration lies, and what it makes of it."""
    files = {
        "etc/globals.yml": "enable_tacker: no\n",
        "etc/keystone/config.json": "{}",
        "etc/keystone/keystone.conf": "[token]\n",
        "etc/haproxy/config.json": "{}",
        "etc/haproxy/services.d/keystone.cfg": "frontend a\n",
        "etc/notes/readme.txt": "nothing of kolla-ansible's\n",
    }
    result = made(read(tmp_path, files))
    folders = {Path(e.input.name).name: e.fate for e in result.entries if e.input.kind == "folder"}
    assert folders == {"keystone": Fate.DEFAULT, "haproxy": Fate.DEFAULT}
    assert [Path(e.input.name).name for e in result.entries if e.input.kind == "file"] == ["readme.txt"]


def test_alike_inputs_are_told_together_and_every_one_with_all(tmp_path: Path) -> None:
    passwords = "".join(f"zun_{number}_password: {fresh()}\n" for number in range(6))
    result = made(read(tmp_path, {"etc/globals.yml": "\n", "etc/passwords.yml": passwords}))
    short, long = report.text(result), report.text(result, everything=True)
    assert "6 passwords (zun_0_password, zun_1_password" in short and "zun_5_password →" not in short
    assert all(f"zun_{number}_password" in long for number in range(6))


def test_a_host_without_an_address_is_a_host_all_the_same(tmp_path: Path) -> None:
    result = made(
        read(tmp_path, {"etc/globals.yml": "network_interface: bond0\n", "inventory/hosts": "[control]\nctl9\n"})
    )
    assert "  ctl9:\n    addresses: {}\n    # missing: hosts.ctl9.addresses.network" in result.files["inventory.yml"]


def test_escapes_of_json_are_one_character(tmp_path: Path) -> None:
    result = made(read(tmp_path, {"etc/globals.yml": '{"site_a": "\\ud83d\\ude00", "site_b": "\\ud83d"}\n'}))
    assert 'site_a: "😀"' in result.files["globals.yml"] and "site_b: " in result.files["globals.yml"]
    result.files["globals.yml"].encode()
