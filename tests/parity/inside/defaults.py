"""Run by the oracle's own Python: what kolla-ansible's variables come to on a host, in each of several worlds.

    python defaults.py PLAYS < question > answer

`PLAYS` is the folder of playbooks, as `environment.prepare` gives it; PARITY_SCRATCH the inputs, as `oracle` lays them out. The question is
JSON: `host`, `roles` whose defaults count, and `worlds`, each with `set` (variables that globals.yml says besides) and `ask` (names). The
answer is one object for each world: name → `{"value": …}` or `{"error": "…"}`.
"""

import inspect
import json
import os
import sys
from pathlib import Path

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.plugins.loader import filter_loader, init_plugin_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

SCRATCH = Path(os.environ["PARITY_SCRATCH"])


def main(plays: Path) -> None:
    asked = json.load(sys.stdin)
    init_plugin_loader([])
    filter_loader.add_directory(str(plays / "filter_plugins"))
    loader = DataLoader()
    loader.set_basedir(str(plays))
    inventory = InventoryManager(loader=loader, sources=[str(SCRATCH / "inventory")])
    manager = VariableManager(loader=loader, inventory=inventory)
    given = {}
    for name in ("globals.yml", "passwords.yml", "given.json"):
        given |= read(loader, SCRATCH / name)
    for path in (SCRATCH / "facts").glob("*.json"):
        facts = {name.removeprefix("ansible_"): value for name, value in json.loads(path.read_text()).items()}
        manager.set_host_facts(path.stem, facts)
    roles = {}
    for role in asked["roles"]:
        file = plays / "roles" / role / "defaults" / "main.yml"
        if file.exists():
            roles |= read(loader, file)
    host = inventory.get_host(asked["host"])
    play = Play.load(
        {"name": "defaults", "hosts": "all", "gather_facts": False}, variable_manager=manager, loader=loader
    )
    for world in asked["worlds"]:
        manager._extra_vars = {**given, **world["set"]}
        every = {**roles, **manager.get_vars(play=play, host=host)}
        every["hostvars"] = HostVars(inventory=inventory, variable_manager=manager, loader=loader)
        templar = Templar(loader=loader, variables=every)
        names = world["ask"] if world["ask"] is not None else sorted(every)
        print(
            json.dumps({name: found(templar, every, name) for name in names if name in every}, default=str), flush=True
        )


def read(loader, path):
    """A file's variables, with expressions in them that may be carried out: later Ansibles want to be told."""
    trusted = (
        {"trusted_as_template": True}
        if "trusted_as_template" in inspect.signature(loader.load_from_file).parameters
        else {}
    )
    return loader.load_from_file(str(path), **trusted) or {}


def found(templar, every, name):
    """What a variable comes to; the reason why it does not."""
    try:
        return {"value": templar.template(every[name], fail_on_undefined=True)}
    except Exception as error:  # Ansible's own, Jinja2's, and what filters raise
        return {"error": str(error)[:300]}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
