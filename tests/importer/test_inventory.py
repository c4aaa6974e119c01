"""Inventories as Ansible reads them: ranges, groups within groups, values, both formats alike."""

import pytest

from reconciler.errors import SiteInvalid
from reconciler.importer.inventory import read
from reconciler.importer.types import Tree
from reconciler.importer.vault import Vault

INI = """\
# a comment
lone ansible_host=10.0.0.9
[control]
ctl[01:03] ansible_port=2222 tags="['a', 'b']"   # why
ctl9:2200 path='a b'
[racks:children]
control
rack1
[rack1]
r[a:c]-[1:5:2]
[racks:vars]
bond = bond0
size=3
switch=yes
flag=True
"""
YAML = """\
all:
  hosts:
    lone: {ansible_host: 10.0.0.9}
  children:
    racks:
      children:
        control:
          hosts:
            ctl[01:03]: {ansible_port: 2222, tags: [a, b]}
            ctl9: {path: a b, ansible_port: 2200}
        rack1: {hosts: {'r[a:c]-[1:5:2]': }}
      vars: {bond: bond0, size: 3, switch: 'yes', flag: yes}
"""


def parsed(text: str) -> Tree:
    tree = Tree()
    read(text.encode(), "hosts", tree, Vault())
    return tree


@pytest.mark.parametrize("text", [INI, YAML])
def test_both_formats_say_the_same(text: str) -> None:
    tree = parsed(text)
    assert list(tree.members("control")) == ["ctl01", "ctl02", "ctl03", "ctl9"]
    assert list(tree.members("rack1")) == [f"r{letter}-{number}" for letter in "abc" for number in (1, 3, 5)]
    assert list(tree.members("racks")) == [*tree.members("control"), *tree.members("rack1")]
    assert list(tree.hosts) == ["lone", *tree.members("racks")] and list(tree.members("all")) == list(tree.hosts)
    own = {said.name: said.value for said in tree.hosts["ctl02"].variables}
    assert own == {"ansible_port": 2222, "tags": ["a", "b"]}
    assert {said.name: said.value for said in tree.hosts["ctl9"].variables} == {"ansible_port": 2200, "path": "a b"}
    said = {one.name: one.value for one in tree.groups["racks"].variables}
    assert said == {"bond": "bond0", "size": 3, "switch": "yes", "flag": True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a:variables]\n", "hosts:1:1: .*is no section"),
        ("[a]\nx y\n", "hosts:2:1: 'y' is no variable"),
        ("[a]\nx k='v\n", "hosts:2:1: has a quote"),
        ("[a]\nx[1:\n[a:vars]\nk\n", "hosts:4:1: is no variable"),
        ("[a]\nx[01:100]\n", "same number of digits"),
        ("[a]\nx[1:99999999]\n", "more than"),
        ("[a]\nx[a:9]\n", "is not a range"),
        ("#!/usr/bin/env python\n", "hosts:1:1: is a program .*ansible-inventory --list"),
        ("plugin: openstack.cloud.openstack\n", "hosts:1:1: .*ansible-inventory --list"),
        ("all:\n  hosts: {a: }\n  kids: {}\n", "hosts:3:.*a group has no 'kids'"),
        ("all:\n  hosts: [a\n", "hosts:"),
        ("all:\n  hosts: [a]\n", "hosts:2:10: must be a mapping"),
    ],
)
def test_what_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(SiteInvalid, match=said):
        parsed(text)


def test_a_circle_of_groups_ends() -> None:
    tree = parsed("[a:children]\nb\n[b:children]\na\n[b]\nx\n")
    assert list(tree.members("a")) == ["x"]
