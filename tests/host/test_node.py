"""A real node whose host is a tree of the test's own: from a commit to the kernel setting and back."""

import json
from pathlib import Path
from typing import Any

from tests.daemon.conftest import node  # noqa: F401 - a fixture
from tests.daemon.node import TestNode

HOST = """\
host:
  sysctl:
    - {name: net.ipv4.ip_forward, value: 1}
    - {name: net.bridge.bridge-nf-call-iptables, value: 1}
    - {name: kernel.core_pattern, value: "|/bin/evil"}
"""


def tree(folder: Path) -> Path:
    root = folder / "machine"
    for path, value in {"net/ipv4/ip_forward": "0", "kernel/core_pattern": "core"}.items():
        place = root / "proc/sys" / path
        place.parent.mkdir(parents=True)
        place.write_text(f"{value}\n")
    return root


def reconcile(node: TestNode) -> dict[str, Any]:  # noqa: F811
    answer = node.run("reconcile", "--json", check=False)
    return dict(json.loads(answer.stdout))


def lines(report: dict[str, Any], verb: str = "set") -> list[str]:
    return [f"{a['verb']} {a['target']} ({a['cause']})" for a in report["plan"].get("actions", []) if a["verb"] == verb]


def test_a_commit_sets_the_host_drift_is_healed_and_it_goes_back(node: TestNode) -> None:  # noqa: F811
    root = tree(node.folder)
    forward, boot = root / "proc/sys/net/ipv4/ip_forward", root / "etc/sysctl.d/zz-reconciler.conf"
    node.write_settings(more=f'root = "{root}"')
    name = node.name("router")
    node.push_site(name, more=HOST)

    first = reconcile(node)
    assert lines(first) == [
        "set sysctl:net.bridge.bridge-nf-call-iptables (live absent (this kernel, or this network namespace, does not have it), "
        "should be 1, boot absent, should be 1)",
        "set sysctl:net.ipv4.ip_forward (live 0, should be 1, boot absent, should be 1)",
    ]
    assert forward.read_text() == "1\n" and "net.ipv4.ip_forward = 1\n" in boot.read_text()
    held = {h["target"]: (h["reason"], h["message"]) for h in first["plan"]["held"]}
    assert held["sysctl:kernel.core_pattern"] == (
        "PolicyDenied", "the host's sysctl kernel.core_pattern is not allowed on this host (policy.host_sysctls in its settings)",
    )  # fmt: skip
    assert held["sysctl:net.bridge.bridge-nf-call-iptables"][0] == "NotAchievable"
    assert "does not have it" in held["sysctl:net.bridge.bridge-nf-call-iptables"][1]
    assert (root / "proc/sys/kernel/core_pattern").read_text() == "core\n"
    assert any(o["action"]["verb"] == "create" and o["result"] == "done" for o in first["outcomes"]), (
        "it starts all the same"
    )

    assert not lines(reconcile(node)), "what this kernel does not have is not tried again"
    bridge = root / "proc/sys/net/bridge"
    bridge.mkdir()
    (bridge / "bridge-nf-call-iptables").write_text("0\n")
    assert lines(reconcile(node)) == ["set sysctl:net.bridge.bridge-nf-call-iptables (live 0, should be 1)"]

    node.push_site(name, more=HOST.replace('    - {name: kernel.core_pattern, value: "|/bin/evil"}\n', ""))
    assert not lines(reconcile(node))
    forward.write_text("0\n")
    healed = reconcile(node)
    assert (
        lines(healed) == ["set sysctl:net.ipv4.ip_forward (drift: live 0, should be 1)"]
        and forward.read_text() == "1\n"
    )

    node.push_site(name)
    assert lines(reconcile(node), "reset") == [
        "reset sysctl:net.bridge.bridge-nf-call-iptables (no longer part of the site; there was none before)",
        "reset sysctl:net.ipv4.ip_forward (no longer part of the site; back to live 0)",
    ]
    assert forward.read_text() == "0\n" and not boot.exists()
    assert not reconcile(node)["plan"].get("actions")
