"""What has to be done here: desired and actual state, and what this node knows besides, handed to the planner."""

from dataclasses import replace

from reconciler import plan
from reconciler.engine import Engine
from reconciler.model import Actual, Memory, Plan
from reconciler.node import manifest
from reconciler.node.admission import Admission
from reconciler.node.aims import Aim
from reconciler.node.applying import kept_files
from reconciler.node.target import Target, host_policy
from reconciler.settings import Settings
from reconciler.state import StateDirectory


class Planner:
    """Makes the basis of a plan, once, and the plan."""

    def __init__(self, settings: Settings, state: StateDirectory, engine: Engine) -> None:
        self._settings, self._state, self._engine = settings, state, engine
        self._rules = host_policy(settings)

    def plan(self, aim: Aim, actual: Actual, memory: Memory) -> Plan:
        """What this node would do now, and what it holds back and why."""
        target = aim.target
        kept = kept_files(self._state, target).kept()
        proved = {applied.id for applied in memory.applied.values()}
        unproved = kept | {name for name, running in actual.containers.items() if running.id not in proved}
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
            holds=aim.holds,
        )
        if aim.as_before:
            memory = replace(memory, revision=target.desired.revision)
        found = plan.diff(target.desired, actual, memory, basis)
        return replace(found, held=(*found.held, *aim.waiting))

    def admission(self, target: Target, actual: Actual) -> Admission:
        """The host's word on the containers of `target`, as this pass found the engine."""
        volumes, local = actual.engine_volumes, self._settings.engine.url.startswith("unix://")
        return Admission.of(target.desired, self._rules, volumes, data_root=self._engine.data_root, local=local)
