"""What templates may not do: reach the machine, look at a secret, take more than their share."""

import resource
import time
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.errors import SiteInvalid
from reconciler.render import methods, operations, tokens
from reconciler.render.compiling import compiled, shared
from reconciler.render.evaluate import Position, Scope, World, evaluate, render_text
from reconciler.render.meter import Exhausted
from tests.render.sites import make_site
from tests.support import paths


@pytest.fixture(scope="module")
def world() -> World:
    variables = """
    listed: {description: A list., type: array, default: [1, 2, 3]}
    mapped: {description: A mapping., type: object, default: {a: 1}}
    """
    return World(make_site({}, variables=variables))


def run(text: str, world: World, **own: Any) -> str:
    world.begin("ctl1")
    return render_text(text, Scope(world.variables("ctl1"), {"pw": tokens.SecretRef("pw"), **own}), "t.j2")


def message(text: str, world: World) -> str:
    with pytest.raises((SiteInvalid, Exhausted)) as caught:
        run(text, world)
    error = caught.value
    (problem,) = error.problems if isinstance(error, SiteInvalid) else (error.problem,)  # type: ignore[attr-defined]
    assert problem.file == "t.j2"
    return problem.message


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ '' | attr('__class__') }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{{ ''.join.__self__ }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{x.__class__}'.format_map({'x': ''}) }}",
    "{{ '%s'.__mod__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ namespace.__init__ }}",
    "{{ range.__call__ }}",
    "{{ dict.__base__ }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ hostvars._world }}",
    "{{ hostvars['_world'] }}",
    "{{ hostvars.ctl1._layers }}",
    "{{ hostvars.ctl1._world.site }}",
    "{{ hostvars.__class__ }}",
    "{{ hostvars.address.__globals__ }}",
    "{{ listed.append(4) }}",
    "{{ listed.clear() }}",
    "{{ mapped.update({'b': 2}) }}",
    "{{ mapped.pop('a') }}",
    "{% do listed.append(4) %}",
    "{% set x = mapped.setdefault('z', 1) %}",
    "{{ lipsum() }}",
    "{{ [1, 2] | random }}",
    "{{ now() }}",
    "{{ lookup('file', '/etc/passwd') }}",
    "{{ query('env', 'HOME') }}",
    "{{ open('/etc/passwd') }}",
    "{{ environ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'x' as x %}",
    "{% extends 'x' %}",
    "{{ ().__class__.__base__.__subclasses__() }}",
    "{{ (1).__class__ }}",
    "{{ caller.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_escapes_are_refused(text: str, world: World) -> None:
    assert message(text, world)
    assert world.variables("ctl1")["listed"] == [1, 2, 3]
    assert world.variables("ctl1")["mapped"] == {"a": 1}


BOMBS = [
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [0] * 10**9 }}",
    "{{ (1, 2) * 10**8 }}",
    "{{ range(10**9) | list }}",
    "{{ range(0, 10**12, 3) }}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{% set ns = namespace(a='aaaa') %}{% for i in range(64) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a='aaaa') %}{% for i in range(64) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(64) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a=9) %}{% for i in range(64) %}{% set ns.a = ns.a * ns.a %}{% endfor %}{{ ns.a }}",
    "{{ 9 ** 99999 }}",
    "{{ [[0] * 99999] * 99999 }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(64) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(64) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a ~ '' }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(64) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | string }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(64) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | to_json }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(64) %}{% set ns.a = {'x': ns.a, 'y': ns.a} %}{% endfor %}{{ '%s' % ns.a }}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(64) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ '{}'.format(ns.a) }}",
    "{{ ['a' * 8000000] * 99999 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%.1000000000f' % 1 }}",
    "{{ '%1000000000s' | format('x') }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ 'a\\t'.expandtabs(10**9) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a\\nb' | indent(10**9) }}",
    "{{ [1] | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ 1.5 | round(10**9, 'floor') }}",
    "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "{{ (['a' * 100000] * 100000) | join }}",
    "{{ ','.join(['a' * 100000] * 100000) }}",
    "{{ ([[1] * 10000] * 10000) | sum(start=[]) }}",
    "{{ ([[1] * 10000] * 10000) | flatten }}",
    "{{ ('a' * 100000) | regex_replace('a', 'b' * 100000) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
]


@pytest.mark.parametrize("text", BOMBS)
def test_bombs_end_quickly_and_small(text: str, world: World) -> None:
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert message(text, world)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("text", ["{{ [[0] * 99999] * 99999 }}", "{{ ['a' * 8000000] * 999 }}", "{{ range(10**9) }}"])
def test_values_are_bounded_too(text: str, world: World) -> None:
    world.begin("ctl1")
    with pytest.raises((SiteInvalid, Exhausted)):
        evaluate(text, Scope(world.variables("ctl1")), Position(world.site.hosts["ctl1"].place))


