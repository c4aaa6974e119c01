"""A whole cloud of genuine containers, from an empty engine to a server, a stack and the dashboard: what `make demo-cloud` shows."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import docker
import pytest

from tests.demo.bed import LABEL, collisions
from tests.demo_cloud import site
from tests.demo_cloud.__main__ import PLAY
from tests.git import servers
from tests.images import build, kolla
from tests.review.browser import missing
from tests.support import paths


def program(*words: str, cwd: Path, timeout: float = 120, **environment: str) -> str:
    """What a program of the checkout printed."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(paths.CHECKOUT), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_the_site_is_valid_and_makes_the_promised_containers(tmp_path: Path) -> None:
    key = servers.ssh_key(tmp_path / "key").with_suffix(".pub")
    program("reconciler", *site.init(key), str(tmp_path / "site"), cwd=tmp_path)
    site.complete(tmp_path / "site", tmp_path / "etc-kolla")
    assert "the site is valid: 1 host" in program("reconciler", "validate", ".", cwd=tmp_path / "site")
    text = program("reconciler", "plan", "--base", "nothing", "--no-diffs", ".", cwd=tmp_path / "site")
    made = {words[1] for words in map(str.split, text.splitlines()) if words and words[0] == "create"}
    assert made == set(site.CONTAINERS)
    site.watched(tmp_path / "site")
    text = program("reconciler", "plan", "--base", "nothing", "--no-diffs", ".", cwd=tmp_path / "site")
    made = {words[1] for words in map(str.split, text.splitlines()) if words and words[0] == "create"}
    assert made == {*site.CONTAINERS, *site.WATCHING}


def test_a_service_that_asks_for_nothing_is_told_of() -> None:
    with pytest.raises(ValueError, match="no longer"):
        site.modest({"containers": {"a": {"volumes": ["a:/dev"]}}}, networking=False)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.images
def test_a_cloud_from_an_empty_engine(engine_url: str, tmp_path: Path) -> None:
    """Everything that a step claims it checks itself, and fails where it is not so."""
    _needs(engine_url, [*build.WANTED, *build.CLOUD, *build.WATCH])
    environment = {"RECONCILER_CACHE": str(tmp_path), "DOCKER_HOST": engine_url}
    try:
        told = program("tests.demo_cloud", "run", cwd=paths.CHECKOUT, timeout=3600, **environment)
        for number in range(1, len(PLAY.steps) + 1):
            assert f"━━ {number}. " in told
        for claim in (
            "heat.conf has their identifiers",
            "server first is ACTIVE",
            "stack first is CREATE_COMPLETE",
            "volume first of 1 GiB is available",
        ):
            assert claim in told
        assert (tmp_path / PLAY.plot.folder / "dashboard.png").read_bytes().startswith(b"\x89PNG")
    finally:
        program("tests.demo_cloud", "clean", cwd=paths.CHECKOUT, timeout=600, **environment)
    with contextlib.closing(docker.APIClient(base_url=engine_url)) as client:
        assert not client.containers(all=True, filters={"label": f"{LABEL}={PLAY.plot.owner}"})
        assert collisions(client, "nobody", (), site.VOLUMES) == []


def _needs(engine_url: str, images: Sequence[str]) -> None:
    if absent := missing():
        pytest.skip(f"needs {absent}")
    target = kolla.default_target()
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        if absent := ", ".join(image for image in images if not build.present(client, target.name(image))):
            pytest.skip(f"needs the images {absent} (`python -m tests.images.build --set cloud --set watch`)")
