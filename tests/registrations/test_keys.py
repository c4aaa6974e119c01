"""What is withdrawn may have a key only: it is about the same as the fields that made the key."""

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.errors import Terminal
from reconciler.model import Registration
from reconciler.reasons import Reason
from reconciler.registrations import keys
from reconciler.registrations.keystone import keys as keystone
from reconciler.registrations.keystone.keys import Assignment
from reconciler.registrations.mariadb import keys as mariadb
from reconciler.registrations.neutron.backend import _subnet
from reconciler.registrations.rabbitmq import keys as rabbitmq

EVERY: list[tuple[Callable[[Registration], Any], str, dict[str, Any], Any]] = [
    (keystone.in_domain, "default/a/b", {"domain": "default", "name": "a/b"}, ("default", "a/b")),
    (keystone.protocol, "corp/openid", {"provider": "corp", "name": "openid"}, ("corp", "openid")),
    (
        keystone.endpoint,
        "a/b/internal/one",
        {"service": "a/b", "interface": "internal", "region": "one"},
        ("a/b", "internal", "one"),
    ),
    (
        keystone.role_assignment,
        "default/a/b/service/admin",
        {"domain": "default", "user": "a/b", "project": "service", "role": "admin"},
        Assignment("default", "a/b", "project", "service", "admin"),
    ),
    (
        keystone.role_assignment,
        "default/nova/system/admin",
        {"domain": "default", "user": "nova", "system": True, "role": "admin"},
        Assignment("default", "nova", "system", "", "admin"),
    ),
    (mariadb.user, "a@b@%", {"name": "a@b", "host": "%"}, ("a@b", "%")),
    (mariadb.grant, "a@b@%:c:d.*", {"user": "a@b", "host": "%:c", "database": "d"}, ("a@b", "%:c", "d")),
    (rabbitmq.permission, "nova@/a@b", {"user": "nova", "vhost": "/a@b"}, ("nova", "/a@b")),
    (_subnet, "a/b/c", {"network": "a/b", "name": "c"}, ("a/b", "c")),
]


def about(key: str, **fields: Any) -> Registration:
    return Registration("kind", "type", key, fields, owner="ctl1", service="s")


@pytest.mark.parametrize(("read", "key", "fields", "expected"), EVERY)
def test_a_key_alone_says_what_its_fields_say(
    read: Callable[[Registration], Any], key: str, fields: dict[str, Any], expected: Any
) -> None:
    assert read(about(key)) == read(about(key, **fields)) == expected
    assert read(about("of no use", **fields)) == expected, "the fields say it plainly"


@pytest.mark.parametrize("read", dict.fromkeys(read for read, *_ in EVERY))
def test_a_key_that_cannot_be_cut_is_refused(read: Callable[[Registration], Any]) -> None:
    with pytest.raises(Terminal, match="kind:type:nothing does not say what it is about") as caught:
        read(about("nothing"))
    assert caught.value.reason is Reason.RegistrarRefused


def test_a_pair_is_cut_at_the_side_that_its_kind_says() -> None:
    assert keys.pair(about("a/b/c"), "first", "second", "/") == ("a", "b/c")
    assert keys.pair(about("a/b/c"), "first", "second", "/", last=True) == ("a/b", "c")
    assert keys.pair(about("a/b/c", first="x"), "first", "second", "/") == ("a", "b/c"), "half a pair says nothing"
