"""The one verdict on a report: what the node is, why, and what is the cause of the rest. Pure.

Conditions, commit statuses, alerts, the summary of a site's hosts and the reporter's judgement only put it into words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from reconciler.model import Held
from reconciler.phrases import count
from reconciler.reasons import Reason, Standing
from reconciler.report.cause import Cause, Symptom, find
from reconciler.report.cycle import Report
from reconciler.report.graph import CHECK, REGISTRAR, Graph

OTHER_TOOL: Final = "another tool"  # an item like a container; none of those can hold a blank


class State(StrEnum):
    """What a node is at the revision that is in force there."""

    NOTHING = "nothing"  # no revision was ever accepted, so there is nothing that it could be
    CONVERGED = "converged"
    WAITING = (
        "waiting"  # on purpose, or because the pass was cut short: it goes on by itself, or when an operator says so
    )
    DRIFTED = "drifted"  # something was changed on the host, and is left as it is on purpose
    FAILED = "failed"  # something is not as the revision says, or does not work, and nobody meant it to


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` and `message` are the headline; `cause` says what is wrong because of it and besides, None when nothing is wrong."""

    state: State
    reason: Reason
    message: str
    cause: Cause | None = None

    @property
    def ready(self) -> bool:
        """Whether the node is as its revision says, and works."""
        return self.state is State.CONVERGED

    @property
    def stalled(self) -> bool:
        """Whether it needs a commit or an operator: it is not ready, and nobody meant it to be so."""
        unwanted = self.reason.standing in (Standing.WRONG, Standing.HARMLESS)
        return self.state is State.FAILED or (self.state is State.NOTHING and unwanted)


def verdict(report: Report) -> Verdict:
    """First match wins."""
    if report.failure:
        return Verdict(State.FAILED, *report.failure)
    if report.plan is None:
        reason = report.refusal.reason if report.refusal else report.source.reason or Reason.NoRevision
        return Verdict(State.NOTHING, reason, report.refusal.message if report.refusal else report.source.message)
    if report.suspended and not report.failed:
        return Verdict(State.WAITING, Reason.Suspended, report.suspended)
    symptoms = tuple(_symptoms(report))
    if cause := find(symptoms, _rests_on(report), report.wrong):
        state = State.DRIFTED if all(symptom.meant for symptom in symptoms) else State.FAILED
        return Verdict(state, cause.root.reason, cause.text, cause)
    if report.under_way:
        return Verdict(State.WAITING, Reason.Progressing, doing(report, report.ended_at))
    if waiting := report.waiting:
        first = waiting[0]
        timed = first.reason in (Reason.OutsideWindow, Reason.ProgramPinned)
        until = f" {report.window}" if timed else f": {first_line(first.message)}"
        return Verdict(State.WAITING, first.reason, f"{report.change}{count(len(waiting), 'change')} waiting{until}")
    if any(outcome.result == "skipped" for outcome in report.outcomes):
        return Verdict(State.WAITING, Reason.Interrupted, "stopped before everything was done; the next cycle goes on")
    return Verdict(State.CONVERGED, Reason.Converged, f"{report.containers} containers as wanted")


def _symptoms(report: Report) -> Iterator[Symptom]:
    """What is wrong, by weight: somebody else is at work, what was tried and failed, what is held back, what does not answer or does not
    work."""
    if report.gave_way:
        yield Symptom(OTHER_TOOL, Reason.OtherTool, report.gave_way)
    for outcome in report.failed:
        action = outcome.action
        text = f"{action.target}: {first_line(outcome.message).removeprefix(f'{action.target}: ')}"
        yield Symptom(action.container or action.target, outcome.reason or Reason.ActionFailed, text)
    for held in report.plan.held if report.plan else ():
        if not held.reason.harmless and held not in report.waiting:
            yield _held(held, report.graph)
    yield from (found for found in report.not_working if found.reason != Reason.Unhealthy)
    for check in report.not_answering:
        yield Symptom(f"{CHECK}{check.name}", Reason.NotAnswering, f"check {check.name}: {first_line(check.message)}")
    # A check in the container says more than that its health check fails.
    yield from (found for found in report.not_working if found.reason == Reason.Unhealthy)
    for stuck in report.not_achievable:
        yield Symptom(stuck.target, Reason.NotAchievable, f"{stuck.target}: {stuck.message}")


def _rests_on(report: Report) -> Graph:
    """The graph; whatever waits because the node gave way rests on that."""
    waits = [held.target for held in report.plan.held if held.reason is Reason.OtherTool] if report.plan else []
    return {**report.graph, **{target: (*report.graph.get(target, ()), OTHER_TOOL) for target in waits}}


def _held(held: Held, graph: Graph) -> Symptom:
    """All registrations of a registrar that does not answer are one symptom."""
    registrar = next((item for item in graph.get(held.target, ()) if item.endswith(REGISTRAR)), "")
    if held.reason == Reason.Unknown and registrar:
        return Symptom(registrar, held.reason, f"{registrar} cannot be looked at: {first_line(held.message)}")
    meant = held.drift and held.reason.standing is Standing.WAITING
    return Symptom(held.target, held.reason, about(held.target, first_line(held.message)), meant)


def doing(report: Report, now: datetime | None = None) -> str:
    """What is in flight, in one line; with `now`, for how long. "" when nothing is."""
    if not report.under_way:
        return ""
    if not report.in_flight:
        return "what was in flight has just ended; the next pass goes on"
    first, more = report.in_flight[0], len(report.in_flight) - 1
    passed = f", {max((now - first.since).total_seconds(), 0):.0f} s" if now else ""
    return f"{first.text}{passed}" + (f" (and {more} more under way)" if more else "")


def about(target: str, text: str) -> str:
    """What a text is about, unless it begins with that anyway."""
    return text if text.startswith((f"{target}:", f"{target} ")) else f"{target}: {text}"


def first_line(text: str) -> str:
    """Up to the end of its first line."""
    return text.partition("\n")[0]
