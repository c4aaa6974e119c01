"""The name that a machine has for itself, which members of RabbitMQ and Galera are told apart by: short, as kolla-ansible's."""

import re

import pytest

from reconciler.errors import SiteInvalid
from reconciler.render import render
from tests.render.sites import file, make_site

SERVICE = """
description: An application
groups: {app: []}
containers:
  app:
    group: app
    image: app:1
    command: run
    extra_hosts: "{{ names.split() }}"
    files:
      - {name: a, content: "{{ ansible_facts.hostname }} {{ ansible_facts.fqdn }} {{ ansible_hostname }} {{ inventory_hostname }}", destination: /a}
"""
NAMES = "{% for host in groups['app'] %}{{ hostvars[host].ansible_facts.hostname }}:{{ 'network' | kolla_address(host) }} {% endfor %}"
SHORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # what `erl -sname NODE@…` takes


def facts(name: str, declared: str = "") -> list[str]:
    more = f", facts: {{hostname: {declared}}}" if declared else ""
    inventory = (
        f'hosts:\n  "{name}": {{addresses: {{network: 192.0.2.136}}, groups: [app]{more}}}\ngroups: {{app: {{}}}}\n'
    )
    variables = f'names: {{description: N., type: string, default: "{NAMES}"}}'
    made = make_site({"app/service.yml": SERVICE}, inventory=inventory, variables=variables)
    desired = render(made, name, "0" * 40)
    found = file(desired, "app/a").content.split()
    assert desired.containers[0].extra_hosts == {found[0]: "192.0.2.136"}
    return [*found, *map(str, made.warnings)]


@pytest.mark.parametrize(
    "name, hostname, fqdn",
    [
        ("ctl1", "ctl1", "ctl1"),
        ("ctl1.cloud.example.org", "ctl1", "ctl1.cloud.example.org"),
        ("ctl-1_a", "ctl-1_a", "ctl-1_a"),
        ("CTL1.example.org", "CTL1", "CTL1.example.org"),
    ],
)
def test_it_is_the_first_part_of_the_inventorys_name(name: str, hostname: str, fqdn: str) -> None:
    assert facts(name) == [hostname, fqdn, hostname, name]


@pytest.mark.parametrize("name, hostname", [("192.0.2.136", "host-192-0-2-136")])
def test_an_address_is_no_name_and_what_stands_for_it_is_said(name: str, hostname: str) -> None:
    *found, warning = facts(name)
    assert found == [hostname, hostname, hostname, name] and SHORT.fullmatch(hostname)
    assert warning.startswith("inventory.yml:2:3: ") and f"{hostname!r} stands for the machine's own name" in warning
    assert "facts: {hostname: …}" in warning


@pytest.mark.parametrize("name", ["192.0.2.136", "ctl1.cloud.example.org", "ctl1"])
def test_a_declared_one_wins(name: str) -> None:
    assert facts(name, "controller-7") == ["controller-7", "controller-7", "controller-7", name]


@pytest.mark.parametrize("declared", ["ctl1.example.org", "192.0.2.136", "-a", "a b"])
def test_a_declared_one_is_short(declared: str) -> None:
    with pytest.raises(SiteInvalid, match="must be a machine's own name, such as ctl1, without a domain"):
        facts("ctl1", declared)


def test_two_machines_of_one_name_are_told() -> None:
    hosts = "".join(
        f"  ctl1.{zone}: {{addresses: {{network: 192.0.2.{n}}}, groups: [app]}}\n" for n, zone in enumerate("ab", 1)
    )
    made = make_site({}, inventory=f"hosts:\n{hosts}groups: {{app: {{}}}}\n")
    assert [str(problem) for problem in made.warnings] == [
        "inventory.yml:3:3: 'ctl1.a' has the same own name, 'ctl1' (say under the host what its machine calls itself: "
        "facts: {hostname: …})"
    ]
