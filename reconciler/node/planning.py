"""What has to be done here: desired and actual state, and what this node knows besides, handed to the planner."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from reconciler import plan
from reconciler.engine import Engine
from reconciler.gates import Hold
from reconciler.model import FORMER, Actual, Desired, Memory, Plan
from reconciler.node import manifest
from reconciler.node.admission import Admission
from reconciler.node.aims import Aim
from reconciler.node.applying import kept_files
from reconciler.node.flight import Flights
from reconciler.node.target import Target, host_policy
from reconciler.plan import recurring
from reconciler.plan.registrations import withdraws
from reconciler.reasons import Reason
from reconciler.settings import Settings
from reconciler.state import StateDirectory

_OVERLAP: Final = 3600.0  # seconds for which a former password counts on where hosts do not talk
_PASSED = timedelta(hours=1)  # for which a check before an upgrade counts that passed


class Planner:
    """Makes the basis of a plan, once, and the plan."""

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        engine: Engine,
        flights: Flights,
        clock: Callable[[], datetime],
    ) -> None:
        self._clock = clock
        self._settings, self._state, self._engine, self._flights = settings, state, engine, flights
        self._rules = host_policy(settings)
        # Whether all hosts have proved a revision; None: nobody can tell.
        self.is_everywhere: Callable[[str], bool | None] = lambda revision: None

    def plan(self, aim: Aim, actual: Actual, memory: Memory, in_flight: Mapping[str, str] | None = None) -> Plan:
        """What this node would do now, and what it holds back and why. `in_flight`: see `plan.Basis`, as it was before `actual` was
        looked at."""
        target, holds = aim.target.bound(actual), aim.holds
        if in_flight and self._flights.full:
            holds = (*holds, Hold(Reason.InFlight, "waits until something of what is in flight has ended"))
        kept = kept_files(self._state, target).kept()
        proved = {applied.id for applied in memory.applied.values()}
        unproved = kept | {name for name, running in actual.containers.items() if running.id not in proved}
        everywhere = self._everywhere(target.desired, actual, memory)
        root = target.desired.config_root
        basis = plan.Basis(
            contents=target.contents,
            files_digest=target.files_digest,
            part_digest=target.part_digest,
            kept=kept,
            unproved=frozenset(unproved),
            denied=self.admission(target, actual).denied(target.desired),
            written=manifest.known(self._state.written(root), root, actual, memory),
            touched=self._state.touched,
            holds=holds,
            between=aim.between,
            in_flight=in_flight or {},
            identifiers=target.identifiers,
            former_ends=math.inf if everywhere is False else 0.0 if everywhere else _OVERLAP,
            is_everywhere=everywhere,
            prechecked=self._prechecked(memory, target.desired),
            today=self._clock().astimezone(UTC).date(),
        )
        found = plan.diff(target.desired, actual, memory, basis)
        found = recurring.limit(found, actual, memory.healed, self._clock())
        return replace(found, held=(*found.held, *aim.waiting), program=aim.change)

    def _everywhere(self, desired: Desired, actual: Actual, memory: Memory) -> bool | None:
        """Whether every host has what is desired. Asked only where something is there that others may need still."""
        former = any(found and FORMER in found for found in actual.registrations.values())
        return self.is_everywhere(desired.revision) if former or withdraws(desired, memory) else None

    def is_with_all(self, target: Target) -> bool:
        """Whether every host of the site is known to have what is desired, one that is alone as well."""
        rollout = target.prepared.rollout
        alone = rollout is not None and len(rollout.hosts) < 2
        return alone or self.is_everywhere(target.desired.revision) is True

    def _prechecked(self, memory: Memory, desired: Desired) -> frozenset[str]:
        """The checks before an upgrade that need not be made: they passed lately, or the upgrade has gone beyond them."""
        now = self._clock()
        begun = memory.schema_release == desired.release
        return frozenset(
            name
            for name, asked in memory.prechecks.items()
            if asked.release == desired.release
            and not asked.message
            and (begun or (asked.revision == desired.revision and timedelta(0) <= now - asked.at <= _PASSED))
        )

    def admission(self, target: Target, actual: Actual) -> Admission:
        """The host's word on the containers of `target`, as this pass found the engine."""
        volumes, local = actual.engine_volumes, self._settings.engine.url.startswith("unix://")
        others = [name for name, running in actual.containers.items() if not running.owned]
        root = self._engine.data_root
        return Admission.of(target.desired, self._rules, volumes, others=others, data_root=root, local=local)
