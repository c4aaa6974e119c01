"""What a reporter needs of a site: who its hosts are, where they are asked, whose key speaks for each."""

from dataclasses import dataclass
from pathlib import Path

from reconciler.git.content import Source
from reconciler.report.signed import NAMESPACE
from reconciler.rollout.policy import Rollout
from reconciler.source import child


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
    rollout: Rollout | None = None  # the waves; of budgets nothing is known here

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
    source = Source(repository, commit, path).to_json()
    return child.ask("reconciler.fleet.inventory_child:read", {"source": source, "network": network}, Fleet)
