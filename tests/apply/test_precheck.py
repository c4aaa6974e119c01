"""A check before an upgrade: what it is asked with, what it holds against the upgrade, and what is noted of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.apply import OneShot, precheck
from reconciler.model import Action, Container, Desired, File, Job, Mount, Outcome, Precheck, Verb
from reconciler.reasons import Reason
from tests.apply.bed import Node, settled

# As oslo.upgradecheck 2.5 writes it.
PASSED = """\
| Check: {name:<61}|
| Result: Success                                                     |
| Details: None                                                       |
+---------------------------------------------------------------------+
"""
TABLE = """\
+---------------------------------------------------------------------+
| Upgrade Check Results                                               |
+---------------------------------------------------------------------+
| Check: Policy                                                       |
| Result: Warning                                                     |
| Details: x is | old                                                 |
+---------------------------------------------------------------------+
| Check: Placement API                                                |
| Result: Failure                                                     |
| Details: There is no placement-api endpoint in the service catalog, |
|   and so nothing of this can work as it should.                     |
+---------------------------------------------------------------------+
| Check: Cells v2                                                     |
| Result: Failure                                                     |
| Details: None                                                       |
+---------------------------------------------------------------------+
""" + "".join(PASSED.format(name=f"Another {number}") for number in range(14))


class _Says:
    def __init__(self, output: str) -> None:
        self.output, self.jobs = output, list[Job]()

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.jobs.append(job)
        return 2, self.output


def said(output: str, folder: Path) -> str:
    engine = _Says(output)
    container = Container("nova_api", "nova-api:2")
    check = Precheck("nova_status", "nova_api", ("nova-status", "upgrade", "check"), passes=(0, 1))
    found = precheck.run(cast(Any, engine), check, OneShot(container, (), {}, "d", folder))
    assert engine.jobs[0].verbatim
    return found


def test_a_table_is_told_by_what_failed(tmp_path: Path) -> None:
    assert said(f"deprecated: y\n{TABLE}", tmp_path).splitlines() == [
        "Placement API (failure): There is no placement-api endpoint in the service catalog, and so nothing of this can work as it should.",
        "Cells v2 (failure): None",
        "Policy (warning): x is | old",
    ]


def test_without_a_table_it_is_what_tells_most(tmp_path: Path) -> None:
    assert said("reading\nERROR no database\n", tmp_path) == "ERROR no database"
    assert said(TABLE[: TABLE.index("| Check")] + "| cut off", tmp_path).endswith("| cut off")
    assert said("", tmp_path) == "exit code 2"
    assert len(said("error " * 100_000, tmp_path)) == 1000


def test_a_table_has_no_more_lines_than_anybody_reads(tmp_path: Path) -> None:
    failed = PASSED.replace("Success", "Failure")
    table = TABLE[: TABLE.index("| Check: Policy")] + "".join(failed.format(name=f"Check {n}") for n in range(20))
    assert said(table, tmp_path).splitlines() == [f"Check {number} (failure): None" for number in range(12)]


def test_a_cell_without_details_is_told_as_well(tmp_path: Path) -> None:
    assert said("| Check: Policy |\n| Result: Failure |\n+---+\n", tmp_path) == "Policy (failure): no details"


CHECK = Precheck("nova_status", "nova_api", ("nova-status", "upgrade"), passes=(0, 3), timeout=77, script="#!/bin/sh\n")
API = Container("nova_api", "old", service="nova", config_directory="nova", network_mode="host", user="nova")
OLD = Desired(
    "site", "here", "r1", "/etc/kolla", (API,), files=(File("nova/nova.conf", "a", container="nova_api"),), release="2025.1"
)  # fmt: skip
NEW = replace(
    OLD, revision="r2", release="2026.1", containers=(replace(API, image="new"),), prechecks=(CHECK,),
    files=(File("nova/nova.conf", "b", container="nova_api"),),
)  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = settled(tmp_path, OLD, "old", "new")
    made.engine.granted.clear()
    return made


def ask(node: Node, check: Precheck = CHECK, *answer: Any) -> Outcome:
    """What becomes of this check alone."""
    if answer:
        node.engine.says = lambda name, command: (answer[0], answer[1])
    asked = Action(Verb.PRECHECK, check.name, "before the upgrade")
    (outcome,) = node.act(replace(NEW, prechecks=(check,)), asked)
    return outcome


def noted(node: Node) -> str:
    asked = node.state.memory().prechecks["nova_status"]
    assert (asked.release, asked.revision) == ("2026.1", "r2")
    return asked.message


def test_it_is_asked_in_the_new_image_with_the_new_files(node: Node) -> None:
    seen: list[str] = []

    def says(name: str, command: Sequence[str]) -> tuple[int, str]:
        place = node.root / ".reconciler-validate" / name / "nova"
        seen.extend(f"{path.name}: {path.read_text()}" for path in sorted(place.iterdir()))
        return 0, ""

    node.engine.says = says
    data = Mount("nova", "/var/lib/nova", "ro")
    assert ask(node, replace(CHECK, mounts=(data,))).result == "done"
    ((job, _),) = node.engine.jobs
    assert (job.name, job.timeout, job.verbatim) == ("reconciler-precheck-nova_status", 77, True)
    one = job.container
    assert (one.image, one.command, one.network_mode, one.user) == ("new", ("nova-status", "upgrade"), "host", "nova")
    assert one.mounts == (data,) and seen == ["nova.conf: b", "reconciler-check: #!/bin/sh\n"]
    ask(node, replace(CHECK, user="root"))
    assert node.engine.jobs[1][0].container.user == "root"


@pytest.mark.parametrize("code", [0, 3])
def test_what_passes_is_noted_as_passed(node: Node, code: int) -> None:
    """Whatever else it says."""
    ask(node, CHECK, 1, "ERROR: not yet")
    assert noted(node)
    outcome = ask(node, CHECK, code, "ERROR: this is none")
    assert (outcome.result, outcome.reason, outcome.message, noted(node)) == ("done", None, "", "")


def test_what_speaks_against_it_is_said_with_what_to_do_and_noted(node: Node) -> None:
    outcome = ask(node, CHECK, 1, "reading\nERROR: a cell is missing\n")
    assert (outcome.result, outcome.reason) == ("failed", Reason.PrecheckFailed)
    assert outcome.message == noted(node)
    assert outcome.message == (
        "nova_status on here holds the upgrade to 2026.1, and nothing of it was done: ERROR: a cell is missing\n"
        "Mend it, and the node asks again by itself; or answer for it in reconciler.yml, under `accept:`: "
        "- {check: nova_status, hosts: [here], who: …, why: …, until: …}"
    )


@pytest.mark.parametrize("code", [126, 127])
def test_a_program_that_is_not_there_has_not_passed(node: Node, code: int) -> None:
    """Unlike a checker of a configuration: nobody upgrades without having asked."""
    outcome = ask(node, CHECK, code, "bash: nova-status: not found")
    assert outcome.result == "failed" and "done: there is no program for it: nova-status upgrade\n" in outcome.message
    assert ask(node, replace(CHECK, passes=(0, code))).result == "done", "where its service says that it may be so"


def test_inside_it_is_asked_of_what_runs(node: Node) -> None:
    outcome = ask(node, replace(CHECK, inside=True), 0, "")
    assert outcome.result == "done" and not node.engine.jobs
    assert node.engine.granted == [("execute nova_api", 77)]
    assert "done: not now\n" in ask(node, replace(CHECK, inside=True), 1, "not now").message
    node.engine.stop("nova_api")
    assert "done: nova_api does not run, and cannot be asked\n" in ask(node, replace(CHECK, inside=True)).message
    assert ask(node, CHECK, 0, "").result == "done", "in a container of its own it can be"


def test_what_the_host_lacks_is_its_own_word(node: Node) -> None:
    room = Precheck("nova_status", "", (), room=True)
    node.fitness = lambda check: "there is no room for 3 GiB" if check is room else ""
    outcome = ask(node, room)
    assert outcome.result == "failed" and "done: there is no room for 3 GiB\n" in noted(node)
    assert not node.engine.jobs and not node.engine.granted
    node.fitness = lambda check: ""
    assert ask(node, room).result == "done" and not noted(node)


def test_nothing_of_the_upgrade_is_done_where_it_failed(node: Node) -> None:
    node.engine.says = lambda name, command: (1, "ERROR: not yet")
    node.converge(NEW)
    assert "run reconciler-precheck-nova_status" in node.faults.calls
    assert node.engine.containers["nova_api"].spec.image == "old"


def test_what_could_not_be_asked_is_noted_as_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(job: Job, claim: str = "") -> tuple[int, str]:
        raise errors.Terminal("it did not end in time", reason=Reason.JobTimeout)

    monkeypatch.setattr(node.engine, "run_once", late)
    outcome = ask(node)
    assert (outcome.result, outcome.reason) == ("failed", Reason.JobTimeout)
    assert not node.state.memory().prechecks
