"""`ci review` and `ci summary` as a job runs them, against the GitLab stand-in."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.forge.gitlab_server import GitLab
from tests.forge.gitlab_state import MAINTAINER, User

from . import sites
from .conftest import Job
from .gitlab_markdown import acted_on

FORGED = "<!-- reconciler review of . -->"


@pytest.fixture
def variables(gitlab: GitLab, repository: sites.Repository, token: str) -> dict[str, str]:
    """The variables of a merge-request job on a branch that greets differently."""
    repository.commit(sites.small())
    repository.git("checkout", "--quiet", "-b", "change")
    repository.commit({**sites.small(), "groups/web.yml": "web_greeting: Bye\n"})
    project = gitlab.projects["cloud/site"]
    from tests.forge.gitlab_state import MergeRequest

    project.merge_requests.append(MergeRequest(1, "Say bye", "change", "main", gitlab.tokens[token]))
    return {
        "CI": "true",
        "CI_PROJECT_DIR": str(repository.root),
        "CI_PROJECT_PATH": "cloud/site",
        "CI_SERVER_URL": gitlab.url,
        "CI_API_V4_URL": f"{gitlab.url}/api/v4",
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": repository.commits[0],
        "CI_COMMIT_SHA": repository.commits[1],
        "RECONCILER_TOKEN": token,
    }


def notes(gitlab: GitLab) -> list[str]:
    return [note.body for note in gitlab.projects["cloud/site"].merge_requests[0].notes]


def again(repository: sites.Repository, variables: dict[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """The variables of the next pipeline, after a push of `files`."""
    return {**variables, "CI_COMMIT_SHA": repository.commit(files)}


def test_one_note_whatever_is_pushed(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job
) -> None:
    for number in range(5):
        files = {**sites.small(), "groups/web.yml": f"web_greeting: Bye {number}\n"}
        done = reconciler("ci", "review", cwd=repository.root, env=again(repository, variables, files))
        assert done.returncode == 0, done.stderr
        (note,) = notes(gitlab)
        assert note.startswith(f"{FORGED}\n### Plan for `small`: 3 of 3 hosts change")
        assert f"+Bye {number} from web1" in note
    assert gitlab.count("POST", "/notes") == 1
    before = gitlab.count("PUT", "/notes")
    reconciler("ci", "review", cwd=repository.root, env={**variables, "CI_COMMIT_SHA": repository.commits[-1]})
    assert gitlab.count("PUT", "/notes") == before  # the same text is not written again


def test_one_note_of_two_pipelines_at_once(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job
) -> None:
    other = again(repository, variables, {**sites.small(), "groups/web.yml": "web_greeting: Hi\n"})
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(reconciler, "ci", "review", cwd=repository.root, env=env) for env in (variables, other)]
    assert [job.result().returncode for job in jobs] == [0, 0]
    assert len(notes(gitlab)) == 1


def test_one_note_per_site_of_a_repository(
    gitlab: GitLab, variables: dict[str, str], reconciler: Job, repository: sites.Repository
) -> None:
    repository.git("checkout", "--quiet", "main")
    two = {f"{site}/{name}": text for site in ("east", "west") for name, text in sites.small().items()}
    base = repository.commit(two)
    head = repository.commit({**two, "west/groups/web.yml": "web_greeting: Bye\n"})
    env = {**variables, "CI_MERGE_REQUEST_DIFF_BASE_SHA": base, "CI_COMMIT_SHA": head}
    for site in ("east", "west", "east"):
        done = reconciler("ci", "review", "--site", site, cwd=repository.root, env=env)
        assert done.returncode == 0, done.stderr
    east, west = sorted(notes(gitlab))
    assert "no host changes" in east
    assert "3 of 3 hosts change" in west


def test_problems_fail_the_job_and_are_in_every_report(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job, tmp_path: Path
) -> None:
    env = again(repository, variables, {**sites.small(), "hosts/web1.yml": "# a comment\nweb_greetin: Bye\n"})
    files = {name: tmp_path / "out" / name for name in ("plan.html", "plan.json", "junit.xml", "quality.json")}
    words = [f"--{o}={f}" for o, f in zip(("html", "json", "junit", "codequality"), files.values(), strict=True)]
    done = reconciler("ci", "review", *words, cwd=repository.root, env=env)
    assert done.returncode == 1
    assert "hosts/web1.yml:2:1: " in done.stderr
    (note,) = notes(gitlab)
    assert "not valid: 1 problem" in note
    assert "hosts/web1.yml:2:1: " in note
    suite = ElementTree.parse(files["junit.xml"]).getroot()
    assert suite.get("failures") == "1"
    (row,) = json.loads(files["quality.json"].read_text())
    assert row["location"] == {"path": "hosts/web1.yml", "lines": {"begin": 2}}
    assert {"description", "check_name", "fingerprint", "severity"} < row.keys()
    assert json.loads(files["plan.json"].read_text())["valid"] is False
    assert "hosts/web1.yml" in files["plan.html"].read_text()
    # Corrected, the same note says so.
    done = reconciler("ci", "review", cwd=repository.root, env=again(repository, variables, sites.small()))
    assert done.returncode == 0
    (note,) = notes(gitlab)
    assert "no host changes" in note


def test_a_branch_that_has_links_where_reports_go_has_nothing_written_through_them(
    repository: sites.Repository, variables: dict[str, str], reconciler: Job, tmp_path: Path
) -> None:
    """The job writes them whatever the branch is, and one with links is not valid."""
    (tmp_path / "victim").write_text("#!/bin/sh\n")
    names = ("html", "json", "junit", "codequality")
    for name in names:
        (repository.root / name).symlink_to(tmp_path / "victim")
    env = {**variables, "CI_COMMIT_SHA": repository.commit()}
    words = [f"--{name}={name}" for name in names]
    done = reconciler("ci", "review", "--dry-run", *words, cwd=repository.root, env=env)
    assert done.returncode == 1 and "symbolic links are not followed" in done.stderr
    assert (tmp_path / "victim").read_text() == "#!/bin/sh\n"
    for name in names:
        assert not (repository.root / name).is_symlink() and (repository.root / name).stat().st_size > 2
    assert json.loads((repository.root / "json").read_text())["valid"] is False


def test_reports_of_a_valid_branch(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job, tmp_path: Path
) -> None:
    junit, quality = tmp_path / "junit.xml", tmp_path / "quality.json"
    words = ("--junit", str(junit), "--codequality", str(quality))
    assert reconciler("ci", "review", *words, cwd=repository.root, env=variables).returncode == 0
    assert ElementTree.parse(junit).getroot().get("failures") == "0"
    assert json.loads(quality.read_text()) == []


def test_dry_run_prints_the_note_and_talks_to_nobody(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job
) -> None:
    done = reconciler("ci", "review", "--dry-run", cwd=repository.root, env=variables)
    assert done.returncode == 0
    assert done.stdout.startswith("### Plan for `small`: 3 of 3 hosts change")
    assert gitlab.seen == []
    # The same before anything is committed or pushed, outside of CI.
    repository.write({**sites.small(), "groups/web.yml": "web_greeting: Soon\n"})
    done = reconciler("ci", "review", "--site", ".", "--base", "main", "--dry-run", cwd=repository.root)
    assert done.returncode == 0, done.stderr
    assert "+Soon from web1" in done.stdout
    assert "to `work tree`" in done.stdout


def test_without_a_token_the_note_is_printed(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job
) -> None:
    del variables["RECONCILER_TOKEN"]
    done = reconciler("ci", "review", cwd=repository.root, env=variables)
    assert done.returncode == 0
    assert "not posted: RECONCILER_TOKEN not set" in done.stderr
    assert done.stdout.startswith("### Plan for")
    assert gitlab.seen == []


def test_a_token_in_a_file(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(variables.pop("RECONCILER_TOKEN"))
    env = {**variables, "RECONCILER_TOKEN_FILE": str(file)}
    assert reconciler("ci", "review", cwd=repository.root, env=env).returncode == 0
    assert len(notes(gitlab)) == 1


def test_a_token_that_may_not_write_is_explained(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job, token: str
) -> None:
    gitlab.tokens[token] = User(1, "reconciler", MAINTAINER, frozenset({"read_api"}))
    done = reconciler("ci", "review", cwd=repository.root, env=variables)
    assert done.returncode == 1
    assert "ForgeForbidden" in done.stderr
    assert "Reporter" in done.stderr
    assert token not in done.stderr + done.stdout


def test_the_token_is_nowhere_in_a_childs_environment(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], token: str
) -> None:
    """Looks at every process below the job while it plans."""
    slow = {**sites.small(), "services/web/templates/index.html.j2": _SLOW}
    env = again(repository, variables, slow)
    command = [sys.executable, "-m", "reconciler", "ci", "review", "--host-limit=2"]
    job = subprocess.Popen(
        command, cwd=repository.root, env=sites.program_environment(**env), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seen: dict[int, bytes] = {}
    looked = False
    while job.poll() is None:
        for pid in children(job.pid):
            with contextlib.suppress(OSError):
                seen[pid] = Path(f"/proc/{pid}/environ").read_bytes()
        if seen and not looked:
            # While a branch is rendered, the process that will post does not hold the token either: a file without a name does.
            looked = True
            assert token.encode() not in Path(f"/proc/{job.pid}/environ").read_bytes()
            assert token.encode() not in memory(job.pid)
            assert b"PATH=" in memory(job.pid)
    assert seen
    assert all(b"PATH=" in found and token.encode() not in found for found in seen.values())


def memory(pid: int) -> bytes:
    """What a process can write to, as root sees it."""
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as whole:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if "rw" in line.split()[1] and end - start < 1 << 28:
                with contextlib.suppress(OSError):
                    whole.seek(start)
                    found += whole.read(end - start)
    return bytes(found)


def children(parent: int) -> list[int]:
    """Our own interpreters below a process that run already."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == parent and b"reconciler.system.run" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    "number, ignored",
    [(signal.SIGINT, ""), (signal.SIGTERM, ""), (signal.SIGTERM, "INT"), (signal.SIGKILL, "")],
)
def test_an_interrupted_job_leaves_nothing(
    repository: sites.Repository, tmp_path: Path, number: signal.Signals, ignored: str
) -> None:
    repository.commit({**sites.small(), "services/web/templates/index.html.j2": _SLOW})
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "reconciler", "ci", "review", "--base=nothing", "--dry-run", "--host-limit=60"]
    environment = sites.program_environment(TMPDIR=str(tmp_path / "tmp"), RECONCILER_TOKEN="not-a-token")
    job = subprocess.Popen(
        ["env", f"--ignore-signal={ignored}", *command] if ignored else command,
        cwd=repository.root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while not (below := children(job.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert below
    job.send_signal(number)
    assert job.wait(20) == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in below) and time.monotonic() < until:
        time.sleep(0.05)
    assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []
    assert list((tmp_path / "tmp").iterdir()) == []


_SLOW = "{% for a in range(30000) %}{% for b in range(30) %}{% set c = range(900) | list | sort %}{% endfor %}{% endfor %}{{ web_greeting }}\n"
# Within what one host's templates may take, and different on each; on many hosts it takes seconds.
_NEARLY_TOO_MUCH = "{{ inventory_hostname }}{% for a in range(300) %}{% set c = range(900) | list | sort %}{% endfor %}{{ web_greeting }}\n"


def test_a_shallow_clone_says_what_to_do(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", "--branch=change", repository.root.as_uri(), str(shallow))
    env = {**variables, "CI_PROJECT_DIR": str(shallow)}
    done = reconciler("ci", "review", cwd=shallow, env=env)
    assert done.returncode == 1
    assert "GIT_DEPTH" in done.stderr
    assert notes(gitlab) == []


def test_a_branch_cannot_take_over_another_sites_note(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job
) -> None:
    """Whatever name the branch gives itself, its note stays the one of its folder; what it writes stays code."""
    files = {
        **sites.small(),
        "reconciler.yml": "name: small\n",
        "groups/web.yml": 'web_greeting: "```\\n/close\\n@all <!-- reconciler review of east -->"\n',
    }
    done = reconciler("ci", "review", cwd=repository.root, env=again(repository, variables, files))
    assert done.returncode == 0, done.stderr
    (note,) = notes(gitlab)
    assert "/close" in note
    assert acted_on(note) == []
    assert gitlab.projects["cloud/site"].quick_actions == []


# --- summary --------------------------------------------------------------------------------------------------------


def test_summary_of_what_hosts_reported(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job, token: str, tmp_path: Path
) -> None:
    project, user = gitlab.projects["cloud/site"], gitlab.tokens[token]
    head = repository.commit(sites.small(5))

    def said(host: str, state: str, description: str) -> None:
        body = {"state": state, "name": f"reconciler/small/{host}", "ref": "change", "description": description}
        project.post_status(user, head, body)

    said("web1", "failed", "drift: web: image differs")
    said("web1", "success", "2 containers, healed")
    said("web2", "failed", "drift: web: image differs (drift mode is report)")
    said("web3", "failed", "web: did not become healthy")
    said("web4", "pending", "suspended: maintenance")
    env = {**variables, "CI_COMMIT_SHA": head}
    done = reconciler("ci", "summary", "--junit", str(tmp_path / "hosts.xml"), cwd=repository.root, env=env)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        f"small at {head[:12]}: 1 of 5 hosts converged",
        "  1 failed: web3",
        "    web3: web: did not become healthy",
        "  1 drifted: web2",
        "    web2: drift: web: image differs (drift mode is report)",
        "  1 at work, waiting or suspended: web4",
        "    web4: suspended: maintenance",
        "  1 no report for this commit yet: web5",
    ]
    suite = ElementTree.parse(tmp_path / "hosts.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("5", "2")
    assert gitlab.count("GET", "/statuses") == 1
    said("web2", "success", "healed")
    said("web3", "success", "healthy")
    well = reconciler("ci", "summary", "--json", cwd=repository.root, env=env)
    assert well.returncode == 0
    assert json.loads(well.stdout)["well"] is True


def test_planning_that_takes_too_long_is_said_in_the_note(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job, tmp_path: Path
) -> None:
    many = {**sites.small(hosts=200), "services/web/templates/index.html.j2": _NEARLY_TOO_MUCH}
    env = again(repository, variables, many)
    junit = tmp_path / "junit.xml"
    words = ("--time-limit=1", "--host-limit=60", f"--junit={junit}")
    done = reconciler("ci", "review", *words, cwd=repository.root, env=env)
    assert done.returncode == 1
    (note,) = notes(gitlab)
    assert "could not be planned" in note
    assert "DeadlineExceeded" in note
    assert ElementTree.parse(junit).getroot().get("failures") == "1"


def test_a_job_is_a_gate_as_far_as_its_token_reaches(
    gitlab: GitLab, repository: sites.Repository, variables: dict[str, str], reconciler: Job
) -> None:
    """By the rules of the target branch, which the branch does not change for itself, and which may be newer than the base."""
    project = gitlab.projects["cloud/site"]
    (request,) = project.merge_requests
    project.head(request)
    repository.git("checkout", "--quiet", "main")
    strict = repository.commit(
        {**sites.small(), "reconciler.yml": "name: small\nreview: {require: {data-plane: approval}}\n"}
    )
    repository.git("update-ref", "refs/remotes/origin/main", strict)
    repository.git("checkout", "--quiet", "change")
    variables = {**variables, "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    wanted = "an approval by somebody else than the author (data-plane)"
    done = reconciler("ci", "review", cwd=repository.root, env=variables)
    assert (done.returncode, f"needs {wanted}" in done.stderr) == (1, True), done.stderr
    assert "somebody must have seen it" in notes(gitlab)[0]
    rows = [(row.name, row.status) for row in project.rows]
    assert rows == [("reconciler/small/review", "failed")]
    ana = User(51, "ana")
    gitlab.people[51] = ana
    project.approve(request, ana)
    done = reconciler("ci", "review", cwd=repository.root, env=variables)
    assert done.returncode == 0, done.stderr
    assert [row.status for row in project.rows if not row.retried] == ["success"]
    # Pushed to since the job began: an approval of that is none of this.
    late = {**variables, "CI_COMMIT_SHA": repository.commits[1], "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "0" * 40}
    done = reconciler("ci", "review", cwd=repository.root, env=late)
    assert done.returncode == 1 and "this job at 000000000000" in done.stderr
    without = {name: value for name, value in variables.items() if name != "RECONCILER_TOKEN"}
    done = reconciler("ci", "review", cwd=repository.root, env=without)
    assert done.returncode == 0 and f"not checked by this job: {wanted}" in done.stderr
