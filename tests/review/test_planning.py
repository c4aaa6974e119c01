"""Planning every host between two revisions of a real repository, in limited children."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.model import Verb
from reconciler.report.text import plan_text
from reconciler.review import Review, changes, ci, headline, note, risks
from reconciler.review.text import course_lines
from reconciler.review.waves import course
from reconciler.secrets import sops
from reconciler.source import prepare

from . import sites
from .conftest import Job


def plan(repository: sites.Repository, base: str | None = None, head: str | None = None, **more: Any) -> Review:
    """The review of the last commit from the one before it, or as said."""
    base, head = base or repository.commits[-2], head or repository.commits[-1]
    sources = (ci.Source(repository.root, commit, repository.path) for commit in (base, head))
    return ci.review(*sources, **more)  # type: ignore[arg-type]


def test_a_changed_variable_is_planned_on_every_host(repository: sites.Repository) -> None:
    repository.commit(sites.small(5))
    repository.commit(
        {**sites.small(5), "hosts/web3.yml": "enable_store: false\n", "groups/web.yml": "web_greeting: Bye\n"}
    )
    found = plan(repository)
    assert headline(found) == "5 of 5 hosts change · 5 containers restarted · 1 container deleted"
    assert [group.hosts for group in found.groups] == [("web1", "web2", "web4", "web5"), ("web3",)]
    page = next(change for change in changes(found) if change.action.verb is Verb.WRITE)
    assert page.hosts == ("web1", "web2", "web3", "web4", "web5")
    assert not page.exact
    assert "-Hello from web1\n+Bye from web1" in page.action.diff
    assert [risk.kind for risk in risks(found)] == ["deletion", "data-plane", "stateful"]


def test_a_change_of_nothing_is_empty(repository: sites.Repository) -> None:
    repository.commit(sites.small())
    repository.commit({**sites.small(), "README.md": "# Read me\n"})
    found = plan(repository)
    assert found.groups == ()
    assert headline(found) == "no host changes · 3 hosts planned"


def test_hosts_that_come_and_go(repository: sites.Repository) -> None:
    repository.commit(sites.small(3))
    files = sites.small(4)
    files["inventory.yml"] = files["inventory.yml"].replace("  web2:", "  web9:")
    repository.commit(files)
    found = plan(repository)
    assert (found.joined, found.left) == (("web9", "web4"), ("web2",))
    assert [group.hosts for group in found.groups] == [("web9", "web4")]  # nothing is planned for a host that left
    assert [risk.kind for risk in risks(found)] == ["inventory"]
    assert {action.verb for action in found.groups[0].plan.actions} == {Verb.PULL, Verb.WRITE, Verb.CREATE}


def test_a_rotated_password_is_seen_by_name_and_its_value_nowhere(repository: sites.Repository) -> None:
    site = sites.example()
    repository.commit(site)
    repository.commit({**site, "passwords.yml": sites.passwords(keystone_database_password="rotated")})
    found = plan(repository)
    assert found.rotated == {"keystone_database_password": ("ctl1",)}
    assert "secret" in [risk.kind for risk in risks(found)]
    assert "ENC[" not in str(found)


def test_all_problems_of_all_files_are_reported(repository: sites.Repository) -> None:
    repository.commit(sites.small())
    repository.commit({**sites.small(), "globals.yml": "enable_stor: false\n", "hosts/web1.yml": "web_greeting: [1]\n"})
    found = plan(repository)
    assert not found.valid
    assert {problem.file for problem in found.problems} == {"globals.yml", "hosts/web1.yml"}
    assert found.groups == ()


def test_problems_of_templates_name_their_line_once(repository: sites.Repository) -> None:
    repository.commit(sites.small())
    template = "services/web/templates/index.html.j2"
    repository.commit({**sites.small(), template: "fine\n{{ web_greting }}\n"})
    found = plan(repository)
    (problem,) = found.problems
    assert (problem.file, problem.line) == (template, 2)
    assert "web_greeting" in problem.hint


def test_an_invalid_base_is_said_and_the_head_still_checked(repository: sites.Repository) -> None:
    repository.commit({**sites.small(), "globals.yml": "nonsense: 1\n"})
    repository.commit(sites.small())
    found = plan(repository)
    assert found.valid
    assert [problem.file for problem in found.base_problems] == ["globals.yml"]
    assert headline(found) == "valid · 3 hosts · nothing to compare with"


def test_a_site_in_a_folder_and_a_work_tree(repository: sites.Repository, tmp_path: Path) -> None:
    inner = sites.Repository(tmp_path / "large", path="clouds/one")
    inner.commit(sites.small())
    inner.write({**sites.small(), "groups/web.yml": "web_greeting: Bye\n"})
    found = ci.review(ci.Source(inner.root, inner.commits[-1], inner.path), ci.Source(inner.root, "", inner.path))
    assert (found.path, found.head, len(found.changed)) == ("clouds/one", ci.WORK_TREE, 3)


def test_from_nothing(repository: sites.Repository) -> None:
    repository.commit(sites.small())
    found = ci.review(None, ci.Source(repository.root, repository.commits[-1]))
    assert headline(found).startswith("3 of 3 hosts change · 6 containers created")


def test_policy_changes_are_risks(repository: sites.Repository) -> None:
    repository.commit(sites.small())
    repository.commit({**sites.small(), "reconciler.yml": "name: small\nprune: {max: 50}\n"})
    found = plan(repository)
    assert [(d.field, d.actual, d.desired) for d in found.policy] == [("prune.max", "5", "50")]


def test_a_container_that_counts_for_less_is_a_change_of_policy(repository: sites.Repository) -> None:
    """Nothing happens on a host; the next change would warn of less."""
    first = sites.small()
    repository.commit(first)
    repository.commit(
        {**first, "services/web/service.yml": first["services/web/service.yml"].replace("    data_plane: true\n", "")}
    )
    found = plan(repository)
    assert not found.changed and found.lighter == {"web: data_plane": ("web1", "web2", "web3")}
    (risk,) = [risk for risk in risks(found) if risk.kind == "policy"]
    assert [(item.text, item.detail) for item in risk.items] == [("web: data_plane", "true → false")]


def test_removals_above_the_guard_and_what_acknowledges_them(repository: sites.Repository) -> None:
    """The note's lines, written as they are, let the containers go; later the review says that they are left over."""
    first = {**sites.small(), "reconciler.yml": "name: small\nprune: {max: 0}\nreview: {require: {prune: approval}}\n"}
    repository.commit(first)
    off = {**first, "globals.yml": first["globals.yml"] + "enable_store: false\n"}
    repository.commit(off)
    found = plan(repository)
    assert not found.changed
    (guard,) = [risk for risk in risks(found) if risk.kind == "prune"]
    base = repository.commits[-2][:12]
    assert guard.lines == (
        "acknowledge:", f'  - {{base: "{base}", hosts: ["web1", "web2", "web3"], remove: ["store"]}}',
    )  # fmt: skip
    assert [(item.text, item.detail) for item in guard.items] == [("store", "")]
    text = note(found)
    assert "\n  ".join(guard.lines) in text
    acknowledged = {**off, "reconciler.yml": off["reconciler.yml"] + "\n".join(guard.lines) + "\n"}
    repository.commit(acknowledged)
    found = plan(repository, base=repository.commits[0])
    assert [action.id for group in found.groups for action in group.plan.actions] == ["remove:store"]
    kinds = [risk.kind for risk in risks(found)]
    assert "prune" in kinds and "deletion" in kinds and "acknowledged" not in kinds and "policy" not in kinds
    # A typing mistake is said before it is merged, a left-over entry afterwards.
    repository.commit({**off, "reconciler.yml": acknowledged["reconciler.yml"].replace('["store"]', '["stare"]')})
    (wrong,) = [risk for risk in risks(plan(repository, base=repository.commits[0])) if risk.kind == "acknowledged"]
    assert wrong.grave and "no host is to lose exactly these" in wrong.items[0].detail
    repository.commit(acknowledged)
    repository.commit({**acknowledged, "groups/web.yml": "web_greeting: Bye\n"})
    (left,) = [risk for risk in risks(plan(repository)) if risk.kind == "acknowledged"]
    assert not left.grave and "left over" in left.items[0].detail


