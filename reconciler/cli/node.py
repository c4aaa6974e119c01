"""`run` and `reconcile`: the daemon, and one cycle by hand."""

import sys
import time
import warnings
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.node.node import Node
    from reconciler.report import Report


@click.command()
@config_option
def run() -> int:
    """Run the daemon, as the systemd unit does.

    SIGTERM ends it at a safe point, SIGHUP makes it look at everything now.
    """
    # structlog takes Rich along for tracebacks of a kind that is never printed here, requests a guesser of character sets
    # for answers that name none: 9 MiB less without them. Such answers count as UTF-8 then; requests warns of it.
    for name in ("rich", "charset_normalizer", "chardet"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
        from reconciler.daemon.service import Daemon

    return Daemon(load_settings(in_child=True)).run()


@click.command()
@click.option(
    "--deep/--no-deep", default=None, help="Look into containers and at registrations; default: when it is time to."
)
@click.option("--no-poll", is_flag=True, help="Do not ask the git server; keep to the accepted revision.")
@click.option("--report-only", is_flag=True, help="Plan and report, change nothing.")
@click.option(
    "--wait", type=float, default=300.0, show_default=True, help="Seconds to wait for a cycle that is under way."
)
@json_option
@config_option
def reconcile(deep: bool | None, no_poll: bool, report_only: bool, wait: float, json_: bool) -> int:
    """Run one cycle now.

    Look for a new revision, observe, plan, apply, report.

    Exits with 0 when the node is as the accepted revision says and works, or was suspended; 1 otherwise.
    """
    from dataclasses import replace

    from reconciler.node.node import Node
    from reconciler.report import as_json, verdict

    settings = load_settings()
    node = Node(replace(settings, mode="report") if report_only else settings)
    try:
        report = _cycle(node, deep, not no_poll, wait)
    finally:
        node.close()
    if json_:
        output.as_json(as_json(report))
    else:
        show(report)
    found = verdict(report)
    return 0 if found.ready or found.reason is Reason.Suspended or report_only else 1


def show(report: "Report") -> None:
    """A report for people: the source, the plan, what failed, the verdict."""
    from reconciler.report import text

    if report.refusal:
        output.line(f"refused {report.refusal.commit[:12]}: {report.refusal.message} [{report.refusal.reason}]", "fail")
        for problem in report.refusal.problems:
            output.line(f"  {problem}")
    elif not report.source.ok:
        output.line(f"source: {report.source.message} [{report.source.reason}]", "warn")
    for warning in report.warnings:
        output.line(f"warning: {warning}", "warn")
    if report.plan is not None:
        output.line(f"{report.host} at {report.revision[:12]} {report.subject}: {text.summary(report.plan)}")
        if shown := text.plan_text(report.plan, diffs=False):
            output.line(shown)
    for outcome in report.outcomes:
        if outcome.result != "done":
            style = "warn" if outcome.result == "skipped" else "fail"
            output.line(f"{outcome.result}: {outcome.action.id}: {outcome.message} [{outcome.reason}]", style)
    if report.failure:
        output.line(f"failed: {report.failure[1]} [{report.failure[0]}]", "fail")
    ready = next((c for c in report.conditions if c.type == "Ready"), None)
    if ready:
        style = "ok" if ready.status else "fail"
        output.line(
            f"{'ready' if ready.status else 'not ready'}: {ready.message or ready.reason} ({report.seconds:.1f} s)",
            style,
        )


def _cycle(node: "Node", deep: bool | None, poll: bool, wait: float) -> "Report":
    from reconciler.node import cycle

    deadline = time.monotonic() + wait
    while True:
        try:
            return cycle.reconcile(node, trigger="command", deep=deep, poll=poll)
        except errors.Transient as error:
            if error.reason != Reason.Busy or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
