"""What Nova knows of its cells by the catalogue's jobs, with a genuine nova-manage and its database in a file."""

import docker
import pytest

from tests.services import containers, golden

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

SETTINGS = """\
mkdir -p /etc/nova
printf '[DEFAULT]\\ntransport_url = rabbit://\\n[api_database]\\nconnection = sqlite:////tmp/api.db\\n[database]\\nconnection = mysql+pymysql://nova:secret@192.0.2.1:3306/%s\\n' \
    "$0" > /etc/nova/nova.conf
"""
# As a mapping was made before: a template of its own in quotes.
FORMER = "'{scheme}://{username}:{password}@{hostname}:{port}/{path}?{query}'"


def test_cell0_is_the_same_for_whoever_asks(docker_client: docker.DockerClient) -> None:
    """A conductor's database is the cell's; of what found no host it writes into cell0, where the API looks for it."""
    made = golden.desired("compute", "ctl")
    script = next(file.content for file in made.files if file.path == "nova-map-cell0/map-cell0.sh")
    with containers.idle(docker_client, "nova-api") as running:

        def run(*words: str) -> str:
            code, output = running.exec_run(list(words))
            assert code == 0, output.decode()
            return str(output.decode())

        run("bash", "-c", SETTINGS, "nova_cell0")
        run("nova-manage", "api_db", "sync")
        run("nova-manage", "cell_v2", "map_cell0", "--database_connection", FORMER)
        for database in ("nova_cell0", "nova"):
            run("bash", "-c", script)  # done twice it does nothing
            run("bash", "-c", SETTINGS, database)
            (row,) = (
                line
                for line in run("nova-manage", "cell_v2", "list_cells", "--verbose").splitlines()
                if "cell0" in line
            )
            assert row.split("|")[4].strip().startswith("mysql+pymysql://nova:secret@"), row
            assert row.split("|")[4].strip().endswith("/nova_cell0"), row
