"""kolla_build.yml: what kolla-build is given, which variables name the images, and what is refused with its line."""

import configparser

import pytest
import yaml

from reconciler.errors import SiteInvalid
from reconciler.site import kolla_build
from reconciler.site.assigned import assigned
from reconciler.source import prepare

SAID = {
    "registry": "registry.example.org:5000",
    "tag": "2025.1-site",
    "images": ["neutron-server", "cron"],
    "packages": {"neutron_server_packages_append": ["tcpdump", "vim-tiny"]},
    "template": "{% block cron_footer %}\nRUN true\n{% endblock %}",
    "conf": {
        "DEFAULT": {"base": "debian", "threads": 2, "pull": False},
        "neutron-base": {"type": "git", "location": "https://example.org/n?a=b"},
    },
}


def read(**changes: object) -> kolla_build.Build:
    return kolla_build.read({kolla_build.FILE: yaml.safe_dump({**SAID, **changes}).encode()}, prepare.shipped())


def test_it_becomes_what_kolla_build_reads() -> None:
    found = read()
    config = configparser.ConfigParser(interpolation=None)
    config.read_string(found.conf)
    own = {"registry": "registry.example.org:5000", "namespace": "kolla", "tag": "2025.1-site", "push": "true"}
    assert dict(config["neutron-base"]) == {
        **dict(config["DEFAULT"]),
        "type": "git",
        "location": "https://example.org/n?a=b",
    }
    assert dict(config["DEFAULT"]) == {"base": "debian", "threads": "2", "pull": "false", **own}
    assert found.override.splitlines() == [
        "{% extends parent_template %}",
        "{% set neutron_server_packages_append = ['tcpdump', 'vim-tiny'] %}",
        "{% block cron_footer %}",
        "RUN true",
        "{% endblock %}",
    ]
    assert found.images["cron"] == ("cron_image_full",)
    assert "neutron_server_image_full" in found.images["neutron-server"]
    assert found.name("cron") == "registry.example.org:5000/kolla/cron"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"images": ["neutron-sever"]}, "neutron-server"),
        ({"images": []}, "kolla_build.yml"),
        ({"conf": {"DEFAULT": {"push": True}}}, "push is not said here"),
        ({"conf": {"a": {"b": "one\ntwo"}}}, "does not fit into one line"),
        ({"conf": {"a": {"b = c": "d"}}}, "does not fit into one line"),
        ({"conf": {"a] [b": {"b": "d"}}}, "does not fit into one line"),
        ({"packages": {"neutron_server_packages_append": ["a'] %}{% set x = ['"]}}, "name of a package"),
        ({"packages": {"neutron_server": ["a"]}}, "neutron_server"),
        ({"registry": "https://registry.example.org"}, "a host with or without a port"),
    ],
)
def test_what_kolla_build_would_read_otherwise_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        read(**changes)
    assert why in "\n".join(map(str, caught.value.problems))


def test_a_site_that_builds_nothing_is_told_what_to_write() -> None:
    with pytest.raises(SiteInvalid, match="is missing"):
        kolla_build.read({}, prepare.shipped())


IMAGE = "r:5000/n/cron:1@sha256:ab"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: b  # kept\n", f'a: b  # kept\ncron_image_full: "{IMAGE}"\n'),
        ('cron_image_full: "old:1"  # built\n', f'cron_image_full: "{IMAGE}"  # built\n'),
        (f'cron_image_full: "{IMAGE}"\n', f'cron_image_full: "{IMAGE}"\n'),
        ("cron_image_full:\n  old\n", None),
        ("{cron_image_full: old}\n", None),
    ],
)
def test_globals_get_another_image_and_keep_everything_else(before: str, after: str | None) -> None:
    assert assigned(before.encode(), {"cron_image_full": IMAGE}) == after
