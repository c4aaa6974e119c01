"""Starts a walled child from a process of its own: `python -m tests.system.driver`, a request as JSON on stdin.

The request may take away what a kernel or a container may lack: `denied` system calls fail with EPERM from then on.
"""

import json
import sys
from typing import Any

from reconciler import errors
from reconciler.system import run, walls
from reconciler.system.walls import kernel, seccomp


def main() -> None:
    request = json.load(sys.stdin)
    if request["denied"]:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.deny(request["denied"])
    wall = walls.Wall(**{k: tuple(v) if isinstance(v, list) else v for k, v in request["wall"].items()})  # type: ignore[arg-type]
    found: dict[str, Any]
    try:
        limits = run.Limits(**request["limits"])
        found = {"answer": run.python(request["function"], request["argument"], limits=limits, wall=wall)}
    except errors.ReconcilerError as error:
        found = {"reason": error.reason, "message": str(error)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
