"""What the node's memory says of what runs: whether it has its files, what worked, what was migrated, what another tool had run."""

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.model import Actual, Applied, Container, File, FileState, JobResult, Memory, Worked
from reconciler.plan import recall
from reconciler.plan.as_made import ran_before
from tests.plan.test_diff import DB, FULL, JOB, LB, SITE, THEN, WEB, converged

NOW = "all.some"  # the digests of the files that ask for a restart, and of those that ask for a reload


@pytest.mark.parametrize(
    ("applied", "expected"),
    [
        (NOW, ""),
        ("all.others", "reload"),  # those for restarts are the same
        ("other.some", "restart"),
        ("al.some", "restart"),
    ],
)
def test_what_was_started_here_has_the_files_that_it_was_started_with(applied: str, expected: str) -> None:
    """Whatever the times of files say."""
    actual, memory = converged()
    late = {path: replace(state, modified=THEN + timedelta(hours=1)) for path, state in actual.files.items()}
    memory = replace(memory, applied={"keystone": Applied("keystone", THEN, applied)})
    web = [file for file in SITE.files if file.container == "keystone"]
    assert recall.staleness(actual.containers["keystone"], web, NOW, "keystone", replace(actual, files=late), memory) == expected  # fmt: skip
    assert (
        recall.staleness(actual.containers["keystone"], web, "", "keystone", replace(actual, files=late), memory) == ""
    )


@pytest.mark.parametrize(
    "who", ["its start is another", "it is another", "nothing is known of its files", "nothing is known"]
)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"a": 0}, ""),  # in the moment in which it was started
        ({"a": 1}, "restart"),
        ({"b": 1}, "reload"),
        ({"a": 1, "b": 1}, "restart"),
        ({"c": 1}, ""),
    ],
)
def test_what_somebody_else_started_has_what_lay_there_at_that_moment(
    who: str, changes: dict[str, int], expected: str
) -> None:
    files = [File("a", ""), File("b", "", on_change="reload"), File("c", "", on_change="none"), File("d", "")]
    states = {
        name: FileState(b"", 0o600, 0, 0, THEN + timedelta(seconds=after)) for name, after in {"a": -9, "b": -9, **changes}.items()
    }  # fmt: skip
    running = converged()[0].containers["keystone"]
    known = {
        "its start is another": {"keystone": Applied("keystone", THEN - timedelta(seconds=1), NOW)},
        "it is another": {"keystone": Applied("of before", THEN, NOW)},
        "nothing is known of its files": {"keystone": Applied("keystone", THEN, "")},
        "nothing is known": {},
    }[who]
    actual = Actual({}, {}, states)
    assert recall.staleness(running, files, NOW, "keystone", actual, Memory(applied=known)) == expected
    # Of what never ran nobody knows when it was started.
    never = replace(running, started_at=None)
    assert recall.staleness(never, files, NOW, "keystone", actual, Memory(applied=known)) == ""


def test_what_failed_is_kept_as_it_worked_last() -> None:
    head = replace(SITE, containers=(replace(DB, user="new"), replace(WEB, user="new"), LB))
    memory = Memory(last_good=SITE, worked={"keystone": Worked(replace(WEB, user="between"), "k0")})
    kept = recall.in_force(head, memory, {"mariadb", "keystone"})
    assert [kept[name].user for name in ("mariadb", "keystone", "haproxy")] == [None, "between", None]
    assert [c.user for c in recall.in_force(head, memory, ()).values()] == ["new", "new", None]
    # What never worked has nothing to go back to.
    assert recall.in_force(head, Memory(), {"mariadb"})["mariadb"].user == "new"


def test_what_failed_counts_while_it_is_asked_for_as_it_failed() -> None:
    memory = Memory(quarantine={"mariadb": "d1", "keystone": "k1"})
    digests = {"mariadb": "d1", "keystone": "k2", "haproxy": "h1"}
    assert recall.quarantined(SITE, memory, digests) == {"mariadb"}
    assert recall.quarantined(replace(SITE, containers=(WEB,)), memory, digests) == frozenset()


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (FULL, set()),
        (replace(FULL, jobs=(replace(JOB, inputs="i0"),)), {"keystone"}),
        (replace(FULL, jobs=()), {"keystone"}),
        (None, {"keystone"}),
    ],
)
def test_a_schema_is_newer_than_what_worked_when_its_job_is_another(before: object, expected: set[str]) -> None:
    memory = Memory(last_good=before)  # type: ignore[arg-type]
    assert recall.migrated(FULL, memory) == expected
    assert recall.migrated(replace(FULL, jobs=(replace(JOB, migration=False),)), memory) == frozenset()


def _there(*owned: str, theirs: tuple[str, ...] = ()) -> dict[str, object]:
    running = converged()[0].containers
    return {name: replace(running["mariadb"], owned=name in owned) for name in (*owned, *theirs)}


CACHE = Container("cache", "img/cache:1", service="keystone")


@pytest.mark.parametrize(
    ("before", "ours", "others", "taken", "theirs", "expected"),
    [
        # Of the containers that wait for it, all have to be the other tool's, or taken over.
        (("keystone",), (), ("keystone",), (), True, True),
        (("keystone",), (), ("keystone",), (), False, False),
        (("keystone",), ("keystone",), (), (), True, False),
        (("keystone",), ("keystone",), (), ("keystone",), True, True),
        (("keystone",), ("keystone",), (), ("keystone",), False, True),
        (("keystone", "mariadb"), ("mariadb",), ("keystone",), (), True, False),
        (("keystone", "mariadb"), (), ("keystone", "mariadb"), (), True, True),
        (("keystone",), (), (), ("keystone",), True, False),  # it is not there
        # Where none of this host waits for it, those of its service.
        (("elsewhere",), (), ("keystone", "cache"), (), True, True),
        ((), (), ("keystone", "cache"), (), True, True),
        ((), ("cache",), ("keystone",), (), True, False),
        ((), (), ("keystone",), (), True, False),
        ((), (), ("mariadb",), (), True, False),
    ],
)
def test_a_job_was_run_by_the_tool_that_made_what_it_is_for(
    before: tuple[str, ...], ours: tuple[str, ...], others: tuple[str, ...], taken: tuple[str, ...], theirs: bool, expected: bool
) -> None:  # fmt: skip
    job, running = replace(JOB, before=before), _there(*ours, theirs=others)
    memory = Memory(taken=dict.fromkeys(taken, ""))
    assert ran_before(job, (DB, WEB, CACHE), running, memory, theirs=theirs) is expected  # type: ignore[arg-type]
    # What was run here is known, and what forgets a host that left was run by nobody else.
    known = replace(memory, jobs={JOB.name: JobResult("i0", False, THEN)})
    assert ran_before(job, (DB, WEB, CACHE), running, known, theirs=theirs) is False  # type: ignore[arg-type]
    assert ran_before(replace(job, left="ctl9"), (DB, WEB, CACHE), running, memory, theirs=theirs) is False  # type: ignore[arg-type]


def test_a_service_without_containers_here_has_no_job_that_was_run() -> None:
    assert ran_before(replace(JOB, before=()), (DB,), _there(theirs=("mariadb",)), Memory()) is False  # type: ignore[arg-type]