def test_the_plan_is_that_of_the_plan_verb(repository: sites.Repository, reconciler: Job) -> None:
    """Same plan, same text: the lines of `reconciler plan` are the review's, for every host."""
    repository.commit(sites.small())
    repository.commit({**sites.small(), "globals.yml": sites.small()["globals.yml"] + "web_image: busybox:1.37\n"})
    found = plan(repository)
    done = reconciler(
        "plan", ".", "--base", repository.commits[-2], "--host", "web2", "--no-diffs", cwd=repository.root
    )
    assert done.returncode == 0, done.stderr
    (group,) = found.groups
    assert "web2" in group.hosts
    for line in plan_text(group.plan, diffs=False, indent="").splitlines():
        assert f"  {line}\n" in done.stdout


def test_diff_between_any_two_revisions(repository: sites.Repository, reconciler: Job) -> None:
    repository.commit(sites.small())
    repository.commit({**sites.small(), "hosts/web2.yml": "web_greeting: Bye\n"})
    repository.commit(
        {**sites.small(), "hosts/web2.yml": "web_greeting: Bye\n", "groups/web.yml": "web_greeting: Hi\n"}
    )
    first = reconciler("diff", "HEAD~2", "HEAD~1", cwd=repository.root)
    assert first.returncode == 0, first.stderr
    assert "1 of 3 hosts changes · 1 container restarted · nothing deleted" in first.stdout
    assert "+Bye from web2" in first.stdout
    one = reconciler("diff", "HEAD~2", "HEAD", "--host", "web1", "--no-diffs", cwd=repository.root)
    assert [line.split()[:2] for line in one.stdout.splitlines()[2:]] == [
        ["write", "web/index.html"],
        ["restart", "web"],
    ]
    for words, said in ((("HEAD~9", "HEAD"), "RevisionUnknown"), (("HEAD~1", "HEAD", "--host", "x"), "HostUnknown")):
        failed = reconciler("diff", *words, cwd=repository.root)
        assert failed.returncode == 1
        assert said in failed.stderr


