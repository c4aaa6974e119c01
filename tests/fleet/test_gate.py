"""The review is a gate: the status at a merge request's head is failed until everybody who must have seen it has."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.fleet.reviews import clone
from reconciler.fleet.reviews.queue import Outcome, Told
from reconciler.model import Interruption
from reconciler.reasons import Reason
from reconciler.review import gate
from tests.fleet.desk import Desk, desk, greeting
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import MergeRequest
from tests.forge.standin import Fault
from tests.git import servers
from tests.review import sites

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


@pytest.mark.parametrize("hours", [2, -8], ids=["an hour has passed", "the clock was set back"])
def test_a_status_that_cannot_be_posted_is_shown(office: Desk, hours: float) -> None:
    one = office.open("bye", greeting("Bye"))
    office.gitlab.fail("POST", "/statuses/", *[Fault.answer(403)] * 3)
    found = office.round()
    assert "cannot be posted" in found[1].missing and "[ForgeForbidden]" in found[1].missing
    asked = office.gitlab.count("POST", "/statuses/")
    office.round()
    assert office.gitlab.count("POST", "/statuses/") == asked
    office.watch.forward(hours=hours)
    office.round()
    assert office.gitlab.count("POST", "/statuses/") > asked and one.notes


def main(office: Desk) -> str:
    return servers.git(office.repository, "rev-parse", "refs/heads/main")


def test_a_branch_off_an_old_commit_is_judged_by_what_it_does_to_the_branch(office: Desk) -> None:
    """Where it begins there is no store yet, so from there nothing is deleted: on the branch it is."""
    office.push("main", {"groups/web.yml": "enable_store: false\n"})
    old = main(office)
    office.push("main", {"groups/web.yml": None})
    office.push(
        "old", {"hosts/web1.yml": "enable_store: false\n", "hosts/web2.yml": "enable_store: false\n"}, parents=[old]
    )
    one = office.ask("old")
    office.round()
    assert says(office, one)[0] == "failed" and "deletion" in says(office, one)[1]
    assert "remove store" in office.note(one) and f"`{main(office)[:12]}`" in office.note(one)


def test_an_approval_of_nothing_is_none_of_what_the_branch_has_since(office: Desk) -> None:
    """What a head does to the branch as it was says little of what it does to the branch as it is, and nobody has to wait for that to be planned."""
    office.write(per_hour=1)
    off = {"groups/web.yml": "enable_store: false\n"}
    office.push("main", off)
    office.push(
        "sly",
        {"hosts/web1.yml": "enable_store: false\n", "hosts/web2.yml": "enable_store: false\n"},
        parents=[main(office)],
    )
    one = office.ask("sly")
    office.round()
    assert says(office, one)[0] == "success"
    office.push("main", {"groups/web.yml": None})
    office.round()
    assert says(office, one) == ("pending", "the branch has gone on since it was planned: it is planned again")
    office.watch.forward(hours=2)
    office.round()
    assert says(office, one)[0] == "failed" and "deletion" in says(office, one)[1]


def test_two_last_commits_in_common(office: Desk) -> None:
    """A merge of both sides of a merge on the branch, with the tree of one of them: from that one it changes nothing, and once merged it
    takes back what the other one brought."""
    first = main(office)
    office.push("theirs", {"globals.yml": sites.small()["globals.yml"] + "site_a: 1\n"}, parents=[first])
    ours = office.push("main", {"hosts/web1.yml": "web_greeting: Ours\n"})
    theirs = servers.git(office.repository, "rev-parse", "refs/heads/theirs")
    office.push("main", {"globals.yml": sites.small()["globals.yml"] + "site_a: 1\n"}, parents=[ours, theirs])
    made = []
    for number, (kept, other) in enumerate(((ours, theirs), (theirs, ours))):
        tree = servers.git(office.repository, "rev-parse", f"{kept}^{{tree}}")
        servers.commit_tree(office.repository, tree, "sly", ref=f"refs/heads/sly{number}", parents=[kept, other])
        made.append(office.ask(f"sly{number}"))
    found = office.round()
    for one in made:
        assert found[one.iid].state == "failed" and says(office, one)[0] == "failed"
        assert "last commits in common" in office.note(one) and "merge main into it" in office.note(one)
    # Once that is done there is one, and everybody sees what it does.
    office.push("sly1", {}, parents=[servers.git(office.repository, "rev-parse", "refs/heads/sly1"), main(office)])
    assert office.round()[2].state == "valid" and "-Ours from web1" in office.note(made[1])


def test_what_both_sides_changed_nobody_can_tell_of(office: Desk) -> None:
    text = sites.small()["globals.yml"]
    one = office.open("mine", {"globals.yml": "# first\n" + text})
    assert office.round()[1].outcome == Outcome(one.sha, True, "no host changes · 2 hosts planned", since={})
    assert says(office, one)[0] == "success"
    office.push("main", {"globals.yml": text + "# last\n"})
    found = office.round()
    assert found[1].state == "valid" and says(office, one)[0] == "failed" and "deletion" in says(office, one)[1]
    assert "`main` has changed `globals.yml` as well since they parted" in office.note(one)
    # Its commit by itself is still one of the older file: a rebase leaves the merge out, and whatever else that brings.
    office.push("mine", {"globals.yml": "# first\n" + text + "# last\n"}, parents=[one.sha, main(office)])
    assert office.round()[1].state == "valid" and "deletion" in says(office, one)[1]
    assert "A rebase leaves out the merges that are in it, and what comes of `globals.yml`" in office.note(one)
    office.push("mine", {"globals.yml": "# first\n" + text + "# last\n"}, parents=[main(office)])
    office.round()
    assert says(office, one)[0] == "success"


@pytest.mark.parametrize("older", [False, True], ids=["", "as an older reporter noted it"])
def test_an_approval_is_for_the_risks_that_it_saw(office: Desk, older: bool) -> None:
    """The branch goes on, and the same head does more there than what was approved."""
    ana = office.person("ana")
    one = office.open("bye", greeting("Bye"))
    office.project.approve(one, ana)  # before it was planned: for what its first plan shows
    office.round()
    assert says(office, one)[0] == "success"
    if older:
        memory = office.reviewer.store.memory.requests
        memory[1] = replace(memory[1], outcome=replace(memory[1].outcome, since=None))  # type: ignore[type-var]
    time.sleep(0.002)
    office.push("main", greeting("Hello again"))
    for _ in range(2):
        office.round()
        state, text = says(office, one)
        assert state == "failed" and "ana's does not count: given before the plan had policy: look at it" in text
        office.restart()
    office.project.label(one, ana, "goes away")
    office.round()
    assert says(office, one)[0] == "failed"
    office.project.unapprove(one, ana)
    office.project.approve(one, ana)
    office.round()
    assert says(office, one)[0] == "success"


def test_a_rebase_would_undo_what_came_meanwhile(office: Desk) -> None:
    """One commit does what the branch has by now, the next one undoes it. All of it together changes nothing, for whoever approves it; but a
    rebase leaves out the first one, for the branch has it."""
    office.push("main", {"reconciler.yml": "name: small\nreview: {require: {data-plane: approval}}\n"})
    before = office.push("sly", {"reconciler.yml": RULES}, parents=[main(office)])
    office.push("sly", {"reconciler.yml": "name: small\nreview: {require: {data-plane: approval}}\n"}, parents=[before])
    one = office.ask("sly")
    office.project.approve(one, office.person("ana"))
    office.round()
    assert says(office, one)[0] == "success"
    office.push("main", {"reconciler.yml": RULES})
    found = office.round()
    assert says(office, one)[0] == "failed" and found[1].state == "failed"
    assert "main has changed reconciler.yml as well since" in office.note(one) and "rebase it onto main" in office.note(
        one
    )
    reviews = len(office.reviewer.store.memory.started)
    office.push("main", greeting("Hello again"))  # which changes nothing of that
    office.round()
    office.restart()
    office.round()
    assert says(office, one)[0] == "failed" and len(office.reviewer.store.memory.started) == reviews + 1
    office.push("sly", {}, parents=[main(office)])
    assert office.round()[1].state == "valid" and says(office, one)[0] == "success"


def test_heads_that_take_long_are_looked_at_in_their_turn(office: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    start = main(office)
    head = office.push("mine", greeting("Bye"), parents=[start])
    given = {"repository": str(office.repository), "target": start, "path": "", "heads": {head: True, start: False}}
    site = servers.git(office.repository, "rev-parse", f"{start}^{{tree}}")
    assert clone.bases_child(given) == {head: [start, site], start: [start, site]}
    monkeypatch.setattr(clone, "_SETTLING", 0.0)
    assert clone.bases_child(given) == {start: [start, site]}


@pytest.mark.parametrize("path", ["sites/north"])
@pytest.mark.parametrize("moves", ["the request", "main"])
def test_git_carries_a_change_into_the_site(tmp_path: Path, gitlab: GitLab, path: str, moves: str) -> None:
    """What lies beside the site nobody has to see. A file that one side moves into it takes along what the other side makes of it there."""
    with desk(tmp_path, gitlab, path=path) as office:
        office.push("main", {"reconciler.yml": RULES})
        example = "[DEFAULT]\n" + "".join(f"option_{number} = {number}\n" for number in range(12))
        start = servers.commit(office.repository, {"docs/nova.conf.example": example}, "an example")
        moved = {"docs/nova.conf.example": None, f"{path}/config/nova.conf": example}
        changed = {"docs/nova.conf.example": example + "more = 1\n"}
        mine, theirs = (moved, changed) if moves == "the request" else (changed, moved)
        servers.commit(office.repository, mine, "mine", branch="mine", parents=[start])
        one = office.ask("mine")
        office.project.approve(one, office.person("ana"))
        office.round()
        assert says(office, one)[0] == "success"
        servers.commit(office.repository, theirs, "theirs")
        office.round()
        assert says(office, one)[0] == "failed"
        assert "main has changed docs/nova.conf.example as well since" in office.note(one)
        servers.commit(
            office.repository,
            {f"{path}/config/nova.conf": example + "more = 1\n"},
            "mine",
            branch="mine",
            parents=[main(office)],
        )
        office.round()
        assert says(office, one)[0] == "success"


@pytest.mark.parametrize("path", ["sites/north"])
def test_a_branch_from_before_there_was_a_site(tmp_path: Path, gitlab: GitLab, path: str) -> None:
    """From where it begins everything is new, so nothing is deleted; what concerns another folder plans nothing again."""
    with desk(tmp_path, gitlab, path=path) as office:
        office.push("main", {"reconciler.yml": RULES})
        off = {"hosts/web1.yml": "enable_store: false\n"}
        before = servers.commit_tree(
            office.repository, servers.git(office.repository, "mktree"), "x", ref="refs/heads/x"
        )
        joined = servers.git(office.repository, "rev-parse", "main^{tree}")
        servers.commit_tree(office.repository, joined, "joined", parents=[main(office), before])
        office.push("sly", {**sites.small(2), "reconciler.yml": RULES, **off}, parents=[before])
        one, two = office.ask("sly"), office.open("bye", greeting("Bye"), author="other")
        office.round()
        assert says(office, one)[0] == "failed" and "(deletion)" in says(office, one)[1]
        planned = len(office.reviewer.store.memory.started)
        office.project.approve(two, office.person("ana"))
        servers.commit(office.repository, {"elsewhere/x": "1"}, "elsewhere")
        office.round()
        assert says(office, two)[0] == "success" and len(office.reviewer.store.memory.started) == planned


def test_a_success_is_taken_back_with_the_request(office: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked again later, when the branch is another, would be merged with it before anybody looked. What was merged keeps it."""

    def shown(commit: str) -> str:
        (row,) = [row for row in office.project.rows if row.sha == commit and not row.retried]
        return row.status

    def busy(_: Told) -> None:
        raise errors.Transient("the forge is busy", reason=Reason.ForgeBusy)

    names = ("closed", "pushed", "merged", "again")
    made = {
        name: office.open(name, {"globals.yml": sites.small()["globals.yml"] + f"site_{name}: 1\n"}) for name in names
    }
    office.round()
    heads = {name: one.sha for name, one in made.items()}
    assert {shown(head) for head in heads.values()} == {"success"}
    made["closed"].state = "closed"
    office.push("pushed", greeting("Bye"))
    office.project.merge(made["merged"].iid)
    monkeypatch.setattr(office.reviewer.gate, "withdraw", busy)
    office.round()
    assert shown(heads["closed"]) == "success" and shown(heads["again"]) != "canceled"
    office.restart()
    office.round()
    assert {name: shown(head) for name, head in heads.items() if name != "again"} == {
        "closed": "canceled", "pushed": "canceled", "merged": "success"
    }  # fmt: skip
    made["closed"].state = "opened"
    office.write(per_hour=1)
    office.restart()
    office.round()
    assert shown(heads["closed"]) == "pending"
