"""`status`, `events`: what a node says about itself, and what happened on it."""

import re
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings
from reconciler.reasons import Reason
from reconciler.text import json_text

if TYPE_CHECKING:
    from reconciler.daemon.presence import Daemon
    from reconciler.settings import Settings
    from reconciler.state import StateDirectory


_COUNTS = 10.0  # seconds that a pass may take before what the one before it said is no longer shown as what is
_TIME = re.compile(r" at \d\d:\d\d:\d\d$")


def _state(settings: "Settings") -> "StateDirectory":
    from reconciler.state import StateDirectory

    return StateDirectory(settings.state_dir)


@click.command()
@json_option
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when the node is not ready.")
@config_option
def status(json_: bool, detailed_exitcode: bool) -> int:
    """Show what this node says about itself.

    What it said at the end of its last cycle, and whether its daemon runs.

    Exits with 0, on errors with 1; with --detailed-exitcode with 2 when the node is not ready.
    """
    from reconciler.codec import to_json
    from reconciler.daemon import presence

    settings = load_settings()
    state = _state(settings)
    report, daemon, suspension = state.report, presence.find(settings.state_dir), state.suspension
    former = None if daemon else presence.last(settings.state_dir)
    pid, lost = daemon.pid if daemon else None, _lost(settings, state, daemon)
    conditions = {c["type"]: c for c in (report or {}).get("conditions", ())}
    if json_:
        shown = to_json(suspension) if suspension else None
        output.as_json(
            {
                "daemon": pid,
                "suspended": shown,
                "state": lost or "ok",
                "passes": _passes(daemon or former),
                "report": report,
            }
        )
    else:
        _show(settings, report, conditions, daemon, former, lost)
        if suspension:
            by = f" by {suspension.by}" if suspension.by else ""
            output.line(f"suspended{by} since {_local(suspension.since)}: {suspension.reason}", "warn")
    ready = bool(conditions.get("Ready", {}).get("status")) and not lost and not (_hangs(daemon) or _killed(former))
    return 2 if detailed_exitcode and not ready else 0


def _lost(settings: "Settings", state: "StateDirectory", daemon: "Daemon | None") -> str:
    """Why the state cannot be relied upon; "" when it can."""
    from reconciler.state import Hold

    if daemon and not daemon.has(settings.state_dir):
        return (
            f"the daemon's state directory {settings.state_dir} was removed or exchanged: it changes nothing. Put it back, or run "
            "`reconciler anchor accept REVISION --reason …` [StateLost]"
        )
    try:
        Hold(state, settings.policy.config_roots).require()
    except errors.ReconcilerError as error:
        return f"{error} [{error.reason}]"
    return ""


@click.command()
@click.option(
    "--follow", "-f", is_flag=True, help="Show what happens to our containers from now on, until interrupted."
)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many entries.")
@json_option
@config_option
def events(follow: bool, limit: int, json_: bool) -> None:
    """Show what others did to our containers and files.

    What the daemon noted is shown newest last; with --follow then what the engine tells, as it happens.
    """
    settings = load_settings()
    noted = _noted(_state(settings), limit)
    if json_ and not follow:
        output.as_json(noted)
        return
    for row in noted:
        _print_event(row, json_)
    if follow:
        _follow(settings, json_)
    elif not noted:
        output.line("nothing was noted (the daemon notes; --follow shows what happens now)")


def _noted(state: "StateDirectory", limit: int) -> list[dict[str, str]]:
    """What the daemon noted: with what it put right, of what differs still, and what left nothing to do."""
    history = list(reversed(state.history.newest(limit)))
    entries = [(entry["at"], entry.get("explained", {})) for entry in history]
    entries += [
        (found["at"], {found["target"]: found["text"]}) for entry in history for found in entry.get("happened", ())
    ]
    entries.sort(key=lambda entry: datetime.fromisoformat(entry[0]))
    report = state.report or {}
    entries.append((report.get("started_at", ""), report.get("explained", {})))
    # A report says again what the history has, until there is another.
    found = {(target, text): at for at, explained in reversed(entries) for target, text in explained.items()}
    return [{"at": at, "target": target, "text": text} for (target, text), at in reversed(found.items())]


def _follow(settings: "Settings", json_: bool) -> None:
    from reconciler.daemon.events import Happenings
    from reconciler.engine import Engine, Event
    from reconciler.model import ASIDE

    good = _state(settings).memory().last_good
    if good is None:
        raise errors.Terminal("this node has not converged yet, so nothing here is ours", reason=Reason.NoRevision)
    ours = {container.name for container in good.containers}
    happenings = Happenings()

    def heard(event: Event) -> None:
        if event.kind == "engine":
            output.line(f"engine {event.action}", err=True)
            return
        if event.kind != "container" or event.name.removeprefix(ASIDE) not in ours:
            return
        happenings.heard(event)
        known = next(
            (h.text for h in reversed(happenings.recent) if h.target == event.name and h.time == event.time), ""
        )
        facts = " ".join(f"{name}={text}" for name, text in event.attributes.items() if name != "image")
        text = " ".join(filter(None, (event.action, facts, f"({known})" if known else "")))
        _print_event({"at": event.time.isoformat(timespec="milliseconds"), "target": event.name, "text": text}, json_)

    engine = Engine(settings.engine.url, owner="", timeout=settings.engine.timeout)
    try:
        engine.watch(heard, stop=threading.Event())
    finally:
        engine.close()


