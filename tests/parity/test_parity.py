"""The comparison itself: every site of `sites/` with kolla-ansible. Minutes for each that is not in the cache."""

import re
from collections import Counter
from pathlib import Path

import pytest

from reconciler import catalogue, data
from tests.parity import __main__ as tool
from tests.parity import compare, defaults, environment, oracle

pytestmark = pytest.mark.slow

# Every site with every release.
RUNS = [(name, release) for name in tool.names() for release in environment.RELEASES]
REASONS = compare.load_reasons(tool.HERE / "explained.yml", tool.names())


def found(name: str, release: str) -> list[compare.Found]:
    """One site compared."""
    return tool.run(oracle.Site(name, tool.SITES / name, release), REASONS)[0]


@pytest.mark.parametrize(("name", "release"), RUNS)
def test_a_site_is_as_kolla_ansible_has_it(name: str, release: str) -> None:
    every = found(name, release)
    verdicts = Counter(entry.verdict for entry in every)
    assert verdicts["equal"] > 200, verdicts
    open_ = [entry for entry in every if entry.verdict not in ("equal", "explained")]
    assert not open_, "\n".join(compare.listing(open_))


def test_no_explanation_is_stale() -> None:
    every = {(name, release): found(name, release) for name, release in RUNS}
    assert not list(compare.stale(REASONS, every))


@pytest.mark.parametrize("release", environment.RELEASES)
def test_every_release_is_installed_from_its_lock(release: str) -> None:
    folder, plays = environment.prepare(release)
    assert (folder / "bin" / "ansible-playbook").exists() and (plays / "site.yml").exists()
    assert list(Path(plays).glob("roles/*/tasks/kolla-config.yml"))


# What a role has of variables for a service that the catalogue does not have, by how their names begin.
NOT_HERE = (
    "aodh", "bifrost", "blazar", "ceilometer", "ceph_rgw", "cloudkitty", "collectd", "cyborg", "gnocchi", "hacluster", "influxdb",
    "kuryr", "masakari", "mistral", "skyline", "tacker", "telegraf", "trove", "venus", "watcher", "zun",
)  # fmt: skip


@pytest.mark.parametrize("release", environment.RELEASES)
def test_every_variable_that_a_role_has_a_default_for_is_known_or_refused(release: str) -> None:
    _, plays = environment.prepare(release)
    shipped = catalogue.load(data.services(), "catalogue")
    files = [plays / "roles" / role / "defaults" / "main.yml" for role in (*shipped.services, *defaults.ROLES)]
    files += [*plays.glob("group_vars/all.yml"), *plays.glob("group_vars/all/*.yml")]
    text = "\n".join(path.read_text() for path in files if path.exists())
    names = set(re.findall(r"^([a-z][a-z0-9_]*):", text, re.MULTILINE))
    assert len(names) > 2000
    known = {*shipped.variables, *shipped.passwords()}
    silent = [name for name in sorted(names - known) if not shipped.refusal(name)]
    assert [name for name in silent if not name.removeprefix("enable_").startswith(NOT_HERE)] == []
