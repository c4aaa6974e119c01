"""Kinds of registrar: one folder each, one list; and several registrars of one kind, by name."""

import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from reconciler.errors import SiteInvalid, Terminal
from reconciler.model import Actual, Check, Container, Registrar, Registration, Running, State
from reconciler.plan import diff
from reconciler.reasons import Reason
from reconciler.registrations import kinds
from reconciler.registrations.kinds import KINDS
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.protocol import Connection, Item, Kind, Observed, Section, Type, own_credentials
from reconciler.registrations.registry import Registry
from reconciler.render import render
from tests.plan.test_diff import SITE, basis, converged
from tests.render.sites import make_site

NOTHING = Actual({}, {}, {}, deep=True)

DATABASE = """
description: A database server
containers: {NAME: {kolla: false, image: x/db:1}}
provides: {REGISTRAR: {host: db.example, port: 3306, username: root, password: p, needs: [NAME]}}
"""
CLIENT = """
description: Who registers
containers: {client: {kolla: false, image: x/client:1}}
registrations:
  REGISTRAR:
    databases: [{name: books}]
    users: [{name: reader, host: "%", password: p, grants: [{database: books, privileges: [select]}]}]
"""


def site(*providers: str, said: str) -> Any:
    """A client that registers with `said`, where these registrars are provided, each by a service of its own."""
    services = {
        f"db{index}/service.yml": DATABASE.replace("NAME", f"db{index}").replace("REGISTRAR", name)
        for index, name in enumerate(providers)
    }
    return make_site({**services, "client/service.yml": CLIENT.replace("REGISTRAR", said)})


def problems(*providers: str, said: str) -> list[str]:
    with pytest.raises(SiteInvalid) as caught:
        render(site(*providers, said=said), "ctl1", "0" * 40)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_says_everything_of_itself(kind: Kind) -> None:
    assert KINDS[kind.name] is kind and kinds.of(kind.name) is kind and kinds.of(f"{kind.name}@x") is kind
    order = graphlib.TopologicalSorter({name: type_.after for name, type_ in kind.types.items()})
    assert set(order.static_order()) == set(kind.types), "what comes before is of this kind, and in no circle"
    assert kind.grammar["additionalProperties"] is False and kind.grammar["description"]


def test_saying_what_can_be_registered_loads_no_client() -> None:
    """Rendering and planning happen in sealed children, and on hosts that register nothing."""
    heavy = ["pymysql", "keystoneauth1", "requests", "reconciler.registrations.registry", "structlog"]
    program = f"import sys, reconciler.registrations.kinds; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.replace("'", '"')) == []


# --- by name --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("providers", "said", "expected"),
    [
        (("mariadb",), "mariadb", "mariadb"),
        (("mariadb", "mariadb@cell2"), "mariadb", "mariadb"),
        (("mariadb", "mariadb@cell2"), "mariadb@cell2", "mariadb@cell2"),
        (("mariadb@cell2",), "mariadb", "mariadb@cell2"),
        (("mariadb@a", "mariadb@b"), "mariadb@b", "mariadb@b"),
        ((), "mariadb", "mariadb"),
        (("rabbitmq@a",), "mariadb", "mariadb"),
    ],
)
def test_which_registrar_is_meant(providers: tuple[str, ...], said: str, expected: str) -> None:
    desired = render(site(*providers, said=said), "ctl1", "0" * 40)
    assert {item.kind for item in desired.registrations} == {expected}
    assert f"{expected}:grant:reader@%:books.*" in {item.id for item in desired.registrations}
    assert {registrar.kind for registrar in desired.registrars} == set(providers)
    logins = {check.login: check.connection for check in desired.checks if check.client == "client"}
    assert set(logins) == {expected} & set(providers)
    for item in desired.registrations:
        assert item.before == ("client",), "what a service counts on is registered before it starts"


def test_two_registrars_need_a_word_which_one_is_meant() -> None:
    (found,) = problems("mariadb@a", "mariadb@b", said="mariadb")
    assert "client/service.yml" in found and "several registrars" in found and "mariadb@a, mariadb@b" in found
    (found,) = problems("mariadb", "mariadb@b", said="mariadb@c")
    assert "no service of this site provides mariadb@c" in found and "mariadb, mariadb@b" in found
    (found,) = problems("mariadb", "mariadb", said="mariadb")
    assert "db0 provides mariadb as well" in found and "mariadb@NAME" in found
    (found,) = problems("mariadb@a", "mariadb@a", said="mariadb@a")
    assert "db0 provides mariadb@a as well" in found


def test_what_is_there_twice_is_said_where_the_site_can_change_it() -> None:
    own = {
        f"services/{name}/service.yml": DATABASE.replace("NAME", name).replace("REGISTRAR", "mariadb") for name in "az"
    }
    shipped = {"m/service.yml": own["services/a/service.yml"].replace("a:", "m:", 1).replace("[a]", "[m]")}
    for path, text in own.items():
        with pytest.raises(SiteInvalid) as caught:
            render(make_site(shipped, {path: text}), "ctl1", "0" * 40)
        (found,) = map(str, caught.value.problems)
        assert found.startswith(path) and "m provides mariadb as well" in found


@pytest.mark.parametrize("name", ["mariadb@", "mariadb@A b", "mariadb@{{ x }}", "postgres", "postgres@a", "@a"])
def test_names_that_are_none(name: str) -> None:
    for providers, said in (((f"'{name}'",), "mariadb"), (("mariadb",), f"'{name}'")):
        assert any("unknown key" in text and "service.yml" in text for text in problems(*providers, said=said))


