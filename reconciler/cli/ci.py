"""`ci review`, `ci summary` and `diff`: what a change would do, on a merge request or between two revisions."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import checkout, output, problems, token, written
from reconciler.cli.options import json_option
from reconciler.phrases import count
from reconciler.reasons import Reason
from reconciler.text import json_text

if TYPE_CHECKING:
    from reconciler.forge import ForgeSettings
    from reconciler.model import Interruption
    from reconciler.review import Review
    from reconciler.review.ci import Limits, Source

_FILE = click.Path(dir_okay=False, path_type=Path)
_SITE = click.Path(file_okay=False, path_type=Path)
_MOST_INTERRUPTIONS = 16 << 20  # bytes
_EVERY = 5.0  # seconds between signs of life in a job's log


@click.group(short_help="Review a merge request, sum up all hosts: for GitLab CI.")
def ci() -> None:
    """For jobs of GitLab CI: review a merge request, sum up the state of all hosts."""


@ci.command(short_help="Keep one note on the merge request up to date.")
@click.option("--site", type=_SITE, help="The folder with inventory.yml (default: CI_PROJECT_DIR, or this one).")
@click.option("--base", help="Revision to compare with (default: the merge request's base), or `nothing`.")
@click.option("--base-from", type=click.Path(exists=True, path_type=Path),
              help="Compare with what another version of this program made of the base (`reconciler desired`).")  # fmt: skip
@click.option("--head", help="Revision to review (default: CI_COMMIT_SHA, else the work tree).")
@click.option("--dry-run", is_flag=True, help="Print the note instead of posting it.")
@click.option("--html", type=_FILE, help="Write the page for people here.")
@click.option("--json", "json_", type=_FILE, help="Write the same for tools here (schemas/plan.schema.json).")
@click.option("--junit", type=_FILE, help="Write validation problems here as a JUnit report.")
@click.option("--codequality", type=_FILE, help="Write them here as GitLab's Code Quality report.")
@click.option(
    "--interruptions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="How long restarts were felt before: /interruptions.json of a reporter.",
)
@click.option("--time-limit", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds in all.")
@click.option("--host-limit", type=click.FloatRange(min=0.1), default=4.0, show_default=True,
              help="Seconds of processor time for one host of one revision.")  # fmt: skip
def review(
    site: Path | None,
    base: str | None,
    base_from: Path | None,
    head: str | None,
    dry_run: bool,
    html: Path | None,
    json_: Path | None,
    junit: Path | None,
    codequality: Path | None,
    interruptions: Path | None,
    time_limit: float,
    host_limit: float,
) -> int:
    """Validate a branch, plan every host from base to head, and keep one note on the merge request up to date.

    Needs no node and no key. The note is posted with the token in RECONCILER_TOKEN or in the file RECONCILER_TOKEN_FILE
    (scope api, role Reporter). Exits with 0 when the branch is valid and, as far as a token can tell, everybody who must have seen it
    (review.require in reconciler.yml of the target branch) has; else with 1.
    """
    from reconciler import review as views
    from reconciler.cli import ci_gate
    from reconciler.review import ci as planning

    held = token.take()
    found, before = _review(site, base, head, planning.Limits(seconds=time_limit, host_seconds=host_limit), base_from)
    if interruptions:
        found = replace(found, measured=_measured(interruptions))
    asks = ci_gate.asked(found, before)
    text = views.note(found, frame=views.Frame(remarks=asks.remarks))
    if html:
        written.write(html, views.page(found))
    if json_:
        written.write(json_, json_text(views.as_json(found), indent=1))
    if junit:
        written.write(junit, problems.junit([*found.problems, *_failure(found)]))
    if codequality:
        written.write(
            codequality, problems.code_quality([*found.problems, *_failure(found), *found.warnings], found.path)
        )
    settings = None if dry_run else _forge(held)
    if settings is None:
        output.document(text, nl=False)
    else:
        _post(settings, views.marker(found), text)
    output.line(views.headline(found), err=True)
    for problem in found.problems:
        output.line(str(problem), err=True)
    if found.failure:
        output.line(f"error: {found.failure}", err=True)
    seen = dry_run or ci_gate.settle(found, asks, settings, int(os.environ.get("CI_MERGE_REQUEST_IID") or 0))
    return 0 if found.valid and seen else 1


@ci.command(short_help="Say what the hosts reported for the newest commit.")
@click.option("--site", type=_SITE, help="The folder with inventory.yml (default: CI_PROJECT_DIR, or this one).")
@click.option("--junit", type=_FILE, help="Write one test case per host here.")
@json_option
def summary(site: Path | None, junit: Path | None, json_: bool) -> int:
    """Say what the hosts reported for the newest commit: converged, drifted, failed, silent. For a scheduled job.

    Reads the commit statuses that nodes post, with the token of `ci review`. Exits with 1 when a host drifted or failed.
    """
    from reconciler.review import ci as planning
    from reconciler.review import ci_summary

    settings = _forge(token.take(), need=())
    if settings is None:
        raise errors.Terminal(
            "there is no token or this is no job of GitLab CI: set RECONCILER_TOKEN, CI_SERVER_URL and CI_PROJECT_PATH",
            reason=Reason.ForgeMisconfigured,
        )
    source, _ = _head(site, None)
    commit = source.commit or _resolve(source, "HEAD")
    name, hosts = planning.hosts(replace(source, commit=commit))
    found = ci_summary.collect(settings, commit, name, hosts)
    if junit:
        written.write(junit, ci_summary.junit(found))
    if json_:
        output.as_json(ci_summary.as_json(found))
    else:
        output.line(ci_summary.text(found))
    return 0 if found.well else 1


@click.command(short_help="Show what a change means, between any two revisions.")
@click.argument("before", metavar="REV1")
@click.argument("after", metavar="REV2")
@click.option("--host", "hosts", multiple=True, help="Only this host; may be repeated.")
@click.option("--site", type=_SITE, default=".", help="The folder with inventory.yml (default: this one).")
@click.option("--no-diffs", is_flag=True, help="Only one line per action.")
@json_option
def diff(before: str, after: str, hosts: tuple[str, ...], site: Path, no_diffs: bool, json_: bool) -> int:
    """Show what going from REV1 to REV2 meant, or would mean, for the hosts of the site in this folder.

    Any two revisions of its repository, REV1 also `nothing`; needs no node and no key. Exits with 1 when one of them is
    not valid.
    """
    from reconciler.review import as_json, text
    from reconciler.review import ci as planning

    where = _checkout(site)
    start, label = checkout.base_of(site, before)
    base = planning.Source(Path(start["repository"]), start["commit"], start["path"]) if start else None
    head = planning.Source(where.top, _resolve_in(where.top, after), where.path)
    with _progress() as progress:
        found = replace(planning.review(base, head, hosts=hosts, progress=progress), base=label)
    _say_invalid(after, head, found.problems, Reason.SiteInvalid)
    if base:
        _say_invalid(before, base, found.base_problems, Reason.BaseInvalid)
    if json_:
        output.as_json(as_json(found))
    elif not found.problems and not found.base_problems:
        output.diff(text.groups_text(found, diffs=not no_diffs))
    return 1 if found.problems or found.base_problems else 0


def _say_invalid(revision: str, source: "Source", found: Sequence[errors.Problem], reason: Reason) -> None:
    for problem in found:
        output.line(str(problem), err=True)
    if found:
        called = source.label if source.label.startswith(revision) else f"{revision} ({source.label})"
        counted = count(len(found), "problem")
        output.line(f"error: the site at {called} has {counted}: nothing to compare [{reason}]", err=True)


# --- what is compared -----------------------------------------------------------------------------------------------


def _review(
    site: Path | None, base: str | None, head: str | None, limits: "Limits", made: Path | None = None
) -> tuple["Review", "Source | None"]:
    """The review, and what it compares with."""
    from reconciler.review import ci as planning

    source, folder = _head(site, head)
    with _hinting():
        start, label = checkout.base_of(folder, base)
    before = planning.Source(Path(start["repository"]), start["commit"], start["path"]) if start else None
    name = os.environ.get("CI_PROJECT_NAME", "site")
    with _progress() as progress:
        return planning.told(before, source, label, site=name, limits=limits, progress=progress, made=made), before


def _measured(file: Path) -> "Mapping[str, Mapping[str, Interruption]]":
    """What a reporter gave. Raises errors.Terminal (FileUnreadable)."""
    from reconciler.codec import UNREADABLE, from_json
    from reconciler.model import Interruption

    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_INTERRUPTIONS + 1)
        if len(content) > _MOST_INTERRUPTIONS:
            raise ValueError("it is too large")
        return from_json(dict[str, dict[str, Interruption]], json.loads(content))
    except OSError as error:
        raise errors.Terminal(f"cannot read {file}: {error.strerror}", reason=Reason.FileUnreadable) from None
    except UNREADABLE as error:
        raise errors.Terminal(
            f"{file} is not what a reporter answers at /interruptions.json: {error}", reason=Reason.FileUnreadable
        ) from None


def _failure(found: "Review") -> list[errors.Problem]:
    return [errors.Problem("inventory.yml", 0, 0, f"planning ended early: {found.failure}")] if found.failure else []


def _head(site: Path | None, head: str | None) -> tuple["Source", Path]:
    """What is reviewed, and the site's folder."""
    from reconciler.review.ci import Source

    folder = site or Path(os.environ.get("CI_PROJECT_DIR", "."))
    wanted = head or os.environ.get("CI_COMMIT_SHA")
    if not wanted:
        where = checkout.find(folder)
        return (Source(where.top, "", where.path) if where else Source(folder.resolve())), folder
    found = _checkout(folder)
    return Source(found.top, _resolve_in(found.top, wanted), found.path), folder


