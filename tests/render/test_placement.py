"""Where containers run, and which host carries out what a cluster does once."""

import re
from textwrap import dedent

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import World, render
from reconciler.site import Site
from tests.render.sites import file, job, make_site, one_service

INVENTORY = """
hosts:
  ctl1: {addresses: {network: 10.0.0.11}, groups: [control]}
  net1: {addresses: {network: 10.0.0.12}, groups: [network]}
  cmp1: {addresses: {network: 10.0.0.21}, groups: [compute]}
  cmp2: {addresses: {network: 10.0.0.22}, groups: [compute]}
groups: {control: {}, network: {}, compute: {}, nobody: {}}
"""
DVR = "dvr: {description: Routers on computes., type: boolean, default: false}\n"


def agents(container: str, jobs: str = "", **files: str) -> Site:
    """A site whose service has one container, `agent`, with the given fields."""
    body = f"""
    groups: {{control: [], network: [], compute: [], nobody: []}}
    containers:
      other: {{image: x, command: y, group: control}}
      agent: {{image: x, command: y, {container}, files: [{{name: where, template: where}}]}}
    jobs: {{{jobs}}}
    """
    templates = {"where": "{{ inventory_hostname }}"}
    return one_service(body, files, inventory=INVENTORY, variables=DVR, templates=templates)


def hosts_with(site: Site) -> list[str]:
    return [host for host in site.hosts if any(one.name == "agent" for one in render(site, host, "r").containers)]


def test_a_container_runs_on_the_hosts_of_any_of_its_groups() -> None:
    assert hosts_with(agents("group: [network, compute]")) == ["net1", "cmp1", "cmp2"]
    assert hosts_with(agents("group: [compute, all]")) == ["ctl1", "net1", "cmp1", "cmp2"]


def test_groups_may_be_an_expression_that_each_host_evaluates_for_itself() -> None:
    group = """group: "{{ ['network'] + (['compute'] if dvr else []) }}" """
    assert hosts_with(agents(group)) == ["net1"]
    assert hosts_with(agents(group, **{"globals.yml": "dvr: true"})) == ["net1", "cmp1", "cmp2"]
    assert hosts_with(agents(group, **{"hosts/cmp2.yml": "dvr: true"})) == ["net1", "cmp2"]


SYNC = "sync: {container: agent}"


@pytest.mark.parametrize(
    ("container", "files", "owner"),
    [
        ("group: [network, compute]", {}, "net1"),
        ("group: [compute, network]", {}, "cmp1"),  # the order of the groups
        ("group: all, enabled: \"{{ 'compute' in group_names }}\"", {}, "cmp1"),
        ('group: compute, enabled: "{{ dvr }}"', {"hosts/cmp2.yml": "dvr: true"}, "cmp2"),
        ("group: \"{{ ['compute'] if dvr else [] }}\"", {"hosts/cmp2.yml": "dvr: true"}, "cmp2"),
    ],
)
def test_the_first_host_that_has_the_container_owns_what_is_done_once(
    container: str, files: dict[str, str], owner: str
) -> None:
    site = agents(container, SYNC, **files)
    for host in hosts_with(site):
        desired = render(site, host, "r")
        assert job(desired, "sync").owner == owner
    assert file(render(site, owner, "r"), "sync/where").content == owner


def test_registrations_belong_to_the_first_host_of_the_first_container_that_anybody_has() -> None:
    body = """
    groups: {control: [], compute: [], nobody: []}
    containers:
      off: {image: x, command: y, enabled: false}
      empty: {image: x, command: y, group: nobody}
      agent: {image: x, command: y, enabled: "{{ 'compute' in group_names }}"}
      other: {image: x, command: y, group: control}
    registrations: {mariadb: {databases: [{name: app}]}}
    provides: {mariadb: {host: h, port: 1, username: root, password: p}}
    """
    site = one_service(body, inventory=INVENTORY)
    assert [host for host in site.hosts if render(site, host, "r").registrations] == ["cmp1"]


def test_registrations_pass_to_the_next_host_when_theirs_leaves_the_inventory() -> None:
    body = """
    groups: {control: []}
    containers: {app: {image: x, command: y, group: control}}
    jobs: {sync: {container: app}}
    registrations: {mariadb: {databases: [{name: app}]}}
    provides: {mariadb: {host: h, port: 1, username: root, password: p}}
    """
    hosts = ["ctl2", "ctl1", "ctl3"]
    for left in (hosts, hosts[1:], hosts[2:]):
        inventory = "hosts:\n" + "".join(f"  {name}: {{groups: [control]}}\n" for name in left)
        made = [render(one_service(body, inventory=inventory), host, "r") for host in left]
        assert [one.host for one in made if one.registrations] == left[:1]
        assert {registration.owner for one in made for registration in one.registrations} == {left[0]}
        assert {job.owner for one in made for job in one.jobs} == {left[0]}


