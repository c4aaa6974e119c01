"""Steps between releases of OpenStack that a node would not take."""

from collections.abc import Iterable
from datetime import date

from reconciler import releases
from reconciler.model import Desired, Memory
from reconciler.plan.accepted import RELEASE_STEP, accepted


def known(memory: Memory) -> tuple[str, ...]:
    """The releases that this node is of: what it last carried out, and what an upgrade that did not end migrated its databases to."""
    good = memory.last_good.release if memory.last_good else ""
    return tuple(dict.fromkeys(release for release in (good, memory.schema_release) if release))


def refused(before: Iterable[str], after: Desired, today: date | None = None) -> str:
    """Why a host of these releases cannot become `after`; "" when it can, or when somebody answers for it. `today`: see `accepted`."""
    found = next((why for release in before if (why := releases.refusal(release, after.release))), "")
    if not found or accepted(after.policy, RELEASE_STEP, after.host, today):
        return ""
    return f"openstack_release {found}"
