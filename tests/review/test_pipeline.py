"""site-example's pipeline, run for real with gitlab-ci-local: a bare repository, a clone of it, the GitLab stand-in."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conftest import _unavailable
from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import MergeRequest
from tests.support import wheel as wheels
from tests.support.paths import CHECKOUT

from . import ci_local, sites
from .gitlab_markdown import acted_on


@dataclass
class Pipeline:
    """A clone on the branch `change`, whose origin is the project's bare repository."""

    gitlab: GitLab
    work: sites.Repository
    base: str
    variables: dict[str, str]
    path: str

    def run(self, job: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return ci_local.run(self.work.root, job, {**self.variables, **variables}, self.path)

    def push(self, more: str = "") -> str:
        """Commit the example site with `more` in its globals.yml, and push it."""
        site = sites.example()
        globals_yml = site["globals.yml"]
        assert isinstance(globals_yml, bytes)
        commit = self.work.commit({**site, "globals.yml": globals_yml + more.encode()})
        self.work.git("push", "--quiet", "--force", "origin", "HEAD")
        return commit

    @property
    def notes(self) -> list[str]:
        return [note.body for note in self.gitlab.projects["cloud/site"].merge_requests[0].notes]


@pytest.fixture
def pipeline(tmp_path: Path, token: str) -> Iterator[Pipeline]:
    try:
        ci_local.program()
    except ci_local.Missing as error:
        _unavailable(str(error))
    seed = sites.Repository(tmp_path / "seed")
    base = seed.commit(sites.example())
    bare = tmp_path / "site.git"
    seed.git("clone", "--quiet", "--bare", str(seed.root), str(bare))
    work = sites.Repository(tmp_path / "work")
    work.git("remote", "add", "origin", bare.as_uri())
    work.git("fetch", "--quiet", "origin", "main")
    work.git("checkout", "--quiet", "-b", "change", "origin/main")
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "reconciler"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m reconciler "$@"\n')
    program.chmod(0o755)
    server = GitLab()
    project = server.add_project("cloud/site", bare)
    user = server.add_user("reconciler", token)
    with server:
        project.merge_requests.append(MergeRequest(1, "A change", "change", "main", user))
        variables = {
            "CI_PROJECT_PATH": "cloud/site",
            "CI_SERVER_URL": server.url,
            "CI_API_V4_URL": f"{server.url}/api/v4",
            "CI_DEFAULT_BRANCH": "main",
            "RECONCILER_TOKEN": token,
        }
        yield Pipeline(server, work, base, variables, f"{programs}:{os.environ['PATH']}")
    assert server.violations == []


def merge_request(pipeline: Pipeline) -> dict[str, str]:
    return {
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": pipeline.base,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }


def test_a_merge_request_is_reviewed(pipeline: Pipeline) -> None:
    pipeline.push("status_page_port: 8091\n")
    done = pipeline.run("review", **merge_request(pipeline))
    assert done.returncode == 0, done.stdout + done.stderr
    (note,) = pipeline.notes
    assert "1 of 1 host changes" in note
    assert "status_page" in note
    assert acted_on(note) == []
    work = pipeline.work.root
    assert json.loads((work / "plan.json").read_text())["valid"] is True
    assert "<title>example: 1 of 1 host changes" in (work / "plan.html").read_text()
    # Another push that breaks it: the same note, a failed job, the reports.
    pipeline.push("status_page_prt: 8091\n")
    done = pipeline.run("review", **merge_request(pipeline))
    assert done.returncode != 0
    (note,) = pipeline.notes
    assert "not valid: 1 problem" in note
    assert pipeline.variables["RECONCILER_TOKEN"] not in done.stdout + done.stderr


def test_a_push_is_validated_and_a_schedule_sums_up(pipeline: Pipeline, token: str) -> None:
    head = pipeline.push()
    done = pipeline.run("validate", CI_PIPELINE_SOURCE="push", CI_COMMIT_BRANCH="change")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((pipeline.work.root / ".reports/codequality.json").read_text()) == []
    project = pipeline.gitlab.projects["cloud/site"]
    body = {"state": "failed", "name": "reconciler/example/ctl1", "ref": "change", "description": "drift: cron: image"}
    project.post_status(pipeline.gitlab.tokens[token], head, body)
    done = pipeline.run("drift", CI_PIPELINE_SOURCE="schedule", CI_COMMIT_BRANCH="main")
    assert done.returncode != 0
    assert "1 drifted: ctl1" in done.stdout
    assert pipeline.notes == []


# --- the program that the job runs ----------------------------------------------------------------------------------

# What a branch may commit, hoping that the job's Python finds it first.
PLANTED = dict.fromkeys(
    ("pip.py", "venv.py", "zipfile.py", "reconciler.py"), "open('planted', 'w'); raise SystemExit(0)\n"
)
UNSET = "set the CI variables RECONCILER_WHEEL and RECONCILER_WHEEL_SHA256"


@pytest.fixture
def path_without_program() -> str:
    """A PATH as an image has it that brings a Python and not the program."""
    path = f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin"
    assert shutil.which("reconciler", path=path) is None
    return path


@pytest.mark.parametrize(
    ("wheel", "checksum", "said"),
    [
        ("{wheel}", "", UNSET),
        ("", "{sha256}", UNSET),
        ("{wheel}", "0" * 64, "DO NOT MATCH THE HASHES"),
        ("reconciler", "{sha256}", "must have their versions pinned"),
        ("http://127.0.0.1:9/kolla_reconciler-0.1.0-py3-none-any.whl", "0" * 64, "Connection refused"),
    ],
)
def test_nothing_is_installed_but_what_the_site_chose(
    tmp_path: Path, path_without_program: str, wheel: str, checksum: str, said: str
) -> None:
    """The job's own lines, in a work tree that a stranger wrote, beside an index that has a stranger's package."""
    lines = yaml.safe_load((CHECKOUT / "site-example/ci/reconciler.gitlab-ci.yml").read_text())[".reconciler"]
    work = tmp_path / "work"
    work.mkdir()
    for name, text in PLANTED.items():
        (work / name).write_text(text)
    stranger = tmp_path / "index/reconciler-0.2.2-py3-none-any.whl"
    stranger.parent.mkdir()
    stranger.write_bytes(b"a wheel of somebody else's")
    digest = hashlib.sha256(stranger.read_bytes()).hexdigest()
    env = {
        "PATH": path_without_program,
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "CI_JOB_ID": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(stranger.parent),
        "PIP_RETRIES": "0",
        "RECONCILER_WHEEL": wheel.format(wheel=stranger),
        "RECONCILER_WHEEL_SHA256": checksum.format(sha256=digest),
    }
    script = "\n".join([*lines["before_script"], "touch installed"])
    done = subprocess.run(["sh", "-c", script], cwd=work, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert sorted(path.name for path in work.iterdir()) == sorted(PLANTED)


def test_a_job_without_a_program_fails(pipeline: Pipeline, tmp_path: Path, path_without_program: str) -> None:
    pipeline.path = path_without_program
    pipeline.push()
    done = pipeline.run("validate", CI_PIPELINE_SOURCE="push", CI_COMMIT_BRANCH="change")
    assert done.returncode != 0
    assert UNSET in done.stdout
    assert "the site is valid" not in done.stdout


def test_a_job_installs_the_wheel_that_the_site_chose(
    pipeline: Pipeline, tmp_path: Path, path_without_program: str
) -> None:
    wheel = wheels.build(tmp_path)
    (tmp_path / "jobs").mkdir()
    pipeline.work.commit({**sites.example(), **PLANTED, f"ci/{wheel.name}": wheel.read_bytes()})
    variables = {
        **pipeline.variables,
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_BRANCH": "change",
        "RECONCILER_WHEEL": f"ci/{wheel.name}",
        "RECONCILER_WHEEL_SHA256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
    }
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.dependencies()), "TMPDIR": str(tmp_path / "jobs")}
    done = ci_local.run(pipeline.work.root, "validate", variables, path_without_program, seconds=180, **index)
    assert not (pipeline.work.root / "planted").exists()
    # The real program ran, and what does not belong in a site is all that it found.
    assert "4 problems in 4 files" in done.stdout, done.stdout
    assert "pip.py" in done.stdout
    assert list((tmp_path / "jobs").iterdir()) == []


def test_the_pipeline_is_valid_gitlab_ci() -> None:
    """Against GitLab's own schema of .gitlab-ci.yml, as check-jsonschema brings it."""
    program = shutil.which("check-jsonschema", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        _unavailable("check-jsonschema is missing: run `make venv`")
    files = [CHECKOUT / "site-example/.gitlab-ci.yml", *(CHECKOUT / "site-example/ci").glob("*.gitlab-ci.yml")]
    words = [str(program), "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
