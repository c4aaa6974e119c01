"""Keystone: catalogue, users and roles on a real Keystone."""

from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler import errors
from reconciler.model import Registration
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry
from tests.registrations.conftest import NOTHING, Site

pytestmark = [pytest.mark.engine, pytest.mark.images]


def service(site: Site, name: str, region: str = "RegionOne") -> dict[str, Registration]:
    """Everything that a service like glance registers, as rendering makes it."""

    def make(type_: str, key: str, **fields: Any) -> Registration:
        return Registration("keystone", type_, key, fields)

    def endpoint(interface: str, url: str) -> Registration:
        fields = {"service": name, "type": "image", "interface": interface, "region": region, "url": url}
        return make("endpoint", f"{name}/{interface}/{region}", **fields)

    password = site.secrets.new()
    return {
        "service": make("service", name, name=name, type="image", description=f"{name}'s", enabled=True),
        "internal": endpoint("internal", "http://10.0.0.1:9292/%(tenant_id)s"),
        "public": endpoint("public", "https://cloud:9292"),
        "project": make("project", f"default/{name}", name=name, domain="default"),
        "role": make("role", name, name=name),
        "user": make("user", f"default/{name}", name=name, domain="default", password=password, email="x@y"),
        "assignment": make(
            "role_assignment", f"default/{name}/{name}/{name}", user=name, domain="default", role=name, project=name
        ),
    }


class Client:
    """Plain requests as admin, or as anybody."""

    def __init__(self, site: Site) -> None:
        self.site, self.url = site, f"http://127.0.0.1:{site.server.port}/v3"
        answer = self.login("admin", site.server.admin)
        assert answer.status_code == 201
        self.headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}

    def login(self, name: str, password: str, project: str = "") -> requests.Response:
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        where = {"project": {"name": project or name, "domain": {"id": "default"}}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": where}
        return requests.post(f"{self.url}/auth/tokens", json={"auth": auth}, timeout=20)

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        answer = requests.request(method, self.url + path, json=body, headers=self.headers, timeout=20)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def id(self, collection: str, name: str) -> str:
        found = [item["id"] for item in self("GET", f"/{collection}")[collection] if item.get("name") == name]
        assert len(found) == 1
        return str(found[0])


def test_a_service_from_nothing_to_a_working_login(keystone: Site, name: str) -> None:
    wanted = [*service(keystone, name, f"region-{name}").values()]
    assert keystone.observe(*wanted) == {registration.id: None for registration in wanted}
    keystone.converge(*wanted)
    assert keystone.differing(*wanted) == {}
    token = wanted[5].fields["password"]
    answer = Client(keystone).login(name, keystone.secrets.bind(token))
    catalogue = {entry["name"]: entry for entry in answer.json()["token"]["catalog"]}
    assert {endpoint["region_id"] for endpoint in catalogue[name]["endpoints"]} == {f"region-{name}"}
    assert [role["name"] for role in answer.json()["token"]["roles"]] == [name]


_names = st.text(
    st.characters(
        min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["C", "Z"], include_characters=" /|%&?#\\"
    ),
    min_size=1,
    max_size=20,
).filter(lambda text: text == text.strip())


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd=_names)
@example(odd="a/b|c\\ &?#%'")
def test_any_name_converges_to_no_difference(keystone: Site, name: str, odd: str) -> None:
    wanted = service(keystone, odd + name)
    keystone.converge(*wanted.values())
    assert keystone.differing(*wanted.values()) == {}
    for registration in reversed([*wanted.values()]):
        keystone.registry.withdraw(registration)
    observed = keystone.observe(*wanted.values())
    assert observed == dict.fromkeys(observed)


def _fresh(site: Site) -> Site:
    """Another process's view: nothing proved yet."""
    return Site(
        site.server, site.secrets, Registry([site.server.registrar()], site.secrets.bind, patience=5, proofs=Proofs())
    )


