"""`facts`: what an import asks of a host, for where there is no fact cache of Ansible."""

import json
from pathlib import Path

import click

from reconciler.cli import output, written


@click.command()
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write the host's file into, instead of printing it.",
)  # fmt: skip
@click.option(
    "--name", help="The host's name in kolla-ansible's inventory, which names the file. Default: its host name."
)
def facts(into: Path | None, name: str | None) -> None:
    """Print what this host is: name, addresses of its interfaces, processors, memory, distribution.

    In the form of Ansible's fact cache, as `reconciler import kolla-ansible --facts DIR` reads it: one file for each host,
    named as the inventory names the host. Nothing is changed on the host, and nothing is asked of the engine.
    """
    from reconciler.node.facts import gather

    found = gather()
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if into is None:
        click.echo(text, nl=False)
        return
    path = into / (name or found["ansible_hostname"])
    written.write(path, text)
    output.line(f"wrote {path}", "ok")
