"""`drain`: this host out of use for a maintenance, and back."""

import getpass
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import config_option, load_settings
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.node.maintenance import Elsewhere
    from reconciler.node.node import Node
    from reconciler.node.target import Target

_PAUSE = 2.0  # seconds between two looks at whether everything is back


@click.command()
@click.argument("host")
@click.option("--back", is_flag=True, help="End it: start everything, and give the budgets back.")
@click.option("--reason", default="", help="What for; whoever waits for this host shows it. Needed, but with --back.")
@click.option(
    "--wait", type=float, default=900.0, show_default=True, help="Seconds that everything may take to be back."
)
@config_option
def drain(host: str, back: bool, reason: str, wait: float) -> None:
    """Take this host out of use for a maintenance: a reboot, a disk, a firmware.

    HOST is its own name, so that nothing happens in the wrong terminal. It takes its budgets, so that no other member is stopped meanwhile;
    then virtual machines that run here are moved to other hosts, and everything that others stand in for is taken out of use as when it is
    changed, and stopped. Nothing is started again, also after a reboot, until `drain HOST --back`. Exits with 1, and leaves all as it was,
    when others hold the budgets, or a virtual machine cannot go, which it names. Cut short, it is said again.
    """
    from reconciler.node.node import Node

    settings = load_settings()
    if host != settings.host:
        raise errors.Terminal(f"this host is {settings.host!r}: say it on {host!r} itself", reason=Reason.HostUnknown)
    if not back and not reason:
        raise click.UsageError("say what for: --reason …")
    node = Node(settings, forge=False)
    try:
        node.require_state()
        if back:
            _back(node, wait)
        else:
            _out(node, reason)
    finally:
        node.close()


def _out(node: "Node", reason: str) -> None:
    from reconciler.daemon import presence
    from reconciler.node import maintenance
    from reconciler.rollout.decide import Wait
    from reconciler.state import Suspension

    revision, _ = node.in_force
    if not revision:
        raise errors.Terminal("no commit was ever accepted here: `reconciler reconcile`", reason=Reason.NoRevision)
    # What flies has landed by then, and no pass begins.
    with node.state.cycle(wait=60.0):
        before = node.state.suspension
        if before is not None and not before.reason.startswith(maintenance.MARK):
            raise errors.Terminal(
                f"this node is suspended ({before.reason}), and a drain would end with its own end: `reconciler resume` first",
                reason=Reason.Suspended,
            )
        # Of a drain that was cut short the budgets are this one's.
        lent = before is None and bool(node.state.permit and node.state.permit.lent)
        if node.settings.fleet.etcd:
            found = node.permits.lend(revision, f"{getpass.getuser()}: {reason}")
            if isinstance(found, Wait):
                raise errors.Transient(found.message, reason=found.why)
        else:
            output.line(
                "this node agrees with nobody (`[fleet]` of its settings): see yourself that no other member is down",
                "warn",
            )
        node.state.suspend(Suspension(f"{maintenance.MARK}{reason}", datetime.now(UTC), getpass.getuser()))
        target = node.aims.of(revision)
    _elsewhere(node, target, reason, lent=lent)
    with node.state.cycle(wait=60.0):
        actual = node.observer.observe(target, node.observer.memory(target), deep=False)
        rollout = target.prepared.rollout
        assert rollout is not None
        goes = maintenance.stood_in_for(target.desired, rollout)
        stopped = maintenance.out(node.engine, goes, actual, node.state.put_down, output.line)
        rest = maintenance.running(actual, stopped)
    presence.wake(node.state.path)
    if rest:
        output.line(f"still running, as nothing stands in for it: {', '.join(rest)}")
    output.line(f"{node.settings.host} is drained: `reconciler drain {node.settings.host} --back` ends it")


def _elsewhere(node: "Node", target: "Target", reason: str, *, lent: bool) -> None:
    """What only this host has goes elsewhere, or all is as it was before: `lent` says whether its budgets were lent to something else by
    then."""
    from reconciler.cli.fleet import given_back
    from reconciler.daemon import presence

    try:
        _services(node, target).out(reason)
    except errors.ReconcilerError:
        node.state.resume()
        presence.wake(node.state.path)
        if node.settings.fleet.etcd and not lent:
            try:
                given_back(node)
            except errors.ReconcilerError as error:
                output.line(f"its budgets stay lent (`reconciler fleet give-back` ends it): {error}", "warn")
        output.line(f"{node.settings.host} is not drained: it is in use as before", "warn")
        raise
    except KeyboardInterrupt:
        again = f"say the same again to wait for it, or `reconciler drain {node.settings.host} --back` to end it"
        output.line(f"the drain is not over, and what was begun goes on: {again}", "warn")
        raise


def _services(node: "Node", target: "Target") -> "Elsewhere":
    """What services do with what only this host has, with the files as they are now."""
    from reconciler.node.maintenance import Elsewhere

    desired = target.desired
    node.engine.site = f"{desired.site}/{desired.host}"
    actual = node.observer.observe(target, node.observer.memory(target), deep=bool(target.identifiers))
    admission = node.planner.admission(target, actual)
    return Elsewhere(node.engine.admitting(admission.require), target.bound(actual), output.line)


def _back(node: "Node", wait: float) -> None:
    from reconciler.cli.fleet import given_back
    from reconciler.daemon import presence
    from reconciler.node import cycle, maintenance
    from reconciler.report import verdict

    before = node.state.suspension
    if before is not None and not before.reason.startswith(maintenance.MARK):
        raise errors.Terminal(f"this node is suspended, and not drained: {before.reason}", reason=Reason.NothingToDo)
    revision, _ = node.in_force
    target = node.aims.of(revision) if revision else None
    lent = bool(node.state.permit and node.state.permit.lent)
    # What a service did for it is undone until that has worked: nothing else remembers it where the host agrees with nobody.
    if before is None and not lent and not (target and target.desired.maintenance):
        raise errors.Terminal("this host is not drained", reason=Reason.NothingToDo)
    node.state.resume()
    presence.wake(node.state.path)
    deadline, said = time.monotonic() + wait, ""
    while True:
        try:
            found = verdict(cycle.reconcile(node, trigger="command", deep=True, poll=False))
            if found.ready or found.reason is Reason.WaitsForOthers:
                break
            why = found.message or str(found.reason)
        except errors.Transient as error:
            why = str(error)  # the daemon's own pass, most likely
        if time.monotonic() > deadline:
            raise errors.Transient(
                f"not everything is back: {why}. The budgets stay lent; say `--back` again, or `reconciler fleet give-back` where it is well enough",
                reason=Reason.StartTimeout,
            )
        if why != said:
            output.line(f"not yet: {why}")
            said = why
        time.sleep(_PAUSE)
    revision, _ = node.in_force
    target = node.aims.of(revision)
    try:
        _services(node, target).back()
    except errors.Terminal as error:
        raise errors.Terminal(
            f"everything runs, and not everything is in use again: {error}\nSay `--back` again", reason=error.reason
        ) from error
    if node.settings.fleet.etcd and lent:
        try:
            given_back(node)
        except errors.Transient as error:
            raise errors.Transient(
                f"{node.settings.host} is back, and its budgets stay lent: {error}. Once that is mended: `reconciler fleet give-back`",
                reason=error.reason,
            ) from error
    output.line(f"{node.settings.host} is back")
