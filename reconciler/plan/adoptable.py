"""Which variable of a site says an option of a container, so that it can be given the value that another tool chose. Pure."""

from collections.abc import Sequence
from typing import Final

from reconciler.model import Difference

_DIMENSIONS: Final = (
    "blkio_weight", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems", "mem_limit", "mem_reservation", "memswap_limit",
    "ulimits",
)  # fmt: skip
# Option → the variable, in Kolla's words; `{name}` is the container's.
_SAID_BY: Final = {
    "healthcheck": "{name}_healthcheck_interval and its like",
    "image": "{name}_image_full, or docker_registry, docker_namespace, openstack_tag",
    "log_opts": "docker_log_max_size, docker_log_max_file",
    "mounts": "{name}_extra_volumes",
    "stop_timeout": "docker_graceful_timeout",
    **dict.fromkeys(_DIMENSIONS, "{name}_dimensions"),
}


def words(name: str, found: Sequence[Difference]) -> str:
    """The options that differ, each with what says it: `stop_timeout (docker_graceful_timeout), cap_add`."""
    parts = {}
    for difference in found:
        said_by = _SAID_BY.get(difference.field.partition(".")[0], "").format(name=name)
        parts[difference.field] = f"{difference.field} ({said_by})" if said_by else difference.field
    return ", ".join(parts.values())
