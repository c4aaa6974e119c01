"""What a container wrote is read for little, whatever and however much it is."""

import os
import resource
from pathlib import Path

import docker
import pytest

from reconciler import service_log
from reconciler.engine import Engine, logs
from reconciler.model import Container
from tests.fuzz.measured import forked

MIB = 1 << 20


@pytest.mark.engine
@pytest.mark.parametrize("tty", [False, True])
def test_a_log_without_line_ends_is_not_kept_whole(
    engine: Engine, engine_url: str, docker_client: docker.DockerClient, busybox_image: str, name: str, tty: bool
) -> None:
    container = Container(
        name, busybox_image, command=("sh", "-c", "head -c 60000000 /dev/zero | tr '\\0' x; echo; echo the end"),
        restart_policy="no", log_driver="json-file", log_opts={"max-size": "200m"}, tty=tty,
    )  # fmt: skip
    engine.create(container)
    engine.start(name)
    docker_client.api.wait(name, timeout=60)

    def read() -> int:
        own = Engine(engine_url, owner=engine.owner)
        text = own.output(name, 10_000)
        assert text == ("the end\\r" if tty else "the end")  # of a terminal
        return len(text)

    taken = forked(read)
    assert taken.memory < 32, taken


def test_one_of_many_files_is_read_with_few_descriptors(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.log").write_text(str(number))
        os.utime(tmp_path / f"{number}.log", (number, number))
    (tmp_path / "link.log").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.log")

    def read() -> str:
        most = max(int(one.name) for one in Path("/proc/self/fd").iterdir()) + 32  # the tests before have some open
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        found = logs._from_host(tmp_path, "", "*.log")
        return found[0].decode() if found else ""

    assert forked(read).answer == "199"


@pytest.mark.parametrize("words", ["1 ", "[-] ", "ERROR ", "ts=a ", "[info] ", "a.", "00000000-"])
def test_a_line_of_a_mebibyte_is_looked_at_for_little(words: str) -> None:
    line = f"2026-11-26 19:00:04.222 {words * (MIB // len(words))}!"

    def look() -> int:
        told = service_log.telling([line, "ERROR: the cause"], 20)
        service_log.headline([line, *told])
        return max(map(len, told))

    taken = forked(look)
    assert taken.answer <= service_log.WIDEST and taken.cpu < 2.0, taken  # it was fifteen
