"""What this node is to be: commits made concrete and judged by this host, and which of them a pass keeps up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from reconciler import errors, gates, plan
from reconciler.gates import Hold
from reconciler.model import Action, Check, Held
from reconciler.node import policy
from reconciler.node.target import Target, make_target
from reconciler.plan import rotation
from reconciler.reasons import Reason
from reconciler.registrations.registry import Registry
from reconciler.render import digest, tokens
from reconciler.secrets import sops
from reconciler.settings import Settings
from reconciler.source.prepare import prepare
from reconciler.state import OURS, StateDirectory
from reconciler.system import files

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Aim:
    """What one pass aims at.

    `target` is the accepted revision, or what was last carried out while something holds the accepted one back; then `waiting` is
    what the accepted one would change. `as_before`: the accepted revision asks for nothing else than what was last carried out, so
    what differs is drift.
    """

    target: Target
    holds: tuple[Hold, ...] = ()
    waiting: tuple[Held, ...] = ()
    as_before: bool = False

    def held_by(self, reason: Reason) -> Hold:
        """The hold of that reason; one without words when there is none."""
        return next((hold for hold in self.holds if hold.reason == reason), Hold(reason, ""))


class Aims:
    """Makes targets of commits, and keeps those that are in use. Not thread-safe."""

    def __init__(self, settings: Settings, state: StateDirectory, clock: Callable[[], datetime]) -> None:
        self._settings, self._state, self._clock = settings, state, clock
        self._targets: dict[str, Target] = {}  # by commit: those that are in use
        self._previewed: tuple[tuple[str, str], tuple[Action, ...]] | None = None

    @property
    def site(self) -> str:
        """The name of the site, as far as it is known; "" before the first target."""
        return next((target.desired.site for target in self._targets.values()), "")

    def forget(self) -> None:
        """Begin anew: the state is another one."""
        self._targets = {}

    def aim(self, revision: str) -> Aim:
        """What to aim at while `revision` is accepted. Raises errors.ReconcilerError."""
        accepted = self.of(revision)
        holds = self.holds(accepted)
        keeps = next((hold for hold in holds if hold.keeps_up), None)
        before = self._before(accepted) if keeps else None
        waiting = self._changes(before, accepted, keeps) if keeps and before else ()
        target = before if before and waiting else accepted
        self._targets = {t.desired.revision: t for t in (accepted, target)}
        # A commit that changes nothing here need not wait, and what differs all the same is drift.
        return Aim(target, holds, waiting, as_before=before is not None and not waiting)

    def of(self, commit: str) -> Target:
        """The target of a commit. Raises errors.ReconcilerError."""
        if commit not in self._targets:
            self._targets[commit] = self._make(commit)
        return self._targets[commit]

    def holds(self, accepted: Target) -> tuple[Hold, ...]:
        """What holds back what an accepted target asks for, as of now."""
        suspension = self._state.suspension
        return gates.holds(
            gates.Situation(
                policy=accepted.desired.policy,
                mode=self._settings.mode,
                suspension=suspension.reason if suspension else None,
                now=self._clock(),
            )
        )

    def _before(self, accepted: Target) -> Target | None:
        """The last revision carried out completely, when nothing was begun since; None: there is none to keep up."""
        revision = self._state.memory().revision
        if not revision or revision == accepted.desired.revision or self._state.begun:
            return None
        try:
            return self.of(revision)
        except errors.ReconcilerError as error:
            # Its commit may be gone with a clone that had to be made anew, a key may have changed since.
            log.warning("previous.unavailable", revision=revision, reason=error.reason, message=str(error))
            return None

    def _changes(self, before: Target, accepted: Target, hold: Hold) -> tuple[Held, ...]:
        """What the accepted revision asks for and the one before did not."""
        pair = (before.desired.revision, accepted.desired.revision)
        if self._previewed is None or self._previewed[0] != pair:
            found = plan.preview(before.desired, accepted.desired, bind=tokens.bind, part_digest=digest.part_digest)
            self._previewed = (pair, found.actions)
        return tuple(Held(a.target, hold.reason, hold.message, a.differences) for a in self._previewed[1])

    def _make(self, commit: str) -> Target:
        own = self._settings
        keys = sops.Keys(own.secrets.age_key_file, own.secrets.ssh_key_file, own.secrets.program)
        prepared = prepare(self._state.repository, commit, own.git.path, own.host, keys)
        self.require_root(prepared.desired.config_root)
        if ours := next((f.path for f in prepared.desired.files if f.path.startswith(OURS)), ""):
            raise errors.Terminal(
                f"the site wants the file {ours!r}: names at the top of the config root that begin with {OURS} are this program's own",
                reason=Reason.PolicyDenied,
            )
        return make_target(prepared)

    # --- what this host says to it -----------------------------------------------------------------------------------

    def require_root(self, root: str) -> None:
        """Raises errors.Terminal (PolicyDenied): the folder for files, which a commit chooses, is not one of this host's."""
        allowed = self._settings.policy.config_roots
        if denied := policy.root_denied(root, allowed, map(str, self._settings.kept_apart())):
            raise errors.Terminal(denied, reason=Reason.PolicyDenied)
        if not any(files.leads_to(Path(path), Path(root)) for path in allowed):
            raise errors.Terminal(
                f"the site wants its files below {root}, and a folder on the way there is a link: only what "
                "policy.config_roots names may be one",
                reason=Reason.PolicyDenied,
            )

    def require_usable(self, target: Target) -> None:
        """Raises errors.Terminal (RotationRefused): a secret that a commit cannot change differs from what was last carried out, and
        the new one is not let in."""
        memory = self._state.memory()
        refused = rotation.refused(memory.last_good, target.desired) if memory.last_good else {}
        for name, instead in refused.items():
            if not self._is_same(name, memory.revision, target) and (why := _denied(name, target)):
                raise errors.Terminal(f"{rotation.message(name, instead)} ({why})", reason=Reason.RotationRefused)

    def _is_same(self, name: str, revision: str, target: Target) -> bool:
        """Whether a secret was only encrypted anew."""
        try:
            before = self.of(revision).prepared.secrets.get(name)
        except errors.ReconcilerError:  # its commit, or the key for it, may be gone
            return False
        return before is not None and before == target.prepared.secrets.get(name)


def _denied(name: str, target: Target) -> str:
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
