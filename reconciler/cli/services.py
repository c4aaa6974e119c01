"""`services`: what the catalogue has, and all about one service of it."""

from pathlib import Path

import click

from reconciler.cli import output, written
from reconciler.cli.options import json_option


@click.command()
@click.argument("name", default="")
@click.option(
    "--docs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write a page for each service into (Markdown).",
)
@json_option
def services(name: str, docs: Path | None, json_: bool) -> None:
    """List the services of the catalogue, or show one: containers, files, ports, variables, usual troubles.

    \b
    NAME  a service; without it all of them are listed
    """
    from reconciler import data
    from reconciler.document.words import suggest
    from reconciler.site import service_page
    from reconciler.site.effects import Effects
    from reconciler.source import prepare

    catalogue = prepare.shipped()
    prose = {
        path.partition("/")[0]: text.decode() for path, text in data.services().items() if path.endswith("/README.md")
    }
    effects = Effects(catalogue)
    pages = {
        one: service_page.page_markdown(service, catalogue, effects, prose.get(one, ""))
        for one, service in catalogue.services.items()
        if docs or one == name
    }
    if docs:
        for one, text in {**pages, "README": service_page.index_markdown(catalogue)}.items():
            written.write(docs / f"{one}.md", text)
        output.line(f"{len(pages)} pages written to {docs}")
        return
    if name and name not in catalogue.services:
        raise click.BadParameter(
            f"the catalogue has no service {name!r} ({suggest(name, catalogue.services)})", param_hint="NAME"
        )
    if json_:
        listed = {
            one: service_page.description(service) for one, service in catalogue.services.items() if name in ("", one)
        }
        output.as_json(listed)
    elif name:
        output.document(pages[name], nl=False)
    else:
        output.table(
            ("service", "what it is"),
            [(one, service_page.description(service)) for one, service in catalogue.services.items()],
        )
