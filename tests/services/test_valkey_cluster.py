"""The Valkey that is written to hands over before it is stopped, and when a member may be, as the check says. Genuine servers and sentinels, three
in one network namespace."""

import json
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from reconciler.model import Desired
from reconciler.render import render
from tests.services import containers, golden
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

# As the golden site names them, and what they are in this namespace. `ctl-a` has the second.
MEMBERS = {"198.51.100.12": "127.0.0.1", "198.51.100.11": "127.0.0.2", "198.51.100.13": "127.0.0.3"}
SERVERS = """\
set -e
for one in 1 2 3; do
    mkdir -p /t/$one
    cat > /t/$one/server.conf << END
bind 127.0.0.$one
replica-announce-ip 127.0.0.$one
dir /t/$one
appendonly yes
requirepass secret
masterauth secret
END
    [ $one = 2 ] || echo "replicaof 127.0.0.2 6379" >> /t/$one/server.conf
    cat > /t/$one/sentinel.conf << END
bind 127.0.0.$one
port 26379
sentinel announce-ip 127.0.0.$one
sentinel monitor kolla 127.0.0.2 6379 2
sentinel auth-pass kolla secret
sentinel down-after-milliseconds kolla 5000
sentinel failover-timeout kolla 60000
END
    @COMMAND@/t/$one/server.conf --daemonize yes
    valkey-server /t/$one/sentinel.conf --sentinel --daemonize yes
done
mkdir -p /etc/valkey
ln -sf /t/2/server.conf /etc/valkey/valkey.conf
"""
# One key after another over new connections, each until it is acknowledged, at the server that a sentinel names.
WRITER = """\
export REDISCLI_AUTH=secret
for ((number = 0; ; number++)); do
    until [[ $(valkey-cli -h "$(env -u REDISCLI_AUTH valkey-cli -h 127.0.0.3 -p 26379 sentinel get-master-addr-by-name kolla | head -n 1)" \\
            set "kept:$number" 1) == OK ]]; do echo "$number again" >> /t/log; done
    echo "$number done" >> /t/log
done
"""


def desired() -> Desired:
    return render(golden.load(golden.HERE / "three_nodes/site"), "ctl-a", "0" * 40)


def command() -> str:
    """The command of the server's container, but for the path at its end."""
    made = next(file.content for file in desired().files if file.path == "valkey-server/config.json")
    return str(json.loads(made)["command"]).removesuffix("/etc/valkey/valkey.conf")


@pytest.fixture
def servers(docker_client: docker.DockerClient) -> Iterator[Container]:
    with containers.idle(docker_client, "valkey-server") as found:
        done = found.exec_run(["bash", "-c", SERVERS.replace("@COMMAND@", command())])
        assert done.exit_code == 0, done.output
        yield found


def test_it_hands_over_and_loses_nothing(servers: Container) -> None:
    made = desired()

    def run(text: str) -> tuple[int | None, str]:
        for written, address in MEMBERS.items():
            text = text.replace(written, address)
        done = servers.exec_run(["bash", "-c", text])
        return done.exit_code, done.output.decode()

    def check() -> str:
        code, words = run(next(one.script for one in made.readiness if one.name == "valkey_cluster"))
        assert bool(code) == bool(words), words
        return words

    def roles() -> list[str]:
        asked = (f"REDISCLI_AUTH=secret valkey-cli -h 127.0.0.{one} role | head -n 1" for one in (1, 2, 3))
        return [run(text)[1].strip() for text in asked]

    def acknowledged() -> set[str]:
        return {line.split()[0] for line in run("cat /t/log")[1].splitlines() if line.endswith("done")}

    wait_for("all are in step, and know each other", lambda: not check(), 60)
    known = "valkey-cli -h 127.0.0.2 -p 26379 info sentinel"
    wait_for("the sentinels know all", lambda: "slaves=2,sentinels=3" in run(known)[1], 60)
    assert roles() == ["slave", "master", "slave"]
    files = run("cat /t/*/server.conf")[1]
    servers.exec_run(["bash", "-c", WRITER], detach=True)
    wait_for("keys are set", lambda: len(acknowledged()) > 20, 60)
    drain = next(one.drain for one in made.containers if one.name == "valkey_server")
    assert drain and drain.command
    code, words = run(drain.command[2])
    assert code == 0, words
    assert roles()[1] == "slave" and sorted(roles()) == ["master", "slave", "slave"]
    before = len(acknowledged())
    wait_for("writes go on", lambda: len(acknowledged()) > before + 20, 60)
    # Its file is what it was: one that is written anew is out of date, and what is out of date is restarted, for ever.
    run("REDISCLI_AUTH=secret valkey-cli -h 127.0.0.2 config rewrite")
    assert run("cat /t/*/server.conf")[1] == files
    assert check() == ""
    run("REDISCLI_AUTH=secret valkey-cli -h 127.0.0.2 shutdown nosave")
    assert check().startswith("the server at 127.0.0.2 does not answer: ")
    run(f"{command()}/t/2/server.conf --daemonize yes")
    # It takes writes, as its file says, until the sentinels have told it otherwise.
    wait_for("the sentinels have settled it", lambda: not check(), 90)
    done = acknowledged()
    at = f"REDISCLI_AUTH=secret valkey-cli -h 127.0.0.{roles().index('master') + 1} --scan --pattern 'kept:*'"
    assert done <= {line.partition(":")[2] for line in run(at)[1].split()}, "what was acknowledged is there"
