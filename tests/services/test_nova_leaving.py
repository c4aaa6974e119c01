"""A compute that left for good, as a genuine Nova forgets it: its API, with databases in files and without Keystone."""

import docker
import pytest

from reconciler.render import render
from tests.services import containers, golden
from tests.services.containers import python
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

LIST = """
from nova import config, context, objects
config.parse_args(["nova-api"])
objects.register_all()
cell = next(one for one in objects.CellMappingList.get_all(context.get_admin_context()) if not one.is_cell0())
with context.target_cell(context.get_admin_context(), cell) as inside:
    found = objects.ServiceList.get_all(inside)
    print(*sorted(f"{one.host}:{one.binary}{':off' if one.disabled else ''}" for one in found if one.host in ('old', 'new')))
    if WHAT:
        for one in objects.InstanceList.get_by_host(inside, "old"):
            one.destroy()
"""


def test_it_is_forgotten_once_nothing_is_on_it(docker_client: docker.DockerClient) -> None:
    made = render(golden.load(golden.HERE / "compute" / "site", {}), "ctl", "0" * 40)
    program = next(file.content for file in made.files if file.path == "nova-leave-old/nova-leave")
    with containers.idle(docker_client, "nova-api") as running:
        containers.serve(running, "nova_api")
        wait_for("it answers", lambda: containers.listens(running, 8774), 600, pause=1.0)

        code, said = python(running, program)
        assert code == 1 and "error: 1 instances are on old still: on-old (" in said, said

        def known(what: bool) -> list[str]:
            return python(running, LIST.replace("WHAT", str(what)))[1].splitlines()[-1].split()

        assert known(True) == ["new:nova-compute", "old:nova-compute", "old:nova-conductor"], "nothing was changed"
        code, said = python(running, program)
        assert code == 0 and "nova-compute on old is forgotten." in said, said
        # What it ran besides it did not leave, by the groups that are said.
        assert known(False) == ["new:nova-compute", "old:nova-conductor"]
        code, said = python(running, program)
        assert code == 0 and "Nova does not know old." in said and "is forgotten" not in said, said