# --- a kind that nobody has thought of: it needs an entry, and nothing else ---------------------------------------------


@dataclass
class Shelf:
    """A registrar of the tests: what stands on it is in a dictionary."""

    connection: Connection
    content: dict[str, dict[str, Any]]
    calls: list[str] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"shelf {self.connection.text('host')}"

    def observe(self, registrations: Sequence[Registration]) -> dict[str, Observed]:
        return {item.id: self.content.get(item.key) for item in registrations}

    def log_in(self) -> None:
        if self.connection.password != "right":
            raise Terminal("no", reason=Reason.RegistrarDenied)

    def converge(self, registration: Registration) -> None:
        self.content[registration.key] = dict(registration.fields)

    def withdraw(self, registration: Registration) -> None:
        self.content.pop(registration.key, None)

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def shelves(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, dict[str, Any]]]:
    """Host → what stands there, of the kind `shelf`."""
    found: dict[str, dict[str, dict[str, Any]]] = {}

    def read(part: Section, _: str) -> Iterator[Item]:
        for name in part.texts("books"):
            yield "book", name, {"name": name}

    def backend(connection: Connection, _: Proofs) -> Shelf:
        return Shelf(connection, found.setdefault(connection.text("host"), {}))

    kind = Kind(
        name="shelf", types={"room": Type(holds_data=True), "book": Type(after=("room",))}, grammar={}, read=read,
        backend=backend, as_user=own_credentials,
    )  # fmt: skip
    monkeypatch.setitem(kinds.KINDS, "shelf", kind)
    return found


def test_each_registrar_of_a_kind_has_its_own(shelves: dict[str, dict[str, dict[str, Any]]]) -> None:
    registrars = [Registrar("shelf", {"host": "one"}), Registrar("shelf@far", {"host": "two"}, needs=("lamp",))]
    here, there = (Registration(kind, "book", "b", {"name": "b"}) for kind in ("shelf", "shelf@far"))
    with Registry(registrars, lambda text: text, patience=0) as registry:
        registry.converge(here)
        assert shelves == {"one": {"b": {"name": "b"}}}
        observed, unknown = registry.observe([here, there], NOTHING)
        assert (observed, unknown) == ({here.id: {"name": "b"}, there.id: None}, {})
        stopped = Running(Container("lamp", "i"), "id", "image", State.EXITED, None)
        observed, unknown = registry.observe([here, there], replace(NOTHING, containers={"lamp": stopped}))
        assert set(observed) == {here.id} and set(unknown) == {"registrar:shelf@far"}, (
            "one that is down hides itself alone"
        )
        registry.withdraw(here)
        registry.converge(there)
        assert shelves == {"one": {}, "two": {"b": {"name": "b"}}}
        with pytest.raises(Terminal, match="provides: shelf@lost"):
            registry.converge(Registration("shelf@lost", "book", "b", {}))
        registry.log_in(Check("c", login="shelf@far", connection={"host": "two", "password": "right"}))
        with pytest.raises(Terminal):
            registry.log_in(Check("c", login="shelf@far", connection={"host": "two", "password": "wrong"}))


def test_what_comes_first_comes_first_within_its_registrar(shelves: dict[str, dict[str, dict[str, Any]]]) -> None:
    every = tuple(
        Registration(kind, type_, "x", {"name": "x"}, "s", "ctl1")
        for kind in ("shelf", "shelf@far")
        for type_ in ("book", "room")
    )
    base = replace(SITE, registrations=every, registrars=tuple(Registrar(k, {}) for k in ("shelf", "shelf@far")))
    actual, memory = converged(base)
    found = diff(base, replace(actual, registrations={item.id: None for item in every}), memory, basis(base))
    needs = {action.target: action.needs for action in found.actions}
    assert needs["shelf:book:x"] == ("register:shelf:room:x",)
    assert needs["shelf@far:book:x"] == ("register:shelf@far:room:x",)
    gone = replace(base, registrations=(), revision="r2")
    found = diff(gone, actual, replace(memory, registered=every), basis(gone))
    assert {action.target for action in found.actions} == {"shelf:book:x", "shelf@far:book:x"}
    assert {held.target for held in found.held if held.reason == "HoldsData"} == {"shelf:room:x", "shelf@far:room:x"}


def test_a_domain_is_there_before_others_users_get_roles_on_it() -> None:
    """And goes after they are withdrawn."""
    domain = Registration("keystone", "domain", "lab", {"name": "lab"}, "s", "ctl1")
    role = Registration(
        "keystone", "role_assignment", "lab/boss/domain/member",
        {"user": "boss", "domain": "lab", "role": "member", "on_domain": "lab"}, "s", "ctl1",
    )  # fmt: skip
    base = replace(SITE, registrations=(role, domain), registrars=(Registrar("keystone", {}),))
    actual, memory = converged(base)
    found = diff(base, replace(actual, registrations={role.id: None, domain.id: None}), memory, basis(base))
    assert [action.target for action in found.actions] == [domain.id, role.id]
    gone = replace(base, registrations=(), revision="r2")
    found = diff(gone, actual, replace(memory, registered=(domain, role)), basis(gone))
    assert [action.target for action in found.actions] == [role.id, domain.id]
