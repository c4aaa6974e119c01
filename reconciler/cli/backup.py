"""`backup now`, `list`, `verify`: the backups that services of this host keep."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings

if TYPE_CHECKING:
    from reconciler.engine import Engine
    from reconciler.model import Container

_HOURS = click.option("--hours", default=12.0, show_default=True, help="How long it may take.")
_OF = click.option("--of", "keeper", help="The container that keeps them, where there is more than one.")


@click.group()
def backup() -> None:
    """Take, list and try the backups that services of this host keep.

    MariaDB's are taken by a schedule (enable_mariadb_backup_schedule) on mariadb_backup_host.
    """


@backup.command("list")
@_OF
@json_option
@config_option
def list_(keeper: str | None, json_: bool) -> None:
    """Show what is there, the newest first."""
    from reconciler.node import backups

    with _keepers(keeper) as (engine, found):
        every = {one.name: backups.listed(engine, one) for one in found}
    if json_:
        output.as_json({name: [asdict(one) for one in rows] for name, rows in every.items()})
        return
    now = datetime.now(UTC)
    for name, rows in every.items():
        if not rows:
            output.line(f"{name}: none yet (`reconciler backup now` takes one)", "warn")
            continue
        output.table(
            ["BACKUP", "AGE", "TOOK", "SIZE", "BASED ON", "READ AGAIN"],
            [
                [
                    one.name,
                    output.ago((now - one.moment).total_seconds()),
                    f"{one.ended - one.started} s",
                    f"{one.packed / 2**20:.1f} MiB",
                    one.base or "-",
                    output.ago(now.timestamp() - one.verified) + " ago" if one.verified else "never",
                ]
                for one in rows
            ],
        )


@backup.command()
@click.option("--kind", type=click.Choice(["full", "incremental"]), default="full", show_default=True)
@_OF
@_HOURS
@json_option
@config_option
def now(kind: str, keeper: str | None, hours: float, json_: bool) -> None:
    """Take one now, beside the schedule."""
    from reconciler.node import backups

    made: dict[str, Any] = {}
    with _keepers(keeper) as (engine, found):
        for one in found:
            with output.progress(f"{one.name} takes a backup"):
                said = backups.take(engine, one, kind, hours * 3600)
            if json_:
                newest = next(iter(backups.listed(engine, one)), None)
                made[one.name] = asdict(newest) if newest else None
            else:
                output.line(f"{one.name}: {said}", "ok")
    if json_:
        output.as_json(made)


@backup.command()
@click.argument("name", default="")
@_OF
@_HOURS
@json_option
@config_option
def verify(name: str, keeper: str | None, hours: float, json_: bool) -> None:
    """Restore one on trial, the newest or NAME, and read every row of it; of what is only kept elsewhere, get every byte back.

    In a container of its own with the same image, which is removed afterwards; what runs is not touched. It needs as much space as
    the database, below the engine's data root.
    """
    from reconciler.node import backups

    made: dict[str, Any] = {}
    with _keepers(keeper) as (engine, found):
        for one in found:
            with output.progress(f"{one.name}_verify reads {name or 'the newest'}"):
                read = backups.verify(engine, one, name, hours * 3600)
            if json_:
                made[one.name] = asdict(read)
            else:
                found_in = f"{read.databases} databases, {read.tables} tables, {read.rows} rows read"
                if read.files:
                    found_in = f"{read.files} files came back as they were taken, {read.bytes / 2**20:.1f} MiB"
                output.line(f"{read.name} can be restored: {found_in} in {read.seconds} s", "ok")
    if json_:
        output.as_json(made)


@contextmanager
def _keepers(name: str | None) -> "Iterator[tuple[Engine, tuple[Container, ...]]]":
    from reconciler.node import backups
    from reconciler.node.node import Node

    node = Node(load_settings(), forge=False)
    try:
        node.require_state()
        yield node.engine, backups.keepers(node.state.memory(), name)
    finally:
        node.close()
