"""In which order a plan is carried out: after what each action needs, otherwise as it was planned, and circles are cut."""

import pytest

from reconciler.model import Action, Verb
from reconciler.plan.order import ordered


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # As they came.
        ("c b a", "c b a"),
        # What is needed goes first, and what was planned earlier goes before what was planned later.
        ("a:c b c", "b c a"),
        ("a:d b:c c d", "c b d a"),
        ("a b:e c:b d e:d", "a d e b c"),
        # What is needed and not in the plan is not waited for, nor does anything wait for itself.
        ("a:x b:b", "a b"),
        # A circle is cut at what was planned first, once nothing else is ready; what needs it comes after it.
        ("a:b b:a c", "c a b:a"),
        ("b:a a:b c:b", "b a:b c:b"),
        ("a:c b:a c:b d:c", "a b:a c:b d:c"),
        # Each circle by itself, and what it needs outside stays needed.
        ("a:b b:a c:d d:c", "a b:a c d:c"),
        ("a:x,b b:a x", "x a:x b:a"),
        ("a:b,x b:a x:y y:x", "a b:a x y:x"),
    ],
)
def test_after_what_it_needs(given: str, expected: str) -> None:
    def actions(text: str) -> list[Action]:
        made = []
        for word in text.split():
            name, _, needs = word.partition(":")
            made.append(Action(Verb.START, name, "", needs=tuple(f"start:{need}" for need in needs.split(",") if need)))
        return made

    wanted, found = actions(expected), ordered(actions(given))
    assert [action.target for action in found] == [action.target for action in wanted]
    if ":" in expected or ":" not in given:
        assert [action.needs for action in found] == [action.needs for action in wanted]
