"""kolla-ansible's own templates, put into config/ as overrides: they render as there, or are refused by the name of a variable.

An operator's override often began as a copy of such a template, with the names that kolla-ansible's roles have inside.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import catalogue, site
from reconciler.catalogue import Catalogue
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import bind_tree, render
from tests.parity import __main__ as tool
from tests.parity import convert, environment, meaning, oracle
from tests.services.golden import SHIPPED, read

pytestmark = pytest.mark.slow

RELEASE = "2025.1"
# Where a copy reads a value that is another one here: `dnsmasq_interface_address` of a host, and the policy file that is there.
DIFFERENT = {"config/ironic/ironic-dnsmasq.conf", "config/manila.conf", "config/manila-share.conf"}
# How many are taken on the site that has most; with more names of roles known it grows.
TAKEN = 43
UNDEFINED = re.compile(r"the (variable|name) '\w+' is (not defined|known nowhere)")


def overrides(shipped: Catalogue, roles: Path) -> Iterator[tuple[str, bytes]]:
    """(path below the site, kolla-ansible's template) for every file of a service that has both."""
    templates: dict[tuple[str, str], Path] = {}
    for path in roles.glob("*/templates/**/*.j2"):
        templates[path.relative_to(roles).parts[0], path.name.removesuffix(".j2")] = path
    for service in shipped.services.values():
        for kind in ("containers", "jobs"):
            for part in service.section(kind).values():
                for file in part.get("files") or ():
                    patterns = file.get("overrides") if isinstance(file, dict) else None
                    plain = [
                        p
                        for p in patterns or ()
                        if re.fullmatch(r"[\w./-]+", p) and not p.endswith(("global.conf", ".pem"))
                    ]
                    for name in (
                        {str(file.get("name")).rpartition("/")[2], *(p.rpartition("/")[2] for p in plain)}
                        if plain
                        else ()
                    ):
                        if found := templates.get((service.name, name)):
                            yield f"config/{plain[-1] if file.get('merge') else plain[0]}", found.read_bytes()


@pytest.mark.parametrize("name", ["aio", "multinode", "ceph", "ovn"])
def test_templates_of_kolla_ansible_render_as_there(name: str) -> None:
    given = oracle.Site(name, tool.SITES / name, RELEASE)
    rendered, (_, plays) = oracle.render(given), environment.prepare(RELEASE)
    shipped = catalogue.load(read(SHIPPED), "catalogue")
    base = convert.convert(given, rendered, shipped)
    wanted = dict(overrides(shipped, plays / "roles"))
    taken, refused = {**wanted}, dict[str, Problem]()
    while True:
        try:
            made = site.load({**base.files, **taken}, shipped)
            desired = {host: render(made, host, "0" * 40) for host in made.hosts}
            break
        except SiteInvalid as error:
            new = {problem.file: problem for problem in error.problems if problem.file in taken}
            assert new, error.problems
            refused |= new
            taken = {path: content for path, content in taken.items() if path not in new}
    assert not [problem for problem in refused.values() if not UNDEFINED.match(problem.message)], refused
    same, differing = set(), set()
    for host, want in desired.items():
        bound = bind_tree(want, base.secrets)
        for file in want.files:
            theirs = rendered.files[host].get(f"{want.config_root}/{file.path}")
            for source in taken.keys() & set(file.sources) if theirs else ():
                equal = meaning.read(file.path, bound[file.path].decode()) == meaning.read(file.path, theirs.text)  # type: ignore[union-attr]
                (same if equal else differing).add(source)
    assert differing <= DIFFERENT and same, f"{differing - DIFFERENT}"
    print(f"{name}: {len(wanted)} templates, {len(taken)} taken, {len(same)} compared, {len(refused)} refused")
    assert name != "multinode" or len(taken) >= TAKEN
