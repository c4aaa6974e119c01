"""Carries out a check before an upgrade: a one-shot container of the new image, or a command in the container that runs."""

from reconciler.apply.one_shot import NO_PROGRAM, OneShot, telling
from reconciler.apply.ports import Engine
from reconciler.model import PRECHECKING, Precheck


def run(engine: Engine, check: Precheck, wanted: OneShot) -> str:
    """What speaks against the upgrade; "" when nothing. `wanted` is the container as the new release has it.

    Raises errors of the engine and of the disk.
    """
    if check.inside and not engine.runs(check.container):
        return f"{check.container} does not run, and cannot be asked"
    if check.inside:
        code, output = engine.execute(check.container, check.command, check.timeout)
    else:
        code, output = wanted.run(
            engine,
            f"{PRECHECKING}{check.name}",
            check.command,
            script=check.script,
            timeout=check.timeout,
            network=wanted.container.network_mode,
            mounts=check.mounts,
            user=check.user,
        )
    if code in check.passes:
        return ""
    if code in NO_PROGRAM:
        return f"there is no program for it: {' '.join(check.command)}"
    return telling(output) or f"exit code {code}"


def message(check: Precheck, host: str, release: str, said: str) -> str:
    """That the upgrade waits, and what to do."""
    return (
        f"{check.name} on {host} holds the upgrade to {release}, and nothing of it was done: {said}\n"
        f"Mend it, and the node asks again by itself; or answer for it in reconciler.yml, under `accept:`: "
        f"- {{check: {check.name}, hosts: [{host}], who: …, why: …, until: …}}"
    )
