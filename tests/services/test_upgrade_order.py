"""In which order services go to another release, by what each says of itself: on one host, and among hosts."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Final

import pytest

from reconciler.model import Desired, Order, Plan, Verb
from reconciler.plan.preview import preview
from reconciler.render import render
from tests.services import golden

_GONE: Final = ("openstack_release:", "enable_ironic_inspector:")  # what is said here, and what 2026.1 has no more
# What is begun before → what serves → what is done when all of it is of the new release.
STEPS: Final[Mapping[tuple[str, str], tuple[tuple[str, tuple[str, ...], str], ...]]] = {
    ("one_node", "aio"): (
        ("keystone_db_sync", ("keystone",), "keystone_db_contract"),
        ("glance_db_sync", ("glance_api",), "glance_db_contract"),
        ("", ("rabbitmq",), "rabbitmq_feature_flags"),
        ("", ("mariadb",), "mariadb_upgrade"),
    ),
    ("compute", "ctl"): (
        ("placement_db_sync", ("placement_api",), "placement_online_migration"),
        ("nova_db_sync", ("nova_api", "nova_metadata", "nova_scheduler", "nova_conductor"), "nova_online_migration"),
        ("nova_cell_db_sync", ("nova_conductor", "nova_novncproxy"), "nova_cell_online_migration"),
        ("neutron_db_sync", ("neutron_server",), ""),
    ),
    ("cells", "ctl"): (
        (
            "nova_db_sync",
            ("nova_api", "nova_scheduler", "nova_super_conductor", "nova_conductor"),
            "nova_online_migration",
        ),
        ("nova_cell_db_sync", ("nova_conductor", "nova_novncproxy"), "nova_cell_online_migration"),
    ),
    ("cells", "west-1"): (
        ("nova_cell_db_sync_west", ("nova_conductor", "nova_novncproxy"), "nova_cell_online_migration_west"),
    ),
    ("keys", "aio"): (("barbican_db_sync", ("barbican_api", "barbican_worker"), ""),),
    ("volumes", "aio"): (
        (
            "cinder_db_sync",
            ("cinder_api", "cinder_scheduler", "cinder_volume", "cinder_backup"),
            "cinder_online_migration",
        ),
        ("ironic_db_sync", ("ironic_api", "ironic_conductor"), "ironic_online_migration"),
        ("heat_db_sync", ("heat_api", "heat_engine"), ""),
        ("designate_db_sync", ("designate_central", "designate_worker"), "designate_pool_update"),
        ("magnum_db_sync", ("magnum_api", "magnum_conductor"), ""),
        ("manila_db_sync", ("manila_api", "manila_share"), ""),
        ("octavia_db_sync", ("octavia_api", "octavia_worker"), ""),
        ("horizon_db_sync", ("horizon",), ""),
    ),
}
# Which of the former are bound to one host, and which wait for every host.
_ONE_HOST: Final = ("mariadb_upgrade", "designate_pool_update")


@cache
def desired(case: str, host: str, release: str, more: str = "") -> Desired:
    folder = golden.HERE / case / "site"
    kept = [line for line in (folder / "globals.yml").read_text().splitlines() if not line.startswith(_GONE)]
    text = "\n".join([*kept, more, f'openstack_release: "{release}"\n'])
    return render(golden.load(folder, {"globals.yml": text.encode()}), host, "0" * 40)


@cache
def upgrade(case: str, host: str) -> Plan:
    return preview(desired(case, host, "2025.1"), desired(case, host, "2026.1"), bind=lambda text, versions: text)


def order(made: Desired, name: str) -> Order:
    return next(one for one in made.orders if one.name == name)


@pytest.mark.parametrize(
    ("case", "first", "serves", "last"),
    [(case, *step) for case, steps in STEPS.items() for step in steps],
    ids=[step[0] or step[2] for steps in STEPS.values() for step in steps],
)
def test_a_schema_grows_before_what_serves_and_shrinks_after_it(
    case: tuple[str, str], first: str, serves: tuple[str, ...], last: str
) -> None:
    identities = [action.id for action in upgrade(*case).actions]
    at = [identities.index(f"{Verb.REPLACE}:{name}") for name in serves]
    assert not first or identities.index(f"{Verb.RUN}:{first}") < min(at)
    assert not last or max(at) < identities.index(f"{Verb.RUN}:{last}")
    if last and last not in _ONE_HOST:
        waits = order(desired(*case, "2026.1"), last)
        assert set(serves) <= set(waits.after) and case[1] in waits.hosts


def test_an_api_goes_when_every_conductor_that_it_asks_has_gone() -> None:
    identities = [action.id for action in upgrade("compute", "ctl").actions]
    assert identities.index(f"{Verb.REPLACE}:nova_conductor") < identities.index(f"{Verb.REPLACE}:nova_api")
    waits = order(desired("compute", "ctl", "2026.1"), "nova_api")
    assert (waits.after, waits.upgrade_after, waits.upgrade_hosts) == ((), ("nova_conductor",), ("ctl",))


def test_of_several_cells_an_api_goes_after_the_conductors_above_and_these_after_those_of_all_cells() -> None:
    identities = [action.id for action in upgrade("cells", "ctl").actions]
    at = [identities.index(f"{Verb.REPLACE}:{name}") for name in ("nova_conductor", "nova_super_conductor", "nova_api")]
    assert at == sorted(at)
    above, api = (order(desired("cells", "ctl", "2026.1"), name) for name in ("nova_super_conductor", "nova_api"))
    assert (above.upgrade_after, set(above.upgrade_hosts)) == (("nova_conductor",), {"ctl", "west-1", "west-2"})
    assert (api.upgrade_after, api.upgrade_hosts) == (("nova_super_conductor",), ("ctl",))
    # What looks once which cells there are looks when all are mapped.
    assert api.jobs == above.jobs == {"nova_map_cell": "ctl", "nova_map_cell_west": "west-1"}


def test_rows_are_moved_when_every_host_that_reads_them_has_gone() -> None:
    assert order(desired("volumes", "aio", "2026.1"), "cinder_online_migration").hosts == ("aio", "vol")


def test_every_schema_that_a_site_has_is_spoken_of_here() -> None:
    named = {name for steps in STEPS.values() for first, _, last in steps for name in (first, last)}
    for case in STEPS:
        migrations = {job.name for job in desired(*case, "2026.1").jobs if job.migration}
        assert migrations <= named, migrations - named


def test_what_runs_beside_virtual_machines_goes_when_what_it_talks_to_has_gone() -> None:
    """Also on a host of the first wave, before any controller."""
    before, after = desired("compute", "cmp", "2025.1"), desired("compute", "cmp", "2026.1")
    compute, agent = order(after, "nova_compute"), order(after, "neutron_openvswitch_agent")
    assert compute.upgrade_after == ("nova_conductor", "nova_api", "nova_metadata", "nova_scheduler")
    assert agent.upgrade_after == ("neutron_server", "neutron_rpc_server")
    assert compute.upgrade_hosts == agent.upgrade_hosts == ("ctl",)
    causes = {
        action.target: action.cause for action in upgrade("compute", "cmp").actions if action.verb is Verb.REPLACE
    }
    assert (
        "(after nova_conductor, nova_api, nova_metadata, nova_scheduler on every host, restarted once more when every host has it)"
        in causes["nova_compute"]
    )
    # Whatever else a commit changes of it goes from wave to wave, a compute first.
    image = {one.name: replace(one, image=f"{one.image}.1") for one in before.containers if one.name == "nova_compute"}
    changed = replace(before, containers=tuple(image.get(one.name, one) for one in before.containers))
    (action,) = (one for one in preview(before, changed, bind=lambda text, _: text).actions if one.verb is Verb.REPLACE)
    assert action.target == "nova_compute" and "after" not in action.cause
