"""Rounds of the reporter's reviewer: real commits behind a real git server, GitLab's rules."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import errors, settings
from reconciler.fleet.reviews.loop import reviewer_of
from reconciler.review import ci
from tests.fleet.desk import Desk, desk, greeting
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import Note, User, now
from tests.forge.standin import Fault
from tests.git import servers
from tests.review.gitlab_markdown import acted_on
from tests.review.test_hostile import CASES, read

MARKER = "<!-- reconciler review of . -->"


@pytest.fixture
def office(tmp_path: Path, gitlab: GitLab) -> Iterator[Desk]:
    with desk(tmp_path, gitlab) as made:
        yield made


def refs(office: Desk) -> list[str]:
    return servers.git(office.state / "review.git", "for-each-ref", "--format=%(refname)").splitlines()


def test_the_life_of_a_merge_request(office: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    assert office.round() == {}
    one = office.open("bye", greeting("Bye"))
    found = office.round()
    assert (found[1].state, found[1].head) == ("valid", one.sha)
    note = office.note(one)
    assert note.startswith(f"{MARKER}\n### Plan for `small`: 2 of 2 hosts change")
    assert "+Bye from web1" in note and acted_on(note) == []
    base = servers.git(office.repository, "rev-parse", "refs/heads/main")
    assert f"From `{base[:12]}` to `{one.sha[:12]}`" in note
    assert (
        f"`git fetch origin refs/merge-requests/1/head && reconciler diff {base[:12]} {one.sha[:12]}` in a clone"
        in note
    )
    assert "plan.html" not in note
    assert office.statuses(one.sha) == [("reconciler/small/review", "success", found[1].text)]
    assert found[1].text.startswith("2 of 2 hosts change")
    row = office.project.rows[-1]
    assert (row.ref, row.target_url) == ("bye", "https://fleet.example.org/")
    # Nothing is done twice: no note, no status, no fetch; nor after a restart.
    for again in (False, True):
        before = len(office.gitlab.seen)
        if again:
            office.restart()
        office.round()
        assert [seen.path.rpartition("/")[2] for seen in office.gitlab.seen[before:]] == ["merge_requests"]
    # Pushed again, even over what was there: the same note.
    servers.commit(office.repository, greeting("Hi"), "rewritten", branch="bye", parents=[base])
    second = office.open("more", {"hosts/web1.yml": "web_greeting: Only here\n"}, author="other")
    found = office.round()
    assert "+Hi from web1" in office.note(one) and "+Bye" not in office.note(one)
    assert "1 of 2 hosts change" in office.note(second)
    # What is wrong is told like any other result.
    office.push("bye", {"hosts/web1.yml": "web_greetin: Bye\n"})
    found = office.round()
    assert found[1].state == "invalid"
    assert "hosts/web1.yml:1:1: " in office.note(one)
    assert office.statuses(one.sha)[-1][1] == "failed"
    # Merged: it is left alone, and nothing of it is kept. The other one keeps its merge base, and its review.
    notes, writes = len(one.notes), office.gitlab.count("POST") + office.gitlab.count("PUT")
    office.project.merge(2)
    found = office.round()
    assert list(found) == [1]
    assert office.gitlab.count("POST") + office.gitlab.count("PUT") == writes
    assert len(one.notes) == notes
    assert refs(office) == ["refs/heads/main", "refs/merge-requests/1/head"]
    one.state = "closed"
    assert office.round() == {}
    assert refs(office) == ["refs/heads/main"]
    assert list(place.iterdir()) == []


def test_the_base_is_the_merge_base(office: Desk) -> None:
    """What others merged meanwhile is not this one's doing; once it is merged in, it is planned from there."""
    one = office.open("bye", greeting("Bye"))
    office.round()
    note, base = office.note(one), servers.git(office.repository, "rev-parse", "refs/heads/main")
    tip = office.push("main", {"hosts/web2.yml": "web_greeting: Elsewhere\n"})
    found = office.round()
    assert office.note(one) == note and (found[1].base, found[1].target) == (base, tip)
    merged = office.push("bye", {"hosts/web2.yml": "web_greeting: Elsewhere\n"}, parents=[one.sha, tip])
    found = office.round()
    assert (found[1].head, found[1].base) == (merged, tip)
    assert "1 of 2 hosts change" in office.note(one) and "Elsewhere" not in office.note(one)


