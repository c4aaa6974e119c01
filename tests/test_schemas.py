"""The grammars: valid themselves, true to their examples, and true to the catalogue that ships."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler import catalogue, data
from reconciler.document import yaml
from reconciler.document.grammar import Grammar, formats
from reconciler.site.editor import composed_schemas
from reconciler.site.reference import reference_markdown
from tests.site.generate import make_site

SCHEMAS = sorted(data.path("schemas").glob("*.schema.json"))
SERVICES = sorted(data.path("services").glob("*/*.yml"))
SITE_SCHEMAS = {f"{name}.schema.json" for name in ("inventory", "kolla_build", "reconciler", "service", "variables")}
# Annotations of ours: everything else in a schema must be a word of the dialect, or it would silently mean nothing.
ANNOTATIONS = {"x-expects", "x-instead", "x-literal"}


def subschemas(schema: Any) -> Any:
    """Every schema in a schema, itself first."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "patternProperties", "$defs", "dependentSchemas"):
        for part in schema.get(key, {}).values():
            yield from subschemas(part)
    for key in ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else", "contains"):
        yield from subschemas(schema.get(key))
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key, ()):
            yield from subschemas(part)


@pytest.fixture(scope="module")
def shipped() -> catalogue.Catalogue:
    return catalogue.load(data.services(), "catalogue")


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_is_valid_and_says_what_it_is(path: Path) -> None:
    schema = json.loads(path.read_bytes())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"https://reconciler.invalid/schemas/{path.name}"
    assert schema["title"]
    assert schema["description"]


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_examples_keep_to_their_schema(path: Path) -> None:
    schema = json.loads(path.read_bytes())
    validator = Draft202012Validator(schema, format_checker=formats)
    assert path.name not in SITE_SCHEMAS or schema["examples"]
    for part in subschemas(schema):
        for example in part.get("examples", ()):
            errors = list(validator.evolve(schema=part).iter_errors(example))
            assert not errors, errors[0].message


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_uses_only_words_of_the_dialect(path: Path) -> None:
    schema = json.loads(path.read_bytes())
    known = set(Draft202012Validator.VALIDATORS) | ANNOTATIONS
    known |= {"$schema", "$id", "$defs", "title", "description", "examples", "default", "then", "else", "deprecated"}
    assert {key for part in subschemas(schema) for key in part} - known == set()


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_every_property_is_described(path: Path) -> None:
    schema = json.loads(path.read_bytes())
    bare = []
    for part in subschemas(schema):
        for name, child in part.get("properties", {}).items():
            target = (
                schema["$defs"].get(child.get("$ref", "").removeprefix("#/$defs/"), {}) if "$defs" in schema else {}
            )
            condition = part is not schema and set(part) <= {
                "properties",
                "required",
            }  # an `if`, which says nothing new
            if not condition and "description" not in child and "description" not in target:
                bare.append(name)
    assert bare == []


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_service_keeps_to_its_grammar(path: Path, shipped: catalogue.Catalogue) -> None:
    document = yaml.load(path.read_bytes(), path.name)
    assert Grammar(data.schema(path.stem), expressions=path.stem == "service").check(document) == []
    composed = composed_schemas(shipped)[f"{path.stem}.schema.json"]
    errors = list(Draft202012Validator(composed).iter_errors(document.data or {}))
    assert not errors, f"{list(errors[0].absolute_path)}: {errors[0].message}"


def test_composed_schemas_are_valid(shipped: catalogue.Catalogue) -> None:
    for schema in composed_schemas(shipped).values():
        Draft202012Validator.check_schema(schema)


def test_editor_takes_a_whole_generated_site(shipped: catalogue.Catalogue) -> None:
    composed = composed_schemas(shipped)
    for path, content in make_site(30).items():
        if path.endswith(".yml") and not path.startswith("config/"):
            name = path if path in ("inventory.yml", "reconciler.yml") else "globals.yml"
            schema = composed[name.replace(".yml", ".schema.json")]
            errors = list(Draft202012Validator(schema).iter_errors(yaml.load(content, path).data))
            assert not errors, f"{path}: {errors[0].message}"


@pytest.mark.parametrize(
    "value, allowed",
    [(True, True), ("yes", True), ("No", True), ("{{ enable_openstack_core }}", True), ("maybe", False), (3, False)],
)
def test_editor_knows_spellings_and_expressions(shipped: catalogue.Catalogue, value: Any, allowed: bool) -> None:
    schema = composed_schemas(shipped)["globals.schema.json"]
    assert Draft202012Validator(schema).is_valid({"enable_mariadb": value}) is allowed


def test_editor_knows_no_other_variables(shipped: catalogue.Catalogue) -> None:
    validator = Draft202012Validator(composed_schemas(shipped)["globals.schema.json"])
    assert validator.is_valid({"site_anything": [1, {"a": None}]})
    assert not validator.is_valid({"enable_mariadbb": True})
    inventory = Draft202012Validator(composed_schemas(shipped)["inventory.schema.json"])
    assert inventory.is_valid({"hosts": {"a": {"variables": {"enable_mariadb": False}}}})
    assert not inventory.is_valid({"hosts": {"a": {"variables": {"enable_mariadbb": False}}}})


def test_reference_names_everything(shipped: catalogue.Catalogue) -> None:
    text = reference_markdown(shipped)
    assert text == reference_markdown(shipped)
    for name in (*shipped.variables, *shipped.passwords(), *shipped.groups()):
        assert f"| `{name}` |" in text, name
    for pattern in shipped.override_patterns():
        assert f"- `config/{pattern.pattern}`" in text
    assert "| `prune.max` | `5` |" in text


def test_reference_tables_have_even_rows(shipped: catalogue.Catalogue) -> None:
    width = 0
    for line in reference_markdown(shipped).splitlines():
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else 0
        assert not width or not cells or cells == width, line
        width = cells
