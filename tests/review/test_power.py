"""What a change gives away: power over a host, others' secrets, images from elsewhere. Each is a risk, and what is known is none."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model import Check, Container, Desired, File, Job, Mount, Precheck, Registration
from reconciler.options.table import TABLE
from reconciler.plan import preview
from reconciler.registrations.kinds import KINDS
from reconciler.render import render, stand_in
from reconciler.review import ci, gate, note, power, risks
from reconciler.site import Site
from tests.engine.test_policy import ASKING
from tests.services import golden

from . import sites

HOSTILE = """\
description: Something small
groups: {web: []}
containers:
  small:
    group: web
    kolla: false
    image: busybox:1.36
    command: [sleep, inf]
"""


@pytest.fixture(scope="module")
def cloud() -> Site:
    return golden.load(golden.HERE / "three_nodes" / "site")


@pytest.fixture(scope="module")
def known(cloud: Site) -> power.Known:
    return power.Known(cloud.catalogue)


def desired(*containers: Container, **more: Any) -> Desired:
    return Desired("s", "h", "r", "/etc/kolla", containers, **more)


def lines(before: Desired | None, after: Desired, known: power.Known) -> dict[str, str]:
    """Action → what its line says that it gains, of those that are at risk."""
    plan = power.marked(preview(before, after, bind=stand_in), before, after, known)
    return {action.id: action.gained for action in plan.actions if "power" in action.risks}


# --- every option, wherever it is gained ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asking"),
    [(name, one) for name, row in TABLE.items() if row.granted_by and name != "image"
     for one, _ in ASKING if getattr(one, name) != getattr(Container("c", "i"), name)],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_every_option_that_grants_is_a_risk(known: power.Known, name: str, asking: Container) -> None:
    """Made, replaced or run once: `options/table.py` says which options these are."""
    asking = replace(asking, service="mine", network_mode="bridge" if name != "network_mode" else asking.network_mode)
    plain = Container("c", "i", service="mine", network_mode="bridge")
    assert lines(desired(), desired(asking), known).keys() == {"create:c"}
    assert lines(desired(plain), desired(asking), known).keys() == {"replace:c"}
    job = Job("once", asking, "1", service="mine", owner="h")
    assert lines(desired(), desired(jobs=(job,)), known).keys() == {"run:once"}
    again = replace(job, inputs="2")
    assert lines(desired(jobs=(job,)), desired(jobs=(again,)), known) == {}, "it had it before"
    assert lines(desired(asking), desired(), known) == lines(desired(asking), desired(asking), known) == {}


def test_the_host_s_network_is_a_gain_where_it_was_not(known: power.Known) -> None:
    alone = Container("c", "i", service="mine", network_mode="none")
    assert lines(desired(), desired(replace(alone, network_mode="host")), known) == {}
    found = lines(desired(alone), desired(replace(alone, network_mode="host")), known)
    assert found == {"replace:c": "network_mode host"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_registration_that_lets_somebody_in_is_a_risk(known: power.Known, kind: str) -> None:
    granting = {name for name, type_ in KINDS[kind].types.items() if type_.grants}
    assert granting == {
        "mariadb": {"user", "grant"},
        "rabbitmq": {"user", "permission"},
        "keystone": {"user", "role_assignment", "mapping", "identity_provider", "protocol"},
    }.get(kind, set()), "a new type has to say whether it lets somebody in"
    for name in KINDS[kind].types:
        one = Registration(kind, name, "x", {"tags": "a", "password": "p"}, "mine", "h")
        more, other = (
            replace(one, fields={"tags": "b", "password": "p"}),
            replace(one, fields={"tags": "a", "password": "q"}),
        )
        expected = {f"register:{kind}:{name}:x"} if name in granting else set()
        registered = desired(registrations=(one,))
        plan = preview(None, registered, bind=stand_in)
        assert lines(None, registered, known).keys() == expected or not plan.actions
        old = replace(registered, registrations=())
        found = power.marked(replace(plan), old, registered, known)
        assert {action.id for action in found.actions if "power" in action.risks} == expected & {
            a.id for a in plan.actions
        }
        assert power._lets(one, old, known) is bool(expected)
        assert power._lets(more, registered, known) is bool(expected), "more rights of the same name"
        assert not power._lets(other, registered, known), "a rotated password"
        assert not power._lets(one, replace(old, registered_elsewhere=(one.id,)), known)


# --- what is another's on the host -----------------------------------------------------------------------------------


def test_what_is_another_s_there(known: power.Known) -> None:
    """A folder of configuration below the config root has its secrets, a volume its data; neither is named by a file."""
    db = Container(
        "db", "i", service="db", mounts=(Mount("data", "/d"), Mount("logs", "/l"), Mount("/etc/kolla/db", "/c", "ro"))
    )
    web = Container("web", "i", service="web", mounts=(Mount("logs", "/l"), Mount("/etc/kolla/web", "/c", "ro")))
    files = (File("db/db.conf", "x", container="db"), File("web/web.conf", "x", container="web"))
    before = desired(db, web, files=files)
    for source, words in (
        ("/etc/kolla/db", "volumes /etc/kolla/db"), ("/etc/kolla/db/db.conf", "volumes /etc/kolla/db/db.conf"),
        ("/etc/kolla/.reconciler-validate", "volumes /etc/kolla/.reconciler-validate"), ("data", "volumes data"), ("logs", ""),
        ("own", ""), ("/etc/kolla/more", ""),
    ):  # fmt: skip
        more = Container("more", "i", service="mine", mounts=(Mount(source, "/x"),))
        after = desired(db, web, more, files=(*files, File("more/x", "x", container="more")))
        assert lines(before, after, known) == ({"create:more": words} if words else {}), source


def test_a_command_in_another_service_s_container(repository: sites.Repository) -> None:
    """No host changes, and somebody runs something in what may do anything."""
    files = {**sites.small(2), "services/mine/service.yml": HOSTILE.replace("small", "mine")}
    check = "checks:\n  look: {command: {container: CONTAINER, command: [sh, -c, id]}}\n"
    repository.commit(files)
    for container, asked in (("web", True), ("mine", False)):
        service = files["services/mine/service.yml"] + check.replace("CONTAINER", container)
        repository.commit({**files, "services/mine/service.yml": service})
        found = review(repository)
        assert found.valid and not found.changed
        assert gate.kinds(found) == (("power",) if asked else ())
        assert ("`run in web` on `web[1-2]`: `the check look of another service: sh -c id`" in note(found)) is asked
        repository.commits.pop()


# --- whole reviews ---------------------------------------------------------------------------------------------------


def review(repository: sites.Repository) -> Any:
    base, head = (ci.Source(repository.root, commit) for commit in (repository.commits[0], repository.commits[-1]))
    return ci.review(base, head)


def test_a_service_with_the_passwords_of_others_from_elsewhere(repository: sites.Repository) -> None:
    site = sites.example()
    repository.commit(site)
    service = (
        "description: A page\nenabled: true\ncontainers:\n  evil:\n    group: control\n    kolla: false\n"
        "    image: registry.invalid/page:1\n    privileged: true\n    pid_mode: host\n    volumes: [/dev:/dev, /run:/run:shared]\n"
        "    files: [{name: loot, template: loot.j2, destination: /x}]\n"
    )
    loot = "{{ keystone_admin_password }} {{ database_password }}\n"
    repository.commit({**site, "services/evil/service.yml": service, "services/evil/templates/loot.j2": loot})
    found = review(repository)
    assert gate.kinds(found) == ("power", "secret", "image")
    text = note(found)
    assert "`create evil` on `ctl1`: `privileged, pid_mode host, volumes /dev, volumes /run:shared`" in text
    assert "(new container; gains privileged, pid_mode host, volumes /dev, volumes /run:shared)  [power]" in text
    assert "`evil: keystone_admin_password` on `ctl1`" in text and "`evil: database_password` on `ctl1`" in text
    assert "`from registry.invalid` on `ctl1`: `registry.invalid/page:1`" in text
    # Once it is there it is nothing new.
    repository.commits[0] = repository.commits[-1]
    repository.commit({**site, "services/evil/service.yml": service, "services/evil/templates/loot.j2": loot + "!\n"})
    assert gate.kinds(review(repository)) == ()


def test_a_small_service_of_ones_own_is_no_risk(repository: sites.Repository) -> None:
    """On the host's network, from where the site's images are, with a password of its own."""
    site = sites.small(2)
    repository.commit(site)
    repository.commit({**site, "services/small/service.yml": HOSTILE})
    found = review(repository)
    assert found.valid and len(found.changed) == 2 and risks(found) == []


@pytest.mark.parametrize(
    ("image", "risky"),
    [("busybox:1.37", False), ("docker.io/library/nginx@sha256:" + "a" * 64, False), ("other/busybox:1.36", True),
     ("localhost/busybox", True), ("registry.invalid:5000/library/busybox", True), ("library.invalid/busybox", True)],
)  # fmt: skip
def test_where_an_image_is_from(repository: sites.Repository, image: str, risky: bool) -> None:
    """Also of a host that joins, which has none so far."""
    repository.commit(sites.small(1))
    service = HOSTILE.replace("busybox:1.36", image)
    repository.commit({**sites.small(2), "services/small/service.yml": service})
    found = review(repository)
    assert found.valid and ("image" in gate.kinds(found)) is risky


def test_a_host_that_joins_gets_what_others_have(repository: sites.Repository) -> None:
    """That it joins is a risk; what its containers may do is none unless no other host's may."""
    service = HOSTILE + "    privileged: \"{{ inventory_hostname != 'web3' }}\"\n"
    check = "checks:\n  look: {command: {container: web, command: [id]}}\n"
    repository.commit({**sites.small(1), "services/small/service.yml": service + check})
    repository.commit({**sites.small(2), "services/small/service.yml": service + check})
    found = review(repository)
    assert gate.kinds(found) == ("inventory",) and "gains privileged" in note(found)
    more = {"services/small/service.yml": service.replace("'web3'", "'web1'") + "    pid_mode: host\n" + check}
    repository.commit({**sites.small(2), **more})
    found = review(repository)
    assert set(gate.kinds(found)) == {"power", "inventory"}


