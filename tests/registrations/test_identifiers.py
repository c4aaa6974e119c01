"""Identifiers that Keystone gives, from its answer to the file of a container."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import Transient
from reconciler.model import Actual, Registrar, Registration
from reconciler.node.observing import Observer
from reconciler.node.target import Target, make_target
from reconciler.reasons import Reason
from reconciler.registrations.registry import Registry
from reconciler.source.prepare import Prepared
from tests.registrations.conftest import NOTHING, Site, free_port
from tests.registrations.test_keystone import Client, service
from tests.render.sites import rendered
from tests.render.test_identifiers import KNOWN, PROJECT, SERVICE
from tests.support.lab import ADDRESS, HOST, SITE, VIP, Lab, lines


@pytest.mark.engine
@pytest.mark.images
def test_keystone_says_which_identifiers_it_gave(keystone: Site, name: str) -> None:
    wanted = service(keystone, name)
    asked = [wanted[kind] for kind in ("service", "project", "role", "user")]
    asked += [Registration("keystone", "domain", "default", {"name": "default"})]
    found, unknown = keystone.registry.identify(asked, NOTHING)
    assert not unknown and found == {
        **dict.fromkeys(item.id for item in asked[:4]),
        "keystone:domain:default": "default",
    }
    keystone.converge(*wanted.values())
    found, unknown = keystone.registry.identify(asked, NOTHING)
    client = Client(keystone)
    assert not unknown
    assert found == {
        f"keystone:service:{name}": client.id("services", name),
        f"keystone:project:default/{name}": client.id("projects", name),
        f"keystone:role:{name}": client.id("roles", name),
        f"keystone:user:default/{name}": client.id("users", name),
        "keystone:domain:default": "default",
    }


@pytest.mark.parametrize(
    ("registrar", "said"),
    [
        (None, "no service of this site takes keystone registrations"),
        ({"url": "http://127.0.0.1:PORT", "username": "admin", "password": "p"}, "127.0.0.1:PORT"),
    ],
)
def test_who_cannot_be_asked_says_why(registrar: dict[str, str] | None, said: str) -> None:
    port = str(free_port())
    where = {key: value.replace("PORT", port) for key, value in (registrar or {}).items()}
    registrars = [Registrar("keystone", where)] if where else []
    with Registry(registrars, str, patience=0) as registry:
        found, unknown = registry.identify([Registration("keystone", "role", "a", {"name": "a"})], NOTHING)
    assert found == {} and said.replace("PORT", port) in unknown["registrar:keystone"]


# --- what a node remembers of it ----------------------------------------------------------------------------------------


class Answers:
    """A registry whose answer is made up."""

    def __init__(self, answer: str | Transient | None) -> None:
        self.answer = answer

    def identify(
        self, registrations: Iterable[Registration], _: Actual
    ) -> tuple[Mapping[str, str | None], Mapping[str, str]]:
        if isinstance(self.answer, Transient):
            return {}, {"registrar:keystone": str(self.answer)}
        return {item.id: self.answer for item in registrations}, {}


class Remembering(Observer):
    """An observer with nothing to observe but identifiers."""

    def __init__(self) -> None:
        self._identified = ((), {})
        self._lacking = False
        self.answers: str | Transient | None = None

    def registry(self, target: Target) -> Registry:
        return Answers(self.answers)  # type: ignore[return-value]


def test_what_was_said_counts_while_nobody_can_be_asked() -> None:
    template = f"project = {{{{ id_of('{PROJECT}') }}}}\n"
    target = make_target(Prepared(rendered(SERVICE, templates={"app.conf.j2": template}), {}))
    observer, down = Remembering(), Transient("it is down", reason=Reason.RegistrarUnreachable)

    def look(answer: str | Transient | None, at: Target = target) -> tuple[Mapping[str, str], bool, bool]:
        observer.answers = answer
        known, unknown = observer._identify(at, NOTHING)
        return known, bool(unknown), observer._lacking

    assert look(down) == ({}, True, False)
    assert look(None) == ({}, False, True), "it is asked again soon"
    assert look(KNOWN[PROJECT]) == (KNOWN, False, False)
    assert look(down) == (KNOWN, True, False)
    assert look("another") == ({PROJECT: "another"}, False, False)
    assert look(None) == ({}, False, True), "what is gone is not remembered"
    look(KNOWN[PROJECT])
    elsewhere = replace(target.desired, registrars=(Registrar("keystone", {"url": "http://elsewhere"}),))
    assert look(down, make_target(Prepared(elsewhere, {}))) == ({}, True, False), "another cloud knows others"


# --- a whole node -----------------------------------------------------------------------------------------------------

APP = """\
description: Who has to know a project's identifier
enabled: true
groups: {app: []}
containers:
  rt-id:
    group: app
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.2
    files: [{name: id.conf, template: id.conf.j2, format: ini, destination: /etc/id.conf, mode: "0644"}]
provides: {keystone: {url: "URL", username: admin, project: admin, password: "PASSWORD"}}
registrations: {keystone: {projects: [{name: NAME}]}}
"""


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str, keystone: Site, name: str) -> Iterator[Lab]:
    values = {"URL": f"http://127.0.0.1:{keystone.server.port}", "PASSWORD": keystone.server.admin, "NAME": name}
    text = APP
    for word, value in values.items():
        text = text.replace(word, value)
    with Lab(tmp_path / "lab", engine_url) as lab:
        lab.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [app]\n",
                "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {VIP}\n",
                "reconciler.yml": f"name: {SITE}\n",
                "services/app/service.yml": text,
                "services/app/templates/id.conf.j2": f"[a]\nproject = {{{{ id_of('keystone:project:default/{name}') }}}}\n",
            }
        )
        yield lab


@pytest.mark.engine
@pytest.mark.images
def test_a_container_gets_the_identifier_of_what_was_registered_for_it(lab: Lab, keystone: Site, name: str) -> None:
    lab.push("a project and who needs to know it")
    client, written = Client(keystone), Path(lab.config_root) / "rt-id/id.conf"
    first = lab.reconcile()
    assert lines(first) == [f"register   keystone:project:default/{name}  (new)"]
    assert first.plan is not None and [(held.target, held.reason) for held in first.plan.held] == [
        ("rt-id", Reason.Unknown)
    ]
    assert not first.converged and not written.exists()

    second = lab.reconcile()
    assert lines(second) == ["write      rt-id/id.conf  (new file)", "create     rt-id  (new container)"]
    before = client.id("projects", name)
    assert second.converged and written.read_text() == f"[a]\nproject = {before}\n"
    lab.close_node()
    assert lines(lab.reconcile()) == [], "a restart of the program asks again and finds the same"

    client("DELETE", f"/projects/{before}")
    lab.reconcile(deep=True)  # which makes the project again
    fourth = lab.reconcile(deep=True)
    after = client.id("projects", name)
    assert after != before and written.read_text() == f"[a]\nproject = {after}\n"
    assert lines(fourth) == [
        f"write      rt-id/id.conf  (another identifier: keystone:project:default/{name})",
        "restart    rt-id  (id.conf changed)",
    ]
    assert lines(lab.reconcile(deep=True)) == []
