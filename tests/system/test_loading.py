"""What loading the program does to a process: nothing. A child's own settings are those of the child alone."""

import subprocess
import sys

# The names of all modules but those that are programs; what the process is afterwards is said as lines.
SCRIPT = """\
import gc, importlib, os, pkgutil, signal, sys, threading
import reconciler
before = gc.isenabled(), gc.get_threshold(), os.umask(0o22), signal.getsignal(signal.SIGTERM), sys.getrecursionlimit(), threading.active_count()
for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = gc.isenabled(), gc.get_threshold(), os.umask(0o22), signal.getsignal(signal.SIGTERM), sys.getrecursionlimit(), threading.active_count()
os.umask(before[2])
assert after[:2] == before[:2] and after[3:] == before[3:], (before, after)
"""


def test_loading_every_module_leaves_the_process_as_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