# --- what the catalogue says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden.CASES)
def test_what_the_catalogue_says_is_known(case: str) -> None:
    """A service that is switched on has the power that it says, shown and no risk; only what the site adds is."""
    site = golden.load(golden.HERE / case / "site")
    known, shown = power.Known(site.catalogue), set()
    existing = {name.partition(".")[0] for name in site.passwords}
    for host in site.hosts:
        after = render(site, host, "r")
        plan = power.marked(preview(None, after, bind=stand_in), None, after, known)
        shown |= {words for action in plan.actions for words in action.gains}
        own = ("ulimits nofile", "volumes /etc/pki:ro") if case == "three_nodes" else ()
        risky = [a for a in plan.actions if "power" in a.risks and not {*own} & {*a.gains}]
        assert {a.target for a in risky} <= {
            "keystone:identity_provider:sso",
            "keystone:mapping:staff",
            "keystone:protocol:sso/openid",
        }
        assert not [*power.named(after, known, existing), *power.commands(None, after, known)]
    assert shown, "the catalogue has powers, and they are told"


@pytest.mark.parametrize(
    ("said", "gains"),
    [
        ("keystone_extra_volumes: ['/run:/x', '/dev:/y']", {"volumes /run", "volumes /dev"}),
        ("keystone_extra_volumes: ['mariadb:/x']", {"volumes mariadb"}),
        ("keystone_extra_volumes: ['/etc/kolla/mariadb:/x:ro']", {"volumes /etc/kolla/mariadb:ro"}),
        ("keystone_extra_volumes: ['kolla_logs:/x']", set()),
        ("keystone_dimensions: {ulimits: {memlock: {soft: -1, hard: -1}}}", {"ulimits memlock"}),
    ],
)  # fmt: skip
def test_what_a_site_adds_to_it_is_not(cloud: Site, known: power.Known, said: str, gains: set[str]) -> None:
    folder = golden.HERE / "three_nodes" / "site"
    text = (folder / "globals.yml").read_bytes()
    before = render(cloud, "ctl-a", "r")
    after = render(golden.load(folder, {"globals.yml": text + said.encode() + b"\n"}), "ctl-a", "r")
    plan = power.marked(preview(before, after, bind=stand_in), before, after, known)
    found = [action for action in plan.actions if action.id == "replace:keystone"]
    assert {words for action in found for words in action.gains} == gains
    assert any("power" in action.risks for action in found) is bool(gains)


