"""Reasons to wait, all of one shape: a gate looks at the situation and answers with one hold, or with None.

`GATES` is the one table. The first hold that covers an action is the reason why it waits; whoever prints a hold uses its words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.gates import windows
from reconciler.gates.other_tool import gives_way
from reconciler.model import OtherTool
from reconciler.phrases import few
from reconciler.reasons import Reason


@dataclass(frozen=True, slots=True)
class Hold:
    """Why something is not done now.

    `until` says when it may be, as far as that is known, and why not before: "until 2026-11-23 22:00 CET (window nights)". With
    `drift` the healing of drift waits as well. With `keeps_up` the node goes on with what it last carried out, and only tells
    of what it would change.
    """

    reason: Reason
    message: str
    drift: bool = True
    keeps_up: bool = False
    until: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What gates look at. `policy` is the accepted reconciler.yml with its defaults, `mode` the node's own setting, `suspension` what
    an operator gave as the reason (None: nobody suspended it), `now` a moment with its time zone. `unmade` is why this program
    cannot make desired state of what is accepted, reason and message (None: it can). `other_tool`: see gates/other_tool.py.
    `shut_out` says which password of the accepted revision is not let in yet (None: all are).
    `fleet` is why the rollout has not come to this node (None: it has, or the node is alone). `unready` is what a check before an
    upgrade found a moment ago (None: nothing)."""

    policy: Mapping[str, Any]
    mode: str
    suspension: str | None
    now: datetime
    unmade: tuple[Reason, str] | None = None
    other_tool: OtherTool | None = None
    fleet: tuple[Reason, str] | None = None
    unready: str | None = None
    shut_out: str | None = None


Gate = Callable[[Situation], Hold | None]


def suspended(situation: Situation) -> Hold | None:
    """An operator wishes that nothing be changed."""
    return None if situation.suspension is None else Hold(Reason.Suspended, situation.suspension)


def report_only(situation: Situation) -> Hold | None:
    """The node's own settings let it look, and no more."""
    return Hold(Reason.ReportOnly, "this node's settings say mode = report") if situation.mode == "report" else None


def other_tool(situation: Situation) -> Hold | None:
    """Somebody else manages the same containers, and does so again."""
    known = situation.other_tool
    if known is None or not gives_way(known):
        return None
    return Hold(
        Reason.OtherTool,
        f"kolla-ansible was run here {known.runs} times since its containers were taken over, last seen {known.last:%Y-%m-%d %H:%M} UTC "
        f"({few(known.containers)}): this node only reports until `reconciler resume`",
    )


def program_unfit(situation: Situation) -> Hold | None:
    """The site is pinned to another version of this program, or this one cannot make of it what its nodes are to be."""
    if situation.unmade is None:
        return None
    reason, message = situation.unmade
    until = message.removeprefix("waits ") if reason is Reason.ProgramPinned else ""
    return Hold(reason, message, drift=False, keeps_up=True, until=until)


def outside_window(situation: Situation) -> Hold | None:
    """The site's changes wait for a maintenance window, or for the end of a freeze."""
    closed = windows.closed(situation.policy, situation.now)
    if closed is None:
        return None
    return Hold(Reason.OutsideWindow, f"waits {closed}", drift=closed.drift, keeps_up=True, until=str(closed))


def not_its_turn(situation: Situation) -> Hold | None:
    """Other hosts of the site go first, or must not be stopped at the same time; or the rollout was halted."""
    if situation.fleet is None:
        return None
    reason, message = situation.fleet
    return Hold(reason, message, drift=False, keeps_up=True)


def not_ready(situation: Situation) -> Hold | None:
    """A check before an upgrade failed, and it is not time to make it again."""
    if situation.unready is None:
        return None
    return Hold(Reason.PrecheckFailed, situation.unready, drift=False, keeps_up=True)


def shut_out(situation: Situation) -> Hold | None:
    """Another host registers a password that is new, and has not done so yet: whoever took it into use would be shut out."""
    if situation.shut_out is None:
        return None
    return Hold(Reason.WaitsForOthers, situation.shut_out, drift=False, keeps_up=True)


GATES: tuple[Gate, ...] = (
    suspended,
    report_only,
    other_tool,
    program_unfit,
    outside_window,
    not_its_turn,
    not_ready,
    shut_out,
)


def holds(situation: Situation) -> tuple[Hold, ...]:
    """Everything that holds something back, in the order of the table."""
    return tuple(found for gate in GATES if (found := gate(situation)))