def test_forks_drafts_and_conflicts(office: Desk) -> None:
    fork = office.make_fork()
    # A fork's branch that is called like the followed one: its commit gets no status in that branch's name.
    office.push("main", greeting("From afar"), fork=fork)
    foreign = office.ask("main", author="stranger", fork=fork)
    draft = office.open("draft", greeting("Later"), "Draft: later")
    office.push("main", greeting("Conflict"))
    found = office.round()
    assert [found[iid].state for iid in (1, 2)] == ["valid", "valid"]
    assert "+From afar from web1" in office.note(foreign) and "+Later from web1" in office.note(draft)
    assert [row.ref for row in office.project.rows if row.sha == foreign.sha] == ["refs/merge-requests/1/head"]
    # Or not at all.
    office.restart()
    office.write(forks="false")
    office.push("main", greeting("Again"), fork=fork)
    overview = office.reviewer.round()
    assert [entry.request.iid for entry in overview.entries] == [2] and overview.forks == 1
    assert "+Again" not in office.note(foreign)


def test_other_peoples_notes_and_other_targets(office: Desk) -> None:
    one, two = office.open("one", greeting("One")), office.open("two", greeting("Two"))
    two.target_branch = "release"
    mallory = User(666, "mallory")
    forged = Note(900, f"{MARKER}\nall is well", mallory, now(), now())
    one.notes.append(forged)
    assert list(office.round()) == [1]
    assert forged.body.endswith("all is well") and "+One from web1" in office.note(one)
    assert two.notes == []


@pytest.mark.parametrize("path", ["sites/north"])
def test_a_site_in_a_folder(tmp_path: Path, gitlab: GitLab, path: str) -> None:
    with desk(tmp_path, gitlab, path=path) as office:
        one = office.open("bye", greeting("Bye"))
        office.round()
        assert office.note(one).startswith("<!-- reconciler review of sites/north -->")
        assert "--site sites/north" in office.note(one)
        assert office.statuses(one.sha)[0][0] == "reconciler/small/review"
        # Without the folder there is nothing to plan, and the branch is told so.
        names = servers.git(office.repository, "ls-tree", "-r", "--name-only", "bye").splitlines()
        gone: dict[str, str | None] = dict.fromkeys(names)
        office.path = ""
        office.push("bye", gone | {"README.md": "nothing left\n"})
        assert office.round()[1].reason == "SitePathMissing"
        assert "has no directory 'sites/north'" in office.note(one)


def test_a_folder_that_is_nowhere(office: Desk) -> None:
    """Wrong settings are no merge request's fault: nothing is written there, and the page says why."""
    office.path = "sites/south"
    office.write()
    office.path = ""
    one = office.open("bye", greeting("Bye"))
    known = office.round()[1]
    assert (known.state, known.reason, one.notes) == ("failed", "SitePathMissing", [])


def test_unrelated_history(office: Desk) -> None:
    office.push("alien", greeting("Hello"), parents=[])
    alien = office.ask("alien")
    assert office.round()[1].state == "failed"
    assert "it has no commit in common with main" in office.note(alien)
    before = len(office.gitlab.seen)
    office.push("main", greeting("Moved"))
    office.round()
    assert len(office.gitlab.seen) == before + 1


BOMBS = ("cpu-nested-loops", "memory-doubling", "template-class-walk", "yaml-billion-laughs")


def test_hostile_branches(office: Desk) -> None:
    """Bombs, trees that git would not make, and texts that act: each is refused or shown, and the good ones get their reviews."""
    office.write(time_limit=60, host_limit=1)
    good = office.open("good", greeting("Good"))
    cases = [case for case in CASES if case.stem in BOMBS]
    assert len(cases) == len(BOMBS)
    bombs = [office.open(f"bomb{n}", read(case)[1], author="mallory") for n, case in enumerate(cases)]
    link = servers.git(office.repository, "hash-object", "-w", "--stdin", stdin=b"/etc/shadow")
    rows = [("100644", oid, name) for name, oid in _blobs(office)]
    top = servers.raw_tree(
        office.repository,
        sorted([*((m.encode(), n.encode(), o) for m, o, n in rows), (b"120000", b"escape", link)], key=lambda r: r[1]),
    )
    base = servers.git(office.repository, "rev-parse", "refs/heads/main")
    servers.commit_tree(office.repository, top, "a link", ref="refs/heads/link", parents=[base])
    linked = office.ask("link", author="mallory")
    ugly = '"```\\n/close\\n@all ~bug #1 <img src=x onerror=alert(1)> </details>"'
    loud = office.open("loud", {"groups/web.yml": f"web_greeting: {ugly}\n"}, "/close @all <b>", author="mallory")
    last = office.open("last", greeting("Last"), author="other")
    found = office.round()
    assert [found[one.iid].state for one in (good, loud, last)] == ["valid"] * 3
    assert all(found[one.iid].state in ("invalid", "failed") for one in (*bombs, linked))
    assert "symbolic links are not followed" in office.note(linked)
    for one in office.project.merge_requests:
        assert acted_on(office.note(one)) == []
    assert office.project.quick_actions == []
    assert "+Last from web1" in office.note(last)


