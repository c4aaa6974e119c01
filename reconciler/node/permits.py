"""This node among many: what it asks etcd for in a pass, and what it is told.

`rollout/` decides. Here it is put together what this host knows of itself, transactions are tried, and what may not be done yet becomes a
hold. A node without endpoints in its settings asks nobody and is held by nobody.
"""

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from threading import Event
from typing import Final

import structlog

from reconciler import errors
from reconciler.engine import Engine
from reconciler.etcd import Client, Store, UnavailableError, Watch, connect, listen
from reconciler.git import clone
from reconciler.model import Actual, Plan, Verb
from reconciler.node import host, probe, showing
from reconciler.node.aims import Aim, Aims
from reconciler.node.cluster_jobs import ClusterJobs, without_migrations
from reconciler.node.cluster_registrations import ClusterRegistrations
from reconciler.node.observing import Observer
from reconciler.node.target import Target
from reconciler.plan import rotation, withheld
from reconciler.reasons import Reason
from reconciler.report import Agreed, Report
from reconciler.rollout import decide, heard, together
from reconciler.rollout.decide import Kin, Own, Step, Wait, Write
from reconciler.rollout.jobs import Once, Self
from reconciler.rollout.policy import Rollout
from reconciler.rollout.records import ROLL, Mark, View
from reconciler.settings import Settings
from reconciler.state import StateDirectory

log = structlog.get_logger()

_NOTED: Final = 100  # revisions of etcd after which a node notes how far it has seen them
_TRIES: Final = 8  # transactions in one pass: begin, give back, claim, each lost once to another host


