"""Sites that a stranger wrote to do harm: each ends with a clear error within the limits and leaves nothing behind.

A file of hostile/ is a change of the small site: `expect:` and a pattern that one error must match, then the files that
differ, each after a line `=== path`.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.review import Review, ci, note
from reconciler.source import prepare
from tests.git import servers

from . import sites
from .gitlab_markdown import acted_on

CASES = sorted(Path(__file__).with_name("hostile").glob("*.site"))
LIMITS = ci.Limits(seconds=60, load_seconds=2, host_seconds=1)


def read(case: Path) -> tuple[str, dict[str, str]]:
    """The expected pattern and the files."""
    head, *parts = re.split(r"^=== (.+)\n", case.read_text(), flags=re.MULTILINE)
    return head.removeprefix("expect: ").strip(), dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module", autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No temporary file outlives the reviews; the session's own check looks for processes."""
    place = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(place))
        yield
        assert list(place.iterdir()) == []


def reviewed(repository: sites.Repository, base: str | None, head: str, limits: ci.Limits = LIMITS) -> Review:
    """The review, errors of planning in `failure` as `ci review` puts them there."""
    before = ci.Source(repository.root, base) if base else None
    try:
        return ci.review(before, ci.Source(repository.root, head), limits=limits)
    except errors.SiteInvalid as error:
        return Review(site="small", base="", head="", problems=error.problems)
    except errors.Terminal as error:
        assert error.reason == "LimitExceeded", error
        return Review(site="small", base="", head="", failure=f"{error} [{error.reason}]")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[tuple[Review, float]]]]:
    """Every case's review and how many seconds it took; two at a time, in the order of the tests."""
    repository = sites.Repository(tmp_path_factory.mktemp("hostile") / "repository")

    def work(base: str, head: str) -> tuple[Review, float]:
        started = time.monotonic()
        return reviewed(repository, base, head), time.monotonic() - started

    with ThreadPoolExecutor(2) as pool:
        found = {}
        for case in CASES:
            _, files = read(case)
            base = repository.commit({**sites.small(2), **_calm(case.stem, files)})
            found[case.stem] = pool.submit(work, base, repository.commit({**sites.small(2), **files}))
        yield found
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_hostile_site_ends_with_a_clear_error(case: Path, results: dict[str, Future[tuple[Review, float]]]) -> None:
    expected, _ = read(case)
    found, seconds = results[case.stem].result()
    assert seconds < 90
    assert not found.valid
    said = "\n".join([found.failure, *map(str, found.problems)])
    assert re.search(expected, said), said[:2000]
    assert "Traceback" not in said and "No module named" not in said
    assert max(map(len, said.splitlines())) < 2000
    assert acted_on(note(found)) == []


def test_a_base_that_takes_too_long_is_not_the_branchs_fault(repository: sites.Repository) -> None:
    """And neither is the time of a branch put on its base: each has its own."""
    lines = "{% for n in range(60000) %}{{ n % 149 }} {{ n % 151 }} {{ n % 157 }}\n{% endfor %}"
    slow = {"services/web/templates/index.html.j2": lines}
    base, head = repository.commit({**sites.small(2), **slow}), repository.commit(sites.small(2))
    short = replace(LIMITS, host_seconds=0.1)
    mended, broken = reviewed(repository, base, head, short), reviewed(repository, head, base, short)
    assert mended.valid
    assert any("processor time for the host web1" in problem.message for problem in mended.base_problems)
    assert not broken.valid
    assert broken.base_problems == ()


def _calm(name: str, files: dict[str, str]) -> dict[str, str]:
    """What is in the base so that the change itself is the attack."""
    if name == "cpu-diff-of-large-texts":
        return {**files, "groups/web.yml": "web_greeting: Bye\n"}
    return {}


# --- trees that git itself would not make ---------------------------------------------------------------------------


