"""What holds of every plan, whatever is desired, found and interrupted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.gates import Hold
from reconciler.model import (
    ASIDE,
    Action,
    Container,
    Desired,
    File,
    FileState,
    HostSetting,
    Image,
    Job,
    JobResult,
    Plan,
    Registrar,
    Registration,
    Reload,
    Running,
    State,
    Verb,
    aside,
)
from reconciler.reasons import Reason
from reconciler.render.digest import part_digest
from reconciler.system.files import digest
from tests.scenarios.world import PROVING, World, made

NAMES = ("db", "api", "proxy", "agent")
ON_CONTAINER = PROVING | {Verb.UPDATE, Verb.REMOVE, Verb.STOP, Verb.ADOPT}
Draw = Callable[[st.SearchStrategy[Any]], Any]

# --- what may be desired ---------------------------------------------------------------------------------------------


@st.composite
def containers(draw: Draw, name: str) -> Container:
    environment = draw(st.fixed_dictionaries({}, optional={"A": st.sampled_from("12"), "B": st.just("1")}))
    strategy = draw(st.sampled_from(["COPY_ALWAYS", "COPY_ONCE"]))
    return Container(
        name,
        draw(st.sampled_from(["image:1", "image:2"])),
        environment={**environment, "KOLLA_CONFIG_STRATEGY": strategy},
        privileged=draw(st.booleans()),
        cpu_shares=draw(st.sampled_from([0, 512])),
        service=draw(st.sampled_from(["one", "two"])),
        config_directory=name,
        depends_on=tuple(draw(st.sets(st.sampled_from(NAMES)))),
        reload=draw(st.sampled_from([None, Reload("HUP")])),
    )


@st.composite
def files(draw: Draw, owner: str) -> File:
    return File(
        f"{owner}/{draw(st.sampled_from('xyz'))}.conf",
        draw(st.sampled_from(["a", "b"])),
        draw(st.sampled_from([0o600, 0o640])),
        container=owner,
        on_change=draw(st.sampled_from(["restart", "reload", "none"])),
    )


@st.composite
def sites(draw: Draw, revision: str) -> Desired:
    present = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    made_of = [draw(containers(name)) for name in present]
    owners = [*present, "sync"]
    own = {f.path: f for owner in owners for f in draw(st.lists(files(owner), max_size=2))}
    job = Job(
        "sync",
        Container("sync", "image:1", config_directory="sync"),
        draw(st.sampled_from(["i1", "i2"])),
        before=tuple(draw(st.sets(st.sampled_from(NAMES), max_size=1))),
        after=("db",),
        owner=draw(st.sampled_from(["here", "there"])),
        migration=draw(st.booleans()),
    )
    kinds = draw(st.sets(st.sampled_from([("database", "k"), ("user", "k"), ("grant", "k on k"), ("user", "l")])))
    filled = draw(st.sampled_from([(), ("sync",)]))
    registrations = tuple(
        Registration("mariadb", kind, key, {"value": draw(st.sampled_from("12"))}, owner="here", before=filled)
        for kind, key in sorted(kinds)
    )
    asked = draw(st.dictionaries(st.sampled_from(["net.a", "net.b"]), st.sampled_from("12"), max_size=2))
    waiting = tuple(draw(st.sets(st.sampled_from(NAMES), max_size=1)))
    settings = tuple(
        HostSetting("sysctl", name, {"live": value, "boot": value}, before=waiting)
        for name, value in sorted(asked.items())
    )
    policy = {"prune": {"max": 99}, "adoption": draw(st.sampled_from(["equal", "replace"]))}
    return Desired(
        "site",
        "here",
        revision,
        "/etc/kolla",
        containers=tuple(made_of),
        files=tuple(f for f in own.values() if f.container != "sync" or draw(st.booleans())),
        jobs=draw(st.sampled_from([(), (job,)])),
        registrations=registrations,
        registrars=(Registrar("mariadb", {}, needs=("db",)),),
        host_settings=settings,
        policy=policy,
    )


# --- what may have happened ------------------------------------------------------------------------------------------


def change(world: World, name: str, **changes: Any) -> None:
    if name in world.containers:
        world.containers[name] = replace(world.containers[name], **changes)


def by_hand(world: World, what: str, name: str, head: Desired) -> None:
    """One thing that somebody or something did to the node. `name` is a container's, of ours or not."""
    running = world.containers.get(name)
    paths = sorted(path for path in world.files if path.startswith(name))
    match what:
        case "killed" | "paused" | "created":
            change(world, name, state={"killed": State.EXITED, "paused": State.PAUSED}.get(what, State.CREATED))
        case "removed":
            world.containers.pop(name, None)
        case "restarted":
            change(world, name, started_at=world.time())
        case "altered" if running:
            spec = replace(running.spec, environment={**running.spec.environment, "C": "1"})
            change(world, name, spec=spec, explicit=frozenset(spec.environment))
        case "limited" if running:
            change(world, name, spec=replace(running.spec, cpu_shares=7))
        case "retagged":
            world.images["image:1"] = Image("another")
        case "image gone":
            world.images.pop("image:2", None)
        case "taken over":
            foreign(world, name, head)
        case "moved aside" if running and aside(name) not in world.containers:
            world.rename(name, aside(name))
        case "foreign spare":
            world.containers[aside(name)] = stranger(world, Container(aside(name), "image:9"))
        case "foreign":
            world.containers["postgres"] = stranger(world, Container("postgres", "image:9"))
        case "edited" | "chmod" | "linked" if paths:
            state = world.files[paths[0]]
            content: dict[str, Any] = {"edited": {"content": b"mine"}, "chmod": {"mode": 0o666}}.get(  # type: ignore[assignment]
                what, {"content": None, "kind": "symlink"}
            )
            world.files[paths[0]] = replace(
                state, modified=world.time() if what == "edited" else state.modified, **content
            )
        case "lost" if paths:
            del world.files[paths[0]]
        case "extra file":
            world.files[f"{name}/extra"] = FileState(b"", 0o600, 0, 0, world.time())
        case "unregistered":
            world.registrations = dict.fromkeys(world.registrations)
        case "password changed":
            there = {key for key, found in world.registrations.items() if found is not None}
            world.registrations = {**world.registrations, **{key: {"value": "<differs>"} for key in there}}
        case "kernel set":
            world.kernel["sysctl:net.a"]["live"] = "7"
        case "boot line lost":
            world.kernel["sysctl:net.a"].pop("boot", None)
        case "job failed":
            world.note(jobs={"sync": JobResult("i1", False, world.time(), "exit 1")})
        case "state lost":
            world.note(applied={}, revision="", last_good=None, host_settings={})
            world.written = {}
        case "quarantined" if any(c.name == name for c in head.containers):
            world.note(quarantine={name: part_digest(head, name)})


