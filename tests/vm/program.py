"""The program in a machine, from its wheel."""

from tests.vm.disk import HOME
from tests.vm.machine import Machine

PROGRAM = f"{HOME}/bin/reconciler"


def install(machine: Machine) -> None:
    """Install the wheel in /mnt/share/wheels into the environment of the disk."""
    words = f"{HOME}/bin/pip install -q --no-index --no-deps /mnt/share/wheels/kolla_reconciler-*.whl"
    machine.run(f"{words} && ln -sf {PROGRAM} /usr/local/bin/reconciler", seconds=1200)
