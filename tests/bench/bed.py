"""What cycles are measured on: a lab whose site has any number of small containers, each with files of its own.

Everything is named `rt-bench-…` and belongs to the site `rt-bench`.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import docker

from reconciler.node.node import Node
from tests.images import build
from tests.support.lab import ADDRESS, HOST, VIP, Lab, wait_for

NAME = "rt-bench"
FILES = 5  # per container

_CONTAINER = """\
  {name}:
    group: bench
    kolla: false
    image: "{image}"
    command: [sleep, "1000000"]
    stop_signal: SIGKILL
    stop_timeout: 1
    stability: {stability}
    environment: {{NUMBER: "{number}", REGION: "{{{{ bench_region }}}}", LEVEL: "{{{{ bench_level }}}}"}}
    volumes: ["rt-bench-logs:/var/log/bench", "/etc/localtime:/etc/localtime:ro"]
    files:
      - {{name: service.conf, template: service.conf.j2, merge: ini, overrides: [global.conf, "bench/{name}.conf"], destination: /etc/service.conf, mode: "0660"}}
      - {{name: policy.yaml, template: policy.yaml.j2, destination: /etc/policy.yaml, mode: "0644"}}
      - {{name: logging.conf, template: service.conf.j2, destination: /etc/logging.conf, mode: "0640"}}
      - {{name: rules.yaml, template: policy.yaml.j2, destination: /etc/rules.yaml, mode: "0644"}}
      - {{name: config.json, content: '{{"command": "{name}"}}', destination: /etc/config.json, mode: "0644"}}
"""
_VARIABLES = """\
bench_region: {description: A value in many files., type: string, default: RegionOne}
bench_level: {description: A value of the environment., type: string, default: info}
"""
_SECTIONS = ("database", "cache", "token", "identity", "oslo_messaging_rabbit", "oslo_middleware")
_CONF = "[DEFAULT]\nregion = {{ bench_region }}\n" + "".join(
    f"\n[{section}]\n" + "".join(f"option_{n} = a value that is about as long as others\n" for n in range(6))
    for section in _SECTIONS
)
_POLICY = "".join(f'"identity:rule_{n}": "role:admin or role:reader"\n' for n in range(40))


def container(number: int) -> str:
    """The name of one."""
    return f"rt-bench-{number:02}"


def write_site(lab: Lab, count: int, *, stability: float) -> None:
    """Fill the work tree: one service with `count` containers."""
    rows = [
        _CONTAINER.format(name=container(n), image=build.BUSYBOX, stability=stability, number=n) for n in range(count)
    ]
    lab.write(
        {
            "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [bench]\n",
            "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {VIP}\n",
            "reconciler.yml": f"name: {NAME}\n",
            "config/bench/rt-bench-00.conf": "[DEFAULT]\nround = 0\n",
            "services/bench/service.yml": "description: Containers to measure with\ngroups: {bench: []}\ncontainers:\n"
            + "".join(rows),
            "services/bench/variables.yml": _VARIABLES,
            "services/bench/templates/service.conf.j2": _CONF,
            "services/bench/templates/policy.yaml.j2": _POLICY,
        }
    )


@contextlib.contextmanager
def bed(
    folder: Path, engine_url: str, count: int, *, interval: float = 3600, stability: float = 0.0, converge: bool = True
) -> Iterator[Lab]:
    """A lab with that site pushed, and converged unless `converge` is False."""
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        build.busybox(client)
    with Lab(folder, engine_url, name=NAME, canaries=False) as lab:
        text = lab.config.read_text()
        assert 'interval = 2\nmetrics = ""' in text
        text = text.replace('interval = 2\nmetrics = ""', f'interval = {interval}\nmetrics = "127.0.0.1:0"')
        lab.config.write_text(f'{text}\n[log]\nlevel = "debug"\n')  # passes without news are counted, too
        write_site(lab, count, stability=stability)
        lab.push("a site to measure with")
        if converge:
            report = lab.reconcile()
            assert report.converged and len(report.changed) >= count, report
        yield lab


@contextlib.contextmanager
def warm(lab: Lab) -> Iterator[Node]:
    """The lab's node as the daemon has it: listening to the engine's events, everything read once."""
    node, stop, connected = lab.node, threading.Event(), threading.Event()
    listener = threading.Thread(target=node.engine.watch, args=(lambda _: connected.set(),), kwargs={"stop": stop})
    listener.start()
    try:
        wait_for("the engine's events", connected.is_set)
        for _ in range(2):
            report = lab.reconcile()
            assert report.converged and not report.outcomes, report
        yield node
    finally:
        stop.set()
        listener.join(20)
