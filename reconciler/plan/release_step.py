"""Steps between releases of OpenStack that a node would not take."""

import re
from collections.abc import Iterable
from datetime import date
from typing import Final

from reconciler import releases
from reconciler.model import Desired, Memory, Order
from reconciler.plan.accepted import accepted
from reconciler.releases import RELEASE_STEP

_IN_TAG: Final = re.compile(r":(20\d\d\.[1-9])-")


def carried_out(memory: Memory) -> tuple[str, ...]:
    """The release of what was last carried out; where the program of then did not say it, those that the tags of its images name."""
    good = memory.last_good
    if good is None:
        return ()
    if good.release:
        return (good.release,)
    return tuple(sorted({found[1] for container in good.containers if (found := _IN_TAG.search(container.image))}))


def crossed(memory: Memory, desired: Desired) -> str:
    """The release that this host is of, where it goes to another one; "" where it does not, or where none is known."""
    found = [one for one in carried_out(memory) if releases.order(one)]
    return next((one for one in found if releases.order(desired.release) and one != desired.release), "")


def orders(memory: Memory, desired: Desired) -> tuple[Order, ...]:
    """What counts here of the order among hosts: where this one goes to another release, what counts only then as well."""
    if not crossed(memory, desired):
        return desired.orders
    return tuple(order.upgrading for order in desired.orders)


def known(memory: Memory) -> tuple[str, ...]:
    """The releases that this node is of: what it last carried out, and what an upgrade that did not end migrated its databases to."""
    found = (*carried_out(memory), memory.schema_release)
    return tuple(dict.fromkeys(release for release in found if release))


def refused(before: Iterable[str], after: Desired, today: date | None = None) -> str:
    """Why a host of these releases cannot become `after`; "" when it can, or when somebody answers for it. `today`: see `accepted`."""
    found = next((why for release in before if (why := releases.refusal(release, after.release))), "")
    if not found or accepted(after.policy, RELEASE_STEP, after.host, today):
        return ""
    return f"openstack_release {found}"
