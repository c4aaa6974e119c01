"""One entry per item, and what one service takes from all others."""

from typing import Any

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import render
from tests.render.sites import container, file, job, make_site, rendered
from tests.support import sealed

RELAYS = """
groups: {control: [], compute: []}
containers:
  base: {image: x, command: y}
  relay:
    each: "{{ range(1, count + 1) | list }}"
    image: "x:{{ item }}"
    command: "run {{ item }}"
    files: [{name: "port.{{ item }}", template: t, overrides: ["app/{host}/t", "app/{container}.conf"]}]
    depends_on: [base]
  last: {image: x, command: y, depends_on: [relay]}
jobs:
  sync: {container: last, after: [relay], before: [last]}
  cells: {each: "{{ cells }}", name: "cell_{{ item.name }}", container: base, command: "map {{ item.name }}", before: [relay], timeout: "{{ item.seconds }}"}
checks:
  port: {each: [1, 2], tcp: "host:{{ item }}"}
"""
COUNT = """
count: {description: Relays., type: integer, default: 2}
cells: {description: Cells., type: array, default: [{name: a, seconds: 5}, {name: b, seconds: 6}]}
"""


def relays(body: str = RELAYS, host: str = "ctl1", **files: str) -> Desired:
    return rendered(body, files, host=host, variables=COUNT, templates={"t": "{{ item }} of {{ container }}"})


def test_there_is_one_container_for_every_item() -> None:
    desired = relays()
    assert [one.name for one in desired.containers] == ["base", "last", "relay_1", "relay_2"]
    assert container(desired, "relay_2").image == "x:2"
    assert file(desired, "relay-2/port.2").content == "2 of relay_2"
    assert '"command": "run 1"' in file(desired, "relay-1/config.json").content
    assert container(desired, "last").depends_on == ("relay_1", "relay_2")
    assert container(desired, "relay_1").depends_on == ("base",)
    assert (job(desired, "sync").after, job(desired, "sync").before) == (("relay_1", "relay_2"), ("last",))
    assert (job(desired, "cell_a").timeout, job(desired, "cell_b").timeout) == (5.0, 6.0)
    assert job(desired, "cell_b").before == ("relay_1", "relay_2")
    assert [(check.name, check.tcp) for check in desired.checks] == [("port_1", "host:1"), ("port_2", "host:2")]


def test_without_items_there_is_none() -> None:
    desired = relays(**{"globals.yml": "count: 0\ncells: []"})
    assert [one.name for one in desired.containers] == ["base", "last"]
    assert [one.name for one in desired.jobs] == ["sync"]
    assert container(desired, "last").depends_on == ()


def test_every_host_has_its_own_items() -> None:
    more = {"hosts/ctl2.yml": "count: 1"}
    assert len(relays(host="ctl1", **more).containers) == 4
    assert len(relays(host="ctl2", **more).containers) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"{{ range(1, count + 1) | list }}"', '"{{ count }}"'), "each must be a list, is 2"),
        (('"{{ range(1, count + 1) | list }}"', "[1, 1]"), "each gives 'relay_1' twice"),
        (('"{{ range(1, count + 1) | list }}"', '"{{ range(501) | list }}"'), "each has 501 items; 500 are the limit"),
        (('"{{ range(1, count + 1) | list }}"', "[a b]"), "'relay_a b' is not a name for one of relay"),
        (('name: "cell_{{ item.name }}", ', ""), "'' is not a name for one of cells"),
        (("  last: {", "  relay_1: {image: x, command: y}\n  last: {"), "the container 'relay_1' is there twice"),
        (
            ("sync: {container: last", "sync: {container: relay"),
            "relay is repeated, so that it is not clear which one is meant",
        ),
        (("run {{ item }}", "run {{ itm }}"), "the variable 'itm' is not defined"),
    ],
)
def test_what_cannot_be_repeated_is_said(change: tuple[str, str], message: str) -> None:
    assert change[0] in RELAYS
    with pytest.raises(SiteInvalid) as caught:
        relays(RELAYS.replace(*change))
    assert any(message in str(problem) for problem in caught.value.problems)


def test_frontends_and_scrape_targets_are_repeated_too() -> None:
    body = """
    groups: {control: [], compute: []}
    containers: {app: {image: x, command: y, files: [{name: f, template: t}]}}
    frontends: {vnc: {each: "{{ cells }}", name: "vnc_{{ item.name }}", mode: http, port: "{{ 6080 + item.seconds }}", group: control}}
    scrape: {relay: {each: [1, 2], port: "{{ 9000 + item }}", group: compute}}
    """
    template = """{% for f in frontends %}{{ f.name }}:{{ f.port }} {% endfor %}{% for s in scrape_targets %}{{ s.name }}:{{ s.members[0].port }} {% endfor %}"""
    desired = rendered(body, variables=COUNT, templates={"t": template})
    assert file(desired, "app/f").content == "vnc_a:6085 vnc_b:6086 relay_1:9001 relay_2:9002 "


