"""The program's own credentials change by a commit: a registrar that does not know the new ones yet is entered with those from before."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import requests

from reconciler import errors
from reconciler.model import FORMER, Check, Registration
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry
from tests.registrations.conftest import NOTHING, Secrets, Site, connect
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images]


@contextmanager
def entering(site: Site, user: str, password: str, before: tuple[str, str] | None = None) -> Iterator[Registry]:
    """A registry that is to log in as `user`, and was let in as `before`."""

    def made(name: str, token: str, former: Registry | None = None) -> Registry:
        registrar = site.server.registrar(username=name, password=token)
        return Registry([registrar], site.secrets.bind, patience=2, proofs=Proofs(), former=former)

    with made(user, password, made(*before) if before else None) as registry:
        yield registry


def test_an_administrator_of_the_database_has_another_password(mariadb: Site, name: str) -> None:
    old, new = mariadb.secrets.new(), mariadb.secrets.new()

    def as_user(token: str) -> Registration:
        return Registration("mariadb", "user", f"{name}@%", {"name": name, "host": "%", "password": token})

    rights = {"user": name, "host": "%", "database": "*", "privileges": ["ALL"], "grant_option": True}
    mariadb.converge(as_user(old), Registration("mariadb", "grant", f"{name}@%:*.*", rights))
    with entering(mariadb, name, new) as alone, pytest.raises(errors.Terminal) as caught:
        alone.converge(as_user(new), overlap=True)
    assert caught.value.reason == "RegistrarDenied"
    with entering(mariadb, name, new, (name, old)) as registry:
        assert registry.observe([as_user(new)], NOTHING)[0] == {as_user(new).id: {"password": "<differs>"}}
        registry.converge(as_user(new), overlap=True)
        for token in (old, new):
            connect(mariadb.server, name, mariadb.secrets.bind(token)).close()
        (found,) = registry.observe([as_user(new)], NOTHING)[0].values()
        assert found and found["password"] == new and FORMER in found
        registry.end_former(as_user(new))
        assert registry.observe([as_user(new)], NOTHING)[0] == {as_user(new).id: {"password": new}}
    with entering(mariadb, name, old) as shut, pytest.raises(errors.Terminal):
        shut.end_former(as_user(new))


def test_an_administrator_of_the_broker_has_another_name(rabbitmq: Site, name: str) -> None:
    """It has one password, so the user is another one; both are let in until the former is withdrawn."""
    old, new = rabbitmq.secrets.new(), rabbitmq.secrets.new()
    former = Registration("rabbitmq", "user", name, {"name": name, "password": old, "tags": ["administrator"]})
    after = Registration(
        "rabbitmq", "user", f"{name}_2", {"name": f"{name}_2", "password": new, "tags": ["administrator"]}
    )

    def let_in(user: str, token: str) -> bool:
        auth = (user, rabbitmq.secrets.bind(token))
        return requests.get(f"http://127.0.0.1:{rabbitmq.server.port}/api/whoami", auth=auth, timeout=10).ok

    rabbitmq.converge(former)
    with entering(rabbitmq, f"{name}_2", new, (name, old)) as registry:
        registry.converge(after, overlap=True)
        assert let_in(name, old) and let_in(f"{name}_2", new)
        registry.withdraw(former)
        assert not let_in(name, old) and registry.observe([after], NOTHING)[0][after.id] == {
            "password": new,
            "tags": ["administrator"],
        }


def test_whoever_has_not_come_to_the_change_enters_with_what_is_to_be(keystone: Site, name: str) -> None:
    """Keystone has one password of an administrator, which the host that runs the job changes for all."""
    old, new = keystone.secrets.new(), keystone.secrets.new()
    rights = {"user": name, "domain": "default", "role": "admin", "project": "admin"}
    project = Registration("keystone", "project", "default/admin", {"name": "admin", "domain": "default"})

    def as_user(token: str) -> Registration:
        return Registration(
            "keystone", "user", f"default/{name}", {"name": name, "domain": "default", "password": token}
        )

    def made(token: str, later: Registry | None = None) -> Registry:
        registrar = keystone.server.registrar(username=name, password=token)
        return Registry([registrar], keystone.secrets.bind, patience=2, proofs=Proofs(), later=later)

    own = Check(
        "login of the administrator",
        "keystone",
        login="keystone",
        connection=dict(keystone.server.registrar(username=name, password="<<secret:own>>").connection),
    )
    others = replace(own, client="nova")
    keystone.converge(as_user(old), Registration("keystone", "role_assignment", f"default/{name}/admin/admin", rights))
    keystone.secrets["own"] = keystone.secrets.bind(old)
    after = Secrets(keystone.secrets, own=keystone.secrets.bind(new))
    with made(
        old, Registry([keystone.server.registrar(username=name, password="<<secret:own>>")], after.bind)
    ) as registry:
        before = registry.identify([project], NOTHING)
        registry.log_in(own)
        keystone.converge(as_user(new))
        # A token of the second in which the password changed does not count.
        wait_for("the project, though the session has ended", lambda: registry.identify([project], NOTHING) == before)
        registry.log_in(own)
        with pytest.raises(errors.Terminal) as caught:
            registry.log_in(others)
        assert caught.value.reason == "RegistrarDenied", "as another host's service it is not let in"
    with made(old) as alone:
        assert alone.identify([project], NOTHING)[0] == {}
        with pytest.raises(errors.Terminal):
            alone.log_in(own)


def test_until_the_change_is_made_the_former_password_lets_this_program_in(keystone: Site, name: str) -> None:
    """Hosts on which a commit changes nothing else have carried it out before the job that changes the password has ended elsewhere."""
    old, new = keystone.secrets.new(), keystone.secrets.new()
    rights = {"user": name, "domain": "default", "role": "admin", "project": "admin"}
    registrar = keystone.server.registrar(username=name, password="<<secret:own>>")
    own = Check("login of the administrator", "keystone", login="keystone", connection=dict(registrar.connection))

    def as_user(token: str) -> Registration:
        return Registration(
            "keystone", "user", f"default/{name}", {"name": name, "domain": "default", "password": token}
        )

    keystone.converge(as_user(old), Registration("keystone", "role_assignment", f"default/{name}/admin/admin", rights))
    before, after = (Secrets(keystone.secrets, own=keystone.secrets.bind(token)) for token in (old, new))
    with Registry([registrar], after.bind, former=Registry([registrar], before.bind)) as registry:
        registry.log_in(own)
        with pytest.raises(errors.Terminal):
            registry.log_in(replace(own, client="nova"))
        # What another service is let in with says nothing of this program's own.
        registry.log_in(replace(own, client="nova", connection=dict(keystone.server.registrar().connection)))
        registry.log_in(own)
        keystone.converge(as_user(new))
        registry.log_in(own)
        keystone.converge(as_user(old))
        with pytest.raises(errors.Terminal) as caught:
            registry.log_in(own)
        assert caught.value.reason == "RegistrarDenied", "it knew the new one: somebody put the former one back"


def test_a_former_administrator_has_another_name(rabbitmq: Site, name: str) -> None:
    old, new = rabbitmq.secrets.new(), rabbitmq.secrets.new()
    former, present = (
        rabbitmq.server.registrar(username=user, password="<<secret:own>>") for user in (name, f"{name}_2")
    )
    before, after = (Secrets(rabbitmq.secrets, own=rabbitmq.secrets.bind(token)) for token in (old, new))
    rabbitmq.converge(
        Registration("rabbitmq", "user", name, {"name": name, "password": old, "tags": ["administrator"]})
    )
    own = Check("login of the administrator", "rabbitmq", login="rabbitmq", connection=dict(present.connection))
    with Registry([present], after.bind, former=Registry([former], before.bind)) as registry:
        registry.log_in(own)
        with pytest.raises(errors.Terminal):
            registry.log_in(replace(own, connection={**own.connection, "username": "somebody"}))
