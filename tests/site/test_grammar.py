"""Kolla's spellings, durations, suggestions, defaults."""

from typing import Any

import pytest

from reconciler import data
from reconciler.document.grammar import Grammar, defaults, normalise, resolved, seconds
from reconciler.document.keywords import is_expression
from reconciler.document.words import nearest, show, suggest
from reconciler.document.yaml import Document


@pytest.mark.parametrize(
    "value, kinds, expected",
    [
        ("yes", "boolean", True),
        ("No", "boolean", False),
        ("TRUE", "boolean", True),
        ("off", "boolean", False),
        ("maybe", "boolean", "maybe"),
        ("1", "boolean", "1"),
        ("yes", "string", "yes"),
        ("yes", ["string", "boolean"], "yes"),
        ("yes", ["boolean", "null"], True),
        ("8080", "integer", 8080),
        ("-1", "integer", -1),
        ("0777", "integer", 777),
        ("8080.5", "integer", "8080.5"),
        ("8080", "number", 8080),
        ("0.5", "number", 0.5),
        ("1e-3", "number", 0.001),
        ("1e999", "number", "1e999"),
        ("", "integer", ""),
        ("9" * 40, "integer", "9" * 40),
        (8080, "string", 8080),
        (True, "string", True),
        ("{{ port }}", "integer", "{{ port }}"),
        (None, "boolean", None),
    ],
)
def test_spellings(value: Any, kinds: Any, expected: Any) -> None:
    result = normalise(value, {"type": kinds})
    assert result == expected
    assert type(result) is type(expected)


def test_spellings_below_lists_and_mappings() -> None:
    schema = {
        "type": "object",
        "properties": {"ports": {"type": "array", "items": {"type": "integer"}}, "name": {"type": "string"}},
        "additionalProperties": {"type": "boolean"},
    }
    value = {"ports": ["1", 2, "x"], "name": "yes", "other": "no"}
    assert normalise(value, schema) == {"ports": [1, 2, "x"], "name": "yes", "other": False}
    assert value == {"ports": ["1", 2, "x"], "name": "yes", "other": "no"}


@pytest.mark.parametrize(
    "value, expected",
    [
        (30, 30),
        (0.5, 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("2d", 172800),
        ("1.5h", 5400),
        ("200ms", 0.2),
        ("7", 7),
    ],
)
def test_durations(value: Any, expected: float) -> None:
    assert seconds(value) == pytest.approx(expected)


@pytest.mark.parametrize("value", ["", "5 minutes", "-5s", -5, True, None, "1h30m", [5]])
def test_no_durations(value: Any) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds(value)


@pytest.mark.parametrize(
    "word, known, near",
    [
        ("nova_cpu_mod", ["nova_cpu_mode", "nova_cpu_model"], "nova_cpu_mode"),
        ("Enable-Keystone", ["enable_keystone"], "enable_keystone"),
        ("enable_x", ["enable_cron", "enable_heat"], ""),
        ("rack2", ["rack1", "rack3"], ""),
        ("rack01", ["rack1", "rack2"], "rack1"),
        ("rak1", ["rack1", "rack2"], "rack1"),
        ("ovs", ["openvswitch", "ovn"], "openvswitch"),
        ("ovm", ["openvswitch", "ovn"], "ovn"),
        ("apl", ["apply", "plan"], "apply"),
        ("rp", ["report", "repair"], ""),
        ("", ["report", "ovn"], ""),
        ("anything", [], ""),
    ],
)
def test_suggestions(word: str, known: list[str], near: str) -> None:
    assert nearest(word, known) == near
    assert suggest(word, known) == (f"did you mean {near!r}?" if near else "")


@pytest.mark.parametrize("value", ["{{ a }}", "x{{ a }}y", "{% if a %}b{% endif %}"])
def test_expressions_stand_for_any_value(value: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "additionalProperties": False}
    assert is_expression(value)
    assert Grammar(schema, expressions=True).check(Document("f", {"a": value})) == []
    assert Grammar(schema, expressions=True).check(Document("f", value)) == []
    assert Grammar(schema).check(Document("f", {"a": value})) != []
    assert Grammar({"type": "integer"}, expressions=True).check(Document("f", value)) == []
    assert Grammar({"type": "integer"}).check(Document("f", value)) != []


@pytest.mark.parametrize("value", ["{ a }", "a }}", "", 5, None, ["{{ a }}"]])
def test_what_is_no_expression(value: Any) -> None:
    assert not is_expression(value)


def test_alternatives_are_explained_by_the_nearest() -> None:
    schema = {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "array", "items": {"type": "string"}}]}

    def messages(value: Any) -> list[str]:
        return [problem.message for problem in Grammar(schema).check(Document("f", value))]

    assert messages(3) == ["must be at least 5, is 3"]
    assert messages(["a", 1]) == ["must be a text, is 1"]
    assert messages("x") == ["must be an integer or a list, is 'x'"]


