"""What a drain stops, and in which order."""

from reconciler.node import maintenance
from reconciler.render import render
from reconciler.source import prepare_child
from tests.services import golden


def test_what_rests_on_others_is_stopped_first_and_what_only_this_host_has_goes_on() -> None:
    site = golden.load(golden.HERE / "three_nodes" / "site", {})
    made = render(site, "ctl-a", "0" * 40)
    rollout = prepare_child.rollout(site, prepare_child.budgets(site, made))
    names = [one.name for one in maintenance.stood_in_for(made, rollout)]
    assert names.index("keystone") < names.index("mariadb"), names
    assert {"etcd", "rabbitmq", "mariadb", "keystone"} <= set(names)
    every = {one.name: one for one in made.containers}
    assert not [name for name in names if every[name].data_plane], names
    assert {"cron", "fluentd"} & every.keys() and not {"cron", "fluentd"} & set(names)
    balancer = render(site, "lb-2", "0" * 40)
    rollout = prepare_child.rollout(site, prepare_child.budgets(site, balancer))
    names = [one.name for one in maintenance.stood_in_for(balancer, rollout)]
    assert names.index("keepalived") < names.index("haproxy"), names
    # One alone: nobody stands in for it.
    alone = golden.load(golden.HERE / "one_node" / "site", {})
    only = render(alone, next(iter(alone.hosts)), "0" * 40)
    assert maintenance.stood_in_for(only, prepare_child.rollout(alone, prepare_child.budgets(alone, only))) == []