def stranger(world: World, container: Container) -> Running:
    moment, image = world.time(), world.images.get(container.image, Image(container.image))
    return replace(made(container, f"foreign{moment}", image), state=State.RUNNING, started_at=moment, owned=False)


def foreign(world: World, name: str, head: Desired) -> None:
    """Another tool made the container as desired, or as it was."""
    container = next((c for c in head.containers if c.name == name), None)
    if container:
        world.containers[name] = stranger(world, container)
        world.units.add(name)


HAPPENINGS = (
    "killed", "paused", "created", "removed", "restarted", "altered", "limited", "retagged", "image gone", "taken over",
    "moved aside", "foreign spare", "foreign", "edited", "chmod", "linked", "lost", "extra file", "unregistered",
    "password changed", "job failed", "state lost", "quarantined", "kernel set", "boot line lost",
)  # fmt: skip


@st.composite
def situations(draw: Draw) -> tuple[World, Desired]:
    """A node that had converged to something, what happened to it since, and what it should be now."""
    world, base = World(), draw(sites("r1"))
    world.images["image:1"] = Image("image:1")
    if draw(st.booleans()):
        world.converge(base)
    head = draw(st.one_of(sites("r2"), st.just(base), st.just(replace(base, revision="r2"))))
    for what, name in draw(st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.sampled_from(NAMES)), max_size=4)):
        by_hand(world, what, name, head)
    return world, head


# The default run draws the same examples everywhere and every time; those of the long one nobody chose.
def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


# --- what holds ------------------------------------------------------------------------------------------------------


