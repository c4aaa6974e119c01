"""Whether a member of OVN's databases may be stopped, as its check says. Genuine servers, three in one network namespace."""

from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container

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


def script() -> str:
    """The check as a host of the golden site gets it, for members that a test names."""
    folder = golden.HERE / "three_nodes/site"
    files = {name: (folder / name).read_text() for name in ("globals.yml", "inventory.yml")}
    files["globals.yml"] += "enable_ovn: yes\n"
    files["inventory.yml"] = files["inventory.yml"].replace("groups: [control]", "groups: [control, network]")
    desired = render(golden.load(folder, {name: text.encode() for name, text in files.items()}), "ctl-a", "0" * 40)
    found = next(check.script for check in desired.readiness if check.name == "ovn_nb_cluster")
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
