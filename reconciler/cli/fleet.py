"""`fleet`: what the hosts of a site have agreed upon through etcd, and what an operator may say about it."""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.etcd import Store
    from reconciler.etcd.client import Key
    from reconciler.node.node import Node
    from reconciler.rollout.policy import Rollout
    from reconciler.rollout.records import Roll, Transaction

_TRIES = 5


@click.group()
def fleet() -> None:
    """What the hosts of this site have agreed upon through etcd.

    Run it on any node: all read and write the same. docs/fleet.md has the rules.
    """


@contextmanager
def _joined() -> Iterator[tuple["Node", "Store", "Rollout"]]:
    """This node, the site's keys, and the waves as this node's accepted commit has them. Raises errors.Terminal (NoRevision, SettingsInvalid)."""
    from reconciler.etcd import Store, connect
    from reconciler.node.node import Node

    settings = load_settings()
    if not settings.fleet.etcd:
        raise errors.Terminal(
            "this node's settings name no etcd, so it agrees with nobody: add `[fleet]` with `etcd = […]`",
            reason=Reason.SettingsInvalid,
        )
    node, client = Node(settings, forge=False), connect(settings.fleet)
    try:
        node.require_state()
        revision, _ = node.in_force
        if not revision:
            raise errors.Terminal("no commit was ever accepted here: `reconciler reconcile`", reason=Reason.NoRevision)
        target = node.aims.of(revision)
        rollout = target.prepared.rollout
        assert rollout is not None
        yield node, Store(client, target.desired.site), rollout
    finally:
        client.close()
        node.close()


