"""Images that a site builds itself: the job of site-example/ci/images.gitlab-ci.yml with the genuine kolla-build, a registry and a repository."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import yaml
from click.testing import CliRunner

from reconciler.cli.main import program
from tests.images import build, kolla
from tests.review import ci_local, sites
from tests.support import registry as registries
from tests.support.paths import CHECKOUT

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]

TAG = "2025.1-site"
PACKAGE = "tree"


@pytest.fixture
def registry(engine_url: str, tmp_path: Path) -> Iterator[registries.Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    found = registries.start(engine_url, folder)
    yield found
    found.stop()


def site(registry: registries.Registry, repos: Path) -> dict[str, str | bytes]:
    """The example site, which builds cron with one package more on the base that is there."""
    override = (Path(kolla.__file__).parent / "override.j2").read_text().removeprefix("{% extends parent_template %}\n")
    built = {
        "registry": registry.address,
        "namespace": "site",
        "tag": TAG,
        "images": ["cron"],
        "packages": {"cron_packages_append": [PACKAGE]},
        "template": override,
        "conf": {
            "DEFAULT": {
                "base": "debian",
                "base_image": kolla.BASE_IMAGE,
                "base_tag": kolla.FIRST.debian,
                "openstack_release": kolla.FIRST.name,
                "pull": False,
                "network_mode": "host",
                "retries": 1,
                "repos_yaml": str(repos),
            }
        },
    }
    files = sites.example()
    included = "include:\n  - local: ci/reconciler.gitlab-ci.yml\n"
    pipeline = files[".gitlab-ci.yml"]
    assert isinstance(pipeline, bytes)
    assert included.encode() in pipeline
    return {
        **files,
        ".gitlab-ci.yml": pipeline.replace(
            included.encode(), f"{included}  - local: ci/images.gitlab-ci.yml\n".encode()
        ),
        "kolla_build.yml": yaml.safe_dump(built),
    }


def test_the_job_builds_pushes_and_opens_a_branch_that_pins(
    tmp_path: Path,
    engine_url: str,
    docker_client: docker.DockerClient,
    kolla_images: dict[str, str],
    registry: registries.Registry,
) -> None:
    base = kolla.default_target().name("base")
    if not build.present(docker_client, base):
        pytest.skip(f"needs the image {base} (`make images`)")
    folder = tmp_path / "kolla"
    folder.mkdir()
    repos = folder / "repos.yaml"
    repos.write_text(yaml.safe_dump({"debian": {}}))
    work = sites.Repository(tmp_path / "work")
    files = site(registry, repos)
    work.commit({name: text for name, text in files.items() if name != "kolla_build.yml"})
    bare = tmp_path / "site.git"
    work.git("clone", "--quiet", "--bare", str(work.root), str(bare))
    # As GitLab takes them: they ask for the merge request.
    work.git("--git-dir", str(bare), "config", "receive.advertisePushOptions", "true")
    hook = bare / "hooks/post-receive"
    hook.write_text(f'#!/bin/sh\nenv | sed -n "s/^GIT_PUSH_OPTION_[0-9]*=//p" > {tmp_path}/options\n')
    hook.chmod(0o755)
    work.git("remote", "add", "origin", bare.as_uri())
    work.git("fetch", "--quiet", "origin", "main")
    before = work.commit(files)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in (
        ("reconciler", f"PYTHONPATH={CHECKOUT} exec {sys.executable} -m reconciler"),
        ("kolla-build", f"exec {kolla.environment(kolla.FIRST, folder / 'log') / 'bin/kolla-build'}"),
    ):
        (programs / name).write_text(f'#!/bin/sh\n{line} "$@"\n')
        (programs / name).chmod(0o755)
    variables = {
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_BRANCH": "main",
        "CI_DEFAULT_BRANCH": "main",
        "CI_PIPELINE_ID": "7",
        "CI_SERVER_HOST": "gitlab.example.org",
        "IMAGES_REMOTE": bare.as_uri(),
        "KOLLA_BUILD_WORDS": "--skip-existing",
        "DOCKER_HOST": engine_url,
    }
    target = f"{registry.address}/site"
    docker_client.images.get(base).tag(f"{target}/base", tag=TAG)
    try:
        path = f"{programs}:{os.environ['PATH']}"
        done = ci_local.run(work.root, "images", variables, path, seconds=900, TMPDIR=str(folder))
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        digest = registry.digest("site/cron", TAG)
        (layer,) = (docker_client.images.get(f"{target}/cron:{TAG}"),)
        assert f"{target}/cron@{digest}" in layer.attrs["RepoDigests"]
        told = docker_client.containers.run(
            layer, [PACKAGE, "--version"], entrypoint="", network_mode="none", remove=True
        )
        assert PACKAGE in told.decode()
    finally:
        for name in ("base", "cron"):
            if build.present(docker_client, f"{target}/{name}:{TAG}"):
                docker_client.images.remove(f"{target}/{name}:{TAG}", force=True)
    options = (tmp_path / "options").read_text().splitlines()
    assert {"merge_request.create", "merge_request.target=main"} <= set(options)
    pinned = work.git("--git-dir", str(bare), "show", "site-images-7:globals.yml")
    assert pinned.rstrip("\n").endswith(f'cron_image_full: "{target}/cron:{TAG}@{digest}"')
    shutil.rmtree(work.root / ".kolla-build", ignore_errors=True)
    work.git("fetch", "--quiet", str(bare), "site-images-7")
    work.git("checkout", "--quiet", "FETCH_HEAD")
    shown = CliRunner().invoke(program, ["plan", str(work.root), "--base", before])
    assert "replace    cron" in shown.output and digest[:19] in shown.output, shown.output
    assert "status_page" not in shown.output
