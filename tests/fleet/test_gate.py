"""The review is a gate: the status at a merge request's head is failed until everybody who must have seen it has."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.model import Interruption
from reconciler.review import gate
from tests.fleet.desk import Desk, desk, greeting
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import MergeRequest
from tests.forge.standin import Fault

CONTEXT = "reconciler/small/review"
RULES = "name: small\nreview: {require: {data-plane: approval, deletion: {label: goes away}, policy: approval}}\n"
NEEDS = "needs an approval by somebody else than the author"


@pytest.fixture
def office(tmp_path: Path, gitlab: GitLab) -> Iterator[Desk]:
    with desk(tmp_path, gitlab) as made:
        made.push("main", {"reconciler.yml": RULES})
        yield made


def says(office: Desk, request: MergeRequest) -> tuple[str, str]:
    """State and text of the one status at the head that counts."""
    rows = [row for row in office.project.rows if row.sha == request.sha and not row.retried]
    assert {row.name for row in rows} == {CONTEXT}
    (row,) = rows
    return row.status, row.description or ""


def test_an_approval(office: Desk) -> None:
    ana = office.person("ana")
    one = office.open("bye", greeting("Bye"))
    office.reviewer._interruptions = lambda: {"web2": {"web": Interruption(3.4, 2)}}
    found = office.round()
    assert "- `web` on `web[1-2]`: about 3 s (measured 2 times)" in office.note(one)
    assert found[1].state == "valid"  # the branch is; the gate is another matter
    assert says(office, one) == ("failed", f"{NEEDS} (data-plane)")
    note = office.note(one)
    assert "**Before it is merged somebody must have seen it.**" in note and f"`{CONTEXT}`" in note
    assert "  - `an approval by somebody else than the author` (data-plane)" in note
    office.project.approve(one, one.author)
    office.round()
    assert says(office, one)[1] == f"{NEEDS} (data-plane); op's does not count: the author"
    notes = len(one.notes)
    office.project.approve(one, ana)
    office.round()
    state, text = says(office, one)
    assert (state, text.startswith("approved by ana: 2 of 2 hosts change")) == ("success", True)
    # Nothing is said twice, after a restart neither; and the note says nothing that changes.
    rows = len(office.project.rows)
    office.restart()
    office.round()
    assert len(office.project.rows) == rows and len(one.notes) == notes + 1
    # It was for what was there then.
    time.sleep(0.002)
    office.push("bye", greeting("Farewell"))
    office.round()
    assert (
        says(office, one)[0] == "failed" and "ana's does not count: given before the last push" in says(office, one)[1]
    )
    office.project.approve(one, ana)
    office.round()
    assert says(office, one)[0] == "success"
    office.project.unapprove(one, ana)
    found = office.round()
    assert says(office, one)[0] == "failed" and found[1].missing.startswith(NEEDS)


def test_a_head_that_is_not_planned_yet_is_pending(office: Desk) -> None:
    office.write(per_round=1)
    one, two = office.open("one", greeting("One")), office.open("two", {"globals.yml": "site_x: 1\n"}, author="other")
    office.round()
    assert {says(office, one)[0], says(office, two)[0]} == {"failed", "pending"}


def test_what_a_branch_says_of_the_rules_does_not_count(office: Desk) -> None:
    """A merge request that relaxes the rules is judged by those of the branch that it is to be merged into."""
    relaxed = {"reconciler.yml": "name: other\n", "globals.yml": "enable_openstack_core: false\nenable_store: false\n"
               "kolla_internal_vip_address: 10.0.0.250\n"}  # fmt: skip
    one = office.open("sly", relaxed)
    found = office.round()
    assert found[1].outcome and {"deletion", "stateful", "policy"} <= set(found[1].outcome.risks)
    state, text = says(office, one)
    assert state == "failed" and "an approval by somebody else than the author (policy)" in text
    assert "the label 'goes away' set by somebody else than the author (deletion)" in text
    office.project.approve(one, office.person("ana"))
    office.project.label(one, office.person("ana"), "goes away")
    office.round()
    assert says(office, one)[0] == "success"


def test_rules_that_change_under_an_open_merge_request(office: Desk) -> None:
    office.push("main", {"reconciler.yml": "name: small\n"})
    one = office.open("bye", greeting("Bye"))
    office.round()
    assert says(office, one)[0] == "success"
    office.push("main", {"reconciler.yml": RULES})
    office.write(per_hour=1)  # not even planned again, and the rule counts
    office.restart()
    office.round()
    assert says(office, one) == ("failed", f"{NEEDS} (data-plane)")
    # Rules that cannot be read ask for everything.
    office.push("main", {"reconciler.yml": "name: small\nreviw: {}\n"})
    office.round()
    assert says(office, one)[1].startswith(
        f"{NEEDS} (data-plane); the target branch's rules cannot be read: reconciler.yml:2:1"
    )


def test_what_cannot_be_read_counts_as_missing(office: Desk) -> None:
    one = office.open("bye", greeting("Bye"))
    office.project.approve(one, office.person("ana"))
    office.gitlab.fail("GET", "/approvals", Fault.answer(403))
    office.round()
    state, text = says(office, one)
    assert state == "failed" and "cannot be read, so nobody counts [ForgeForbidden]" in text
    office.round()
    assert says(office, one)[0] == "success"
    # A machine that was too busy to read the rules is asked again; until then every risk counts.
    real, busy = office.reviewer.clone.asked, gate.unreadable("small", "took too long [DeadlineExceeded]")
    office.reviewer.store.memory.rules = (office.reviewer.store.memory.rules[0], busy)
    office.reviewer.clone.asked = lambda name: (real(name)[0], busy)  # type: ignore[method-assign]
    office.project.unapprove(one, office.person("ana"))
    office.round()
    assert "rules cannot be read: took too long" in says(office, one)[1]
    office.reviewer.clone.asked = real  # type: ignore[method-assign]
    office.round()
    assert says(office, one)[1] == f"{NEEDS} (data-plane)"


def test_a_status_that_cannot_be_posted_is_shown(office: Desk) -> None:
    one = office.open("bye", greeting("Bye"))
    office.gitlab.fail("POST", "/statuses/", *[Fault.answer(403)] * 3)
    found = office.round()
    assert "cannot be posted" in found[1].missing and "[ForgeForbidden]" in found[1].missing
    asked = office.gitlab.count("POST", "/statuses/")
    office.round()
    assert office.gitlab.count("POST", "/statuses/") == asked
    office.watch.forward(hours=2)
    office.round()
    assert office.gitlab.count("POST", "/statuses/") > asked and one.notes
