"""`suspend`, `resume`, `retry`, `anchor`, `owner`: what an operator may tell a node."""

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.state import StateDirectory, Witness


def _state() -> "StateDirectory":
    """This node's state, to be changed. Raises errors.ReconcilerError (StateLost, StateReadOnly, StateCorrupt) where it cannot be relied upon."""
    from reconciler.state import Hold, StateDirectory

    settings = load_settings()
    state = StateDirectory(settings.state_dir)
    Hold(state, settings.policy.config_roots).begin()
    return state


def _seen() -> "tuple[StateDirectory, errors.ReconcilerError | None, Witness | None]":
    """This node's state, to be shown: nothing of it is made. With why it cannot be relied upon, and what it said when it was last this node's."""
    from reconciler.state import Hold, StateDirectory

    settings = load_settings()
    state = StateDirectory(settings.state_dir)
    hold, witness = Hold(state, settings.policy.config_roots), None
    try:
        witness = hold.witness
        if witness or state.path.exists():
            hold.require()
    except errors.ReconcilerError as error:
        return state, error, witness
    return state, None, witness


def _warn(fault: "errors.ReconcilerError | None") -> None:
    if fault is not None:
        output.line(f"{fault} [{fault.reason}]", "warn", err=True)


def _wake(state: "StateDirectory") -> str:
    """Tell the daemon; returns what to say about it."""
    from reconciler.daemon import presence

    return "the daemon was told" if presence.wake(state.path) else "no daemon runs: it counts from the next cycle on"


@click.command()
@click.option("--reason", required=True, help="Why; shown wherever the node reports.")
@json_option
@config_option
def suspend(reason: str, json_: bool) -> None:
    """Change nothing on this node until `resume`.

    It keeps observing and reporting.
    """
    from reconciler.codec import to_json
    from reconciler.state import Suspension

    state = _state()
    suspension = Suspension(reason, datetime.now(UTC), getpass.getuser())
    state.suspend(suspension)
    told = _wake(state)
    if json_:
        output.as_json(to_json(suspension))
    else:
        output.line(f"suspended: {reason} ({told})")


@click.command()
@json_option
@config_option
def resume(json_: bool) -> None:
    """End a suspension, or begin again after another tool was at work here.

    The daemon, when it runs, looks at everything at once.
    """
    from reconciler.gates import other_tool

    state = _state()
    before, other = state.suspension, other_tool.gives_way(state.memory().other_tool)
    state.resume()
    state.other_tool(lambda before: None)
    told = _wake(state)
    if json_:
        output.as_json({"was_suspended": before is not None, "had_given_way": other})
    else:
        output.line(f"resumed ({told})" if before or other else "was not suspended")


@click.command()
@click.argument("container", required=False)
@json_option
@config_option
def retry(container: str | None, json_: bool) -> None:
    """Try again what was rolled back, could not be achieved, or drifted too often.

    Ends the quarantine of CONTAINER, or of all: the same configuration may be tried once more, and drift is healed at once.
    """
    from reconciler.plan import recurring

    state = _state()
    memory = state.memory()
    now = datetime.now(UTC)
    stuck = {key.partition(":")[2] for key in memory.unachieved}
    stuck |= {name for name, times in memory.healed.items() if recurring.too_often(times, now)}
    held = sorted(memory.quarantine.keys() | stuck)
    if container and container not in held:
        raise errors.Terminal(
            f"there is nothing to try again about {container} ({', '.join(held) or 'nor about anything else'})",
            reason=Reason.NotQuarantined,
        )
    state.release(container)
    released = [container] if container else held
    told = _wake(state)
    if json_:
        output.as_json({"released": released})
    else:
        output.line(
            f"to be tried again: {', '.join(released)} ({told})" if released else "there was nothing to try again"
        )


@click.group()
def anchor() -> None:
    """Show or set the last accepted commit.

    The anchor is the last commit that this node verified and accepted; by itself it never moves backwards.
    """


@anchor.command("show")
@json_option
@config_option
def anchor_show(json_: bool) -> None:
    """Show the anchor, who signed it, and since when it counts. Of a state that was lost the one that this node had is shown."""
    from reconciler.codec import to_json
    from reconciler.state import Anchor

    state, fault, witness = _seen()
    found = state.anchor
    # Of a state that was lost the note outside it counts.
    if fault and witness and (found is None or found.accepted_at < witness.accepted_at):
        found = Anchor(witness.commit, witness.accepted_at)
    _warn(fault)
    if json_:
        output.as_json(to_json(found) if found else None)
    elif found is None:
        output.line("no revision was accepted yet")
    else:
        output.line(f"{found.commit} accepted {found.accepted_at:%Y-%m-%d %H:%M:%S} UTC")
        if found.signer:
            output.line(f"signed by {found.signer}")
        if found.reason:
            output.line(f"chosen by an operator: {found.reason}")


@anchor.command("accept")
@click.argument("revision")
@click.option("--reason", required=True, help="Why; kept with the anchor.")
@json_option
@config_option
def anchor_accept(revision: str, reason: str, json_: bool) -> None:
    """Accept REVISION though it is no descendant of the anchor, or not signed as the settings ask.

    It is fetched and validated as any other; what is not valid is refused all the same. A node whose state directory was lost
    begins anew with it.
    """
    from reconciler.codec import to_json
    from reconciler.node.node import Node

    node = Node(load_settings(), forge=False)
    try:
        accepted = node.accept(revision, reason)
        told = _wake(node.state)
    finally:
        node.close()
    if json_:
        output.as_json(to_json(accepted))
    else:
        output.line(f"accepted {accepted.commit} ({told})")


@click.group()
def owner() -> None:
    """Show by which key this node knows its containers, or take over another's.

    The key was drawn when the state directory was made, and is a label on every container and volume made since.
    """


@owner.command("show")
@json_option
@config_option
def owner_show(json_: bool) -> None:
    """Show the key, and whose containers count as this node's as well. Of a state that was lost the one that this node had is shown."""
    from reconciler.codec import to_json
    from reconciler.state import Owner

    state, fault, witness = _seen()
    found = state.owner
    if fault and witness and (found is None or witness.key not in (found.key, *found.also)):
        found = Owner(witness.key, str(state.path))
    _warn(fault)
    if json_:
        output.as_json(to_json(found) if found else None)
    elif found is None:
        output.line("no key was drawn yet: the first pass does")
    else:
        output.line(found.key)
        for label in found.also:
            output.line(f"also {label}")


@owner.command("claim")
@click.argument("label")
@json_option
@config_option
def owner_claim(label: str, json_: bool) -> None:
    """Take over the containers and volumes whose owner is LABEL, on this node's engine.

    LABEL is what `reconciler plan` or `reconciler status` names beside them. What belongs to an
    installation that still runs must not be claimed: both would change the same containers.
    """
    from reconciler.codec import to_json

    state = _state()
    claimed = state.claim(label)
    told = _wake(state)
    if json_:
        output.as_json(to_json(claimed))
    else:
        output.line(f"what {label} owns is this node's from now on ({told})")
