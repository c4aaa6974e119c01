"""Whether a member of OVN's databases may be stopped, as its check says, and how the others forget one that left. Genuine servers, three in one
network namespace."""

import re
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

from reconciler.model import Desired
from reconciler.render import render
from tests.services import containers, golden

pytestmark = [pytest.mark.slow, pytest.mark.engine]

# A cluster of three, of which each is at an address of its own. The fourth joins a cluster that does not exist.
SERVERS = """\
set -e
mkdir -p /run/ovn /t
ovsdb-tool create-cluster /t/1.db /usr/share/ovn/ovn-nb.ovsschema tcp:127.0.0.1:7001
ovsdb-tool join-cluster /t/2.db OVN_Northbound tcp:127.0.0.2:7001 tcp:127.0.0.1:7001
ovsdb-tool join-cluster /t/3.db OVN_Northbound tcp:127.0.0.3:7001 tcp:127.0.0.1:7001
ovsdb-tool join-cluster /t/4.db OVN_Northbound tcp:127.0.0.4:7001 tcp:127.0.0.9:7001
ovsdb-tool create-cluster /t/5.db /usr/share/ovn/ovn-nb.ovsschema tcp:127.0.0.5:7001
for one in 1 2 3 4 5; do
    ovsdb-server --detach --no-chdir --pidfile=/t/$one.pid --unixctl=/t/$one.ctl --remote=ptcp:6641:127.0.0.$one -vconsole:off /t/$one.db
done
for one in 2 3; do ovsdb-client --timeout=60 wait tcp:127.0.0.$one:6641 OVN_Northbound connected; done
"""


LEFT = "left:\n  ctl-z: {since: '2026-11-27', groups: [control, network], addresses: {network: 127.0.0.3}}\n"


def rendered() -> Desired:
    """A host of the golden site with OVN, of which another one left."""
    folder = golden.HERE / "three_nodes/site"
    files = {name: (folder / name).read_text() for name in ("globals.yml", "inventory.yml")}
    files["globals.yml"] += "enable_ovn: yes\n"
    files["inventory.yml"] = files["inventory.yml"].replace("groups: [control]", "groups: [control, network]") + LEFT
    return render(golden.load(folder, {name: text.encode() for name, text in files.items()}), "ctl-a", "0" * 40)


def script() -> str:
    """The check as that host gets it, for members that a test names."""
    found = next(check.script for check in rendered().readiness if check.name == "ovn_nb_cluster")
    kept = [line for line in found.splitlines() if not line.startswith("members=")]
    assert len(kept) == len(found.splitlines()) - 1
    return "members=($MEMBERS)\n" + "\n".join(kept)


@pytest.fixture
def servers(docker_client: docker.DockerClient) -> Iterator[Container]:
    with containers.idle(docker_client, "ovn-nb-db-server") as found:
        done = found.exec_run(["bash", "-c", SERVERS])
        assert done.exit_code == 0, done.output
        yield found


def test_a_member_may_be_stopped_only_while_all_serve_one_cluster(servers: Container) -> None:
    check = script()

    def said(*members: int) -> tuple[int | None, str]:
        names = " ".join(f"127.0.0.{one}" for one in members)
        done = servers.exec_run(["bash", "-c", check], environment={"MEMBERS": names})
        return done.exit_code, done.output.decode()

    assert said(1, 2, 3) == (0, "")
    assert said(1, 4) == (1, "the member at 127.0.0.4 does not reach most of the others\n"), "it never joined"
    assert said(1, 5) == (1, "the member at 127.0.0.5 is of another cluster than the one at 127.0.0.1\n")
    assert servers.exec_run(
        [
            "bash",
            "-c",
            "kill $(cat /t/3.pid); while kill -0 $(cat /t/3.pid 2>/dev/null) 2>/dev/null; do sleep 0.1; done",
        ]
    )
    code, words = said(1, 2, 3)
    assert code == 1 and words.startswith("the member at 127.0.0.3 does not answer: ")
    assert said(1, 2) == (0, "")
    assert said(4) == (0, ""), "one alone waits for nobody, well or not"


def leaving(name: str) -> str:
    """What a job runs inside a container of that host."""
    job = next(job for job in rendered().jobs if job.name == f"{name}_leave_ctl-z")
    assert job.inside and job.container.command and job.container.command[:2] == ("bash", "-c")
    return job.container.command[2]


