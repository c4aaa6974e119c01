"""Another name for a user: where it stands, comments kept, and what is left to whoever rotates."""

from collections.abc import Mapping

import pytest

from reconciler.site.users import renamed
from reconciler.source import prepare

USER = "rabbitmq_user"


def files(text: str, **more: str) -> Mapping[str, bytes]:
    return {"globals.yml": text.encode(), **{name: value.encode() for name, value in more.items()}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "rabbitmq_user: openstack_2\n"),
        ("a: b\n", "a: b\nrabbitmq_user: openstack_2\n"),
        ("a: b", "a: b\nrabbitmq_user: openstack_2\n"),
        ("rabbitmq_user: openstack_2  # since May\na: b\n", "rabbitmq_user: openstack_3  # since May\na: b\n"),
        ('rabbitmq_user: "broker-9"\n', "rabbitmq_user: broker-9_2\n"),
        ("rabbitmq_user: 'os_9'\n", "rabbitmq_user: os_10\n"),
    ],
)
def test_it_gets_the_next_name(before: str, after: str) -> None:
    found = renamed(files(before), prepare.shipped(), USER)
    assert found.text == after and not found.refused
    again = renamed(files(after), prepare.shipped(), USER)
    assert again.before == found.after and again.after not in (found.before, found.after)


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        ("rabbitmq_user: '{{ somebody }}'\n", {}, "no plain name"),
        ("rabbitmq_user: 'o b'\n", {}, "no plain name"),
        ("rabbitmq_user:\n  openstack\n", {}, "not laid out"),
        ("{rabbitmq_user: openstack}\n", {}, "not laid out"),
        ("a: b\n", {"groups/control.yml": "rabbitmq_user: other\n"}, "is set in groups/control.yml"),
        ("rabbitmq_user: one\n", {"hosts/ctl1.yml": "rabbitmq_user: other\n"}, "is set in hosts/ctl1.yml"),
    ],
)
def test_what_cannot_be_told_is_left_alone(text: str, more: Mapping[str, str], why: str) -> None:
    found = renamed(files(text, **more), prepare.shipped(), USER)
    assert why in found.refused and not found.text
