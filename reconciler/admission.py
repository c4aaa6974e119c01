"""The host's policy once more, on the paths as this host resolves them: what a bind really is decides, not how it is written.

A container may put a link into a folder that it was given, and a later commit may bind that link. So every path is resolved,
when a plan is made and again right before and after the engine is asked; the folder that was judged is known by its device and
inode. docs/security.md says which window is left.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler import errors, files, policy
from reconciler.model import Container, Desired, Volume
from reconciler.normal import device, normal
from reconciler.policy import Context, HostPolicy

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
        data_root: str = "",
        local: bool = True,
    ) -> "Admission":
        """For `desired`, with what the engine said of its volumes and of the folder where its data lie."""
        if data_root:
            rules = replace(rules, forbidden=(*rules.forbidden, data_root))
        return cls(rules, policy.context_of(desired, volumes), local)

    def denied(self, desired: Desired) -> dict[str, str]:
        """The containers and jobs of `desired` that may not run here, each with every reason in one text."""
        parts = [(c.name, c) for c in desired.containers] + [(job.name, job.container) for job in desired.jobs]
        found = {name: self._judge(part)[0] for name, part in parts}
        return {name: "; ".join(reasons) for name, reasons in found.items() if reasons}

    def require(self, container: Container, volumes: Mapping[str, Volume], *, paths_only: bool = False) -> Seen:
        """What its paths are at this moment. Raises errors.Terminal (PolicyDenied) with every reason against it.

        `volumes`: as the engine has them now. `paths_only`: of a container that was made already, and judged then; the engine
        reports options that nobody asked for.
        """
        judge = replace(self, context=replace(self.context, volumes=volumes))
        reasons, seen = judge._judge(container, paths_only)
        if reasons:
            raise errors.Terminal(f"{container.name}: {'; '.join(reasons)}", reason="PolicyDenied")
        return seen

    def _judge(self, container: Container, paths_only: bool = False) -> tuple[list[str], Seen]:
        reasons = policy.check(container, self.rules, context=self.context, paths_only=paths_only)
        if reasons or not self.local:
            return reasons, {}
        asked = normal(container)
        sources = [mount.source for mount in asked.mounts if mount.source.startswith("/")]
        sources += [found.options["device"] for m in asked.mounts if (found := self._bound(m.source))]
        real: dict[str, str] = {}
        for source in dict.fromkeys((*sources, *(device(text).split(":")[0] for text in asked.devices))):
            real[source] = os.path.realpath(source)
        reasons = self._resolved(asked, real)
        seen: dict[str, tuple[str, int, int] | None] = {}
        for source in dict.fromkeys(sources):
            if not self.rules.shared_paths and (how := files.exchangeable(Path(real[source]))):
                reasons.append(f"bind {source} is not allowed on this host: {how}, so that it could be exchanged")
            seen[source] = _identity(real[source])
        return reasons, seen

    def _bound(self, name: str) -> Volume | None:
        """The volume of that name, if it is a folder of the host in disguise."""
        found = self.context.volumes.get(name)
        return found if found is not None and found.options.get("device", "").startswith("/") else None

    def _resolved(self, asked: Container, real: Mapping[str, str]) -> list[str]:
        """The same rules for the same container with its real paths; the host's own paths count as resolved as well."""
        if all(policy.canonical(path) == policy.canonical(source) for source, path in real.items()):
            return []
        rules, context = self._as_resolved()
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
        links = [f"{source} leads to {path}" for source, path in real.items() if source != path]
        return [f"{reason} ({', '.join(links)})" for reason in found]

    def _as_resolved(self) -> tuple[HostPolicy, Context]:
        rules, root = self.rules, self.context.config_root
        resolved = replace(
            rules,
            binds=_both(rules.binds),
            exact=_both(rules.exact),
            read_only=_both(rules.read_only),
            devices=_both(rules.devices),
            forbidden=_both(rules.forbidden),
        )
        writable = {os.path.realpath(path): name for path, name in self.context.writable.items()}
        return resolved, replace(
            self.context, config_root=os.path.realpath(root), writable={**writable, **self.context.writable}
        )


def _both(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Each path as it is written and as it is resolved: what the host's owner named may be a link of theirs."""
    return tuple(
        dict.fromkeys(p for path in paths for p in (path, path if path == policy.ANY else os.path.realpath(path)))
    )


def _identity(path: str) -> tuple[str, int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return path, found.st_dev, found.st_ino
