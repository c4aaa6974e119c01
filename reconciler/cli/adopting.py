"""`node install --adopt` and `node remove`: a host comes over from kolla-ansible, and goes back."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import installed, output
from reconciler.cli.node import show
from reconciler.cli.options import config_option, load_settings
from reconciler.model import Verb
from reconciler.phrases import count, few
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.model import Plan
    from reconciler.node.giving_back import Inheritance
    from reconciler.report import Report
    from reconciler.settings import Settings

# What of a plan touches what runs, and how that is told.
_TOUCHES: Mapping[str, tuple[Verb, ...]] = {
    "container restarted": (Verb.RESTART, Verb.REPLACE, Verb.RELOAD, Verb.STOP, Verb.REMOVE, Verb.START),
    "file written": (Verb.WRITE, Verb.CHMOD, Verb.DELETE),
    "job run": (Verb.RUN,),
}


def confirm(report: "Report", *, yes: bool) -> None:
    """Show what the first pass takes over, and ask. Raises errors.Terminal (CheckFailed) when it was not confirmed, or when nobody is
    asked and something that runs would be touched."""
    assert report.plan is not None
    output.line("what the first pass will do (nothing was changed yet):")
    show(dataclasses.replace(report, conditions=()))
    counts = tell(report.plan)
    held = [h.target for h in report.plan.held if not h.reason.harmless]
    if held:
        output.line(f"not taken over, see above: {few(held)}", "warn")
    if yes and any(counts.values()):
        raise errors.Terminal(
            "--yes takes over only what need not be touched: nothing was installed (set `adoption: as-made` in reconciler.yml, or answer "
            "for yourself)",
            reason=Reason.CheckFailed,
        )
    if not yes and not click.confirm("Take these containers over?", default=not any(counts.values())):
        raise errors.Terminal("nothing was installed", reason=Reason.CheckFailed)


def tell(plan: "Plan") -> dict[str, int]:
    """Say how much of what runs a plan touches; returns the figures."""
    counts = {what: sum(1 for a in plan.actions if a.verb in verbs) for what, verbs in _TOUCHES.items()}
    parts = [count(number, what.partition(" ")[0]) + f" {what.partition(' ')[2]}" for what, number in counts.items()]
    adopted = sum(1 for action in plan.actions if action.verb is Verb.ADOPT)
    style = "warn" if any(counts.values()) else "ok"
    output.line(f"{count(adopted, 'container')} taken over: {', '.join(parts)}", style)
    return counts


def carry_out(loaded: "Settings", plan: "Plan") -> bool:
    """The pass that takes over, and what became of it. Returns whether all went well, and no container was stopped or made anew."""
    from reconciler.node import cycle
    from reconciler.node.node import Node

    names = [action.target for action in plan.actions if action.verb is Verb.ADOPT]
    node = Node(loaded, forge=False)
    try:
        before = {name: node.engine.identity(name) for name in names}
        with output.progress("taking over"):
            report = cycle.reconcile(node, trigger="command", deep=True)
        changed = [name for name in names if not node.engine.exists(name) or node.engine.identity(name) != before[name]]
    finally:
        node.close()
    output.line("")
    show(report)
    same = f"{count(len(names) - len(changed), 'container')} as before: same id, same start"
    output.line(same + (f"; not so: {few(changed)}" if changed else ""), "warn" if changed else "ok")
    return not changed and report.failure is None and not report.failed


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def remove(yes: bool) -> None:
    """Give this host back to kolla-ansible, without stopping anything.

    Ends and removes the service, lets kolla-ansible's units run the containers again that were taken over, and forgets the node's
    memory. Containers that this program made since stay as they are: kolla-ansible makes them anew when it is run next. Nothing
    of the cloud is removed, neither containers nor volumes nor files of services.
    """
    from reconciler.daemon import presence
    from reconciler.engine import Engine
    from reconciler.node import giving_back
    from reconciler.state import StateDirectory
    from reconciler.system import run

    settings = load_settings()
    state = StateDirectory(settings.state_dir)
    owner = state.owner
    if owner is None:
        raise errors.Terminal(f"{settings.state_dir} is no node's state", reason=Reason.StateLost)
    engine = Engine(settings.engine.url, owner=owner.key, also=owner.also, timeout=settings.engine.timeout)
    try:
        found = giving_back.look(state, engine)
        _tell_inheritance(found)
        if not yes and not click.confirm("Give them back, and remove this node's service and memory?"):
            raise click.Abort
        systemd = Path("/run/systemd/system").is_dir()
        if systemd and (Path("/") / installed.UNIT).exists():
            run.program(["systemctl", "disable", "--now", installed.UNIT.name], seconds=240)
        if presence.find(settings.state_dir):
            raise errors.Transient("the daemon still runs: end it first", reason=Reason.Busy)
        with state.cycle(wait=60.0):
            giving_back.give_back(found, state, engine, settings.policy.config_roots)
    finally:
        engine.close()
    _remove_installation(settings, everything=not found.made)
    if systemd:
        run.program(["systemctl", "daemon-reload"], seconds=60)


def _tell_inheritance(found: "Inheritance") -> None:
    for container, unit in found.adopted:
        output.line(
            f"  back       {container.name}  ({f'{unit} runs it again' if unit else 'its unit is gone: the engine goes on starting it'})"
        )
    for name in found.made:
        output.line(f"  stays      {name}  (made by this program: kolla-ansible makes it anew when it is run next)")
    if found.files:
        output.line(
            f"  stays      {count(len(found.files), 'file')} that this program wrote ({few(found.files)}): kolla-ansible writes its own"
        )


def _remove_installation(settings: "Settings", *, everything: bool) -> None:
    for part in (installed.SETTINGS, installed.UNIT, installed.DROP_IN, installed.TMPFILES):
        path = Path("/") / part
        if path.exists():
            path.unlink()
            output.line(f"removed    {path}", "ok")
    folder = (Path("/") / installed.DROP_IN).parent
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if everything:
        shutil.rmtree(settings.state_dir)
        output.line(f"removed    {settings.state_dir}", "ok")
    else:
        output.line(f"kept       {settings.state_dir}  (it says whose the containers are that stay)")
