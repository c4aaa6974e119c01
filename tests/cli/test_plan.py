"""plan for a site: what to compare with, formats, exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.conftest import commit, write

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", raising=False)


def test_against_nothing(cli: Cli, site: Path) -> None:
    found = cli("plan", site, "--base", "nothing", "--detailed-exitcode")
    assert found.exit_code == 2
    assert found.stdout == (
        "plan against nothing\n"
        "web1: 1 pull, 1 write, 1 create\n"
        "  pull       registry.example/hello:1  (for hello)\n"
        "  write      hello/hello.conf  (new file)\n"
        "      --- a/hello/hello.conf\n"
        "      +++ b/hello/hello.conf\n"
        "      @@ -0,0 +1 @@\n"
        "      +greeting = hello\n"
        "  create     hello  (new container)\n"
        "web2: 1 pull, 1 write, 1 create\n"
        "  pull       registry.example/hello:1  (for hello)\n"
        "  write      hello/hello.conf  (new file)\n"
        "      --- a/hello/hello.conf\n"
        "      +++ b/hello/hello.conf\n"
        "      @@ -0,0 +1 @@\n"
        "      +greeting = good morning\n"
        "  create     hello  (new container)\n"
        "db1: nothing to do\n"
    )


def test_the_work_tree_against_head_then_head_against_its_parent(cli: Cli, checkout: Path) -> None:
    unchanged = cli("plan", checkout, "--base", "HEAD", "--detailed-exitcode")
    assert unchanged.exit_code == 0
    assert unchanged.stdout.splitlines()[1:] == ["web1, web2, db1: nothing to do"]
    write(checkout, {"globals.yml": "site_greeting: hi\n"})
    expected = [
        "web1: 1 write, 1 restart",
        "  write      hello/hello.conf  (content changed)",
        "  restart    hello  (hello.conf changed)",
        "web2, db1: nothing to do",
        "rollout, where hosts agree through etcd: It takes 60 s at least: 1 step, after each of which the hosts stay well for 60 s.",
        "  the rest: web1, one by one, 1 step",
    ]
    found = cli("plan", checkout, "--no-diffs")
    assert found.exit_code == 0
    assert _lines(found) == expected
    commit(checkout, "second")
    assert _lines(cli("plan", checkout, "--no-diffs")) == expected


def _lines(found: Result) -> list[str]:
    assert found.exit_code == 0, found.output
    return found.stdout.splitlines()[1:]


def test_one_host_and_json(cli: Cli, site: Path) -> None:
    answer = json.loads(cli("plan", site, "--base", "nothing", "--host", "web2", "--format", "json").stdout)
    assert [plan["host"] for plan in answer["plans"]] == ["web2"]
    assert [action["verb"] for action in answer["plans"][0]["actions"]] == ["pull", "write", "create"]
    unknown = cli("plan", site, "--host", "web3")
    assert (unknown.exit_code, "[HostUnknown]" in unknown.stderr) == (1, True)


def test_markdown(cli: Cli, site: Path) -> None:
    found = cli("plan", site, "--base", "nothing", "--format", "markdown")
    assert found.stdout.startswith("### Plan against nothing\n\n**2 of 3 hosts would change**\n")
    assert "<details><summary><b>web1</b>" in found.stdout


def test_equal_plans_are_shown_once(cli: Cli, site: Path) -> None:
    (site / "hosts/web2.yml").unlink()
    assert "web1, web2: 1 pull, 1 write, 1 create\n" in cli("plan", site, "--base", "nothing").stdout


def test_an_invalid_site_shows_every_problem(cli: Cli, checkout: Path) -> None:
    write(checkout, {"globals.yml": "site_greeting: hi\nnonsense: 1\nmore_nonsense: 2\n"})
    found = cli("plan", checkout)
    assert found.exit_code == 1
    assert "globals.yml:2:1:" in found.stderr
    assert "globals.yml:3:1:" in found.stderr
    assert found.stderr.splitlines()[-1] == "error: the site has 2 problems (SiteInvalid)"


def test_an_unknown_base(cli: Cli, checkout: Path) -> None:
    found = cli("plan", checkout, "--base", "nosuch")
    assert (found.exit_code, "[RevisionUnknown]" in found.stderr) == (1, True)
    assert cli("plan", checkout.parent, "--base", "main").exit_code == 1
