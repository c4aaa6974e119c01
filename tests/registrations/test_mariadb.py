"""MariaDB: databases, users and grants on a real server."""

import pymysql
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler import errors
from reconciler.model import FORMER, Registration
from tests.registrations.conftest import Site, connect

pytestmark = [pytest.mark.engine, pytest.mark.images]


def service(site: Site, name: str, database: str = "", privileges: tuple[str, ...] = ("ALL",)) -> list[Registration]:
    """A database, a user with a secret password, and a grant, as rendering makes them."""
    database = database or name
    who = {"host": "%", "password": site.secrets.new()}
    grant = {"user": name, "host": "%", "database": database, "table": "*", "grant_option": False}
    options = {"character_set": "utf8mb4", "collation": "utf8mb4_bin"}
    return [
        Registration("mariadb", "database", database, {"name": database, **options}),
        Registration("mariadb", "user", f"{name}@%", {"name": name, **who}),
        Registration("mariadb", "grant", f"{name}@%:{database}.*", {**grant, "privileges": [*privileges]}),
    ]


def admin(site: Site, statement: str, *values: str) -> list[tuple[object, ...]]:
    with connect(site.server, "root", site.server.admin) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def test_a_service_from_nothing_to_a_working_login(mariadb: Site, name: str) -> None:
    wanted = service(mariadb, name)
    assert mariadb.observe(*wanted) == {registration.id: None for registration in wanted}
    mariadb.converge(*wanted)
    assert mariadb.differing(*wanted) == {}
    token = wanted[1].fields["password"]
    assert mariadb.observe(wanted[1]) == {wanted[1].id: {"password": token}}
    with connect(mariadb.server, name, mariadb.secrets.bind(token)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name}.one (x int)")
        cursor.execute("SHOW DATABASES")
        assert (name,) in cursor.fetchall()


