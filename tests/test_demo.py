"""The demo's parts that must hold on everybody's machine: its site is valid, it refuses to meddle, it goes away whole."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from reconciler.model import Verb
from tests.demo import bed, site
from tests.git import servers
from tests.support import paths

OWN = f"rt-demo-{os.getpid()}"
OWNER = f"{OWN}/ctl1"


@pytest.fixture(scope="module")
def work_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's site with its passwords."""
    tmp_path = tmp_path_factory.mktemp("demo")
    key = servers.ssh_key(tmp_path / "key")
    (tmp_path / "site").mkdir()
    recipient = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    site.write(tmp_path / "site", recipient, tmp_path / "etc-kolla")
    program(tmp_path / "site", "secrets", "generate", ".")
    return tmp_path / "site"


def program(folder: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(paths.CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_site_is_valid_and_makes_the_promised_containers(work_tree: Path) -> None:
    assert "the site is valid: 1 host" in program(work_tree, "validate", ".")
    text = program(work_tree, "plan", "--base", "nothing", "--no-diffs", ".")
    made = {words[1] for words in map(str.split, text.splitlines()) if words[0] == Verb.CREATE}
    assert made == set(bed.CONTAINERS)


def test_the_mistake_that_the_demo_makes_is_one(work_tree: Path) -> None:
    site.edit(work_tree / "globals.yml", site.RIGHT, site.WRONG)
    try:
        assert f"did you mean '{site.RIGHT}'?" in program(work_tree, "validate", ".", code=1)
    finally:
        site.edit(work_tree / "globals.yml", site.WRONG, site.RIGHT)


def test_an_example_that_changed_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "globals.yml").write_text("a: 1\n")
    with pytest.raises(ValueError, match=r"globals\.yml has no 'b: 2'"):
        site.edit(tmp_path / "globals.yml", "b: 2", "b: 3")


def test_a_port_that_somebody_has_is_noticed() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert bed.taken({"127.0.0.1": (port,)}) == [f"127.0.0.1:{port}"]
    assert bed.taken({"127.0.0.1": (port,)}) == []


@pytest.mark.engine
def test_names_that_others_have_are_refused(engine_url: str, busybox_image: str) -> None:
    client = docker.APIClient(base_url=engine_url, timeout=60)
    names = {"containers": [f"{OWN}-a", f"{OWN}-b", f"{OWN}-c"], "volumes": [f"{OWN}-v"]}
    try:
        _container(client, busybox_image, f"{OWN}-a", {})
        _container(client, busybox_image, f"{OWN}-b", {bed.LABEL: "cloud/ctl9"})
        _container(client, busybox_image, f"{OWN}-c", {bed.LABEL: OWNER})
        client.create_volume(f"{OWN}-v")
        assert bed.collisions(client, OWNER, **names) == [
            f"container {OWN}-a (not made by reconciler)",
            f"container {OWN}-b (of cloud/ctl9)",
            f"volume {OWN}-v (not made by reconciler)",
        ]
    finally:
        for name in names["containers"]:
            client.remove_container(name, force=True)
        client.remove_volume(f"{OWN}-v")
        client.close()


@pytest.mark.engine
def test_clean_leaves_nothing(engine_url: str, busybox_image: str, tmp_path: Path) -> None:
    root = tmp_path / "demo"
    (root / "state").mkdir(parents=True)
    client = docker.APIClient(base_url=engine_url, timeout=60)
    other = f"{OWN}-other"
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(99)"
    process = subprocess.Popen(
        [sys.executable, "-c", stubborn], env={**os.environ, bed.MARK: str(root)}, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None and process.stdout.readline()
        client.create_volume(f"{OWN}-v", labels={bed.LABEL: OWNER})
        _container(client, busybox_image, f"{OWN}-c", {bed.LABEL: OWNER}, start=True)
        _container(client, busybox_image, other, {bed.LABEL: f"{OWNER}x"})
        with servers.http_server(tmp_path):
            assert bed.processes(root) == [process.pid], "a git server that is not the demo's is left alone"
        removed = bed.clean(root, client, OWNER, patience=0.5)
        assert removed == [
            f"process {process.pid}", f"container {OWN}-c", f"volume {OWN}-v", f"folder {root}",
        ]  # fmt: skip
        assert process.wait(5) == -9 and not root.exists()
        assert bed.collisions(client, OWNER, [f"{OWN}-c", other], [f"{OWN}-v"]) == [f"container {other} (of {OWNER}x)"]
        assert bed.clean(root, client, OWNER) == []
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        for entry in client.containers(all=True, filters={"name": OWN}):
            client.remove_container(entry["Id"], force=True)
        for volume in client.volumes(filters={"name": OWN})["Volumes"] or []:
            client.remove_volume(volume["Name"])
        client.close()


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.images
def test_the_whole_demo(engine_url: str, kolla_images: dict[str, str], tmp_path: Path) -> None:
    """Run twice, for the second one removes what the first one left; then nothing is left."""
    environment = {**os.environ, "RECONCILER_CACHE": str(tmp_path), "DOCKER_HOST": engine_url}
    command = [sys.executable, "-m", "tests.demo"]

    def demo(verb: str) -> str:
        done = subprocess.run(
            [*command, verb], cwd=paths.CHECKOUT, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    client = docker.APIClient(base_url=engine_url, timeout=60)
    try:
        for text in (demo("run"), demo("run")):
            for number in range(1, 7):
                assert f"━━ {number}. " in text
            # Commands are for copying and stay in one piece, so a path in them is measured as it is by default.
            shown = text.replace(str(tmp_path), "~/.cache/reconciler")
            assert [line for line in shown.splitlines() if len(line) > 80] == []
            assert (tmp_path / "demo/token").read_text() not in text
        assert len(client.containers(filters={"label": f"{bed.LABEL}={bed.OWNER}"})) == len(bed.CONTAINERS)
    finally:
        demo("clean")
        left = client.containers(all=True, filters={"label": f"{bed.LABEL}={bed.OWNER}"})
        client.close()
    assert left == [] and not (tmp_path / "demo").exists() and bed.processes(tmp_path / "demo") == []


def _container(client: docker.APIClient, image: str, name: str, labels: dict[str, str], *, start: bool = False) -> None:
    host = client.create_host_config(network_mode="none")
    made = client.create_container(image, ["sleep", "99"], name=name, labels=labels, host_config=host)
    if start:
        client.start(made["Id"])
