"""Runs one command in the image of a container with its new configuration: a one-shot container with the new files.

Its files lie in a folder below the config root, which only root can enter and no container may be given, for as long as it runs; what a
kill leaves there the next run removes. They are written below the config root, as all files are: the folder itself is never a root.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from reconciler.apply.ports import Engine
from reconciler.model import ONE_SHOTS, Container, File, Job, Mount
from reconciler.system import files

SCRIPT: Final = "reconciler-check"  # the file beside the configuration that a script becomes
NO_PROGRAM: Final = frozenset({126, 127})  # the shell's: the command cannot be run, or is not there
_TELLING: Final = re.compile(
    r"error|fatal|alert|emerg|invalid|unknown|not valid|cannot|failed|refus|not found|line [0-9]", re.IGNORECASE
)
_MOST_LINES: Final = 12
# Kolla's images put their files where they belong before they start; who they start as differs.
_KOLLA: Final = """\
if [ "$(id -u)" = 0 ]; then kolla_set_configs; else sudo -E kolla_set_configs; fi > /tmp/set_configs 2>&1 \\
    || { cat /tmp/set_configs; exit 1; }
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class OneShot:
    """A container as it is to become: its `files`, `contents` with their bytes by path, and `part_digest`, which tells one configuration from
    another."""

    container: Container
    files: Collection[File]
    contents: Mapping[str, bytes] = field(repr=False)
    part_digest: str
    config_root: Path

    def run(
        self,
        engine: Engine,
        name: str,
        command: tuple[str, ...],
        *,
        script: str,
        timeout: float,
        network: str = "none",
        mounts: tuple[Mount, ...] = (),
        user: str = "",
        verbatim: bool = False,
    ) -> tuple[int, str]:
        """The exit code and the last lines of `command`, with the files, `script` beside them, and nothing else but `mounts`; `timeout` in
        seconds, `verbatim` as `Job` has it. Raises errors of the engine and of the disk."""
        files.require_unexchangeable(self.config_root)
        place = f"{ONE_SHOTS}/{name}"
        files.remove_tree(self.config_root, place)
        try:
            self._lay_out(place, script)
            spec = self._spec(name, place, command, network, mounts, user or self.container.user)
            job = Job(name=name, container=spec, inputs=self.part_digest, timeout=timeout, verbatim=verbatim)
            return engine.run_once(job)
        finally:
            files.remove_tree(self.config_root, place)

    def _lay_out(self, place: str, script: str) -> None:
        """`place` is relative to the config root."""
        root = self.config_root
        files.make_dirs(root, place, 0o700)
        for file in self.files:
            if directory := file.path.rpartition("/")[0]:
                files.make_dirs(root, f"{place}/{directory}", 0o755)
            content = self.contents[file.path]
            files.write_under(root, f"{place}/{file.path}", content, mode=file.mode, uid=file.owner, gid=file.group)
        if script:
            directory = f"{place}/{self.container.config_directory}"
            files.make_dirs(root, directory, 0o755)
            files.write_under(root, f"{directory}/{SCRIPT}", script.encode(), mode=0o755)

    def _spec(
        self,
        name: str,
        place: str,
        command: tuple[str, ...],
        network: str,
        mounts: tuple[Mount, ...],
        user: str | None,
    ) -> Container:
        container, root = self.container, f"{self.config_root}/"
        own = tuple(
            Mount(f"{root}{place}/{mount.source.removeprefix(root)}", mount.target, "ro")
            for mount in container.mounts
            if mount.source.startswith(root)
        )
        return Container(
            name=name,
            image=container.image,
            entrypoint=(),
            command=("bash", "-c", _KOLLA, "bash", *command) if container.kolla else command,
            environment=container.environment,
            user=user,
            mounts=(*own, *mounts),
            network_mode=network,
            restart_policy="no",
            ulimits=container.ulimits,
            # Two runs for different configurations are never taken for one another.
            labels={"io.reconciler-validates": self.part_digest},
            service=container.service,
        )


def tidy_one_shots(config_root: Path) -> None:
    """Remove what a kill left."""
    files.remove_tree(config_root, ONE_SHOTS)


def telling(output: str) -> str:
    """The lines that say what is wrong first, each once, at most a dozen."""
    lines = list(dict.fromkeys(line.strip() for line in output.splitlines() if line.strip()))
    telling_ = [line for line in lines if _TELLING.search(line)]
    return "\n".join((telling_ or lines)[-_MOST_LINES:])