def test_each_drift_is_seen_and_healed_alone(keystone: Site, name: str) -> None:
    wanted = service(keystone, name)
    keystone.converge(*wanted.values())
    client = Client(keystone)
    endpoints = client("GET", f"/endpoints?service_id={client.id('services', name)}")["endpoints"]
    internal = next(item for item in endpoints if item["interface"] == "internal")
    public = next(item for item in endpoints if item["interface"] == "public")
    copy = {
        "service_id": internal["service_id"],
        "interface": "internal",
        "region_id": "RegionOne",
        "url": "http://other",
    }
    user, project, role = (client.id(kind, name) for kind in ("users", "projects", "roles"))
    service_id = client.id("services", name)
    assignment = f"/projects/{project}/users/{user}/roles/{role}"
    drifts: list[tuple[str, str, object, str, object]] = [
        ("PATCH", f"/endpoints/{internal['id']}", {"endpoint": {"url": "http://x"}}, "internal", {"url": "http://x"}),
        ("POST", "/endpoints", {"endpoint": copy}, "internal", "duplicate"),
        (
            "PATCH",
            f"/endpoints/{public['id']}",
            {"endpoint": {"enabled": False}},
            "public",
            {"url": "https://cloud:9292 (disabled)"},
        ),
        ("DELETE", f"/endpoints/{public['id']}", None, "public", None),
        ("PATCH", f"/services/{service_id}", {"service": {"type": "volume"}}, "service", {"type": "volume"}),
        ("PATCH", f"/services/{service_id}", {"service": {"enabled": False}}, "service", {"enabled": False}),
        ("DELETE", assignment, None, "assignment", None),
        ("PATCH", f"/users/{user}", {"user": {"password": "behind our back"}}, "user", {"password": "<differs>"}),
        ("PATCH", f"/users/{user}", {"user": {"enabled": False}}, "user", {"password": "<differs> (disabled)"}),
        ("PATCH", f"/users/{user}", {"user": {"email": "other@y"}}, "user", {"email": "other@y"}),
    ]
    for method, path, body, what, seen in drifts:
        client(method, path, body)
        site = _fresh(keystone)
        differing = site.differing(*wanted.values())
        if seen == "duplicate":
            assert set(differing) == {wanted[what].id}
            assert "http://other" in str(differing)
        else:
            assert differing == {wanted[what].id: seen}
        site.converge(wanted[what])
        assert site.differing(*wanted.values()) == {}
        site.registry.close()


def test_tokens_outlive_a_convergence_that_changes_nothing(keystone: Site, name: str) -> None:
    wanted = service(keystone, name)
    keystone.converge(*wanted.values())
    client = Client(keystone)
    token = client.login(name, keystone.secrets.bind(wanted["user"].fields["password"])).headers["X-Subject-Token"]
    site = _fresh(keystone)
    site.converge(*wanted.values())
    site.registry.close()
    answer = requests.get(f"{client.url}/auth/projects", headers={"X-Auth-Token": token}, timeout=20)
    assert answer.status_code == 200


def test_a_password_is_tried_once_and_again_only_after_a_while(keystone: Site, name: str) -> None:
    wanted = service(keystone, name)["user"]
    keystone.converge(wanted)
    assert keystone.differing(wanted) == {}
    client = Client(keystone)
    client("PATCH", f"/users/{client.id('users', name)}", {"user": {"password": "behind our back"}})
    assert keystone.differing(wanted) == {}  # proved a moment ago
    proofs = Proofs(recheck=0.0)
    with Registry([keystone.server.registrar()], keystone.secrets.bind, proofs=proofs) as registry:
        observed, _ = registry.observe([wanted], NOTHING)
        assert observed[wanted.id] is not None
        assert observed[wanted.id]["password"] == "<differs>"
    keystone.secrets["rotated"] = "another long password"
    rotated = Registration("keystone", "user", wanted.key, {"password": "<<secret:rotated>>"})
    assert keystone.differing(rotated) == {rotated.id: {"password": "<differs>"}}  # another secret is tried at once