# --- collections -------------------------------------------------------------------------------------------------

USERS = {
    "proxy/service.yml": """
    description: Proxy
    groups: {control: [], compute: []}
    collects:
      proxy_users:
        description: Users.
        entry: {type: object, required: [user], properties: {user: {type: string}, weight: {type: integer}}, additionalProperties: false}
      endpoints: {description: What is asked whether it answers.}
    containers: {proxy: {image: x, command: y, group: control, files: [{name: f, template: t}]}}
    """,
    "proxy/templates/t": "{% for one in proxy_users %}{{ one }}\n{% endfor %}{% for one in endpoints %}{{ one }}\n{% endfor %}",
    "b/service.yml": """
    description: B
    containers: {b: {image: x, command: y, group: control}}
    groups: {control: [], compute: []}
    contributes:
      proxy_users:
        b: {user: "b-{{ inventory_hostname }}", weight: 1}
        off: {enabled: false, user: x}
        shard: {each: [1, 2], user: "s{{ item }}"}
      endpoints:
        b: {group: control, network: network, url: "http://{{ inventory_hostname }}:{{ port }}"}
    """,
    "gone/service.yml": """
    description: Off
    enabled: false
    contributes: {proxy_users: {gone: {user: gone}}}
    """,
}
PORT = "port: {description: Port., type: integer, default: 1}\n"


def proxied(host: str = "ctl1", files: dict[str, str] | None = None, **changed: str) -> list[Any]:
    site = make_site({**USERS, **changed}, files, variables=PORT)
    return file(render(site, host, "r"), "proxy/f").content.splitlines()


def test_a_service_gathers_from_all_others() -> None:
    assert proxied() == [
        "{'name': 'b', 'service': 'b', 'user': 'b-ctl1', 'weight': 1}",
        "{'name': 'shard_1', 'service': 'b', 'user': 's1'}",
        "{'name': 'shard_2', 'service': 'b', 'user': 's2'}",
        "{'name': 'b', 'service': 'b', 'url': 'http://ctl1:1', 'host': 'ctl1', 'address': '10.0.0.11'}",
        "{'name': 'b', 'service': 'b', 'url': 'http://ctl2:1', 'host': 'ctl2', 'address': '10.0.0.12'}",
    ]


def test_an_entry_of_a_group_is_what_each_host_says_of_itself() -> None:
    found = proxied(files={"hosts/ctl2.yml": "port: 7"})
    assert [line.partition("'url': ")[2][:19] for line in found[3:]] == ["'http://ctl1:1', 'h", "'http://ctl2:7', 'h"]


def test_members_have_the_ports_that_they_see_themselves() -> None:
    body = """
    groups: {control: [], compute: []}
    containers: {app: {image: x, command: y, files: [{name: f, template: t}]}}
    frontends: {web: {mode: http, port: 80, listen_port: "{{ port }}", group: control}}
    scrape: {node: {port: "{{ port }}", group: [control, compute]}}
    """
    template = (
        "{% for f in frontends + scrape_targets %}{{ f.members | map(attribute='port') | join(' ') }};{% endfor %}"
    )
    desired = rendered(body, {"hosts/ctl2.yml": "port: 7"}, variables=PORT, templates={"t": template})
    assert file(desired, "app/f").content == "1 7;1 7 1;"


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (
            "b/service.yml",
            ("proxy_users:", "proxy_user:"),
            "no service collects 'proxy_user' (did you mean 'proxy_users'?)",
        ),
        ("b/service.yml", ("weight: 1", "wieght: 1"), "b: unknown key 'wieght' (did you mean 'weight'?)"),
        ("b/service.yml", ("weight: 1", 'weight: "{{ inventory_hostname }}"'), "b: must be an integer, is 'ctl1'"),
        (
            "b/service.yml",
            ("group: control, network", "group: controls, network"),
            "no group 'controls' in the inventory",
        ),
        ("b/service.yml", ("network: network", "network: tunnels"), "has no address on the network 'tunnels'"),
        ("proxy/service.yml", ("endpoints: {", "port: {"), "templates call something else 'port'"),
        ("proxy/service.yml", ("endpoints: {", "groups: {"), "templates call something else 'groups'"),
    ],
)
def test_what_nobody_could_use_is_said(path: str, change: tuple[str, str], message: str) -> None:
    assert change[0] in USERS[path]
    with pytest.raises(SiteInvalid) as caught:
        proxied(**{path: USERS[path].replace(*change)})  # type: ignore[arg-type]
    assert any(message in str(problem) for problem in caught.value.problems)