def test_what_a_site_gives_all_containers_one_more_has_too(cloud: Site, known: power.Known) -> None:
    """`default_extra_volumes` and limits of all are nothing new when a service is switched on."""
    after = render(cloud, "ctl-a", "r")
    before = replace(after, containers=tuple(one for one in after.containers if one.name != "memcached"))
    plan = power.marked(preview(before, after, bind=stand_in), before, after, known)
    (action,) = [action for action in plan.actions if action.id == "create:memcached"]
    assert action.gains == ("volumes /etc/pki:ro", "ulimits nofile") and action.risks == ()
    alone = replace(before, containers=before.containers[:2], jobs=())
    plan = power.marked(preview(alone, after, bind=stand_in), alone, after, known)
    assert ["power" in action.risks for action in plan.actions if action.id == "create:memcached"] == [True]


def test_a_service_in_the_place_of_the_catalogue_s_is_the_site_s(known: power.Known) -> None:
    folder = golden.HERE / "compute" / "site"
    shipped = golden.read(golden.SHIPPED / "openvswitch")
    files = {f"services/openvswitch/{path}": content for path, content in shipped.items()}
    site = golden.load(folder, files)
    after = render(site, "cmp", "r")
    plan = power.marked(preview(None, after, bind=stand_in), None, after, power.Known(site.catalogue))
    assert {a.service for a in plan.actions if "power" in a.risks} == {"openvswitch"}


def test_a_check_that_is_the_catalogue_s_is_known(known: power.Known) -> None:
    there = desired(
        Container("db", "i", service="mariadb"), checks=(Check("x", "keystone", container="db", command=("id",)),)
    )
    assert list(power.commands(None, there, known)) == []
    mine = replace(there, checks=(replace(there.checks[0], service="mine"),))
    assert [one.container for one in power.commands(None, mine, known)] == ["db"]
    assert list(power.commands(mine, mine, known)) == []
    other = replace(mine, checks=(replace(mine.checks[0], command=("sh",)),))
    assert [one.words for one in power.commands(mine, other, known)] == ["the check x of another service: sh"]
    asked = Precheck("y", "db", ("id",), mounts=(Mount("/", "/x", "ro"), Mount("data", "/d", "ro")), service="mine")
    more = replace(mine, prechecks=(asked,))
    assert [one.words for one in power.commands(mine, more, known)] == ["the check y before an upgrade: volumes /:ro"]
    assert list(power.commands(more, more, known)) == []
