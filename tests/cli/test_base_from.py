"""What a newer program itself changes is seen before it is installed: planned against what the older one made."""

import json
from pathlib import Path

import pytest

from tests.git import servers
from tests.scenarios.test_programs import SERVICE, TEMPLATE, VARIABLES
from tests.support import programs
from tests.support.programs import Program

INVENTORY = "hosts:\n" + "".join(
    f"  n{number}: {{addresses: {{network: 192.0.2.{number}}}, groups: [tiny]}}\n" for number in (1, 2)
)
SITE = {
    "inventory.yml": INVENTORY,
    "globals.yml": "kolla_internal_vip_address: 192.0.2.9\n",
    "reconciler.yml": 'name: pinned\nrequires: "<0.3.2"\n',
    "services/README.md": "",
}
NEWER = "reconciler 0.3.1 → 0.3.2"


def catalogue(more: str = "", image: str = "busybox:1") -> dict[str, str]:
    service = SERVICE.replace("passwords: {tiny_password: {kind: random}}\n", "")
    template = TEMPLATE.replace("key = {{ tiny_password }}\n", "")
    return {
        "tiny/service.yml": service,
        "tiny/variables.yml": VARIABLES.replace("busybox:1", image),
        "tiny/templates/tiny.conf.j2": template + more,
    }


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return programs.make(tmp_path_factory.mktemp("older"), "0.3.1", catalogue())


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return programs.make(tmp_path_factory.mktemp("newer"), "0.3.2", catalogue("workers = 5\n", "busybox:2"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A checkout at a commit that is pinned to the older program."""
    repository, folder = servers.make_repo(tmp_path / "site.git"), tmp_path / "site"
    servers.commit(repository, {name: text.encode() for name, text in SITE.items() if text}, "pinned")
    servers.git(repository, "worktree", "add", str(folder), "main")
    return folder


def commit(site: Path, files: dict[str, str], message: str) -> str:
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    servers.git(site, "add", ".")
    servers.git(site, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", message)
    return servers.git(site, "rev-parse", "HEAD").strip()


def test_a_job_with_another_version_than_the_site_asks_for_plans_nothing(site: Path, newer: Program) -> None:
    for words in (["validate", "."], ["plan", ".", "--base", "nothing"]):
        done = newer.run(*words, cwd=site, check=False)
        assert done.returncode in (1, 2) and "ProgramPinned" in done.stdout + done.stderr, done
        assert "0.3.2 is installed" in done.stdout + done.stderr


def test_a_commit_that_moves_the_pin_shows_what_the_program_changes_and_what_it_changes_itself(
    site: Path, older: Program, newer: Program, tmp_path: Path
) -> None:
    base, made = servers.git(site, "rev-parse", "HEAD").strip(), tmp_path / "made"
    said = older.run("desired", ".", "--out", str(made), "--revision", base, cwd=site).stdout
    assert "desired state of 2 hosts" in said and "0.3.1" in said
    assert sorted(path.name for path in made.iterdir()) == ["n1.json", "n2.json"]
    commit(site, {"reconciler.yml": 'name: pinned\nrequires: ">=0.3.2"\n'}, "move the pin")

    alone = newer.run("plan", ".", "--base", base, cwd=site).stdout
    assert "nothing to do" in alone and NEWER not in alone, "by this program alone nothing is seen"
    plan = newer.run("plan", ".", "--base", base, "--base-from", str(made), cwd=site).stdout
    assert f"write      rt-prog-tiny/tiny.conf  ({NEWER}: content changed)" in plan
    assert f"replace    rt-prog-tiny  ({NEWER}: image differs)" in plan and "n1, n2" in plan

    commit(site, {"globals.yml": SITE["globals.yml"] + "tiny_image: busybox:3\n"}, "and an image")
    both = newer.run("plan", ".", "--base", base, "--base-from", str(made), "--host", "n2", cwd=site).stdout
    assert f"replace    rt-prog-tiny  ({NEWER}, and the commit: image differs)" in both
    assert f"tiny.conf  ({NEWER}: content changed)" in both
    one = newer.run("plan", ".", "--base", base, "--base-from", str(made / "n1.json"), "--host", "n1", cwd=site)
    assert NEWER in one.stdout

    words = ["--base", base, "--base-from", str(made), "--dry-run", "--json", str(tmp_path / "plan.json")]
    note = newer.run("ci", "review", "--site", ".", *words, cwd=site).stdout
    assert "by reconciler 0.3.2 (catalogue" in note and NEWER in note
    told = json.loads((tmp_path / "plan.json").read_text())
    assert told["program"] == "0.3.2" and len(told["catalogue"]) == 64
    assert {action["origin"] for group in told["groups"] for action in group["plan"]["actions"]} <= {
        NEWER,
        f"{NEWER}, and the commit",
    }


def test_a_base_that_means_nothing_to_the_newer_program_is_no_obstacle(
    site: Path, older: Program, tmp_path: Path
) -> None:
    gone = catalogue("workers = 5\n", "busybox:2")
    gone["tiny/variables.yml"] = gone["tiny/variables.yml"].replace("tiny_image", "tiny_picture")
    gone["tiny/service.yml"] = gone["tiny/service.yml"].replace("tiny_image", "tiny_picture")
    newer = programs.make(tmp_path / "renamed", "0.3.2", gone)
    base = commit(site, {"globals.yml": SITE["globals.yml"] + "tiny_image: busybox:1\n"}, "an image")
    older.run("desired", ".", "--out", str(tmp_path / "made"), cwd=site)
    moved = {"reconciler.yml": "name: pinned\n", "globals.yml": SITE["globals.yml"] + "tiny_picture: busybox:1\n"}
    commit(site, moved, "as the newer program calls it")
    assert newer.run("plan", ".", "--base", base, cwd=site, check=False).returncode == 1
    plan = newer.run("plan", ".", "--base", base, "--base-from", str(tmp_path / "made"), cwd=site).stdout
    assert f"({NEWER}, or the commit: content changed)" in plan and "image differs" not in plan


def test_what_is_no_desired_state_is_refused_by_name(site: Path, older: Program, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/n1.json").write_text('{"host": 5}')
    for name, said in (("empty", "holds no desired state"), ("bad", "cannot be read")):
        words = ["plan", ".", "--base", "nothing", "--base-from", str(tmp_path / name), "--host", "n1"]
        done = older.run(*words, cwd=site, check=False)
        assert done.returncode == 1 and said in done.stderr, done
