"""`recover mariadb look`, `begin`: a Galera cluster that is down as a whole; `restore`, `aside`: a backup in the place of its data."""

import getpass
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import output, written
from reconciler.cli.options import config_option, json_option, load_settings
from reconciler.reasons import Reason
from reconciler.text import printable

if TYPE_CHECKING:
    from reconciler.engine import Engine
    from reconciler.etcd import Store
    from reconciler.etcd.client import Key
    from reconciler.model import Container
    from reconciler.node.node import Node
    from reconciler.rollout.galera import Decision, Member

_PREFIX = "recover/mariadb/"
_WHY = "the database is being recovered"
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def recover() -> None:
    """Bring back what cannot come back by itself."""


@recover.group()
def mariadb() -> None:
    """A Galera cluster that is down as a whole, after a power cut; or whose data a backup is to replace.

    `look` on every host with the database, then `begin` on the one that it names, then `reconciler resume` on the others.

    For a backup: `restore` on mariadb_backup_host, `aside` on the others, then `reconciler resume`, first where it was restored.
    """


@dataclass(frozen=True, slots=True)
class _Here:
    """This host, its member, all members by the accepted commit, and the fleet's etcd (None: hosts do not talk through one)."""

    node: "Node"
    engine: "Engine"
    container: "Container"
    members: Sequence[str]
    store: "Store | None"

    @property
    def host(self) -> str:
        return self.node.settings.host


@mariadb.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write it to this file, for --from elsewhere."
)
@json_option
@config_option
def look(out: Path | None, json_: bool) -> None:
    """Tell how far this host's data go.

    A member that serves is left alone. One that does not is stopped, and this node is suspended until `begin` or `resume`. With [fleet]
    in the settings the answer is left in etcd for the others as well.
    """
    from reconciler.node import galera

    with _here() as here:
        if not galera.serving(here.engine, here.container):
            _suspend(here.node)
            here.node.state.put_down(here.container.name)
        with output.progress("looking at the data"):
            found = galera.look(here.engine, here.container, here.host)
        # What was found is shown and written before anything that may fail: this member is stopped by now.
        text = json.dumps(asdict(found))
        if json_:
            output.document(text)
        else:
            _table([found.host], {found.host: found})
        if out:
            written.write(out, text + "\n")
        instead = (
            f"bring {out} to where the cluster begins (`begin --from`)"
            if out
            else "say it again with --out FILE, for `begin --from` elsewhere"
        )
        told = _tell(here, found, instead=instead)
    if json_:
        return
    if found.serves:
        output.line("this member serves: nothing was stopped", "ok")
        return
    kept = " It was left in etcd." if told else ""
    output.line(f"the container is stopped, and this node suspended.{kept}")
    others = [host for host in here.members if host != here.host]
    if others:
        output.line(f"now the same on {', '.join(others)}, then `reconciler recover mariadb begin` on any of them")


@mariadb.command()
@click.option(
    "--from", "files", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `look` wrote on another host; may be repeated. Without, what is in the fleet's etcd counts.",
)  # fmt: skip
@click.option("--lost", multiple=True, metavar="HOST", help="A member whose data are gone for good; may be repeated.")
@_YES
@json_option
@config_option
def begin(files: tuple[Path, ...], lost: tuple[str, ...], yes: bool, json_: bool) -> int:
    """Begin the cluster on this host, where no other member has more.

    Shows what every member said, and refuses where anything could be lost: a member that said nothing, two histories. Exits with 1
    when this host is not the one.
    """
    from reconciler.node import galera
    from reconciler.rollout.galera import Member, decide

    with _here() as here:
        said = _said(here, files)
        decision = decide(here.members, said, time.time(), lost)
        if json_:
            rows = {host: asdict(one) for host, one in said.items()}
            output.as_json({"members": rows, "host": decision.host, "why": decision.why})
        else:
            _table(here.members, said, lost)
        if not decision.host:
            raise errors.Terminal(decision.why, reason=Reason.RecoveryRefused)
        if decision.host != here.host:
            output.line(f"{decision.host} begins: {decision.why}. Run the same there.", err=json_)
            return 1
        if not yes:
            _ask(here, decision, lost)
        now = galera.look(here.engine, here.container, here.host)
        if (now.uuid, now.seqno) != (said[here.host].uuid, said[here.host].seqno):
            raise errors.Terminal(
                "the data of this host changed since it looked: look again", reason=Reason.RecoveryRefused
            )
        with output.progress("starting"):
            galera.begin(here.engine, here.container, here.container.start_timeout)
        here.node.state.resume()
        others = [host for host in here.members if host != here.host]
        if not json_:
            output.line(f"the cluster has begun on {here.host}, which serves", "ok")
            if others:
                output.line(f"now `reconciler resume` on {', '.join(others)}: they join it, one after the other")
        # The cluster goes on from here: at the next power cut, be it within the hour, they have to look anew.
        serves = Member(here.host, time.time(), data=True, uuid=now.uuid, serves=True)
        _tell(here, serves, others, instead="at a power cut within the hour let every host `look` again before `begin`")
    return 0


