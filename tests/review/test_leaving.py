"""What a review says of hosts that leave for good and of those that join, and what it refuses."""

from pathlib import Path

import yaml
from click.testing import CliRunner

from reconciler.cli.main import program
from reconciler.document.yaml import Place
from reconciler.review import ci, members, note, risks
from reconciler.review.types import Review
from reconciler.site.types import Host, Left

from . import sites

JOBS = """\
jobs:
  web_forget: {container: web, leaves: {means: its share is given to the others}, command: [forget, "{{ item.hostname }}"]}
"""
ACCEPT = "accept: [{check: quorum, who: operator, why: all of them run, until: 2026-12-01}]\n"


def site(hosts: int, left: str = "", policy: str = "") -> dict[str, str]:
    files = sites.small(hosts)
    files["inventory.yml"] += left
    files["reconciler.yml"] += policy
    files["services/web/service.yml"] = (
        files["services/web/service.yml"].replace(
            "    stateful: true\n", "    stateful: true\n    rollout: {quorum: true}\n"
        )
        + JOBS
    )
    return files


def review(folder: Path, base: dict[str, str], head: dict[str, str]) -> Review:
    repository = sites.Repository(folder / "repository")
    start, commit = repository.commit(base), repository.commit(head)
    return ci.review(ci.Source(repository.root, start), ci.Source(repository.root, commit))


def items(found: Review) -> list[tuple[str, tuple[str, ...], str]]:
    return [
        (item.text, item.hosts, item.detail) for risk in risks(found) if risk.kind == "inventory" for item in risk.items
    ]


LEFT = "left:\n  web3: {since: 2026-11-27, groups: [web], addresses: {network: 10.0.0.3}}\n"


def test_a_host_that_leaves(tmp_path: Path) -> None:
    found = review(tmp_path, site(3), site(2, LEFT))
    assert not found.problems
    assert items(found) == [
        ("leave the inventory", ("web3",), "nothing on them is removed; stop their daemon by hand"),
        ("run web_forget_web3", ("web1",), "web3 left for good: its share is given to the others"),
        ("store: 3 → 2 members", (), "without web3; none may be down from then on"),
    ]
    text = note(found)
    assert "`web1` runs the job `web_forget_web3` for all" in text or "web_forget_web3" in text
    again = review(tmp_path / "again", site(2, LEFT), site(2))
    assert items(again) == [], "an entry that is taken out means nothing to anybody"


def test_a_host_of_which_nothing_is_said_and_the_line_that_says_it(tmp_path: Path) -> None:
    found = review(tmp_path, site(3), site(2))
    [risk] = [risk for risk in risks(found) if risk.kind == "inventory"]
    assert risk.grave and risk.items[1].hosts == ("web3",) and "nobody forgets them" in risk.items[1].text
    assert risk.lines[0] == "left:" and "in inventory.yml" in note(found)
    # The advice is followed to the letter, but for the day.
    said = "\n".join(risk.lines).replace("…", "2026-11-27") + "\n"
    followed = review(tmp_path / "followed", site(3), site(2, said))
    assert ("run web_forget_web3", ("web1",), "web3 left for good: its share is given to the others") in items(followed)
    assert not any(risk.lines for risk in risks(followed))


def test_the_line_has_the_names_that_its_machine_had() -> None:
    facts = {"hostname": "cmp1", "nodename": "cmp1.example.org", "processor_vcpus": 4}
    host = Host("web3", {}, {}, ("all",), facts, Place("inventory.yml"), own=("web",))
    names = {name: facts[name] for name in ("hostname", "nodename")}
    assert yaml.safe_load(members.line(host))["web3"]["facts"] == names
    left = Left(host, "2026-11-27", frozenset(("web",))).item
    assert (left["hostname"], left["nodename"], left["fqdn"]) == ("cmp1", "cmp1.example.org", "cmp1.example.org")


def test_too_many_that_leave_at_once_are_refused_unless_somebody_says_so(tmp_path: Path) -> None:
    both = LEFT + "  web2: {since: 2026-11-27, groups: [web]}\n"
    refused = review(tmp_path, site(3), site(1, both))
    assert [problem.file for problem in refused.problems] == ["inventory.yml"]
    assert "store (1 of 3 would stay, without web2, web3)" in refused.problems[0].message
    shown = CliRunner().invoke(program, ["plan", str(tmp_path / "repository"), "--base", refused.base])
    assert shown.exit_code == 1 and "no majority" in shown.output, shown.output
    accepted = review(tmp_path / "accepted", site(3), site(1, both, ACCEPT))
    assert not accepted.problems
    assert [text for text, _, _ in items(accepted)][1:3] == ["run web_forget_web3", "run web_forget_web2"]


def test_a_host_that_joins(tmp_path: Path) -> None:
    assert items(review(tmp_path, site(3), site(5))) == [
        ("join the inventory", ("web4", "web5"), ""),
        ("store: 3 → 5 members", (), "web4, web5 take what the others have; 2 members may be down from then on"),
    ]
