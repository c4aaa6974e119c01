"""Variables: lazy, typed, per host, with errors that name place, variable and neighbour."""

from typing import Any

import pytest

from reconciler import site
from reconciler.document.yaml import Place
from reconciler.errors import SiteInvalid
from reconciler.render import explain, inventory_names
from reconciler.render.evaluate import Position, Scope, World, evaluate, render_text
from reconciler.render.tokens import SecretRef
from tests.render.sites import make_site

VARIABLES = """
port: {description: A port., type: integer, default: 8080}
port_text: {description: As text., type: string, default: "{{ port }}"}
port_again: {description: Back., type: integer, default: "{{ port_text }}"}
flag: {description: A flag., type: boolean, default: "{% if port == 8080 %}yes{% else %}no{% endif %}"}
listed: {description: A list., type: array, default: ["{{ port }}", "x{{ port }}", {deep: "{{ flag }}"}]}
whole: {description: A list by reference., type: array, default: "{{ listed + [1] }}"}
url: {description: A URL., type: string, default: "http://{{ 'api' | kolla_address | put_address_in_context('url') }}:{{ port }}"}
other: {description: Of another host., type: string, default: "{{ hostvars['ctl2'].url }}"}
nothing: {description: Null., type: [string, "null"], default: null}
bad_type: {description: Not an integer., type: integer, default: "{{ url }}"}
bad_name: {description: A typo., type: string, default: "{{ prot }}"}
uses_bad: {description: Uses a typo., type: string, default: "{{ 'fine' if flag else bad_name }}"}
needs_bad: {description: Uses a typo., type: string, default: "{{ bad_name }}!"}
must: {description: Has to be set., type: string, required: true}
left: {description: A circle., type: string, default: "{{ middle }}"}
middle: {description: A circle., type: string, default: "{{ right }}"}
right: {description: A circle., type: string, default: "{{ left }}"}
open_a: {description: No circle., type: string, default: "{{ 'x' if flag else open_b }}"}
open_b: {description: No circle., type: string, default: "{{ open_a }}"}
mode: {description: One of two., type: string, enum: [fast, slow], default: "{{ 'fast' }}"}
"""


@pytest.fixture(scope="module")
def whole() -> site.Site:
    return make_site(
        {"app/service.yml": "description: x\npasswords:\n  app_password: {kind: random}\n  app_key: {kind: ssh_key}\n"},
        {"groups/compute.yml": "port: 9090\n", "hosts/ctl2.yml": "port: 7070\n", "globals.yml": "site_own: [a, b]\n"},
        variables=VARIABLES,
        secrets={"app_password": "abc"},
    )


def value(whole: site.Site, name: str, host: str = "ctl1") -> Any:
    return World(whole).variables(host)[name]


def problem(whole: site.Site, name: str) -> Any:
    with pytest.raises(SiteInvalid) as caught:
        value(whole, name)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def line_of(name: str) -> int:
    return 4 + VARIABLES.splitlines().index(
        next(line for line in VARIABLES.splitlines() if line.startswith(name + ":"))
    )


def test_values_have_the_type_of_their_variable(whole: site.Site) -> None:
    assert value(whole, "port") == 8080
    assert value(whole, "port_text") == "8080"
    assert value(whole, "port_again") == 8080
    assert value(whole, "flag") is True
    assert value(whole, "listed") == [8080, "x8080", {"deep": True}]
    assert value(whole, "whole") == [8080, "x8080", {"deep": True}, 1]
    assert value(whole, "nothing") is None
    assert value(whole, "site_own") == ["a", "b"]
    assert value(whole, "mode") == "fast"


def test_every_host_has_its_own_values(whole: site.Site) -> None:
    assert value(whole, "url") == "http://10.0.0.11:8080"
    assert value(whole, "url", "ctl2") == "http://10.0.0.12:7070"
    assert value(whole, "url", "cmp1") == "http://10.0.0.21:9090"
    assert value(whole, "other") == "http://10.0.0.12:7070", "a host's variables are evaluated in its own scope"
    assert value(whole, "flag", "cmp1") is False


