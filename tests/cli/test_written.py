"""Files that an option asks for, in a work tree whose content a stranger chose."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from reconciler import errors
from reconciler.cli import images, written
from reconciler.site.kolla_build import Build
from tests.cli.conftest import SITE, write
from tests.support.paths import CHECKOUT

Cli = Callable[..., Result]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work tree, in which the test runs, and beside it `theirs` with a file `victim`."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/victim").write_text("#!/bin/sh\n")
    made = tmp_path / "work"
    (made / ".git").mkdir(parents=True)
    monkeypatch.chdir(made)
    return made


def untouched(work: Path) -> bool:
    theirs = work.parent / "theirs"
    return [path.name for path in theirs.iterdir()] == ["victim"] and (theirs / "victim").read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize("target", ["../theirs/victim", "../theirs/new", "victim", "plan.json"])
@pytest.mark.parametrize("by", ["name", "path", "below", "without git"])
def test_a_link_that_a_branch_has_in_the_place_of_a_file_is_replaced(work: Path, target: str, by: str) -> None:
    (work / "victim").write_text("the branch's")
    folder = work / "a/b" if by == "below" else work
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").symlink_to(os.path.relpath(work / target, folder))
    if by == "without git":
        (work / ".git").rmdir()
    written.write({"path": work / "plan.json", "below": Path("a/b/plan.json")}.get(by, Path("plan.json")), "{}")
    found = (folder / "plan.json").lstat()
    assert stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o644
    assert (folder / "plan.json").read_text() == "{}" and (work / "victim").read_text() == "the branch's"
    assert untouched(work) and not list(folder.glob(".*.reconciler-new"))


@pytest.mark.parametrize("target", ["../theirs", "/proc/self/cwd/../theirs", "real", "nowhere"])
@pytest.mark.parametrize("name", ["out/plan.html", "out/more/plan.html", "./real/../out/plan.html"])
def test_nothing_is_written_below_a_folder_that_is_a_link(work: Path, target: str, name: str) -> None:
    (work / "real").mkdir()
    (work / "out").symlink_to(target)
    (work.parent / "theirs/.git").touch()  # a work tree as well: the outermost counts
    for path in (Path(name), work / name):
        with pytest.raises(errors.Terminal) as caught:
            written.write(path, "x")
        assert caught.value.reason == "FileUnsafe" and str(work) in str(caught.value)
    (work.parent / "theirs/.git").unlink()
    assert untouched(work) and not list((work / "real").iterdir()) and not (work / "nowhere").exists()


def test_a_path_elsewhere_is_the_callers_own_word(work: Path, tmp_path: Path) -> None:
    """A link of theirs, a device, a pipe."""
    (tmp_path / "link").symlink_to("theirs/victim")
    written.write(tmp_path / "link", "new")
    assert (tmp_path / "theirs/victim").read_text() == "new" and (tmp_path / "link").is_symlink()
    (tmp_path / "linked").symlink_to("theirs")
    written.write(tmp_path / "linked/more/plan.json", b"{}")
    assert (tmp_path / "theirs/more/plan.json").read_bytes() == b"{}"
    written.write(Path("/dev/null"), "gone")
    os.chdir("/")
    written.write(Path("dev/null"), "gone")
    assert stat.S_ISCHR(Path("/dev/null").lstat().st_mode)


def test_a_file_is_made_with_its_folders_and_replaced_whole(work: Path) -> None:
    written.write(Path("out/more/plan.json"), "one")
    before = (work / "out/more/plan.json").stat()
    (work / "out").chmod(0o700)
    written.write(Path("out/more/plan.json"), "\udcff two")
    after = (work / "out/more/plan.json").stat()
    assert after.st_ino != before.st_ino and (work / "out/more/plan.json").read_text() == "? two"
    assert stat.S_IMODE((work / "out").stat().st_mode) == 0o700
    with pytest.raises(errors.Terminal) as caught:
        written.write(Path("out/more/plan.json/x"), "three")
    assert caught.value.reason == "FileUnwritable"


@pytest.mark.parametrize(
    "words",
    [
        "render SITE --host web1 --out OUT", "render SITE --host web1 --force --out OUT", "desired SITE --out OUT", "schema --out OUT", "schema --docs OUT/page.md",
        "services --docs OUT", "init OUT", "facts --into OUT", "ci review --site SITE --dry-run --base nothing --html OUT/plan.html",
    ],
)  # fmt: skip
@pytest.mark.parametrize("out", ["out", "out/below"])
def test_no_verb_writes_below_a_link_of_a_branch(cli: Cli, work: Path, tmp_path: Path, words: str, out: str) -> None:
    site = write(tmp_path / "site", SITE)
    (work / "out").symlink_to("../theirs")
    done = cli(*words.replace("SITE", str(site)).replace("OUT", out).split())
    assert done.exit_code != 0 and "FileUnsafe" in done.output, done.output
    assert untouched(work)
    (work / "out").unlink()
    done = cli(*words.replace("SITE", str(site)).replace("OUT", out).split())
    assert "FileUnsafe" not in done.output and ("init" in words or list((work / out).iterdir())), done.output


def test_a_build_of_images_writes_through_no_link(work: Path, tmp_path: Path) -> None:
    """Neither this program nor the one that it starts, which writes a log for each image."""
    program = tmp_path / "kolla-build"
    program.write_text("#!/bin/sh\necho built > .kolla-build/logs/cron.log\n")
    program.chmod(0o755)
    found = Build("registry", "site", "1", {"cron": ()}, conf="[DEFAULT]\n", override="{# #}")
    folder = Path(".kolla-build")
    (work / folder / "logs").mkdir(parents=True)
    names = ("template-override.j2", "kolla-build.conf", "logs/kolla-build.log", "logs/cron.log")
    for name in names:
        (work / folder / name).symlink_to(tmp_path / "theirs/victim")
    images._build(found, str(program), None, folder, ())
    assert untouched(work) and not any((work / folder / name).is_symlink() for name in names)
    assert (work / folder / "logs/cron.log").read_text() == "built\n"
    for linked in (folder / "logs", folder):
        shutil.rmtree(work / linked)
        (work / linked).symlink_to(tmp_path / "theirs")
        with pytest.raises(errors.Terminal) as caught:
            images._build(found, str(program), None, folder, ())
        assert caught.value.reason == "FileUnsafe" and untouched(work)
        (work / linked).unlink()
        (work / linked).mkdir()


def test_the_lines_of_the_shipped_job_write_through_no_link(work: Path, tmp_path: Path) -> None:
    """What the shell redirects is a new file in a new folder."""
    lines = yaml.safe_load((CHECKOUT / "site-example/ci/reconciler.gitlab-ci.yml").read_text())["validate"]["script"]
    program = tmp_path / "bin/reconciler"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '[]'\n")
    program.chmod(0o755)
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "RECONCILER_SITE": "."}
    for make in (
        lambda: (work / ".reports").symlink_to("../theirs"),
        lambda: ((work / ".reports").mkdir(), (work / ".reports/codequality.json").symlink_to("../../theirs/victim")),
        lambda: (work / ".reports").touch(),
    ):
        make()
        subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=work, env=env, check=True, capture_output=True)
        assert untouched(work) and (work / ".reports/codequality.json").read_text() == "[]\n"
        subprocess.run(["rm", "-rf", work / ".reports"], check=True)
