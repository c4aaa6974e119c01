"""Which budgets the catalogue gives a cloud of three controllers: nothing that others rest on is ever stopped everywhere."""

from functools import cache

from reconciler import site
from reconciler.model import Desired, Order
from reconciler.render import placement, render
from reconciler.rollout.policy import Budget
from reconciler.source import prepare_child
from tests.services import golden

_CLOUD = """\
enable_openstack_core: "yes"
enable_proxysql: "no"
enable_barbican: "yes"
enable_opensearch: "yes"
"""


@cache
def cloud() -> tuple[site.Site, Desired, dict[str, Budget]]:
    folder = golden.HERE / "three_nodes/site"
    lines = (folder / "globals.yml").read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if line.partition(":")[0] not in _CLOUD) + _CLOUD
    inventory = (
        (folder / "inventory.yml").read_text().replace("groups: [control]", "groups: [control, network, compute]")
    )
    inventory = inventory.replace("groups: [network]", "groups: [compute]")
    whole = golden.load(folder, {"globals.yml": text.encode(), "inventory.yml": inventory.encode()})
    made = render(whole, "ctl-b", "0" * 40)
    return whole, made, prepare_child.budgets(whole, made)


def test_of_every_group_behind_a_frontend_a_host_remains() -> None:
    whole, made, budgets = cloud()
    orders = {order.name: order for order in made.orders}
    checked = set()
    for service in whole.catalogue.services.values():
        behind = {g for one in service.section("frontends").values() for g in placement.listed(one.get("group"))}
        for name, entry in service.section("containers").items():
            if behind & set(placement.listed(entry.get("group"))) and any(c.name == name for c in made.containers):
                budget = budgets[orders[name].budget]
                assert 1 <= budget.at_most < len(budget.members) == 3, name
                checked.add(name)
    assert checked >= {"keystone", "glance_api", "nova_api", "neutron_server", "horizon", "memcached"}


def test_what_workloads_feel_has_a_budget() -> None:
    _, made, budgets = cloud()
    orders = {order.name: order for order in made.orders}
    felt = [one.name for one in made.containers if one.data_plane]
    assert {"keepalived", "openvswitch_vswitchd", "neutron_l3_agent"} <= set(felt)
    assert all(budgets[orders[name].budget].at_most == 1 for name in felt)


def test_who_takes_a_member_from_the_load_balancer_keeps_to_the_members_budget() -> None:
    _, made, budgets = cloud()
    orders = {order.name: order for order in made.orders}
    assert orders["mariadb_clustercheck"].budget == orders["mariadb"].budget == "mariadb"
    assert budgets["mariadb"].at_most == 1


def test_of_what_shares_a_budget_the_strictest_counts() -> None:
    whole, made, _ = cloud()
    orders = (
        Order("one", at_once=2, groups=("mariadb",), key="both"),
        Order("two", at_once=1, groups=("mariadb",), key="both"),
    )
    for shared in (orders, orders[::-1]):
        found = prepare_child.budgets(whole, Desired(made.site, made.host, "", "/none", orders=shared))
        assert found["both"].at_most == 1


def test_a_host_can_hold_all_its_places_in_one_transaction() -> None:
    """etcd takes 128 operations: each place is compared, and written, beside the permit and the rollout."""
    _, _, budgets = cloud()
    assert 20 < len(budgets) < 60