def some_names() -> st.SearchStrategy[set[str]]:
    return st.sets(st.sampled_from(NAMES), min_size=1, max_size=2)


def lines(plan: Plan) -> list[str]:
    return [action.line for action in plan.actions]


@quick(200)
@given(situations())
def test_after_convergence_the_plan_is_empty(situation: tuple[World, Desired]) -> None:
    world, desired = situation
    done = world.converge(desired)
    again = world.plan(desired)
    assert again.empty, f"{lines(again)}\nafter {lines(done)}"


@quick(200)
@given(situations(), st.data())
def test_killed_anywhere_it_is_finished(situation: tuple[World, Desired], data: st.DataObject) -> None:
    """Also: what was done is not done again, and what is not part of the change keeps ID and start time."""
    world, desired = situation
    plan, before = world.plan(desired), dict(world.containers)
    count = data.draw(st.integers(0, len(plan.actions)), label="actions done")
    for action in plan.actions[:count]:
        world.perform(action, desired, plan)
    if count < len(plan.actions):
        world.perform(plan.actions[count], desired, plan, data.draw(st.integers(0, 5), label="steps done"))
    finished = world.converge(desired)
    again = world.plan(desired)
    assert again.empty, f"{lines(again)}\nafter {lines(finished)}\nof {lines(plan)}"
    first = {a.id for a in plan.actions[:count] if a.verb in PROVING}
    assert not first & {a.id for a in finished.actions}, f"twice: {lines(finished)}"
    changed = {name for a in plan.actions if a.verb in ON_CONTAINER for name in (a.target, aside(a.target))}
    for name in before.keys() - changed:
        assert world.containers[name] == before[name]


@quick(150)
@given(situations(), sites("r3"), st.data())
def test_passes_beside_a_flight_touch_nothing_of_it(
    situation: tuple[World, Desired], later: Desired, data: st.DataObject
) -> None:
    """And wherever the flight is cut short, or killed, and the healing beside it too: a newer commit takes over, and ends it all."""
    world, desired = situation
    flight = world.plan(desired)
    count = data.draw(st.integers(0, len(flight.actions)), label="actions done in flight")
    for action in flight.actions[:count]:
        world.perform(action, desired, flight)
    left = flight.actions[count:]
    if left:
        world.perform(left[0], desired, flight, data.draw(st.integers(0, 5), label="steps done in flight"))
    flying = {name for action in left for name in (action.target.removeprefix(ASIDE), action.container) if name}
    beside = world.plan(desired, in_flight=dict.fromkeys(flying, "under way"))
    for action in beside.actions:
        assert flying.isdisjoint({action.target.removeprefix(ASIDE), action.container}), action.line
        if not action.drift:
            assert flying.isdisjoint(need.partition(":")[2] for need in action.needs), action.line
    count = data.draw(st.integers(0, len(beside.actions)), label="actions done beside")
    for action in beside.actions[:count]:
        world.perform(action, desired, beside)
    if count < len(beside.actions):
        world.perform(beside.actions[count], desired, beside, data.draw(st.integers(0, 5), label="steps done beside"))
    newest = data.draw(st.sampled_from([later, desired]), label="newest")
    finished = world.converge(newest)
    again = world.plan(newest)
    assert again.empty, f"{lines(again)}\nafter {lines(finished)}\nbeside {lines(beside)}\nof {lines(flight)}"


@quick(150)
@given(situations())
def test_the_unowned_is_never_a_target(situation: tuple[World, Desired]) -> None:
    world, desired = situation
    actual, plan = world.actual(desired), world.plan(desired)
    by_id = {action.id: action for action in plan.actions}
    for action in plan.actions:
        for name in touched(action):
            running = actual.containers.get(name)
            if running is not None and not running.owned:
                adopt = f"{Verb.ADOPT}:{action.target}"
                assert action.verb is Verb.ADOPT or adopt in before_it(action, by_id), action.line
    assert all(a.target != "postgres" for a in plan.actions)


@quick(100)
@given(situations())
def test_what_the_host_was_before_it_is_afterwards(situation: tuple[World, Desired]) -> None:
    """Whatever was set, and by however many commits, when nobody asks for it any more, but for what others have set since."""
    world, desired = situation
    world.kernel = {name: {"live": "3"} for name in world.kernel}
    world.note(host_settings={}, last_good=None)
    world.converge(desired)
    world.converge(replace(desired, host_settings=()))
    assert world.kernel == {name: {"live": "3"} for name in world.kernel} and not world.memory.host_settings


