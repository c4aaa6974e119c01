"""`python -m tests.demo run` shows what the program does on this machine; `clean` removes everything that it made."""

import sys

from tests.demo import bed, stage, steps

PLAY = stage.Play(
    target="demo",
    module="tests.demo",
    plot=bed.PLOT,
    steps=steps.STEPS,
    look=(
        "docker ps",
        "openstack endpoint list -c 'Service Name' -c Interface -c URL",
        "reconciler status; reconciler history; reconciler drift",
    ),
)

if __name__ == "__main__":
    sys.exit(stage.main(PLAY))