def test_diff_tells_which_revision_and_what_is_not_in_a_plan(repository: sites.Repository, reconciler: Job) -> None:
    def diff(*words: str) -> tuple[int, str, str]:
        done = reconciler("diff", *words, cwd=repository.root)
        return done.returncode, done.stdout, done.stderr

    small = sites.small()
    repository.commit(small)
    repository.commit({**small, "globals.yml": small["globals.yml"] + "no_such: 1\nnor_this: 2\n"})
    more = "  web9: {addresses: {network: 10.0.0.9}, groups: [web]}\n"
    grown = {**small, "inventory.yml": small["inventory.yml"].replace("hosts:\n", f"hosts:\n{more}", 1)}
    repository.commit(grown)
    repository.commit(
        {**grown, "reconciler.yml": small.get("reconciler.yml", "name: web\n") + "drift: {mode: report}\n"}
    )
    first, broken, joined, policy = repository.commits
    code, shown, said = diff(first, broken[:9])
    assert (code, shown) == (1, "")
    assert "unknown variable 'no_such'" in said
    assert said.endswith(f"error: the site at {broken[:12]} has 2 problems: nothing to compare [SiteInvalid]\n")
    code, shown, said = diff("HEAD~2", "HEAD")
    assert said.endswith(
        f"error: the site at HEAD~2 ({broken[:12]}) has 2 problems: nothing to compare [BaseInvalid]\n"
    )
    assert (code, shown) == (1, "")
    for words in ((), ("--host", "web9")):
        code, shown, _ = diff(first, joined, *words, "--no-diffs")
        assert code == 0
        assert "  create     web  (new container)\n" in shown
        assert shown.endswith("new in the inventory: web9\n")
        code, shown, _ = diff(joined, first, *words)
        assert code == 0
        assert shown.splitlines()[1:] == ["no longer in the inventory: web9 (what runs there stays as it is)"]
    assert diff("HEAD~1", "HEAD")[1].splitlines()[1:] == ["how nodes treat the site:", "  drift.mode: heal → report"]
    whole = diff("nothing", "HEAD", "--no-diffs")[1]
    assert whole.startswith(f"nothing → {policy[:12]}: 4 of 4 hosts change")
    alike = [line for line in whole.splitlines() if "the others differ in their own name and addresses only" in line]
    assert [line.partition(":")[0] for line in alike] == ["web[1-3,9]"]
    assert "RevisionUnknown" in diff("HEAD:", "HEAD")[2]