@mariadb.command()
@click.argument("name")
@_YES
@click.option("--hours", default=12.0, show_default=True, help="How long unpacking may take.")
@config_option
def restore(name: str, yes: bool, hours: float) -> None:
    """Put the backup NAME in the place of the data of this host's member; what is there stays beside it.

    On mariadb_backup_host, with all members stopped. It is unpacked beside the data and only then moved in; until it is all there
    nothing of the data is touched. Cut short, it is said again and goes on. This node is suspended until `resume`.
    """
    from reconciler.node import backups, restoring

    with _here() as here:
        (keeper,) = backups.keepers(here.node.state.memory(), restoring.KEEPER)
        restoring.require_down(here.engine, here.container)
        if not yes:
            click.confirm(printable(f"Put {name} in the place of the data of {here.host}?"), abort=True)
        _stop(here)
        with output.progress(f"{name} is unpacked, and moved in"):
            before = restoring.restore(here.engine, keeper, here.container, name, hours * 3600)
        others = ", ".join(host for host in here.members if host != here.host)
    output.line(f"{name} is in its place{_kept(before)}", "ok")
    if others:
        output.line(
            f"now `reconciler recover mariadb aside` on {others}, then `reconciler resume` here; once this host serves, there"
        )
    else:
        output.line("now `reconciler resume`")


@mariadb.command()
@_YES
@config_option
def aside(yes: bool) -> None:
    """Move the data of this host's member aside, so that it copies those of another once it is resumed.

    For the members beside the one that got a backup back. This node is suspended until `resume`.
    """
    from reconciler.node import restoring

    with _here() as here:
        restoring.require_down(here.engine, here.container)
        if not yes:
            question = f"Move the data of {here.host} aside? It copies the database of another member then, which removes them."
            click.confirm(printable(question), abort=True)
        _stop(here)
        before = restoring.aside(here.engine, here.container)
    output.line(f"{here.host} has no database{_kept(before)}", "ok")
    output.line("`reconciler resume` here once the member serves whose data are to count")


def _kept(before: str) -> str:
    return f"; what was there is in {before}" if before else ""


def _stop(here: _Here) -> None:
    """Suspend this node and stop its member. What flies has landed by then, so that nothing starts it again."""
    with here.node.state.cycle(wait=60.0):
        _suspend(here.node)
        here.node.state.put_down(here.container.name)
    if here.engine.exists(here.container.name):
        here.engine.stop(here.container.name, here.container.stop_timeout)


def _ask(here: _Here, decision: "Decision", lost: Sequence[str]) -> None:
    gone = f" What only {', '.join(lost)} had is given up." if lost else ""
    question = f"Begin the cluster on {here.host}? {decision.why[:1].upper()}{decision.why[1:]}.{gone}"
    click.confirm(printable(question), abort=True)


def _suspend(node: "Node") -> None:
    from reconciler.state import Suspension

    if node.state.suspension is None:
        node.state.suspend(Suspension(_WHY, datetime.now(UTC), getpass.getuser()))


