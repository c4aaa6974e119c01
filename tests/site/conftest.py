"""A small catalogue that has one of everything, so that these tests say nothing of the services that ship."""

import pytest

from reconciler import catalogue
from tests.site import archive

CATALOGUE = """\
-- common/variables.yml --
network_interface:
  description: The interface of the network.
  type: string
  default: eth0
api_interface:
  description: The interface of the APIs.
  type: string
  default: "{{ network_interface }}"
kolla_internal_vip_address:
  description: Address of the internal APIs.
  type: string
  format: ip
  required: true
openstack_service_workers:
  description: Processes per service.
  type: integer
  minimum: 1
  maximum: 64
  default: 5
openstack_logging_debug:
  description: Whether services log everything.
  type: boolean
  default: false
-- keystone/service.yml --
description: Identity service
groups: {control: [], keystone: [control]}
passwords:
  keystone_admin_password: {kind: random}
  keystone_ssh_key: {kind: ssh_key}
containers:
  keystone:
    group: keystone
    image: "{{ keystone_image }}"
    files:
      - name: keystone.conf
        template: keystone.conf.j2
        merge: ini
        overrides: [global.conf, keystone.conf, "keystone/{container}.conf", "keystone/{host}/keystone.conf"]
      - {name: domains, source: "keystone/domains/*.conf", verbatim: true}
  keystone_fernet:
    group: keystone
    image: "{{ keystone_image }}"
    files:
      - {name: fernet.conf, content: "", merge: ini, overrides: ["keystone/{container}.conf"]}
-- keystone/variables.yml --
enable_keystone:
  description: Whether there is a keystone.
  type: boolean
  default: "yes"
keystone_image:
  description: Image.
  type: string
  default: quay.io/openstack.kolla/keystone:2025.1
keystone_token_provider:
  description: How tokens are made.
  type: string
  enum: [fernet, jws]
  default: fernet
keystone_group:
  description: Whose hosts run it.
  type: string
  format: group
  default: keystone
keystone_ratio:
  description: Some ratio.
  type: [number, "null"]
  default: null
keystone_ports:
  description: Ports by name.
  type: object
  additionalProperties: {type: integer}
  default: {}
keystone_domains:
  description: Domains.
  type: array
  items: {type: string}
  uniqueItems: true
  default: []
-- keystone/templates/keystone.conf.j2 --
[DEFAULT]
"""


@pytest.fixture(scope="session")
def shipped() -> catalogue.Catalogue:
    _, files = archive.split(CATALOGUE)
    return catalogue.load(archive.encode(files), "catalogue")
