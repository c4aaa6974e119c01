"""What only a deep pass sees, and for how long it counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from reconciler.model import Actual, is_asked


@dataclass(frozen=True, slots=True)
class Findings:
    """What a deep pass found. Passes that do not look that far repeat it, so that what is reported stays reported."""

    origin: tuple[str, str, str]  # of the desired state that was compared with
    stale: Mapping[str, tuple[str, datetime | None, str]]  # container → id, start, what was said
    registrations: Mapping[str, Mapping[str, Any] | None]
    unknown: Mapping[str, str]  # registrars that did not answer
    host_settings: Mapping[str, Mapping[str, str]]  # those that containers are asked for
    unseen: Mapping[str, tuple[str, datetime | None, str]]  # container that could not be looked into → id, start, why

    @classmethod
    def of(cls, origin: tuple[str, str, str], actual: Actual) -> "Findings":
        found = {name: actual.containers[name] for name in actual.stale if name in actual.containers}
        return cls(
            origin,
            {name: (running.id, running.started_at, actual.stale[name]) for name, running in found.items()},
            actual.registrations,
            {item: why for item, why in actual.unknown.items() if item.startswith("registrar:") or _is_asked(item)},
            {key: fields for key, fields in actual.host_settings.items() if is_asked(key)},
            {
                name: (running.id, running.started_at, why)
                for name, running in actual.containers.items()
                if (why := actual.unknown.get(f"stale:{name}"))
            },
        )

    def added_to(self, actual: Actual) -> Actual:
        """`actual` with these findings, without those about containers that were started since."""
        inside = self.inside(actual)
        return replace(
            inside,
            registrations=self.registrations,
            host_settings={**self.host_settings, **inside.host_settings},
            unknown={**self.unknown, **inside.unknown},
        )

    def inside(self, actual: Actual) -> Actual:
        """`actual` with what was found in containers that were not started since."""
        now = {name: (running.id, running.started_at) for name, running in actual.containers.items()}
        stale = {name: said for name, (*which, said) in self.stale.items() if now.get(name) == tuple(which)}
        unseen = {f"stale:{name}": why for name, (*which, why) in self.unseen.items() if now.get(name) == tuple(which)}
        return replace(actual, stale=stale, unknown={**unseen, **actual.unknown}, deep=True)


def _is_asked(item: str) -> bool:
    return item.startswith("host:") and is_asked(item.removeprefix("host:"))
