"""What stands behind the load balancer is out of use before it is stopped, whatever serves it."""

from typing import Any

from reconciler import catalogue, data


def containers() -> dict[str, tuple[dict[str, Any], set[str]]]:
    """Container → what it says, and the groups that frontends of its service send requests to."""
    found = {}
    for service in catalogue.load(data.services(), "catalogue", trusted=True).services.values():
        behind = {str(entry.get("group")) for entry in service.section("frontends").values()}
        found |= {name: (one, behind) for name, one in service.section("containers").items()}
    return found


def test_apache_finishes_what_it_began() -> None:
    served = {
        name: one
        for name, (one, behind) in containers().items()
        if any("apache2/conf-enabled" in str(file) for file in one.get("files", ())) and str(one.get("group")) in behind
    }
    assert {"keystone", "horizon", "placement_api", "nova_api", "heat_api"} <= served.keys()
    assert [name for name, one in served.items() if one.get("drain", {}).get("signal") != "WINCH"] == []


def test_nobody_is_drained_whom_nobody_stands_in_for() -> None:
    drained = {name: one["drain"] for name, (one, _) in containers().items() if one.get("drain")}
    assert [name for name, drain in drained.items() if "| length > 1" not in drain.get("enabled", "")] == []
