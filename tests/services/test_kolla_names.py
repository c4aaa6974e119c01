"""What a site that comes from kolla-ansible sets is known here under its name, or refused with what to do instead."""

from pathlib import Path

import pytest

from reconciler import catalogue, data
from reconciler.errors import SiteInvalid
from tests.render.sites import make_site, rendered

NAMES = [
    line for line in Path(__file__).with_name("kolla_names.txt").read_text().splitlines() if not line.startswith("#")
]


@pytest.fixture(scope="module")
def shipped() -> catalogue.Catalogue:
    return catalogue.load(data.services(), "catalogue")


# Words at the beginning of a name that belong to a service of another name.
OF = {
    "acme": "letsencrypt", "ceph": "cinder", "external": "cinder", "hnas": "manila", "vmware": "nova", "s3": "cinder", "storage": "cinder",
    "multiple": "horizon", "migration": "nova", "tunnel": "neutron", "dns": "designate", "num": "nova", "cells": "nova", "central": "opensearch",
    "mariabackup": "mariadb-backup", "osprofiler": "osprofiler",
}  # fmt: skip


def service_of(name: str) -> str:
    word = name.removeprefix("enable_").partition("_")[0]
    return OF.get(word, word)


def test_every_name_of_a_service_that_is_here_is_known_or_refused(shipped: catalogue.Catalogue) -> None:
    known = {*shipped.variables, *shipped.passwords()}
    silent = [name for name in NAMES if name not in known and not shipped.refusal(name)]
    here = set(shipped.services) | {
        "kolla",
        "docker",
        "openstack",
        "network",
        "api",
        "enable",
        "node",
        "ansible",
        "workaround",
        "update",
        "containerd",
    }
    assert [name for name in silent if service_of(name) in here and name not in LATER] == []
    assert len(NAMES) == 333


# Ceph's own gateway, which no service here is.
LATER = {"enable_ceph_rgw", "enable_ceph_rgw_loadbalancer"}


def test_the_site_is_told_what_to_do_instead() -> None:
    services = {
        "app/service.yml": "description: x\nrefuses: {app_engine: Docker is the only one, 'app_*_mode': build an image}\n"
    }
    with pytest.raises(SiteInvalid) as caught:
        make_site(services, {"globals.yml": "app_engine: podman\napp_dev_mode: 'yes'\napp_dev: 1\n"})
    assert [str(problem) for problem in caught.value.problems] == [
        "globals.yml:1:1: kolla-ansible's 'app_engine' has no place here (Docker is the only one)",
        "globals.yml:2:1: kolla-ansible's 'app_dev_mode' has no place here (build an image)",
        "globals.yml:3:1: unknown variable 'app_dev' (a variable of your own is called site_…)",
    ]


@pytest.mark.parametrize("text", ["{{ app_engine }}", "{{ app_engine is defined }}", "{{ app_engine | default('x') }}"])
def test_a_template_is_told_what_to_do_instead(text: str) -> None:
    body = """
    refuses: {app_engine: Docker is the only one}
    containers: {app: {image: x, command: y, files: [{name: f, template: t}]}}
    """
    with pytest.raises(SiteInvalid, match=r"templates/t:1:1: .*'app_engine'.* \(Docker is the only one\)"):
        rendered(body, templates={"t": text})


def test_a_variable_cannot_be_refused() -> None:
    services = {
        "app/service.yml": "description: x\nrefuses: {app_port: no}\n",
        "app/variables.yml": "app_port: {description: Port., type: integer, default: 1}\n",
    }
    with pytest.raises(SiteInvalid, match="'app_port' is a variable"):
        make_site(services)
