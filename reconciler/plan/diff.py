"""From desired and actual state to a plan.

One object gathers the actions, section by section: files, containers, jobs, registrations, removals. Each section asks
what differs, chooses the smallest action that puts it right, and says why. Drift policy, prune guard, quarantine and
holds are applied at one place, `_Planner.add`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.model import (
    ASIDE,
    Action,
    Actual,
    Container,
    Desired,
    Difference,
    File,
    Held,
    Job,
    Memory,
    Plan,
    Registration,
    Running,
    State,
    Verb,
    aside,
)
from reconciler.plan.differences import differences, is_mutable
from reconciler.plan.order import ordered
from reconciler.plan.recall import Stale, in_force, quarantined, staleness
from reconciler.plan.redact import file_diff

# Verbs that change something that works. As part of a change they wait until every image of the plan is there, so that
# a wrong tag or a registry that is down leaves the node exactly as it was.
_DISRUPTIVE = frozenset(
    {Verb.WRITE, Verb.DELETE, Verb.REPLACE, Verb.RESTART, Verb.RELOAD, Verb.REMOVE, Verb.STOP, Verb.UNREGISTER}
)
INSIDE = "running configuration"  # the field that differs when what runs has not got what its files say
_DATA_TYPES = frozenset({"database", "vhost"})  # never removed: they hold data


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan is made from besides desired and actual state.

    `contents` are the bytes each desired file should have on the disk, by path; `files_digest` and `part_digest` map a
    container to the digest of its file contents and of its whole desired part; `denied` maps a container to why the host's
    policy refuses it; `hold` is a (reason, message) that holds every action back (suspended); `wait` is one that holds back
    what a new commit asks for, while drift is healed (outside a maintenance window).
    `unproved` names containers that run and were never seen healthy, `kept` those whose previous files are still kept:
    what an interrupted apply leaves to be done.
    """

    contents: Mapping[str, bytes] = field(repr=False)
    files_digest: Mapping[str, str] = field(default_factory=dict)
    part_digest: Mapping[str, str] = field(default_factory=dict)
    denied: Mapping[str, str] = field(default_factory=dict)
    hold: tuple[str, str] | None = None
    wait: tuple[str, str] | None = None
    unproved: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()


def diff(desired: Desired, actual: Actual, memory: Memory, basis: Basis) -> Plan:
    """What has to be done so that `actual` becomes `desired`, and what is held back and why."""
    planner = _Planner(desired, actual, memory, basis)
    for container in desired.containers:
        planner.container(container)
    for job in desired.jobs:
        planner.job(job)
    planner.registrations()
    planner.removals()
    actions = planner.finish()
    if basis.hold:  # only now: what is held back is all that would be done
        for action in actions:
            planner.hold(action, *basis.hold)
        actions = ()
    return Plan(
        host=desired.host,
        revision=desired.revision,
        actions=actions,
        held=tuple(planner.held),
        leftovers=planner.leftovers(),
    )


