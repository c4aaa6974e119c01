"""Everything a cycle needs on one node, wired together: the stages of `cycle.py` are methods here.

The node holds what is worth keeping between cycles: the connection to the git server, the engine, and desired state
with its bound contents for the accepted revision, so that a pass over an unchanged site starts no child process.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import structlog

from reconciler import alerts, apply, errors, plan, report
from reconciler.apply import FILE_VERBS, Rollback, blame
from reconciler.engine import Engine
from reconciler.forge import ForgeSettings, Status, StatusReporter, connect
from reconciler.gates import windows
from reconciler.git import tree
from reconciler.model import (
    Action,
    Actual,
    Applied,
    Check,
    CheckResult,
    Condition,
    Container,
    Desired,
    Held,
    Memory,
    Outcome,
    Plan,
    Verb,
    from_json,
)
from reconciler.node import health_gate, host, listeners, manifest, policy, probe
from reconciler.node.admission import Admission
from reconciler.node.findings import Findings
from reconciler.node.target import Target, host_policy, make_target
from reconciler.phrases import few
from reconciler.plan import rotation, second_look
from reconciler.registrations import Registry
from reconciler.render import digest, tokens
from reconciler.report import Refusal, Report, Source
from reconciler.report.summary import pending
from reconciler.secrets import sops
from reconciler.settings import Settings
from reconciler.source.follow import Follower
from reconciler.source.prepare import prepare
from reconciler.state import LOST, OURS, STATE_FAULTS, Anchor, Hold, Owner, StateDirectory
from reconciler.system import files

log = structlog.get_logger()

# Seconds that services have to answer after a change: load balancers take a backend back in their own time.
_SETTLE = health_gate.PATIENCE


class Node:
    """One node. Not thread-safe: `StateDirectory.cycle` lets one cycle in at a time."""

    def __init__(self, settings: Settings, *, engine: Engine | None = None, forge: bool = True) -> None:
        self.settings = settings
        self.state = StateDirectory(settings.state_dir)
        self.hold = Hold(self.state, settings.policy.config_roots)
        self.follower = Follower(settings, self.state, self._validate, self._require_never_here)
        self.poller = self.follower.poller
        self.engine = engine or Engine(settings.engine.url, owner="", timeout=settings.engine.timeout)
        self._rules = host_policy(settings)
        self.statuses = self._reporter() if forge and settings.forge else None
        self.alerts = self._teller() if forge and settings.alerts.targets else None
        self.stop = Event()
        self._targets: dict[str, Target] = {}  # by commit: those that are in use
        self._waiting: tuple[Held, ...] = ()
        self._as_before = False
        self._previewed: tuple[tuple[str, str], tuple[Action, ...]] | None = None
        self.closed: windows.Closed | None = None  # why changes have to wait, as of the last `target`
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._registry: tuple[Target, Registry] | None = None
        self._source: Source | None = None
        # Target → who or what caused the drift in a plan; the daemon, which hears the engine's events, knows.
        self.explain: Callable[[Plan], Mapping[str, str]] = lambda plan: {}
        # What others did that left nothing to put right: `at`, `target`, `text`.
        self.happened: Callable[[Plan], tuple[Mapping[str, str], ...]] = lambda plan: ()
        self._looked = 0.0  # at registrations and checks, and
        self._looked_inside = 0.0  # into containers
        self._deep_revision = ""
        self._failing: frozenset[str] = frozenset()  # checks that failed the last time
        self._found: Findings | None = None  # what the last deep pass found, as long as it counts
        self._validator = apply.Validator()
        self._tidied = False
        self._restless = False  # the last cycle did something: the next looks closely
        self._commit: tree.CommitInfo | None = None
        self._last: Report | None = None  # kept for when the state has it no more
        self._holds = False  # whether the state was found to be this node's
        with suppress(errors.ReconcilerError):  # whoever uses it is told
            self.hold.begin()
            self.hold.require()
            self._own(self.state.identify())

    def _own(self, owner: Owner) -> None:
        self.engine.owner, self.engine.also = owner.key, owner.also
        self._holds = True

    def require_state(self) -> None:
        """Raises errors.ReconcilerError (StateLost, StateReadOnly, StateCopied, StateCorrupt): the state cannot be relied upon, and
        nothing may be changed. Begins anew when an operator said that what is there counts."""
        try:
            self.hold.require()
        except errors.Terminal as error:
            self._holds = False
            if error.reason != LOST or not self.hold.renewed():
                raise
            self.hold.begin()
            self.hold.require()
        if not self._holds:
            self._own(self.state.identify())
            self._targets, self._found, self._source, self._commit = {}, None, None, None

    def _require_never_here(self, commit: str) -> None:
        """Raises errors.Terminal (StateLost): no commit was ever accepted here, and what a former one made is here."""
        desired = self._target_of(commit).desired
        label = f"{desired.site}/{desired.host}"
        found = self.engine.made_for(label)
        if not found:
            return
        keys = sorted({key for key in found.values() if key not in (self.engine.owner, *self.engine.also, "")})
        claims = "".join(f"`reconciler owner claim {key}`, " for key in keys)
        raise errors.Terminal(
            f"the state in {self.state.path} has never accepted a commit, but containers of {label} are here ({few(sorted(found))}): the state of "
            f"this node was lost. Put it back; or say that the commit may count, and whose the containers are: {claims}"
            f"`reconciler anchor accept {commit[:12]} --reason …`",
            reason=LOST,
        )

    def close(self) -> None:
        """Let go of connections; waits a moment for statuses and alerts that are still to be sent."""
        self.poller.close()
        if self._registry:
            self._registry[1].close()
        self.engine.close()
        self.state.let_go()
        if self.statuses:
            self.statuses.close(5.0)
        if self.alerts:
            self.alerts.close(5.0)

    # --- source: poll, fetch, trust, validate, anchor ------------------------------------------------------------

    def look_for_revision(self) -> Source:
        """Bring the anchor up to the branch's head, if that is verified, a descendant and valid. Never raises for a
        failing server or a bad commit: that is what the result and `refusal` say."""
        self._source = self.follower.look()
        return self._source

    @property
    def last_source(self) -> Source:
        """What the last look at the repository gave, for a pass that does not look."""
        if self._source is not None:
            return self._source
        anchor = self.state.anchor
        return Source(True, anchor.commit if anchor else "")

    def accept(self, revision: str, reason: str) -> Anchor:
        """Make `revision` the anchor on an operator's word, wherever it is in history and whoever signed it.

        It is fetched with the branch and must be valid. A state that was lost is begun anew with it. Raises errors.SiteInvalid,
        errors.Terminal (RevisionUnknown, StateLost …), errors.Transient.
        """
        self._own(self.hold.establish())
        with self.state.cycle(wait=60.0):
            accepted = self.follower.accept(revision, reason)
            self.hold.note()
            return accepted

    def commit(self, commit: str) -> tree.CommitInfo:
        """Subject and author of a commit, for the report."""
        if self._commit is None or self._commit.id != commit:
            self._commit = tree.commit_info(self.state.repository, commit)
        return self._commit

    def remember(self, target: Target, done: Plan, actual: Actual, memory: Memory) -> None:
        """Note a complete apply, once: from then on differences are drift. What is drift already and only reported may be left.

        And of containers that somebody else started, and that need nothing: with which files they run.
        """
        known = memory.last_good == target.desired and memory.revision == target.desired.revision
        if not known or self.state.begun or self.state.written(target.desired.config_root) is None:
            self.state.converged(target.desired, also=[held.target for held in done.held])
            ours = manifest.after_converging(self._written(target, actual, memory), done, target.contents)
            self.state.note_written(target.desired.config_root, ours)
        changed = {action.container for action in done.actions} | {held.target for held in done.held if held.drift}
        changed |= {file.container for file in target.desired.files if file.path in changed}
        for name, wanted in target.basis.files_digest.items():
            running, applied = actual.containers.get(name), memory.applied.get(name)
            if running is None or applied is None or name in changed or applied.id != running.id:
                continue
            if not applied.files or applied.started_at != running.started_at:
                self.state.applied(name, Applied(running.id, running.started_at, wanted))

    @property
    def refusal(self) -> Refusal | None:
        return self.follower.refusal

    @property
    def in_force(self) -> tuple[str, str]:
        """The accepted revision ("": none yet), and the testing branch it is from ("": the branch)."""
        return self.follower.in_force

    # --- desired state -------------------------------------------------------------------------------------------

    def target(self) -> Target | None:
        """What this node is to be now; None while no revision is accepted. Raises errors.ReconcilerError.

        That is the accepted revision, or the last one carried out while a maintenance window has to open for it.
        """
        self.require_state()
        revision, _ = self.in_force
        if not revision:
            return None
        accepted = self._target_of(revision)
        self.closed = windows.closed(accepted.desired.policy, self.clock())
        before = self._before(accepted) if self.closed else None
        self._waiting = self._changes(before, accepted) if before else ()
        # A commit that changes nothing here need not wait, and what differs all the same is drift.
        self._as_before = before is not None and not self._waiting
        target = before if before and self._waiting else accepted
        self._targets = {t.desired.revision: t for t in (accepted, target)}
        if owner := self.state.owner:
            self.engine.also = owner.also  # an operator may have claimed another's meanwhile
        self.engine.site = f"{target.desired.site}/{target.desired.host}"
        return target

    def _before(self, accepted: Target) -> Target | None:
        """The last revision carried out completely, when nothing was begun since; None: there is none to keep up."""
        revision = self.state.memory().revision
        if not revision or revision == accepted.desired.revision or self.state.begun:
            return None
        try:
            return self._target_of(revision)
        except errors.ReconcilerError as error:
            # Its commit may be gone with a clone that had to be made anew, a key may have changed since.
            log.warning("previous.unavailable", revision=revision, reason=error.reason, message=str(error))
            return None

    def _changes(self, before: Target, accepted: Target) -> tuple[Held, ...]:
        """What the accepted revision asks for and the one before did not."""
        pair = (before.desired.revision, accepted.desired.revision)
        if self._previewed is None or self._previewed[0] != pair:
            found = plan.preview(before.desired, accepted.desired, bind=tokens.bind, part_digest=digest.part_digest)
            self._previewed = (pair, found.actions)
        message = f"waits {self.closed}"
        return tuple(Held(a.target, report.OUTSIDE_WINDOW, message, a.differences) for a in self._previewed[1])

    def _target_of(self, commit: str) -> Target:
        if commit not in self._targets:
            self._targets[commit] = self._make_target(commit)
        return self._targets[commit]

    def _validate(self, commit: str) -> None:
        self.require_usable(self._target_of(commit))

    def require_usable(self, target: Target) -> None:
        """Raises errors.Terminal (RotationRefused): a secret that a commit cannot change differs from what was last carried out, and
        the new one is not let in."""
        memory = self.state.memory()
        refused = rotation.refused(memory.last_good, target.desired) if memory.last_good else {}
        for name, instead in refused.items():
            if not self._is_same(name, memory.revision, target) and (why := self._denied(name, target)):
                raise errors.Terminal(f"{rotation.message(name, instead)} ({why})", reason="RotationRefused")

    def _is_same(self, name: str, revision: str, target: Target) -> bool:
        """Whether a secret was only encrypted anew."""
        try:
            before = self._target_of(revision).prepared.secrets.get(name)
        except errors.ReconcilerError:  # its commit, or the key for it, may be gone
            return False
        return before is not None and before == target.prepared.secrets.get(name)

    def _denied(self, name: str, target: Target) -> str:
        """Why the registrar that `name` belongs to does not let us in with its new value; "" when it does."""
        why = "the new value cannot be tried"
        for registrar in target.desired.registrars:
            if not any(f"<<secret:{name}>>" in str(value) for value in registrar.connection.values()):
                continue
            bind = partial(tokens.bind, secrets=target.prepared.secrets)
            try:
                Registry(target.desired.registrars, bind).log_in(
                    Check(name, login=registrar.kind, connection=registrar.connection)
                )
            except errors.ReconcilerError as error:
                return str(error)
            why = ""
        return why

    def _make_target(self, commit: str) -> Target:
        keys = sops.Keys(
            self.settings.secrets.age_key_file, self.settings.secrets.ssh_key_file, self.settings.secrets.program
        )
        path = self.settings.git.path
        prepared = prepare(self.state.repository, commit, path, self.settings.host, keys)
        self._require_root(prepared.desired.config_root)
        if ours := next((f.path for f in prepared.desired.files if f.path.startswith(OURS)), ""):
            raise errors.Terminal(
                f"the site wants the file {ours!r}: names at the top of the config root that begin with {OURS} are this program's own",
                reason="PolicyDenied",
            )
        return make_target(prepared)

    def _require_root(self, root: str) -> None:
        """Raises errors.Terminal (PolicyDenied): the folder for files, which a commit chooses, is not one of this host's."""
        allowed = self.settings.policy.config_roots
        if denied := policy.root_denied(root, allowed, map(str, self.settings.kept_apart())):
            raise errors.Terminal(denied, reason="PolicyDenied")
        if not any(files.leads_to(Path(path), Path(root)) for path in allowed):
            raise errors.Terminal(
                f"the site wants its files below {root}, and a folder on the way there is a link: only what "
                "policy.config_roots names may be one",
                reason="PolicyDenied",
            )

    def _require_safe_root(self, root: str) -> None:
        """Raises errors.Terminal (FileUnsafe): others than root could have files written elsewhere, or read them first."""
        if how := files.exchangeable(Path(root).resolve() / "*"):
            raise errors.Terminal(
                f"no file is written below {root}: {how}. Make root its owner and take away the others' right to write there",
                reason="FileUnsafe",
            )

    # --- observe, plan, apply ------------------------------------------------------------------------------------

    def observe(self, target: Target, memory: Memory, *, deep: bool, inside: bool = True) -> Actual:
        """Actual state: containers, images, volumes, files; with `deep` registrations and the insides of containers. Without
        `inside` the latter are what they were found to be, as long as that is known."""
        self._require_root(target.desired.config_root)  # what was a folder may be a link by now
        wanted = _with_previous_files(target.desired, memory)
        # Adopted containers carry no label of ours, so they are looked for by name as long as we know of them.
        found = self._found if self._found and self._found.revision == target.desired.revision else None
        inside = deep and (inside or found is None)
        actual = host.observe(self.engine, wanted, deep=inside, extra_names=memory.applied)
        adopted = {applied.id for applied in memory.applied.values()}
        containers = {
            name: replace(running, owned=True) if running.id in adopted else running
            for name, running in actual.containers.items()
        }
        actual = replace(actual, containers=containers)
        if deep:
            if found and not inside:
                actual = found.inside(actual)
            mine = [r for r in target.desired.registrations if r.owner == target.desired.host]
            observed, unknown = self.registry(target).observe(mine, actual)
            actual = replace(actual, registrations=observed, unknown={**actual.unknown, **unknown})
            self._looked, self._deep_revision = time.monotonic(), target.desired.revision
            self._looked_inside = self._looked if inside else self._looked_inside
            self._found = Findings.of(target.desired.revision, actual)
            return actual
        return found.added_to(actual) if found else actual

    def memory(self, target: Target) -> Memory:
        """What is remembered, without the quarantine of what may be tried once more."""
        memory, now = self.state.memory(), self.clock()
        containers = {container.name: container for container in target.desired.containers}
        due = {
            name
            for name, failure in memory.failures.items()
            if name in containers and blame.is_due(failure, containers[name], self.engine.data_root, now)
        }
        return replace(memory, quarantine={k: v for k, v in memory.quarantine.items() if k not in due})

    def acts_on_hearsay(self, planned: Plan) -> bool:
        """Whether a plan of a pass that did not look everywhere does something for what was found before: look again first."""
        return any(
            action.verb in (Verb.REGISTER, Verb.UNREGISTER)
            or any(difference.field == plan.INSIDE for difference in action.differences)
            for action in planned.actions
        )

    def wants_deep(self, revision: str, memory: Memory) -> tuple[bool, bool]:
        """Whether this pass should be a deep one, and whether that should look into containers: both for a new revision and
        after a pass that did something; else each at its own interval, for a look into a container starts a program there.
        Whatever did not let itself be looked at is asked in every pass."""
        now, daemon = time.monotonic(), self.settings.daemon
        new = self._deep_revision != revision and memory.revision != revision
        unseen = self._found is not None and bool(self._found.unseen)
        again = daemon.interval if unseen else daemon.deep_interval
        inside = new or self._restless or not self._looked_inside or now - self._looked_inside >= again
        blind = self._found is not None and bool(self._found.unknown)
        patience = daemon.interval if blind else min(daemon.look_interval, daemon.deep_interval)
        return inside or now - self._looked >= patience, inside

    def plan(self, target: Target, actual: Actual, memory: Memory) -> Plan:
        kept = self._rollback(target).kept()
        proved = {applied.id for applied in memory.applied.values()}
        unproved = kept | {name for name, running in actual.containers.items() if running.id not in proved}
        admission = self._admission(target, actual)
        basis = replace(
            target.basis,
            kept=kept,
            unproved=frozenset(unproved),
            denied=admission.denied(target.desired),
            written=self._written(target, actual, memory),
            touched=self.state.touched,
        )
        if suspension := self.state.suspension:
            basis = replace(basis, hold=("Suspended", suspension.reason))
        elif self.settings.mode == "report":
            basis = replace(basis, hold=("ReportOnly", "this node's settings say mode = report"))
        elif self.closed:
            waits = (report.OUTSIDE_WINDOW, f"waits {self.closed}")
            basis = replace(basis, hold=waits) if self.closed.drift else replace(basis, wait=waits)
        if self._as_before:
            memory = replace(memory, revision=target.desired.revision)
        found = plan.diff(target.desired, actual, memory, basis)
        return replace(found, held=(*found.held, *self._waiting))

    def _admission(self, target: Target, actual: Actual) -> Admission:
        """The host's word on the containers of `target`, as this pass found the engine."""
        volumes, local = actual.engine_volumes, self.settings.engine.url.startswith("unix://")
        return Admission.of(target.desired, self._rules, volumes, data_root=self.engine.data_root, local=local)

    def _written(self, target: Target, actual: Actual, memory: Memory) -> manifest.Manifest:
        """Which files below the target's config root are ours."""
        root = target.desired.config_root
        return manifest.known(self.state.written(root), root, actual, memory)

    def apply(self, target: Target, wanted: Plan, actual: Actual, memory: Memory) -> tuple[Outcome, ...]:
        """Carry out the plan that was made of `actual` and `memory`; every outcome is logged as it comes."""
        self._tidy(target, memory)
        if wanted.empty:
            return ()
        if any(action.verb in FILE_VERBS for action in wanted.actions):
            self._require_safe_root(target.desired.config_root)
        ours = manifest.before_writing(self._written(target, actual, memory), wanted, target.contents, actual)
        self.state.note_written(target.desired.config_root, ours)
        self.engine.admit = self._admission(target, actual).require
        revision, testing = self.in_force
        if target.desired.revision == revision:
            self._say(pending(revision, len(wanted.actions), testing), target.desired.site)
        if target.desired.revision != self.state.memory().revision:
            changes = [action for action in wanted.actions if not action.drift]
            touches = {name for action in changes for name in (action.target, action.container) if name}
            self.state.begin(target.desired.revision, touches)
        slots = apply.Slots(self.settings.engine.parallel)
        actions = apply.Actions(
            wanted,
            target.desired,
            replace(_apply_basis(target, actual, memory), written=ours),
            contents=target.contents,
            files_digest=target.basis.files_digest,
            part_digest=target.basis.part_digest,
            engine=self.engine,
            registrations=self.registry(target),
            store=self.state,
            rollback=self._rollback(target),
            units=apply.Systemd(),
            validator=self._validator,
            gate=self._gate(target, wanted, memory),
            slots=slots,
            who=self._holders,
        )

        def perform(action: Action) -> Outcome:
            self.state.require_same()  # what cannot be remembered is not done
            return actions(action)

        touched = _files_touched(wanted, target.desired)
        self.state.plain(memory.plain - touched)
        outcomes = apply.walk(wanted, perform, stop=self.stop, slots=slots, on_outcome=_log_outcome)
        self.state.plain((memory.plain - touched) | _files_plain(outcomes, target.desired, memory))
        return outcomes

    def _holders(self, message: str, container: Container) -> str:
        """Who has the ports that a message names."""
        found = {port: listeners.holder(port, self.engine.name_of) for port in blame.ports(message, container)}
        return ", ".join(f"port {port} is held by {who}" for port, who in sorted(found.items()) if who)

    def look_again(self, target: Target, outcomes: Sequence[Outcome]) -> tuple[Held, ...]:
        """Whether what was done put right what it should have: what did not is remembered, and not acted upon again."""
        if not second_look.looks_again(outcomes):
            return ()
        memory = self.memory(target)
        again = self.plan(target, self.observe(target, memory, deep=second_look.looks_deep(outcomes)), memory)
        found = second_look.stayed(outcomes, again)
        self.state.unachieved(found)
        return second_look.held(again, found)

    def overcome(self, memory: Memory, actual: Actual, planned: Plan) -> None:
        """Forget what was not achievable and is now as it should be."""
        self.state.unachieved(dict.fromkeys(second_look.overcome(memory, actual, planned), ()))

    def sick(self, target: Target, actual: Actual, planned: Plan) -> tuple[report.Symptom, ...]:
        """Containers that run, do not work, and that nothing is done about in this pass."""
        touched, now = {action.container for action in planned.actions}, self.clock()
        seen = [(c, actual.containers.get(c.name)) for c in target.desired.containers if c.name not in touched]
        return tuple(found for container, running in seen if (found := report.sick(container, running, now)))

    def check(self, target: Target, *, deep: bool, changed: bool) -> tuple[CheckResult, ...]:
        """Whether this host's services answer. All checks are made in a deep pass and, with time to settle, when a change has
        converged; else those that failed the last time."""
        due = [c for c in target.desired.checks if deep or changed or c.name in self._failing]
        results = self._probe(target, due, _SETTLE if changed else 0.0)
        self._failing = frozenset(result.name for result in results if not result.ok)
        return results

    def _probe(self, target: Target, checks: Sequence[Check], patience: float) -> tuple[CheckResult, ...]:
        return probe.make(checks, self.engine, self.registry(target), patience=patience, stop=self.stop)

    def _gate(self, target: Target, wanted: Plan, memory: Memory) -> health_gate.Gate:
        changed = [action.container for action in wanted.actions if action.container]
        return health_gate.Gate(target.desired, memory, changed, partial(self._probe, target), self.state.answered)

    def _rollback(self, target: Target) -> Rollback:
        written = self.state.written(target.desired.config_root) or {}
        return Rollback(self.state.rollback, Path(target.desired.config_root), written)

    def _tidy(self, target: Target, memory: Memory) -> None:
        """Once per process, within a cycle: remove what a killed one left half written."""
        if self._tidied or self.state.suspension or self.settings.mode == "report":
            return
        self._tidied = True
        self.state.tidy()
        self._validator.tidy(Path(target.desired.config_root))
        self._rollback(target).tidy({container.name for container in target.desired.containers})
        wanted = _with_previous_files(target.desired, memory).files
        for directory in {file.path.rpartition("/")[0] for file in wanted}:
            swept = files.sweep(Path(target.desired.config_root), directory)
            log.debug("files.swept", directory=directory, files=swept)

    def registry(self, target: Target) -> Registry:
        """The registrars of a target; connections are kept as long as the target is the same."""
        if self._registry is None or self._registry[0] is not target:
            if self._registry:
                self._registry[1].close()
            bind = partial(tokens.bind, secrets=target.prepared.secrets)
            self._registry = (target, Registry(target.desired.registrars, bind))
        return self._registry[1]

    # --- report --------------------------------------------------------------------------------------------------

    def conclude(self, finished: Report) -> Report:
        """Give the report its conditions, and hand it to everything that wants to know."""
        previous = self._previous(finished)
        before = [from_json(Condition, c) for c in previous.get("conditions", ())]
        finished = replace(finished, wrong=tuple(previous.get("wrong", ())))
        finished = replace(finished, conditions=report.conditions(finished, before, datetime.now(UTC)))
        told = report.as_json(finished)
        news = _news(told) != _news(previous)
        if self._keeps(finished):
            if news:
                self.state.save_report(told)
            new = finished.failure is None and finished.revision != previous.get("revision")
            if entry := report.history_entry(finished, new=new):
                self.state.record(entry, report.is_repetition)
            self._note_witness()
        self._last = finished
        self._restless = bool(finished.outcomes)
        if finished.outcomes:
            self._found = None  # something was done about it, or in its neighbourhood
        for text in report.status_text(finished):
            self._say(text, site=finished.site)
        if self.alerts:
            self.alerts.take(finished)
        _log_report(finished, news=news)
        return finished

    def without_state(self, error: errors.ReconcilerError, trigger: str) -> Report:
        """The report of a pass that could do nothing because the state cannot be relied upon: about what was in force before."""
        now, last = datetime.now(UTC), self._last
        source = last.source if last else Source(True)
        bare = Report("", self.settings.host, "", now, 0.0, trigger, False, source)
        if last:
            bare = replace(
                bare, site=last.site, revision=last.revision, subject=last.subject, containers=last.containers
            )
        return replace(bare, failure=(error.reason, str(error)))

    def _keeps(self, finished: Report) -> bool:
        """Whether the state is this node's to write to."""
        return not finished.failure or finished.failure[0] not in STATE_FAULTS

    def _previous(self, finished: Report) -> Mapping[str, Any]:
        """The report before, as JSON."""
        kept = self.state.report if self._keeps(finished) else None
        return kept or (report.as_json(self._last) if self._last else {})

    def _note_witness(self) -> None:
        if self.settings.mode == "report":
            return
        try:
            self.hold.note()
        except errors.ReconcilerError as error:
            log.warning("witness.failed", reason=error.reason, message=str(error))

    def _say(self, text: report.StatusText, site: str = "") -> None:
        if self.statuses is None:
            return
        name = site or next((target.desired.site for target in self._targets.values()), "")
        context = f"reconciler/{name}/{self.settings.host}"
        ref = text.branch or self.settings.git.branch
        self.statuses.submit(Status(text.commit, context, text.state, text.description), ref=ref, key=text.key)

    def _teller(self) -> alerts.Teller:
        own = self.settings
        identity = f"{own.git.url}#{own.git.path}@{own.host}"
        return alerts.Teller(own.alerts, self.state.path / "alerts.json", identity)

    def _reporter(self) -> StatusReporter:
        forge = self.settings.forge
        assert forge is not None
        return StatusReporter(connect(ForgeSettings.of(forge)), self.state.posted)


