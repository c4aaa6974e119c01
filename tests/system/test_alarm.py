"""The alarm ends work where its signal was made ready, and never the process that it rings in."""

import subprocess
import sys

import pytest

from reconciler.fleet.reviews import clone as merge_requests
from reconciler.git import clone
from reconciler.report import certificates
from reconciler.source import child
from reconciler.system import run

BURNING = """
import time
from reconciler import errors
from reconciler.system import alarm
{install}
try:
    with alarm.Alarm(0.05, "this"):
        ends = time.process_time() + {burn}
        while time.process_time() < ends:
            pass
    print("whole")
except errors.Terminal as error:
    print(error.reason.value)
"""


@pytest.mark.parametrize(
    ("install", "burn", "said"),
    [("", 0.3, "whole"), ("alarm.install()", 600.0, "LimitExceeded"), ("alarm.install()", 0.0, "whole")],
    ids=["not ready", "ready and slow", "ready and quick"],
)
def test_work_ends_and_its_process_does_not(install: str, burn: float, said: str) -> None:
    code = BURNING.format(install=install, burn=burn)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, said), ended.stderr


@pytest.mark.parametrize("limits", [child.LIMITS, clone._LIMITS, certificates._LIMITS, merge_requests._LIMITS])
def test_processor_time_ends_a_child_before_the_clock_does(limits: run.Limits) -> None:
    """Where the machine gives a child a tenth of one processor, or is as slow."""
    assert limits.seconds >= 10 * limits.cpu_seconds
