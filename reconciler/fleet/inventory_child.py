"""The child's side of `inventory`: the members of a fleet, from its site."""

from collections.abc import Mapping
from typing import Any

from reconciler.codec import to_json
from reconciler.fleet.inventory import Fleet, Member
from reconciler.source import prepare_child, site_child
from reconciler.source.site_child import gather, warm

__all__ = ["gather", "read", "warm"]


def read(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "network"} → a `Fleet`."""
    site = site_child.load(site_child.files(gathered, "source"))
    members = tuple(
        Member(host.name, host.group, host.addresses.get(argument["network"], ""), host.report_key)
        for host in site.hosts.values()
    )
    wanted = site.policy["reporting"]
    fleet = Fleet(
        site.name,
        argument["source"]["commit"],
        members,
        wanted["mode"],
        wanted["threshold"],
        wanted["deployments"],
        prepare_child.rollout(site, {}),
    )
    found: dict[str, Any] = to_json(fleet)
    return found
