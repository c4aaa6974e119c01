"""`images build`: the images that a site builds itself, with the genuine kolla-build, and their digests in globals.yml."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from reconciler import errors
from reconciler.cli import output, written
from reconciler.cli.options import json_option, site_argument
from reconciler.cli.secrets import put
from reconciler.cli.site import in_child, source
from reconciler.engine import Engine
from reconciler.reasons import Reason
from reconciler.site.kolla_build import FILE, Build
from reconciler.site.layout import GLOBALS
from reconciler.system import run

_HOURS = 6.0
_PASSED_ON = ("DOCKER_HOST", "DOCKER_CONFIG", "HOME", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Pinned:
    """What `children.pinned` answers."""

    text: str | None
    elsewhere: tuple[str, ...]


@click.group()
def images() -> None:
    """Build the images that a site makes itself.

    kolla_build.yml says which, with which packages and changes, and where they are pushed.
    """


@images.command()
@site_argument
@click.option("--program", default="kolla-build", show_default=True, help="The kolla-build of the release.")
@click.option("--engine", help="The Docker Engine that builds, as DOCKER_HOST (the default).")
@click.option(
    "--work", type=click.Path(file_okay=False, path_type=Path), default=Path(".kolla-build"), show_default=True,
    help="Folder for kolla-build's files and logs.",
)  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@json_option
def build(site: Path, program: str, engine: str | None, work: Path, words: tuple[str, ...], json_: bool) -> None:
    """Build and push what kolla_build.yml names, and pin it in globals.yml.

    Every container of such an image gets NAME_image_full with the digest that the registry gave; comments and everything else in
    globals.yml stay. Nothing is committed: the review of a commit shows which containers are made anew. WORDS after -- go to kolla-build.
    """
    found = in_child("building", {"source": source(site)}, Build)
    with output.progress("building"):
        _build(found, program, engine, work, words)
    digests = _digests(found, engine)
    values = {
        variable: f"{found.name(image)}:{found.tag}@{digests[image]}"
        for image, variables in found.images.items()
        for variable in variables
    }
    changed = _pin(site, values)
    if json_:
        output.as_json({"digests": digests, "file": str(site / GLOBALS), "changed": changed})
        return
    for image, digest in digests.items():
        output.line(f"{found.name(image)}:{found.tag} is {digest}")
    output.line(
        f"{', '.join(changed)} in {site / GLOBALS}"
        if changed
        else f"{site / GLOBALS} names these already: nothing changed"
    )


def _build(found: Build, program: str, engine: str | None, work: Path, words: Sequence[str]) -> None:
    written.require_unlinked(work / "logs")
    folder = work.resolve()
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for entry in (folder / "logs").iterdir():
        if entry.is_symlink():  # the program would write its log where it leads
            entry.unlink()
    override, conf = folder / "template-override.j2", folder / "kolla-build.conf"
    written.write(override, found.override)
    own = f"[DEFAULT]\ntemplate_override = {override}\nlogs_dir = {folder / 'logs'}\n"
    written.write(conf, found.conf.replace("[DEFAULT]\n", own, 1))
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if engine:
        environment["DOCKER_HOST"] = engine
    patterns = [f"^{image}$" for image in found.images]
    done = run.program(
        [program, "--config-file", conf, *words, *patterns],
        env={**environment, "PATH": os.environ.get("PATH", run.SAFE_PATH)},
        seconds=_HOURS * 3600,
    )
    written.write(folder / "logs" / "kolla-build.log", done.stdout + done.stderr)
    if done.code:
        raise errors.Terminal(
            f"{program} ended with {done.code}: {done.message or 'it says nothing'} (each image has a log in {folder / 'logs'})",
            reason=Reason.ImagesNotBuilt,
        )


def _digests(found: Build, engine: str | None) -> dict[str, str]:
    """What the registry called each of them."""
    docker = Engine(engine or os.environ.get("DOCKER_HOST"), owner="")
    digests: dict[str, str] = {}
    for image in found.images:
        there = docker.image(f"{found.name(image)}:{found.tag}")
        own = [one for one in (there.digests if there else ()) if one.startswith(f"{found.name(image)}@")]
        if not own:
            raise errors.Terminal(
                f"{found.name(image)}:{found.tag} was not pushed: the engine knows no digest of it (does {FILE} name a registry that this machine "
                "may push to; is its engine the one that built)",
                reason=Reason.ImagesNotBuilt,
            )
        digests[image] = own[0].partition("@")[2]
    return digests


def _pin(site: Path, values: Mapping[str, str]) -> list[str]:
    """Write them into globals.yml; returns the variables."""
    answer = in_child("pinned", {"source": source(site), "values": dict(values)}, Pinned)
    if answer.text is None:
        shown = "; ".join(f"{name}: {value}" for name, value in values.items())
        raise errors.Terminal(
            f"{site / GLOBALS} is not laid out so that it can be rewritten (write there yourself: {shown})",
            reason=Reason.ImagesNotBuilt,
        )
    for name in answer.elsewhere:
        output.line(f"{name} sets some of them as well, and wins there", "warn", err=True)
    path = site / GLOBALS
    before = path.read_text() if path.exists() else ""
    if before == answer.text:
        return []
    put(path, answer.text)
    return list(values)
