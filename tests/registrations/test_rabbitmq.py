"""RabbitMQ: virtual hosts, users and permissions on a real broker."""

from urllib.parse import quote

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler import errors
from reconciler.model import Registration
from tests.registrations.conftest import Site

pytestmark = [pytest.mark.engine, pytest.mark.images]


def service(site: Site, name: str, vhost: str = "") -> list[Registration]:
    """A virtual host, a user with a secret password, and its permissions, as rendering makes them."""
    vhost = vhost or f"/{name}"
    user = {"name": name, "password": site.secrets.new(), "tags": ["monitoring"]}
    rights = {"configure": ".*", "write": "^x$", "read": ".*"}
    return [
        Registration("rabbitmq", "vhost", vhost, {"name": vhost}),
        Registration("rabbitmq", "user", name, user),
        Registration("rabbitmq", "permission", f"{name}@{vhost}", {"user": name, "vhost": vhost, **rights}),
    ]


def call(
    site: Site, method: str, *parts: str, body: object = None, auth: tuple[str, str] | None = None
) -> requests.Response:
    url = f"http://127.0.0.1:{site.server.port}/api/" + "/".join(quote(part, safe="") for part in parts)
    user, password = auth or ("admin", site.server.admin)
    return requests.request(method, url, json=body, auth=(user.encode(), password.encode()), timeout=10)  # type: ignore[arg-type]


def test_a_service_from_nothing_to_a_working_login(rabbitmq: Site, name: str) -> None:
    wanted = service(rabbitmq, name)
    assert rabbitmq.observe(*wanted) == {registration.id: None for registration in wanted}
    rabbitmq.converge(*wanted)
    assert rabbitmq.differing(*wanted) == {}
    password = rabbitmq.secrets.bind(wanted[1].fields["password"])
    assert call(rabbitmq, "GET", "whoami", auth=(name, password)).json()["tags"] == ["monitoring"]
    assert rabbitmq.observe(wanted[1])[wanted[1].id] == {
        "password": wanted[1].fields["password"],
        "tags": ["monitoring"],
    }


_names = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["C", "Z"], include_characters=" /@%:\\"),
    min_size=1,
    max_size=24,
).filter(lambda text: text == text.strip() and text not in (".", ".."))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=_names.filter(lambda text: ":" not in text), vhost=_names, password=st.text(min_size=1, max_size=40))
@example(user="a@b/c", vhost="/", password="p:w€%")
@example(user="a\\", vhost="@\\/", password="x")
def test_any_name_converges_to_no_difference(rabbitmq: Site, user: str, vhost: str, password: str) -> None:
    wanted = service(rabbitmq, user, vhost)
    rabbitmq.secrets[wanted[1].fields["password"].removeprefix("<<secret:").removesuffix(">>")] = password
    try:
        rabbitmq.converge(*wanted)
        assert rabbitmq.differing(*wanted) == {}
        assert call(rabbitmq, "GET", "whoami", auth=(user, password)).json()["name"] == user
        for registration in reversed(wanted[1:]):
            rabbitmq.registry.withdraw(registration)
        assert rabbitmq.observe(*wanted[1:]) == {wanted[1].id: None, wanted[2].id: None}
    finally:
        call(rabbitmq, "DELETE", "users", user)
        if vhost != "/":
            call(rabbitmq, "DELETE", "vhosts", vhost)


@pytest.mark.parametrize(
    ("method", "path", "body", "index", "seen"),
    [
        ("PUT", "users/{name}", {"password": "behind our back", "tags": "monitoring"}, 1, {"password": "<differs>"}),
        ("PUT", "users/{name}", {"password_hash": "", "tags": "monitoring"}, 1, {"password": "<differs>"}),
        ("PUT", "permissions//{name}/{name}", {"configure": "", "write": "^x$", "read": ".*"}, 2, {"configure": ""}),
        ("DELETE", "permissions//{name}/{name}", None, 2, None),
    ],
)
def test_each_drift_is_seen_and_healed_alone(
    rabbitmq: Site, name: str, method: str, path: str, body: object, index: int, seen: object
) -> None:
    wanted = service(rabbitmq, name)
    rabbitmq.converge(*wanted)
    parts = ["permissions", f"/{name}", name] if path.startswith("perm") else ["users", name]
    assert call(rabbitmq, method, *parts, body=body).ok
    assert rabbitmq.differing(*wanted) == {wanted[index].id: seen}
    rabbitmq.converge(wanted[index])
    assert rabbitmq.differing(*wanted) == {}


def test_tags_are_healed_without_touching_the_password(rabbitmq: Site, name: str) -> None:
    wanted = service(rabbitmq, name)
    rabbitmq.converge(*wanted)
    before = call(rabbitmq, "GET", "users", name).json()
    body = {
        "password_hash": before["password_hash"],
        "hashing_algorithm": before["hashing_algorithm"],
        "tags": "administrator",
    }
    assert call(rabbitmq, "PUT", "users", name, body=body).ok
    assert rabbitmq.differing(*wanted) == {wanted[1].id: {"tags": ["administrator"]}}
    rabbitmq.converge(*wanted)
    assert call(rabbitmq, "GET", "users", name).json() == before


def test_a_permission_needs_user_and_vhost(rabbitmq: Site, name: str) -> None:
    wanted = service(rabbitmq, name)
    for missing in ("vhost", "user"):
        with pytest.raises(errors.Transient, match=f"{missing} .* does not exist yet"):
            rabbitmq.converge(wanted[2])
        rabbitmq.converge(wanted[0])
    assert rabbitmq.observe(wanted[2]) == {wanted[2].id: None}


def test_withdrawing_keeps_data_and_ourselves(rabbitmq: Site, name: str) -> None:
    wanted = service(rabbitmq, name)
    rabbitmq.converge(*wanted)
    for registration in (*wanted[1:], *wanted[1:]):
        rabbitmq.registry.withdraw(Registration("rabbitmq", registration.type, registration.key))
    with pytest.raises(errors.Terminal) as caught:
        rabbitmq.registry.withdraw(Registration("rabbitmq", "vhost", wanted[0].key))
    assert caught.value.reason == "HoldsData"
    with pytest.raises(errors.Terminal) as caught:
        rabbitmq.registry.withdraw(Registration("rabbitmq", "user", "admin"))
    assert caught.value.reason == "RegistrarRefused"
    assert rabbitmq.differing(wanted[0]) == {}


@pytest.mark.parametrize("name_", [".", "..", ""])
def test_a_name_that_would_be_another_resource_is_refused(rabbitmq: Site, name_: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        rabbitmq.registry.withdraw(Registration("rabbitmq", "user", name_))
    assert caught.value.reason == "RegistrarRefused"
