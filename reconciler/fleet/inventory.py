"""What a reporter needs of a site: who its hosts are, where they are asked, whose key speaks for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.git import content
from reconciler.model import to_json
from reconciler.report.signed import NAMESPACE
from reconciler.source import prepare
from reconciler.system import run, walls


@dataclass(frozen=True, slots=True)
class Member:
    """A host of the fleet. `address` is "" where the inventory has none on that network, `key` where it declares none."""

    host: str
    group: str
    address: str
    key: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """All hosts of a site at one commit, in the inventory's order, and how the site wants them reported."""

    site: str
    commit: str
    members: tuple[Member, ...]
    mode: str = "host"
    threshold: int = 0
    deployments: bool = False

    @property
    def aggregated(self) -> bool:
        """Whether groups have statuses instead of hosts."""
        return self.mode == "aggregate" or 0 < self.threshold <= len(self.members)

    def groups(self) -> dict[str, tuple[Member, ...]]:
        """Group → its hosts; every host is in one."""
        found: dict[str, list[Member]] = {}
        for member in self.members:
            found.setdefault(member.group, []).append(member)
        return {group: tuple(members) for group, members in found.items()}

    def allowed_signers(self) -> str:
        """OpenSSH's allowed_signers: each host by its name, with its own key, for reports and nothing else."""
        lines = [f'{m.host} namespaces="{NAMESPACE}" {m.key}\n' for m in self.members if m.key]
        return "".join(["# whose reports are believed; made of inventory.yml\n", *lines])


def read(repository: Path, commit: str, path: str, network: str) -> Fleet:
    """The fleet at a commit, read and validated in a limited child, like everything that a commit says. Raises as
    `prepare.prepare`."""
    source = {"repository": str(repository), "commit": commit, "path": path}
    found: Fleet = run.python(
        "reconciler.fleet.inventory:read_child",
        {"source": source, "network": network},
        limits=prepare.LIMITS,
        answers=Fleet,
        wall=walls.Wall(read=content.places(source)),
    )
    return found


def warm(name: str) -> None:
    """For `run_child`."""
    from reconciler.source import site_child

    site_child.warm(name)


def gather(argument: Mapping[str, Any]) -> Any:
    """For `run_child`."""
    from reconciler.source import site_child

    return site_child.gather(argument)


def read_child(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> dict[str, Any]:
    """The child's side of `read`."""
    from reconciler.source import site_child

    site = site_child.load(site_child.files(gathered, "source"))
    members = tuple(
        Member(host.name, host.group, host.addresses.get(argument["network"], ""), host.report_key)
        for host in site.hosts.values()
    )
    wanted = site.policy["reporting"]
    fleet = Fleet(
        site.name, argument["source"]["commit"], members, wanted["mode"], wanted["threshold"], wanted["deployments"]
    )
    found: dict[str, Any] = to_json(fleet)
    return found
