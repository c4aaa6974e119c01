"""Reports as cycles make them, in a few words."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reconciler.model import Action, Condition, Difference, Held, Outcome, Plan, Verb
from reconciler.reasons import Reason
from reconciler.report import Refusal, Report, RepositoryStatus, conditions

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOST, SITE, REVISION, NEWER = "ctl1", "cloud", "a" * 40, "b" * 40
OK, AWAY = (
    RepositoryStatus(True, REVISION),
    RepositoryStatus(False, "", Reason.GitUnreachable, "git.example.org: no route to host"),
)


def held(
    target: str = "keystone", reason: Reason = Reason.DriftReported, message: str = "stopped", drift: bool = True
) -> Held:
    return Held(target, reason, message, (Difference("state", "running", "exited"),) if drift else (), drift)


def outcome(
    target: str, result: str, reason: Reason = Reason.StartFailed, verb: Verb = Verb.START, **more: Any
) -> Outcome:
    action = Action(verb, target, "stopped", container=more.pop("container", target), drift=more.pop("drift", True))
    return Outcome(action, result, reason if result != "done" else None, more.pop("message", "no such file"))  # type: ignore[arg-type]


def report(
    *held_items: Held,
    outcomes: Sequence[Outcome] = (),
    now: datetime = START,
    before: Sequence[Condition] = (),
    source: RepositoryStatus = OK,
    refusal: Refusal | None = None,
    failure: tuple[Reason, str] | None = None,
    planned: bool = True,
    deep: bool = False,
    suspended: str = "",
    gave_way: str = "",
    explained: Mapping[str, str] | None = None,
    site: str = SITE,
) -> Report:
    """A finished report, with its conditions."""
    plan = (
        Plan(HOST, REVISION, tuple(o.action for o in outcomes), tuple(held_items)) if planned and not failure else None
    )
    bare = Report(
        site,
        HOST,
        REVISION,
        now,
        0.2,
        "interval",
        deep,
        source,
        plan=plan,
        outcomes=tuple(outcomes),
        refusal=refusal,
        failure=failure,
        containers=3,
        suspended=suspended,
        gave_way=gave_way,
        explained=explained or {},
    )
    from dataclasses import replace

    return replace(bare, conditions=conditions(bare, before, now))