def _apply_basis(target: Target, actual: Actual, memory: Memory) -> apply.Basis:
    failed = plan.quarantined(target.desired, memory, target.basis.part_digest)
    good = memory.last_good
    before = {c.name: digest.part_digest(good, c.name) for c in good.containers} if good else {}
    return apply.Basis(
        worked=frozenset(name for name, part in before.items() if part == target.basis.part_digest.get(name)),
        proved=frozenset(memory.applied),
        failures=memory.failures,
        in_force=plan.in_force(target.desired, memory, failed),
        quarantined=failed,
        migrated=plan.migrated(target.desired, memory),
        observed={name: running.id for name, running in actual.containers.items()},
        owned=frozenset(running.id for running in actual.containers.values() if running.owned),
        registered={registration.id: registration for registration in memory.registered},
    )


_PASSING = frozenset({"started_at", "seconds", "trigger", "deep", "happened"})


def _files_touched(wanted: Plan, desired: Desired) -> frozenset[str]:
    """Files that an apply may write, or bring back in a rollback."""
    containers = {action.container for action in wanted.actions} | {action.target for action in wanted.actions}
    return frozenset(file.path for file in desired.files if file.container in containers) | {
        action.target for action in wanted.actions
    }


def _files_plain(outcomes: Iterable[Outcome], desired: Desired, memory: Memory) -> frozenset[str]:
    """Of those, the files that hold no secret for certain now: written without one or known before, and nothing went wrong."""
    seen = list(outcomes)
    failed = {name for o in seen if o.result != "done" for name in (o.action.container, o.action.target)}
    written = {o.action.target for o in seen if o.action.verb is Verb.WRITE and o.result == "done"}
    return frozenset(
        file.path
        for file in desired.files
        if not file.secrets and file.container not in failed and (file.path in written or file.path in memory.plain)
    )


