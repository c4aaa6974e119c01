"""Identifiers that only the cloud knows: a name in desired state, and a value when a file is written."""

import base64
from dataclasses import replace

import pytest

from reconciler.errors import SiteInvalid, Terminal
from reconciler.model import Actual, Desired
from reconciler.node.target import make_target
from reconciler.reasons import Reason
from reconciler.render import digest, tokens
from reconciler.review.shape import text_diff
from reconciler.source.prepare import Prepared
from tests.render.sites import file, rendered

SERVICE = """
    containers:
      app:
        image: x/app:1
        command: app
        files: [{name: app.conf, template: app.conf.j2, destination: /etc/app/app.conf, format: text}]
    provides: {keystone: {url: "http://127.0.0.1:5000", username: admin, password: p}}
    registrations:
      keystone:
        projects: [{name: service}, {name: Bad name}]
        users: [{name: app, project: service, roles: [admin], password: p}]
        services: [{name: app, type: app, endpoints: {public: "http://a"}}]
        roles: [{name: admin}]
"""
PROJECT = "keystone:project:default/service"
TOKEN = f"<<id:{PROJECT}>>"
KNOWN = {PROJECT: "f0e1d2c3b4a5"}


def site(text: str, body: str = SERVICE) -> Desired:
    return rendered(body, templates={"app.conf.j2": text})


def refusal(text: str, body: str = SERVICE) -> str:
    with pytest.raises(SiteInvalid) as caught:
        site(text, body)
    return "\n".join(str(problem) for problem in caught.value.problems)


def actual(identifiers: dict[str, str]) -> Actual:
    return Actual({}, {}, {}, identifiers=identifiers)


def written(text: str) -> str:
    return make_target(Prepared(site(text), {})).bound(actual(KNOWN)).contents["app/app.conf"].decode()


def test_a_file_holds_the_name_of_an_identifier_until_it_is_written() -> None:
    desired = site(f"project = {{{{ id_of('{PROJECT}') }}}}\n")
    assert file(desired, "app/app.conf").content == f"project = {TOKEN}\n"
    assert file(desired, "app/app.conf").secrets == () and desired.secrets == {}, "it is no secret"
    target = make_target(Prepared(desired, {}))
    assert "app/app.conf" not in target.contents and "app" not in target.files_digest, "unknown is not empty"
    assert target.bound(actual({})) is target and target.bound(actual({"keystone:role:admin": "1"})) is target
    bound = target.bound(actual(KNOWN))
    assert bound.contents["app/app.conf"] == b"project = f0e1d2c3b4a5\n"
    assert bound.contents.keys() == {item.path for item in desired.files}
    assert bound.desired is desired and bound.part_digest == target.part_digest
    assert bound.files_digest["app"] != target.bound(actual({PROJECT: "another"})).files_digest["app"]


def test_filters_are_carried_out_when_it_is_written() -> None:
    ask = f"id_of('{PROJECT}')"
    assert written(f"{{{{ {ask} | b64encode }}}}\n") == base64.b64encode(b"f0e1d2c3b4a5").decode() + "\n"
    assert (
        written(f"{{{{ ('a/' ~ {ask}) | b64encode | to_json }}}}\n")
        == f'"{base64.b64encode(b"a/f0e1d2c3b4a5").decode()}"\n'
    )
    assert written(f"{{{{ {{'id': [{ask}]}} | to_json }}}}\n") == '{"id": ["f0e1d2c3b4a5"]}\n'


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("keystone:project:default/servcie", "no service of this site registers that"),
        ("keystone:project:service", "no service of this site registers that"),
        ("mariadb:database:app", "no service of this site registers that"),
        ("keystone:role_assignment:default/app/service/admin", "no role_assignment of keystone has one"),
        ("keystone:endpoint:app/public/RegionOne", "no endpoint of keystone has one"),
        ("keystone:flavour:amphora", "no flavour of keystone has one"),
        ("service", "keystone:project:default/service"),
        ("keystone:project:default/Bad name", "is not how a registration is called"),
        ("keystone:project:a>><<secret:b", "is not how a registration is called"),
        ("", "is not how a registration is called"),
    ],
)  # fmt: skip
def test_only_what_a_service_registers_has_an_identifier(name: str, said: str) -> None:
    assert said in refusal(f"a = {{{{ id_of('{name}') }}}}\n")


def test_what_the_registrar_rests_on_cannot_wait_for_its_answer() -> None:
    body = SERVICE.replace("password: p}}", "password: p, needs: [app]}}")
    assert body != SERVICE and site("a = 1\n", body)
    assert "these wait for each other: app → app" in refusal(f"a = {{{{ id_of('{PROJECT}') }}}}\n", body)


def test_a_slip_of_the_pen_is_told() -> None:
    assert PROJECT in refusal("a = {{ id_of('keystone:project:default/servcie') }}\n")


@pytest.mark.parametrize(
    "text",
    [
        "{% for c in ASK %}{{ c }}{% endfor %}",
        "{{ ASK | upper }}",
        "{{ ASK | length }}",
        "{% if ASK < 'a' %}a{% endif %}",
        "{{ ASK[0] }}",
    ],
)
def test_nothing_is_decided_by_an_identifier(text: str) -> None:
    assert f"the identifier of {PROJECT}" in refusal(text.replace("ASK", f"id_of('{PROJECT}')"))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("command: app", f"environment: {{A: \"{{{{ id_of('{PROJECT}') }}}}\"}}", f"identifier of {PROJECT}"),
        ("password: p}]", f"password: \"{{{{ id_of('{PROJECT}') }}}}\"}}]", "identifiers are for files"),
        ("username: admin, password: p", f"username: admin, password: \"{TOKEN}\"", "identifiers are for files"),
    ],
)  # fmt: skip
def test_everywhere_else_it_is_refused(before: str, after: str, said: str) -> None:
    assert before in SERVICE
    assert said in refusal("a = 1\n", SERVICE.replace(before, after))


def test_a_review_shows_what_it_is_the_identifier_of() -> None:
    wrapped = tokens.wrap("b64encode", TOKEN)
    shown = text_diff("a.conf", "a = 1\n", f"a = {TOKEN}\nb = {wrapped}\n")
    assert f"+a = {TOKEN}" in shown and f"+b = <<id:{PROJECT}|b64encode>>" in shown


def test_two_identifiers_are_two_configurations() -> None:
    one, other = site(f"a = {{{{ id_of('{PROJECT}') }}}}\n"), site("a = {{ id_of('keystone:role:admin') }}\n")
    assert digest.part_digest(one, "app") != digest.part_digest(other, "app")
    assert digest.part_digest(one, "app") == digest.part_digest(replace(one, revision="1" * 40), "app")


def test_who_does_not_know_it_says_so() -> None:
    with pytest.raises(Terminal, match=f"identifier of {PROJECT}") as caught:
        tokens.bind(TOKEN, {})
    assert caught.value.reason == Reason.Unknown


def test_a_site_cannot_make_a_secret_stand_for_an_identifier() -> None:
    assert tokens.identifiers(f"<<secret:id>> {TOKEN} {tokens.wrap('quote', TOKEN)}") == {PROJECT}
    assert tokens.secrets(f"<<secret:id>> {TOKEN}") == {"id"}
    assert tokens.bind("<<secret:id>>", {"id": TOKEN, **tokens.identified(KNOWN)}) == TOKEN, (
        "values are not looked into"
    )
