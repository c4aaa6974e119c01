"""validate, explain, render, schema: exact outputs and exit codes for a small site."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result

from reconciler.cli.main import _VERBS
from tests.cli.conftest import SITE, write
from tests.support.paths import CHECKOUT

Cli = Callable[..., Result]

BROKEN = {
    **SITE,
    "globals.yml": "site_greeting: hello\nnode_config_directry: /etc/kolla\n",
    "config/nothing-reads-this.conf": "a = 1\n",
}
UNDEFINED = {
    **SITE,
    "services/hello/service.yml": SITE["services/hello/service.yml"].replace("site_greeting", "site_greting"),
}


def test_every_verb_has_help(cli: Cli) -> None:
    everything = cli("--help")
    assert everything.exit_code == 0
    for verb in _VERBS:
        found = cli(verb, "--help")
        assert found.exit_code == 0, verb
        assert len(found.output.split("Options:")[0].splitlines()) >= 3, f"{verb} is not explained"
        assert f"\n  {verb} " in everything.output


def test_a_valid_site(cli: Cli, site: Path) -> None:
    found = cli("validate", site)
    assert (found.exit_code, found.stdout) == (0, "the site is valid: 3 hosts\n")
    answer = json.loads(cli("validate", site, "--json").stdout)
    assert answer == {"valid": True, "hosts": 3, "rendered": ["web1", "web2", "db1"], "problems": []}


def test_problems_all_at_once(cli: Cli, tmp_path: Path) -> None:
    site = write(tmp_path, BROKEN)
    found = cli("validate", site)
    assert found.exit_code == 1
    assert found.stdout.splitlines()[-1] == "2 problems in 2 files"
    assert (
        "globals.yml:2:1: unknown variable 'node_config_directry' (did you mean 'node_config_directory'?)"
        in found.stdout
    )
    assert "config/nothing-reads-this.conf:1:1: no service reads this file" in found.stdout


def test_templates_are_rendered_too(cli: Cli, tmp_path: Path) -> None:
    found = cli("validate", write(tmp_path, UNDEFINED))
    assert found.exit_code == 1
    assert "services/hello/service.yml:10:" in found.stdout
    assert "site_greting" in found.stdout


def test_machine_formats(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "repo" / "sites" / "a", BROKEN)
    (tmp_path / "repo" / ".git").mkdir()
    site = tmp_path / "repo" / "sites" / "a"
    suite = ElementTree.fromstring(cli("validate", site, "--format", "junit").stdout)
    assert suite.attrib["failures"] == "2"
    assert {case.attrib["file"] for case in suite} == {"globals.yml", "config/nothing-reads-this.conf"}
    rows = json.loads(cli("validate", site, "--format", "codequality").stdout)
    assert rows[1]["location"] == {"path": "sites/a/globals.yml", "lines": {"begin": 2}}
    assert {row["severity"] for row in rows} == {"blocker"}
    assert len({row["fingerprint"] for row in rows}) == 2
    problem = json.loads(cli("validate", site, "--format", "json").stdout)["problems"][1]
    assert (problem["file"], problem["line"], problem["column"]) == ("globals.yml", 2, 1)


def test_what_could_not_run(cli: Cli, tmp_path: Path) -> None:
    found = cli("validate", tmp_path / "absent")
    assert found.exit_code == 2
    assert found.stderr.startswith("error: cannot read the site directory")
    assert found.stderr.rstrip().endswith("[SitePathMissing]")
    assert "Traceback" not in found.output
    assert cli("validate", "--format", "nonsense").exit_code == 2


def test_explain(cli: Cli, site: Path) -> None:
    found = cli("explain", "site_greeting", site, "--host", "web2")
    assert found.exit_code == 0
    assert found.stdout == (
        "site_greeting on web2 = good morning\n"
        "    LAYER    VALUE         PLACE\n"
        "    globals  hello         globals.yml:1:16\n"
        "=>  host     good morning  hosts/web2.yml:1:16\n"
    )
    answer = json.loads(cli("explain", "site_greeting", site, "--host", "web1", "--json").stdout)
    assert answer["value"] == "hello"
    assert [layer["origin"] for layer in answer["layers"]] == ["globals"]


@pytest.mark.parametrize(
    ("name", "host", "hint"),
    [("site_greting", "web1", "did you mean 'site_greeting'?"), ("x", "web3", "it has web1, web2, db1")],
)
def test_explain_suggests(cli: Cli, site: Path, name: str, host: str, hint: str) -> None:
    found = cli("explain", name, site, "--host", host)
    assert found.exit_code == 1
    assert hint in found.stderr


def test_render_writes_the_same_bytes_again(cli: Cli, site: Path, tmp_path: Path) -> None:
    found = cli("render", site, "--host", "web1", "--out", tmp_path / "one")
    assert found.exit_code == 0
    assert "1 files of web1 written to" in found.stdout
    assert cli("render", site, "--host", "web1", "--out", tmp_path / "two").exit_code == 0
    one = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in (tmp_path / "one").rglob("*") if p.is_file()}
    two = {p.relative_to(tmp_path / "two"): p.read_bytes() for p in (tmp_path / "two").rglob("*") if p.is_file()}
    assert one == two == {Path("hello/hello.conf"): b"greeting = hello\n"}
    assert (tmp_path / "one/hello/hello.conf").stat().st_mode & 0o777 == 0o644
    again = cli("render", site, "--host", "web1", "--out", tmp_path / "one")
    assert (again.exit_code, "[OutputNotEmpty]" in again.stderr) == (1, True)
    assert "[HostUnknown]" in cli("render", site, "--host", "web9", "--out", tmp_path / "three").stderr


def test_schemas_and_reference(cli: Cli, tmp_path: Path) -> None:
    from jsonschema import Draft202012Validator

    found = cli("schema", "--out", tmp_path / "schemas", "--docs", tmp_path / "reference.md")
    assert found.exit_code == 0
    files = sorted((tmp_path / "schemas").iterdir())
    assert "globals.schema.json" in {file.name for file in files}
    for file in files:
        Draft202012Validator.check_schema(json.loads(file.read_text()))
    variables = Draft202012Validator(json.loads((tmp_path / "schemas/globals.schema.json").read_text()))
    assert variables.is_valid({"enable_haproxy": "yes", "site_x": 1})
    assert not variables.is_valid({"enable_haproxi": True})
    reference = (tmp_path / "reference.md").read_text()
    assert "| `node_config_directory` | string | `/etc/kolla` |" in reference
    assert (
        "| `drift.mode` | `heal` |" in reference
        and "| `daemon.interval` |" in reference
        and "| `tunnel` |" in reference
    )
    assert reference == (CHECKOUT / "docs/site-reference.md").read_text(), "`make docs` makes it anew"


def test_a_page_for_every_service(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("mine")
    found = cli("services", "--docs", tmp_path)
    assert found.exit_code == 0
    pages = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert pages.pop("mine.md") == "mine", "a folder may hold what others wrote"
    assert pages == {path.name: path.read_text() for path in (CHECKOUT / "docs/services").iterdir()}, (
        "`make docs` makes them anew"
    )
    assert set(pages) == {"README.md"} | {
        f"{path.name}.md" for path in (CHECKOUT / "services").iterdir() if path.is_dir()
    }
    keystone = cli("services", "keystone").stdout
    assert keystone == pages["keystone.md"]
    # What people wrote, and what the folder says: a container, its file with the overrides, a port, a user, a variable with what it reaches.
    assert "## Fernet keys" in keystone
    assert "| `keystone_fernet` | `keystone` |" in keystone
    assert "merged key by key: `global.conf` · `keystone.conf` ·" in keystone
    assert (
        "| `keystone_internal` | http | the internal address | `{{ keystone_internal_port }}` | `keystone` |"
        in keystone
    )
    row = next(line for line in keystone.splitlines() if line.startswith("| `fernet_token_expiry` |"))
    assert "`keystone`" in row.rpartition(" | ")[2] or "`keystone`" in row.split(" | ")[4]
    listed = cli("services").stdout
    assert all(name.removesuffix(".md") in listed for name in pages if name != "README.md")
    wrong = cli("services", "keyston")
    assert (wrong.exit_code, "did you mean 'keystone'?" in wrong.stderr) == (1, True)


def test_what_was_pushed_does_not_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    site = write(tmp_path, {**SITE, "globals.yml": 'site_greeting: "\\e[2J\\u202e"\n'})
    assert (
        cli("explain", "site_greeting", site, "--host", "web1").stdout.splitlines()[0]
        == r"site_greeting on web1 = \x1b[2J\u202e"
    )