def _news(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a report is worth a write: a pass that found what the one before it found leaves the disk alone."""
    news = {name: value for name, value in told.items() if name not in _PASSING}
    return {**news, "checks": [check for check in told.get("checks", ()) if not check["ok"]]}


def _with_previous_files(desired: Desired, memory: Memory) -> Desired:
    """So that files of containers that are no longer wanted are observed, and can be deleted with them."""
    if memory.last_good is None:
        return desired
    paths = {file.path for file in desired.files}
    return replace(desired, files=(*desired.files, *(f for f in memory.last_good.files if f.path not in paths)))


def _log_outcome(outcome: Outcome) -> None:
    fields: dict[str, Any] = {"action": outcome.action.id, "cause": outcome.action.cause, "seconds": outcome.seconds}
    if outcome.result == "done":
        log.info("action.done", **fields)
    elif outcome.result == "skipped":
        log.info("action.skipped", **fields, reason=outcome.reason, message=outcome.message)
    else:
        log.error(f"action.{outcome.result}", **fields, reason=outcome.reason, message=outcome.message)


def _log_report(finished: Report, *, news: bool) -> None:
    """One that did nothing and found nothing new is for whoever looks closely."""
    ready = next((c for c in finished.conditions if c.type == "Ready"), None)
    tell = log.info if news or finished.outcomes else log.debug
    tell(
        "cycle.finished",
        revision=finished.revision[:12],
        trigger=finished.trigger,
        seconds=round(finished.seconds, 3),
        done=len(finished.changed),
        failed=len(finished.failed),
        held=len(finished.plan.held) if finished.plan else 0,
        ready=ready.status if ready else None,
        reason=ready.reason if ready else "",
    )
