"""Runs an image's own checker on a new configuration: a one-shot container with the new files, and nothing else.

It has no network, no volume, no privilege and no device of the container that it speaks for. Its files lie in a folder below
the config root, which only root can enter, for as long as it runs; what a kill leaves there the next run removes.
"""

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler import errors
from reconciler.apply.ports import Engine
from reconciler.model import VALIDATING, Container, File, Job, Mount
from reconciler.reasons import Reason
from reconciler.system import files

FOLDER = ".reconciler-validate"  # below the config root
SCRIPT = "reconciler-check"  # the file beside the configuration that `validate.script` becomes
_NO_CHECKER = frozenset({126, 127})  # the shell's: the command cannot be run, or is not there
_TELLING = re.compile(
    r"error|fatal|alert|emerg|invalid|unknown|not valid|cannot|failed|refus|not found|line [0-9]", re.IGNORECASE
)
_MOST_LINES = 12
_MOST_DOUBLED = 3  # times that a checker's time is doubled


class Validator:
    """What a checker refused is remembered for the life of this object: the same
    configuration is not checked again in every pass. A checker that did not end in time has twice as long the next time: on a busy
    machine one that is ended again and again would never get through. Safe to use from several threads."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[str, str]] = {}  # container → (digest of its part, what was said)
        self._late: dict[str, int] = {}  # container → how often its checker did not end in time

    def run(
        self,
        engine: Engine,
        container: Container,
        wanted: Iterable[File],
        contents: Mapping[str, bytes],
        *,
        part_digest: str,
        config_root: Path,
    ) -> str:
        """What the checker says against `container` with the files `wanted`; "" when nothing.

        `contents` are the bytes of the files by path. An image without the checker says nothing. Raises errors of the engine
        and of the disk.
        """
        assert container.validation is not None
        digest, said = self._refused.get(container.name, ("", ""))
        if digest and digest == part_digest:
            return said
        place = config_root / FOLDER / container.name
        shutil.rmtree(place, ignore_errors=True)
        try:
            lay_out(place, config_root, container, wanted, contents, container.validation.script)
            late = self._late.get(container.name, 0)
            try:
                code, output = engine.run_once(
                    _job(container, place, config_root, part_digest, 2 ** min(late, _MOST_DOUBLED))
                )
            except errors.Terminal as error:
                if error.reason is Reason.JobTimeout:
                    self._late[container.name] = late + 1
                raise
        finally:
            shutil.rmtree(place, ignore_errors=True)
        if code == 0 or code in _NO_CHECKER:
            self._refused.pop(container.name, None)
            return ""
        said = telling(output) or f"exit code {code}"
        self._refused[container.name] = (part_digest, said)
        return said

    def tidy(self, config_root: Path) -> None:
        """Remove what a kill left."""
        shutil.rmtree(config_root / FOLDER, ignore_errors=True)


def lay_out(
    place: Path,
    config_root: Path,
    container: Container,
    wanted: Iterable[File],
    contents: Mapping[str, bytes],
    script: str,
) -> None:
    """Write the files of a container, and the script beside them, below `place`, a folder of the config root's that only root can enter."""
    files.make_dirs(config_root, str(place.relative_to(config_root)), 0o700)
    for file in wanted:
        if directory := file.path.rpartition("/")[0]:
            files.make_dirs(place, directory, 0o755)
        content = contents[file.path]
        files.write_under(place, file.path, content, mode=file.mode, uid=file.owner, gid=file.group)
    if script:
        path = f"{container.config_directory}/{SCRIPT}"
        files.make_dirs(place, container.config_directory, 0o755)
        files.write_under(place, path, script.encode(), mode=0o755)


# Kolla's images put their files where they belong before they start; who they start as differs.
_KOLLA = """\
if [ "$(id -u)" = 0 ]; then kolla_set_configs; else sudo -E kolla_set_configs; fi > /tmp/set_configs 2>&1 \\
    || { cat /tmp/set_configs; exit 1; }
exec "$@"
"""


def _job(container: Container, place: Path, config_root: Path, part_digest: str, patience: int) -> Job:
    assert container.validation is not None
    asked = container.validation
    name, timeout = VALIDATING + container.name, asked.timeout * patience
    return one_shot(container, name, place, config_root, part_digest, command=asked.command, timeout=timeout)


def one_shot(
    container: Container,
    name: str,
    place: Path,
    config_root: Path,
    part_digest: str,
    *,
    command: tuple[str, ...],
    timeout: float,
    network: str = "none",
    mounts: tuple[Mount, ...] = (),
    user: str | None = None,
) -> Job:
    """A run of a command in the image of `container`, with what was laid out at `place` as its files and nothing else but `mounts`."""
    root = f"{config_root}/"
    own = tuple(
        Mount(f"{place}/{mount.source.removeprefix(root)}", mount.target, "ro")
        for mount in container.mounts
        if mount.source.startswith(root)
    )
    spec = Container(
        name=name,
        image=container.image,
        entrypoint=(),
        command=("bash", "-c", _KOLLA, "bash", *command) if container.kolla else command,
        environment=container.environment,
        user=container.user if user is None else user,
        mounts=(*own, *mounts),
        network_mode=network,
        restart_policy="no",
        ulimits=container.ulimits,
        # Two runs for different configurations are never taken for one another.
        labels={"io.reconciler-validates": part_digest},
        service=container.service,
    )
    return Job(name=name, container=spec, inputs=part_digest, timeout=timeout)


def telling(output: str) -> str:
    """The lines that say what is wrong first, each once, at most a dozen."""
    lines = list(dict.fromkeys(line.strip() for line in output.splitlines() if line.strip()))
    telling_ = [line for line in lines if _TELLING.search(line)]
    return "\n".join((telling_ or lines)[-_MOST_LINES:])


def failure(container: str, said: str) -> errors.Terminal:
    """That the configuration is refused."""
    return errors.Terminal(
        f"{container}: its own checker refuses the new configuration, so nothing was touched: {said}",
        reason=Reason.ConfigInvalid,
    )
