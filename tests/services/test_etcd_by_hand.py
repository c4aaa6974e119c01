"""What the documentation says to type for etcd, with genuine members and with exactly the environment that the container has."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.services.test_members import desired
from tests.support import packages
from tests.support.etcd import Cluster

ROOT = Path(__file__).parents[2]
_TYPED = re.compile(r"docker\s+exec\s+((?:-e\s+\S+\s+)*)etcd\s+etcdctl\s+([^`]+)`")
LIST = ("ETCDCTL_WRITE_OUT=simple", "member list")
REMOVE = ("", "member remove ID")
HEALTH = ("", "endpoint health --cluster")
ROLL = ("", "del /reconciler/SITE/roll")
FULL = [("", "endpoint status"), ("", "compact REVISION"), ("", "defrag --cluster"), ("", "alarm disarm")]


def documented() -> list[tuple[str, str]]:
    """Every such command of the documentation, in order: variables that are given with it, and its words."""
    paths = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "services").glob("*/README.md")])
    found = [match for path in paths for match in _TYPED.findall(path.read_text())]
    return list(
        dict.fromkeys((" ".join(given.replace("-e", "").split()), " ".join(words.split())) for given, words in found)
    )


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    packages.install(["etcd-client"])
    return dict(next(one for one in desired("ctl-a").containers if one.name == "etcd").environment)


class Typed:
    """A shell on a host whose container `etcd` is the member at `url`."""

    def __init__(self, environment: dict[str, str], url: str) -> None:
        assert environment["ETCDCTL_ENDPOINTS"] and environment["ETCDCTL_WRITE_OUT"] == "json"
        self._environment = {**environment, "ETCDCTL_ENDPOINTS": url, "PATH": "/usr/bin:/bin"}

    def __call__(self, command: tuple[str, str], **places: str) -> str:
        code, said = self.tried(command, **places)
        assert code == 0, (command, said)
        return said

    def tried(self, command: tuple[str, str], **places: str) -> tuple[int, str]:
        """Its exit code, and what it says."""
        given, words = command
        more = dict(one.split("=", 1) for one in given.split())
        argv = ["etcdctl", *(places.get(word, word) for word in words.split())]
        done = subprocess.run(
            argv, env={**self._environment, **more}, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr


def test_every_command_that_is_documented_is_tried_here() -> None:
    assert sorted(documented()) == sorted([LIST, REMOVE, HEALTH, ROLL, *FULL])


def test_a_member_that_is_gone_for_good_is_taken_out(tmp_path: Path, environment: dict[str, str]) -> None:
    with Cluster(tmp_path) as cluster:
        typed = Typed(environment, cluster.urls[0])
        assert len(json.loads(typed(HEALTH))) == 3
        cluster.kill(2)
        cluster.await_leader()
        rows = [[word.strip() for word in line.split(",")] for line in typed(LIST).splitlines()]
        (gone,) = (row[0] for row in rows if row[2] == "m2")
        # What is listed without the variable is no ID for `remove`, and an option in its place is refused.
        plain = json.loads(typed(("", "member list")))["members"]
        decimal = next(str(one["ID"]) for one in plain if one["name"] == "m2")
        assert decimal == gone or typed.tried(REMOVE, ID=decimal)[0] != 0
        code, said = typed.tried(("", "--write-out=simple member list"))
        assert code != 0 and "shadowed" in said, said
        typed(REMOVE, ID=gone)
        listed = [line.split(", ")[2] for line in typed(LIST).splitlines()]  # in the order of their ids
        assert sorted(listed) == ["m0", "m1"]


def test_one_that_is_full_takes_writes_again(tmp_path: Path, environment: dict[str, str]) -> None:
    with Cluster(tmp_path, quota=2 << 20) as cluster:
        typed = Typed(environment, cluster.urls[1])
        put = ("", f"put /reconciler/SITE/roll {'x' * 100_000}")
        refused = next(said for code, said in (typed.tried(put) for _ in range(60)) if code)
        assert "database space exceeded" in refused, refused
        status, compact, defrag, disarm = FULL
        revision = re.findall(r'"revision":(\d+)', typed(status))[0]
        typed(compact, REVISION=revision)
        typed(defrag)
        typed(disarm)
        typed(put)
        assert json.loads(typed(ROLL))["deleted"] == 1
