"""`doctor`: what is right and wrong on this node, and what to do."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings

if TYPE_CHECKING:
    from reconciler.node.doctor import Check


@click.command()
@click.option("--only", multiple=True, help="Only this check; may be repeated.")
@json_option
@config_option
def doctor(only: tuple[str, ...], json_: bool) -> int:
    """Check this node and say what to do.

    Looks at engine, git server, keys, clock, disk, ports, addresses, names, permissions.

    Exits with 0 when nothing failed (warnings do not count), 1 otherwise.
    """
    from reconciler.node.doctor import examine, names

    if unknown := set(only) - set(names()):
        raise click.UsageError(f"no check is called {', '.join(sorted(unknown))} (there are {', '.join(names())})")
    with output.progress("looking"):
        found = list(examine(load_settings(), only=frozenset(only)))
    if json_:
        output.as_json([asdict(check) for check in found])
    else:
        show(found)
    return 1 if any(check.verdict == "fail" for check in found) else 0


def show(found: Iterable["Check"]) -> None:
    """One line per finding, advice below it."""
    for check in found:
        output.line(f"{check.verdict:<4}  {check.name:<13}  {check.message}", check.verdict)
        if check.advice:
            output.line(f"      {'':<13}  → {check.advice}")
