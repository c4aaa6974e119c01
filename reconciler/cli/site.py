"""`validate`, `explain`, `render`: questions about a site repository. No node and, but for render, no key needed."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler import errors
from reconciler.cli import checkout, output, problems, written
from reconciler.cli.options import json_option, key_options, site_argument
from reconciler.git.content import Source
from reconciler.reasons import Reason
from reconciler.text import json_text, printable

if TYPE_CHECKING:
    from reconciler.source.prepare import Answer
    from reconciler.system.run import Limits

T = TypeVar("T")
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Validated:
    """What `children.validate` answers; `rendered` are hosts, one of each kind."""

    problems: tuple[errors.Problem, ...]
    hosts: int
    rendered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One place that sets a variable."""

    origin: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Explained:
    """What `children.explain` answers."""

    name: str
    host: str
    value: Any
    secret: bool
    description: str
    layers: tuple[Layer, ...]
    problems: tuple[errors.Problem, ...]


def in_child(function: str, argument: dict[str, Any], answers: type[T], *, seconds: float = _SECONDS) -> T:
    """Call a function of `children` in a sealed process; it reads the sources in `argument`. Raises what it raises."""
    from reconciler.source import child

    return child.ask(f"reconciler.cli.children:{function}", argument, answers, limits=_limits(seconds))


def answer_of(site: Path, host: str) -> "Answer":
    """What a host is to be, if a folder were its site. Raises as `in_child`."""
    from reconciler.source import child, prepare

    argument = {"source": source(site), "host": host}
    return child.ask("reconciler.source.prepare_child:of_folder", argument, prepare.Answer, limits=_limits(_SECONDS))


def in_children(function: str, argument: dict[str, Any], answers: type[T], *, seconds: float) -> list[T]:
    """As `in_child`, by several that share the hosts in `argument` (none: all)."""
    from reconciler.source import shares

    name, most = f"reconciler.cli.children:{function}", os.cpu_count() or 1
    return shares.ask(name, argument, answers, limits=_limits(seconds), most=most)


def _limits(seconds: float) -> "Limits":
    """Of many hosts each takes its time; what one host may take is bounded within."""
    from reconciler.source import child

    return replace(child.LIMITS, seconds=seconds, cpu_per_mib=80.0)


def source(site: Path) -> dict[str, str]:
    """A folder as a source for the functions of `children`."""
    return Source(site.resolve()).to_json()


@click.command()
@site_argument
@click.option("--format", "format_", type=click.Choice(problems.FORMATS), default="text", show_default=True)
@click.option("--json", "json_", is_flag=True, help="The same as --format json.")
@click.option("--all-hosts", is_flag=True, help="Render every host, not only one of each kind.")
def validate(site: Path, format_: str, json_: bool, all_hosts: bool) -> int:
    """Check a site, report every problem at once.

    Looks at every file in the folder SITE, and renders one host of each kind. Reports problems as file:line:column.
    Exits with 0 when there is none (warnings do not count), 1 when there
    are some, 2 when the check could not run.
    """
    with output.progress("validating"):
        answer = in_child("validate", {"source": source(site), "all_hosts": all_hosts}, Validated)
    found = list(answer.problems)
    if json_ or format_ == "json":
        output.as_json(problems.as_json(found, answer.hosts, list(answer.rendered)))
    elif format_ == "junit":
        output.document(problems.junit(found))
    elif format_ == "codequality":
        where = checkout.find(site)
        output.document(problems.code_quality(found, where.path if where else ""))
    else:
        output.line(problems.text(found, answer.hosts))
    return 1 if problems.count(found)[0] else 0


@click.command()
@click.argument("variable")
@site_argument
@click.option("--host", required=True, help="Host of the inventory.")
@json_option
def explain(variable: str, site: Path, host: str, json_: bool) -> int:
    """Show where the value of a variable comes from.

    Shows every layer that sets VARIABLE for the host, with file and line, and which one wins.
    """
    answer = in_child("explain", {"source": source(site), "host": host, "name": variable}, Explained)
    if json_:
        output.as_json({**asdict(answer), "problems": [str(problem) for problem in answer.problems]})
        return 1 if answer.problems else 0
    value = "(a secret)" if answer.secret else _shown(answer.value)
    output.line(f"{answer.name} on {answer.host} = {'(cannot be evaluated)' if answer.problems else value}")
    if answer.description:
        output.line(f"  {answer.description}")
    last = len(answer.layers) - 1
    rows = [
        ["=>" if index == last else "", layer.origin, _shown(layer.value), layer.place]
        for index, layer in enumerate(answer.layers)
    ]
    if rows:
        output.table(["", "LAYER", "VALUE", "PLACE"], rows)
    for problem in answer.problems:
        output.line(str(problem), err=True)
    return 1 if answer.problems else 0


@click.command()
@site_argument
@click.option("--host", required=True, help="Host of the inventory.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write into.")
@click.option(
    "--secrets",
    type=click.Choice(["placeholder", "sops"]),
    default="placeholder",
    show_default=True,
    help="placeholder: secrets stay tokens and no key is needed; sops: their values are written.",
)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@key_options
@json_option
def render(
    site: Path,
    host: str,
    out: Path,
    secrets: str,
    force: bool,
    ssh_key_file: Path | None,
    age_key_file: Path | None,
    json_: bool,
) -> None:
    """Write a host's configuration files into a folder.

    What would be below the host's configuration directory, the same bytes on every machine.
    """
    from reconciler.render import bind_tree, render_tree, tokens
    from reconciler.source import prepare
    from reconciler.system import files

    written.require_unlinked(out)
    if out.is_dir() and any(out.iterdir()) and not force:
        raise errors.Terminal(f"{out} is not empty (give another folder, or --force)", reason=Reason.OutputNotEmpty)
    answer = answer_of(site, host)
    contents, opened = render_tree(answer.desired), secrets == "sops"
    if opened:
        from reconciler.secrets import sops

        values = prepare.unlock(answer.locked, answer.desired, sops.Keys(age_key_file, ssh_key_file))
        # Identifiers, which only the cloud knows, stand by their names.
        held = {name for file in answer.desired.files for name in tokens.identifiers(file.content)}
        contents = bind_tree(answer.desired, {**values, **tokens.identified({name: f"id:{name}" for name in held})})
    # What is written may hold secrets: nobody else gets to see it on the way either.
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in filter(None, dict.fromkeys(file.path.rpartition("/")[0] for file in answer.desired.files)):
        files.make_dirs(out, folder, 0o700 if opened else 0o755, lasting=False)
    for file in answer.desired.files:
        mode = file.mode & 0o600 if opened else file.mode
        files.write_under(out, file.path, contents[file.path], mode=mode, lasting=False)
    if json_:
        names = [file.path for file in answer.desired.files]
        output.as_json({"host": host, "config_root": answer.desired.config_root, "files": names})
    else:
        output.line(
            f"{len(answer.desired.files)} files of {host} written to {out}{os.sep} ({answer.desired.config_root} on the node)"
        )


def _shown(value: Any) -> str:
    return printable(value) if isinstance(value, str) and value else json_text(value)