def test_a_host_that_comes_before_the_owner_takes_registrations_and_the_former_owner_knows() -> None:
    """It would withdraw them otherwise, with the accounts that everybody uses. Where it reaches the registrar no more it need not know."""
    body = """
    groups: {control: [], database: []}
    containers: {app: {image: x, command: y, group: control}, db: {image: x, command: y, group: database}}
    registrations: {mariadb: {databases: [{name: app}]}}
    provides: {mariadb: {host: h, port: 1, username: root, password: p}}
    """
    hosts = ["ctl0", "ctl1", "db1"]
    groups = {"ctl0": "control", "ctl1": "control, database", "db1": "database"}
    for there in (hosts[1:], hosts):
        inventory = "hosts:\n" + "".join(f"  {name}: {{groups: [{groups[name]}]}}\n" for name in there)
        inventory += "  cmp: {groups: []}\ngroups: {control: {}, database: {}}\n"
        made = {host: render(one_service(body, inventory=inventory), host, "r") for host in (*there, "cmp")}
        names = {host: [one.id for one in found.registrations] for host, found in made.items() if found.registrations}
        assert names == {there[0]: ["mariadb:database:app"]}
        elsewhere = {host: found.registered_elsewhere for host, found in made.items() if found.registered_elsewhere}
        assert elsewhere == dict.fromkeys(there[1:], ("mariadb:database:app",))


def test_what_a_service_registers_that_is_off_on_this_host_alone_is_asked_for_elsewhere() -> None:
    body = """
    enabled: "{{ dvr }}"
    groups: {control: []}
    containers: {app: {image: x, command: y, group: control}}
    registrations: {mariadb: {databases: [{name: app}]}}
    """
    database = """
    groups: {control: []}
    containers: {db: {image: x, command: y, group: control}}
    provides: {mariadb: {host: h, port: 1, username: root, password: p}}
    """
    inventory = "hosts: {ctl1: {groups: [control]}, ctl2: {groups: [control]}}\n"
    for off, elsewhere in (((), ()), (("ctl1",), ("mariadb:database:app",)), (("ctl1", "ctl2"), ())):
        files = {f"hosts/{host}.yml": "dvr: false\n" for host in off} | {"globals.yml": "dvr: true\n"}
        services = {
            f"{name}/service.yml": f"description: x\n{dedent(text)}" for name, text in (("app", body), ("db", database))
        }
        found = make_site(services, files, inventory=inventory, variables=DVR)
        assert render(found, "ctl1", "r").registered_elsewhere == elsewhere


@pytest.mark.parametrize(
    ("groups", "containers", "off", "owner"),
    [
        ("control: []", "", "", "ctl1"),
        ("control: []", "", "ctl1", "ctl2"),
        ("control: []", "", "ctl1 ctl2", ""),
        ("", "", "", "cmp1"),
        ("", "", "cmp1 ctl1", "ctl2"),
        ("nobody: []", "", "cmp1", "ctl1"),
        ("control: [], nobody: []", "app: {image: x, command: y, group: control, enabled: false}", "ctl1", "ctl2"),
        ("control: []", "app: {image: x, command: y, group: control}", "ctl1", "ctl2"),
    ],
)
def test_what_is_registered_belongs_to_a_host_that_has_the_service(
    groups: str, containers: str, off: str, owner: str
) -> None:
    """Each host names the same one, those included on which the service is off: else nobody registers it, or somebody withdraws it."""
    body = f"""
    enabled: "{{{{ dvr }}}}"
    groups: {{{groups}}}
    containers: {{{containers}}}
    registrations: {{mariadb: {{databases: [{{name: app}}]}}}}
    """
    database = """
    containers: {db: {image: x, command: y}}
    provides: {mariadb: {host: h, port: 1, username: root, password: p}}
    """
    hosts = ("cmp1", "ctl1", "ctl2")
    inventory = (
        "hosts: {cmp1: {}, ctl1: {groups: [control]}, ctl2: {groups: [control]}}\ngroups: {control: {}, nobody: {}}\n"
    )
    services = {
        f"{name}/service.yml": f"description: x\n{dedent(text)}" for name, text in (("app", body), ("db", database))
    }
    files = {f"hosts/{host}.yml": "dvr: false\n" for host in off.split()} | {"globals.yml": "dvr: true\n"}
    found = make_site(services, files, inventory=inventory, variables=DVR)
    made = {host: render(found, host, "r") for host in hosts}
    app = "mariadb:database:app"
    assert [host for host in hosts if app in {one.id for one in made[host].registrations}] == owner.split()
    assert [host for host in hosts if app in made[host].registered_elsewhere] == [
        host for host in hosts if owner and host != owner
    ]


