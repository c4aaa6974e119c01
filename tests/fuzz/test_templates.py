"""A fuzzer of templates: everything that the tables offer, over odd values, nested at random.

Whatever comes: a result or one of the declared errors, the same again the second time, no address of an object, nothing of the
canaries that lie within reach of a wrong step, and never more than the budget.
"""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import SiteInvalid
from reconciler.render import meter, methods, tokens
from reconciler.render.evaluate import Position, Scope, World, evaluate, render_text
from reconciler.render.meter import Exhausted
from reconciler.render.operations import FILTERS, TESTS
from tests.render.sites import make_site

CANARY = "c4n4ry"


class _Canary:
    """An object that no template has any business with. Whoever reaches into it brings its secret out."""

    secret = CANARY

    def __str__(self) -> str:
        return CANARY

    __repr__ = __str__

    def __call__(self, *_: Any, **__: Any) -> str:
        return CANARY

    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return CANARY

    def __getitem__(self, key: Any) -> str:
        return CANARY

    def __iter__(self) -> Any:
        return iter([CANARY])

    def __len__(self) -> int:
        return 1

    def __add__(self, other: Any) -> str:
        return CANARY

    __radd__ = __mul__ = __mod__ = __add__


ATOMS = [
    "0", "1", "-1", "2.5", "1e308", "10**400", "99999", "true", "none", "''", "'a'", "'<b>&'", "'%s %d'", "'{0} {a}'", "'a,b'", "'𝄞ß'",
    "'[1, {\"a\": 2}]'", "'(a|b)+'", "'\\\\1'", "'/a/b.c'", "'10.0.0.1'", "'__class__'", "'a.__init__'", "'ZzE='", "pw", "pw ~ 'x'",
    "[]", "[3, 1, 2]", "['b', 'A', 'a']", "[[1, 2], [3]]", "(1, 2)", "{}", "{'a': 1, 'b': [2]}", "[{'a': 1}, {'a': 2}]", "['é\\n', none]",
    "nosuch", "canary", "[canary]", "{'a': canary}", "canary.secret", "range", "range(5)", "dict", "cycler(1, 2)", "joiner()", "namespace(a=1)", "hostvars",
    "hostvars['ctl1']", "hostvars['ctl1'].listed", "groups", "inventory_hostname", "listed", "mapped", "'x' if false",
]  # fmt: skip
NAMES = sorted({
    "a", "b", "secret", "items", "name", "__class__", "__globals__", "_world", "function", "owner", "current", "index", "gi_frame",
    "cr_frame", "mro", *(name for listed in methods.names().values() for name in listed),
})  # fmt: skip
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or"]


def _calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.lists(st.one_of(inner, st.tuples(st.sampled_from(["attribute", "default", "start", "reverse", "indent", "a"]), inner).map("=".join)), max_size=2)  # fmt: skip
    ordered = arguments.map(lambda found: ", ".join(sorted(found, key=lambda text: bool(re.match(r"\w+=(?!=)", text)))))
    return st.one_of(
        st.tuples(inner, st.sampled_from(sorted(FILTERS)), ordered).map(lambda t: f"({t[0]} | {t[1]}({t[2]}))"),
        st.tuples(inner, st.sampled_from(["map", "select", "reject"]), st.sampled_from(sorted({*FILTERS, *TESTS})), ordered).map(
            lambda t: f"({t[0]} | {t[1]}('{t[2]}'{', ' + t[3] if t[3] else ''}))"
        ),
        st.tuples(inner, st.sampled_from(sorted(name for name in TESTS if name.isidentifier() and name != "in")), inner).map(
            lambda t: f"({t[0]} is {t[1]}({t[2]}))"
        ),
        st.tuples(inner, st.sampled_from(NAMES), ordered).map(lambda t: f"({t[0]}).{t[1]}({t[2]})"),
        st.tuples(inner, st.sampled_from(NAMES)).map(lambda t: f"({t[0]}).{t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]})[{t[1]}]"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]})[{t[1]}:{t[2]}]"),
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"[{t[0]}, {t[1]}]"),
        st.tuples(inner, inner).map(lambda t: "{" + f"{t[0]}: {t[1]}" + "}"),
        st.tuples(inner, ordered).map(lambda t: f"({t[0]})({t[1]})"),
    )  # fmt: skip


