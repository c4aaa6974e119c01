"""What the image itself says of a new configuration, before anything of it is put to use."""

from dataclasses import replace

from reconciler.model import Action, Container, Verb
from reconciler.plan.draft import Draft

# What a configuration that the checker refuses must not come to.
_HELD_UP = frozenset(
    {Verb.WRITE, Verb.CHMOD, Verb.DELETE, Verb.CREATE, Verb.REPLACE, Verb.RESTART, Verb.RELOAD, Verb.START, Verb.UPDATE}
)
_NEW = frozenset({Verb.WRITE, Verb.DELETE, Verb.CREATE, Verb.REPLACE})


def plan_validation(draft: Draft, container: Container, first: int) -> None:
    """Let the actions of `container`, those from number `first` on, wait for its image's checker where they bring something new.

    What only puts back what worked here is not checked again.
    """
    if container.validation is None:
        return
    mine = [index for index in range(first, len(draft.actions)) if _is_of(draft.actions[index], container)]
    if not any(draft.actions[index].verb in _NEW and not draft.actions[index].drift for index in mine):
        return
    checked = draft.action(
        Verb.VALIDATE, container.name, "its new configuration, by the image's own checker", container
    )
    for index in mine:
        action = draft.actions[index]
        draft.actions[index] = replace(action, needs=(*action.needs, checked.id))
    draft.pull(container)
    draft.actions.append(checked)


def _is_of(action: Action, container: Container) -> bool:
    return action.container == container.name and action.verb in _HELD_UP
