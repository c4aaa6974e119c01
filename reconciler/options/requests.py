"""From a container's options to the bodies of the engine's create and update requests.

An allow-list: what has no row in the table cannot reach the engine, whatever a site says.
"""

from typing import Any, Final

from reconciler.options import spelling
from reconciler.options.normal import normal
from reconciler.options.table import CPU_PERIOD, TABLE, Change, Option, Options

_NANO: Final = 1_000_000_000
_ANY_SWAP: Final = -1


def create(container: Options) -> dict[str, Any]:
    """The body of a create request; labels are the site's alone."""
    spec = normal(container)
    body: dict[str, Any] = {}
    for row in TABLE.values():
        value = getattr(spec, row.name)
        _put(body, row.at, _written(row, value))
        for place, write in row.also.items():
            _put(body, place, write(value))
    return body


def updated(have: Options, want: Options) -> frozenset[str]:
    """The options that differ between two containers in normal spelling, and that the engine changes in the one that stays."""
    differing = (name for name in TABLE if getattr(have, name) != getattr(want, name))
    return frozenset(name for name in differing if is_updated(name, unset=not getattr(want, name)))


def updates(have: Options, want: Options, *, cpus: int, shared: bool) -> list[dict[str, Any]]:
    """The bodies of the update requests, one after the other, that make `want` of `have`, both in normal spelling.

    The engine, which has `cpus`, takes 0 for "as it is", so that what is not set any more is sent as what means the same.
    `shared`: the container was given a number of CPUs (`docker update --cpus`), and the engine takes no other word for its quota
    from then on, which has the period's default.
    """
    asked = updated(have, want)
    if "mem_limit" in asked:  # the engine checks the two against each other, so they travel together
        asked |= {"memswap_limit"}
    body = {row.at.rpartition(".")[2]: _sent(row, want, cpus) for row in TABLE.values() if row.name in asked}
    if shared and "CpuQuota" in body:
        del body["CpuQuota"]
        body["NanoCpus"] = want.cpu_quota * (_NANO // CPU_PERIOD) or cpus * _NANO
    if body.get("MemorySwap") != _ANY_SWAP or not have.mem_limit:
        return [body]
    # Where cgroups have their first version, a running container is not told of "any amount", only of an amount; and its
    # memory may not be more than memory and swap together. In the second version the last word counts alone.
    return [{"Memory": have.mem_limit, "MemorySwap": spelling.NO_MEMORY_LIMIT}, body]


def _sent(row: Option, spec: Options, cpus: int) -> Any:
    value = getattr(spec, row.name)
    return _written(row, value) if value or row.lift is None else row.lift(spec, cpus)


def is_updated(name: str, *, unset: bool) -> bool:
    """Whether the engine changes this option in a container that stays; `unset`: to not being set."""
    row = TABLE.get(name)
    return row is not None and row.change is Change.UPDATE and (row.lift is not None or not unset)


def _written(row: Option, value: Any) -> Any:
    if row.write:
        return row.write(value)
    return list(value) if isinstance(value, tuple) else value


def _put(body: dict[str, Any], place: str, value: Any) -> None:
    if value is None:
        return
    *folders, name = place.split(".")
    for folder in folders:
        body = body.setdefault(folder, {})
    body[name] = dict(value) if isinstance(value, dict) else value