def test_another_hosts_password_cannot_be_gathered() -> None:
    service = USERS["b/service.yml"].replace(
        "weight: 1}", 'weight: 1}\n        p: {group: control, user: "{{ app_password }}"}'
    )
    site = make_site(
        {**USERS, "b/service.yml": service + "    passwords: {app_password: {kind: random}}\n"},
        variables=PORT,
        secrets={"app_password": "x"},
    )
    assert "<<secret:app_password>>" in file(render(site, "ctl1", "r"), "proxy/f").content


FOLDER = """
groups: {control: []}
containers:
  lb:
    group: control
    image: x
    command: y
    files:
      - name: "d/{{ item }}.cfg"
        each: "{{ frontends | map(attribute='file') | unique | list }}"
        template: t
        overrides: ["lb/{host}/{{ item }}.cfg", "lb/{{ item }}.cfg"]
      - {name: d, overrides: ["own/*.cfg"], optional: false, destination: /etc/d, owner: root}
    permissions:
      - {each: [a, b], path: "/var/{{ item }}", owner: "{{ item }}:{{ item }}"}
frontends:
  one: {mode: http, port: 1, group: control}
  other: {mode: http, port: 2, group: control, file: another}
  third: {mode: http, port: 3}
"""


def test_a_file_and_a_permission_are_there_for_every_item() -> None:
    files = {"config/lb/control.cfg": "mine", "config/own/more.cfg": "more"}
    desired = rendered(FOLDER, files, host="ctl1", templates={"t": "{{ item }}"})
    made = {one.path: one.content for one in desired.files if one.path.startswith("lb/d/")}
    assert made == {
        "lb/d/app.cfg": "app",
        "lb/d/another.cfg": "another",
        "lb/d/control.cfg": "mine",
        "lb/d/more.cfg": "more",
    }
    config = file(desired, "lb/config.json").content
    assert '"optional"' not in config and '"path": "/var/b"' in config and '"owner": "a:a"' in config


def test_more_items_than_anybody_has_are_refused() -> None:
    many = FOLDER.replace("frontends | map(attribute='file') | unique | list", "range(501) | list")
    with pytest.raises(SiteInvalid, match="each has 501 items; 500 are the limit"):
        rendered(many, host="ctl1", templates={"t": "{{ item }}"})


def test_what_services_have_in_the_database_is_a_collection() -> None:
    proxy = """
    description: Proxy
    groups: {control: []}
    containers: {p: {group: control, image: x, command: y, files: [{name: f.json, content: "{{ registered_databases | to_json }}"}]}}
    """
    app = """
    description: App
    groups: {control: []}
    containers: {a: {group: control, image: x, command: y}}
    registrations:
      mariadb:
        databases: [{name: app}, {name: off, enabled: false}]
        users: [{name: app, password: "{{ app_password }}", grants: [{database: app, privileges: [ALL]}]}]
    passwords: {app_password: {kind: random}}
    """
    secret = {"passwords.yml": sealed.text({"app_password": "app"})}
    whole = make_site({"proxy/service.yml": proxy, "app/service.yml": app}, secret)
    text = file(render(whole, "ctl1", "r"), "p/f.json").content
    assert text.startswith('[{"name": "app", "service": "app", "users": [{"name": "app", "password": <<to_json:')
    assert text.endswith('}], "databases": ["app"]}]')


PORTS = """
groups: {control: []}
containers: {lb: {group: control, image: x, command: y, files: [{name: f, content: "{{ frontends | map(attribute='name') | join(' ') }}"}]}}
frontends:
  a: {mode: http, port: 80, group: control}
  b: {mode: tcp, port: "{{ 80 }}", group: control, %s}
"""


@pytest.mark.parametrize("apart", ["external: true", "with_frontend: false", "enabled: false"])
def test_two_frontends_may_have_one_port_where_they_do_not_meet(apart: str) -> None:
    assert "a" in file(rendered(PORTS % apart), "lb/f").content


def test_two_frontends_on_one_port_are_refused() -> None:
    told = r"service.yml:7:24: the frontends a and b listen on port 80 both, .*\{\{ 80 \}\} says it"
    with pytest.raises(SiteInvalid, match=told):
        rendered(PORTS % "external: false")
    each = PORTS.replace("port: 80, group", "each: [x, y], port: 81, group") % "external: false"
    with pytest.raises(SiteInvalid, match="the frontends a_x and a_y listen on port 81 both"):
        rendered(each)
