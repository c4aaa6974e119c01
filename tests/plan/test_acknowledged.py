"""More removals than `prune.max` allows: what the guard says to write helps, once, and for exactly these containers."""

import re
from dataclasses import replace
from typing import Any

import pytest

from reconciler.document import yaml
from reconciler.model import Container, Desired, Plan, Verb
from reconciler.site import policy
from tests.scenarios.world import World

NAMES = tuple(f"c{number}" for number in range(1, 9))
BASE = "a" * 40


def site(revision: str, *names: str, entries: str = "", host: str = "ctl1") -> Desired:
    """A commit that describes these containers, with `entries` below `acknowledge:`."""
    text = "name: south\nprune: {max: 2}\n" + (f"acknowledge:\n{entries}" if entries else "")
    rules = policy.alone(yaml.load(text.encode(), "reconciler.yml"))
    containers = tuple(Container(name, "image:1", service="s") for name in ("stays", *names))
    return Desired("south", host, revision, "/etc/kolla", containers, policy=rules)


def node(*names: str, entries: str = "") -> World:
    """A node on which all of `names` run, and a commit that says so was carried out."""
    world = World()
    world.converge(site(BASE, *names, entries=entries))
    return world


def removed(plan: Plan) -> set[str]:
    return {action.target for action in plan.actions if action.verb is Verb.REMOVE}


def advice(plan: Plan) -> str:
    """The line that every held container's message says to add."""
    (message,) = {held.message for held in plan.held if held.reason == "PruneGuard"}
    found = re.search(r"add `(- .*?)` to the list `acknowledge:` in reconciler\.yml", message)
    assert found, message
    return f"  {found[1]}\n"


def test_the_advice_helps_once() -> None:
    world = node(*NAMES)
    held = world.converge(site("b" * 40))
    assert removed(held) == set() and {h.target for h in held.held} == set(NAMES)
    assert set(held.held[0].acknowledge) == set(NAMES)
    first = advice(held)
    done = world.converge(site("c" * 40, entries=first))
    assert removed(done) == set(NAMES) and not done.held
    assert all("prune" in action.risks for action in done.actions if action.verb is Verb.REMOVE)
    # They come back, and are to go again: the entry that is still there is used up.
    assert not world.converge(site("d" * 40, *NAMES, entries=first)).held
    again = world.converge(site("e" * 40, entries=first))
    assert removed(again) == set() and len(again.held) == 8
    second = advice(again)
    assert second != first
    assert removed(world.converge(site("f" * 40, entries=first + second))) == set(NAMES)


def test_the_advice_of_a_base_that_is_no_commit_helps_as_well() -> None:
    """As `reconciler plan` may have it, from another program's files for example."""
    world = World()
    world.converge(replace(site(BASE, *NAMES), revision="base"))
    entry = advice(world.plan(site("b" * 40)))
    assert removed(world.converge(site("c" * 40, entries=entry))) == set(NAMES)


def test_it_may_come_with_the_removal_itself() -> None:
    entry = f"  - {{base: {BASE}, remove: [{', '.join(NAMES)}]}}\n"
    assert removed(node(*NAMES).converge(site("b" * 40, entries=entry))) == set(NAMES)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (f"remove: [{', '.join(NAMES[:-1])}]", "one too few"),
        (f"remove: [{', '.join((*NAMES, 'c9'))}]", "one that never was"),
        (f"remove: [{', '.join((*NAMES, 'stays'))}]", "one that is to stay"),
        (f"remove: [{', '.join(NAMES)}], hosts: [ctl2]", "another host"),
    ],
)
def test_it_counts_for_exactly_these(entry: str, why: str) -> None:
    plan = node(*NAMES).converge(site("b" * 40, entries=f"  - {{base: {BASE}, {entry}}}\n"))
    assert removed(plan) == set() and len(plan.held) == 8, why


def test_two_entries_do_not_add_up() -> None:
    halves = "".join(f"  - {{base: {BASE}, remove: [{', '.join(part)}]}}\n" for part in (NAMES[:4], NAMES[4:]))
    assert removed(node(*NAMES).converge(site("b" * 40, entries=halves))) == set()


def test_an_entry_that_was_there_before_counts_for_nothing() -> None:
    """It came with another commit, for which it may have been meant."""
    entry = f"  - {{base: '{'9' * 40}', remove: [{', '.join(NAMES)}]}}\n"
    world = node(*NAMES, entries=entry)
    assert removed(world.converge(site("b" * 40, entries=entry))) == set()
    turned = f"  - {{remove: [{', '.join(reversed(NAMES))}], base: '{'9' * 40}'}}\n"
    assert removed(world.converge(site("c" * 40, entries=turned))) == set(), "another order is no other entry"


@pytest.mark.parametrize("cut", [1, 3, 5, 7])
def test_an_interrupted_removal_goes_on(cut: int) -> None:
    world = node(*NAMES)
    head = site("c" * 40, entries=advice(world.plan(site("b" * 40))))
    plan = world.plan(head)
    touched = frozenset(action.target for action in plan.actions)
    for action in plan.actions[:cut]:
        world.perform(action, head, plan)
    assert removed(world.plan(head, touched=touched)) == set(NAMES) & world.containers.keys()
    assert removed(world.converge(head)) == set(NAMES[cut:])


def test_what_cannot_be_seen_is_not_gone() -> None:
    world = node(*NAMES)
    head = site("c" * 40, entries=advice(world.plan(site("b" * 40))))
    world.unknown["container:c8"] = "the engine does not answer about it"
    assert removed(world.plan(head)) == set()


def test_reporting_only_and_an_empty_site_are_not_lifted() -> None:
    world = node(*NAMES)
    names = ("stays", *NAMES)
    entry = f"  - {{base: {BASE}, remove: [{', '.join(names)}]}}\n"
    nothing = replace(site("b" * 40, entries=entry), containers=())
    plan = world.plan(nothing)
    assert removed(plan) == set() and all(not held.acknowledge for held in plan.held)
    rules: dict[str, Any] = {**nothing.policy, "prune": {"mode": "report", "max": 2}}
    reported = world.plan(
        replace(site("b" * 40, entries=f"  - {{base: {BASE}, remove: [{', '.join(NAMES)}]}}\n"), policy=rules)
    )
    assert {held.reason for held in reported.held} == {"PruneReported"}