def _said(reason: str) -> dict[str, str]:
    return {"by": getpass.getuser(), "why": reason, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _roll(keys: dict[str, "Key"]) -> "Roll":
    """Raises errors.Terminal (NothingToDo): none was ever begun."""
    from reconciler.etcd.store import decode
    from reconciler.rollout.records import ROLL, Roll

    if ROLL not in keys:
        raise errors.Terminal("no commit was ever rolled out through this etcd", reason=Reason.NothingToDo)
    return decode(Roll, keys[ROLL])


def _write(store: "Store", make: Callable[[dict[str, "Key"]], "Transaction"]) -> None:
    """Make a transaction of what is there, until nobody was faster. Raises errors.Transient (EtcdUnavailable)."""
    for _ in range(_TRIES):
        if store.try_(make(store.everything())):
            return
    raise errors.Transient("hosts keep writing at the same time: try again", reason=Reason.EtcdUnavailable)


@fleet.command()
@json_option
@config_option
def status(json_: bool) -> None:
    """Show the commit being rolled out, the waves, who holds what, what waits for whom, and etcd's members.

    Exits with 1 when etcd cannot be asked; what each of its members answers is shown all the same.
    """
    from reconciler.etcd import snapshot
    from reconciler.rollout.overview import lines, overview

    with _joined() as (node, store, rollout):
        commit, _ = node.in_force
        members = [
            {"url": one.url, "leader": one.leader, "version": one.version, "bytes": one.size, "fault": one.fault}
            for one in store.client.members()
        ]
        try:
            told, problem = overview(snapshot(store), rollout, commit), None
        except errors.Transient as error:
            told, problem = {}, error
    if json_:
        output.as_json({**told, "etcd": members})
    else:
        for line in lines(told) if told else ():
            output.line(line)
        for line in _members(members):
            output.line(line)
    if problem:
        raise problem


def _members(found: list[dict[str, Any]]) -> Iterator[str]:
    for one in found:
        what = one["fault"] or f"etcd {one['version']}, {one['bytes'] >> 10} KiB"
        yield f"  {one['url']}: {what}{' (leader)' if one['leader'] else ''}"


@fleet.command()
@click.option("--reason", required=True, help="Why; every host that waits shows it.")
@config_option
def halt(reason: str) -> None:
    """Stop the rollout: nothing more of it begins on any host. What is in flight is finished."""
    from dataclasses import replace

    from reconciler.rollout.records import ROLL, Halt, Transaction

    def make(keys: dict[str, "Key"]) -> "Transaction":
        halted = replace(_roll(keys), halt=Halt(**_said(reason)))
        return Transaction({ROLL: keys[ROLL].revision}, {ROLL: halted})

    with _joined() as (_, store, _rollout):
        _write(store, make)
    output.line("halted: each host obeys from its next pass on")


@fleet.command()
@click.option("--reason", required=True, help="Why; kept with the rollout.")
@config_option
def resume(reason: str) -> None:
    """Go on with a rollout that was halted. Hosts that failed stay as they are until a commit mends them."""
    from dataclasses import replace

    from reconciler.rollout.records import ROLL, Transaction

    said = _said(reason)

    def make(keys: dict[str, "Key"]) -> "Transaction":
        roll = _roll(keys)
        if roll.halt is None:
            raise errors.Terminal("the rollout is not halted", reason=Reason.NothingToDo)
        # Who failed is remembered, or the same hosts would halt it again in their next pass.
        resumed = replace(roll, halt=None, resumed=f"{said['by']}: {reason} ({said['at']})")
        return Transaction({ROLL: keys[ROLL].revision}, {ROLL: resumed})

    with _joined() as (_, store, _rollout):
        _write(store, make)
    output.line("resumed")


@fleet.command()
@click.argument("host")
@click.option("--reason", required=True, help="Why; shown in the status.")
@config_option
def excuse(host: str, reason: str) -> None:
    """Do not wait for HOST in the rollout of this commit: it is down, and is known to be."""
    from reconciler.rollout.records import ROLL, Transaction, excuse_key

    with _joined() as (_, store, rollout):
        _known(host, rollout)

        def make(keys: dict[str, "Key"]) -> "Transaction":
            key = excuse_key(_roll(keys).commit, host)
            return Transaction({ROLL: keys[ROLL].revision}, {key: _said(reason)})

        _write(store, make)
    output.line(f"{host} is not waited for in this rollout")


@fleet.command()
@click.argument("what", metavar="HOST|JOB")
@click.option(
    "--reason", required=True, help="Why it is certain that the host is at nothing any more, or the job runs nowhere."
)
@config_option
def release(what: str, reason: str) -> None:
    """Give back what HOST holds, because it never will; or the claim of JOB, which then runs anew.

    For a host first make certain that it is off, or that its members are well: whoever waits for these places stops the next member
    right after. For a job that its container (of the job's name, on the host that began it) does not run any more and never will, and
    that what it did can be done again; for one that makes something that exists once, such as a new database, that no member has data.
    """
    with _joined() as (_, store, _rollout):
        gone: list[str] = []
        _write(store, lambda keys: _released(keys, what, reason, gone))
    output.line(f"given back: {', '.join(gone)}")


def _released(keys: dict[str, "Key"], what: str, reason: str, gone: list[str]) -> "Transaction":
    """What gives back everything of a host, or a job; `gone` are the keys. Raises errors.Terminal (NothingToDo)."""
    from reconciler.etcd.store import place
    from reconciler.rollout.records import Transaction, job_key, permit_key, release_key

    own = (permit_key(what), job_key(what))
    held = [name for name, key in keys.items() if name.startswith("budget/") and place(key).host == what]
    gone[:] = [*held, *(name for name in own if name in keys)]
    if not gone:
        raise errors.Terminal(
            f"{what} holds nothing, and is no job that was begun: `reconciler fleet status` shows both",
            reason=Reason.NothingToDo,
        )
    return Transaction(
        {name: keys[name].revision for name in gone}, {release_key(what): _said(reason)}, deletes=tuple(gone)
    )


@fleet.command()
@click.option("--reason", required=True, help="What for; whoever waits for this host shows it.")
@config_option
def lend(reason: str) -> None:
    """Take all budgets of this host for a maintenance: a reboot, a disk, another tool.

    Exits with 0 once it holds them; then no other member is stopped until `give-back`, and nothing new is carried out here. Exits with
    1 while others hold them, or are not ready.
    """
    from reconciler.rollout.decide import Wait

    with _joined() as (node, _, _rollout):
        revision, _ = node.in_force
        with node.state.cycle(wait=60.0):
            found = node.permits.lend(revision, f"{getpass.getuser()}: {reason}")
        if isinstance(found, Wait):
            raise errors.Transient(found.message, reason=found.why)
    output.line("this host is lent: `reconciler fleet give-back` ends it")


@fleet.command("accept-restored")
@click.option("--reason", required=True, help="Why it is certain that no host is at anything.")
@config_option
def accept_restored(reason: str) -> None:
    """Go on with an etcd that was restored from a backup or made anew.

    Hosts that had seen a newer one ask it for nothing until then: it may have forgotten what they hold. First see on every host that
    it is well and at nothing (`reconciler status`).
    """
    import secrets

    from reconciler.rollout.records import ACCEPTED, Transaction

    said = {**_said(reason), "id": secrets.token_hex(8)}
    with _joined() as (_, store, _rollout):
        _write(
            store,
            lambda keys: Transaction({ACCEPTED: keys[ACCEPTED].revision if ACCEPTED in keys else 0}, {ACCEPTED: said}),
        )
    output.line("accepted: each host goes on with its next pass")


@fleet.command("give-back")
@config_option
def give_back() -> None:
    """End what `lend` began, once everything here runs again."""
    with _joined() as (node, _store, _):
        given_back(node)
    output.line("given back")


def given_back(node: "Node") -> None:
    """End what `lend` began. Raises errors.Terminal (NothingToDo): this host is not lent."""
    from reconciler.etcd import Store, connect
    from reconciler.etcd.store import decode
    from reconciler.rollout.records import Permit, Transaction, permit_key

    key = permit_key(node.settings.host)

    def make(keys: dict[str, "Key"]) -> "Transaction":
        permit = decode(Permit, keys[key]) if key in keys else None
        if permit is None or not permit.lent:
            raise errors.Terminal("this host is not lent", reason=Reason.NothingToDo)
        return Transaction({key: keys[key].revision}, deletes=(key, *permit.places))

    client = connect(node.settings.fleet)
    try:
        revision, _ = node.in_force
        _write(Store(client, node.aims.of(revision).desired.site), make)
    finally:
        client.close()


def _known(host: str, rollout: "Rollout") -> None:
    if host not in rollout.hosts:
        raise errors.Terminal(f"the inventory has no host {host!r}", reason=Reason.HostUnknown)