def test_names_that_are_always_there(whole: site.Site) -> None:
    variables = World(whole).variables("ctl1")
    assert variables["inventory_hostname"] == "ctl1"
    assert variables["ansible_hostname"] == "controller-1"
    assert variables["ansible_facts"]["hostname"] == "controller-1"
    assert variables["ansible_facts"]["os_family"] == "Debian"
    assert variables["groups"]["control"] == ["ctl1", "ctl2"]
    assert variables["group_names"] == ["control"]
    assert variables["api_interface_address"] == "10.0.0.11"
    assert variables["tunnel_interface_address"] == "10.1.0.11"
    assert variables["host"]["addresses"]["migration"] == "10.0.0.11"
    assert variables["frontends"] == []


@pytest.mark.parametrize(
    ("name", "facts", "found"),
    [
        ("cmp1", {}, ("cmp1", "cmp1", "cmp1")),
        ("cmp1.example.org", {}, ("cmp1", "cmp1", "cmp1.example.org")),
        ("cmp1", {"nodename": "cmp1.example.org"}, ("cmp1", "cmp1.example.org", "cmp1.example.org")),
        ("cmp1.a.example", {"nodename": "cmp1.b.example"}, ("cmp1", "cmp1.b.example", "cmp1.b.example")),
        ("a", {"hostname": "b", "nodename": "c.example"}, ("b", "c.example", "b")),
        ("a", {"hostname": "b", "fqdn": "b.example"}, ("b", "b", "b.example")),
        ("192.0.2.7", {"nodename": "x.example"}, ("host-192-0-2-7", "x.example", "host-192-0-2-7")),
    ],
)
def test_the_names_of_a_machine(name: str, facts: dict[str, str], found: tuple[str, str, str]) -> None:
    host = site.Host(name, {}, {}, ("all",), facts, Place("inventory.yml"))
    told = inventory_names.names(host, {}, {})["ansible_facts"]
    assert (told["hostname"], told["nodename"], told["fqdn"]) == found
    assert host.names == {key: told[key] for key in ("hostname", "nodename", *facts)}


def test_secrets_are_tokens(whole: site.Site) -> None:
    variables = World(whole).variables("ctl1")
    assert variables["app_password"] == "<<secret:app_password>>"
    assert isinstance(variables["app_password"], SecretRef)
    text = render_text("{{ app_key.private_key }}", Scope(variables), "t")
    assert text == "<<secret:app_key.private_key>>"


def test_a_wrong_type_is_told_at_the_place_that_set_it(whole: site.Site) -> None:
    found = problem(whole, "bad_type")
    assert str(found).startswith(f"catalogue/base/variables.yml:{line_of('bad_type')}:")
    assert "'bad_type' must be an integer, is 'http://" in found.message


def test_an_undefined_variable_is_told_with_its_neighbour(whole: site.Site) -> None:
    for name in ("bad_name", "needs_bad"):
        found = problem(whole, name)
        assert found.line == line_of("bad_name")
        assert found.message == "the variable 'prot' is not defined"
        assert found.hint == "did you mean 'port'?"


def test_a_branch_not_taken_does_no_harm(whole: site.Site) -> None:
    assert value(whole, "uses_bad") == "fine"
    assert value(whole, "open_a") == "x"
    assert value(whole, "open_b") == "x"


def test_a_test_for_definedness_does_not_hide_errors(whole: site.Site) -> None:
    scope = Scope(World(whole).variables("ctl1"))
    assert render_text("{{ must is defined }} {{ must | default('d') }}", scope, "t") == "False d"
    for text in ("{{ bad_name is defined }}", "{{ bad_name | default('d') }}", "{{ bad_name is none }}"):
        with pytest.raises(SiteInvalid, match="'prot' is not defined"):
            render_text(text, scope, "t")
    with pytest.raises(SiteInvalid, match="'nosuch' is not defined"):
        render_text("{{ nosuch is none }}", scope, "t")