def _said(here: _Here, files: Sequence[Path]) -> "Mapping[str, Member]":
    """What members said, by host; of two words of one host the later. A host speaks of itself, under its own key. With `files` an etcd that
    does not answer has heard nothing: the same outage may have taken it away."""
    from reconciler.codec import UNREADABLE, from_json
    from reconciler.etcd.store import decode, foreign
    from reconciler.rollout.galera import Member

    found: list[Member] = []
    for path in files:
        try:
            found.append(from_json(Member, json.loads(path.read_text())))
        except UNREADABLE:
            raise errors.Terminal(
                f"{path} is not what `reconciler recover mariadb look --out` writes", reason=Reason.RecoveryFailed
            ) from None
    for name, key in _heard(here, bool(files)).items():
        if name.startswith(_PREFIX):
            found.append(decode(Member, key))
            if found[-1].host != name.removeprefix(_PREFIX):
                raise foreign(key)
    latest: dict[str, Member] = {}
    for one in sorted(found, key=lambda one: one.at):
        latest[one.host] = one
    return latest


def _heard(here: _Here, without: bool) -> "Mapping[str, Key]":
    """The site's keys in etcd. `without`: it goes on where that does not answer. Raises errors.Transient (EtcdUnavailable)."""
    from reconciler.etcd import UnavailableError

    if here.store is None:
        return {}
    try:
        return here.store.everything()
    except UnavailableError as error:
        if not without:
            raise errors.Transient(
                f"{error}: give what `reconciler recover mariadb look --out FILE` wrote on each host (--from FILE)",
                reason=error.reason,
            ) from None
        output.line(f"{error}: only what --from gives counts", "warn", err=True)
        return {}


def _tell(here: _Here, found: "Member", forget: Iterable[str] = (), *, instead: str) -> bool:
    """Leave it in etcd for the others, where that answers; `instead` is what to do where it does not. `forget`: hosts whose words do not
    count any more."""
    from reconciler.etcd import UnavailableError
    from reconciler.rollout.records import Transaction

    if here.store is None:
        return False
    gone = tuple(f"{_PREFIX}{host}" for host in forget)
    try:
        return here.store.try_(Transaction({}, {f"{_PREFIX}{here.host}": found}, gone))
    except UnavailableError as error:
        output.line(f"{error}, so nothing was left there: {instead}", "warn", err=True)
        return False


def _table(members: Sequence[str], said: "Mapping[str, Member]", lost: Sequence[str] = ()) -> None:
    rows = []
    for host in [*members, *(host for host in said if host not in members)]:
        one = said.get(host)
        if one is None or host in lost:
            rows.append([host, "lost" if host in lost else "said nothing", "", "", ""])
            continue
        state = "serves" if one.serves else "stopped" if one.data else "no data"
        at = output.ago(max(time.time() - one.at, 0.0)) + " ago"
        seqno = str(one.seqno) if one.seqno >= 0 else "" if one.serves or not one.data else "unknown"
        rows.append([host, state + (", left last" if one.safe else ""), seqno, one.uuid, at])
    output.table(["HOST", "STATE", "TRANSACTIONS", "HISTORY", "LOOKED"], rows)


@contextmanager
def _here() -> Iterator[_Here]:
    from reconciler.etcd import Store, connect
    from reconciler.node import galera
    from reconciler.node.node import Node

    settings = load_settings()
    with ExitStack() as stack:
        node = stack.enter_context(closing(Node(settings, forge=False)))
        node.require_state()
        container = galera.member(node.state.memory())
        revision, _ = node.in_force
        target = node.aims.of(revision)
        rollout = target.prepared.rollout
        assert rollout is not None
        store = None
        if settings.fleet.etcd:
            client = stack.enter_context(closing(connect(settings.fleet)))
            store = Store(client, target.desired.site)
        budget = rollout.budgets.get(galera.NAME)
        yield _Here(node, node.engine, container, budget.members if budget else (settings.host,), store)
