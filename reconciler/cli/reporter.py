"""`reporter`: reads the signed reports of all hosts, and posts for them."""

import sys
import warnings
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings

if TYPE_CHECKING:
    from reconciler.fleet.reporter import Round
    from reconciler.fleet.reviews.reviewer import Overview, Reviewer
    from reconciler.settings import Settings


@click.command()
@click.option("--once", is_flag=True, help="One round: ask every host, post what is news, show it, end.")
@click.option("--dry-run", is_flag=True, help="With --once: post nothing.")
@json_option
@config_option
def reporter(once: bool, dry_run: bool, json_: bool) -> int:
    """Read the signed reports of all hosts, and post for them.

    Runs as a daemon, as its systemd unit does: one summary per site, and a status per host, or per group of many hosts. Only
    the reporter holds a token; hosts sign what they say with their own host keys.

    With [review] in its settings it reviews open merge requests, too: the note of `ci review`, with no token in any pipeline.

    With --once exits with 0 when every host has converged, else with 1.
    """
    if (json_ or dry_run) and not once:
        raise click.UsageError("--json and --dry-run go with --once; a running reporter serves /status.json")
    # As for the daemon of a node: see `reconciler.cli.node`.
    for name in ("rich", "charset_normalizer", "chardet") if not once else ():
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
        from reconciler.fleet.service import Service

    settings = load_settings(in_child=not once)
    return _once(settings, dry_run, json_) if once else Service(settings).run()


def _once(settings: "Settings", dry_run: bool, json_: bool) -> int:
    from dataclasses import replace

    from reconciler.daemon.presence import Presence
    from reconciler.fleet.document import fleet_document
    from reconciler.fleet.reporter import Reporter
    from reconciler.fleet.reviews.document import reviews_document
    from reconciler.fleet.reviews.loop import link_of, reviewer_of

    reviewer = None if dry_run else reviewer_of(settings)
    reporter = Reporter(replace(settings, forge=None) if dry_run else settings)
    presence = Presence(settings.reporter.state_dir)
    try:
        found = reporter.look()
        posted = reporter.close(timeout=30.0)
        reviews, trouble = _reviewed(reviewer)
    finally:
        if reviewer:
            reviewer.close()
        presence.close()
    if json_:
        document = fleet_document(found)
        if reviews is not None:
            document["reviews"] = reviews_document(reviews, trouble, link_of(settings))
        output.as_json(document)
    else:
        _show(found)
        _show_reviews(reviews)
    if not posted:
        output.line("not everything could be posted; run it again, or see the log", "warn", err=True)
    if trouble[0]:
        output.line(f"merge requests could not be reviewed: {trouble[1]} [{trouble[0]}]", "warn", err=True)
    return 0 if found.converged else 1


def _reviewed(reviewer: "Reviewer | None") -> tuple["Overview | None", tuple[str, str]]:
    """What a round of reviews found, None without one; reason and message of what kept it from going on."""
    if reviewer is None:
        return None, ("", "")
    try:
        return reviewer.round(), ("", "")
    except errors.ReconcilerError as error:
        return reviewer.overview, (error.reason, str(error))


def _show_reviews(found: "Overview | None") -> None:
    if found is None or not found.entries:
        return
    from reconciler.review import escape

    output.line("")
    output.table(
        ["merge request", "head", "state", "review"],
        [
            [str(one.request.iid), one.request.head[:12], one.known.state, escape.clean(one.known.text, 200)]
            for one in found.entries
        ],
    )


def _show(found: "Round") -> None:
    if found.refusal:
        output.line(f"refused {found.refusal.commit[:12]}: {found.refusal.message} [{found.refusal.reason}]", "fail")
    if not found.source.ok:
        output.line(f"source: {found.source.message} [{found.source.reason}]", "warn")
    if found.fleet is None or found.whole is None:
        output.line("no commit was accepted yet: nothing is known of any host", "warn")
        return
    output.line(f"{found.fleet.site} at {found.head[:12]} {found.subject}")
    output.table(
        ["host", "group", "state", "commit", "reason", "message"],
        [
            [
                v.member.host,
                v.member.group,
                v.state + (" (stale)" if v.stale else ""),
                v.commit[:12],
                v.reason or "",
                v.message,
            ]
            for v in found.views
        ],
    )
    style = {"success": "ok", "failed": "fail"}.get(found.whole.state, "warn")
    output.line(f"{found.whole.text} ({found.seconds:.1f} s)", style)
