"""A site of two containers with names of its own, so that scenarios do not meet each other's: the second starts in no time."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence

import docker

from tests.support.lab import HOST, Lab

ADDRESS = "127.0.0.71"

_SERVICE = """\
description: A process with a file, and one beside it
groups: {@: []}
passwords: {@_password: {kind: random}}
containers:
  rt-@-web:
    group: "@"
    kolla: false
    image: "{{ @_image }}"
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.2
    files:
      - name: @.conf
        template: @.conf.j2
        merge: ini
        overrides: [@.conf]
        destination: /etc/@.conf
        mode: "0644"
  rt-@-side:
    group: "@"
    kolla: false
    image: "{{ side_image }}"
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.2
"""
_VARIABLES = """\
@_image: {description: Image of the one., type: string, default: "reconciler-test/busybox:1"}
side_image: {description: Image of the other., type: string, default: "reconciler-test/busybox:1"}
"""


def first(lab: Lab, name: str) -> None:
    """Write the whole site into the lab's work tree; its containers are `rt-<name>-web` and `rt-<name>-side`."""

    def named(text: str) -> str:
        return text.replace("@", name)

    lab.write(
        {
            "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [{name}]\n",
            "globals.yml": named(
                f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {ADDRESS}\n"
                '@_image: "reconciler-test/busybox:1"\n'
            ),
            "reconciler.yml": f"name: {name}\n",
            f"services/{name}/service.yml": named(_SERVICE),
            f"services/{name}/variables.yml": named(_VARIABLES),
            f"services/{name}/templates/{name}.conf.j2": named(
                "[DEFAULT]\ncolour = blue\npassword = {{ @_password }}\n"
            ),
        }
    )
    lab.seal(f"{name}_password")


@contextlib.contextmanager
def kolla_like(engine_url: str, base: str, image: str, script: str, command: Sequence[str]) -> Iterator[str]:
    """An image that starts and answers as one of Kolla's would: `script` has run in `base`, `command` is its own."""
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        made = client.containers.run(base, ["sh", "-c", script], name=f"rt-image-{os.getpid()}", detach=True)
        try:
            made.wait()
            made.commit(*image.split(":"), changes=f"CMD {json.dumps(command)}")
        finally:
            made.remove(force=True)
        yield image
        client.images.remove(image)
