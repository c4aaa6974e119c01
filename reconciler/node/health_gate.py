"""Whether a change is to be kept: what answered before it has to answer after it.

A container can be healthy and let nobody in. So before a change the checks that it could break are made, and those that
answered have to answer again once it is healthy; one that does not counts like a failed health check. What did not answer
before does not blame the change, nor does what fails because something beneath it fails.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from threading import Event, Lock

from reconciler import errors
from reconciler.apply import Health
from reconciler.model import Check, CheckResult, Container, Desired, Memory
from reconciler.reasons import Reason

PATIENCE = 30.0  # seconds: load balancers take a backend back in their own time
_SAMPLE_SECONDS = 3.0  # of one check before the change: what hangs does not answer

# Checks, seconds of patience, and what ends it sooner → their results.
Make = Callable[[Sequence[Check], float, Event], Sequence[CheckResult]]


class Gate:
    """The gate of one apply. `changed` are the containers that it changes, `note` remembers on the disk which checks answered
    before a container was changed (None: no longer of interest), `cut` is what ends the wait for a container's. Safe to use from
    several threads."""

    def __init__(
        self,
        desired: Desired,
        memory: Memory,
        changed: Iterable[str],
        make: Make,
        note: Callable[[str, Iterable[str] | None], None],
        cut: Callable[[str], Event],
    ) -> None:
        self._desired, self._make, self._note, self._cut = desired, make, note, cut
        self._answered = dict(memory.answered)
        services = {container.name: container.service for container in desired.containers}
        names = {name for name in changed if name in services}
        self._changed = {services[name] for name in names}
        # Containers that wait for others of their own service, and are changed as well: they come later.
        later = [container for container in desired.containers if container.name in names]
        self._early = {
            name for container in later for name in container.depends_on if services.get(name) == container.service
        }
        self._below = services_below(desired.containers)
        self._sample: frozenset[str] | None = None
        self._lock = Lock()

    def before(self, container: Container) -> None:
        """Note what answers now of what a change of `container` could break. What was noted before a kill stays noted."""
        due = self._at_risk(container)
        if not due or container.name in self._answered:
            return
        with self._lock:
            if self._sample is None:
                quick = [replace(check, timeout=min(check.timeout, _SAMPLE_SECONDS)) for check in self._desired.checks]
                self._sample = frozenset(result.name for result in self._make(quick, 0.0, Event()) if result.ok)
            self._answered[container.name] = tuple(check.name for check in due if check.name in self._sample)
        self._note(container.name, self._answered[container.name])

    def is_open(self, container: str) -> bool:
        """Whether something is noted that the container has to prove."""
        return bool(self._answered.get(container))

    def after(self, container: Container) -> Health:
        """Whether all of that answers again. Raises errors.Transient (DependencyNotAnswering) when something beneath the
        container does not answer either, and (Interrupted) when it was cut short: then nothing can be said of the change."""
        names = self._answered.get(container.name, ())
        due = [check for check in self._desired.checks if check.name in names]
        if not due:
            return Health(True)
        cut = self._cut(container.name)
        wrong = [result for result in self._make(due, PATIENCE, cut) if not result.ok]
        if not wrong:
            return Health(True)
        if cut.is_set():
            raise errors.Transient(f"{container.name} was not waited for to the end", reason=Reason.Interrupted)
        said = f"{wrong[0].name}: {wrong[0].message}"
        beneath = [check for check in self._desired.checks if self._explains(check, container)]
        if down := [result for result in self._make(beneath, 0.0, cut) if not result.ok]:
            raise errors.Transient(
                f"{container.name} cannot be judged: {said}; but {down[0].name}: {down[0].message}",
                reason=Reason.DependencyNotAnswering,
            )
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return Health(
            False, Reason.NotAnswering, f"is healthy, and what answered before does not any more: {said}{more}"
        )

    def settled(self, container: str) -> None:
        """The container has proved itself, or is what it was."""
        if self._answered.pop(container, None) is not None:
            self._note(container, None)

    def _explains(self, check: Check, container: Container) -> bool:
        """Whether it is something beneath the container that `check` tells of, and worked before the change as far as is known.

        What watches the container from below, as a load balancer does, fails because of it.
        """
        if check.service not in self._below.get(container.service, ()) or container.service in check.watches:
            return False
        return self._sample is None or check.name in self._sample

    def _at_risk(self, container: Container) -> list[Check]:
        """Checks of its own service, and of those that rest on it unless this apply changes them too: those speak for themselves.

        So does what waits for it in its own service: until that is changed as well, the service may be half old and half new, and only
        checks inside the container tell of it. And so does what is watched from beneath: a load balancer is told of a new service before
        that starts, and sees nobody behind it until then.
        """
        own = container.service
        if container.name in self._early:
            return [check for check in self._desired.checks if check.container == container.name]
        above = {name for name, below in self._below.items() if own in below and name not in self._changed}
        others = self._changed - {own}
        return [c for c in self._desired.checks if c.service in above | {own} and not others.intersection(c.watches)]


def services_below(containers: Sequence[Container]) -> dict[str, frozenset[str]]:
    """Service → every other service that it rests on, by what its containers wait for."""
    service = {container.name: container.service for container in containers}
    direct: dict[str, set[str]] = {}
    for container in containers:
        needs = {service[name] for name in container.depends_on if name in service}
        direct.setdefault(container.service, set()).update(needs - {container.service})
    below: dict[str, frozenset[str]] = {}
    for name in direct:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in direct.get(waiting.pop(), ()):
                if other not in found and other != name:
                    found.add(other)
                    waiting.append(other)
        below[name] = frozenset(found)
    return below
