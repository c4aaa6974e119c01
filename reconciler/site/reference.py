"""docs/site-reference.md, out of the schemas and the catalogue: what a site may say, and what each word means."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler import data
from reconciler.catalogue import Catalogue, Service, Variable
from reconciler.options.table import REFUSED, TABLE, Change, Option
from reconciler.site.networks import FALLBACK

_LONGEST_DEFAULT: Final = 120

_LAYOUT: Final = """\
# Site reference

Every file, key and variable that a site may use. Generated from `schemas/` and `services/` by `reconciler schema`; what is
missing here is refused by `reconciler validate`, with the nearest name that exists.

## Files

| path | content |
|---|---|
| `inventory.yml` | hosts with their addresses and groups (required) |
| `globals.yml` | variables of the whole site |
| `groups/<group>.yml` | variables of the hosts of a group |
| `hosts/<host>.yml` | variables of one host |
| `passwords.yml`, `passwords/<group>.yml`, `hosts/<host>.passwords.yml` | secrets, encrypted with SOPS |
| `config/…` | overrides of config files; only the paths listed under each service are read. One that sops encrypted as a whole is a secret file |
| `services/<name>/` | the site's own services |
| `reconciler.yml` | the site's policy |
| `kolla_build.yml` | the images that the site builds itself ([images](images.md)) |

Files that begin with a dot, Markdown files and `docs/` are nobody's business; every other file is an error.

YAML is read strictly: UTF-8, one document per file, no key twice, no anchors, aliases, merge keys or tags. Scalars are those of
YAML 1.2: `yes`, `no`, `on`, `off` and `22:22` are text, `0777` is the number 777. A text with `{{ … }}` or `{% … %}` is a
Jinja2 expression over the site's variables.

For a variable of type boolean the texts `yes`, `no`, `on`, `off`, `true`, `false` (in any case) are taken for what they mean, as
Kolla sites write them; for a number, a text like `"8080"`. A variable of type text takes no number: quote it.
A number keeps its spelling: `24.10`, `0123` and `0x1F` calculate and compare as numbers, and where a text is made of one (in files,
environment, labels, commands, log options) it is what stood in the file. A variable whose type is a number has it without its
spelling, and so have `to_json` and `to_yaml`. In a YAML override every scalar stays as it is written.