def test_a_variable_without_value_that_the_catalogue_asks_for_is_said_once_where_it_is_set(whole: site.Site) -> None:
    found = set()
    for name in ("a", "b"):
        with pytest.raises(SiteInvalid) as caught:
            render_text("a\n{{ must }}", Scope(World(whole).variables("ctl1")), f"catalogue/{name}.j2")
        found |= set(caught.value.problems)
    (only,) = found
    assert str(only) == (
        "globals.yml:1:1: the variable 'must' has no default and no value (set it here; catalogue/a.j2:2 needs it)"
    )


def test_a_variable_without_value(whole: site.Site) -> None:
    with pytest.raises(SiteInvalid) as caught:
        render_text("a\n{{ must }}", Scope(World(whole).variables("ctl1")), "t.j2")
    assert str(caught.value) == "t.j2:2:1: the variable 'must' has no default and no value (set it in globals.yml)"


def test_a_circle_is_told_with_its_chain(whole: site.Site) -> None:
    assert "left → middle → right → left" in problem(whole, "left").message
    assert "right → left → middle → right" in problem(whole, "right").message


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("one\ntwo {{ prot }}\n", 2, "the variable 'prot' is not defined", "did you mean 'port'?"),
        ("{% if true %}\n{{ 1 + prot }}\n{% endif %}", 2, "the variable 'prot' is not defined", "did you mean 'port'?"),
        ("\n{% for x in listed %}\n{{ x.nosuch }}\n{% endfor %}", 3, "has no attribute 'nosuch'", ""),
        ("{{ {'alpha': 1}.alhpa }}", 1, "did you mean 'alpha'?", ""),
        ("{{ groups.contrl }}", 1, "did you mean 'control'?", ""),
        ("{{ hostvars.ctl3.port }}", 1, "did you mean 'ctl", ""),
        ("{{ hostvars.ctl2.prot }}", 1, "did you mean 'port'?", ""),
        ("a\n{% if %}", 2, "not valid Jinja2", ""),
        ("a\n{{ x | nosuch }}", 2, "there is no filter 'nosuch'", ""),
        ("a\n\n{{ 1 / 0 }}", 3, "division by zero", ""),
        ("{{ 'x' | kolla_address }}", 1, "has no address on the network 'x'", ""),
        ("{{ 'a' | mandatory }}{{ nosuch | mandatory('say what') }}", 1, "say what", ""),
        ("{{ [1] | items2dict }}", 1, "items2dict", ""),
    ],
)
def test_template_errors_have_file_line_and_words(
    whole: site.Site, text: str, line: int, message: str, hint: str
) -> None:
    with pytest.raises(SiteInvalid) as caught:
        render_text(text, Scope(World(whole).variables("ctl1")), "services/app/templates/a.j2")
    (found,) = caught.value.problems
    assert (found.file, found.line) == ("services/app/templates/a.j2", line)
    assert message in found.message
    assert hint in found.hint


TYPES = {
    "{{ port }}": 8080,
    " {{ port }} ": 8080,
    "{{ port }}{{ port }}": "80808080",
    "{{ true }}": True,
    "{{ none }}": None,
    "{{ '1' }}": "1",
    "{{ [1, 'a'] }}": [1, "a"],
    "{{ {'a': (1, 2)} }}": {"a": [1, 2]},
    "{{ listed | map('string') }}": ["8080", "x8080", "{'deep': True}"],
    "{{ range(3) }}": [0, 1, 2],
    "{{ 1.5 }}": 1.5,
    "{{ '{{ port }}' }}": "{{ port }}",
    "{% if true %}{{ port }}{% endif %}": "8080",
    "a{{ none }}b": "ab",
    "{# nothing #}": "{# nothing #}",
    "plain": "plain",
}


@pytest.mark.parametrize("text", TYPES)
def test_a_whole_expression_keeps_its_type(whole: site.Site, text: str) -> None:
    scope = Scope(World(whole).variables("ctl1"))
    source = Position(whole.hosts["ctl1"].place)
    made = evaluate(text, scope, source)
    assert made == TYPES[text]
    assert type(made) is type(TYPES[text])


