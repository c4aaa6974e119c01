"""Which member of a Galera cluster that is down as a whole begins it again. Decided from what every member says, and only where nothing is lost.

A member's position is (uuid, seqno): of which history it has how many transactions. A cluster that went down together has one history,
and whoever has most of it has every transaction that was acknowledged.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.phrases import few

NOBODYS: Final = "00000000-0000-0000-0000-000000000000"
FRESH: Final = 3600.0  # seconds for which a member's word counts


@dataclass(frozen=True, slots=True)
class Member:
    """What one host says of its own. `seqno` -1: it does not know; `safe`: it was the last to leave in order; `serves`: it answers
    queries, as part of a cluster with a majority. `at`: seconds since the epoch. Raises ValueError for a number that Galera has not."""

    host: str
    at: float
    data: bool
    uuid: str = ""
    seqno: int = -1
    safe: bool = False
    serves: bool = False

    def __post_init__(self) -> None:
        if not -1 <= self.seqno < 1 << 63:
            raise ValueError("no number of a transaction")


@dataclass(frozen=True, slots=True)
class Decision:
    """`host` begins; "": nobody may, for the reason `why`."""

    host: str
    why: str


def decide(members: Sequence[str], said: Mapping[str, Member], now: float, lost: Collection[str] = ()) -> Decision:
    """Who begins. `members`: all that the site has; `lost`: those whose data are gone for good, as an operator says.

    Rules in order, the first that fits decides.
    """
    if strangers := sorted((set(said) | set(lost)) - set(members)):
        return Decision("", f"{few(strangers)} is no member of this cluster ({', '.join(members)})")
    heard = {host: said[host] for host in members if host in said and host not in lost}
    if serving := [host for host, one in heard.items() if one.serves]:
        if strange := _of_another_history(heard, serving):
            return Decision(
                "",
                f"{few(serving)} serves another history than {few(strange)} has: started now, that would give up its own data and copy those. "
                f"Whose is right nobody can tell but you. When not those of {serving[0]}: `reconciler suspend` and `docker stop mariadb` there, "
                f"and --lost {serving[0]} here",
            )
        return Decision(
            "", f"{few(serving)} serves: the cluster is not down, and members that are started join it by themselves"
        )
    if silent := [host for host in members if host not in heard and host not in lost]:
        return Decision(
            "",
            f"{few(silent)} said nothing, and may have transactions that nobody else has: run `reconciler recover mariadb look` there; or "
            f"say that its data are gone for good (--lost {silent[0]})",
        )
    if stale := [host for host, one in heard.items() if not -FRESH <= now - one.at <= FRESH]:
        return Decision("", f"{few(stale)} looked more than an hour ago, or its clock is wrong: look again there")
    having = {host: one for host, one in heard.items() if one.data}
    if not having:
        return Decision(
            "", "no member has data: restore a backup (`reconciler recover mariadb restore`, docs/operations.md)"
        )
    if unknown := [host for host, one in having.items() if one.seqno < 0 or one.uuid in ("", NOBODYS)]:
        return Decision(
            "",
            f"{few(unknown)} has data and does not know how far they go: look into the log of its database; or say that they are gone "
            f"for good (--lost {unknown[0]}), and it copies those of another",
        )
    histories = sorted({one.uuid for one in having.values()})
    if len(histories) > 1:
        told = "; ".join(
            f"{', '.join(h for h, one in having.items() if one.uuid == uuid)}: {uuid}" for uuid in histories
        )
        return Decision(
            "",
            f"members have different histories ({told}): whose is right nobody can tell but you, with --lost for the others",
        )
    most = max(one.seqno for one in having.values())
    if ahead := [host for host, one in having.items() if one.safe and one.seqno < most]:
        return Decision(
            "",
            f"{few(ahead)} left last in order and yet has fewer transactions than another one: somebody went on alone; whose is right nobody "
            "can tell but you, with --lost for the others",
        )
    newest = [host for host, one in having.items() if one.seqno == most]
    first = next((host for host in newest if having[host].safe), newest[0])
    return Decision(
        first, f"it has all {most} transactions" + ("" if len(newest) == 1 else f", as have {len(newest) - 1} others")
    )


def _of_another_history(heard: Mapping[str, Member], serving: Sequence[str]) -> list[str]:
    """Members with data of a history that nobody who serves has."""
    served = {heard[host].uuid for host in serving}
    if "" in served:
        return []
    return [
        host for host, one in heard.items() if one.data and one.uuid not in ("", NOBODYS) and one.uuid not in served
    ]