def test_children_have_no_token_and_leave_nothing(
    repository: sites.Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    repository.commit(sites.small())
    repository.commit({**sites.small(), "groups/web.yml": "web_greeting: Bye\n"})
    plan(repository)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert repository.git("status", "--porcelain") == ""


def test_waves_budgets_and_owners_are_those_of_the_nodes(repository: sites.Repository, reconciler: Job) -> None:
    """Of real sites, over several children: what each host's own program says of its rollout, put together."""
    first = sites.small(7)
    service = first["services/web/service.yml"].replace(
        "    data_plane: true\n", "    data_plane: true\n    rollout: {at_once: 2}\n"
    )
    service += 'jobs:\n  prepare: {container: web, command: ["true"], before: [web]}\n'
    waves = "{waves: [{name: first, hosts: [web7]}, {name: second, hosts: [web3, web2], in_order: true}], rest: 100%, bake: 90}"
    first |= {"services/web/service.yml": service, "reconciler.yml": f"name: small\nrollout: {waves}\n"}
    repository.commit(first)
    repository.commit({**first, "globals.yml": first["globals.yml"] + "web_image: busybox:1.37\n"})
    found, commit = plan(repository), repository.commits[-1]
    node = prepare.prepare(repository.root, commit, repository.path, "web4", sops.Keys())
    assert found.rollout == node.rollout
    seen = course(found)
    assert seen
    assert [(turn.wave, turn.hosts, turn.steps, turn.narrow) for turn in seen.outlook.turns] == [
        ("first", ("web7",), 1, ""),
        ("second", ("web3", "web2"), 2, ""),
        ("the rest", ("web1", "web4", "web5", "web6"), 2, "web"),
    ]
    assert seen.outlook.seconds == 450.0
    assert [(one.job, one.owner, one.early) for one in seen.duties] == [("prepare", "web1", ("web2", "web3", "web7"))]
    assert [(one.container, one.at_once, one.budget) for one in seen.interrupted] == [("web", 2, "web")]
    # The verbs say the same, of all hosts; of one alone they could only guess.
    done = reconciler("plan", ".", "--base", repository.commits[0], "--no-diffs", cwd=repository.root)
    assert done.stdout.endswith("\n".join(course_lines(seen)) + "\n"), done.stderr
    assert "  second: web3,web2, one by one, in this order, 2 steps\n" in done.stdout
    assert "  the rest: web[1,4-6], 4 at once, 2 steps for web\n" in done.stdout
    assert course(replace(found, hosts=("web2",))) is None


def test_hosts_outside_the_inventory_are_refused(repository: sites.Repository) -> None:
    repository.commit(sites.small())
    repository.commit(sites.small())
    with pytest.raises(errors.Terminal, match="no host 'web77'"):
        plan(repository, hosts=["web77"])
    assert plan(repository, hosts=["web2"]).hosts == ("web2",)


@pytest.mark.slow
def test_five_hundred_hosts_within_the_budget(repository: sites.Repository) -> None:
    """The catalogue on 500 hosts: under 60 s on two cores, within 1 GiB; the limits of the children enforce the memory."""
    from tests.site.generate import make_site

    own = {name: text for name, text in sites.small().items() if name.startswith("services/")}
    own["services/web/service.yml"] = own["services/web/service.yml"].replace("{web: []}", "{web: [compute]}")
    site = {**make_site(500), **own, "passwords.yml": sites.passwords()}
    repository.commit(site)  # type: ignore[arg-type]
    repository.commit({**site, "groups/compute.yml": "web_greeting: Bye\n"})  # type: ignore[dict-item]
    seen: list[tuple[int, int]] = []
    started = time.monotonic()
    found = plan(repository, progress=lambda done, total, _: seen.append((done, total)))
    assert time.monotonic() - started < 60 * max(1, 2 / (os.cpu_count() or 1))
    assert len(found.hosts) == 500
    assert len(found.changed) == 497
    assert len(found.groups) == 1
    assert seen == sorted(seen)
    assert seen[-1] == (500, 500)
