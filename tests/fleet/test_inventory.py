"""What a site says about its fleet: whose key speaks for which host, and in which group each counts."""

from pathlib import Path

import pytest

from reconciler import errors
from reconciler.fleet import inventory
from tests.fleet.hosts import Hosts, Key
from tests.git import servers

KEY = Key().public


def read(
    tmp_path: Path, hosts: str, groups: str = "groups: {rack1: {}, rack2: {hosts: [b]}}\n", **files: str
) -> inventory.Fleet:
    repository = servers.make_repo(tmp_path / "site.git")
    site = Hosts(0).site(**{"inventory.yml": f"hosts:\n{hosts}{groups}", **files})
    return inventory.read(repository, servers.commit(repository, site, "a site"), "", "network")


def test_who_speaks_and_where_they_count(tmp_path: Path) -> None:
    fleet = read(
        tmp_path,
        f"  a: {{addresses: {{network: 10.0.0.1}}, groups: [rack1, web], report_key: '{KEY} root@a'}}\n"
        "  b: {addresses: {network: '2001:db8::2'}, groups: []}\n"
        "  c: {groups: [web]}\n"
        "  d: {}\n",
    )
    assert [(m.host, m.group, m.address, m.key) for m in fleet.members] == [
        ("a", "rack1", "10.0.0.1", KEY),  # without the comment
        ("b", "rack2", "2001:db8::2", ""),
        ("c", "web", "", ""),
        ("d", "all", "", ""),
    ]
    assert fleet.allowed_signers().splitlines()[1:] == [f'a namespaces="reconciler-report" {KEY}']
    assert (fleet.site, fleet.mode, fleet.threshold, fleet.deployments, fleet.aggregated) == (
        "north", "host", 100, False, False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "key",
    [
        "AAAAC3NzaC1lZDI1NTE5AAAAIA",
        "ssh-rsa " + "A" * 68,
        KEY[:-1],
        f"* {KEY}",
        f"{KEY}\\nb {KEY}",  # a second line in allowed_signers would speak for another host
        f"cert-authority {KEY}",
    ],
)
def test_what_is_no_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(errors.SiteInvalid) as caught:
        read(tmp_path, f'  a: {{report_key: "{key}"}}\n  b: {{}}\n')
    assert "ed25519" in str(caught.value) and "inventory.yml:2" in str(caught.value)


def test_two_hosts_with_one_key(tmp_path: Path) -> None:
    with pytest.raises(errors.SiteInvalid, match="'a' has the same report_key"):
        read(tmp_path, f'  a: {{report_key: "{KEY} x"}}\n  b: {{report_key: "{KEY} y"}}\n')


def test_the_site_says_how_it_is_reported(tmp_path: Path) -> None:
    policy = "name: north\nreporting: {mode: aggregate, deployments: true, threshold: 7}\n"
    fleet = read(tmp_path, "  a: {}\n  b: {}\n", **{"reconciler.yml": policy})
    assert fleet.aggregated and fleet.deployments and fleet.threshold == 7
