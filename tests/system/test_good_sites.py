"""What sealed children do all day: nothing of it needs what the seal takes away, and it ends where it should."""

import resource
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.cli.site import Validated, in_child
from reconciler.git import content
from reconciler.review import ci
from reconciler.source import child
from reconciler.system import run, walls
from tests.fuzz import test_hostile_templates as hostile
from tests.git import servers
from tests.review import sites
from tests.services import golden
from tests.site import archive, test_problems
from tests.support import sealed

PROBLEMS = sorted((Path(__file__).parents[1] / "site" / "problems").glob("*.txt"))
# One for each way in which a template is refused: by its syntax, by its size, by what it costs, by what it asks for.
TEMPLATES = (
    "unclosed-text",
    "many-expressions",
    "yaml-of-many",
    "huge-number",
    "map-attribute-class",
)


def _golden() -> dict[str, Mapping[str, bytes]]:
    encrypted = sites.passwords(site_token="x").encode()
    found = {case: {**golden.read(golden.HERE / case / "site"), "passwords.yml": encrypted} for case in golden.CASES}
    return {**found, "site-example": {**golden.read(golden.EXAMPLE), "passwords.yml": encrypted}}


def _written(folder: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return content.Source(folder).to_json()


def _problems(path: Path) -> dict[str, bytes]:
    _, files = archive.split(sealed.fill(path.read_text()))
    del files["problems"]
    return archive.encode({"inventory.yml": test_problems.INVENTORY, **files})


@pytest.mark.parametrize("each", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_nothing_is_loaded_or_opened_late(tmp_path: Path, each: int) -> None:
    """Every golden site, the example, kinds of problem a site or a template can have: no import, no open after the seal."""
    good = _golden()
    corpus = good | {path.stem: _problems(path) for path in PROBLEMS[::each]}
    corpus |= {name: archive.encode(hostile.files(hostile.CORPUS[name][1])) for name in TEMPLATES}
    assert len(corpus) > 12
    late = {}
    for name, files in corpus.items():
        source = _written(tmp_path / name, files)
        wall = walls.Wall(read=content.places(source))
        argument = {"source": source, "all_hosts": True, "good": name in good}
        limits = run.Limits(seconds=120, cpu_seconds=30, memory=512 << 20)
        tried = run.python("tests.system.watched:validate", argument, limits=limits, wall=wall, answers=list[str])
        if tried:
            late[name] = tried
    assert late == {}


def test_a_folder_is_read_without_libgit2(tmp_path: Path) -> None:
    """Loading it takes as long as a fortieth of rendering a host."""
    folder = _written(tmp_path, {name: text.encode() for name, text in sites.small(2).items()})
    for words in (["init", "-q", "-b", "main", "."], ["add", "-A"], ["commit", "-q", "-m", "site"]):
        servers.git(tmp_path, *words)
    commit = {**folder, "commit": servers.git(tmp_path, "rev-parse", "HEAD").strip()}
    for argument, loaded in (({"source": folder}, False), ({"source": folder, "base": commit}, True)):
        assert child.ask("tests.system.watched:libgit2", argument, bool) is loaded


def test_a_repositorys_settings_are_in_no_child(tmp_path: Path) -> None:
    """A runner's checkout has the job's own token in its settings."""
    _written(tmp_path, {name: text.encode() for name, text in sites.small(2).items()})
    for words in (["init", "-q", "-b", "main", "."], ["add", "-A"], ["commit", "-q", "-m", "site"]):
        servers.git(tmp_path, *words)
    source = {"repository": str(tmp_path), "commit": servers.git(tmp_path, "rev-parse", "HEAD").strip(), "path": ""}
    assert content.places(source) == (str(tmp_path / ".git" / "objects"),)


def test_a_repository_is_read_wherever_it_keeps_its_objects(tmp_path: Path) -> None:
    """A bare one, a checkout, a linked work tree, a clone that borrows: each is read with nothing else in reach."""
    work, bare, linked, borrowing = (tmp_path / name for name in ("work", "bare.git", "linked", "borrowing"))
    _written(work, {name: text.encode() for name, text in sites.small(2).items()})
    for words in (["init", "-q", "-b", "main", "."], ["add", "-A"], ["commit", "-q", "-m", "site"]):
        servers.git(work, *words)
    servers.git(work, "worktree", "add", "-q", "--detach", str(linked))
    servers.git(tmp_path, "clone", "-q", "--bare", str(work), str(bare))
    servers.git(tmp_path, "clone", "-q", "--shared", str(bare), str(borrowing))
    commit = servers.git(work, "rev-parse", "HEAD").strip()
    for repository in (work, bare, linked, borrowing):
        assert len(ci.hosts(content.Source(repository, commit))[1]) == 2, repository
    elsewhere = {"repository": str(work), "commit": commit, "path": ""}
    with pytest.raises(errors.Terminal) as caught:
        run.python(
            "reconciler.review.ci_child:hosts",
            {"source": elsewhere},
            limits=child.LIMITS,
            wall=walls.Wall(read=(str(bare),)),
            modules=["reconciler.git.tree"],
        )
    assert caught.value.reason == "RepositoryUnusable"


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(30000) %}{% for b in range(30) %}{% set c = range(900) | list | sort %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [range(1000) | list] %}{% endfor %}",
        "{% for i in range(1000) %}{{ 'x' * 3000000 }}{% endfor %}",
    ],
)
def test_a_bomb_ends_soon(tmp_path: Path, template: str) -> None:
    """Below two seconds of processor time, whoever ends it."""
    files = {name: text.encode() for name, text in sites.small(2).items()}
    source = _written(tmp_path, {**files, "services/web/templates/index.html.j2": template.encode()})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        answer = in_child("validate", {"source": source, "all_hosts": True}, Validated)
        assert any(problem.severity == "error" for problem in answer.problems)
    except errors.Terminal as error:
        assert error.reason == "LimitExceeded"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The limit on memory is tested with native code (test_walls). A machine slower than the one of docs/performance.md gets more, in proportion to what starting takes there.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4.0