def _print_event(row: dict[str, str], json_: bool) -> None:

    if json_:
        output.document(json_text(row))
    else:
        moment = _local(datetime.fromisoformat(row["at"]))
        # The text ends with the time as well, for those who see it without this column.
        output.line(f"{moment}  {row['target']}  {_TIME.sub('', row['text'])}")


def _hangs(daemon: "Daemon | None") -> float:
    """For how many seconds a pass has been under way, when that is longer than what is shown may count; else 0."""
    if daemon is None or daemon.began is None or daemon.ended is not None:
        return 0.0
    passed = (datetime.now(UTC) - daemon.began).total_seconds()
    return passed if passed > _COUNTS else 0.0


def _killed(former: "Daemon | None") -> bool:
    """Whether the daemon ended in the middle of a pass; nobody knows what that had done, nor what followed."""
    return former is not None and former.began is not None and former.ended is None


def _passes(daemon: "Daemon | None") -> dict[str, Any] | None:
    if daemon is None:
        return None
    return {
        "began": daemon.began.isoformat(timespec="seconds") if daemon.began else None,
        "ended": daemon.ended.isoformat(timespec="seconds") if daemon.ended else None,
    }


def _show(
    settings: "Settings",
    report: dict[str, Any] | None,
    conditions: dict[str, dict[str, Any]],
    daemon: "Daemon | None",
    former: "Daemon | None",
    lost: str,
) -> None:
    pid, hangs = daemon.pid if daemon else None, _hangs(daemon)
    output.line(f"host      {settings.host}  ({settings.git.url}, {settings.git.branch})")
    output.line(f"daemon    {f'runs, process {pid}' if pid else 'does not run'}", "" if pid else "warn")
    if lost:
        output.line(f"state     {lost}", "fail")
    if report is None:
        output.line("no cycle was finished yet (run `reconciler reconcile`, or see `reconciler doctor`)", "warn")
        return
    revision = report["revision"][:12] or "none"
    output.line(f"revision  {' '.join(filter(None, (revision, report.get('subject'), _author(report))))}")
    began = datetime.fromisoformat(report["started_at"])
    passed = (datetime.now(UTC) - began).total_seconds()
    # A pass that finds nothing new writes nothing, so this is not the time of the last pass.
    output.line(f"news      {output.ago(passed)} ago, {report['seconds']:.1f} s, because of: {report['trigger']}")
    looked = daemon or former
    if looked and looked.ended:
        output.line(
            f"looked    {output.ago((datetime.now(UTC) - looked.ended).total_seconds())} ago", "" if pid else "warn"
        )
    elif former and former.began:
        output.line(f"looked    until it was killed, in the pass that began at {_local(former.began)}", "warn")
    elif daemon and daemon.began:
        output.line(
            f"looking   since {_local(daemon.began)} ({output.ago(hangs)})" if hangs else "looking   now", "warn"
        )
    # A state that cannot be written to keeps the report of the last pass that could.
    stale = bool(hangs or lost) or _killed(former)
    if stale:
        output.line("what follows is from before: whether it still holds is unknown", "warn")
    if mode := ("report: nothing is changed" if settings.mode == "report" else ""):
        output.line(f"mode      {mode}", "warn")
    if daemon and daemon.settings not in ("", settings.digest):
        output.line("settings  changed since the daemon was started: `systemctl restart reconciler`", "warn")
    if gave_way := report.get("gave_way"):
        output.line(f"gave way  {gave_way}", "fail")
    if fleet := report.get("fleet"):
        _show_fleet(fleet)
    output.line()
    rows = [[name, _is(name, c, stale), _for(c["since"]), c["reason"], c["message"]] for name, c in conditions.items()]
    for found in report.get("in_flight", ()):
        output.line(f"in flight {found['text']} ({_for(found['since'])})", "warn")
    output.table(["CONDITION", "IS", "FOR", "REASON", "MESSAGE"], rows)
    explained = report.get("explained", {})
    for target, text in explained.items():
        output.line(f"{target}: {text}", "warn")


def _show_fleet(fleet: dict[str, Any]) -> None:
    """What was agreed upon with the other hosts; what is not so is not in it."""
    if fault := fleet.get("fault"):
        output.line(f"fleet     {fault}", "fail")
    elif rolling := fleet.get("rolling"):
        output.line(f"fleet     {rolling[:12]} is being rolled out")
    if halt := fleet.get("halt"):
        output.line(f"halted    {halt}", "warn")
    if holds := fleet.get("holds"):
        lent = f" (lent: {fleet['lent']})" if fleet.get("lent") else ""
        output.line(f"holds     {', '.join(holds)}{lent}", "warn" if lent else "")


def _is(name: str, condition: dict[str, Any], stale: bool) -> str:
    if (name in ("Ready", "Drifted") and stale) or (name == "Drifted" and condition["reason"] == Reason.Unknown):
        return "unknown"
    return "yes" if condition["status"] else "no"


def _author(report: dict[str, Any]) -> str:
    return f"({report['author']})" if report.get("author") else ""


def _for(since: str) -> str:
    return output.ago((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
