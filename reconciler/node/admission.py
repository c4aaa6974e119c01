"""The host's policy once more, on the paths as this host resolves them: what a bind really is decides, not how it is written.

A container may put a link into a folder that it was given, and a later commit may bind that link. So every path is resolved,
when a plan is made and again right before and after the engine is asked; the folder that was judged is known by its device and
inode. docs/security.md says which window is left.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from reconciler import errors
from reconciler.model import Container, Desired, Volume, below
from reconciler.node import host_rules, policy
from reconciler.node.policy import Context, HostPolicy
from reconciler.options.normal import normal
from reconciler.options.spelling import device
from reconciler.reasons import Reason
from reconciler.system import files

Seen = Mapping[
    str, tuple[str, int, int] | None
]  # source → what it is: real path, device, inode; None: nothing is there


@dataclass(frozen=True, slots=True)
class Admission:
    """Judges containers of one desired state on this host. `local`: the engine sees the same paths as this program."""

    rules: HostPolicy
    context: Context
    local: bool = True

    @classmethod
    def of(
        cls,
        desired: Desired,
        rules: HostPolicy,
        volumes: Mapping[str, Volume],
        *,
        others: Collection[str] = (),
        data_root: str = "",
        local: bool = True,
    ) -> "Admission":
        """For `desired`, with what the engine said of its volumes, of containers that somebody else made, and of the folder where its data lie."""
        if data_root:
            rules = replace(rules, forbidden=(*rules.forbidden, data_root))
        return cls(rules, policy.context_of(desired, volumes, others), local)

    def denied(self, desired: Desired) -> dict[str, str]:
        """The containers and jobs of `desired` that may not run here, and what may not be set on the host, each with every reason in one
        text."""
        parts = [(c.name, c) for c in desired.containers] + [(job.name, job.container) for job in desired.jobs]
        look = _Look(self)
        found = {name: look.judge(part)[0] for name, part in parts}
        found |= {setting.id: host_rules.denied(setting, self.rules) for setting in desired.host_settings}
        return {name: "; ".join(reasons) for name, reasons in found.items() if reasons}

    def require(self, container: Container, volumes: Mapping[str, Volume], *, paths_only: bool = False) -> Seen:
        """What its paths are at this moment. Raises errors.Terminal (PolicyDenied) with every reason against it.

        `volumes`: as the engine has them now. `paths_only`: of a container that was made already, and judged then; the engine
        reports options that nobody asked for.
        """
        look = _Look(replace(self, context=replace(self.context, volumes=volumes)))
        reasons, seen = look.judge(container, paths_only)
        if reasons:
            raise errors.Terminal(f"{container.name}: {'; '.join(reasons)}", reason=Reason.PolicyDenied)
        return seen


class _Look:
    """One look at the host: each path is resolved once. Made anew for the next look."""

    def __init__(self, asked: Admission) -> None:
        self._rules, self._context, self._local = asked.rules, asked.context, asked.local
        self._real: dict[str, str] = {}

    def judge(self, container: Container, paths_only: bool = False) -> tuple[list[str], Seen]:
        """What speaks against a container; if nothing does, what its paths are."""
        reasons = policy.check(container, self._rules, context=self._context, paths_only=paths_only)
        if reasons or not self._local:
            return reasons, {}
        asked = normal(container)
        sources = dict.fromkeys(mount.source for mount in asked.mounts if mount.source.startswith("/"))
        sources |= dict.fromkeys(found.options["device"] for m in asked.mounts if (found := self._bound(m.source)))
        devices = [device(text).split(":")[0] for text in asked.devices]
        reasons = self._resolved(asked, {path: self._resolve(path) for path in (*sources, *devices)})
        seen: dict[str, tuple[str, int, int] | None] = {}
        for source in sources:
            real = self._resolve(source)
            if not self._rules.shared_paths and (how := files.exchangeable(self._way(real))):
                reasons.append(f"bind {source} is not allowed on this host: {how}, so that it could be exchanged")
            seen[source] = _identity(real)
        return reasons, seen

    def _bound(self, name: str) -> Volume | None:
        """The volume of that name, if it is a folder of the host in disguise."""
        found = self._context.volumes.get(name)
        return found if found is not None and found.options.get("device", "").startswith("/") else None

    def _resolved(self, asked: Container, real: Mapping[str, str]) -> list[str]:
        """The same rules for the same container with its real paths; the host's own paths count as resolved as well."""
        if self._keeps_as_written and all(map(_alike, real.items())):
            return []
        rules, context = self._as_resolved
        volumes = {
            name: replace(volume, options={**volume.options, "device": real[volume.options["device"]]})
            for name, volume in context.volumes.items()
            if volume.options.get("device") in real
        }
        moved = replace(
            asked,
            mounts=tuple(replace(mount, source=real.get(mount.source, mount.source)) for mount in asked.mounts),
            devices=tuple(":".join((real[(words := text.split(":"))[0]], *words[1:])) for text in asked.devices),
        )
        context = replace(context, volumes={**context.volumes, **volumes})
        found = policy.check(moved, rules, context=context, paths_only=True)
        links = ", ".join(f"{source} leads to {path}" for source, path in real.items() if source != path)
        return [f"{reason} ({links})" if links else reason for reason in found]

    def _way(self, real: str) -> Path:
        """As far as a path is judged by its owners: below the config root the folders are the services' own."""
        root = self._resolve(self._context.config_root)
        return Path(root, "*") if below(real, root) else Path(real)

    @cached_property
    def _keeps_as_written(self) -> bool:
        """Whether nothing that is kept apart lies behind a link."""
        kept = (*self._rules.forbidden, *self._rules.config_roots, self._context.config_root)
        return all(_alike((path, self._resolve(path))) for path in kept)

    @cached_property
    def _as_resolved(self) -> tuple[HostPolicy, Context]:
        rules, context = self._rules, self._context
        resolved = replace(
            rules,
            binds=self._both(rules.binds),
            exact=self._both(rules.exact),
            read_only=self._both(rules.read_only),
            devices=self._both(rules.devices),
            forbidden=self._both(rules.forbidden),
            config_roots=self._both(rules.config_roots),
        )
        writable = {self._resolve(path): name for path, name in context.writable.items()}
        root = self._resolve(context.config_root)
        return resolved, replace(context, config_root=root, writable={**writable, **context.writable})

    def _both(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Each path as it is written and as it is resolved: what the host's owner named may be a link of theirs."""
        return tuple(
            dict.fromkeys(p for path in paths for p in (path, path if path == policy.ANY else self._resolve(path)))
        )

    def _resolve(self, path: str) -> str:
        if path not in self._real:
            self._real[path] = os.path.realpath(path)
        return self._real[path]


def _alike(pair: tuple[str, str]) -> bool:
    """Whether a path as it is written and as it is resolved are the same."""
    return policy.canonical(pair[0]) == policy.canonical(pair[1])


def _identity(path: str) -> tuple[str, int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return path, found.st_dev, found.st_ino
