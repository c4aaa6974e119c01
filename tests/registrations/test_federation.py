"""Identity providers, what they speak and how they are mapped: as services say them, and on a real Keystone."""

import json
from typing import Any

import pytest

from reconciler.errors import SiteInvalid, Terminal, Transient
from reconciler.model import Registration
from reconciler.render import render
from tests.registrations.conftest import Site
from tests.registrations.test_keystone import Client
from tests.render.sites import make_site

RULES = [
    {"local": [{"user": {"name": "{0}", "email": "{1}"}, "group": {"name": "{2}", "domain": {"name": "Default"}}}],
     "remote": [{"type": "OIDC-preferred_username"}, {"type": "OIDC-email"}, {"type": "OIDC-groups", "any_one_of": ["ops"]}]},
]  # fmt: skip
SERVICE = """
description: Who asks somebody else
containers: {client: {kolla: false, image: x/client:1}}
registrations:
  keystone:
    domains: [{name: people}]
    mappings: [{name: all, rules: RULES}]
    identity_providers:
      - {name: idp, domain: people, description: Log in, remote_ids: [b, a, b], protocols: [{name: openid, mapping: all}]}
      - {name: off, enabled: false}
"""


def rendered(text: str) -> list[Registration]:
    site = make_site({"client/service.yml": text})
    return list(render(site, "ctl1", "0" * 40).registrations)


def test_what_a_service_says_is_read_as_keystone_has_it() -> None:
    found = {item.id: item.fields for item in rendered(SERVICE.replace("RULES", json.dumps(RULES)))}
    assert found == {
        "keystone:domain:people": {"name": "people"},
        "keystone:mapping:all": {"name": "all", "rules": json.dumps(RULES, sort_keys=True)},
        "keystone:identity_provider:idp": {
            "name": "idp", "domain": "people", "description": "Log in", "remote_ids": ["a", "b"],
        },
        "keystone:protocol:idp/openid": {"name": "openid", "provider": "idp", "mapping": "all"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "name", "said"),
    [
        ("[]", "idp", "no list of objects with `local` and `remote`"),
        ("[{local: {}, remote: []}]", "idp", "no list of objects with `local` and `remote`"),
        ("[{remote: []}]", "idp", "no list of objects with `local` and `remote`"),
        ('"{{ 7 }}"', "idp", "no list of objects with `local` and `remote`"),
        ("[{local: [], remote: []}]", "a/b", "is part of addresses"),
        ("[{local: [], remote: []}]", '".."', "is part of addresses"),
        ("[{local: [], remote: []}]", "x" * 65, "is part of addresses"),
    ],
)
def test_what_keystone_could_not_take_is_refused_before(rules: str, name: str, said: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        rendered(SERVICE.replace("RULES", rules).replace("idp", name))
    assert any(said in str(problem) for problem in caught.value.problems)


def wanted(name: str) -> dict[str, Registration]:
    def make(type_: str, key: str, **fields: Any) -> Registration:
        return Registration("keystone", type_, key, fields)

    about = {"domain": name, "description": "Log in", "remote_ids": [f"https://{name}/a", f"https://{name}/b"]}
    return {
        "domain": make("domain", name, name=name),
        "mapping": make("mapping", name, name=name, rules=json.dumps(RULES, sort_keys=True)),
        "provider": make("identity_provider", name, name=name, **about),
        "protocol": make("protocol", f"{name}/openid", name="openid", provider=name, mapping=name),
    }


def changed(item: Registration, **fields: Any) -> Registration:
    return Registration(item.kind, item.type, item.key, {**item.fields, **fields})


@pytest.mark.engine
@pytest.mark.images
def test_from_nothing_to_nothing(keystone: Site, name: str) -> None:
    every = wanted(name)
    assert keystone.observe(*every.values()) == {item.id: None for item in every.values()}
    for early, missing in (("provider", "domain"), ("protocol", "identity provider")):
        with pytest.raises(Transient, match=f"the {missing} .* does not exist yet"):
            keystone.converge(every[early])
    for _ in range(2):
        keystone.converge(*every.values())
        assert keystone.differing(*every.values()) == {}
    client = Client(keystone)
    (there,) = client("GET", f"/OS-FEDERATION/identity_providers/{name}/protocols")["protocols"]
    assert (there["id"], there["mapping_id"]) == ("openid", name)
    provider = client("GET", f"/OS-FEDERATION/identity_providers/{name}")["identity_provider"]
    assert provider["enabled"] and provider["domain_id"] == client.id("domains", name)
    for item in reversed([*every.values()][1:]):
        keystone.registry.withdraw(Registration(item.kind, item.type, item.key))
        keystone.registry.withdraw(Registration(item.kind, item.type, item.key))
    assert keystone.differing(*every.values()) == {item.id: None for item in [*every.values()][1:]}


@pytest.mark.engine
@pytest.mark.images
def test_each_drift_of_federation_is_seen_and_healed_alone(keystone: Site, name: str) -> None:
    every = wanted(name)
    other = changed(every["mapping"], name=f"{name}-2")
    other = Registration(other.kind, other.type, f"{name}-2", other.fields)
    keystone.converge(*every.values(), other)
    client = Client(keystone)
    provider, mapping = f"/OS-FEDERATION/identity_providers/{name}", f"/OS-FEDERATION/mappings/{name}"
    rules = [{**RULES[0], "remote": [{"type": "REMOTE_USER"}]}]
    drifts: list[tuple[str, object, str, object]] = [
        (mapping, {"mapping": {"rules": rules}}, "mapping", {"rules": json.dumps(rules, sort_keys=True)}),
        (provider, {"identity_provider": {"description": "x"}}, "provider", {"description": "x"}),
        (provider, {"identity_provider": {"remote_ids": []}}, "provider", {"remote_ids": []}),
        (f"{provider}/protocols/openid", {"protocol": {"mapping_id": f"{name}-2"}}, "protocol", {"mapping": f"{name}-2"}),
    ]  # fmt: skip
    for path, body, what, seen in drifts:
        client("PATCH", path, body)
        assert keystone.differing(*every.values()) == {every[what].id: seen}
        keystone.converge(every[what])
        assert keystone.differing(*every.values()) == {}
    client("DELETE", provider)
    assert keystone.differing(*every.values()) == {every["provider"].id: None, every["protocol"].id: None}
    keystone.converge(*every.values())
    assert keystone.differing(*every.values()) == {}


@pytest.mark.engine
@pytest.mark.images
def test_what_keystone_does_not_change_is_said_and_what_is_used_stays(keystone: Site, name: str) -> None:
    every = wanted(name)
    keystone.converge(*every.values())
    with pytest.raises(Terminal, match=r"is in the domain .* instead of 'Default', which cannot be changed") as caught:
        keystone.converge(changed(every["provider"], domain="Default"))
    assert caught.value.reason == "RegistrarRefused"
    assert keystone.differing(changed(every["provider"], domain="Default")) == {every["provider"].id: {"domain": name}}
    keystone.registry.withdraw(every["mapping"])
    assert keystone.differing(*every.values()) == {}, "a mapping that a protocol uses stays"
    same = changed(every["provider"], name=f"{name}-2")
    with pytest.raises(Transient, match="Duplicate remote ID"):
        keystone.converge(Registration("keystone", "identity_provider", f"{name}-2", same.fields))