def test_honest_sizes_pass(world: World) -> None:
    assert len(run("{{ 'ab' * 1000 }}", world)) == 2000
    assert run("{% for i in range(3) %}{{ i }}{{ ',' if not loop.last }}{% endfor %}", world) == "0,1,2"
    assert run("{{ '%-6s|%03d' % ('ab', 7) }}", world) == "ab    |007"
    assert run("{{ '{:>5}'.format(1) }}", world) == "    1"
    assert len(run("{% for i in range(50000) %}x{% endfor %}", World(world.site))) == 50_000


LOOKS = [
    "{{ pw | length }}",
    "{{ pw | upper }}",
    "{{ pw | replace('a', 'b') }}",
    "{{ pw | list }}",
    "{{ pw | first }}",
    "{{ pw | regex_search('a') }}",
    "{{ pw | bool }}",
    "{{ pw | int }}",
    "{{ pw[0] }}",
    "{{ pw[0:3] }}",
    "{{ (pw ~ '')[0] }}",
    "{{ (pw ~ '')[1:2] }}",
    "{{ pw[::-1] }}",
    "{{ pw.upper() }}",
    "{{ ('x' ~ pw).upper() }}",
    "{{ ('x' ~ pw) | length }}",
    "{{ ('x' ~ pw) | truncate(3) }}",
    "{{ pw | b64decode }}",
    "{{ pw | hash('crc32') }}",
]


@pytest.mark.parametrize("text", LOOKS)
def test_nothing_looks_at_a_secret(text: str, world: World) -> None:
    assert "secret" in message(text, world) or "hash" in text


CARRIES = {
    "{{ pw }}": "v",
    "a{{ pw }}b": "avb",
    "{{ 'u:' ~ pw ~ '@h' }}": "u:v@h",
    "{{ 'u:' + pw }}": "u:v",
    "{{ 'u:%s' % pw }}": "u:v",
    "{{ 'u:%s' | format(pw) }}": "u:v",
    "{{ 'u:{}'.format(pw) }}": "u:v",
    "{{ [pw, 'x'] | join(',') }}": "v,x",
    "{{ pw | default('x') }}": "v",
    "{{ pw | b64encode }}": "dg==",
    "{{ (pw ~ ':') | b64encode }}": "djo=",
    "{{ {'k': pw} | to_json }}": '{"k": "v"}',
    "{{ pw | quote }}": "v",
    "{{ pw | urlencode }}": "v",
    "{{ 'yes' if pw else 'no' }}": "yes",
    "{{ {'k': pw} | to_nice_json }}": '{\n    "k": "v"\n}',
    "{{ {'k': pw} | to_yaml }}": 'k: "v"\n',
    "{{ {'a': {'k': pw}} | combine({'b': 1}) | to_json }}": '{"a": {"k": "v"}, "b": 1}',
}


@pytest.mark.parametrize("text", CARRIES)
def test_a_secret_can_be_carried(text: str, world: World) -> None:
    made = run(text, world)
    assert "v" not in made.replace("<<b64encode:", "").replace("<<urlencode:", "") or "<<" in made
    assert tokens.bind(made, {"pw": "v"}) == CARRIES[text]


def test_templates_are_compiled_once() -> None:
    first = compiled("{{ 1 + 1 }} {{ x }}", False)
    assert compiled("{{ 1 + 1 }} {{ x }}", False) is first
    assert shared() is shared()


def test_an_expression_that_gives_no_data_is_refused(world: World) -> None:
    world.begin("ctl1")
    scope = Scope(world.variables("ctl1"))
    for text in ("{{ hostvars }}", "{{ hostvars.ctl1 }}", "{{ range }}", "{{ {'a': nosuch} }}", "{{ [nosuch] }}"):
        with pytest.raises(SiteInvalid):
            evaluate(text, scope, Position(world.site.hosts["ctl1"].place))


def test_lazy_mappings_do_not_evaluate_everything(world: World) -> None:
    variables: Mapping[str, Any] = world.variables("ctl1")
    assert "listed" in variables
    assert "nosuch" not in variables
    assert len(list(variables)) == len(variables)


def test_the_documentation_lists_what_templates_can_use() -> None:
    text = paths.CHECKOUT.joinpath("docs/security.md").read_text()
    listed = [*operations.FILTERS, *operations.TESTS, *(name for names in methods.names().values() for name in names)]
    assert [name for name in listed if f"`{name}`" not in text] == []
