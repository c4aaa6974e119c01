"""Members that leave together and leave no majority behind: what a node would not carry out, and a review refuses."""

from datetime import date

from reconciler.model import Desired
from reconciler.model.names import QUORUM
from reconciler.phrases import few
from reconciler.plan.accepted import accepted


def refused(before: Desired, after: Desired, today: date | None = None) -> str:
    """What is wrong with who is a member in `after`, as a host sees it that has carried out `before`; "" when nothing is, or when somebody
    answers for it. `today`: see `accepted`.

    The members that stay have to be most of those that were, for only they can say that the others are none any more. Of two the one that
    leaves is asked as well.
    """
    now = {order.name: order for order in after.orders}
    found = []
    for order in before.orders:
        here = now.get(order.name)
        if here is None or not here.members:
            continue  # this host is no member any more: those that are say so
        gone = [host for host in order.members if host not in here.members]
        stay = len(order.members) - len(gone)
        if len(order.members) > 2 and stay <= len(order.members) // 2:
            found.append(f"{order.name} ({stay} of {len(order.members)} would stay, without {few(gone)})")
    if not found or accepted(after.policy, QUORUM, after.host, today):
        return ""
    return (
        f"too many members leave at once: {few(found)}. What stays would be no majority, and could neither work nor forget the others; let them "
        f"leave one commit after the other, or, if all of them run meanwhile, say so in reconciler.yml: "
        f"accept: [{{check: {QUORUM}, who: …, why: …, until: …}}]"
    )