def test_one_world_for_all_hosts_finds_the_same_owner_at_the_same_cost() -> None:
    site = agents("group: all, enabled: \"{{ 'compute' in group_names }}\"", SYNC)
    world, costs = World(site), {}
    for host in reversed(site.hosts):  # type: ignore[arg-type]
        shared = render(site, host, "r", world)
        costs[host] = world.meter.steps
        alone = World(site)
        assert shared == render(site, host, "r", alone)
        assert alone.meter.steps == costs[host]


def test_a_job_that_nobody_could_run_is_a_problem() -> None:
    with pytest.raises(SiteInvalid, match="the job sync runs nowhere: no host has the container agent"):
        render(agents("group: nobody", f"{SYNC}, also: {{container: agent, enabled: false}}"), "ctl1", "r")


def test_a_job_before_a_container_of_each_host_is_none_where_the_container_is_nowhere() -> None:
    """A site may leave a group empty that it has no use for, as with kolla-ansible."""
    for host in ("ctl1", "cmp1"):
        assert not render(agents("group: nobody", f"{SYNC[:-1]}, once: host}}"), host, "r").jobs


def test_a_job_of_a_container_that_is_off_is_off_too() -> None:
    for host in ("ctl1", "cmp1"):
        assert not render(agents("group: all, enabled: false", SYNC), host, "r").jobs


def test_an_unknown_group_among_several_has_its_place() -> None:
    with pytest.raises(SiteInvalid, match=r"service.yml:\d+:\d+: unknown group 'computes' \(did you mean 'compute'"):
        agents("group: [network, computes]")


def test_a_host_logs_in_only_with_passwords_that_it_has_another_use_for() -> None:
    """The value of one that only the owner registers is not on the others, where the check would fail for good."""
    body = """
    groups: {control: []}
    passwords: {app_password: {kind: random}, backup_password: {kind: random}, root_password: {kind: random}}
    containers: {app: {image: x, command: y, group: control, files: [{name: conf, template: conf}]}}
    registrations: {mariadb: {users: [{name: app, password: "{{ app_password }}"}, {name: backup, password: "{{ backup_password }}"}]}}
    provides: {mariadb: {host: h, port: 1, username: root, password: "{{ root_password }}"}}
    """
    secrets = dict.fromkeys(("app_password", "backup_password", "root_password"), "ciphertext")
    inventory = "hosts: {a: {groups: [control]}, b: {groups: [control]}}\ngroups: {control: {}}\n"
    site = one_service(body, inventory=inventory, secrets=secrets, templates={"conf": "{{ app_password }}"})
    made = {host: render(site, host, "r") for host in ("a", "b")}
    logins = {host: {one.connection["username"] for one in found.checks if one.login} for host, found in made.items()}
    assert logins["a"] == {"app", "backup", "root"} and "backup" not in logins["b"] and "app" in logins["b"]
    for found in made.values():
        tokens = {value for one in found.checks for value in one.connection.values() if "secret:" in str(value)}
        assert tokens <= {f"<<secret:{name}>>" for name in found.secrets}


CELLS = """
groups: {control: []}
containers:
  app: {image: x, command: y, group: control, cluster: "{{ cell }}", enabled: "{{ cell != 'none' }}"}
  side: {image: x, command: y, group: control, enabled: "{{ cell != 'none' }}"}
jobs:
  sync: {container: app}
  look: {container: app, once: host, before: []}
registrations:
  mariadb:
    container: app
    databases: [{name: "app_{{ cell }}"}, {name: shared}]
provides: {mariadb: {host: h, port: 1, username: root, password: p}}
"""
ABOVE = """
description: Above the cells
containers:
  front: {image: x, command: y}
jobs:
  after: {container: front, before: [], rollout: {after: [sync]}}
"""
CELL = "cell: {description: A cell., type: string, default: ''}\n"


def cells(body: str = CELLS, **said: str) -> dict[str, Desired]:
    """The desired state of every host, of which each says its cell."""
    inventory = "hosts:\n" + "".join(f"  {host}: {{groups: [control]}}\n" for host in said)
    files = {f"hosts/{host}.yml": f'cell: "{cell}"\n' for host, cell in said.items()}
    services = {"app/service.yml": f"description: x\n{dedent(body)}", "above/service.yml": ABOVE}
    site = make_site(services, files, inventory=inventory, variables=CELL)
    return {host: render(site, host, "r") for host in site.hosts}


def test_what_is_done_once_is_done_once_in_each_cluster() -> None:
    made = cells(c0="none", a1="a", b1="b", x="", a2="a", b2="b")
    owners = {host: {job.name: job.owner for job in found.jobs} for host, found in made.items()}
    assert owners["a1"] == {"sync_a": "a1", "look": "a1", "after": "c0"}
    assert owners["a2"] == {"sync_a": "a1", "look": "a2", "after": "c0"}
    assert owners["b2"] == {"sync_b": "b1", "look": "b2", "after": "c0"}
    assert owners["x"] == {"sync": "x", "look": "x", "after": "c0"}  # the one without a name is one, too
    assert owners["c0"] == {"after": "c0"}
    assert job(made["a1"], "sync_a").before == ("app", "side")
    # What goes after it goes after all of them.
    assert [order.jobs for order in made["c0"].orders] == [{"sync_a": "a1", "sync_b": "b1", "sync": "x"}]