def test_what_others_use_stays(keystone: Site, name: str) -> None:
    wanted = service(keystone, name)
    keystone.converge(*wanted.values())
    for what in ("project", "role"):
        keystone.registry.withdraw(wanted[what])
    assert keystone.differing(*wanted.values()) == {}
    keystone.registry.withdraw(Registration("keystone", "role", "admin"))
    with pytest.raises(errors.Terminal) as caught:
        keystone.registry.withdraw(Registration("keystone", "user", "default/admin"))
    assert caught.value.reason == "RegistrarRefused"
    assert Client(keystone).login("admin", keystone.server.admin).status_code == 201


def test_roles_on_the_system_and_in_a_domain_of_its_own(keystone: Site, name: str) -> None:
    wanted = [
        Registration("keystone", "domain", name, {"description": "for stacks"}),
        Registration("keystone", "project", f"{name}/{name}"),
        Registration("keystone", "user", f"{name}/{name}", {"password": keystone.secrets.new()}),
        Registration("keystone", "role_assignment", f"{name}/{name}/system/reader"),
        Registration("keystone", "role_assignment", f"{name}/{name}/{name}/reader"),
    ]
    with pytest.raises(errors.Transient, match="domain"):
        keystone.converge(wanted[1])
    keystone.converge(*wanted)
    assert keystone.differing(*wanted) == {}
    for registration in reversed(wanted[1:]):
        keystone.registry.withdraw(registration)
    assert keystone.differing(*wanted) == {registration.id: None for registration in wanted[1:]}


def test_a_user_of_a_domain_has_roles_on_that_domain_alone(keystone: Site, name: str) -> None:
    token = keystone.secrets.new()
    fields = {"user": name, "domain": name, "role": "admin", "on_domain": name}
    wanted = [
        Registration("keystone", "domain", name, {"description": "for stacks"}),
        Registration("keystone", "user", f"{name}/{name}", {"password": token}),
        Registration("keystone", "role_assignment", f"{name}/{name}/domain/admin", fields),
    ]
    with pytest.raises(errors.Transient, match="does not exist yet"):
        keystone.converge(wanted[2])
    keystone.converge(*wanted)
    assert keystone.differing(*wanted) == {}
    client = Client(keystone)
    user = {"name": name, "domain": {"name": name}, "password": keystone.secrets.bind(token)}
    where = {"domain": {"name": name}}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": where}
    answer = requests.post(f"{client.url}/auth/tokens", json={"auth": auth}, timeout=20)
    assert "admin" in {role["name"] for role in answer.json()["token"]["roles"]}
    (held,) = client("GET", f"/role_assignments?user.id={answer.json()['token']['user']['id']}")["role_assignments"]
    assert set(held["scope"]) == {"domain"}
    keystone.registry.withdraw(Registration("keystone", "role_assignment", wanted[2].key))
    assert keystone.differing(*wanted) == {wanted[2].id: None}
    assert requests.post(f"{client.url}/auth/tokens", json={"auth": auth}, timeout=20).status_code == 401


def test_a_role_of_a_user_that_somebody_else_makes_goes_alone(keystone: Site, name: str) -> None:
    role = Registration("keystone", "role", name)
    fields = {"user": "admin", "domain": "default", "role": name, "project": "admin"}
    wanted = Registration("keystone", "role_assignment", f"default/admin/admin/{name}", fields)
    keystone.converge(role, wanted)
    client = Client(keystone)
    held = client.login("admin", keystone.server.admin).json()["token"]["roles"]
    assert name in {item["name"] for item in held} and len(held) > 1
    keystone.registry.withdraw(wanted)
    left = client.login("admin", keystone.server.admin).json()["token"]["roles"]
    assert {item["name"] for item in held} - {item["name"] for item in left} == {name}


def test_an_endpoint_needs_its_service(keystone: Site, name: str) -> None:
    with pytest.raises(errors.Transient, match="does not exist yet"):
        keystone.converge(service(keystone, name)["public"])
