"""The image for CI jobs and reporters: what is in it, that the same source gives the same bytes, and that it does what it is for."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import pytest
import yaml

from tests.conftest import LABEL, PREFIX
from tests.packaging import deb, image
from tests.review import sites
from tests.support import packages, wheel
from tests.support.paths import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.engine]

_NOBODY = {
    "user": f"{image.NOBODY}:{image.NOBODY}",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "mode=1777"},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> image.Image:
    return image.build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def loaded(built: image.Image, engine_url: str) -> Iterator[str]:
    """Its id in the engine."""
    client = docker.DockerClient(base_url=engine_url, timeout=300)
    before = {found.id for found in client.images.list(built.name)}
    with built.archive.open("rb") as stream:
        (found,) = client.images.load(stream)
    assert found.tags == [built.name]
    yield found.id
    if found.id and found.id not in before:
        client.images.remove(found.id, force=True)
    client.close()


def _run(image_id: str, engine_url: str, script: str, *, volumes: Mapping[Path, str], **options: object) -> str:
    """What a script prints in a container without a network; AssertionError with it when it fails."""
    client = docker.DockerClient(base_url=engine_url, timeout=300)
    container = client.containers.create(
        image_id,
        ["sh", "-ec", script],
        name=f"{PREFIX}image-{os.getpid()}",
        network_mode="none",
        labels={LABEL: "1"},
        volumes={str(path): {"bind": place, "mode": "rw"} for path, place in volumes.items()},
        **options,  # type: ignore[arg-type]
    )
    try:
        container.start()
        done = container.wait()
        text = str(container.logs().decode())
        assert done["StatusCode"] == 0, text
        return text
    finally:
        container.remove(force=True)
        client.close()


def test_the_same_source_gives_the_same_bytes(built: image.Image, tmp_path: Path) -> None:
    again = image.build(tmp_path)
    assert again.digest == built.digest
    assert again.archive.read_bytes() == built.archive.read_bytes()
    assert again.bill.read_bytes() == built.bill.read_bytes()


def test_another_tool_reads_it(built: image.Image, tmp_path: Path) -> None:
    """skopeo checks every digest on the way; what a registry would get has the digest that we say."""
    packages.install(["skopeo"])
    words = ["skopeo", "--insecure-policy", "copy", "--quiet", f"oci-archive:{built.archive}", f"dir:{tmp_path}/copy"]
    subprocess.run(words, check=True)
    assert image._digest((tmp_path / "copy/manifest.json").read_bytes()) == built.digest
    words = ["skopeo", "inspect", "--config", f"docker-archive:{built.archive}"]
    found = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert found["config"]["Labels"]["org.opencontainers.image.title"] == deb.NAME


def test_what_is_inside(built: image.Image, tmp_path: Path) -> None:
    with tarfile.open(built.archive) as archive:
        archive.extractall(tmp_path, filter="data")
    (listed,) = json.loads((tmp_path / "manifest.json").read_text())
    members: dict[str, tarfile.TarInfo] = {}
    for layer in listed["Layers"]:
        with tarfile.open(tmp_path / layer) as content:
            members |= {member.name: member for member in content.getmembers()}
    python = deb.RELEASES[image.SUITE].python
    site = f"{deb.HOME}/lib/python{python}/site-packages"
    for name in ("usr/bin/reconciler", f"{site}/reconciler/_data/services/keystone/service.yml", "etc/ssl/certs/ca-certificates.crt"):  # fmt: skip
        assert name in members, name
    assert f"{site}/reconciler/cli/__pycache__/main.cpython-{python.replace('.', '')}.pyc" in members
    assert not [name for name in members if name.startswith(("etc/apt", "var/lib/apt"))], "where its packages came from"
    open_to_all = [m.name for m in members.values() if not m.issym() and m.mode & 0o002 and not m.mode & 0o1000]
    assert open_to_all == []
    assert not [m.name for m in members.values() if m.isreg() and _below_home(m.name) and (m.uid or m.gid)]


def _below_home(name: str) -> bool:
    return name.startswith(f"{deb.HOME}/")


def test_the_bill_has_every_package_and_every_name_of_the_lock(
    built: image.Image, loaded: str, engine_url: str
) -> None:
    named = {(part["name"].lower(), part.get("version")) for part in json.loads(built.bill.read_text())["components"]}
    listed = "dpkg-query -W -f '${Package} ${Version}\\n'"
    there = [tuple(row.split()) for row in _run(loaded, engine_url, listed, volumes={}).splitlines()]
    assert len(there) > 60
    assert [row for row in there if row not in named] == []
    locked = [line.split()[0].split("==") for line in wheel.LOCK.read_text().splitlines() if "==" in line and line[0] not in " #"]  # fmt: skip
    assert [row for row in locked if (row[0].lower(), row[1]) not in named] == []


def test_every_library_is_there(loaded: str, engine_url: str) -> None:
    """An import fails where one is not, and some are only imported when a regular expression or a signature comes up."""
    found = _run(loaded, engine_url, f"find /{deb.HOME} -name '*.so*' -exec ldd {{}} + 2>&1", volumes={})
    assert "libc.so.6" in found
    assert [line for line in found.splitlines() if "not found" in line] == []


@pytest.mark.parametrize("who", [{}, _NOBODY], ids=["root", "nobody"])
def test_a_job_of_the_pipeline_runs_in_it(loaded: str, engine_url: str, tmp_path: Path, who: dict[str, object]) -> None:
    """The template's own lines, with no network: it brings the program, so nothing is installed; and the review of a change."""
    jobs = yaml.safe_load((CHECKOUT / "site-example/ci/reconciler.gitlab-ci.yml").read_text())
    work = sites.Repository(tmp_path / "work")
    base = work.commit(sites.example())
    head = work.commit({**sites.example(), "globals.yml": _changed(work.root / "globals.yml")})
    for folder, _, names in os.walk(work.root):
        os.chmod(folder, 0o777)  # as a runner gives it to a job of whatever user
        for name in names:
            os.chmod(Path(folder, name), 0o666)
    environment = {
        "RECONCILER_SITE": ".",
        "CI_JOB_ID": "1",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_COMMIT_SHA": head,
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "HOME": "/tmp",
    }
    lines = [*jobs[".reconciler"]["before_script"], *jobs["validate"]["script"], *jobs["review"]["script"]]
    said = _run(loaded, engine_url, "\n".join(lines), volumes={work.root: "/work"}, working_dir="/work", environment=environment, **who)  # fmt: skip
    assert "the site is valid" in said
    plan = json.loads((work.root / "plan.json").read_text())
    assert plan["valid"] is True and (plan["base"], plan["head"]) == (base[:12], head[:12]), plan
    assert "status_page" in (work.root / "plan.html").read_text()
    shutil.rmtree(work.root)


def test_a_reporter_runs_in_it(
    loaded: str, engine_url: str, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """As nobody, on a fresh volume; it needs no more than docs/review.md says. No host answers here."""
    work = sites.Repository(tmp_path / "work")
    work.commit(sites.example())
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "reporter.toml").write_text('[git]\nurl = "file:///work/.git"\n\n[reporter]\nlisten = ""\n')
    for folder in (tmp_path, settings, work.root):
        folder.chmod(0o755)
    volume = docker_client.volumes.create(f"{PREFIX}reporter-{os.getpid()}", labels={LABEL: "1"})
    try:
        script = "reconciler reporter --config /settings/reporter.toml --once || test $? = 1"
        places = {work.root: "/work", settings: "/settings", Path(volume.name): "/var/lib/reconciler-reporter"}
        said = _run(loaded, engine_url, script, volumes=places, **_NOBODY)
    finally:
        volume.remove(force=True)
    assert "0/1 converged, 1 unknown" in said


def _changed(path: Path) -> str:
    return f"{path.read_text()}status_page_port: 8091\n"
