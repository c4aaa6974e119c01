"""Carries out a check before an upgrade: a one-shot container of the new image, or a command in the container that runs."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler.apply.ports import Engine
from reconciler.apply.validate import FOLDER, lay_out, one_shot, telling
from reconciler.model import PRECHECKING, Container, File, Precheck

_NO_PROGRAM = frozenset({126, 127})  # the shell's: the command cannot be run, or is not there


def run(
    engine: Engine,
    check: Precheck,
    container: Container,
    wanted: Iterable[File],
    contents: Mapping[str, bytes],
    *,
    part_digest: str,
    config_root: Path,
) -> str:
    """What speaks against the upgrade; "" when nothing. `container` and its files `wanted` are those of the new release, `contents` their bytes
    by path.

    Raises errors of the engine and of the disk.
    """
    if check.inside:
        code, output = engine.execute(check.container, check.command, check.timeout)
    else:
        code, output = _once(engine, check, container, wanted, contents, part_digest, config_root)
    if code in check.passes:
        return ""
    if code in _NO_PROGRAM:
        return f"there is no program for it: {' '.join(check.command)}"
    return telling(output) or f"exit code {code}"


def _once(
    engine: Engine,
    check: Precheck,
    container: Container,
    wanted: Iterable[File],
    contents: Mapping[str, bytes],
    part_digest: str,
    config_root: Path,
) -> tuple[int, str]:
    name = f"{PRECHECKING}{check.name}"
    place = config_root / FOLDER / name
    shutil.rmtree(place, ignore_errors=True)
    try:
        lay_out(place, config_root, container, wanted, contents, check.script)
        job = one_shot(
            container,
            name,
            place,
            config_root,
            part_digest,
            command=check.command,
            timeout=check.timeout,
            network=container.network_mode,
            mounts=check.mounts,
            user=check.user or container.user,
        )
        return engine.run_once(job)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def message(check: Precheck, host: str, release: str, said: str) -> str:
    """That the upgrade waits, and what to do."""
    return (
        f"{check.name} on {host} holds the upgrade to {release}, and nothing of it was done: {said}\n"
        f"Mend it, and the node asks again by itself; or answer for it in reconciler.yml, under `accept:`: "
        f"- {{check: {check.name}, hosts: [{host}], who: …, why: …, until: …}}"
    )