FILTERS = {
    "{{ ['yes', 'On', 'TRUE', '1', 1, true] | map('bool') | list }}": [True] * 6,
    "{{ ['no', 'off', '', 'x', 0, 2, false] | map('bool') | list }}": [False] * 7,
    "{{ none | bool }}": None,
    "{{ 'fd00::1' | put_address_in_context('url') }}": "[fd00::1]",
    "{{ 'fd00::1' | put_address_in_context('memcache') }}": "inet6:[fd00::1]",
    "{{ '10.0.0.1' | put_address_in_context('url') }}": "10.0.0.1",
    "{{ '10.0.0.1' | put_address_in_context('rabbitmq') }}": "10,0,0,1",
    "{{ '::1' | put_address_in_context('rabbitmq') }}": "16#0,16#0,16#0,16#0,16#0,16#0,16#0,16#1",
    "{{ 'h' | kolla_url('https', 443) }}": "https://h",
    "{{ 'fd00::1' | kolla_url('http', '8080', '/v3') }}": "http://[fd00::1]:8080/v3",
    "{{ 'tunnel' | kolla_address('cmp1') }}": "10.0.0.21",
    "{{ 'api' | kolla_address('ctl1', 'port_text_') }}": "10.0.0.11",
    "{{ {'a': {'x': 1}} | combine({'a': {'y': 2}}) }}": {"a": {"y": 2}},
    "{{ {'a': {'x': 1}} | combine({'a': {'y': 2}}, recursive=true) }}": {"a": {"x": 1, "y": 2}},
    "{{ {'a': [1]} | combine({'a': [2]}, list_merge='append') }}": {"a": [1, 2]},
    "{{ ['b', 'a', 'B', 'b'] | unique }}": ["b", "a", "B"],
    "{{ [1, [2, [3]], none] | flatten }}": [1, 2, 3],
    "{{ {'a': 1} | dict2items }}": [{"key": "a", "value": 1}],
    "{{ [{'key': 'a', 'value': 1}] | items2dict }}": {"a": 1},
    "{{ 'a-b' | regex_replace('(a)-(b)', '\\\\2-\\\\1') }}": "b-a",
    "{{ 'ab12' | regex_search('[0-9]+') }}": "12",
    "{{ 'ab12' | regex_search('x') }}": None,
    "{{ true | ternary('a', 'b') }}": "a",
    "{{ '/a/b.c' | basename }}": "b.c",
    "{{ '/a/b.c' | dirname }}": "/a",
    '{{ "it\'s" | quote }}': "'it'\"'\"'s'",
    "{{ 'abc' | hash }}": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "{{ 'abc' | b64encode | b64decode }}": "abc",
    "{{ '[1]' | from_json }}": [1],
    "{{ {'b': 'ü', 'a': 1} | to_json }}": '{"b": "ü", "a": 1}',
    "{{ 'a/b c' | urlencode }}": "a/b%20c",
    "{{ [1, 2] | zip(['a', 'b']) }}": [[1, "a"], [2, "b"]],
    "{{ 'abc' is match('ab') and 'abc' is search('c') }}": True,
    "{{ [3, 5] | min }}": 3,
}


@pytest.mark.parametrize("text", FILTERS)
def test_filters(whole: site.Site, text: str) -> None:
    scope = Scope(World(whole).variables("ctl1"))
    assert evaluate(text, scope, Position(whole.hosts["ctl1"].place)) == FILTERS[text]


def test_blocks_are_trimmed_as_ansible_does(whole: site.Site) -> None:
    text = "a\n{% if true %}\nb\n{% endif %}\n{# gone #}\nc\n"
    assert render_text(text, Scope(World(whole).variables("ctl1")), "t") == "a\nb\nc\n"


LOOPS = {
    "{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}": "1:1/2 2:3/2 ",
    "{% for x in [] %}{{ x }}{% else %}none{% endfor %}": "none",
    "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}": "a1",
    "{% for k in {'b': 1, 'a': 2} | dictsort %}{{ k[0] }}{% endfor %}": "ab",
    "{% for x in [{'n': 1, 'c': [{'n': 2, 'c': []}]}] recursive %}{{ x.n }}{{ loop(x.c) }}{% endfor %}": "12",
    "{% for x in range(5) %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}": "01",
    "{% for x in 'ab' %}{{ loop.first }}{{ loop.previtem | default('-') }}{% endfor %}": "True-Falsea",
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ port }}{% endmacro %}{{ m(1) }}": "128080",
    "{% set x = [1, 2] %}{% with y = x %}{{ y | sum }}{% endwith %}": "3",
    "{% for h in groups['control'] %}{{ hostvars[h].port }},{{ 'api' | kolla_address(h) }};{% endfor %}": (
        "8080,10.0.0.11;7070,10.0.0.12;"
    ),
}


