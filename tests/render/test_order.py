"""Order across hosts: said in service.yml, checked, part of desired state, and shown beside the cause of a change."""

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Actual, Desired, Memory, Order, Verb
from reconciler.plan import Basis, diff
from tests.render.sites import rendered

BODY = """
groups: {control: [], compute: []}
containers:
  server: {image: x, command: y, group: control, rollout: {after: [expand], at_once: 1}}
  agent: {image: x, command: y, group: compute, rollout: {after: [server]}}
  plain: {image: x, command: y}
jobs:
  expand: {container: server, before: []}
  contract: {container: server, before: [], rollout: {after: [server, agent]}}
"""


def test_the_order_is_part_of_desired_state() -> None:
    assert rendered(BODY).orders == (
        Order("contract", ("server", "agent"), hosts=("ctl1", "ctl2", "cmp1")),
        Order("server", ("expand",), 1, groups=("control",), jobs={"expand": "ctl1"}),
    )
    assert rendered(BODY, host="cmp1").orders == (Order("agent", ("server",), hosts=("ctl1", "ctl2")),)


IMPLIED = """
groups: {control: [], compute: []}
containers:
  api: {image: x, command: y, group: control}
  proxy: {image: x, command: y, group: control}
  strict: {image: x, command: y, group: control, rollout: {at_once: 1}}
  free: {image: x, command: y, group: control, rollout: {at_once: 100%}}
  agent: {image: x, command: y, group: compute, data_plane: true}
  worker: {image: x, command: y, group: compute}
jobs:
  sync: {container: api, before: []}
frontends:
  api: {mode: http, port: 80, group: control}
"""


@pytest.mark.parametrize(("hosts", "behind", "felt"), [(2, 1, 1), (3, 1, 1), (4, 2, 1), (5, 2, 1), (40, 20, 4)])
def test_of_what_is_behind_a_frontend_half_goes_on_and_of_the_data_plane_most(
    hosts: int, behind: int, felt: int
) -> None:
    names = [f"h{number}" for number in range(hosts)]
    members = "".join(f"  {name}: {{groups: [control, compute]}}\n" for name in names)
    made = rendered(IMPLIED, inventory=f"hosts:\n{members}", host="h0")
    found = {order.name: order for order in made.orders}
    assert {name: (order.budget, order.at_once) for name, order in found.items()} == {
        "api": ("control", behind),
        "proxy": ("control", behind),  # where it is stopped the host is no backend either
        "strict": ("strict", 1),
        "free": ("free", hosts),
        "agent": ("agent", felt),
    }
    assert found["api"].groups == ("control",)


def test_what_every_host_restarts_after_an_upgrade_goes_half_by_half() -> None:
    body = IMPLIED.replace("worker: {image: x, command: y, group: compute}", "worker: {image: x, command: y, group: compute, rollout: {upgrade_restart: true}}")  # fmt: skip
    members = "".join(f"  h{number}: {{groups: [control, compute]}}\n" for number in range(5))
    found = {order.name: order for order in rendered(body, inventory=f"hosts:\n{members}", host="h0").orders}
    assert (found["worker"].at_once, found["worker"].upgrade_restart, found["worker"].words) == (2, True, "")
    assert found["worker"].upgrading.words == "restarted once more when every host has it"
    alone = rendered(body, inventory="hosts: {h0: {groups: [control, compute]}}", host="h0").orders
    assert {order.name: order.at_once for order in alone} == {"free": 1, "strict": 1, "worker": 0}


def test_one_host_alone_is_nobodys_backup() -> None:
    made = rendered(IMPLIED, inventory="hosts: {h0: {groups: [control, compute]}}", host="h0")
    assert [order.name for order in made.orders] == ["free", "strict"]


def test_a_plan_shows_it_beside_the_cause() -> None:
    desired: Desired = rendered(BODY)
    basis = Basis(
        {one.path: one.content.encode() for one in desired.files},
        part_digest={one.name: one.image for one in desired.containers},
    )
    causes = {
        action.target: action.cause
        for action in diff(desired, Actual({}, {}, {}), Memory(), basis).actions
        if action.verb in (Verb.CREATE, Verb.RUN)
    }
    assert causes["server"].endswith(" (after expand on every host, at most 1 host at once)")
    assert causes["contract"].endswith(" (after server, agent on every host)")
    assert "on every host" not in causes["plain"] + causes["expand"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("after: [server]}", "after: [servers]}"),
            "6:67: unknown container or job 'servers' (did you mean 'server'?)",
        ),
        (("after: [expand], ", "after: [agent], "), "hosts would wait for each other for ever: "),
        (("after: [expand], ", "after: [server], "), "hosts would wait for each other for ever: server → server"),
        (("{after: [server]}", "{upgrade_after: [expand]}"), "unknown container 'expand'"),
        (("{after: [server, agent]}", "{upgrade_restart: true}"), "say it of the container that is to be restarted"),
        (("at_once: 1", "at_once: 0"), "must be at least 1, is 0"),
        (("at_once: 1", "at_once: 0%"), "must be a number of hosts, or a percentage such as '10%'"),
        (("at_once: 1", "at_once: 1, ready: [sound]"), "unknown check 'sound'"),
        (("at_once: 1", "at_one: 1"), "unknown key 'at_one' (did you mean 'at_once'?)"),
        (("at_once: 1", 'at_once: "{{ nope }}"'), "the variable 'nope' is not defined"),
        (("at_once: 1", 'at_once: 1, ready: ["{{ nope }}"]'), "the variable 'nope' is not defined"),
        (("at_once: 1", 'at_once: 1, address_last: "{{ nope }}"'), "the variable 'nope' is not defined"),
        (("at_once: 1", 'at_once: "{{ 0 }}"'), "must be a number of hosts, or a percentage such as '10%', is '0'"),
        (
            ("at_once: 1", "at_once: \"{{ 'many' }}%\""),
            "must be a number of hosts, or a percentage such as '10%', is 'many%'",
        ),
    ],
)
def test_what_could_never_be_held_is_said(change: tuple[str, str], message: str) -> None:
    assert change[0] in BODY
    with pytest.raises(SiteInvalid) as caught:
        rendered(BODY.replace(*change))
    assert any(message in str(problem) for problem in caught.value.problems), caught.value.problems