def test_each_cluster_registers_for_itself_and_nobody_withdraws_what_another_one_has() -> None:
    made = cells(c0="none", a1="a", b1="b", a2="a")
    ids = {host: [one.id for one in found.registrations] for host, found in made.items()}
    shared = "mariadb:database:shared"
    assert ids == {
        "c0": [],
        "a1": ["mariadb:database:app_a", shared],
        "b1": ["mariadb:database:app_b", shared],
        "a2": [],
    }
    elsewhere = {host: found.registered_elsewhere for host, found in made.items()}
    every = ("mariadb:database:app_a", "mariadb:database:app_b", shared)
    assert elsewhere["a2"] == every
    assert elsewhere["a1"] == ("mariadb:database:app_b", shared) and elsewhere["b1"] == (
        "mariadb:database:app_a",
        shared,
    )
    # Where the first host of a cluster goes to another one, the next host has what it had, and it knows.
    moved = cells(c0="none", a1="b", b1="b", a2="a")
    assert "mariadb:database:app_a" in moved["a1"].registered_elsewhere
    assert [one.owner for one in moved["a2"].registrations] == ["a2", "a2"]


def test_what_all_register_is_not_that_of_one_cluster() -> None:
    body = CELLS.replace("databases: [", "users: [{name: u, password: p}]\n    databases: [")
    base = "description: x\ncontainers: {base: {image: x, command: y}}\nregistrations: {mariadb: {users: [{name: u, password: p}]}}\n"
    files = {f"hosts/{host}.yml": f"cell: {host[0]}\n" for host in ("a1", "b1")}
    inventory = "hosts: {c0: {groups: []}, a1: {groups: [control]}, b1: {groups: [control]}}"
    services = {"app/service.yml": f"description: x\n{dedent(body)}", "zzz/service.yml": base}
    site = make_site(services, files, inventory=inventory, variables=CELL)
    made = {host: render(site, host, "r") for host in site.hosts}
    owns = {host: "mariadb:user:u@%" in {one.id for one in found.registrations} for host, found in made.items()}
    assert owns == {"c0": True, "a1": False, "b1": False}


def test_a_budget_is_of_a_cluster() -> None:
    body = CELLS + "frontends: {app: {mode: http, port: 80, group: control}}\n"
    body = body.replace("cell != 'none' }}\"}", "cell != 'none' }}\", rollout: {quorum: true}}")
    made = cells(body, a1="a", a2="a", a3="a", a4="a", b1="b", b2="b", x="")
    found = {host: next(one for one in desired.orders if one.name == "app") for host, desired in made.items()}
    assert [(found[host].budget, found[host].at_once) for host in ("a1", "b2")] == [("control_a", 2), ("control_b", 1)]
    assert found["a3"].members == ("a1", "a2", "a3", "a4") and found["b1"].members == ("b1", "b2")
    assert (found["x"].at_once, found["x"].members) == (0, ("x",))


@pytest.mark.parametrize("name", ["a/b", "a b", "x" * 65, "ä"])
def test_what_cannot_be_a_name_of_a_cluster_is_refused(name: str) -> None:
    with pytest.raises(SiteInvalid, match="is not a name for a cluster of app, on a1"):
        cells(a1=name)


def test_registrations_of_a_container_that_is_none_are_refused() -> None:
    with pytest.raises(SiteInvalid, match=r"the service has no container 'ap' .*did you mean 'app'"):
        cells(CELLS.replace("container: app\n    databases", "container: ap\n    databases"), a1="a")


LONE = """
groups: {control: []}
containers:
  app: {image: x, command: y, group: control, cluster: "{{ cell }}", enabled: "{{ cell not in ['none', ''] }}"}
  side: {image: x, command: y, group: control}
jobs: {sync: {container: app}}
"""


@pytest.mark.parametrize(("cell", "named"), [("none", "the cluster 'none'"), ("", "the cluster without a name")])
def test_a_host_in_a_cluster_that_nobody_serves_is_told_of(cell: str, named: str) -> None:
    told = f"inventory.yml:3:3: b1 has side in {named} of app, and no host of that has app ({{{{ cell }}}} says which it is (catalogue/app/service.yml:5:56)"
    with pytest.raises(SiteInvalid, match=re.escape(told)):
        cells(LONE, a1="a", b1=cell)
    assert len(cells(LONE, a1="a", a2="a")) == 2
