"""kolla-ansible's own templates, put into config/ as overrides: they render as there.

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
TEMPLATES = 74  # of files that both have
# What is merged with a copy all the same, and the copy does not say: see the comment in our galera.cnf.
OURS = {("mariadb", "config/galera.cnf", "mysqld/log_bin_trust_function_creators")}
# A copy of it includes files that lie beside the original, which kolla-ansible does not find from config/ either.
REFUSED = {("nova-cell", "config/nova.conf")}
# How many are of something that the site has, so that there is a file to compare.
COMPARED = {"aio": 30, "multinode": 59}

Template = tuple[str, str]  # service, and path below the site


def templates(shipped: Catalogue, roles: Path) -> dict[Template, bytes]:
    """kolla-ansible's template for every file of a service that has both."""
    return {key: path.read_bytes() for key, path in _found(shipped, roles)}


def _found(shipped: Catalogue, roles: Path) -> Iterator[tuple[Template, Path]]:
    there: dict[tuple[str, str], Path] = {}
    for path in roles.glob("*/templates/**/*.j2"):
        there[path.relative_to(roles).parts[0], path.name.removesuffix(".j2")] = path
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
                    if not plain:
                        continue
                    chosen = f"config/{plain[-1] if file.get('merge') else plain[0]}"
                    for name in {str(file.get("name")).rpartition("/")[2], *(p.rpartition("/")[2] for p in plain)}:
                        if found := there.get((service.name, name)):
                            yield (service.name, chosen), found


def rounds(wanted: dict[Template, bytes]) -> Iterator[dict[str, Template]]:
    """Path → whose template is put there. Two roles may have one for the same path: each has its turn."""
    left = dict.fromkeys(wanted)
    while left:
        turn = {path: (service, path) for service, path in reversed(left)}
        for key in turn.values():
            del left[key]
        yield turn


@pytest.mark.parametrize("name", ["aio", "multinode", "ceph", "ovn"])
def test_templates_of_kolla_ansible_render_as_there(name: str) -> None:
    given = oracle.Site(name, tool.SITES / name, RELEASE)
    rendered, (_, plays) = oracle.render(given), environment.prepare(RELEASE)
    shipped = catalogue.load(read(SHIPPED), "catalogue")
    base = convert.convert(given, rendered, shipped)
    every = templates(shipped, plays / "roles")
    wanted = {key: text for key, text in every.items() if key[1] not in base.files}  # not where the site has its own
    refused: dict[Template, Problem] = {}
    compared: set[Template] = set()
    differing: set[tuple[str, str, str]] = set()
    for turn in rounds(wanted):
        taken = dict(turn)
        while True:
            try:
                made = site.load({**base.files, **{path: wanted[key] for path, key in taken.items()}}, shipped)
                desired = {host: render(made, host, "0" * 40) for host in made.hosts}
                break
            except SiteInvalid as error:
                new = {problem.file: problem for problem in error.problems if problem.file in taken}
                assert new, error.problems
                refused |= {taken.pop(path): problem for path, problem in new.items()}
        for host, want in desired.items():
            bound = bind_tree(want, base.secrets)
            for file in want.files:
                theirs = rendered.files[host].get(f"{want.config_root}/{file.path}")
                for path in taken.keys() & set(file.sources) if theirs else ():
                    if taken[path][0] != file.service:
                        continue  # a copy of another role's template
                    ours = meaning.read(file.path, bound[file.path].decode())
                    other = meaning.read(file.path, theirs.text)  # type: ignore[union-attr]
                    differing |= {(*taken[path], key) for key in {*ours, *other} if ours.get(key) != other.get(key)}
                    compared.add(taken[path])
    print(f"{name}: {len(wanted)} of {len(every)} templates, {len(compared)} compared, {len(refused)} refused")
    assert refused.keys() == REFUSED & wanted.keys(), {key: problem.text for key, problem in refused.items()}
    assert differing <= OURS, differing - OURS
    assert len(every) == TEMPLATES and len(compared) == COMPARED.get(name, len(compared))
