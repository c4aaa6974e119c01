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
from reconciler.plan.redact import file_diff

# Verbs that change something that works. As part of a change they wait until every image of the plan is there, so that
# a wrong tag or a registry that is down leaves the node exactly as it was.
_DISRUPTIVE = frozenset(
    {Verb.WRITE, Verb.DELETE, Verb.REPLACE, Verb.RESTART, Verb.RELOAD, Verb.REMOVE, Verb.STOP, Verb.UNREGISTER}
)
_DATA_TYPES = frozenset({"database", "vhost"})  # never removed: they hold data


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan is made from besides desired and actual state.

    `contents` are the bytes each desired file should have on the disk, by path; `files_digest` and `part_digest` map a
    container to the digest of its file contents and of its whole desired part; `denied` maps a container to why the host's
    policy refuses it; `hold` is a (reason, message) that holds every action back (suspended); `wait` is one that holds back
    what a new commit asks for, while drift is healed (outside a maintenance window).
    """

    contents: Mapping[str, bytes] = field(repr=False)
    files_digest: Mapping[str, str] = field(default_factory=dict)
    part_digest: Mapping[str, str] = field(default_factory=dict)
    denied: Mapping[str, str] = field(default_factory=dict)
    hold: tuple[str, str] | None = None
    wait: tuple[str, str] | None = None


def diff(desired: Desired, actual: Actual, memory: Memory, basis: Basis) -> Plan:
    """What has to be done so that `actual` becomes `desired`, and what is held back and why."""
    planner = _Planner(desired, actual, memory, basis)
    for container in desired.containers:
        planner.container(container)
    for job in desired.jobs:
        planner.job(job)
    planner.registrations()
    planner.removals()
    return Plan(
        host=desired.host,
        revision=desired.revision,
        actions=planner.finish(),
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

    # --- one place for policy ------------------------------------------------------------------------------

    def add(self, action: Action) -> bool:
        """Take an action into the plan, or hold it back by policy. Returns whether it was taken."""
        if self.basis.hold:
            self.hold(action, *self.basis.hold)
            return False
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
        if reason := self.actual.unknown.get(f"container:{name}"):
            self.held.append(Held(name, "Unknown", f"cannot be observed: {reason}"))
            return
        if self.is_quarantined(name):
            self.held.append(
                Held(
                    name,
                    "Quarantined",
                    "this configuration did not become healthy here and was rolled back; waiting for a commit that "
                    "changes it (or `reconciler retry` on the host)",
                )
            )
            good = self.last_good_part(name)
            if good is None:
                return
            container, self.files[name] = good
        needs = self.dependencies(container)
        running = self.actual.containers.get(name)
        spare = self.actual.containers.get(aside(name))
        if running is not None and not running.owned and spare is None and self.adopt(container, running):
            return
        writes = self.write_files(container.name, container, needs, stop=running is not None)
        changed = [file for file, _ in writes]
        ids = tuple(action.id for _, action in writes)
        if running is None or (spare is not None and not _works(running)):
            self.make(container, spare, (*needs, *ids))
            return
        found = self.running_differences(container, running)
        if any(not is_mutable(d) for d in found) or (changed and _copies_once(container)):
            self.replace(container, running, found, (*needs, *ids))
        else:
            self.touch(container, running, found, changed, (*needs, *ids))
        if spare is not None:
            self.add(self.action(Verb.REMOVE, spare.spec.name, "left over from an interrupted replace", container))

    def is_quarantined(self, name: str) -> bool:
        failed = self.memory.quarantine.get(name)
        return failed is not None and failed == self.basis.part_digest.get(name)

    def last_good_part(self, name: str) -> tuple[Container, list[File]] | None:
        good = self.memory.last_good
        container = next((c for c in good.containers if c.name == name), None) if good else None
        if container is None or good is None:
            return None
        # The previous files are on the disk already; what they contain is not known without their secrets, so only the
        # container itself is kept in step while the quarantine lasts.
        return container, []

    def dependencies(self, container: Container) -> tuple[str, ...]:
        """Ids of every action that must come before the container's: they may or may not be in the plan."""
        verbs = (Verb.RENAME, Verb.CREATE, Verb.REPLACE, Verb.UPDATE, Verb.RESTART, Verb.RELOAD, Verb.START)
        before = [f"{verb}:{name}" for name in container.depends_on for verb in verbs]
        before += [f"{Verb.RUN}:{job.name}" for job in self.desired.jobs if container.name in job.before]
        before += [f"{Verb.REGISTER}:{r.id}" for r in self.desired.registrations if container.name in r.before]
        return tuple(before)

    def adopt(self, container: Container, running: Running) -> bool:
        """Plan for a container that carries no label of ours. Returns whether that is all there is to plan."""
        found = self.running_differences(container, running)
        if not found and running.state is State.RUNNING:
            self.add(
                self.action(Verb.ADOPT, container.name, "made by another tool, and just as it should be", container)
            )
            return False
        if self.desired.policy.get("adoption", "equal") == "replace":
            return False
        self.held.append(
            Held(
                container.name,
                "NotOwned",
                "a container of this name was made by another tool and differs; remove it, or set `adoption: replace` in "
                "reconciler.yml",
                found,
            )
        )
        return True

    def running_differences(self, container: Container, running: Running) -> tuple[Difference, ...]:
        return differences(container, running, self.actual.images.get(container.image))

    def make(self, container: Container, spare: Running | None, needs: tuple[str, ...]) -> None:
        drift = self.same_revision and self.was_applied(container.name)
        if spare is not None:
            if not self.running_differences(container, spare):
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
            cause, state = _why_down(running), (Difference("state", "running", running.state.value),)
            # A new revision may be what brings it back: then it is a change like any other, and rolls back like one.
            verb = Verb.RESTART if changed else Verb.START
            self.add(self.action(verb, name, cause, container, needs, state, drift=self.same_revision))
            return
        asked = {file.on_change for file in changed}
        drift = self.same_revision
        if asked == {"reload"} and container.reload:
            self.add(self.action(Verb.RELOAD, name, _changed_cause(changed), container, needs, drift=drift))
        elif asked & {"restart", "reload"}:
            self.add(self.action(Verb.RESTART, name, _changed_cause(changed), container, needs, drift=drift))
        elif not asked and self.is_stale(container, running):
            cause = "its configuration changed since it started"
            self.add(self.action(Verb.RESTART, name, cause, container, needs))
        elif said := self.actual.stale.get(name):
            stale = (Difference("running configuration", "as in its files", said),)
            cause = "drift: what runs differs from its files"
            self.add(self.action(Verb.RESTART, name, cause, container, needs, stale, drift=True))

    def is_stale(self, container: Container, running: Running) -> bool:
        """Whether an apply was interrupted between writing the files and restarting the container."""
        wanted = self.basis.files_digest.get(container.name)
        applied = self.memory.applied.get(container.name)
        if not wanted or self.is_quarantined(container.name):
            return False
        if applied and (applied.id, applied.started_at) == (running.id, running.started_at):
            return applied.files != wanted
        # Started by somebody else (the engine, an operator): it has what was on the disk at that moment.
        states = [self.actual.files.get(file.path) for file in self.files.get(container.name, [])]
        return running.started_at is not None and any(s and s.modified > running.started_at for s in states)

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
        self, owner: str, container: Container, needs: tuple[str, ...], *, stop: bool
    ) -> list[tuple[File, Action]]:
        """Plan the files of a container or job. Returns those whose content changes, with their action."""
        result = []
        for file in self.files.get(owner, []):
            action = self.file_action(file, container, needs)
            if action and self.add(action) and action.verb is Verb.WRITE:
                result.append((file, action))
        for path in self.extra_files(owner, container):
            cause = "no longer part of the configuration" if not self.same_revision else "drift: not ours"
            self.add(
                Action(Verb.DELETE, path, cause, needs, container.name, container.service, drift=self.same_revision)
            )
        return result

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
        previous = self.previous.get(file.path)
        if previous and previous.content == file.content and file.secrets:
            return "a secret rotated: " + ", ".join(file.secrets)
        return "content changed"

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
        if not directory or self.is_quarantined(owner):
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
        if reason := self.actual.unknown.get(f"job:{job.name}"):
            self.held.append(Held(job.name, "Unknown", f"cannot tell whether it was run: {reason}"))
            return
        if last and not last.succeeded and last.inputs == job.inputs:
            cause = f"it failed before: {last.message}" if last.message else "it failed before"
        else:
            cause = "its inputs changed" if last else "first run"
        needs = [f"{Verb.RUN}:{name}" for name in job.after]
        needs += list(self.dependencies(replace(job.container, name=job.name, depends_on=job.after)))
        writes = self.write_files(job.name, replace(job.container, name=job.name), tuple(needs), stop=False)
        self.pull(job.container)
        needs += [action.id for _, action in writes]
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
        for registration in self.memory.registered:
            if registration.id in wanted:
                continue
            if registration.type in _DATA_TYPES:
                self.held.append(Held(registration.id, "HoldsData", "no longer wanted; it holds data, so it stays"))
            elif registration.kind in available and self.actual.deep:
                self.add(
                    Action(
                        Verb.UNREGISTER,
                        registration.id,
                        "no longer part of the site",
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
        limit = int(self.desired.policy.get("prune", {}).get("max", 5))
        if not self.desired.containers and doomed:
            limit = 0
        if len(doomed) > limit:
            message = (
                f"{len(doomed)} containers are no longer wanted, more than the {limit} that one change may remove; raise "
                "`prune.max` in reconciler.yml if that is meant"
            )
            self.held += [Held(running.spec.name, "PruneGuard", message) for running in doomed]
            return
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
            if self.add(action) and (directory := directories.get(name)):
                for path in sorted(p for p in self.actual.files if p.startswith(directory + "/")):
                    self.add(Action(Verb.DELETE, path, f"of {name}", (action.id,), name, running.spec.service))

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
    ("keystone", "user"): ("project",),
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
