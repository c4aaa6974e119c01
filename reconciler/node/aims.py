"""What this node is to be: commits made concrete and judged by this host, and which of them a pass keeps up."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from reconciler import __version__, data, errors, gates, moments, plan
from reconciler.gates import Hold
from reconciler.model import OURS, Action, Check, Desired, Held, is_ours
from reconciler.node import policy as host_rules
from reconciler.node.target import Target, make_target
from reconciler.plan import leaving, release_step, rotation
from reconciler.plan.accepted import accepted as answered_for
from reconciler.reasons import Reason
from reconciler.registrations.registry import Registry
from reconciler.render import tokens
from reconciler.secret import Secret
from reconciler.secrets import sops
from reconciler.settings import Settings
from reconciler.source.prepare import Prepared, prepare, unlock
from reconciler.state import LAST_GOOD, Carried, StateDirectory
from reconciler.system import files

log = structlog.get_logger()

Origin = tuple[str, str, str]
_ASKED_AGAIN = timedelta(minutes=1)  # until then a check before an upgrade that failed is not made again


_UNTRIED = "the new value cannot be tried"


@dataclass(frozen=True, slots=True)
class Aim:
    """What one pass aims at.

    `target` is the accepted revision, or what was last carried out while something holds the accepted one back; then `waiting` is
    what the accepted one would change. `between` as in `plan.Basis`. `program` and `catalogue` are of the program that runs,
    `change` says how it differs from the one of what was last carried out.
    """

    target: Target
    holds: tuple[Hold, ...] = ()
    waiting: tuple[Held, ...] = ()
    between: Desired | None = None
    program: str = __version__
    catalogue: str = ""
    change: str = ""

    @property
    def waits(self) -> str:
        """For what, or until when, what is accepted waits; "" when it does not."""
        return next((hold.until for hold in self.holds if hold.keeps_up), "")

    def held_by(self, reason: Reason) -> Hold:
        """The hold of that reason; one without words when there is none."""
        return next((hold for hold in self.holds if hold.reason == reason), Hold(reason, ""))


class Aims:
    """Makes targets of commits, and keeps those that are in use. Not thread-safe."""

    def __init__(self, settings: Settings, state: StateDirectory, clock: Callable[[], datetime]) -> None:
        self._settings, self._state, self._clock = settings, state, clock
        self._targets: dict[str, Target] = {}  # by commit: those that are in use
        self._accepted: Target | None = None  # of the last pass
        self._kept: tuple[Carried, Target] | None = None  # what was last carried out, made concrete
        self._between: tuple[tuple[str, str], Desired | None] | None = None
        self.fleet: tuple[Reason, str] | None = None  # why the rollout has not come to this node; None: it has
        self.ahead = False  # whether what stops nothing, and others wait for, is done all the same
        self.shut_out: str | None = None  # which changed password is not let in yet
        self._let_in: tuple[str, frozenset[str]] = ("", frozenset())  # of a commit: the logins that were
        self._previewed: tuple[tuple[Origin, Origin], tuple[Action, ...]] | None = None

    @property
    def site(self) -> str:
        """The name of the site, as far as it is known; "" before the first target."""
        return next((target.desired.site for target in self._targets.values()), "")

    def forget(self) -> None:
        """Begin anew: the state is another one."""
        self._targets, self._accepted, self._kept = {}, None, None

    def aim(self, revision: str) -> Aim:
        """What to aim at while `revision` is accepted. Raises errors.ReconcilerError."""
        try:
            accepted = self.of(revision)
        except errors.Terminal as error:
            self._accepted = None
            return self._without(revision, error)
        self.shut_out = self._not_let_in(accepted)
        holds = self.holds(accepted.desired.policy, unready=self._unready(accepted.desired))
        keeps = next((hold for hold in holds if hold.keeps_up), None)
        before = self._before(accepted) if keeps else None
        between = self._rendered_anew(accepted)
        waiting = self._changes(before, accepted, keeps, between) if keeps and before else ()
        self._targets, self._accepted = {revision: accepted}, accepted
        if not waiting:
            # What asks for nothing else here need not wait, and what differs all the same is drift.
            self._kept = None
            return self._aim(accepted, accepted, holds, between=between)
        assert before
        return self._aim(before, accepted, holds, waiting=waiting)

    def _aim(self, target: Target, accepted: Target, holds: tuple[Hold, ...], **more: Any) -> Aim:
        made, good = accepted.desired, self._state.memory().last_good
        change = plan.program_change(good, made)
        if change and good and good.revision != made.revision:
            change = f"{change}, and a commit"
        return Aim(target, holds, program=made.program, catalogue=made.catalogue, change=change, **more)

    def _without(self, revision: str, error: errors.Terminal) -> Aim:
        """The aim while this program cannot make of the accepted revision what this host is to be: what was last carried out.

        Raises the error itself when that is not known, or was another host's.
        """
        carried = self._state.carried
        if carried is None or carried.desired.host != self._settings.host or LAST_GOOD in self._state.lost:
            raise error
        try:
            target = self._remembered(carried, None)
        except errors.ReconcilerError:
            raise error from None
        unmade = error.reason, str(error)
        holds = self.holds(target.desired.policy, unmade)
        waiting = tuple(
            Held(f"commit {revision[:12]}", hold.reason, hold.message) for hold in holds if hold.reason is error.reason
        )
        return Aim(target, holds, waiting, catalogue=data.catalogue_digest())

    def asks(self, accepted: Target) -> tuple[Action, ...] | None:
        """What the accepted revision asks for that is not carried out; None: nobody can tell beforehand, because nothing was ever
        carried out here, something was begun since, or what was cannot be made concrete any more."""
        carried = self._state.carried
        if carried is not None and carried.desired.origin == accepted.desired.origin and not self._state.begun:
            return ()
        before = self._before(accepted)
        return self._preview(before, accepted, self._rendered_anew(accepted)) if before else None

    def differs(self, accepted: Target) -> tuple[Action, ...]:
        """What the accepted revision asks for beside what was last carried out completely, whatever was begun since; () when nobody can
        tell."""
        before = self._last(accepted)
        return self._preview(before, accepted, self._rendered_anew(accepted)) if before else ()

    def of(self, commit: str) -> Target:
        """The target of a commit. Raises errors.ReconcilerError."""
        if commit not in self._targets:
            self._targets[commit] = self._make(commit)
        return self._targets[commit]

    def _unready(self, accepted: Desired) -> str | None:
        """What a check before the upgrade to `accepted` found lately, in one line; None where all passed, and where it is time to ask again."""
        now, known = self._clock(), {check.name for check in accepted.prechecks}
        for name, asked in sorted(self._state.memory().prechecks.items()):
            lately = moments.lately(asked.at, now, _ASKED_AGAIN)
            counts = asked.revision == accepted.revision and asked.message and lately
            today = now.astimezone(UTC).date()
            if counts and name in known and not answered_for(accepted.policy, name, accepted.host, today):
                return asked.message.partition("\n")[0]
        return None

    def holds(
        self, policy: Mapping[str, Any], unmade: tuple[Reason, str] | None = None, unready: str | None = None
    ) -> tuple[Hold, ...]:
        """What holds back what is accepted, as of now. `policy`, `unmade` and `unready` as in `gates.Situation`."""
        suspension = self._state.suspension
        return gates.holds(
            gates.Situation(
                policy=policy,
                mode=self._settings.mode,
                suspension=suspension.reason if suspension else None,
                now=self._clock(),
                unmade=unmade,
                other_tool=self._state.memory().other_tool,
                fleet=None if self.ahead else self.fleet,
                unready=unready,
                shut_out=self.shut_out,
            )
        )

    def _not_let_in(self, accepted: Target) -> str | None:
        """Which password that the accepted revision changes, and that another host registers, is not let in yet. Nobody is asked again once
        it was, and what cannot be asked shuts nobody out: the commit may be what mends it."""
        carried, revision = self._state.carried, accepted.desired.revision
        if carried is None or carried.desired.revision == revision:
            return None
        known = self._let_in[1] if self._let_in[0] == revision else frozenset()
        for check in rotation.awaited(carried.desired, accepted.desired):
            if check.name in known:
                continue
            try:
                _log_in(check, accepted)
            except errors.ReconcilerError as error:
                if error.reason is Reason.RegistrarDenied:
                    return (
                        f"{check.name}: its new password is not let in yet; the host that registers it does that first"
                    )
                continue
            known |= {check.name}
        self._let_in = (revision, known)
        return None

    def former(self, target: Target) -> Target | None:
        """What was last carried out, where that has other credentials for a registrar than `target`; None also where those are not known
        any more."""
        carried = self._state.carried
        if carried is None or not rotation.enters_anew(carried.desired, target.desired):
            return None
        return self._last(target)

    def later(self, target: Target) -> Target | None:
        """The accepted revision, where `target` is kept up instead of it and has other credentials for a registrar."""
        accepted = self._accepted
        if accepted is None or accepted.desired.origin == target.desired.origin:
            return None
        return accepted if rotation.enters_anew(target.desired, accepted.desired) else None

    def _before(self, accepted: Target) -> Target | None:
        """What was last carried out completely, when nothing was begun since; None: there is nothing else to keep up."""
        return None if self._state.begun else self._last(accepted)

    def _last(self, accepted: Target) -> Target | None:
        """What was last carried out completely, where that is something else; None also where it cannot be made concrete."""
        carried = self._state.carried
        if carried is None or carried.desired.origin == accepted.desired.origin:
            return None
        if LAST_GOOD in self._state.lost:
            return None  # what it is without what could not be read is not what was carried out
        try:
            return self._remembered(carried, accepted)
        except errors.ReconcilerError as error:
            # A key may have changed since, a folder may no longer be allowed.
            revision = carried.desired.revision
            log.warning("previous.unavailable", revision=revision, reason=error.reason, message=str(error))
            return None

    def _remembered(self, carried: Carried, accepted: Target | None) -> Target:
        """What was last carried out, made concrete: from memory, whatever its commit would mean to the present program."""
        if self._kept is None or self._kept[0] is not carried:
            self.require_root(carried.desired.config_root)
            secrets = self._secrets(carried, accepted)
            self._kept = (carried, make_target(Prepared(carried.desired, secrets, locked=carried.locked)))
        return self._kept[1]

    def _secrets(self, carried: Carried, accepted: Target | None) -> Mapping[str, Secret]:
        """The values of the secrets that were last carried out."""
        wanted = carried.desired.secrets.items()
        if accepted and all(accepted.desired.secrets.get(name) == digest for name, digest in wanted):
            return accepted.prepared.secrets
        if carried.locked:
            return unlock(carried.locked, carried.desired, self._keys)
        return self.of(carried.desired.revision).prepared.secrets  # a state that did not keep the ciphertexts

    def _rendered_anew(self, accepted: Target) -> Desired | None:
        """The commit that was carried out last as the present program renders it, where both are others now."""
        good = self._state.memory().last_good
        if (
            good is None
            or good.revision == accepted.desired.revision
            or not plan.program_change(good, accepted.desired)
        ):
            return None
        pair = (good.revision, accepted.desired.revision)
        if self._between is None or self._between[0] != pair:
            self._between = (pair, None)
            with suppress(errors.ReconcilerError):  # its commit may be gone, or mean nothing to this program
                self._between = (pair, self.of(good.revision).desired)
        return self._between[1]

    def _changes(self, before: Target, accepted: Target, hold: Hold, between: Desired | None) -> tuple[Held, ...]:
        """What the accepted revision asks for and the one before did not."""
        return tuple(
            Held(
                action.target,
                hold.reason,
                f"{action.origin}: {hold.message}" if action.origin else hold.message,
                action.differences,
            )
            for action in self._preview(before, accepted, between)
        )

    def _preview(self, before: Target, accepted: Target, between: Desired | None) -> tuple[Action, ...]:
        """What would be done to come from one to the other."""
        pair = (before.desired.origin, accepted.desired.origin)
        if self._previewed is None or self._previewed[0] != pair:
            found = plan.preview(before.desired, accepted.desired, bind=tokens.bind, between=between)
            self._previewed = (pair, found.actions)
        return self._previewed[1]

    @property
    def _keys(self) -> sops.Keys:
        own = self._settings.secrets
        return sops.Keys(own.age_key_file, own.ssh_key_file, own.program)

    def _make(self, commit: str) -> Target:
        own = self._settings
        prepared = prepare(self._state.repository, commit, own.git.path, own.host, self._keys)
        root = prepared.desired.config_root
        self.require_root(root)
        tops = (root, *own.policy.config_roots)
        paths = (f.path for f in prepared.desired.files)
        if ours := next((path for path in paths if any(is_ours(f"{root}/{path}", top) for top in tops)), ""):
            raise errors.Terminal(
                f"the site wants the file {ours!r}: names at the top of a config root that begin with {OURS} are this program's own",
                reason=Reason.PolicyDenied,
            )
        return make_target(prepared)

    # --- what this host says to it -----------------------------------------------------------------------------------

    def require_root(self, root: str) -> None:
        """Raises errors.Terminal (PolicyDenied): the folder for files, which a commit chooses, is not one of this host's."""
        allowed = self._settings.policy.config_roots
        if denied := host_rules.root_denied(root, allowed, map(str, self._settings.kept_apart())):
            raise errors.Terminal(denied, reason=Reason.PolicyDenied)
        if not any(files.leads_to(Path(path), Path(root)) for path in allowed):
            raise errors.Terminal(
                f"the site wants its files below {root}, and a folder on the way there is a link: only what "
                "policy.config_roots names may be one",
                reason=Reason.PolicyDenied,
            )

    def require_usable(self, target: Target) -> None:
        """Raises errors.Terminal. ReleaseStepRefused: OpenStack does not support the step from the release that is here. QuorumRefused: the
        members that stay would be no majority. RotationRefused: a secret that a commit cannot change differs from what was last carried out,
        and the new one is not let in."""
        memory = self._state.memory()
        today = self._clock().astimezone(UTC).date()
        if step := release_step.refused(release_step.known(memory), target.desired, today):
            raise errors.Terminal(step, reason=Reason.ReleaseStepRefused)
        if memory.last_good and (why := leaving.refused(memory.last_good, target.desired, today)):
            raise errors.Terminal(why, reason=Reason.QuorumRefused)
        refused = rotation.refused(memory.last_good, target.desired) if memory.last_good else {}
        by_hand = target.desired.policy.get("changed_by_hand", ())
        for name, instead in refused.items():
            if self._is_same(name, target):
                continue
            why = _denied(name, target)
            # Where nobody can be asked with it, what the commit says counts.
            if why and not (why == _UNTRIED and name in by_hand):
                raise errors.Terminal(f"{rotation.message(name, instead)} ({why})", reason=Reason.RotationRefused)

    def _is_same(self, name: str, target: Target) -> bool:
        """Whether a secret was only encrypted anew."""
        carried = self._state.carried
        if carried is None:
            return False
        try:
            before = self._secrets(carried, target).get(name)
        except errors.ReconcilerError:  # its commit, or the key for it, may be gone
            return False
        return before is not None and before == target.prepared.secrets.get(name)


def _denied(name: str, target: Target) -> str:
    """Why the registrar that `name` belongs to does not let us in with its new value; "" when it does."""
    why = _UNTRIED
    for registrar in target.desired.registrars:
        if not any(rotation.holds(value, (name,)) for value in registrar.connection.values()):
            continue
        try:
            _log_in(Check(name, login=registrar.kind, connection=registrar.connection), target)
        except errors.ReconcilerError as error:
            return str(error)
        why = ""
    return why


def _log_in(check: Check, target: Target) -> None:
    """Raises errors.ReconcilerError."""
    registry_of(target).log_in(check)


def registry_of(target: Target, former: Target | None = None, later: Target | None = None) -> Registry:
    """The registrars of a target, entered also as those of `former` or `later` are (see Registry)."""
    bind = partial(tokens.bind, secrets=target.prepared.secrets)
    before, after = (registry_of(other) if other else None for other in (former, later))
    desired = target.desired
    return Registry(desired.registrars, bind, former=before, later=after, authorities=desired.authorities)