def _checkout(folder: Path) -> checkout.Checkout:
    where = checkout.find(folder)
    if where is None:
        raise errors.Terminal(
            f"{folder.resolve()} is not in a Git repository (go there, or give --site)",
            reason=Reason.RepositoryUnusable,
        )
    return where


def _resolve(source: "Source", revision: str) -> str:
    return _resolve_in(source.repository, revision)


def _resolve_in(top: Path, revision: str) -> str:
    from reconciler.git import tree

    with _hinting():
        return tree.resolve(top, revision)


@contextlib.contextmanager
def _hinting() -> Iterator[None]:
    """Say what is behind a missing commit most of the time."""
    try:
        yield
    except errors.Terminal as error:
        if error.reason != Reason.RevisionUnknown or "CI" not in os.environ:
            raise
        raise errors.Terminal(
            f"{error}; the clone may be too shallow: set GIT_DEPTH to 0", reason=error.reason
        ) from None


# --- where the note goes --------------------------------------------------------------------------------------------


def _forge(held: Path | None, need: tuple[str, ...] = ("CI_MERGE_REQUEST_IID",)) -> "ForgeSettings | None":
    """Where to post, out of GitLab CI's variables; None, and why on stderr, when something is missing."""
    from reconciler.forge import ForgeSettings

    variables = os.environ
    missing = [name for name in need if not variables.get(name)]
    if held is None:
        missing.append("RECONCILER_TOKEN")
    url = variables.get("CI_API_V4_URL", "").removesuffix("/api/v4") or variables.get("CI_SERVER_URL", "")
    # The merge request's own project: that of a fork is another one.
    project = variables.get("CI_MERGE_REQUEST_PROJECT_PATH") or variables.get("CI_PROJECT_PATH", "")
    missing += [name for name, value in (("CI_SERVER_URL", url), ("CI_PROJECT_PATH", project)) if not value]
    if missing or held is None:
        click.echo(f"not posted: {', '.join(missing)} not set", err=True)
        return None
    ca_file = variables.get("CI_SERVER_TLS_CA_FILE")
    return ForgeSettings("gitlab", url, project, held, Path(ca_file) if ca_file else None)


def _post(settings: "ForgeSettings", marker: str, text: str) -> None:
    from reconciler.forge import connect

    connect(settings).upsert_note(int(os.environ["CI_MERGE_REQUEST_IID"]), marker, text)
    click.echo("the note on the merge request is up to date", err=True)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int, float], None]]:
    """Says on stderr how far planning is: one line that changes on a terminal, a line every five seconds elsewhere."""
    live = output.fancy(sys.stderr)
    said = time.monotonic()

    def show(done: int, total: int, seconds: float) -> None:
        nonlocal said
        text = f"planned {done} of {total} hosts in {seconds:.0f} s"
        if live:
            click.echo(f"\r\x1b[2K{text}", nl=False, err=True)
        elif time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            click.echo(text, err=True)

    try:
        yield show
    finally:
        if live:
            click.echo("\r\x1b[2K", nl=False, err=True)