class Permits:
    """What this node may do, as the other hosts of its site let it. For the passes' thread."""

    def __init__(
        self, settings: Settings, state: StateDirectory, aims: Aims, observer: Observer, engine: Engine
    ) -> None:
        self._settings, self._state, self._aims = settings, state, aims
        self._observer, self._engine = observer, engine
        self._client = connect(settings.fleet) if settings.fleet.etcd else None
        self._store: Store | None = None
        self.clock: Callable[[], float] = time.monotonic
        self._seen: together.Seen = {}
        self._well: tuple[str, float] | None = None  # the revision that is kept up, and since when all is well with it
        self._failed: tuple[str, str] = ("", "")  # the revision that did not become healthy here, and why
        self._kin: tuple[tuple[str, str], Kin] | None = None  # of the commits that were compared last
        self._accepted: Target | None = None
        self._view: View | None = None
        self._fault = ""  # why etcd did not answer last; "": it did
        self._heard: heard.Heard | None = None  # None: not read from the state yet
        self._news: tuple[heard.News, ...] = ()
        self._jobs = ClusterJobs(state)
        self._registrations = ClusterRegistrations(state)
        self._watch: Watch | None = None
        self._testing = False
        self._pulls = False  # whether this pass only waits for images
        self._pulled = ""  # the commit whose images were found to be here
        self._registered = ""  # the commit whose changed passwords were found to be registered
        self._noted: Mark | None = None  # how far etcd was seen, as it is on the disk
        # The commit of which all is carried out here but what goes after other hosts' containers, and what of that is left now.
        self._late: tuple[str, frozenset[str]] = ("", frozenset())

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._client is not None:
            self._client.close()

    def listen(self, woken: Callable[[], None]) -> None:
        """Have `woken` called, from another thread, when the rollout has changed and this host may be able to go on. Once is enough."""
        if self._watch is None and self._store is not None:

            def told() -> None:
                rollout = self._rollout
                if self._aims.fleet and rollout and rollout.goes_early(self._settings.host):
                    woken()

            watch = self._watch = listen(self._settings.fleet, self._store.key(ROLL), told)
            self._store.epoch = lambda: watch.epoch

    def stay_present(self) -> float:
        """For the main loop, between passes: they may be an hour apart. See `Store.stay_present`."""
        return self._store.stay_present(self._settings.host, self.clock()) if self._store else math.inf

    # --- what a pass asks ------------------------------------------------------------------------------------------

    def agree(self, revision: str, testing: bool) -> bool:
        """Ask whether the accepted revision may be carried out now. Returns whether the answer is another one than before."""
        if self._client is None:
            return False
        self._testing = testing
        before = self._aims.fleet, self._aims.ahead
        self._aims.ahead = False
        try:
            accepted = self._accepted = self._aims.of(revision)
        except errors.Terminal:
            self._accepted = None  # this program can make nothing of it, which `Aims.aim` says
            return False
        rollout = accepted.prepared.rollout
        if rollout is None:
            return False
        if self._store is None:
            self._store = self._opened(self._client, accepted)
        own = self._own(accepted, rollout, testing=testing)
        step = self._settle(own, rollout, lambda own, view, kin: decide.step(own, view, kin, rollout), heals=testing)
        self._aims.fleet = (step.why, step.message) if isinstance(step, Wait) else None
        self._aims.ahead = not testing and decide.goes_ahead(own, self._view, step)
        self._pulls = isinstance(step, Wait) and step.pulls
        if not testing:
            self._settle_jobs(accepted, rollout)
        return (self._aims.fleet, self._aims.ahead) != before

    def admit(self, aim: Aim, plan: Plan, actual: Actual) -> Plan:
        """The plan without what would stop a member of a budget that this host holds no place of."""
        accepted, store, rollout = self._accepted, self._store, self._rollout
        if store is None or accepted is None or rollout is None:
            return plan
        if self._aims.ahead and self._aims.fleet and aim.target is accepted:
            if self._pulls and not showing.pulls(plan):
                self._pulled = accepted.desired.revision
            jobs = {f"{Verb.RUN}:{name}" for name in self._jobs.unsettled(accepted)}
            passwords = {f"{Verb.REGISTER}:{name}" for name in self._changed_passwords(accepted)}
            if actual.deep and passwords.isdisjoint(action.id for action in plan.actions):
                self._registered = accepted.desired.revision
            plan = withheld.ahead(plan, jobs | passwords, actual, *self._aims.fleet, pulls=self._pulls)
        # What a branch on trial asks of the cluster nobody else waits for, and its host waits for nobody.
        if not self._testing:
            plan = self._admit_jobs(store, aim.target, rollout, plan, actual)
        if plan.empty:
            return plan
        limited = {order.name for order in accepted.desired.orders if order.at_once}
        stopped = withheld.stops(plan.actions, actual) & limited
        budgets = showing.budgets(accepted, stopped)
        permit = self._view.permit if self._view else self._state.permit
        if not budgets or (permit and self._view and budgets <= permit.budgets and not permit.heals):
            return plan
        own = self._own(accepted, rollout, stops=budgets)
        step = self._settle(own, rollout, lambda own, view, kin: decide.heal(own, view, rollout), heals=True)
        return plan if not isinstance(step, Wait) else withheld.withhold(plan, stopped, step.why, step.message)

    def _opened(self, client: Client, accepted: Target) -> Store:
        """The site's keys; what was seen of them is remembered across restarts."""
        store = Store(client, accepted.desired.site)
        self._noted = store.mark = self._state.etcd_mark
        store.remember = self._remember
        return store

    def _remember(self, mark: Mark) -> None:
        """On the disk now and then, for every write there costs; and whenever what this host holds changes (`_look`)."""
        noted = self._noted
        same = noted is not None and (noted.cluster, noted.accepted) == (mark.cluster, mark.accepted)
        if noted is None or not same or not 0 <= mark.revision - noted.revision < _NOTED:
            self._noted = mark
            self._state.note_etcd(mark)

    def _admit_jobs(self, store: Store, target: Target, rollout: Rollout, plan: Plan, actual: Actual) -> Plan:
        """The plan without what other hosts' jobs, or their records, hold back."""
        plan = without_migrations(target, rollout, plan, lambda budgets: self._lacking(target, budgets))
        try:
            return self._jobs.admit(store, self._self(target), target, rollout, plan, actual)
        except UnavailableError as error:
            return self._jobs.without_store(target, plan, str(error))

    def _settle_jobs(self, accepted: Target, rollout: Rollout) -> None:
        """Say what became of this host's jobs and what it has registered. Where etcd does not answer the next pass says it."""
        if self._store is None or self._view is None:
            return
        try:
            self._jobs.settle(self._store, self._self(accepted), accepted)
            self._registrations.settle(self._store, accepted, rollout)
        except UnavailableError as error:
            log.warning("fleet.unavailable", message=str(error))

    def _self(self, target: Target) -> Self:
        return Self(self._settings.host, target.desired.revision, self._installation)

    def is_everywhere(self, revision: str) -> bool | None:
        """Whether every host has proved a revision, but those that an operator does not wait for; None: hosts do not talk, and nobody can
        tell."""
        if self._client is None:
            return None
        rollout, roll = self._rollout, self._view.roll if self._view else None
        if self._store is None or rollout is None or roll is None or roll.commit != revision:
            return False
        try:
            return self._store.left(revision, rollout.hosts) == frozenset()
        except UnavailableError:
            return False

    def lend(self, revision: str, why: str) -> Step:
        """Take every budget of this host for a maintenance; Go when it holds them. Raises UnavailableError."""
        accepted = self._accepted = self._aims.of(revision)
        rollout = accepted.prepared.rollout
        assert self._client is not None and rollout is not None
        self._store = self._store or self._opened(self._client, accepted)
        own = self._own(accepted, rollout, stops=frozenset(rollout.budgets))
        return self._settle(
            own,
            rollout,
            lambda own, view, kin: decide.lend(own, view, rollout, why) if view else decide.UNAVAILABLE,
            heals=True,
        )

    def pass_ended(self, report: Report) -> None:
        """What this pass showed of the host: since when it is well, and whether its commit failed here."""
        if self._client is None:
            return
        self._well = showing.well_since(self._well, report, self.clock())
        if report.kept != report.revision:
            return
        if self._late[0] != report.revision or report.plan is not None:
            self._late = self._only_late(report)
        quarantined = next((f"{held.target}: {held.message}" for held in report.quarantined), "")
        broken = next((f"{o.action.target}: {o.message}" for o in report.failed if showing.is_to_blame(o)), "")
        if quarantined or broken:
            self._failed = (report.revision, (quarantined or broken).partition("\n")[0])
        elif showing.is_well(report):
            self._failed = ("", "")

    def take_news(self, at: datetime) -> tuple[Mapping[str, str], ...]:
        """What was heard of the others and obeyed since this was asked last, for the history."""
        found, self._news = self._news, ()
        return tuple({"at": at.isoformat(timespec="seconds"), "target": one.target, "text": one.text} for one in found)

    def concluded(self) -> None:
        """The history has what was taken of it. Said before, it would be lost with a pass that is killed."""
        if self._heard is not None and not self._news and dict(self._heard) != self._state.heard:
            self._state.hear(self._heard)

    @property
    def basis(self) -> tuple[str, str, Rollout] | None:
        """The site, the accepted commit and its waves, for whoever shows the rollout; None: this node asks nobody."""
        accepted, rollout = self._accepted, self._rollout
        if self._client is None or accepted is None or rollout is None:
            return None
        return accepted.desired.site, accepted.desired.revision, rollout

    @property
    def agreed(self) -> Agreed | None:
        """What was agreed upon with the others, as it was read last; None: this node asks nobody, or has not asked yet."""
        view, permit = self._view, self._state.permit
        if self._client is None or (view is None and not self._fault):
            return None
        roll = view.roll if view else None
        return Agreed(
            self._fault,
            roll.commit if roll else "",
            f"{roll.halt.by}: {roll.halt.why}" if roll and roll.halt else "",
            tuple(sorted(permit.budgets)) if permit else (),
            permit.lent if permit else "",
        )

    def _only_late(self, report: Report) -> tuple[str, frozenset[str]]:
        """See `_late`."""
        held = frozenset(one.target for one in (report.plan.held if report.plan else ()) if not one.reason.harmless)
        now = held if held <= self._jobs.late and showing.is_well(report) else frozenset[str]()
        return (report.revision if now or self._late[0] == report.revision else "", now)

    @property
    def settles_in(self) -> float | None:
        """Seconds until a place that is held may be given back, or one claimed, as far as that is known; None: none is waited for, or not
        for a time."""
        accepted, rollout = self._accepted, self._rollout
        if self._well is None or accepted is None or rollout is None:
            return None
        if self._pulls and self._pulled == accepted.desired.revision:
            return 0.0
        left = self._well[1] + rollout.bake - self.clock()
        return left if left > 0 and self._view and self._view.permit else None

    # --- asking ------------------------------------------------------------------------------------------------------

    def _settle(
        self, own: Own, rollout: Rollout, ask: Callable[[Own, View | None, Kin], Step], *, heals: bool = False
    ) -> Step:
        """Read, decide and write, until there is nothing to write. What was written is read again: its answer may have been lost."""
        try:
            for _ in range(_TRIES):
                view = self._look(own, rollout, heals)
                step = ask(replace(own, held=self._state.permit), view, self._kin_of(own, view))
                if not isinstance(step, Write):
                    self._do_chores(own, view, rollout)
                    return step
                done = self._try(step)
                log.info("fleet.wrote" if done else "fleet.lost", what=step.what)
        except UnavailableError as error:
            log.warning("fleet.unavailable", message=str(error))
            self._view, self._fault = None, str(error)
            step = ask(replace(own, held=self._state.permit), None, Kin.SAME)
            return replace(step, message=str(error)) if isinstance(step, Wait) else step
        return Wait(Reason.WaitsForBudget, "other hosts were faster; the next pass tries again")

    def _look(self, own: Own, rollout: Rollout, heals: bool) -> View:
        store = self._store
        assert store is not None
        store.be_present(own.host, self.clock())
        permit = self._state.permit
        budgets = {*own.budgets, *(permit.budgets if permit else ())} & rollout.budgets.keys()
        first = {*rollout.before(own.host), *(rollout.address_group(own.host) if own.holds_address else ())}
        known = own.host in rollout.hosts
        view = store.view(
            own.host,
            own.commit,
            rollout,
            budgets,
            first if known else (),
            changes=own.changes,
            heals=heals,
            jobs=[job.name for job in own.awaits],
            held=permit is not None,
        )
        self._view, self._fault = view, ""
        if view.is_proved:
            self._state.note_proved()
        before = self._state.heard if self._heard is None else self._heard
        fresh, self._heard = heard.news(view, own.host, before)
        self._news += fresh
        if view.permit != permit and store.mark:
            self._state.note_etcd(store.mark)
        self._state.hold_permit(view.permit)
        return view

    def _try(self, step: Write) -> bool:
        assert self._store is not None
        return self._store.try_(step.transaction)

    def _do_chores(self, own: Own, view: View, rollout: Rollout) -> None:
        """What any host does for all: only where its Git is the one being rolled."""
        if view.partial:
            return
        now = self.clock()
        self._seen = together.note(view, self._seen, now, rollout)
        if view.roll is None or view.roll.commit != own.commit or self._store is None:
            return
        wanted = together.chore(view, self._seen, now, rollout)
        if wanted and self._store.try_(wanted):
            log.info("fleet.wrote", what="for all", keys=sorted({*wanted.puts, *wanted.deletes}))

    def _kin_of(self, own: Own, view: View) -> Kin:
        rolled = view.roll.commit if view.roll else ""
        if not rolled or rolled == own.commit:
            return Kin.SAME
        pair = (rolled, own.commit)
        if self._kin is None or self._kin[0] != pair:
            try:
                older = clone.is_ancestor(self._state.repository, rolled, own.commit)
            except errors.ReconcilerError as error:
                if error.reason is not Reason.RevisionUnknown:
                    return Kin.NEWER  # nobody can tell now
                older = False  # all of the history of what is accepted is here
            self._kin = (pair, Kin.ANCESTOR if older else Kin.NEWER)
        return self._kin[1]

    # --- what this host knows of itself ------------------------------------------------------------------------------

    def _own(
        self, accepted: Target, rollout: Rollout, *, testing: bool = False, stops: frozenset[str] | None = None
    ) -> Own:
        """About the accepted revision; with `stops` about the budgets of members that something else than a commit would stop."""
        permit, begun = self._state.permit, self._begun(accepted)
        commit = accepted.desired.revision
        anchor = self._state.anchor
        is_new = self._is_new
        budgets, wants, awaits = (stops, False, ()) if stops is not None else self._asked(accepted)
        if stops is None and begun and permit:
            budgets |= permit.budgets & rollout.budgets.keys()
        # While something else holds everything back here, nothing is claimed that nobody would use.
        held_back = [
            hold
            for hold in self._aims.holds(accepted.desired.policy)
            if hold.reason not in showing.OURS - {Reason.OutsideWindow}
        ]
        own = Own(
            self._settings.host,
            anchor.commit if testing and anchor else commit,
            self._installation,
            changes=wants,
            budgets=frozenset() if is_new and stops is None else budgets,
            begun=begun,
            failed=self._failed[1] if self._failed[0] == commit else "",
            is_new=is_new,
            holds_address=self._holds_address(accepted, budgets),
            apart=testing,
            free=not held_back,
            awaits=awaits,
            jobs=() if stops is not None or is_new or testing else self._jobs.unsettled(accepted),
            shut_out="" if stops is not None else self._aims.shut_out or "",
            registers=stops is None and not is_new and not testing and bool(self._changed_passwords(accepted)),
            late=self._late[0] == commit,
            left=self._left(accepted),
            images=stops is not None or testing or self._pulled == commit or not self._new_images(accepted),
        )
        baked = self._well is not None and self.clock() - self._well[1] >= rollout.bake
        due = {*budgets, *((permit.budgets & rollout.budgets.keys()) if permit and baked else ())}
        ready = self._ready(accepted, due) if due and (stops is not None or baked or not begun) else {}
        return replace(own, ready=ready, baked=baked, settled=baked and all(ready.get(name, True) for name in due))

    @property
    def _is_new(self) -> bool:
        """Whether nothing here counts for others yet. What goes after other hosts' containers may be open for long after the rest was proved."""
        return self._state.carried is None and not self._state.memory().proved

    def _asked(self, accepted: Target) -> tuple[frozenset[str], bool, tuple[Once, ...]]:
        """The budgets of members that the accepted revision stops, whether it asks for anything at all, and which jobs of other hosts
        that waits for."""
        asked = self._aims.asks(accepted)
        whole = self._aims.differs(accepted) if asked is None else asked
        names = withheld.stops(whole) | (frozenset(self._state.touched) if asked is None else frozenset())
        touched = {name for action in whole for name in (action.target, action.container) if name}
        awaits = self._jobs.awaited(accepted, touched if asked is not None else None)
        wants = asked is None or bool(asked)
        is_late = self._late[0] == accepted.desired.revision and bool(self._late[1])
        return showing.budgets(accepted, names), wants and not is_late, awaits

    def _left(self, accepted: Target) -> frozenset[str]:
        """The containers and jobs of the accepted revision that only go after other hosts' containers now."""
        commit, late = self._late
        desired = accepted.desired
        names = {one.name for one in desired.containers} | {one.name for one in desired.jobs}
        return late & names if commit == desired.revision else frozenset()

    def _changed_passwords(self, accepted: Target) -> frozenset[str]:
        """What this host registers with a password that the accepted revision changes, as far as it may not have done so yet."""
        carried = self._state.carried
        if carried is None or self._registered == accepted.desired.revision:
            return frozenset()
        return rotation.registered(carried.desired, accepted.desired)

    def _new_images(self, accepted: Target) -> frozenset[str]:
        """The images that the accepted revision brings beside those of what was last carried out."""
        carried = self._state.carried
        return showing.images(accepted.desired) - showing.images(carried.desired) if carried else frozenset()

    def _begun(self, accepted: Target) -> str:
        """The commit of which something was begun that concerns what runs: a job that was run ahead of this host's turn does not."""
        begun, desired = self._state.begun, accepted.desired
        beside = {*(job.name for job in desired.jobs), *(one.id for one in desired.registrations)}
        beside |= {file.path for file in desired.files} | showing.images(desired)
        beside |= {setting.id for setting in desired.host_settings}
        return begun if self._state.touched - beside else ""

    @property
    def _rollout(self) -> Rollout | None:
        """The waves of the accepted commit."""
        return self._accepted.prepared.rollout if self._accepted else None

    @property
    def _installation(self) -> str:
        """This installation, without telling the key by which its containers are known."""
        owner = self._state.owner
        return hashlib.sha256(owner.key.encode()).hexdigest()[:16] if owner else ""

    def _holds_address(self, accepted: Target, budgets: Collection[str]) -> bool:
        wanted = {o.name: o.address for o in accepted.desired.orders if o.address and o.budget in budgets}
        if not wanted:
            return False
        try:
            return len(host.missing_addresses(wanted)) < len(wanted)
        except errors.ReconcilerError as error:
            log.warning("fleet.address", message=str(error))
            return True  # it may have it: the others go first

    def _ready(self, accepted: Target, budgets: Iterable[str]) -> Mapping[str, bool]:
        """Whether each budget is as it has to be before this host stops its member."""
        return {name: not message for name, message in self._lacking(accepted, budgets).items()}

    def _lacking(self, accepted: Target, budgets: Iterable[str]) -> Mapping[str, str]:
        """What the checks of each budget say is wrong with it; "": nothing. One without checks is always well."""
        desired = accepted.desired
        orders = {
            budget: {name for order in desired.orders if order.budget == budget for name in order.ready}
            for budget in set(budgets)
        }
        asked = {name for names in orders.values() for name in names}
        checks = [check for check in (*desired.checks, *desired.readiness) if check.name in asked]
        made = probe.make(checks, self._engine, self._observer.registry(accepted), patience=0.0, stop=Event())
        for result in made:
            if not result.ok:
                log.info("fleet.not_ready", check=result.name, message=result.message)
        said = {result.name: "" if result.ok else result.message for result in made}
        # A check that this host does not make is switched off here; of one that is missing in the answer nobody can tell.
        there = {check.name for check in checks}
        return {
            name: next(
                (found for check in sorted(names & there) if (found := said.get(check, f"{check} gave no answer"))), ""
            )
            for name, names in orders.items()
        }
