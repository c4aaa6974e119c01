"""`schema`: the grammars of a site's files, for editors and as a reference for people."""

import json
from pathlib import Path

import click

from reconciler.cli import output, written
from reconciler.cli.options import json_option

# Schema → the files it is for, as `yaml-language-server` is told.
_FILES = {
    "inventory": ("inventory.yml",),
    "globals": ("globals.yml", "groups/*.yml", "hosts/*.yml"),
    "kolla_build": ("kolla_build.yml",),
    "reconciler": ("reconciler.yml",),
    "service": ("services/*/service.yml",),
    "variables": ("services/*/variables.yml",),
}


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
    from reconciler.site.editor import composed_schemas
    from reconciler.site.reference import reference_markdown
    from reconciler.source import prepare

    catalogue = prepare.shipped()
    schemas = composed_schemas(catalogue)
    if out:
        for name, content in schemas.items():
            written.write(out / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if docs:
        written.write(docs, reference_markdown(catalogue))
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