An override is UTF-8 text; a byte order mark at its beginning is dropped and its line ends become LF. A pointer of Git LFS, a web page,
an unresolved merge, UTF-16, U+0000 and characters that cannot be seen are refused with file and line, in templates of own services
too. An entry with `verbatim: true` that is neither merged nor of a format delivers every byte as it is, and may be no text at all: an image, a
font, a keystore. A file of the site has at most 4 MiB, all of them 64 MiB, and those of a host that are no text 16 MiB, counted once for every
container and job that has them.
What is merged as ini has sections and `key = value` (MariaDB's files bare options as well), what is merged as YAML is a mapping.
What replaces a whole file must be what its format says: JSON and YAML are parsed; in files of HAProxy, Apache, keepalived, MariaDB
and Erlang sections, brackets, tags and quotes must fit.

## Precedence

Later wins, as a whole: lists and mappings are not merged.

1. the catalogue's default
2. `globals.yml`
3. `groups/<group>.yml`, outer groups before inner ones: a group comes before its children; `all` is the outermost. Among groups
   of one level, those that the inventory declares under `groups:` come first, in its order
4. the host: `interfaces` and `variables` in `inventory.yml`, and `hosts/<host>.yml` (the same variable in two of these is an error)

`reconciler explain VARIABLE --host HOST` shows all layers of a value with file and line.

A variable that is in no table below is an error, except the site's own, whose names begin with `site_`: these have no type.

Secrets are read by name from `passwords.yml`, then the files of the host's groups in the same order, then the host's own.
"""


def reference_markdown(catalogue: Catalogue) -> str:
    """The whole reference as Markdown. The same catalogue gives the same text."""
    parts = [_LAYOUT, *_inventory(), *_policy(), *_building(), *_settings(), *_containers()]
    parts.append("## Services\n")
    for service in catalogue.services.values():
        parts += _service(service, catalogue)
    return "\n".join(parts).rstrip() + "\n"


def _inventory() -> Iterator[str]:
    schema = data.schema("inventory")
    yield f"## inventory.yml\n\n{schema['description']}\n"
    host = schema["$defs"]["host"]["properties"]
    rows = [("addresses", host["addresses"]["description"])]
    rows += [(key, host[key]["description"]) for key in host if key != "addresses"]
    yield table(("key of a host", "meaning"), [(f"`{key}`", text) for key, text in rows])
    networks = host["addresses"]["properties"].items()
    yield table(
        ("network", "falls back on", "what for"),
        [
            (f"`{name}`", f"`{FALLBACK[name]}`" if name in FALLBACK else "", part["description"])
            for name, part in networks
        ],
    )
    facts = host["facts"]["properties"].items()
    yield table(("fact", "type", "meaning"), [(f"`{name}`", part["type"], part["description"]) for name, part in facts])
    group = schema["$defs"]["group"]["properties"].items()
    yield table(("key of a group", "meaning"), [(f"`{key}`", part["description"]) for key, part in group])
    yield "A group of the catalogue that the inventory does not declare has the hosts of the groups named under its service.\n"


def _policy() -> Iterator[str]:
    schema = data.schema("reconciler")
    yield f"## reconciler.yml\n\n{schema['description']}\n"
    yield table(("key", "default", "meaning"), list(_policy_rows("", schema)))


def _building() -> Iterator[str]:
    schema = data.schema("kolla_build")
    yield f"## kolla_build.yml\n\n{schema['description']}\n"
    yield table(("key", "default", "meaning"), list(_policy_rows("", schema)))


def _settings() -> Iterator[str]:
    schema = data.schema("settings")
    yield f"## reconciler.toml\n\n{schema['description']} Not in the repository.\n"
    yield table(("key", "default", "meaning"), list(_policy_rows("", schema)))


def _containers() -> Iterator[str]:
    yield (
        "## Options of containers\n\nWhat a container of a `service.yml` may say of itself to the engine; [services.md](services.md) has "
        "the rest. A container that runs keeps its id when the engine can change the option (update), and is made anew otherwise "
        "(replace). Who may ask: the setting of the host's own policy that has to grant it ([operations.md](operations.md)), or why "
        "none has to.\n"
    )
    yield table(
        ("option", "type", "a difference needs", "who may ask", "meaning"), [_option(one) for one in TABLE.values()]
    )
    yield "What other tools have and a container here does not, and what to do instead:\n"
    yield table(("word", "instead"), [(f"`{word}`", text) for word, text in REFUSED.items()])


def _option(row: Option) -> tuple[str, ...]:
    change = str(row.change)
    if row.change is Change.UPDATE and row.lift is None and not row.default:
        change += "; replace when it is no longer set"
    who = ", ".join(f"`policy.{name}`" for name in row.granted_by) or f"anybody: {row.harmless}"
    return f"`{row.key}`", row.form or str(row.kind), change, who, row.doc


def _policy_rows(prefix: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, part in schema["properties"].items():
        key = f"{prefix}{name}"
        words = part.get("description", "")
        if "enum" in part:
            words += f" One of {', '.join(f'`{word}`' for word in part['enum'])}."
        if "properties" in part:
            yield f"`{key}`", "", words
            yield from _policy_rows(f"{key}.", part)
        else:
            yield f"`{key}`", _default(part["default"]) if "default" in part else "", words
        if "properties" in part.get("items", {}):
            yield from _policy_rows(f"{key}[].", part["items"])
        if "properties" in (each := part.get("additionalProperties") or {}):
            yield from _policy_rows(f"{key}.<name>.", each)


def _service(service: Service, catalogue: Catalogue) -> Iterator[str]:
    content = service.document.data if isinstance(service.document.data, dict) else {}
    yield f"### {service.name}\n"
    if content.get("description"):
        yield f"{content['description']}.\n"
    groups = service.section("groups")
    if groups:
        yield table(
            ("group", "hosts by default"),
            [
                (f"`{name}`", ", ".join(f"`{parent}`" for parent in parents or ()) or "none")
                for name, parents in groups.items()
            ],
        )
    patterns = dict.fromkeys(one.pattern for one in catalogue.override_patterns() if one.service == service.name)
    if patterns:
        yield "Overrides that are read:\n"
        yield "\n".join(f"- `config/{pattern}`" for pattern in patterns) + "\n"
    passwords = service.section("passwords")
    if passwords:
        kinds = [(f"`{name}`", str((one or {}).get("kind", ""))) for name, one in passwords.items()]
        yield table(("password", "kind"), kinds)
    if service.variables:
        rows = [row(variable) for variable in service.variables.values()]
        yield table(("variable", "type", "default", "description"), rows)


def row(variable: Variable) -> tuple[str, str, str, str]:
    """A variable in a table: its name, type, default and description."""
    schema = variable.schema
    kinds = schema.get("type", "any")
    kind = kinds if isinstance(kinds, str) else " or ".join(kinds)
    if "enum" in schema:
        kind = " | ".join(f"`{_inline(word)}`" for word in schema["enum"])
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    words = " ".join(f"{variable.description} {_lifetime(variable)}".split())
    examples = [schema["example"]] if "example" in schema else schema.get("examples", ())
    if examples:
        words += f" Example: {', '.join(_default(example) for example in examples)}"
    default = "**required**" if variable.required else _default(variable.default)
    return f"`{variable.name}`", " ".join([kind, *bounds]), default, words


def _lifetime(variable: Variable) -> str:
    """Since which release of OpenStack it is there, and until which."""
    since = f"Since {variable.since}." if variable.since else ""
    gone = f"Gone in {variable.removed_in}: {variable.advice}." if variable.removed_in else ""
    return f"{since} {gone}"


def _default(value: Any) -> str:
    text = _inline(value)
    return f"`{text}`" if len(text) <= _LONGEST_DEFAULT else f"`{text[: _LONGEST_DEFAULT - 1]}…`"


def _inline(value: Any) -> str:
    """A value as one line of YAML flow style, near enough for a table."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split()).replace("`", "ˋ")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
