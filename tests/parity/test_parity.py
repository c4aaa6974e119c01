"""The comparison itself: every site of `sites/` with kolla-ansible. Minutes for each that is not in the cache."""

from collections import Counter
from pathlib import Path

import pytest

from tests.parity import __main__ as tool
from tests.parity import compare, environment, oracle

pytestmark = pytest.mark.slow

SITES = sorted(path.name for path in tool.SITES.iterdir() if (path / "globals.yml").exists())
# Services that are done: nothing of them may differ unexplained. On the site with TLS everywhere none is yet.
DONE = ("common", "etcd", "mariadb", "memcached", "valkey")
REASONS = tool.HERE / "explained.yml"


def found(name: str) -> list[compare.Found]:
    """One site compared."""
    return tool.run(oracle.Site(name, tool.SITES / name), compare.load_reasons(REASONS))[0]


@pytest.mark.parametrize("name", SITES)
def test_what_is_done_is_as_kolla_ansible_has_it(name: str) -> None:
    every = found(name)
    verdicts = Counter(entry.verdict for entry in every)
    assert verdicts["equal"] > 200, verdicts
    if name != "tls":
        open_ = [entry for entry in every if entry.service in DONE and entry.verdict not in ("equal", "explained")]
        assert not open_, "\n".join(compare.listing(open_))


def test_no_explanation_is_stale() -> None:
    every = [entry for name in SITES for entry in found(name)]
    assert not [reason.text for reason in compare.stale(compare.load_reasons(REASONS), every)]


@pytest.mark.parametrize("release", environment.RELEASES)
def test_every_release_is_installed_from_its_lock(release: str) -> None:
    folder, plays = environment.prepare(release)
    assert (folder / "bin" / "ansible-playbook").exists() and (plays / "site.yml").exists()
    assert list(Path(plays).glob("roles/*/tasks/kolla-config.yml"))
