"""What every section of planning shares: the states compared, the actions gathered, and policy.

Drift policy, holds and maintenance windows are applied at one place, `Draft.add`.
"""

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from reconciler.gates import Hold
from reconciler.model import (
    ASIDE,
    Action,
    Actual,
    AsMade,
    Container,
    Desired,
    Difference,
    File,
    Hazard,
    Held,
    HostSetting,
    Job,
    Memory,
    Registration,
    Running,
    Verb,
    shared_with,
)
from reconciler.phrases import few
from reconciler.plan import as_made, release_step
from reconciler.plan.differences import differences
from reconciler.plan.in_flight import base, grounded
from reconciler.plan.order import ordered
from reconciler.plan.origins import by_program, name_of, parts, words_of
from reconciler.plan.recall import Stale, in_force, quarantined, staleness, worked
from reconciler.plan.second_look import not_achievable
from reconciler.plan.successors import one_after_the_other
from reconciler.reasons import Reason

# Verbs that change something that works. As part of a change they wait until every image of the plan is there, so that
# a wrong tag or a registry that is down leaves the node exactly as it was.
_DISRUPTIVE = frozenset(
    {
        Verb.WRITE,
        Verb.DELETE,
        Verb.REPLACE,
        Verb.RESTART,
        Verb.RELOAD,
        Verb.REMOVE,
        Verb.STOP,
        Verb.UNREGISTER,
        Verb.SET,
        Verb.RESET,
    }
)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan is made from besides desired and actual state.

    `contents` are the bytes each desired file should have on the disk, by path; `files_digest` and `part_digest` map a
    container to the digest of its file contents and of its whole desired part; `denied` maps a container, or a setting of the host, to why
    the host's policy refuses it; `holds` are the reasons to wait, of which the first that covers an action holds it back.
    `written` maps a path to the digests (SHA-256) of what this program ever wrote there: nothing else is deleted.
    `unproved` names containers that run and were never seen healthy, `kept` those whose previous files are still kept:
    what an interrupted apply leaves to be done. `touched` names what a revision that was not carried out completely may have changed
    already: containers, files, registrations. `in_flight` maps what is being changed already (container, file, image, job,
    registration) to what that is at: it is left to whoever is at it.
    `between` is the commit that was carried out last as the present program renders it, where both the commit and the program are
    others now: it tells whose a change is.
    `prechecked` names the checks before an upgrade that passed and count still: while one is to be made, everything else of the upgrade is held
    back; None: the plan is only shown, and says all. `today` (UTC) tells which of `accept:` count; None: all.
    `former_ends`: the seconds after which a user is not let in any more with the password before the present one; 0.0: nobody has it still.
    `is_everywhere`: whether every host has what is desired; None: nobody can tell.
    `identifiers` maps the path of a file to the registrations whose identifiers it holds; it has no `contents` while one of them is
    not known.
    """

    contents: Mapping[str, bytes] = field(repr=False)
    files_digest: Mapping[str, str] = field(default_factory=dict)
    part_digest: Mapping[str, str] = field(default_factory=dict)
    denied: Mapping[str, str] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    unproved: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    written: Mapping[str, Collection[str]] = field(default_factory=dict)
    touched: frozenset[str] = frozenset()
    in_flight: Mapping[str, str] = field(default_factory=dict)
    between: Desired | None = None
    prechecked: frozenset[str] | None = None
    today: date | None = None
    identifiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    former_ends: float = math.inf
    is_everywhere: bool | None = None

    @property
    def all_waits(self) -> Hold | None:
        """What holds every action back."""
        return next((hold for hold in self.holds if hold.drift), None)

    @property
    def changes_wait(self) -> Hold | None:
        """What holds back only what is asked for anew, while drift is healed or waits for something else."""
        return self.holds[0] if self.holds and not self.holds[0].drift else None


_ANOTHERS = (
    "{what} belongs to another installation of this program ({owner}). Give one of the two another name; or, if that is "
    "this host before its state directory was lost: `reconciler owner claim {owner}`"
)


class Draft:
    """A plan in the making: what it is made from, what has been gathered, and the one place where policy is applied."""

    def __init__(self, desired: Desired, actual: Actual, memory: Memory, basis: Basis) -> None:
        self.desired, self.actual, self.memory, self.basis = desired, actual, memory, basis
        self.actions: list[Action] = []
        self.held: list[Held] = []
        self.named: set[str] = set()  # items of `actual.unknown` that something held says are so
        self.files: dict[str, list[File]] = {}
        for file in desired.files:
            self.files.setdefault(file.container, []).append(file)
        good = memory.last_good
        self.previous = {file.path: file for file in good.files} if good else {}
        self._carried = parts(good)
        self._origins = by_program(good, desired, basis.between)
        self._orders = {order.name: order for order in release_step.orders(memory, desired)}
        self._rotated = {n for n, digest in desired.secrets.items() if not good or good.secrets.get(n) != digest}
        self.wanted = {container.name for container in desired.containers}
        self.failed = quarantined(desired, memory, basis.part_digest)
        self.in_force = in_force(desired, memory, self.failed)
        self._as_made: dict[str, AsMade | None] = {}
        # What is done inside a container goes before what changes that; where it is yet to be made it goes after.
        self.later = {job.name for job in desired.jobs if job.inside and job.inside not in actual.containers}

    def add(self, action: Action) -> bool:
        """Take an action into the plan, or hold it back by policy. Returns whether it was taken."""
        if not action.drift and (origin := self._origin(action)):
            action = replace(action, origin=origin)
        if (wait := self.basis.changes_wait) and not self.mends(action):
            self.hold(action, wait.reason, wait.message)
            return False
        if action.drift:
            mode = self.drift_mode(action)
            if mode == "ignore":
                return False
            if mode == "report":
                self.hold(action, Reason.DriftReported, f"{action.cause} (drift mode is report)")
                return False
        self.actions.append(action)
        return True

    @property
    def spared(self) -> tuple[Reason, str] | None:
        """Why nothing that this node made elsewhere (registrations, settings of the host) is withdrawn: (reason, message)."""
        if self.desired.policy.get("prune", {}).get("mode") == "report":
            return Reason.PruneReported, "no longer part of the site, and left alone (prune.mode is report)"
        if not self.desired.containers:
            return Reason.PruneGuard, "the site describes nothing at all for this host, so what was made for it stays"
        return None

    def why_unknown(self, item: str) -> str:
        """Why an item could not be looked at, for whoever is about to say so; "" when it was."""
        why = self.actual.unknown.get(item, "")
        if why:
            self.named.add(item)
        return why

    def _origin(self, action: Action) -> str:
        """Which other program asks for a change; "" when none does."""
        return self._origins.get(action.target) or self._origins.get(action.container, "")

    def unchanged(self, *parts: Container | File | Registration | HostSetting) -> bool:
        """Whether a difference in these is drift: what is asked of them is what was last carried out here, whatever else a new
        revision or another program asks for."""
        return all(self._is_as_before(part) for part in parts)

    def _was_asked(self, name: str, part: Container | File | Registration | HostSetting) -> bool:
        """Whether the same was asked of it when it was last carried out."""
        before = self._carried.get(name)
        return before is not None and (before is part or words_of(before) == words_of(part))

    def _is_as_before(self, part: Container | File | Registration | HostSetting) -> bool:
        name = name_of(part)
        if name in self.basis.touched or not self._was_asked(name, part):
            return False
        if not isinstance(part, Registration | HostSetting) and self._was_never_asked(part):
            return False
        if isinstance(part, File):
            return self._rotated.isdisjoint(part.secrets) and not self.renamed(part)
        if isinstance(part, Registration):
            return not (self._rotated and "<<" in str(part.fields) and self._names_rotated(str(part.fields)))
        return True

    def _was_never_asked(self, part: Container | File) -> bool:
        """Whether it is still as another tool made it, and no longer to stay so: what the site says was never carried out here."""
        name = part.container if isinstance(part, File) else part.name
        made, running = self.memory.as_made.get(name), self.actual.containers.get(name)
        container = next((c for c in self.desired.containers if c.name == name), None)
        return bool(made and running and container and made.id == running.id and not self.as_made(container))

    def _names_rotated(self, text: str) -> bool:
        """Whether a text with tokens holds a rotated secret; one within a filter counts as such."""
        plain = all(token.startswith("secret:") for token in text.split("<<")[1:])
        return not plain or any(f"<<secret:{name}" in text for name in self._rotated)

    def mends(self, action: Action) -> bool:
        """Whether an action only brings back what ran here before. First match decides."""
        if action.drift or action.verb is Verb.RENAME or action.target.startswith(ASIDE):
            return True  # drift, and what an interrupted replace left behind
        if action.container in self.failed:
            return True  # the last configuration that worked
        if action.verb is Verb.PULL:
            return bool(self.memory.applied or self.memory.last_good)  # disturbs nothing, and what is gone may need it
        if action.verb is Verb.START:
            return True
        # A half-carried-out commit: bring back what is gone, unless it would start with files of the commit before.
        waiting = {held.target for held in self.held}
        files = {file.path for file in self.files.get(action.container, ())}
        return action.verb is Verb.CREATE and action.target in self.memory.applied and not waiting & files

    def hold(self, action: Action, reason: Reason, message: str) -> None:
        message = f"{action.origin}: {message}" if action.origin else message
        self.held.append(Held(action.target, reason, message, action.differences, action.drift))

    def drift_mode(self, action: Action) -> str:
        if action.verb is Verb.START and action.target in self.memory.put_down:
            return "heal"  # nobody else stopped it
        drift = self.desired.policy.get("drift", {})
        fields = drift.get("fields", {})
        by_field = {fields.get(d.field, fields.get(d.field.partition(".")[0])) for d in action.differences}
        if action.differences and None not in by_field and len(by_field) == 1:
            return str(by_field.pop())
        services = drift.get("services", {})
        return str(services.get(action.service, drift.get("mode", "heal")))

    def dependencies(self, container: Container) -> tuple[str, ...]:
        """Ids of every action that must come before the container's: they may or may not be in the plan."""
        verbs = (Verb.RENAME, Verb.CREATE, Verb.REPLACE, Verb.UPDATE, Verb.RESTART, Verb.RELOAD, Verb.START)
        before = [f"{verb}:{name}" for name in (*container.depends_on, *shared_with(container)) for verb in verbs]
        before += [f"{Verb.RUN}:{job.name}" for job in self._before(container)]
        # Across hosts the fleet holds it; what runs here in the same plan goes in this order, too.
        order = self._orders.get(container.name)
        before += [f"{verb}:{name}" for name in (order.after if order else ()) for verb in (*verbs, Verb.RUN)]
        before += [f"{Verb.REGISTER}:{r.id}" for r in self.desired.registrations if container.name in r.before]
        before += [f"{Verb.SET}:{s.id}" for s in self.desired.host_settings if container.name in s.before]
        return tuple(before)

    def _before(self, container: Container) -> list[Job]:
        """The jobs that a container waits for."""
        return [job for job in self.desired.jobs if container.name in job.before and job.name not in self.later]

    @property
    def mending(self) -> frozenset[str]:
        """The ids of what only brings back what ran here before."""
        return frozenset(action.id for action in self.actions if self.mends(action))

    def directory_before(self, name: str) -> str:
        """The folder that a container had in the last complete apply; "" when it had none. One without files names none."""
        good = self.memory.last_good
        return next((c.config_directory for c in good.containers if c.name == name), "") if good else ""

    def wrote(self, path: str) -> bool:
        """Whether the file that is there now is one that this program wrote."""
        state = self.actual.files.get(path)
        if state is None or state.kind != "file" or state.content is None:
            return False
        return hashlib.sha256(state.content).hexdigest() in self.basis.written.get(path, ())

    def renamed(self, file: File) -> tuple[str, ...]:
        """The registrations of which one must have another identifier than when the file was written: what is on the disk is what this
        program wrote, and what it would write now differs though the same is asked for."""
        held = self.basis.identifiers.get(file.path, ())
        state, wanted = self.actual.files.get(file.path), self.basis.contents.get(file.path)
        same = self._was_asked(name_of(file), file) and self._rotated.isdisjoint(file.secrets)
        differs = wanted is not None and state is not None and state.content != wanted
        return held if held and same and differs and self.wrote(file.path) else ()

    def unidentified(self, owner: str) -> str:
        """For which identifiers the files of a container or job wait, and why these are not known; "" when none do."""
        own = self.files.get(owner, ())
        held = dict.fromkeys(name for file in own for name in self.basis.identifiers.get(file.path, ()))
        missing = [name for name in held if name not in self.actual.identifiers]
        if not missing or all(file.path in self.basis.contents for file in own):
            return ""
        whys = {self.why_unknown(f"registrar:{name.partition(':')[0]}") for name in missing} - {""}
        why = "; ".join(sorted(whys)) or "it does not exist yet"
        return f"its files need the identifier of {few(missing)}: {why}"

    def somebody_elses(self, container: Container) -> str:
        """Why the names that a container (or job) asks for are not free; "" when they are.

        Another installation's things are never taken over, whatever the site says of adoption.
        """
        running = self.actual.containers.get(container.name)
        if running is not None and not running.owned and running.owner:
            return _ANOTHERS.format(what="a container of this name", owner=running.owner)
        for mount in container.mounts:
            volume = self.actual.engine_volumes.get(mount.source)
            if volume is not None and not volume.owned and volume.owner:
                return _ANOTHERS.format(what=f"the volume {mount.source}", owner=volume.owner)
        return ""

    def running_differences(self, container: Container, running: Running) -> tuple[Difference, ...]:
        """The options that differ and that something can be done about."""
        found = differences(container, running, self.actual.images.get(container.image))
        return self.achievable(f"container:{container.name}", found)

    def achievable(self, item: str, found: tuple[Difference, ...]) -> tuple[Difference, ...]:
        """`found` without what stayed the same when it was acted upon before; that is held back. `item` as in Actual.unknown."""
        before = self.memory.unachieved.get(item, ())
        stuck = tuple(difference for difference in found if difference in before)
        target = item.partition(":")[2]
        if stuck and all(held.target != target or held.reason != Reason.NotAchievable for held in self.held):
            self.held.append(not_achievable(target, stuck))
        return tuple(difference for difference in found if difference not in before)

    def staleness(self, container: Container, running: Running) -> Stale:
        name = container.name
        wanted = self.basis.files_digest.get(name, "")
        return staleness(running, self.files.get(name, ()), wanted, name, self.actual, self.memory)

    def was_applied(self, name: str) -> bool:
        return name in worked(self.memory)

    def as_made(self, container: Container) -> AsMade | None:
        """How a container is that stays as another tool made it; None where it is to be as the site says."""
        if container.name not in self._as_made:
            self._as_made[container.name] = self._is_as_made(container)
        return self._as_made[container.name]

    def _is_as_made(self, container: Container) -> AsMade | None:
        name, policy = container.name, self.desired.policy.get("adoption", "equal")
        running = self.actual.containers.get(name)
        if running is None or policy != "as-made" or name in self.failed:
            return None
        part = as_made.asked(container, self.files.get(name, ()), self.basis.files_digest.get(name, ""))
        if running.owned:
            return as_made.valid(self.memory, name, running, part)
        found = differences(container, running, self.actual.images.get(container.image))
        return as_made.of(container, running, found, self.actual.files, self.files.get(name, ()), part)

    def pull(self, container: Container) -> None:
        if container.image not in self.actual.images:
            action = Action(Verb.PULL, container.image, f"for {container.name}", service=container.service)
            if all(a.id != action.id for a in self.actions):
                self.add(action)

    def action(
        self,
        verb: Verb,
        target: str,
        cause: str,
        container: Container,
        needs: tuple[str, ...] = (),
        found: tuple[Difference, ...] = (),
        *,
        drift: bool = False,
        risks: tuple[Hazard, ...] = (),
    ) -> Action:
        more = self.felt(verb, container)
        order = self._orders.get(container.name)
        if order and order.words and not drift and verb in (Verb.CREATE, Verb.REPLACE, Verb.RESTART, Verb.RUN):
            cause = f"{cause} ({order.words})"
        pull = (
            (f"{Verb.PULL}:{container.image}",) if verb in (Verb.CREATE, Verb.REPLACE, Verb.RUN, Verb.VALIDATE) else ()
        )
        return Action(
            verb, target, cause, (*needs, *pull), container.name, container.service, drift, found, "", (*risks, *more)
        )

    def felt(self, verb: Verb, container: Container) -> tuple[Hazard, ...]:
        """The risks of interrupting a container. What it was before counts as well: a change cannot declare itself harmless."""
        if verb not in (Verb.REPLACE, Verb.RESTART, Verb.STOP, Verb.REMOVE):
            return ()
        good = self.memory.last_good
        both = [container, *(c for c in (good.containers if good else ()) if c.name == container.name)]
        weights: tuple[tuple[Hazard, bool], ...] = (
            ("data-plane", any(c.data_plane for c in both)),
            ("stateful", any(c.stateful for c in both)),
        )
        return tuple(risk for risk, has in weights if has)

    def finish(self, unwanted: Mapping[str, Running]) -> tuple[Action, ...]:
        """Give the disruptive changes their wait for every image, and all changes of a service that for its checkers; put
        everything into order. `unwanted`: what is ours and goes, or stays all the same."""
        pulls = tuple(action.id for action in self.actions if action.verb is Verb.PULL)
        asked_before = tuple(action.id for action in self.actions if action.verb is Verb.PRECHECK)
        checkers: dict[str, tuple[str, ...]] = {}
        for action in self.actions:
            if action.verb is Verb.VALIDATE:
                checkers[action.service] = (*checkers.get(action.service, ()), action.id)

        def waits(action: Action) -> tuple[str, ...]:
            # A service is changed whole or not at all: its containers share settings, and its registrations passwords with them.
            if action.verb is Verb.PRECHECK:
                return ()
            checked = action.verb is Verb.VALIDATE or self.mends(action)
            first = pulls if action.verb in _DISRUPTIVE and not action.drift else ()
            return (*first, *(() if checked else (*asked_before, *checkers.get(action.service, ()))))

        whole = [
            replace(action, needs=(*action.needs, *waits(action)))
            for action in sorted(self.actions, key=lambda action: action.verb is not Verb.PULL)
        ]
        whole = one_after_the_other(whole, self.desired, unwanted, self.mending)
        if self.basis.in_flight:
            whole, held = grounded(whole, self.basis.in_flight)
            self.held = [*(h for h in self.held if base(h.target) not in self.basis.in_flight), *held]
        return ordered(whole)
