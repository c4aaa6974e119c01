"""A changed password: who registers it, who waits for that, and when the former one ends."""

import math
from dataclasses import replace
from typing import Any

import pytest

from reconciler.model import FORMER, Action, Actual, Check, Desired, Memory, Registrar, Registration, Verb
from reconciler.plan import Basis, diff, rotation

TOKEN = "<<secret:nova_database_password>>"
USER = Registration("mariadb", "user", "nova@%", {"name": "nova", "host": "%", "password": TOKEN}, "nova", "ctl1")
GRANT = Registration("mariadb", "grant", "nova@%:nova.*", {"user": "nova", "privileges": ["ALL"]}, "nova", "ctl1")
LOGIN = Check(
    "mariadb login of nova",
    "mariadb",
    login="mariadb",
    client="nova",
    connection={"username": "nova", "password": TOKEN},
)
OWNER = Desired(
    "s", "ctl1", "r1", "/etc/kolla", registrations=(USER, GRANT), registrars=(Registrar("mariadb", {}),), checks=(LOGIN,),
    secrets={"nova_database_password": "one", "database_password": "root"},
)  # fmt: skip
OTHER = replace(OWNER, host="ctl2", registrations=(), registrars=())
ADMINISTERED = replace(OTHER, checks=(replace(LOGIN, client=""),))


def rotated(desired: Desired, name: str = "nova_database_password") -> Desired:
    return replace(desired, revision="r2", secrets={**desired.secrets, name: "another"})


def test_its_owner_registers_it_and_everybody_else_waits_to_be_let_in() -> None:
    assert rotation.registered(OWNER, rotated(OWNER)) == {USER.id}
    assert rotation.awaited(OWNER, rotated(OWNER)) == ()
    assert rotation.registered(OTHER, rotated(OTHER)) == frozenset()
    assert rotation.awaited(OTHER, rotated(OTHER)) == (LOGIN,)


def test_what_a_user_of_another_name_may_do_goes_ahead_with_it() -> None:
    """Let in without it, it would be refused everything."""
    fields = {"name": "nova_2", "host": "%", "password": TOKEN}
    user = replace(USER, key="nova_2@%", fields=fields)
    rights = replace(GRANT, key="nova_2@%:nova.*", fields={**GRANT.fields, "user": "nova_2"})
    other = replace(GRANT, key="glance@%:glance.*", fields={"user": "glance", "privileges": ["ALL"]})
    head = replace(rotated(OWNER), registrations=(user, rights, other))
    assert rotation.registered(OWNER, head) == {user.id, rights.id}
    assert rotation.registered(OWNER, replace(head, registrations=(user, GRANT, other))) == {user.id}


def test_nobody_waits_for_what_is_not_a_changed_password_of_a_user() -> None:
    for base, head in (
        (OTHER, replace(OTHER, revision="r2")),
        (OTHER, rotated(OTHER, "database_password")),
        (ADMINISTERED, rotated(ADMINISTERED)),  # a job of the commit carries it
        (replace(OTHER, secrets={}), OTHER),  # it is new here
        (OTHER, replace(rotated(OTHER), fixed={"nova_database_password": "tell the server first"})),
    ):
        assert rotation.awaited(base, head) == ()


def test_it_enters_anew_where_its_own_credentials_differ() -> None:
    def entering(password: str, user: str = "root") -> Desired:
        return replace(OWNER, registrars=(Registrar("mariadb", {"username": user, "password": password}),))

    base = entering("<<secret:database_password>>")
    assert not rotation.enters_anew(base, rotated(base))
    assert rotation.enters_anew(base, rotated(base, "database_password"))
    assert rotation.enters_anew(base, entering("<<secret:database_password>>", "shard_root"))
    assert not rotation.enters_anew(replace(base, registrars=()), base), "it never was there"


def planned(found: dict[str, Any], former_ends: float) -> tuple[Action, ...]:
    registered = {USER.id: found, GRANT.id: {"privileges": ["ALL"]}}
    actual = Actual({}, {}, {}, registrations=registered, deep=True)
    memory = Memory(revision="r1", last_good=OWNER, registered=OWNER.registrations)
    return diff(OWNER, actual, memory, Basis(contents={}, former_ends=former_ends)).actions


@pytest.mark.parametrize(
    ("age", "ends", "is_ended"),
    [(10.0, 0.0, True), (10.0, 3600.0, False), (3600.0, 3600.0, True), (1e6, math.inf, False)],
)
def test_a_former_password_ends_when_nobody_has_it_any_more(age: float, ends: float, is_ended: bool) -> None:
    found = planned({"password": TOKEN, FORMER: age}, ends)
    assert [(one.verb, one.target, one.ends_former, one.drift) for one in found] == (
        [(Verb.REGISTER, USER.id, True, False)] if is_ended else []
    )


def test_a_password_that_differs_is_put_right_first() -> None:
    (action,) = planned({"password": "<differs>", FORMER: 10.0}, 0.0)
    assert action.drift and not action.ends_former
