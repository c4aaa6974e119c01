"""The state directory: small JSON files, each replaced whole, and an append-only history.

    owner.json       the key by which the engine's containers are known as this installation's
    written.json     every file that was written below a config root, with the digests of what was written
    anchor.json      last commit that was verified and accepted
    testing.json     present while a testing branch is tried: its commit
    begun.json       present while a revision is carried out in part: the revision, what it may have changed, and what of it works
    memory.json      what was applied, jobs run, quarantine, registrations made, settings of the host
    last-good.json   desired state of the last complete apply, and the ciphertexts of its secrets; holds no secret
    report.json      what the last cycle found and did
    suspend.json     present while suspended
    permit.json      present while this host holds places of budgets (docs/fleet.md)
    heard.json       halts, excuses and the like that are in the history already
    etcd.json        how far this host has seen the site's etcd
    posted.json      commit statuses posted (kept by forge/)
    links.json       merge requests of commits, as the forge told (kept by forge/)
    history.jsonl    one line per cycle that changed or refused something
    rollback/        previous files of containers that have not proved themselves yet
    repository/      the bare clone, site.git, and what is made beside it: all that a child which fetches may write
    lock             held during a cycle
    writing.lock     held while what a file holds is read and what is made of that is written: operators' verbs do that beside cycles

A file that cannot be read is an error, never the same as no file. Each says which version wrote it, in which form: what an older
program does not know of a newer one's file it leaves out and names (`lost`), and what it would misunderstand it refuses.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from reconciler import errors, releases
from reconciler.codec import to_json
from reconciler.model import (
    Applied,
    Asked,
    AsMade,
    Desired,
    Difference,
    Failure,
    HostKept,
    HostSetting,
    Interruption,
    JobResult,
    Memory,
    OtherTool,
    Registration,
    Worked,
)
from reconciler.reasons import Reason
from reconciler.rollout.records import Mark, Permit
from reconciler.secrets.locked import Locked
from reconciler.state.documents import Documents
from reconciler.state.folder import Folder
from reconciler.state.history import History
from reconciler.state.records import Anchor, Begun, Carried, Owner, Suspension, Trial, Written, carried_before
from reconciler.system import files

LAST_GOOD = "last-good.json"
_INTERRUPTIONS = 5  # of one container: the last few say what the next one will be like
_DIGESTS_KEPT = 8  # of one file: what worked last, and what was tried since

Healed = Mapping[str, tuple[datetime, ...]]  # container → when it was interrupted of late because it drifted


class StateDirectory(Folder):
    """The node's memory. Safe to use from several threads and processes; `cycle` keeps other cycles out. What only reads takes no lock."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.repository = path / "repository" / "site.git"
        self.rollback = path / "rollback"
        self.posted = path / "posted.json"
        self.links = path / "links.json"
        self.after: datetime | None = None  # when an anchor was accepted that this directory has lost
        self._files = Documents(path, self._guard, self.require_same)
        self.history = History(path, self.alone)

    @property
    def lost(self) -> Mapping[str, str]:
        """File → what of it, as another version wrote it, could not be read."""
        return self._files.lost

    def create(self) -> None:
        """Make the directory, readable by its owner only. Raises errors.Transient (StateReadOnly)."""
        with self.reached():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            # Where earlier versions had the clone, which no fetch brings back whole.
            before = self.path / "repository.git"
            if before.is_dir() and not self.repository.exists():
                self.repository.parent.mkdir(mode=0o700, exist_ok=True)
                before.rename(self.repository)
                before.with_name("repository.git.lock").unlink(missing_ok=True)

    # --- whose containers, whose files ---------------------------------------------------------------------------

    @property
    def owner(self) -> Owner | None:
        """This installation's key, None while there is none."""
        return self._files.read("owner.json", Owner)

    @property
    def remembers(self) -> bool:
        """Whether anything was ever carried out with this state."""
        return self._files.raw("memory.json") is not None

    def identify(self, key: str = "") -> Owner:
        """This installation's key; made when there is none yet. `key` is the one that this host is known to have had.

        Raises errors.Terminal (StateCopied) when the directory is a copy of one that is still there: two daemons with one key
        would take each other's containers for their own.
        """
        here = str(self.path.resolve())
        found = self.owner
        if found is not None and found.path == here and key in ("", found.key, *found.also):
            return found
        with self.alone():
            found = self.owner
            if found is None:
                found = Owner(key or secrets.token_hex(16), here, self._labels_before())
            elif key and key not in (found.key, *found.also):
                found = replace(found, key=key, path=here)  # drawn since, and nothing was made with it
            elif found.path != here:
                self._require_moved(found)
                found = replace(found, path=here)
            else:
                return found  # another process was faster
            self._files.write("owner.json", to_json(found))
            return found

    def claim(self, label: str) -> Owner:
        """Take over what carries `label`, another key, on this engine. Raises as `identify`."""
        with self.alone():
            owner = self.identify()
            if label != owner.key and label not in owner.also:
                owner = replace(owner, also=(*owner.also, label))
                self._files.write("owner.json", to_json(owner))
        return owner

    def _labels_before(self) -> tuple[str, ...]:
        """The label that versions without a key gave to the containers of this very memory: `<site>/<host>`."""
        if carried := self.carried:
            return (f"{carried.desired.site}/{carried.desired.host}",)
        if self._files.raw("memory.json") is None:
            return ()
        told = self._files.raw("report.json") or {}
        return (f"{told['site']}/{told['host']}",) if told.get("site") and told.get("host") else ()

    def _require_moved(self, found: Owner) -> None:
        other = None
        with suppress(errors.ReconcilerError):  # what cannot be read there is no installation that could run
            other = StateDirectory(Path(found.path)).owner
        if other is not None and other.key == found.key:
            raise errors.Terminal(
                f"{self.path} is a copy of {found.path}, which is still there: both would take each other's containers for "
                "their own. Remove one of them; or everything but the settings from the copy, which then starts anew",
                reason=Reason.StateCopied,
            )

    def written(self, root: str) -> Mapping[str, tuple[str, ...]] | None:
        """What was written below a config root: path → digests of the contents. None: nothing was ever noted, anywhere."""
        noted = self._files.read("written.json", Written)
        return None if noted is None else noted.roots.get(root, {})

    def note_written(self, root: str, digests: Mapping[str, Iterable[str]]) -> None:
        """Note everything that was written below a config root, or is about to be: path → digests, oldest first."""
        with self.alone():
            noted = self._files.read("written.json", Written)
            now = {path: tuple(dict.fromkeys(found))[-_DIGESTS_KEPT:] for path, found in digests.items()}
            if noted is None or noted.roots.get(root) != now:
                self._files.write("written.json", to_json(Written({**(noted.roots if noted else {}), root: now})))

    def tidy(self) -> None:
        """Remove what killed writes left. Other processes may be writing, so only what is older than any write."""
        files.sweep(self.path, older=files.LEFTOVER_AGE)

    # --- anchor, suspension, report --------------------------------------------------------------------------

    @property
    def anchor(self) -> Anchor | None:
        return self._files.read("anchor.json", Anchor)

    def move_anchor(self, anchor: Anchor) -> Anchor:
        """Keep it, with a time after that of every anchor before it: the clock may have been set back. Returns what is kept."""
        before = [moment for moment in (self.after, self.anchor and self.anchor.accepted_at) if moment]
        if before and anchor.accepted_at <= max(before):
            anchor = replace(anchor, accepted_at=max(before) + timedelta(microseconds=1))
        self._files.write("anchor.json", to_json(anchor))
        return anchor

    @property
    def trial(self) -> Trial | None:
        return self._files.read("testing.json", Trial)

    def begin_trial(self, trial: Trial) -> None:
        self._files.write("testing.json", to_json(trial))

    def end_trial(self) -> None:
        files.remove(self.path, "testing.json")

    @property
    def suspension(self) -> Suspension | None:
        return self._files.read("suspend.json", Suspension)

    def suspend(self, suspension: Suspension) -> None:
        self._files.write("suspend.json", to_json(suspension))

    def resume(self) -> None:
        files.remove(self.path, "suspend.json")

    @property
    def permit(self) -> Permit | None:
        """What this host holds of the fleet's budgets, as it last read it."""
        return self._files.read("permit.json", Permit)

    def hold_permit(self, permit: Permit | None) -> None:
        """Remember it for when etcd does not answer; None: nothing is held."""
        if permit == self.permit:
            return
        if permit is None:
            files.remove(self.path, "permit.json")
        else:
            self._files.write("permit.json", to_json(permit))

    @property
    def heard(self) -> dict[str, str]:
        """What was heard of the other hosts, see rollout/heard.py."""
        return self._files.read("heard.json", dict[str, str]) or {}

    def hear(self, heard: Mapping[str, str]) -> None:
        """Remember what the history has of it."""
        self._files.write("heard.json", dict(heard))

    @property
    def etcd_mark(self) -> Mark | None:
        """How far this host had seen the site's etcd when that was last noted."""
        return self._files.read("etcd.json", Mark)

    def note_etcd(self, mark: Mark) -> None:
        self._files.write("etcd.json", to_json(mark))

    @property
    def report(self) -> dict[str, Any] | None:
        return self._files.json("report.json")

    def save_report(self, report: dict[str, Any]) -> None:
        self._files.write("report.json", report)

    # --- memory --------------------------------------------------------------------------------------------------

    def memory(self) -> Memory:
        """Everything planning needs to know. Raises errors.Terminal (StateCorrupt)."""
        with self._guard:
            carried = self.carried
            begun = self._begun
            return replace(
                self._memory, last_good=carried.desired if carried else None, worked=begun.worked if begun else {}
            )

    @property
    def carried(self) -> Carried | None:
        """The last complete apply; None when there was none. Raises errors.Terminal (StateCorrupt)."""
        return self._files.read(LAST_GOOD, Carried, carried_before)

    def applied(self, container: str, applied: Applied) -> None:
        self._change(lambda m: replace(m, applied={**m.applied, container: applied}, put_down=m.put_down - {container}))

    def put_down(self, container: str) -> None:
        """That this program is about to stop a container for an operator, until it has proved itself again."""
        self._change(lambda m: replace(m, put_down=m.put_down | {container}))

    def took(self, container: str, seconds: float) -> None:
        """How long a container took to become healthy. A long time is forgotten little by little: one start may be quick by chance."""
        self._change(
            lambda m: replace(m, took={**m.took, container: round(max(seconds, m.took.get(container, 0.0) * 0.8), 1)})
        )

    def job_done(self, job: str, result: JobResult) -> None:
        self._change(lambda m: replace(m, jobs={**m.jobs, job: result}))

    def answered(self, container: str, checks: Iterable[str] | None) -> None:
        """Which checks answered before `container` was changed; None: it has proved itself, or is what it was."""
        kept = {} if checks is None else {container: tuple(checks)}
        self._change(lambda m: replace(m, answered={**{k: v for k, v in m.answered.items() if k != container}, **kept}))

    def quarantine(self, container: str, digest: str, failure: Failure) -> None:
        """Remember that this configuration of a container was taken back, and why."""
        self._change(
            lambda m: replace(
                m,
                quarantine={**m.quarantine, container: digest},
                failures={**m.failures, container: failure},
            )
        )

    def recovered(self, container: str) -> None:
        """What a container was in quarantine for is over."""
        if container in self._memory.quarantine:
            self.release(container)

    def release(self, container: str | None = None) -> None:
        """End the quarantine of one container, or of all, and forget what could not be achieved there."""
        self._change(
            lambda m: replace(
                m,
                quarantine={k: v for k, v in m.quarantine.items() if container and k != container},
                failures={k: v for k, v in m.failures.items() if container and k != container},
                unachieved={k: v for k, v in m.unachieved.items() if container and k.partition(":")[2] != container},
                healed={k: v for k, v in m.healed.items() if container and k != container},
            )
        )

    def interrupted(self, container: str, seconds: float) -> None:
        """Remember for how long a container did not answer because it was restarted or replaced."""

        def noted(m: Memory) -> Memory:
            last = (*m.interruptions.get(container, ()), round(seconds, 1))[-_INTERRUPTIONS:]
            return replace(m, interruptions={**m.interruptions, container: last})

        self._change(noted)

    def interruptions(self) -> dict[str, Interruption]:
        """Container → what is remembered of its restarts and replacements; nothing where the memory cannot be read, which others
        say."""
        with suppress(errors.ReconcilerError):
            found = self.memory().interruptions.items()
            return {name: Interruption(median(last), len(last)) for name, last in found if last}
        return {}

    def healed(self, noted: Callable[[Healed], Healed]) -> None:
        """When containers that worked were interrupted of late because they drifted: `noted` makes it of what is remembered now, which
        an operator may have ended since a pass looked."""
        if noted({}):
            self._change(lambda m: replace(m, healed={**m.healed, **noted(m.healed)}))

    def unachieved(self, found: Mapping[str, tuple[Difference, ...]]) -> None:
        """What still differed right after the action that should have put it right, by `kind:target`; () forgets one."""
        if not found:
            return
        self._change(lambda m: replace(m, unachieved={k: v for k, v in {**m.unachieved, **found}.items() if v}))

    def registered(self, registration: Registration) -> None:
        """Its fields are kept too, with their tokens: withdrawing it may need them once no commit has them any more."""
        self._change(
            lambda m: replace(m, registered=(*(r for r in m.registered if r.id != registration.id), registration))
        )

    def unregistered(self, registration_id: str) -> None:
        self._change(lambda m: replace(m, registered=tuple(r for r in m.registered if r.id != registration_id)))

    def host_set(self, setting: HostSetting, before: Mapping[str, str], earlier: tuple[HostSetting, ...] = ()) -> None:
        """What is about to be set on the host, and how it was before this program first came; `earlier` as in `HostKept`."""
        kept = HostKept(setting, before, earlier)
        self._change(lambda m: replace(m, host_settings={**m.host_settings, setting.id: kept}))

    def host_reset(self, setting_id: str) -> None:
        """It is what it was before, or somebody else's by now."""
        self._change(
            lambda m: replace(
                m,
                host_settings={k: v for k, v in m.host_settings.items() if k != setting_id},
                unachieved={k: v for k, v in m.unachieved.items() if k != f"host:{setting_id}"},
            )
        )

    def plain(self, *, now: Iterable[str] = (), no_more: Iterable[str] = ()) -> None:
        """These files hold nothing that this node wrote with a secret, and those may do so from now on."""
        added, gone = frozenset(now), frozenset(no_more)
        before = self._memory.plain
        if (before - gone) | added != before:
            self._change(lambda m: replace(m, plain=(m.plain - gone) | added))

    @property
    def begun(self) -> str:
        """The revision that was begun and not carried out completely; "" when there is none."""
        begun = self._begun
        return begun.revision if begun else ""

    @property
    def touched(self) -> frozenset[str]:
        """What was, or may have been, changed since the last complete apply: containers, files, registrations."""
        begun = self._begun
        return frozenset(begun.touched) if begun else frozenset()

    def begin(self, revision: str, touches: Iterable[str]) -> None:
        """Remember that the node is between two desired states, until `converged`, and what is about to be changed."""
        begun = self._begun
        self._note_begun(
            Begun(revision, tuple(sorted(self.touched | frozenset(touches))), begun.worked if begun else {})
        )

    def worked(self, found: Mapping[str, Worked]) -> None:
        """Remember what works of a revision that is not carried out whole: until `converged` that is what worked last."""
        if found and (begun := self._begun):
            self._note_begun(replace(begun, worked={**begun.worked, **found}))

    @property
    def _begun(self) -> Begun | None:
        return self._files.read("begun.json", Begun)

    def _note_begun(self, now: Begun) -> None:
        if self._begun != now:
            self._files.write("begun.json", to_json(now))

    def converged(self, desired: Desired, locked: Iterable[Locked] = (), also: Iterable[str] = ()) -> None:
        """Remember a complete apply: what it made is from now on what drift is measured against. What was in quarantine was asked
        for by commits before it, and is tried again when one asks for it anew.

        `locked` are the encrypted files that its secrets are in, `also` containers that are not wanted and are there all the same.
        """
        with self.alone():
            names = {container.name for container in desired.containers} | set(also)
            jobs = {job.name for job in desired.jobs}
            self._files.write(LAST_GOOD, to_json(Carried(desired, tuple(locked))))
            self._change(
                lambda m: replace(
                    m,
                    revision=desired.revision,
                    applied={k: v for k, v in m.applied.items() if k in names},
                    jobs={k: v for k, v in m.jobs.items() if k in jobs},
                    interruptions={k: v for k, v in m.interruptions.items() if k in names},
                    took={k: v for k, v in m.took.items() if k in names},
                    taken={k: v for k, v in m.taken.items() if k in names},
                    put_down=m.put_down & names,
                    as_made={k: v for k, v in m.as_made.items() if k in names},
                    healed={k: v for k, v in m.healed.items() if k in names},
                    answered={},
                    prechecks={},
                    quarantine={},
                    failures={},
                )
            )
            files.remove(self.path, "begun.json")

    def note_proved(self) -> None:
        """Remember that this host was proved with a commit beside others."""
        if not self._memory.proved:
            self._change(lambda m: replace(m, proved=True))

    def taken(self, container: str, unit: str) -> None:
        """That a container was taken over, together with the unit that ran it ("": none)."""
        self._change(lambda m: replace(m, taken={**m.taken, container: unit}))

    def as_made(self, container: str, made: AsMade) -> None:
        """How a container is that was taken over as it is."""
        self._change(lambda m: replace(m, as_made={**m.as_made, container: made}))

    def upgraded(self) -> None:
        """That this host goes to another release of OpenStack."""
        self._change(lambda m: replace(m, upgraded=True, pinned={}))

    def upgrade_ended(self, pinned: Mapping[str, datetime]) -> None:
        """That every host has. `pinned`: the containers whose processes began before, and when."""
        self._change(lambda m: replace(m, upgraded=False, pinned=pinned))

    def migrating(self, release: str) -> None:
        """That a schema, or data that an older program does not read, are about to become those of this release of OpenStack."""
        before = self._memory.schema_release
        if (releases.order(release) or (0, 0)) > (releases.order(before) or (0, 0)):
            self._change(lambda m: replace(m, schema_release=release))

    def prechecked(self, name: str, asked: Asked) -> None:
        """What a check before an upgrade found."""
        self._change(lambda m: replace(m, prechecks={**m.prechecks, name: asked}))

    def other_tool(self, seen: Callable[[OtherTool | None], OtherTool | None]) -> None:
        """What is known of another tool being at work on what is ours: `seen` makes it of what is remembered now, as in `healed`; None
        forgets it."""
        before = self._memory.other_tool
        if seen(before) != before:
            self._change(lambda m: replace(m, other_tool=seen(m.other_tool)))

    @property
    def _memory(self) -> Memory:
        """The file of it: without what was carried out last, which has one of its own."""
        return self._files.read("memory.json", Memory) or Memory()

    def _change(self, change: Callable[[Memory], Memory]) -> None:
        with self.alone():
            self._files.write("memory.json", to_json(replace(change(self._memory), last_good=None, worked={})))