def _blobs(office: Desk) -> list[tuple[str, str]]:
    lines = servers.git(office.repository, "ls-tree", "main").splitlines()
    return [(line.split("\t")[1], line.split()[2]) for line in lines if " blob " in line]


def test_what_the_fetch_refuses_is_told(office: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that git would not make: the note says so, and it is not fetched again until another one is pushed."""
    base = servers.git(office.repository, "rev-parse", "refs/heads/main")
    top = servers.git(office.repository, "rev-parse", "main^{tree}")
    data = f"tree {top}\nparent {base}\nauthor x <x> 1 +0000\nauthor y <y> 1 +0000\ncommitter x <x> 1 +0000\n\nodd\n"
    odd = servers.raw_object(office.repository, "commit", data.encode())
    servers.git(office.repository, "update-ref", "refs/heads/odd", odd)
    strange, good = office.ask("odd", author="mallory"), office.open("good", greeting("Good"))
    found = office.round()
    assert (found[1].state, found[1].reason, found[2].state) == ("failed", "CommitMalformed", "valid")
    assert "CommitMalformed" in office.note(strange) and "+Good" in office.note(good)
    spent = len(office.reviewer.store.memory.started)
    office.push("main", {"README.md": "moved\n"})
    office.round()
    assert len(office.reviewer.store.memory.started) == spent
    servers.git(office.repository, "update-ref", "refs/heads/odd", base)
    office.push("odd", greeting("Better"))
    assert office.round()[1].state == "valid"


def test_limits_of_a_round_and_an_hour(office: Desk) -> None:
    office.write(per_round=2, per_hour=3)
    for number in range(3):
        office.open(f"flood{number}", greeting(f"F{number}"), author="mallory")
    late = office.open("late", greeting("Late"), author="op")
    found = office.round()
    # Authors take turns, so the last one is not behind everything of another's.
    assert [iid for iid, known in found.items() if known.state == "valid"] == [late.iid, 1]
    assert len([1 for known in office.round().values() if known.state == "valid"]) == 3
    office.restart()  # counts on over a restart
    assert len([1 for known in office.round().values() if known.state == "valid"]) == 3
    office.watch.forward(hours=1, seconds=1)
    assert len([1 for known in office.round().values() if known.state == "valid"]) == 4


def test_more_than_are_looked_at(office: Desk) -> None:
    office.write(most=1)
    for number in range(2):
        office.open(f"b{number}", greeting(f"F{number}"))
    overview = office.reviewer.round()
    assert overview.more and [entry.request.iid for entry in overview.entries] == [2]


def test_a_forge_that_fails(office: Desk) -> None:
    one, two = office.open("one", greeting("One")), office.open("two", greeting("Two"))
    office.gitlab.fail("GET", "/merge_requests", Fault.answer(403))
    with pytest.raises(errors.Terminal) as caught:
        office.round()
    assert caught.value.reason == "ForgeForbidden"
    # One merge request that takes no notes does not stop the other; it is tried again, later, and not planned again.
    office.gitlab.fail("POST", "/merge_requests/1/notes", Fault.answer(403))
    found = office.round()
    assert (found[1].state, found[1].reason, found[2].state) == ("failed", "ForgeForbidden", "valid")
    office.round()
    assert one.notes == [] and len(office.ours(two)) == 1
    office.watch.forward(seconds=121)
    assert office.round()[1].state == "valid" and "+One" in office.note(one)
    # A token that may write notes and no statuses still reviews.
    office.push("one", greeting("Three"))
    office.gitlab.fail("POST", "/statuses/", Fault.answer(403))
    assert office.round()[1].state == "valid" and "+Three" in office.note(one)


def test_a_death_in_the_middle(office: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the note and the memory: after the restart it is the same note, and one status."""
    one = office.open("one", greeting("One"))
    with monkeypatch.context() as patch:
        patch.setattr(type(office.reviewer), "_succeeded", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            office.round()
    assert len(office.ours(one)) == 1
    office.restart()
    # Not at once: it may be what ended the process.
    assert (office.round()[1].state, office.round()[1].reason) == ("failed", "Interrupted")
    office.watch.forward(seconds=121)
    assert office.round()[1].state == "valid"
    assert len(office.ours(one)) == 1 and len(office.statuses(one.sha)) == 1
    # A memory that cannot be read is none.
    office.restart()
    (office.state / "reviews.json").write_text("{")
    assert office.round()[1].state == "valid"
    assert len(office.ours(one)) == 1 and len(office.statuses(one.sha)) == 1


def test_pushed_to_while_it_is_fetched(office: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the commit that the forge listed is reviewed under its name."""
    one = office.open("one", greeting("One"))
    clone = office.reviewer.clone
    fetch = clone.fetch

    def race(request=None):  # type: ignore[no-untyped-def]
        servers.git(office.repository, "update-ref", one_ref, office.push("one", greeting("Two")))
        return fetch(request)

    one_ref = "refs/merge-requests/1/head"
    with monkeypatch.context() as patch:
        patch.setattr(clone, "fetch", race)
        assert office.round()[1].reason == "RevisionUnknown"
    assert office.ours(one) == []
    assert office.round()[1].state == "valid" and "+Two" in office.note(one)


def test_a_slow_review_is_tried_again_and_then_told_for_good(office: Desk) -> None:
    one = office.open("slow", greeting("One"))
    # However fast the machine is: children that take longer than they may.
    office.reviewer.limits = ci.Limits(seconds=0.05)
    for failures, hours in ((1, 1), (2, -8), (0, 1)):  # or the clock is set back: nobody waits until it has caught up
        known = office.round()[1]
        assert (known.state, known.reason, known.failures) == ("failed", "DeadlineExceeded", failures)
        assert "DeadlineExceeded" in office.note(one)
        assert ("tried again by itself" in office.note(one)) == (failures > 0)
        writes = office.gitlab.count("PUT")
        office.round()  # not at once
        assert office.gitlab.count("PUT") == writes
        office.watch.forward(hours=hours)
    office.reviewer.limits = ci.Limits()
    assert office.round()[1].state == "failed"  # until somebody pushes
    office.push("slow", greeting("Two"))
    assert office.round()[1].state == "valid"


def test_an_unsigned_head_is_said_where_hosts_demand_signatures(office: Desk, tmp_path: Path) -> None:
    signer = servers.ssh_signer(tmp_path, "signer")
    (tmp_path / "allowed").write_text(f"op@example.org {signer.public}\n")
    office.write(f'[trust]\nsignatures = "ssh"\nallowed_signers = "{tmp_path}/allowed"')
    bare = office.open("bare", greeting("Bare"))
    signed = office.open("signed", greeting("Signed"), sign=signer)
    office.round()
    assert "not signed as the hosts of this site demand (`SignatureMissing`)" in office.note(bare)
    assert "not signed" not in office.note(signed)


def test_another_program_or_other_limits_review_anew(office: Desk) -> None:
    office.open("one", greeting("One"))
    first = office.round()[1]
    office.restart()
    office.write(host_limit=10)
    assert office.round()[1].rules != first.rules


def test_it_needs_a_forge(office: Desk) -> None:
    office.settings.write_text(f'[git]\nurl = "{office.repository.as_uri()}"\n[review]\nenabled = true\n')
    with pytest.raises(errors.Terminal, match=r"review\.enabled without \[forge\]"):
        reviewer_of(settings.load(office.settings))


def test_a_clone_that_is_broken_or_gone(office: Desk) -> None:
    one = office.open("one", greeting("One"))
    office.round()
    clone = office.state / "review.git"
    for spoil in (lambda: shutil.rmtree(clone), lambda: (clone / "HEAD").write_text("nonsense")):
        spoil()
        tip = office.push("main", {"README.md": f"{spoil}\n"})
        assert office.round()[1].target == tip
        office.push("one", greeting(f"Then {tip[:6]}"))
        office.round()
        assert f"+Then {tip[:6]}" in office.note(one)
