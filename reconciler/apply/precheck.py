"""Carries out a check before an upgrade: a one-shot container of the new image, or a command in the container that runs."""

import re
from typing import Final

from reconciler.apply.one_shot import NO_PROGRAM, OneShot, telling
from reconciler.apply.ports import Engine
from reconciler.model import PRECHECKING, Precheck

_MOST: Final = 12  # lines that are told
_WIDEST: Final = 1000  # characters of one of them
# The table of oslo.upgradecheck: one cell a row, a rule after each.
_RULE: Final = re.compile(r"^\+-+\+$", re.MULTILINE)
_CELL: Final = re.compile(r"Check: (?P<check>.+?) Result: (?P<result>Failure|Warning)(?: Details: (?P<details>.*))?")


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
            verbatim=True,
        )
    if code in check.passes:
        return ""
    if code in NO_PROGRAM:
        return f"there is no program for it: {' '.join(check.command)}"
    rows = (_not_passed(output) or telling(output)).splitlines()
    return "\n".join(row[:_WIDEST] for row in rows) or f"exit code {code}"


def _not_passed(output: str) -> str:
    """What the table of a status program of OpenStack (`nova-status upgrade check`) holds against the upgrade, a line for each, failures
    first; "" where there is no such table, or nothing in it."""
    found: dict[str, list[str]] = {"Failure": [], "Warning": []}
    for cell in _RULE.split(output):
        text = " ".join(" ".join(line.strip().strip("|") for line in cell.splitlines()).split())
        if told := _CELL.fullmatch(text):
            found[told["result"]].append(
                f"{told['check']} ({told['result'].lower()}): {told['details'] or 'no details'}"
            )
    return "\n".join((found["Failure"] + found["Warning"])[:_MOST])


def message(check: Precheck, host: str, release: str, said: str) -> str:
    """That the upgrade waits, and what to do."""
    return (
        f"{check.name} on {host} holds the upgrade to {release}, and nothing of it was done: {said}\n"
        f"Mend it, and the node asks again by itself; or answer for it in reconciler.yml, under `accept:`: "
        f"- {{check: {check.name}, hosts: [{host}], who: …, why: …, until: …}}"
    )
