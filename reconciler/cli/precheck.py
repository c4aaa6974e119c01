"""`precheck`: what would hold an upgrade back on this node, before it is merged."""

import click

from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings


@click.command()
@click.argument("revision")
@json_option
@config_option
def precheck(revision: str, json_: bool) -> int:
    """Ask what would hold the upgrade of OpenStack in REVISION back on this node, before it is merged.

    REVISION is a branch of the site's repository, or a commit of one that this node follows. Makes the checks that the node would make
    before the upgrade, in the new images, which are pulled as far as checks need them. Nothing else changes here. Where the node may
    post commit statuses the commit gets one.

    Exits with 0 when nothing holds it, 1 otherwise.
    """
    from reconciler.node.node import Node

    node = Node(load_settings())
    try:
        with output.progress("asking"):
            found = node.ask_ahead(revision)
    finally:
        node.close()
    if json_:
        held = {one.action.target: one.message for one in found.held}
        told = {"host": found.host, "revision": found.revision, "branch": found.branch, "step": found.step}
        output.as_json({**told, "passed": list(found.passed), "held": held, "accepted": list(found.accepted)})
        return 1 if found.held else 0
    for outcome in found.outcomes:
        verdict = "ok" if outcome.result == "done" else "fail"
        output.line(f"{verdict:<4}  {outcome.action.target}", verdict)
        for line in outcome.message.splitlines() if outcome.result != "done" else ():
            output.line(f"      {line}")
    if found.accepted:
        output.line(f"not asked, because reconciler.yml answers for it: {', '.join(found.accepted)}")
    output.line(f"{found.revision[:12]} {found.words}")
    return 1 if found.held else 0
