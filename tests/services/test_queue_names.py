"""A queue may have any name, and whoever has an account at the broker gives it: it is no option of the broker's programs."""

import re

import docker
import pytest

from reconciler import data
from tests.services import containers

pytestmark = [pytest.mark.engine, pytest.mark.images]

_CALL = re.compile(
    r'"(rabbitmq-(?:streams|queues))", NODE, "(delete_replica|delete_member|add_replica)", (.*?), (?:queue\["name"\]|name), (?:GONE|NODE)\)?'
)


def test_a_queue_that_is_named_like_an_option_is_a_queue(docker_client: docker.DockerClient) -> None:
    folder = data.root() / "services/rabbitmq/templates"
    calls = [
        call
        for name in ("rabbitmq-leave.j2", "rabbitmq-start.j2")
        for call in _CALL.findall((folder / name).read_text())
    ]
    assert {verb for _, verb, _ in calls} == {"delete_replica", "delete_member", "add_replica"}
    with containers.idle(docker_client, "rabbitmq") as broker:
        for program, verb, words in calls:
            options = ["/" if word == "vhost" else word.strip('"') for word in words.split(", ")]
            for queue in ("--node=rabbit@elsewhere", "-x", "fine"):
                argv = [
                    f"/usr/lib/rabbitmq/bin/{program}",
                    "--quiet",
                    "--node",
                    "rabbit@localhost",
                    verb,
                    *options,
                    queue,
                    "rabbit@gone",
                ]
                said = broker.exec_run(argv).output.decode()
                # There is no broker: what it is asked for is understood all the same.
                assert "unable to perform an operation on node 'rabbit@localhost'" in said, (argv, said)
