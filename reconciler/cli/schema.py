"""`schema`: the grammars of a site's files, for editors and as a reference for people."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from reconciler.cli import output
from reconciler.cli.options import json_option

# File name → what it is for, as `yaml-language-server` is told.
_FILES = {
    "inventory": ("inventory.yml",),
    "variables-of-a-site": ("globals.yml", "groups/*.yml", "hosts/*.yml"),
    "reconciler": ("reconciler.yml",),
    "service": ("services/*/service.yml",),
    "variables": ("services/*/variables.yml",),
    "settings": (),
}


_DEEPEST = 6


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to write the schemas into.")
@click.option(
    "--docs", type=click.Path(dir_okay=False, path_type=Path), help="File to write the reference into (Markdown)."
)
@json_option
def schema(out: Path | None, docs: Path | None, json_: bool) -> None:
    """Write the schemas of a site's files, or their reference.

    With neither --out nor --docs: print all schemas as one JSON object.
    """
    schemas = composed()
    if out:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in schemas.items():
            (out / f"{name}.schema.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if docs:
        docs.write_text(reference(schemas), encoding="utf-8")
    if json_ or not (out or docs):
        output.as_json(schemas)
        return
    if out:
        output.line(f"{len(schemas)} schemas written to {out}")
        output.line("for editors with yaml-language-server, as the first line of a file:")
        for name, patterns in _FILES.items():
            for pattern in patterns:
                output.line(f"  {pattern:<24} # yaml-language-server: $schema={out}/{name}.schema.json")
    if docs:
        output.line(f"reference written to {docs}")


def composed() -> dict[str, Any]:
    """Every grammar by name; the one of a site's variables put together from all services."""
    from reconciler import data

    result: dict[str, Any] = {}
    for name in _FILES:
        result[name] = _variables() if name == "variables-of-a-site" else dict(data.schema(name))
    return result


def _variables() -> dict[str, Any]:
    from reconciler import prepare

    properties = {}
    for name, variable in prepare.shipped().variables.items():
        fragment = {key: value for key, value in variable.schema.items() if not key.startswith("x-")}
        if not variable.required:
            fragment["default"] = variable.default
        # Kolla's spellings, and expressions, are accepted wherever the type is not text.
        types = fragment.get("type")
        if types not in (None, "string"):
            fragment = {
                "description": fragment.pop("description", ""),
                "default": fragment.pop("default", None),
                "anyOf": [fragment, {"type": "string", "pattern": r"\{[{%]|^\s*(yes|no|true|false|\d+(\.\d+)?)\s*$"}],
            }
        properties[name] = fragment
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:reconciler:schema:variables-of-a-site",
        "title": "Variables of a site",
        "description": "globals.yml, groups/<group>.yml and hosts/<host>.yml.",
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {"^site_": {"description": "A variable of the site's own."}},
        "properties": properties,
    }


# --- the reference --------------------------------------------------------------------------------------------------


def reference(schemas: Mapping[str, Any]) -> str:
    """Markdown: every file of a site, every key and variable with type, default and description."""
    lines = [
        "# Files of a site",
        "",
        "Made from the schemas by `reconciler schema --docs`; not to be edited.",
        "",
        'Values that the schema types as boolean or number may be written as Kolla writes them (`"yes"`, `"8080"`), and any',
        "value may be a Jinja2 expression.",
        "",
    ]
    for name, title in (
        ("inventory", "inventory.yml"),
        ("reconciler", "reconciler.yml"),
        ("settings", "/etc/reconciler/reconciler.toml (on each node, not in the repository)"),
    ):
        lines += [
            f"## {title}",
            "",
            str(schemas[name].get("description", "")),
            "",
            *_keys(schemas[name], "", schemas[name]),
        ]
        lines.append("")
    return "\n".join([*lines, *_services()]).rstrip() + "\n"


def _keys(node: Mapping[str, Any], prefix: str, root: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST:  # a grammar may contain itself
        return
    for key, content in node.get("properties", {}).items():
        yield from _key(f"{prefix}{key}", content, root, depth)
    extra = node.get("additionalProperties")
    if (
        isinstance(extra, dict)
        and {"properties", "description", "additionalProperties"} & _resolved(extra, root).keys()
    ):
        yield from _key(f"{prefix}<name>", extra, root, depth)


def _key(name: str, content: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Iterator[str]:
    content = _resolved(content, root)
    default = content.get("default")
    shown = "" if default in (None, {}, [], "") else f", default `{json.dumps(default, ensure_ascii=False)}`"
    meaning = _text(content.get("description", ""))
    yield f"- `{name}` ({_type(content)}{shown})" + (f": {meaning}" if meaning else "")
    yield from (f"  {line}" for line in _keys(content, f"{name}.", root, depth + 1))
    items = content.get("items")
    if isinstance(items, dict):
        yield from (f"  {line}" for line in _keys(_resolved(items, root), f"{name}[].", root, depth + 1))


def _resolved(content: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what a reference into the same grammar's `$defs` says; what stands beside it counts more."""
    target = str(content.get("$ref", ""))
    if not target.startswith("#/$defs/"):
        return content
    found = root.get("$defs", {}).get(target.removeprefix("#/$defs/"), {})
    return {**_resolved(found, root), **{key: value for key, value in content.items() if key != "$ref"}}


def _services() -> Iterator[str]:
    from reconciler import prepare

    yield "## Variables"
    yield ""
    yield "For globals.yml, groups/<group>.yml and hosts/<host>.yml; names that begin with `site_` are the site's own."
    services: dict[str, list[Any]] = {}
    for variable in prepare.shipped().variables.values():
        services.setdefault(variable.service, []).append(variable)
    for service, variables in sorted(services.items()):
        yield ""
        yield f"### {service}"
        yield ""
        yield "| variable | type | default | meaning |"
        yield "|---|---|---|---|"
        for variable in sorted(variables, key=lambda v: str(v.name)):
            default = (
                "required" if variable.required else f"`{_cell(json.dumps(variable.default, ensure_ascii=False))}`"
            )
            yield f"| `{variable.name}` | {_cell(_type(variable.schema))} | {default} | {_cell(variable.description)} |"


def _type(content: Mapping[str, Any]) -> str:
    if "enum" in content:
        return "one of " + ", ".join(f"`{item}`" for item in content["enum"])
    if content.get("format") == "duration":
        return "duration"
    kind = content.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _text(text: str) -> str:
    return " ".join(str(text).split())


def _cell(text: str) -> str:
    short = _text(text)
    return (short if len(short) <= 160 else short[:159] + "…").replace("|", "\\|")