def tree(repository: sites.Repository, *entries: tuple[bytes, bytes, str]) -> str:
    """A commit whose top directory has the small site's entries and these: mode, name, object."""
    git = repository.root / ".git"
    base = repository.commit(sites.small(2))
    rows = [line.split(None, 3) for line in repository.git("ls-tree", base).splitlines()]
    every = [(mode.lstrip("0").encode(), name.encode(), oid) for mode, _, oid, name in rows]
    every = [entry for entry in every if entry[1] not in {new[1] for new in entries}] + list(entries)
    every.sort(key=lambda entry: entry[1] + (b"/" if entry[0] == b"40000" else b""))
    data = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in every)
    top = servers.raw_object(git, "tree", data)
    return repository.git("commit-tree", top, "-p", base, "-m", "hostile")


def blob(repository: sites.Repository, data: bytes) -> str:
    return servers.raw_object(repository.root / ".git", "blob", data)


@pytest.mark.parametrize(
    ("mode", "name", "said"),
    [
        (b"120000", b"globals.yml", "symbolic links are not followed"),
        (b"160000", b"services-of-others", "submodules are not allowed"),
        (b"100644", b"..", "is not a name"),
        (b"100644", b".git", "git's own directory"),
        (b"100644", b"a/b", "slash"),
        (b"100644", b"x\n@all", "cannot be seen"),
        (b"100644", b"\xff\xfe", "not UTF-8"),
        (b"100664x", b"strange", "mode"),
    ],
)
def test_hostile_tree_is_refused(mode: bytes, name: bytes, said: str, repository: sites.Repository) -> None:
    head = tree(repository, (mode, name, blob(repository, b"/etc/shadow")))
    found = reviewed(repository, None, head)
    assert not found.valid
    assert any(said in problem.message for problem in found.problems), found.problems
    assert acted_on(note(found)) == []


def test_a_site_of_too_many_files_is_refused(repository: sites.Repository) -> None:
    git = repository.root / ".git"
    one = bytes.fromhex(blob(repository, b"a: 1\n"))
    many = servers.raw_object(git, "tree", b"".join(b"100644 %06d.yml\0" % n + one for n in range(30_000)))
    found = reviewed(repository, None, tree(repository, (b"40000", b"config", many)))
    assert any("more than 20000 files" in problem.message for problem in found.problems)


def test_a_tree_that_holds_itself_many_times_over_is_refused(repository: sites.Repository) -> None:
    """Ten directories of ten directories of ten …: 10^9 files out of eleven objects."""
    git = repository.root / ".git"
    kind, oid = b"100644", blob(repository, b"x\n")
    for _ in range(9):
        rows = b"".join(kind + b" f%d\0" % n + bytes.fromhex(oid) for n in range(10))
        oid, kind = servers.raw_object(git, "tree", rows), b"40000"
    found = reviewed(repository, None, tree(repository, (b"40000", b"config", oid)))
    assert any("more than 20000 files" in problem.message for problem in found.problems)


def test_a_file_that_is_too_large_is_refused(repository: sites.Repository) -> None:
    found = reviewed(
        repository, None, tree(repository, (b"100644", b"globals.yml", blob(repository, b"#" * (5 << 20))))
    )
    assert any("are the limit" in problem.message for problem in found.problems)


def test_names_that_would_inject_into_the_note(repository: sites.Repository) -> None:
    """A valid site may have ugly names wherever the grammar takes free text; they stay code."""
    ugly = '"```\\n/close\\n@all ~bug #1 <img src=x onerror=alert(1)> </details>"'
    base = repository.commit(sites.small(2))
    head = repository.commit(
        {**sites.small(2), "groups/web.yml": f"web_greeting: {ugly}\n", "README.md": "@all\n/close\n"}
    )
    found = reviewed(repository, base, head)
    assert found.valid, found.problems
    text = note(found)
    assert "@all ~bug" in text
    assert acted_on(text) == []


def test_the_catalogue_of_hostile_sites_is_itself_sound(repository: sites.Repository) -> None:
    """Without the hostile part the small site is valid: what the cases report is their own doing."""
    assert prepare.load({name: text.encode() for name, text in sites.small(2).items()}).hosts
    assert len(CASES) >= 30
