"""What is asked before a host goes to another release of OpenStack: nothing of that is done before every one of them passed."""

from dataclasses import replace

from reconciler.model import Action, Verb
from reconciler.plan import release_step
from reconciler.plan.accepted import accepted
from reconciler.plan.draft import Draft
from reconciler.reasons import Reason


def plan_prechecks(draft: Draft) -> None:
    """The checks of this host that are to be made, where the plan goes to another release; what waits for them is held back."""
    before = release_step.crossed(draft.memory, draft.desired)
    if not before or all(action.drift or action.verb is Verb.PULL for action in draft.actions):
        return
    good = draft.memory.last_good
    had = {container.name for container in good.containers} if good else set()
    asked = False
    for check in draft.desired.prechecks:
        if not (check.of_host or check.container in had) or check.name in (draft.basis.prechecked or ()):
            continue  # what is new here has nothing that could be asked
        if accepted(draft.desired.policy, check.name, draft.desired.host, draft.basis.today):
            continue
        pull: tuple[str, ...] = ()
        if not check.inside and not check.of_host:
            container = next(one for one in draft.desired.containers if one.name == check.container)
            draft.pull(container)
            pull = (f"{Verb.PULL}:{container.image}",)
        cause = f"before {before} → {draft.desired.release}: {check.words}"
        asked |= draft.add(Action(Verb.PRECHECK, check.name, cause, pull, service=check.service))
    _host_first(draft)
    if asked and draft.basis.prechecked is not None:
        _hold_the_rest(draft)


def _host_first(draft: Draft) -> None:
    """What the host says of itself comes before the images that it may have no room for. One that was here comes whenever it is needed."""
    good = draft.memory.last_good
    here = {container.image for container in good.containers} if good else set()
    of_host = tuple(f"{Verb.PRECHECK}:{check.name}" for check in draft.desired.prechecks if check.of_host)
    draft.actions = [
        replace(one, needs=(*one.needs, *of_host)) if one.verb is Verb.PULL and one.target not in here else one
        for one in draft.actions
    ]


def _hold_the_rest(draft: Draft) -> None:
    """A host that only asks is still wholly what it was, so that what fails there meanwhile can be put right."""
    stays: list[Action] = []
    waits: list[Action] = []
    for action in draft.actions:
        (stays if action.verb in (Verb.PULL, Verb.PRECHECK) or _puts_right(draft, action) else waits).append(action)
    draft.actions = stays
    for action in waits:
        if action.verb is not Verb.VALIDATE:
            draft.hold(action, Reason.PrecheckPending, "waits for the checks before the upgrade")


def _puts_right(draft: Draft, action: Action) -> bool:
    """What is gone and would be made anew as the upgrade has it is part of that: it comes back as it was when a check fails."""
    upgrades = action.verb is Verb.CREATE and not action.drift and action.container not in draft.failed
    return draft.mends(action) and not upgrades