def touched(action: Action) -> set[str]:
    """The containers that an action changes, moves or removes."""
    if action.verb not in ON_CONTAINER:
        return set()
    return {action.target, aside(action.target)} if action.verb in (Verb.REPLACE, Verb.RENAME) else {action.target}


def before_it(action: Action, by_id: dict[str, Action]) -> set[str]:
    found: set[str] = set()
    waiting = list(action.needs)
    while waiting:
        need = waiting.pop()
        if need not in found:
            found.add(need)
            waiting += by_id[need].needs
    return found


@quick(150)
@given(situations(), sites("r3"))
def test_only_what_was_written_is_deleted(situation: tuple[World, Desired], later: Desired) -> None:
    """Through a commit, another one, and whatever happened before: what others put there is there in the end."""
    world, desired = situation
    theirs = {path for path in world.files if path.endswith("/extra")}
    for head in (desired, later):
        for action in world.plan(head).actions:
            if action.verb is Verb.DELETE:
                content = world.files[action.target].content
                assert content is not None and digest(content) in world.written.get(action.target, ()), action.line
        world.converge(head)
    assert theirs <= world.files.keys()


@quick(200)
@given(situations(), some_names(), st.data())
def test_the_unknown_is_never_acted_upon(
    situation: tuple[World, Desired], names: set[str], data: st.DataObject
) -> None:
    world, desired = situation
    paths = [file.path for file in desired.files]
    items = [f"container:{name}" for name in names] + [f"container:{aside(name)}" for name in names]
    items += [f"file:{path}" for path in paths] + ["image:image:1", "image:image:2", "job:sync", "units"]
    world.unknown = dict.fromkeys(data.draw(st.sets(st.sampled_from(items), min_size=1)), "no answer")
    plan = world.plan(desired)
    uses = {c.name: c.image for c in desired.containers}
    for action in plan.actions:
        kind = "file" if action.verb in (Verb.WRITE, Verb.CHMOD, Verb.DELETE) else "container"
        kind = {Verb.PULL: "image", Verb.RUN: "job"}.get(action.verb, kind)
        assert f"{kind}:{action.target}" not in world.unknown, action.line
        if action.verb in ON_CONTAINER and action.target in uses:
            assert f"container:{aside(action.target)}" not in world.unknown, action.line
            assert f"image:{uses[action.target]}" not in world.unknown, action.line
        assert action.verb is not Verb.ADOPT or "units" not in world.unknown


@quick(100)
@given(situations())
def test_a_plan_is_in_order_the_same_twice_and_held_back_whole(situation: tuple[World, Desired]) -> None:
    world, desired = situation
    plan = world.plan(desired)
    assert plan == world.plan(desired)
    seen: set[str] = set()
    for action in plan.actions:
        assert set(action.needs) <= seen, f"{action.line} needs {set(action.needs) - seen}"
        assert action.id not in seen, f"{action.line} twice"
        seen.add(action.id)
    held = world.plan(desired, holds=(Hold(Reason.Suspended, "not now"),))
    assert held.empty and {a.target for a in plan.actions} <= {h.target for h in held.held}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("proposition", "strategies"),
    [
        (test_after_convergence_the_plan_is_empty, [situations()]),
        (test_killed_anywhere_it_is_finished, [situations(), st.data()]),
        (test_passes_beside_a_flight_touch_nothing_of_it, [situations(), sites("r3"), st.data()]),
        (test_the_unowned_is_never_a_target, [situations()]),
        (test_only_what_was_written_is_deleted, [situations(), sites("r3")]),
        (test_what_the_host_was_before_it_is_afterwards, [situations()]),
        (test_the_unknown_is_never_acted_upon, [situations(), some_names(), st.data()]),
        (test_a_plan_is_in_order_the_same_twice_and_held_back_whole, [situations()]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_with_many_examples(proposition: Any, strategies: list[st.SearchStrategy[Any]]) -> None:
    proved = given(*strategies)(proposition.hypothesis.inner_test)
    settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)(proved)()