@pytest.mark.parametrize("text", LOOPS)
def test_statements(whole: site.Site, text: str) -> None:
    assert render_text(text, Scope(World(whole).variables("ctl1")), "t") == LOOPS[text]


def test_explain_shows_the_layers(whole: site.Site) -> None:
    found = explain(whole, "ctl2", "port")
    assert [(layer.origin, layer.value) for layer in found.layers] == [("catalogue", 8080), ("host", 7070)]
    assert found.value == 7070
    assert str(found.layers[-1].place) == "hosts/ctl2.yml:1:7"
    assert explain(whole, "ctl1", "app_password").secret
    assert explain(whole, "ctl1", "bad_name").problems[0].hint == "did you mean 'port'?"
    assert explain(whole, "ctl1", "api_interface_address").value == "10.0.0.11"


@pytest.mark.parametrize(
    ("host", "name", "words"),
    [("ctl9", "port", "ctl1, ctl2"), ("ctl1", "prot", "'port'"), ("ctl1", "must", "globals.yml")],
)
def test_explain_knows_what_is_not_there(whole: site.Site, host: str, name: str, words: str) -> None:
    with pytest.raises(SiteInvalid, match=words):
        explain(whole, host, name)


# --- names that nobody knows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{% if site_gpuu is defined %}x{% endif %}", "did you mean 'site_gpu'?"),
        (
            "{% if nothing is not defined %}x{% endif %}",
            "declare it in the variables.yml of a service, or call it site_…",
        ),
        ("{{ site_gpuu | default('x') }}", "did you mean 'site_gpu'?"),
        ("{{ site_gpuu | d('x') }}", "did you mean 'site_gpu'?"),
        ("{% if false %}{{ site_gpuu is undefined }}{% endif %}", "did you mean 'site_gpu'?"),
        ("{{ hostvars['ctl2'].site_gpuu is defined }}", "did you mean 'site_gpu'?"),
        ("{{ hostvars['ctl2']['site_gpuu'] | default('x') }}", "did you mean 'site_gpu'?"),
    ],
)
def test_a_question_about_a_name_that_nobody_knows_is_a_problem(text: str, hint: str) -> None:
    site = make_site({}, {"hosts/cmp1.yml": "site_gpu: a100"})
    with pytest.raises(SiteInvalid) as caught:
        render_text(f"a\n{text}", Scope(World(site).variables("ctl1")), "t.j2")
    (found,) = caught.value.problems
    assert "is known nowhere, so that it is never defined" in found.message
    assert found.hint == hint


@pytest.mark.parametrize(
    "text",
    [
        "{% if site_gpu is defined %}{{ site_gpu }}{% endif %}",  # another host has it
        "{{ hostvars['ctl2'].site_gpu | default('') }}",
        "{% if false %}{% set made = 1 %}{% endif %}{{ 'x' if made is defined }}",
        "{% for item in [] %}{% else %}{{ 'x' if item is defined }}{% endfor %}",
        "{% macro m(a) %}{{ '' if a is defined }}{% endmacro %}{{ m() }}",
        "{{ {}.gone | default('') }}{{ '' if ansible_facts.gone is undefined }}",
    ],
)
def test_a_question_about_a_name_that_somebody_has_is_none(text: str) -> None:
    site = make_site({}, {"hosts/cmp1.yml": "site_gpu: a100"})
    assert render_text(text, Scope(World(site).variables("ctl1")), "t.j2") in ("", "x")
    if "site_gpu is" in text:
        assert render_text(text, Scope(World(site).variables("cmp1")), "t.j2") == "a100"
