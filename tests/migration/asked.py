"""What kolla-ansible's own module would ask the engine for. Run by kolla-ansible's Python, with Docker's client and its own `module_utils` beside.

stdin: a list of arguments of the module `kolla_container`; stdout: for each the body of `POST /containers/create`.
"""

import io
import json
import sys
from unittest.mock import MagicMock

import ansible.module_utils
from ansible.module_utils import basic

PLAYS = sys.argv[1]
ansible.module_utils.__path__.append(f"{PLAYS}/module_utils")
sys.path.append(f"{PLAYS}/library")
sys.modules["dbus"] = MagicMock()  # nobody is asked

import docker  # noqa: E402
import kolla_container  # noqa: E402
from ansible.module_utils import kolla_docker_worker  # noqa: E402


class Client(docker.APIClient):
    """Says what it would send."""

    def create_container_from_config(self, config, name=None, platform=None):  # type: ignore[no-untyped-def]
        self.asked = json.loads(json.dumps(config))
        return {"Id": name}


def asked(arguments):  # type: ignore[no-untyped-def]
    """One container's body."""
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    module = kolla_container.generate_module()
    client = Client(version="1.44")
    kolla_docker_worker.get_docker_client = lambda: lambda **_: client
    worker = kolla_docker_worker.DockerWorker(module)
    client.create_container(**worker.build_container_options())
    return client.asked


given = json.load(sys.stdin)
sys.stdin = io.StringIO()
print(json.dumps([asked(arguments) for arguments in given]))