def test_a_member_that_left_is_forgotten_by_a_majority_of_those_that_stay(servers: Container) -> None:
    program = re.sub(r"(?m)^members=.*$", "members=(127.0.0.1 127.0.0.2)", leaving("ovn_nb_db"))

    def run(command: str) -> tuple[int | None, str]:
        done = servers.exec_run(["bash", "-c", command])
        return done.exit_code, done.output.decode()

    def end(member: int) -> None:
        gone = f"kill $(cat /t/{member}.pid); while kill -0 $(cat /t/{member}.pid 2>/dev/null) 2>/dev/null; do sleep 0.1; done"
        assert run(gone)[0] == 0

    # Not the leader, which has to be told by the one that is asked.
    assert run("ln -s /t/2.ctl /run/ovn/ovnnb_db.ctl")[0] == 0
    end(1)
    end(3)
    code, said = run(program)
    assert code == 1, said
    # The second one believes for a moment longer that it serves.
    assert re.search(
        "error: only [01] of the 2 members that stay serve OVN_Northbound, which is no majority; silent: 127.0.0.1",
        said,
    ), said
    assert "127.0.0.3" in run("ovs-appctl -t /t/2.ctl cluster/status OVN_Northbound")[1], "nothing was changed"
    for one in (1, 3):
        again = f"ovsdb-server --detach --no-chdir --pidfile=/t/{one}.pid --unixctl=/t/{one}.ctl --remote=ptcp:6641:127.0.0.{one} -vconsole:off /t/{one}.db"
        assert run(again)[0] == 0
    assert (
        run(
            "for one in 1 2 3; do ovsdb-client --timeout=60 wait tcp:127.0.0.$one:6641 OVN_Northbound connected || exit 1; done"
        )[0]
        == 0
    )

    end(3)
    code, said = run(program)
    assert code == 0 and "leaves the cluster of OVN_Northbound." in said, said
    _, status = run("ovs-appctl -t /t/1.ctl cluster/status OVN_Northbound")
    assert "127.0.0.3" not in status and "127.0.0.2" in status, status
    code, said = run(program)
    assert (code, said) == (0, "The members of OVN_Northbound do not know ctl-z.\n")
    # With two members of two every one counts again: a change is taken.
    added = "ovn-nbctl --timeout=30 --no-leader-only --db=tcp:127.0.0.2:6641 ls-add a"
    assert run(added) == (0, "")
    assert run("ln -sf /t/5.ctl /run/ovn/ovnnb_db.ctl")[0] == 0
    assert run(program)[0] == 0, "one that is alone knows nobody else"


def test_the_chassis_of_one_that_left_is_deleted(docker_client: docker.DockerClient) -> None:
    program = re.sub(r"--db=\S+", "--db=unix:/t/sb.sock", leaving("ovn_chassis"))
    with containers.idle(docker_client, "ovn-sb-db-server") as found:
        begin = """set -e
mkdir -p /t
ovsdb-tool create /t/sb.db /usr/share/ovn/ovn-sb.ovsschema
ovsdb-server --detach --no-chdir --pidfile=/t/sb.pid --unixctl=/t/sb.ctl --remote=punix:/t/sb.sock -vconsole:off /t/sb.db
sb="ovn-sbctl --db=unix:/t/sb.sock"
$sb chassis-add ctl-z geneve 10.0.0.3 -- set chassis ctl-z hostname=ctl-z.example
$sb chassis-add other-name geneve 10.0.0.4 -- set chassis other-name hostname=ctl-z
$sb chassis-add ctl-zz geneve 10.0.0.5 -- set chassis ctl-zz hostname=ctl-zz
$sb create chassis_private name=ctl-z
"""
        done = found.exec_run(["bash", "-c", begin])
        assert done.exit_code == 0, done.output
        for _ in range(2):
            done = found.exec_run(["bash", "-c", program])
            assert done.exit_code == 0 and b"OVN does not know a chassis ctl-z." in done.output, done.output
            left = found.exec_run(["ovn-sbctl", "--db=unix:/t/sb.sock", "--bare", "--columns=name", "list", "chassis"])
            assert left.output.split() == [b"ctl-zz"]
