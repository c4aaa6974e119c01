"""The alarm ends work where its signal was made ready, and never the process that it rings in."""

import subprocess
import sys

import pytest

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
