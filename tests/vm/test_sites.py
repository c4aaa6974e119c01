"""The sites of the virtual machines are valid, which takes a second to see here and a quarter of an hour there."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vm import node, test_hypervisor, test_network, test_neutron_agent

_SITES = {
    "node": node.SITE,
    "hypervisor": test_hypervisor.files(),
    "network": test_network.SITE,
    "neutron_agent": test_neutron_agent.files(),
}


@pytest.mark.parametrize("files", _SITES.values(), ids=_SITES)
def test_it_is_valid(files: Mapping[str, str], tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    for name, content in {
        **files,
        ".sops.yaml": f"creation_rules: [{{path_regex: passwords.*, age: '{key}'}}]\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for verb in (["secrets", "generate"], ["validate"]):
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *verb, tmp_path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