class _Planner:
    def __init__(self, desired: Desired, actual: Actual, memory: Memory, basis: Basis) -> None:
        self.desired, self.actual, self.memory, self.basis = desired, actual, memory, basis
        self.actions: list[Action] = []
        self.held: list[Held] = []
        self.files: dict[str, list[File]] = {}
        for file in desired.files:
            self.files.setdefault(file.container, []).append(file)
        good = memory.last_good
        self.previous = {file.path: file for file in good.files} if good else {}
        self.same_revision = memory.revision == desired.revision
        self.wanted = {container.name for container in desired.containers}
        self.failed = quarantined(desired, memory, basis.part_digest)
        self.in_force = in_force(desired, memory, self.failed)

    # --- one place for policy ------------------------------------------------------------------------------

    def add(self, action: Action) -> bool:
        """Take an action into the plan, or hold it back by policy. Returns whether it was taken."""
        if self.basis.wait and not self.mends(action):
            self.hold(action, *self.basis.wait)
            return False
        if action.drift:
            mode = self.drift_mode(action)
            if mode == "ignore":
                return False
            if mode == "report":
                self.hold(action, "DriftReported", f"{action.cause} (drift mode is report)")
                return False
        self.actions.append(action)
        return True

    def mends(self, action: Action) -> bool:
        """Whether an action only brings back what ran here before. First match decides."""
        if action.drift or action.verb is Verb.RENAME or action.target.startswith(ASIDE):
            return True  # drift, and what an interrupted replace left behind
        if action.container in self.failed:
            return True  # the last configuration that worked
        if action.verb is Verb.PULL:
            return self.same_revision or bool(self.memory.applied)  # disturbs nothing, and what is gone may need it
        if action.verb is Verb.START:
            return True
        # A half-carried-out commit: bring back what is gone, unless it would start with files of the commit before.
        waiting = {held.target for held in self.held}
        files = {file.path for file in self.files.get(action.container, ())}
        return action.verb is Verb.CREATE and action.target in self.memory.applied and not waiting & files

    def hold(self, action: Action, reason: str, message: str) -> None:
        self.held.append(Held(action.target, reason, message, action.differences, action.drift))

    def drift_mode(self, action: Action) -> str:
        drift = self.desired.policy.get("drift", {})
        fields = drift.get("fields", {})
        by_field = {fields.get(d.field, fields.get(d.field.partition(".")[0])) for d in action.differences}
        if action.differences and None not in by_field and len(by_field) == 1:
            return str(by_field.pop())
        services = drift.get("services", {})
        return str(services.get(action.service, drift.get("mode", "heal")))

    # --- containers and their files --------------------------------------------------------------------------

    def container(self, container: Container) -> None:
        name = container.name
        if name in self.basis.denied:
            self.held.append(Held(name, "PolicyDenied", self.basis.denied[name]))
            return
        for item in (f"container:{name}", f"container:{aside(name)}", f"image:{container.image}"):
            if reason := self.actual.unknown.get(item):
                self.held.append(Held(name, "Unknown", f"cannot be observed: {reason}"))
                return
        running = self.actual.containers.get(name)
        spare = self.actual.containers.get(aside(name))
        if spare is not None and not spare.owned:
            message = (
                f"{aside(name)}, which is where its spare would be, was made by somebody else: remove or rename it"
            )
            self.held.append(Held(name, "NotOwned", message))
            return
        if name in self.failed:
            self.quarantined(container, running, spare)
            return
        if running is not None and not running.owned and not self.adopt(container, running):
            return
        needs = (f"{Verb.ADOPT}:{name}", *self.dependencies(container))
        changed, before = self.write_files(container.name, container, needs)
        needs = (*needs, *before)
        if running is None or (spare is not None and not _works(running)):
            self.make(container, spare, needs, changed)
            return
        found = self.running_differences(container, running)
        outdated = _copies_once(container) and (changed or self.staleness(container, running))
        if outdated or any(not is_mutable(d) for d in found):
            self.replace(container, running, found, needs)
            return
        count = len(self.actions)
        self.touch(container, running, found, changed, needs)
        if spare is not None:
            needs = (*needs, *(action.id for action in self.actions[count:]))
            cause = "left over from an interrupted replace"
            self.add(self.action(Verb.REMOVE, spare.spec.name, cause, container, needs))

    def quarantined(self, container: Container, running: Running | None, spare: Running | None) -> None:
        """What worked before is kept running, and an interrupted rollback is finished; nothing else is done.

        The previous files are on the disk already, or are put there when the container is started: what they contain is
        not known here without their secrets.
        """
        name = container.name
        self.held.append(
            Held(
                name,
                "Quarantined",
                "this configuration did not become healthy here and was rolled back; waiting for a commit that "
                "changes it (or `reconciler retry` on the host)",
            )
        )
        good = self.in_force[name]
        needs = self.dependencies(good)
        if running is not None and not running.owned:
            return
        if spare is not None:
            cause = "finish an interrupted rollback: it had been moved aside"
            self.add(self.action(Verb.RENAME, name, cause, good, needs))
        elif not self.was_applied(name):
            return  # nothing of it ever worked here
        elif running is None:
            self.make(good, None, needs, ())
        elif name in self.basis.kept:
            self.add(self.action(Verb.RESTART, name, "finish an interrupted rollback", good, needs))
        elif not _works(running):
            self.revive(good, running, needs, changed=False)

    def dependencies(self, container: Container) -> tuple[str, ...]:
        """Ids of every action that must come before the container's: they may or may not be in the plan."""
        verbs = (Verb.RENAME, Verb.CREATE, Verb.REPLACE, Verb.UPDATE, Verb.RESTART, Verb.RELOAD, Verb.START)
        before = [f"{verb}:{name}" for name in container.depends_on for verb in verbs]
        before += [f"{Verb.RUN}:{job.name}" for job in self.desired.jobs if container.name in job.before]
        before += [f"{Verb.REGISTER}:{r.id}" for r in self.desired.registrations if container.name in r.before]
        return tuple(before)

    def adopt(self, container: Container, running: Running) -> bool:
        """Plan taking over a container that carries no label of ours. Returns whether planning may go on with it."""
        name = container.name
        found = self.running_differences(container, running)
        fits = all(is_mutable(d) for d in found)
        policy = self.desired.policy.get("adoption", "equal")
        if policy == "never":
            message = "a container of this name was made by another tool, and reconciler.yml says `adoption: never`"
            self.held.append(Held(name, "NotOwned", message, found))
            return False
        if not fits and policy != "replace":
            message = (
                "a container of this name was made by another tool and differs; remove it, or set `adoption: replace` in "
                "reconciler.yml"
            )
            self.held.append(Held(name, "NotOwned", message, found))
            return False
        if reason := self.actual.unknown.get("units"):
            self.held.append(Held(name, "Unknown", f"cannot tell whether another tool's unit starts it: {reason}"))
            return False
        if not fits:
            cause = "made by another tool, to be replaced as reconciler.yml says"
        elif found:
            cause = "made by another tool, and it need not be made anew"
        else:
            cause = "made by another tool, and just as it should be"
        unit: tuple[Difference, ...] = ()
        if name in self.actual.units:
            cause += f"; disables kolla-{name}-container.service, which would start it as well"
            unit = (Difference("unit", "disabled", f"kolla-{name}-container.service"),)
        self.add(self.action(Verb.ADOPT, name, cause, container, found=unit))
        return True

    def running_differences(self, container: Container, running: Running) -> tuple[Difference, ...]:
        return differences(container, running, self.actual.images.get(container.image))

    def make(
        self, container: Container, spare: Running | None, needs: tuple[str, ...], changed: Sequence[File]
    ) -> None:
        drift = self.same_revision and self.was_applied(container.name)
        if spare is not None:
            equal = not changed and not self.running_differences(container, spare)
            if equal and not self.staleness(container, spare):
                cause = "an interrupted replace had moved it aside"
                self.add(self.action(Verb.RENAME, container.name, cause, container, needs))
                return
            cause = "finish an interrupted replace"
            self.pull(container)
            self.add(self.action(Verb.REPLACE, container.name, cause, container, needs))
            return
        self.pull(container)
        cause = "the container is gone" if drift else "new container"
        gone = (Difference("state", "running", "absent"),)
        self.add(self.action(Verb.CREATE, container.name, cause, container, needs, gone, drift=drift))

    def replace(
        self, container: Container, running: Running, found: tuple[Difference, ...], needs: tuple[str, ...]
    ) -> None:
        drift = self.same_revision
        if found:
            names = [d.field for d in found]
            cause = ("drift: " if drift else "") + ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
            cause += " differ" if len(names) > 1 else " differs"
        else:
            cause = "its files changed and it copies them only when made"
        self.pull(container)
        risks = ("image",) if any(d.field == "image" for d in found) else ()
        self.add(self.action(Verb.REPLACE, container.name, cause, container, needs, found, drift=drift, risks=risks))

    def touch(
        self,
        container: Container,
        running: Running,
        found: tuple[Difference, ...],
        changed: Sequence[File],
        needs: tuple[str, ...],
    ) -> None:
        """Everything short of making the container anew."""
        name = container.name
        if found:
            cause = ", ".join(d.field for d in found)
            self.add(self.action(Verb.UPDATE, name, cause, container, needs, found, drift=self.same_revision))
        if not _works(running):
            self.revive(container, running, needs, changed=bool(changed))
            return
        stale = self.staleness(container, running)
        asked = {file.on_change for file in changed} - {"none"} | ({stale} if stale else set())
        cause = _changed_cause(changed) if changed else "its configuration changed since it started"
        if asked:
            reloads = asked == {"reload"} and container.reload and not self.keeps_old_files(container)
            verb = Verb.RELOAD if reloads else Verb.RESTART
            self.add(self.action(verb, name, cause, container, needs, drift=self.same_revision))
        elif said := self.actual.stale.get(name):
            differs = (Difference(INSIDE, "as in its files", said),)
            cause = "drift: what runs differs from its files"
            self.add(self.action(Verb.RESTART, name, cause, container, needs, differs, drift=True))
        elif name in self.basis.unproved and running.owned:
            self.add(self.action(Verb.START, name, "it has not proved itself yet", container, needs))

    def keeps_old_files(self, container: Container) -> bool:
        """Whether a file that it is to reload is bound by itself: until it is started again it has the file of before,
        because what is written is a new file of that name."""
        sources = {mount.source for mount in container.mounts}
        files = self.files.get(container.name, ())
        return any(f.on_change == "reload" and f"{self.desired.config_root}/{f.path}" in sources for f in files)

    def revive(self, container: Container, running: Running, needs: tuple[str, ...], *, changed: bool) -> None:
        """Bring up a container that is there and does not run."""
        state = (Difference("state", "running", running.state.value),)
        # A new revision may be what brings it back: then it is a change like any other. What is paused is not started.
        verb = Verb.RESTART if changed or running.state is State.PAUSED else Verb.START
        cause, drift = _why_down(running), self.same_revision
        self.add(self.action(verb, container.name, cause, container, needs, state, drift=drift))

    def staleness(self, container: Container, running: Running) -> Stale:
        name = container.name
        wanted = self.basis.files_digest.get(name, "")
        return staleness(running, self.files.get(name, ()), wanted, name, self.actual, self.memory)

    def was_applied(self, name: str) -> bool:
        good = self.memory.last_good
        return bool(good and any(c.name == name for c in good.containers))

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
        risks: tuple[str, ...] = (),
    ) -> Action:
        felt = verb in (Verb.REPLACE, Verb.RESTART)
        more = (("data-plane",) if felt and container.data_plane else ()) + (
            ("stateful",) if felt and container.stateful else ()
        )
        pull = (f"{Verb.PULL}:{container.image}",) if verb in (Verb.CREATE, Verb.REPLACE, Verb.RUN) else ()
        return Action(
            verb, target, cause, (*needs, *pull), container.name, container.service, drift, found, "", (*risks, *more)
        )

    # --- files -------------------------------------------------------------------------------------------------

    def write_files(
        self, owner: str, container: Container, needs: tuple[str, ...]
    ) -> tuple[list[File], tuple[str, ...]]:
        """Plan the files of a container or job. Returns those whose content changes, and the ids of every action taken:
        the container's own waits for all of them, because it is what puts them to the test."""
        changed, taken = [], []
        for file in self.files.get(owner, []):
            action = self.file_action(file, container, needs)
            if action and self.add(action):
                taken.append(action.id)
                if action.verb is Verb.WRITE:
                    changed.append(file)
        for path in self.extra_files(owner, container):
            cause = "no longer part of the configuration" if not self.same_revision else "drift: not ours"
            action = Action(
                Verb.DELETE, path, cause, needs, container.name, container.service, drift=self.same_revision
            )
            if self.add(action):
                taken.append(action.id)
        return changed, tuple(taken)

    def file_action(self, file: File, container: Container, needs: tuple[str, ...]) -> Action | None:
        if reason := self.actual.unknown.get(f"file:{file.path}"):
            self.held.append(Held(file.path, "Unknown", f"cannot be read: {reason}"))
            return None
        state = self.actual.files.get(file.path)
        wanted = self.basis.contents[file.path]
        known = file.path in self.previous
        if state is None or state.kind != "file":
            found = "absent" if state is None else state.kind
            drift = known and self.same_revision
            cause = (
                f"drift: the file is {found}"
                if drift
                else "new file"
                if state is None
                else f"a {found} is in its place"
            )
            difference = Difference("content", "present", found)
            return self.write(file, container, needs, cause, difference, drift, None)
        if state.content != wanted:
            cause = self.content_cause(file, state.content)
            difference = Difference("content", "as rendered", "different")
            return self.write(file, container, needs, cause, difference, self.same_revision, state.content)
        found_mode = (state.mode, state.owner, state.group)
        if found_mode != (file.mode, file.owner, file.group):
            difference = Difference("mode", _mode(file.mode, file.owner, file.group), _mode(*found_mode))
            cause = f"{difference.actual}, should be {difference.desired}"
            return Action(
                Verb.CHMOD,
                file.path,
                cause,
                needs,
                container.name,
                file.service,
                drift=self.same_revision,
                differences=(difference,),
            )
        return None

    def content_cause(self, file: File, found: bytes | None) -> str:
        if self.same_revision:
            return "drift: edited on the node"
        previous, good = self.previous.get(file.path), self.memory.last_good
        if good is None or previous is None or previous.content != file.content:
            return "content changed"
        rotated = [name for name in file.secrets if self.desired.secrets.get(name) != good.secrets.get(name)]
        return "a secret rotated: " + ", ".join(rotated) if rotated else "content changed"

    def write(
        self,
        file: File,
        container: Container,
        needs: tuple[str, ...],
        cause: str,
        difference: Difference,
        drift: bool,
        found: bytes | None,
    ) -> Action:
        text = file_diff(file, self.basis.contents[file.path], found, self.previous.get(file.path))
        risks = ("secret",) if "rotated" in cause else ()
        return Action(
            Verb.WRITE,
            file.path,
            cause,
            needs,
            container.name,
            file.service,
            drift,
            (difference,),
            text,
            risks,
        )

    def extra_files(self, owner: str, container: Container) -> list[str]:
        directory = container.config_directory
        if not directory:
            return []
        mine = {file.path for file in self.files.get(owner, [])}
        return sorted(path for path in self.actual.files if path.startswith(directory + "/") and path not in mine)

    # --- jobs and registrations ----------------------------------------------------------------------------------

    def job(self, job: Job) -> None:
        if job.owner != self.desired.host or job.name in self.basis.denied:
            return
        last = self.memory.jobs.get(job.name)
        done = job.name in self.actual.created or bool(last and last.succeeded and last.inputs == job.inputs)
        if done:
            return
        for item in (f"job:{job.name}", f"container:{job.name}", f"image:{job.container.image}"):
            if reason := self.actual.unknown.get(item):
                self.held.append(Held(job.name, "Unknown", f"cannot tell whether it was run, or with what: {reason}"))
                return
        if last and not last.succeeded and last.inputs == job.inputs:
            cause = f"it failed before: {last.message}" if last.message else "it failed before"
        else:
            cause = "its inputs changed" if last else "first run"
        needs = [f"{Verb.RUN}:{name}" for name in job.after]
        needs += list(self.dependencies(replace(job.container, name=job.name, depends_on=job.after)))
        _, before = self.write_files(job.name, replace(job.container, name=job.name), tuple(needs))
        self.pull(job.container)
        needs += before
        risks = ("migration",) if job.migration else ()
        self.add(self.action(Verb.RUN, job.name, cause, job.container, tuple(needs), risks=risks))

    def registrations(self) -> None:
        mine = [r for r in self.desired.registrations if r.owner == self.desired.host]
        registrars = {registrar.kind: registrar for registrar in self.desired.registrars}
        pending = {action.target for action in self.actions if action.verb is not Verb.PULL}
        for registration in mine:
            needs = self.registrar_needs(registration, registrars)
            if registration.id in self.actual.registrations:
                action = self.registration_action(registration, self.actual.registrations[registration.id], needs)
                if action:
                    self.add(action)
                continue
            if not self.actual.deep:
                continue
            registrar = registrars.get(registration.kind)
            if registrar and any(name in pending or name not in self.actual.containers for name in registrar.needs):
                # What would know is about to be started: converge without having looked.
                self.add(
                    Action(
                        Verb.REGISTER,
                        registration.id,
                        f"once {registration.kind} runs",
                        needs,
                        service=registration.service,
                    )
                )
            else:
                why = self.actual.unknown.get(f"registrar:{registration.kind}", "it was not observed")
                self.held.append(Held(registration.id, "Unknown", why))
        self.unregister({r.id for r in self.desired.registrations})

    def registrar_needs(self, registration: Registration, registrars: Mapping[str, object]) -> tuple[str, ...]:
        from_registrar = getattr(registrars.get(registration.kind), "needs", ())
        stand_in = Container(name="", image="", depends_on=from_registrar)
        kind_order = _EARLIER.get((registration.kind, registration.type), ())
        earlier = [
            f"{Verb.REGISTER}:{other.id}"
            for other in self.desired.registrations
            if other.kind == registration.kind and other.type in kind_order
        ]
        return (*self.dependencies(stand_in), *earlier)

    def registration_action(
        self, registration: Registration, found: Mapping[str, object] | None, needs: tuple[str, ...]
    ) -> Action | None:
        drift = self.same_revision and any(r.id == registration.id for r in self.memory.registered)
        if found is None:
            cause = "drift: it is gone" if drift else "new"
            difference = (Difference("state", "present", "absent"),)
            return Action(
                Verb.REGISTER,
                registration.id,
                cause,
                needs,
                service=registration.service,
                drift=drift,
                differences=difference,
            )
        differing = tuple(
            Difference(name, str(value), str(found.get(name)))
            for name, value in registration.fields.items()
            if name in found and found[name] != value
        )
        if not differing:
            return None
        cause = ("drift: " if drift else "") + ", ".join(d.field for d in differing)
        return Action(
            Verb.REGISTER,
            registration.id,
            cause,
            needs,
            service=registration.service,
            drift=drift,
            differences=differing,
        )

    def unregister(self, wanted: set[str]) -> None:
        available = {registrar.kind for registrar in self.desired.registrars}
        unwanted = [registration for registration in self.memory.registered if registration.id not in wanted]
        for registration in unwanted:
            if registration.type in _DATA_TYPES:
                self.held.append(Held(registration.id, "HoldsData", "no longer wanted; it holds data, so it stays"))
            elif registration.kind in available and self.actual.deep:
                self.add(
                    Action(
                        Verb.UNREGISTER,
                        registration.id,
                        "no longer part of the site",
                        # What rests on it goes first.
                        tuple(
                            f"{Verb.UNREGISTER}:{other.id}"
                            for other in unwanted
                            if other.kind == registration.kind
                            and registration.type in _EARLIER.get((other.kind, other.type), ())
                        ),
                        service=registration.service,
                        risks=("deletion",),
                    )
                )

    # --- what should not be there --------------------------------------------------------------------------------

    def removals(self) -> None:
        doomed = [
            running
            for name, running in sorted(self.actual.containers.items())
            if running.owned and name not in self.wanted and not self.belongs(name)
        ]
        if held := self.spared(doomed):
            self.held += [Held(running.spec.name, *held) for running in doomed]
            doomed = []
        good = self.memory.last_good
        directories = {c.name: c.config_directory for c in good.containers} if good else {}
        for running in doomed:
            name = running.spec.name
            action = Action(
                Verb.REMOVE,
                name,
                "no longer part of the site",
                container=name,
                service=running.spec.service,
                differences=(Difference("state", "absent", running.state.value),),
                risks=("deletion",),
            )
            if self.add(action):
                self.delete_files(name, directories.get(name, ""), running.spec.service, (action.id,))
        # Of containers that are gone already: removed by hand, or by an apply that was interrupted.
        for name in sorted(directories.keys() - self.wanted - self.actual.containers.keys()):
            if f"container:{name}" not in self.actual.unknown:
                self.delete_files(name, directories[name], "", ())

    def spared(self, doomed: Sequence[Running]) -> tuple[str, str] | None:
        """Why none of these is removed: (reason, message)."""
        prune = self.desired.policy.get("prune", {})
        if prune.get("mode") == "report":
            return "PruneReported", "no longer part of the site, and left alone (prune.mode is report)"
        limit = int(prune.get("max", 5)) if self.desired.containers else 0
        if len(doomed) <= limit:
            return None
        return "PruneGuard", (
            f"{len(doomed)} containers are no longer wanted, more than the {limit} that one change may remove; raise "
            "`prune.max` in reconciler.yml if that is meant"
        )

    def delete_files(self, name: str, directory: str, service: str, needs: tuple[str, ...]) -> None:
        """Plan the end of a container's directory, except for what others have in it."""
        if not directory:
            return
        parts = (*self.desired.containers, *(job.container for job in self.desired.jobs))
        kept = {file.path for file in self.desired.files}
        others = tuple(f"{part.config_directory}/" for part in parts if part.config_directory)
        for path in sorted(self.actual.files):
            if path.startswith(f"{directory}/") and path not in kept and not path.startswith(others):
                self.add(Action(Verb.DELETE, path, f"of {name}", needs, name, service))

    def belongs(self, name: str) -> bool:
        """Whether the container is a job's or a spare of a wanted container."""
        return any(job.name == name for job in self.desired.jobs) or name.removeprefix(ASIDE) in self.wanted

    def leftovers(self) -> tuple[str, ...]:
        used = {mount.source for container in self.desired.containers for mount in container.mounts}
        used |= {mount.source for job in self.desired.jobs for mount in job.container.mounts}
        return tuple(sorted(self.actual.volumes - used))

    def finish(self) -> tuple[Action, ...]:
        """Give the disruptive changes their wait for every image, and put everything into order."""
        pulls = tuple(action.id for action in self.actions if action.verb is Verb.PULL)
        return ordered(
            replace(action, needs=(*action.needs, *pulls))
            if action.verb in _DISRUPTIVE and not action.drift
            else action
            for action in sorted(self.actions, key=lambda action: action.verb is not Verb.PULL)
        )


# What has to be registered first within one kind: (kind, type) → types.
_EARLIER: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("mariadb", "user"): ("database",),
    ("mariadb", "grant"): ("database", "user"),
    ("rabbitmq", "permission"): ("vhost", "user"),
    ("keystone", "project"): ("domain",),
    ("keystone", "user"): ("domain", "project"),
    ("keystone", "endpoint"): ("service",),
    ("keystone", "role_assignment"): ("user", "project", "role"),
}


def _works(running: Running) -> bool:
    return running.state is State.RUNNING


def _why_down(running: Running) -> str:
    if running.state is State.EXITED:
        return f"it stopped with exit code {running.exit_code}"
    return f"it is {running.state.value}"


def _copies_once(container: Container) -> bool:
    return container.environment.get("KOLLA_CONFIG_STRATEGY") == "COPY_ONCE"


def _changed_cause(changed: Sequence[File]) -> str:
    names = [file.path.rpartition("/")[2] for file in changed if file.on_change != "none"]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") + " changed"


def _mode(mode: int, owner: int, group: int) -> str:
    return f"{mode:04o} {owner}:{group}"
