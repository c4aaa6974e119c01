"""A variable that a host's release of OpenStack does not have is an error where it is set, with what to say instead."""

import pytest

from reconciler.errors import SiteInvalid
from reconciler.render import render
from reconciler.source import prepare
from tests.review import sites

VARIABLES = sites.small()["services/web/variables.yml"] + (
    'web_old: {description: The old name., type: string, default: "", removed_in: "2026.1", renamed_to: web_new}\n'
    'web_new: {description: The new name., type: string, default: "", since: "2026.1"}\n'
    'web_gone: {description: Not any more., type: boolean, default: false, removed_in: "2026.1", instead: nothing reads it}\n'
)


def problems(said: str, release: str, **files: str) -> list[str]:
    site = {**sites.small(2), "services/web/variables.yml": VARIABLES, **files}
    site["globals.yml"] += f'openstack_release: "{release}"\n{said}'
    loaded = prepare.load({path: text.encode() for path, text in site.items()})
    found: list[str] = []
    for host in loaded.hosts:
        try:
            render(loaded, host, "r")
        except SiteInvalid as error:
            found += map(str, error.problems)
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("said", "release", "words"),
    [
        ("web_old: x\n", "2025.1", ()),
        ("web_old: x\n", "2026.1", ("globals.yml:4", "'web_old'", "renamed in 2026.1", "say web_new")),
        ("web_new: x\n", "2025.1", ("globals.yml:4", "'web_new'", "since 2026.1")),
        ("web_new: x\n", "2026.1", ()),
        ("web_gone: yes\n", "2026.1", ("globals.yml:4", "removed in 2026.1", "remove it: nothing reads it")),
        ("nova_wsgi_provider: uwsgi\n", "2026.1", ("globals.yml:4", "nova_wsgi_provider", "uWSGI alone")),
        ("nova_wsgi_provider: uwsgi\n", "2025.1", ()),
    ],
)
def test_where_it_is_set(said: str, release: str, words: tuple[str, ...]) -> None:
    found = problems(said, release)
    assert len(found) == bool(words), found
    assert all(word in found[0] for word in words) if words else True, found


def test_each_host_is_judged_by_its_own_release() -> None:
    host = 'openstack_release: "2026.1"\n'
    assert problems("", "2025.1", **{"hosts/web2.yml": f"{host}web_new: x\n"}) == []
    found = problems("web_old: x\n", "2025.1", **{"hosts/web2.yml": host})
    assert len(found) == 1 and "globals.yml:4" in found[0], found