def test_long_values_are_cut_and_secrets_of_mappings_not_shown() -> None:
    assert len(show("x" * 1000)) < 70
    assert show({"password": "hunter2"}) == "a mapping"
    assert show("https://user:hunter2@git.example.org/") == "'https://user:***@git.example.org/'"
    assert "hunter2" not in show("https://user:hunter2" + "x" * 100 + "@git.example.org/")


def test_defaults_are_filled_in_below_what_is_said() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "object", "default": {}, "properties": {"b": {"default": 1}, "c": {"$ref": "#/$defs/time"}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"d": {"default": "x"}}}},
        },
        "$defs": {"time": {"type": "string", "format": "duration", "default": "5m"}},
    }
    assert defaults({}, schema) == {"a": {"b": 1}}
    assert defaults({"a": {"c": "1m"}, "list": [{}, {"d": "y"}]}, schema) == {
        "a": {"b": 1, "c": 60},
        "list": [{"d": "x"}, {"d": "y"}],
    }


@pytest.mark.parametrize("value", ["9" * 400 + "s", "4000d", 10**18, -1, True, "1.5.5h", float("inf")])
def test_durations_that_are_none(value: Any) -> None:
    with pytest.raises(ValueError, match=r"duration|too long"):
        seconds(value)


@pytest.mark.parametrize(
    ("items", "twice"),
    [
        ([1, True], False),
        ([1, 1.0], True),
        ([0, False, "", None, [], {}], False),
        ([{"a": 1, "b": [2]}, {"b": [2], "a": 1}], True),
        ([[1], [True]], False),
        ([["a"], "a"], False),
    ],
)
def test_unique_is_what_json_schema_calls_unique(items: list[Any], twice: bool) -> None:
    assert Grammar({"type": "array", "uniqueItems": True, "minItems": 0}).valid(items) is not twice
    assert Grammar({"enum": items[:1]}).valid(items[1]) is twice


def test_a_pattern_ends_where_the_text_does() -> None:
    grammar = Grammar({"type": "string", "pattern": "^[a-z]+$"})
    assert grammar.valid("web") and not grammar.valid("web\n")


def test_of_very_many_problems_the_first_are_shown() -> None:
    found = Grammar({"type": "array", "items": {"type": "string"}}).check(Document("f.yml", list(range(500))))
    assert len(found) == 101 and "more problems than these 100" in found[-1].message


_INVENTORIES = (
    {"hosts": {"a": {"addresses": {"network": "10.0.0.1"}, "groups": ["one"], "facts": {"processor_vcpus": 4}}}},
    {"hosts": {"a": {"addresses": {"network": "10.0.0"}, "grups": [], "interfaces": {"tunel": "", "api": ""}}}},
    {"hosts": {"a b": None, "c": {"groups": ["x", "x", 1], "facts": {"vcpus": 0, "fqdn": 1}}}, "groups": {"-": {"hosts": "a"}}},
    {"hosts": {}, "left": {"z": {"since": "yesterday", "groups": [], "addresses": {"network": 1}}}},
)  # fmt: skip


@pytest.mark.parametrize("content", _INVENTORIES)
def test_definitions_in_their_places_mean_the_same(content: Any) -> None:
    schema, document = data.schema("inventory"), Document("inventory.yml", content)
    found = Grammar(schema).check(document)
    assert Grammar(resolved(schema)).check(document) == found
    assert (found == []) is (content is _INVENTORIES[0])


def test_a_definition_that_names_itself_or_has_more_beside_it() -> None:
    tree = {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/tree", "description": "A tree of nothing else."},
    }
    grammar = Grammar(resolved({"$ref": "#/$defs/tree", "$defs": {"tree": tree}}))
    assert grammar.valid({"a": {"b": {}}}) and not grammar.valid({"a": {"b": {"c": 1}}})
    both = Grammar(resolved({"$defs": {"word": {"type": "string"}}, "items": {"$ref": "#/$defs/word", "maxLength": 2}}))
    assert both.valid(["ab"]) and not both.valid(["abc"]) and not both.valid([1])
