"""A broker that left for good, as three genuine ones forget it; and what one that joined has no copies of. All on one host."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import docker
import pytest
from docker.models.containers import Container

from reconciler.render import render
from tests.services import containers, golden
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

NAMES = ("one", "two", "old")
SITE = "\nleft:\n  old: {since: '2026-11-27', groups: [control]}\n"
BEGIN = """\
export HOME=/var/lib/rabbitmq RABBITMQ_NODENAME=$0@$0 RABBITMQ_NODE_PORT=$1 RABBITMQ_DIST_PORT=$2 RABBITMQ_LOGS=- RABBITMQ_ENABLED_PLUGINS_FILE=/tmp/plugins
echo '[].' > /tmp/plugins; echo one > $HOME/.erlang.cookie; chmod 600 $HOME/.erlang.cookie; mkdir -p $HOME/mnesia
chown -R rabbitmq $HOME; exec /usr/lib/rabbitmq/bin/rabbitmq-server > /tmp/log 2>&1
"""
DECLARE = 'rabbit_amqqueue:declare(rabbit_misc:r(<<"/">>, queue, <<"%s">>), true, false, [{<<"x-queue-type">>, longstr, <<"%s">>}%s], none, <<"test">>).'
ALONE = ', {<<"x-initial-cluster-size">>, long, 1}'


@dataclass
class Brokers:
    """By name. Each is called after itself, as two on one host cannot have the same name before the `@`."""

    running: dict[str, Container]

    def ctl(self, name: str, *words: str) -> tuple[int | None, str]:
        program = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "--quiet", "--node", f"{name}@{name}", *words]
        return containers.run(self.running[name], "env", "HOME=/var/lib/rabbitmq", *program)

    def done(self, name: str, *words: str) -> str:
        code, said = self.ctl(name, *words)
        assert code == 0, said
        return said

    def python(self, name: str, program: str) -> tuple[int | None, str]:
        """A program of the service, by the names that brokers have here."""
        text = re.sub(r'"rabbit@" \+ "([\w-]+)"', r'"\1@\1"', program)
        return containers.run(self.running[name], "env", "HOME=/var/lib/rabbitmq", "python3", "-c", text)

    def copies(self) -> dict[str, set[str]]:
        rows = json.loads(self.done("one", "list_queues", "--formatter=json", "name", "members"))
        return {row["name"]: {member.partition("@")[0] for member in row["members"]} for row in rows}


@pytest.fixture
def brokers(docker_client: docker.DockerClient) -> Iterator[Brokers]:
    with ExitStack() as stack:
        first = stack.enter_context(containers.idle(docker_client, "rabbitmq"))
        network = f"container:{first.id}"
        others = [stack.enter_context(containers.idle(docker_client, "rabbitmq", network)) for _ in NAMES[1:]]
        found = Brokers(dict(zip(NAMES, (first, *others), strict=True)))
        for number, (name, container) in enumerate(found.running.items()):
            line = f"127.0.0.1 {' '.join(NAMES)}"
            containers.run(container, "bash", "-c", 'grep -qF "$0" /etc/hosts || echo "$0" >> /etc/hosts', line)
            container.exec_run(["bash", "-c", BEGIN, name, str(5672 + number), str(25672 + number)], detach=True)
        for name in NAMES:
            wait_for(f"{name} runs", lambda name=name: found.ctl(name, "await_startup")[0] == 0, 240, 1.0)  # type: ignore[misc]
        for name in NAMES[1:]:
            for words in (["stop_app"], ["join_cluster", "one@one"], ["start_app"]):
                found.done(name, *words)
        yield found


def scripts() -> tuple[str, str]:
    """How brokers forget `old`, and how the one that is called `two` starts, each as its service renders it."""
    folder = golden.HERE / "three_nodes" / "site"
    inventory = (folder / "inventory.yml").read_text() + SITE
    made = render(golden.load(folder, {"inventory.yml": inventory.encode()}), "ctl-b", "0" * 40)
    leave = next(file.content for file in made.files if file.path == "rabbitmq-leave-old/rabbitmq-leave")
    start = next(file.content for file in made.files if file.path == "rabbitmq/rabbitmq-start")
    own = re.compile(r'(?<=NODE = "rabbit@" \+ )"[\w-]+"')
    return own.sub('"one"', leave), own.sub('"two"', start)


def test_it_is_forgotten_with_its_copies(brokers: Brokers) -> None:
    leave, start = scripts()
    missing = f"{start.rpartition(chr(10) + 'main()')[0]}\nprint(missing())\n"
    for name in ("quorum", "stream"):
        brokers.done("one", "eval", DECLARE % (name, name, ""))
    brokers.done("old", "eval", DECLARE % ("alone", "stream", ALONE))
    assert brokers.copies() == {"quorum": set(NAMES), "stream": set(NAMES), "alone": {"old"}}
    assert brokers.python("two", missing) == (0, "([], '')\n")
    queues = ["/usr/lib/rabbitmq/bin/rabbitmq-queues", "--quiet", "--node", "one@one"]
    home = ["env", "HOME=/var/lib/rabbitmq"]
    assert containers.run(brokers.running["one"], *home, *queues, "delete_member", "quorum", "two@two")[0] == 0
    assert brokers.python("two", missing) == (0, "([('/', 'quorum', 'quorum')], '')\n")

    code, said = brokers.python("one", leave)
    assert code == 0 and "alone in / was on old@old alone, and is lost." in said, said
    assert "old@old still runs: it is stopped." in said and said.endswith("The brokers do not know old@old.\n"), said
    assert brokers.copies() == {"quorum": {"one"}, "stream": {"one", "two"}}
    code, said = brokers.python("one", leave)
    assert (code, said) == (0, "The brokers do not know old@old.\n")

    code, said = brokers.python("two", missing.replace('"two"', '"nobody"', 1))
    assert code == 0 and "cluster_status --formatter=json on nobody@nobody: " in said, "what went wrong is told"
