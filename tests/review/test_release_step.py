"""A review, and `plan`, refuse a step between releases that OpenStack does not support, where the site says it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import program
from reconciler.review import ci, risks

from . import sites

ACCEPT = "accept: [{check: release-step, who: operator, why: the backup was put back, until: 2026-12-01}]\n"


def site(release: str, policy: str = "") -> dict[str, str]:
    files = sites.small()
    files["globals.yml"] += f'openstack_release: "{release}"\n'
    files["reconciler.yml"] += policy
    return files


@pytest.mark.parametrize(
    ("base", "head", "policy", "said"),
    [
        ("2025.1", "2026.1", "", ""),
        ("2026.1", "2025.1", "", "goes back from 2026.1 to 2025.1"),
        ("2026.1", "2025.1", ACCEPT, ""),
    ],
    ids=["forward", "back", "back, and somebody answers for it"],
)
def test_a_review(tmp_path: Path, base: str, head: str, policy: str, said: str) -> None:
    repository = sites.Repository(tmp_path / "repository")
    start, commit = repository.commit(site(base)), repository.commit(site(head, policy))
    review = ci.review(ci.Source(repository.root, start), ci.Source(repository.root, commit))
    found = [problem for problem in review.problems if problem.severity == "error"]
    assert [(p.file, p.line) for p in found] == ([("globals.yml", 3)] if said else []), found
    assert all(said in problem.message for problem in found)
    named = {item.text: item for risk in risks(review) if risk.kind == "upgrade" for item in risk.items}
    assert said or list(named) == [f"{base} → {head}"], named
    shown = CliRunner().invoke(program, ["plan", str(repository.root), "--base", start])
    assert (shown.exit_code, "goes back" in shown.output) == ((1, True) if said else (0, False)), shown.output


def test_a_release_that_the_catalogue_does_not_know(tmp_path: Path) -> None:
    repository = sites.Repository(tmp_path / "repository")
    repository.commit(site("2024.1"))
    shown = CliRunner().invoke(program, ["validate", str(repository.root)])
    assert shown.exit_code == 1 and "globals.yml:3" in shown.output
    assert "2025.1" in shown.output and "2026.1" in shown.output, "the list is said"


JOBS = """\
jobs:
  web_sync: {container: web, command: [sync], inputs: ["{{ openstack_release }}"], migration: true, before: [web]}
prechecks:
  web_status: {description: whether it is well, container: web, command: [status]}
"""


def test_it_says_what_is_checked_and_from_where_on_there_is_only_forward(tmp_path: Path) -> None:
    repository = sites.Repository(tmp_path / "repository")

    def files(release: str) -> dict[str, str]:
        made = site(release)
        made["services/web/service.yml"] += JOBS
        return made

    start, commit = repository.commit(files("2025.1")), repository.commit(files("2026.1"))
    review = ci.review(ci.Source(repository.root, start), ci.Source(repository.root, commit))
    first = risks(review)[0]
    assert (first.kind, first.grave) == ("upgrade", True)
    assert [(item.text, item.hosts) for item in first.items] == [("2025.1 → 2026.1", ("web1", "web2", "web3"))]
    assert "3 checks before it" in first.items[0].detail
    assert "from web_sync on there is only forward" in first.items[0].detail
    again = ci.review(ci.Source(repository.root, commit), ci.Source(repository.root, commit))
    assert not any(risk.kind == "upgrade" for risk in risks(again))
