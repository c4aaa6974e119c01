"""What a reviewer reads: ranges, the headline, the note, JSON, and that a branch can put nothing active into any of them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler import data
from reconciler.errors import Problem
from reconciler.model import Action, Container, Desired, Difference, Held, Plan, Verb
from reconciler.reasons import Reason
from reconciler.report.text import plan_text
from reconciler.review import Group, Review, as_json, changes, compact, headline, marker, note, page, risks
from reconciler.review.claims import Claims
from reconciler.review.shape import Shaper, text_diff
from reconciler.review.waves import course, duration
from reconciler.rollout.policy import Budget, Rollout, Wave
from tests.forge.gitlab_state import quick_actions

from . import sample
from .gitlab_markdown import acted_on

GOLDEN = Path(__file__).parent / "golden"

# --- names of hosts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["ctl1"], "ctl1"),
        (["ctl1", "ctl2", "ctl3"], "ctl[1-3]"),
        (["ctl3", "cmp1", "ctl1", "cmp2"], "ctl[1,3],cmp[1-2]"),
        (["n8", "n9", "n10", "n11"], "n[8-11]"),
        (["n08", "n09", "n10"], "n[08-10]"),
        (["cmp0001", "cmp0002", "cmp0005"], "cmp[0001-0002,0005]"),
        (["r1n1.example", "r1n2.example", "r2n1.example"], "r1n[1-2].example,r2n1.example"),
        (["gateway", "store"], "gateway,store"),
        ([], ""),
    ],
)
def test_host_names_are_compacted(names: list[str], text: str) -> None:
    assert compact(names) == text


@given(st.lists(st.from_regex(r"[a-c]{0,2}[0-9]{0,4}[a-b]?", fullmatch=True).filter(bool), unique=True))
def test_compacted_names_can_be_read_back(names: list[str]) -> None:
    assert sorted(_expand(compact(names))) == sorted(names)


def _expand(text: str) -> list[str]:
    found = []
    for part in re.findall(r"[^,\[]*(?:\[[^\]]*\][^,]*)?(?:,|$)", text):
        part = part.removesuffix(",")
        match = re.fullmatch(r"(.*)\[(.*)\](.*)", part)
        if not match:
            found += [part] if part else []
            continue
        for span in match[2].split(","):
            first, _, last = span.partition("-")
            width = len(first) if first.startswith("0") and len(first) > 1 else 0
            found += [f"{match[1]}{str(n).zfill(width)}{match[3]}" for n in range(int(first), int(last or first) + 1)]
    return found


# --- the sample -----------------------------------------------------------------------------------------------------


def test_note_is_as_reviewed() -> None:
    assert marker(sample.review()) + "\n" + note(sample.review()) == (GOLDEN / "note.md").read_text()


def test_note_of_an_invalid_branch_is_as_reviewed() -> None:
    problems = (
        Problem("globals.yml", 3, 1, "unknown variable 'enable_keyston'", "did you mean 'enable_keystone'?"),
        Problem("hosts/cmp7.yml", 1, 12, "must be an integer, is 'many'"),
    )
    found = Review(site="cloud", base="3f9c2d1a77b0", head="b81e07d54c1f", path="sites/cloud", problems=problems)
    assert marker(found) + "\n" + note(found) == (GOLDEN / "invalid.md").read_text()
    assert headline(found) == "not valid: 2 problems · nothing was planned"


def test_plan_lines_are_those_of_the_plan_verb() -> None:
    found = sample.review()
    text = note(found)
    for group in found.groups:
        lines = plan_text(group.plan, diffs=False, indent="")
        assert f"```text\n{lines}\n```" in text
        assert all(action.line in lines for action in group.plan.actions)


def test_same_plans_are_grouped_whatever_the_hosts_addresses() -> None:
    found = sample.review()
    assert [(group.hosts, len(group.plan.actions)) for group in found.groups] == [
        (("ctl1",), 9),
        (("ctl2", "ctl3"), 7),
        (tuple(f"cmp{n}" for n in range(1, 38)), 4),
        (("cmp38", "cmp39"), 5),
    ]
    galera = next(c for c in changes(found) if c.action.target == "mariadb/galera.cnf")
    agent = next(c for c in changes(found) if c.action.target.endswith("openvswitch_agent.ini"))
    assert (galera.hosts, galera.exact) == (sample.CONTROLLERS, False)  # the diff shows the host's own address
    assert (agent.hosts, agent.exact) == (sample.COMPUTES, True)


def test_risks_come_gravest_first_and_name_their_hosts() -> None:
    found = {risk.kind: risk for risk in risks(sample.review())}
    assert list(found) == ["deletion", "data-plane", "stateful", "migration", "secret", "policy", "image"]
    assert [(item.text, item.hosts) for item in found["data-plane"].items] == [
        ("restart neutron_openvswitch_agent", sample.COMPUTES),
        ("replace nova_libvirt", ("cmp38", "cmp39")),
    ]
    assert [item.text for item in found["secret"].items] == ["glance_database_password"]
    assert [item.text for item in found["deletion"].items] == [
        "remove memcached",
        "unregister mariadb:user:memcache_stats",
    ]


def test_how_the_change_goes_from_host_to_host() -> None:
    found = course(sample.review())
    assert found
    assert [(turn.wave, turn.hosts, turn.steps) for turn in found.outlook.turns] == [
        ("canaries", ("cmp1", "ctl3"), 2),
        ("controllers", ("ctl1", "ctl2"), 2),
        ("the rest", sample.COMPUTES[1:], 13),
    ]
    assert [(budget.name, len(hosts)) for budget, hosts in found.outlook.touched] == [
        ("mariadb", 3),
        ("nova_libvirt", 2),
    ]
    (duty,) = found.duties
    # The schema is changed before a canary has shown anything: nobody would see it in the plan of any one host.
    assert (duty.job, duty.owner, duty.wave, duty.early) == ("keystone_db_sync", "ctl1", "controllers", ("ctl3",))
    assert [(one.container, one.at_once, one.budget) for one in found.interrupted] == [
        ("neutron_openvswitch_agent", 3, ""),
        ("nova_libvirt", 2, "nova_libvirt"),
    ]
    assert note(sample.review()).count("a restart that workloads feel") == 3
    assert page(sample.review()).count("a restart that workloads feel") == 3


def test_nothing_is_said_of_a_rollout_that_is_none() -> None:
    found = sample.review()
    assert found.rollout
    alone = replace(found, rollout=Rollout((Wave("the rest", ("ctl1",), 1),), {}))
    for other in (alone, replace(found, groups=()), replace(found, rollout=None)):
        assert course(other) is None and "#### Rollout" not in note(other) and "rollout" not in as_json(other)


def test_a_table_of_few_hosts_is_open_and_one_of_many_folded() -> None:
    found = sample.review()
    folded = "<summary>Which host is in which wave</summary>"
    assert folded in note(found)
    few = replace(found, groups=found.groups[:2])
    assert folded not in note(few) and "| `controllers` | `ctl[1-2]` | 2 | one by one | 2 |" in note(few)


def test_times_are_said_as_people_say_them() -> None:
    said = [duration(seconds) for seconds in (0, 45, 90, 119.5, 120, 1020, 7140, 7200, 12000, 86400)]
    assert said == ["0 s", "45 s", "90 s", "119.5 s", "2 min", "17 min", "119 min", "2 h", "3 h 20 min", "24 h"]


def test_prune_above_the_guard_is_the_first_risk() -> None:
    held = tuple(
        Held(f"c{n}", Reason.PruneGuard, "6 containers are no longer wanted, more than the 5") for n in range(6)
    )
    group = Group(("ctl1",), Plan("ctl1", "", held=held))
    found = Review(site="cloud", base="a", head="b", hosts=("ctl1",), groups=(group,))
    first = risks(found)[0]
    assert (first.kind, first.grave, len(first.items)) == ("prune", True, 6)
    assert headline(found) == "no host changes · 1 host planned · 1 hold something back"
    assert "More removals than the guard allows" in note(found)


def test_headline_of_small_changes() -> None:
    write = Action(Verb.WRITE, "web/a.conf", "content changed", service="web")
    group = Group(("a",), Plan("a", "", (write,)), ("1",), (True,))
    found = Review(site="s", base="a", head="b", hosts=("a", "b"), groups=(group,))
    assert headline(found) == "1 of 2 hosts changes · 1 file written, no container touched · nothing deleted"
    assert headline(replace(found, groups=())) == "no host changes · 2 hosts planned"
    left = replace(found, left=("c1", "c2"))
    assert any("`c[1-2]`" in line for line in note(left).splitlines() if "leave the inventory" in line)


def test_json_keeps_to_its_schema() -> None:
    validator = Draft202012Validator(data.schema("plan"))
    invalid = Review(site="s", base="a", head="b", problems=(Problem("x.yml", 1, 1, "wrong"),), failure="slow")
    for found in (sample.review(), invalid):
        document = json.loads(json.dumps(as_json(found)))
        assert list(validator.iter_errors(document)) == []
    plan = as_json(sample.review())["groups"][0]["plan"]
    assert plan["actions"][0]["line"] == "pull       quay.io/openstack.kolla/keystone:2025.1.1  (for keystone)"
    assert not validator.is_valid({**as_json(sample.review()), "extra": 1})


def test_a_note_is_cut_and_says_so() -> None:
    """However large the plan: within the limit, the headline and every kind of risk there, what is missing named."""
    groups = []
    for number in range(400):
        name = f"host{number}x{number % 7}"
        diff = "--- a/f\n+++ b/f\n" + "\n".join(f"+line {n} of {name}" for n in range(300))
        actions = (
            Action(Verb.WRITE, f"web/{name}.conf", "content changed", service=f"web{number % 50}", diff=diff),
            Action(Verb.RESTART, f"agent{number}", "f changed", service="net", risks=("data-plane",)),
            Action(Verb.REMOVE, f"old{number}", "no longer part of the site", risks=("deletion",)),
        )
        groups.append(Group((name,), Plan(name, "", actions), tuple(f"{name}{n}" for n in range(3)), (True,) * 3))
    hosts = tuple(host for group in groups for host in group.hosts)
    found = Review(site="big", base="a", head="b", hosts=hosts, groups=tuple(groups))
    text = note(found)
    assert len(text) <= 120_000
    assert "400 of 400 hosts change" in text
    assert "and 388 more on 388 hosts" in text
    for wanted in ("**Deletions**", "**Data plane**", "360 more groups with 360 hosts", "Cut here: the diffs of"):
        assert wanted in text
    assert acted_on(text) == []
    small = note(found, limit=12_000)
    assert len(small) <= 12_000
    assert "**Deletions**" in small


# --- a branch is a stranger -----------------------------------------------------------------------------------------

HOSTILE = [
    "/close", "/assign @ada", "\n/merge\n", "x\r/close", "x\u2028/close", "x\x0b/close", "x\x85/label ~bug", "@all", "@ada",
    "#1", "!1", "~bug", "%milestone", "$7", "&3", "grp/prj#1", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "</code></summary></details><h1>", "<!-- reconciler review of . -->", "-->", "```", "````", "~~~", "`", "``` \n/close\n```",
    "| a | b |", "\\|", "\\", "a`b``c```d", "[x](https://evil.example)", "![x](https://evil.example/x.png)", "https://evil.example",
    "www.evil.example", "ada@example.org", ":tada:", "[[_TOC_]]", "<details>", "</details>", "\u202egnp.exe", "\x1b[31mred", "\0",
    "# heading", "- list", "    code", "***", "---", "&lt;b&gt;", "&#64;all", "a" * 5000, "{{ 7 * 7 }}", "${jndi:x}", "", " ", "\t",
    "<a href='javascript:alert(1)'>", "]]>", "<![CDATA[", "<?php", "</pre>", "</script><script>alert(1)</script>", "\ud800",
]  # fmt: skip
texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=4).map("".join),
    st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=4).map("\n".join),
    st.text(max_size=60),
)


@st.composite
def hostile_reviews(draw: st.DrawFn) -> Review:
    """Reviews in which everything that a branch chooses is hostile."""
    groups = []
    for number in range(draw(st.integers(0, 3))):
        actions = tuple(
            Action(
                draw(st.sampled_from(list(Verb))),
                draw(texts),
                draw(texts),
                service=draw(texts),
                container=draw(texts),
                differences=(Difference(draw(texts), draw(texts), draw(texts)),),
                diff=draw(texts),
                risks=draw(st.sampled_from([(), ("image",), ("data-plane", "secret"), ("deletion",), ("migration",)])),
            )
            for _ in range(draw(st.integers(1, 3)))
        )
        held = (Held(draw(texts), Reason.PruneGuard, draw(texts)),)
        shapes = tuple(f"{number}.{n}" for n in range(len(actions)))
        exact = tuple(draw(st.booleans()) for _ in actions)
        hosts = (f"{draw(texts)}{number}", f"b{number}")
        groups.append(Group(hosts, Plan(hosts[0], draw(texts), actions, held), shapes, exact, draw(st.booleans())))
    problem = Problem(draw(texts), 1, 1, draw(texts), draw(texts))
    every = tuple(host for group in groups for host in group.hosts)
    name, here = draw(texts), draw(st.sampled_from([*every, "elsewhere"]))
    agent = next(
        (a.container or a.target for g in groups for a in g.plan.actions if "data-plane" in a.risks), draw(texts)
    )
    waves = (Wave(draw(texts), ("elsewhere",), 1, True), Wave(draw(texts), every, 2, draw(st.booleans())))
    rollout = Rollout(waves, {name: Budget(name, 1, every)})
    kind = draw(st.sampled_from(["plan", "problems", "failure", "base"]))
    return Review(
        site=draw(texts),
        base=draw(texts),
        head=draw(texts),
        path=draw(texts),
        hosts=every,
        left=(draw(texts),),
        groups=tuple(groups),
        rollout=rollout,
        claims=Claims(rollout.budgets, {name: every}, {agent: name}, {draw(texts): here}, {draw(texts): (here,)}),
        rotated={draw(texts): (draw(texts),)},
        policy=(Difference(draw(texts), draw(texts), draw(texts)),),
        warnings=(problem,),
        problems=(problem,) if kind == "problems" else (),
        base_problems=(problem,) if kind == "base" else (),
        failure=draw(texts) if kind == "failure" else "",
    )


@settings(max_examples=150, deadline=None)
@given(hostile_reviews())
def test_no_branch_makes_a_note_act(found: Review) -> None:
    text = f"{marker(found)}\n{note(found)}"
    assert acted_on(text) == []
    assert quick_actions(text) == []
    assert len(text) < 130_000
    assert text.split("\n", 1)[0].startswith("<!-- reconciler review of ")


@settings(max_examples=100, deadline=None)
@given(hostile_reviews())
def test_no_branch_makes_a_page_act(found: Review) -> None:
    from .pages import foreign

    assert foreign(page(found)) == []


def test_the_parser_of_these_tests_notices() -> None:
    """A test that cannot fail is a defect: each of these must be seen."""
    for text in ("hello @ada", "see #1", "~bug", "<script>x</script>", "/close", "x\n\n/close", "</details>", "<!-- x -->",
                 "https://evil.example", "![x](y)", "<details>"):  # fmt: skip
        assert acted_on(text), text
    assert acted_on("`@ada` and `#1`") == []


# --- shapes ---------------------------------------------------------------------------------------------------------


def test_own_names_are_replaced_whole_words_only() -> None:
    one, ten = Shaper(sample.host("cmp1")), Shaper(sample.host("cmp10"))
    assert one.shape("on cmp1 at 10.0.0.14") == ten.shape("on cmp10 at 10.0.0.23")
    assert one.shape("on cmp10") != ten.shape("on cmp10")
    assert one.shape("at 10.0.0.14") != one.shape("at 10.0.1.14")  # one is management, the other the tunnel
    assert one.shape("10.0.0.141") == Shaper(sample.host("cmp2")).shape("10.0.0.141")


def test_diffs_name_secrets_and_show_no_encoding() -> None:
    inner = "PDxzZWNyZXQ6ZGI-Pg"  # <<secret:db>>
    diff = text_diff("a.conf", "url = x\n", f"url = db:<<urlencode:{inner}>>\npassword = <<secret:db>>\n")
    assert "+url = db:<<secret:db|urlencode>>" in diff
    assert "+password = <<secret:db>>" in diff
    assert text_diff("a", "same\n", "same\n") == ""
    assert "<<urlencode:A>>" in text_diff("a", "", "<<urlencode:A>>\n")  # written by hand, decodes to nothing


def test_long_lines_and_long_diffs_are_clipped() -> None:
    diff = text_diff("a", "", "x" * 5000 + "\n" + "y\n" * 5000)
    assert max(map(len, diff.splitlines())) <= 400
    assert len(diff.splitlines()) == 2001


def test_a_new_host_is_planned_from_nothing() -> None:
    new = Desired("s", "a", "r", "/etc/kolla", containers=(Container("web", "busybox:1"),))
    from reconciler.plan import preview
    from reconciler.render import stand_in

    plan = preview(None, new, bind=stand_in)
    assert [action.id for action in plan.actions] == ["pull:busybox:1", "create:web"]