_names = st.text(
    st.characters(
        min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C", "Z"], include_characters=" `'\"%_\\@/;"
    ),
    min_size=1,
    max_size=24,
).filter(lambda text: text == text.strip() and not text.startswith("#mysql50#"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=_names, database=_names, password=st.text(min_size=1, max_size=40).filter(lambda t: t.isprintable()))
@example(user="o'brien`%s", database="a`b_c%d\\e'f\"g", password="%s'\"\\")
@example(user="a@b", database="nova_api", password="x" * 30)
@example(user="u", database="a\\", password="y" * 30)
def test_any_name_converges_to_no_difference(mariadb: Site, user: str, database: str, password: str) -> None:
    wanted = service(mariadb, user, database, ("SELECT", "create temporary tables"))
    mariadb.secrets[wanted[1].fields["password"].removeprefix("<<secret:").removesuffix(">>")] = password
    try:
        mariadb.converge(*wanted)
        assert mariadb.differing(*wanted) == {}
        connect(mariadb.server, user, password).close()
        for registration in reversed(wanted[1:]):
            mariadb.registry.withdraw(registration)
        assert mariadb.observe(*wanted[1:]) == {wanted[1].id: None, wanted[2].id: None}
    finally:
        admin(mariadb, "DROP USER IF EXISTS %s@'%%'", user)
        admin(mariadb, "DROP DATABASE IF EXISTS `" + database.replace("`", "``").replace("%", "%%") + "`")


@pytest.mark.parametrize(
    ("drift", "index", "seen"),
    [
        ("SET PASSWORD FOR '{name}'@'%%' = PASSWORD('behind our back')", 1, {"password": "<differs>"}),
        ("ALTER USER '{name}'@'%%' IDENTIFIED VIA unix_socket", 1, {"password": "<differs> (unix_socket)"}),
        ("REVOKE INSERT ON `{name}`.* FROM '{name}'@'%%'", 2, {"privileges": ["SELECT"]}),
        ("GRANT DROP ON `{name}`.* TO '{name}'@'%%'", 2, {"privileges": ["DROP", "INSERT", "SELECT"]}),
        ("GRANT ALL ON `{name}`.* TO '{name}'@'%%'", 2, {"privileges": ["ALL PRIVILEGES"]}),
        (
            "GRANT SELECT ON `{name}`.* TO '{name}'@'%%' WITH GRANT OPTION",
            2,
            {"grant_option": True},
        ),
        ("REVOKE ALL ON `{name}`.* FROM '{name}'@'%%'", 2, None),
        (
            "ALTER DATABASE `{name}` CHARACTER SET latin1",
            0,
            {"character_set": "latin1", "collation": "latin1_swedish_ci"},
        ),
        ("DROP DATABASE `{name}`", 0, None),
    ],
)
def test_each_drift_is_seen_and_healed_alone(
    mariadb: Site, name: str, drift: str, index: int, seen: dict[str, object] | None
) -> None:
    wanted = service(mariadb, name, privileges=("SELECT", "INSERT"))
    mariadb.converge(*wanted)
    admin(mariadb, drift.format(name=name))
    assert mariadb.differing(*wanted) == {wanted[index].id: seen}
    mariadb.converge(wanted[index])
    assert mariadb.differing(*wanted) == {}


def test_nothing_is_written_when_nothing_differs(mariadb: Site, name: str) -> None:
    wanted = service(mariadb, name)
    mariadb.converge(*wanted)
    before = admin(mariadb, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_create_db','Com_alter_db','Com_create_user',"
                            "'Com_alter_user','Com_grant','Com_revoke','Com_set_option')")  # fmt: skip
    mariadb.converge(*wanted)
    after = admin(mariadb, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_create_db','Com_alter_db','Com_create_user',"
                           "'Com_alter_user','Com_grant','Com_revoke')")  # fmt: skip
    assert set(after) <= set(before)


def test_grants_as_kolla_ansible_writes_them_are_taken_as_they_are(mariadb: Site, name: str) -> None:
    database = f"{name}_api"
    wanted = service(mariadb, name, database)
    mariadb.converge(*wanted[:2])
    admin(mariadb, f"GRANT ALL ON `{database}`.* TO '{name}'@'%%'")
    assert mariadb.differing(*wanted) == {}
    mariadb.converge(wanted[2])
    assert len(admin(mariadb, "SHOW GRANTS FOR %s@'%%'", name)) == 2  # USAGE, and the one that was there


def test_a_grant_needs_its_user_and_never_makes_one(mariadb: Site, name: str) -> None:
    with pytest.raises(errors.Transient, match="does not exist yet") as caught:
        mariadb.converge(service(mariadb, name)[2])
    assert caught.value.reason == "RegistrarRefused"
    assert admin(mariadb, "SELECT 1 FROM mysql.user WHERE User = %s", name) == []


def test_withdrawing_keeps_data_and_ourselves(mariadb: Site, name: str) -> None:
    wanted = service(mariadb, name)
    mariadb.converge(*wanted)
    for registration in wanted[1:]:
        mariadb.registry.withdraw(Registration("mariadb", registration.type, registration.key))
        mariadb.registry.withdraw(Registration("mariadb", registration.type, registration.key))
    assert mariadb.differing(*wanted) == {wanted[1].id: None, wanted[2].id: None}
    with pytest.raises(errors.Terminal) as caught:
        mariadb.registry.withdraw(Registration("mariadb", "database", name))
    assert caught.value.reason == "HoldsData"
    with pytest.raises(errors.Terminal) as caught:
        mariadb.registry.withdraw(Registration("mariadb", "user", "root@%"))
    assert caught.value.reason == "RegistrarRefused"
    assert mariadb.differing(wanted[0]) == {}


def test_privileges_on_all_databases(mariadb: Site, name: str) -> None:
    wanted = service(mariadb, name)
    everything = Registration("mariadb", "grant", f"{name}@%:*.*", {"privileges": ["PROCESS", "REPLICATION CLIENT"]})
    mariadb.converge(*wanted[:2], everything)
    assert mariadb.differing(everything) == {}
    admin(mariadb, f"GRANT ALL ON *.* TO '{name}'@'%%'")
    assert mariadb.differing(everything) == {everything.id: {"privileges": ["ALL PRIVILEGES"]}}
    mariadb.converge(everything)
    assert mariadb.differing(everything) == {}
    mariadb.registry.withdraw(everything)
    assert mariadb.observe(everything) == {everything.id: None}


def test_a_connection_that_the_server_closed_is_made_anew(mariadb: Site, name: str) -> None:
    wanted = service(mariadb, name)
    mariadb.converge(*wanted)
    for (identity,) in admin(
        mariadb, "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = 'root'"
    ):
        admin(mariadb, f"KILL {identity}")
    assert mariadb.differing(*wanted) == {}


@pytest.mark.parametrize("privileges", [["ALL; DROP DATABASE mysql"], [], ["`x`"]])
def test_privileges_are_words(mariadb: Site, name: str, privileges: list[str]) -> None:
    wanted = service(mariadb, name)
    mariadb.converge(*wanted)
    with pytest.raises(errors.Terminal) as caught:
        mariadb.converge(Registration("mariadb", "grant", wanted[2].key, {"privileges": privileges}))
    assert caught.value.reason == "RegistrarRefused"


def test_no_password_of_ours_logs_in_after_it_was_rotated(mariadb: Site, name: str) -> None:
    wanted = service(mariadb, name)
    mariadb.converge(*wanted)
    rotated = Registration(
        "mariadb", "user", wanted[1].key, {"password": mariadb.secrets.new(), "name": name, "host": "%"}
    )
    assert mariadb.differing(rotated) == {rotated.id: {"password": "<differs>"}}
    mariadb.converge(rotated)
    connect(mariadb.server, name, mariadb.secrets.bind(rotated.fields["password"])).close()
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        connect(mariadb.server, name, mariadb.secrets.bind(wanted[1].fields["password"]))


def test_a_former_password_counts_until_it_is_ended(mariadb: Site, name: str) -> None:
    """Both are let in, by the client that OpenStack has and by this program; a third is not, and of two former ones the later counts."""

    def let_in(token: str) -> bool:
        try:
            connect(mariadb.server, name, mariadb.secrets.bind(token)).close()
        except pymysql.OperationalError as error:
            assert "Access denied" in str(error)
            return False
        return True

    def as_user(token: str) -> Registration:
        return Registration("mariadb", "user", f"{name}@%", {"name": name, "host": "%", "password": token})

    first, second, third = (mariadb.secrets.new() for _ in range(3))
    mariadb.registry.converge(as_user(first), overlap=True)
    assert mariadb.observe(as_user(first)) == {as_user(first).id: {"password": first}}, "a new user has no former one"
    mariadb.registry.end_former(as_user(first))
    for _ in range(2):  # a pass that was killed does it again
        mariadb.registry.converge(as_user(second), overlap=True)
        (found,) = mariadb.observe(as_user(second)).values()
        assert isinstance(found, dict) and found["password"] == second and found[FORMER] >= 0.0
    assert [let_in(token) for token in (first, second, third)] == [True, True, False]
    mariadb.converge(as_user(second))
    assert let_in(first), "what is as it should be is left alone"
    mariadb.registry.end_former(as_user(third))
    assert let_in(first), "only under the password that is to be"
    mariadb.registry.end_former(as_user(second))
    assert [let_in(token) for token in (first, second)] == [False, True]
    assert mariadb.observe(as_user(second)) == {as_user(second).id: {"password": second}}

    for token in (first, third):
        mariadb.registry.converge(as_user(token), overlap=True)
    assert [let_in(token) for token in (second, first, third)] == [False, True, True]
    mariadb.converge(as_user(second))
    assert [let_in(token) for token in (second, first, third)] == [True, False, False], "what drifted ends at once"