expressions = st.recursive(st.sampled_from(ATOMS), _calls, max_leaves=8)
templates = st.one_of(
    expressions.map(lambda e: f"{{{{ {e} }}}}"),
    st.tuples(expressions, expressions).map(lambda t: f"{{% for x in {t[0]} %}}{{{{ loop.index }}}}{{{{ x }}}}{{{{ {t[1]} }}}}{{% endfor %}}"),
    st.tuples(expressions, expressions).map(lambda t: f"{{% for x in {t[0]} recursive %}}{{{{ loop({t[1]}) }}}}{{% endfor %}}"),
    st.tuples(expressions, expressions).map(lambda t: f"{{% for x, y in {t[0]} if {t[1]} %}}{{{{ x }}}}{{% endfor %}}"),
    st.tuples(expressions, expressions).map(lambda t: f"{{% set a, b = {t[0]} %}}{{{{ a }}}}{{% set ns = namespace(a={t[1]}) %}}{{{{ ns.a }}}}"),
    st.tuples(expressions, expressions).map(
        lambda t: f"{{% macro m(a, b={t[0]}) %}}{{{{ a }}}}{{{{ varargs }}}}{{{{ kwargs }}}}{{{{ caller }}}}{{% endmacro %}}{{{{ m({t[1]}) }}}}"
    ),
    st.tuples(st.sampled_from(sorted(FILTERS)), expressions).map(lambda t: f"{{% filter {t[0]} %}}{{{{ {t[1]} }}}}{{% endfilter %}}"),
    st.tuples(expressions, expressions).map(lambda t: f"{{% if {t[0]} %}}{{{{ {t[1]} }}}}{{% endif %}}{{% with q = {t[0]} %}}{{{{ q }}}}{{% endwith %}}"),
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    variables = """
    listed: {description: A list., type: array, default: [1, "{{ mapped.a }}", 3]}
    mapped: {description: A mapping., type: object, default: {a: 1}}
    """
    return World(make_site({}, variables=variables))


def outcome(text: str, world: World) -> tuple[str, str, int, int]:
    """What comes of a template: the text or the message, and what was paid."""
    own = {"pw": tokens.SecretRef("pw"), "canary": _Canary()}
    world = World(world.site)
    world.begin("ctl1")
    scope = Scope(world.variables("ctl1"), own)
    try:
        said = ("text", render_text(text, scope, "t.j2"))
    except SiteInvalid as error:
        said = ("refused", "\n".join(map(str, error.problems)))
    except Exhausted as error:
        said = ("exhausted", str(error.problem))
    return *said, world.meter.steps, world.meter.size


def check(text: str, world: World) -> None:
    """The properties of the module, for one template."""
    first = outcome(text, world)
    assert first == outcome(text, world), "the same template, another outcome"
    kind, said, steps, size = first
    assert CANARY not in said, text
    assert not re.search(r" at 0x[0-9a-f]{6,}|<function|<built-in|<class|generator object", said), (text, said)
    undeclared = re.search(r"\(([A-Z]\w*(?:Error|Exception))\)", said)
    assert undeclared is None, (text, said)
    # An operation is paid before it is carried out, so the last one can only be announced.
    most = meter.Meter(len(world.site.hosts))
    assert steps < most.most_steps or kind == "exhausted"
    assert size < most.most_bytes or kind == "exhausted"
    said.encode()


@pytest.mark.parametrize(
    "key", ["0", "1.5", "none", "true", "(1, 2)", "[1]", "{'a': 1}", "pw", "0:1", "hostvars", "range"]
)
@pytest.mark.parametrize(
    "text",
    [
        "{{ hostvars['ctl1'][K] }}",
        "{{ hostvars[K] }}",
        "{{ groups[K] }}",
        "{{ mapped[K] }}",
        "{{ listed[K] }}",
        "{{ K in hostvars['ctl1'] }}",
    ],
)
def test_anything_may_be_a_key(world: World, text: str, key: str) -> None:
    if ":" not in key or "in" not in text.split():
        check(text.replace("K", key), world)


@given(templates)
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_template_breaks_out(world: World, text: str) -> None:
    check(text, world)


@pytest.mark.slow
@given(templates)
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_template_of_very_many_breaks_out(world: World, text: str) -> None:
    check(text, world)


@given(expressions)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_expression_gives_anything_but_data(world: World, text: str) -> None:
    fresh = World(world.site)
    fresh.begin("ctl1")
    scope = Scope(fresh.variables("ctl1"), {"pw": tokens.SecretRef("pw"), "canary": _Canary()})
    try:
        value = evaluate(f"{{{{ {text} }}}}", scope, Position(fresh.site.hosts["ctl1"].place))
    except (SiteInvalid, Exhausted):
        return
    _data(value)


def _data(value: Any) -> None:
    assert type(value) in (str, tokens.SecretRef, int, float, bool, type(None), list, dict), type(value)
    for part in value if isinstance(value, list) else value.items() if isinstance(value, dict) else ():
        _data(list(part) if isinstance(part, tuple) else part)
