"""`reconciler facts`: what a host says of itself is what an import reads of it."""

import json
import os
import platform
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import program
from reconciler.importer import machines
from reconciler.importer.collect import collect
from reconciler.importer.vault import Vault
from reconciler.node import facts
from reconciler.system import run
from reconciler.system.run import Completed
from tests.importer.sources import folder

LINKS = [
    {"ifname": "lo", "flags": ["UP"], "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8, "scope": "host"}]},
    {
        "ifname": "br-ex",
        "flags": ["BROADCAST"],
        "addr_info": [
            {"family": "inet", "local": "192.0.2.11", "prefixlen": 24, "scope": "global"},
            {"family": "inet", "local": "192.0.2.10", "prefixlen": 32, "scope": "global"},
            {"family": "inet6", "local": "2001:db8::11", "prefixlen": 64, "scope": "global"},
        ],
    },
    {"ifname": "bond0.20", "flags": ["UP"], "addr_info": []},
]  # fmt: skip


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "program", lambda words, seconds: Completed(0, json.dumps(LINKS).encode(), b""))
    for name, text in (
        ("proc/meminfo", "MemTotal:       32914676 kB\nMemFree: 1 kB\n"),
        ("etc/os-release", 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_facts_have_the_names_and_forms_of_ansible(host: Path) -> None:
    found = facts.gather(host)
    assert found["ansible_memtotal_mb"] == 32143 and found["ansible_processor_vcpus"] == os.cpu_count()
    assert {found[f"ansible_{name}"] for name in ("distribution", "distribution_release", "os_family")} == {
        "Ubuntu", "noble", "Debian",
    }  # fmt: skip
    assert (found["ansible_distribution_version"], found["ansible_distribution_major_version"]) == ("24.04", "24")
    assert found["ansible_interfaces"] == ["lo", "br-ex", "bond0.20"]
    assert found["ansible_br_ex"]["ipv4"]["address"] == "192.0.2.11" and not found["ansible_br_ex"]["active"]
    assert [one["address"] for one in found["ansible_br_ex"]["ipv4_secondaries"]] == ["192.0.2.10"]
    assert "ipv4" not in found["ansible_bond0.20"]


def test_a_machine_may_call_itself_by_its_full_name(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "cmp1.example.org")
    found = facts.gather(host)
    assert (found["ansible_hostname"], found["ansible_nodename"]) == ("cmp1", "cmp1.example.org")


def test_an_import_reads_them(host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "ctl1.example.org")
    gathered = facts.gather(host)
    monkeypatch.setattr(facts, "gather", lambda: gathered)
    into = tmp_path / "facts"
    done = CliRunner().invoke(program, ["facts", "--into", str(into), "--name", "ctl1"])
    assert done.exit_code == 0 and done.output == f"wrote {into / 'ctl1'}\n", done.output
    printed = CliRunner().invoke(program, ["facts"])
    assert json.loads(printed.output) == gathered == json.loads((into / "ctl1").read_text())
    folder(
        tmp_path,
        {
            "etc/globals.yml": "network_interface: br-ex\n",
            "etc/passwords.yml": "{}\n",
            "inventory/hosts": "[control]\nctl1\n",
        },
    )
    read = collect(tmp_path / "etc", (tmp_path / "inventory/hosts",), into, Vault())
    node = machines.node(read, "ctl1", {})
    assert node.addresses["network"] == "192.0.2.11" and not node.missing and not node.assumed
    assert node.facts["distribution"] == "Ubuntu" and node.facts["memtotal_mb"] == 32143
    assert (node.facts["hostname"], node.facts["nodename"]) == ("ctl1", "ctl1.example.org")
