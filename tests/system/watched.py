"""Children that tell what they tried to load or open after they were sealed: nothing, or a good site could fail by it."""

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from reconciler import errors
from reconciler.cli import children
from reconciler.cli.children import gather, warm
from reconciler.source import prepare_child

__all__ = ["gather", "libgit2", "validate", "warm"]

_TOLD = ("import", "open", "os.listdir", "os.scandir", "ctypes.dlopen", "socket.connect", "subprocess.Popen", "os.fork")


def libgit2(argument: Mapping[str, Any], gathered: Any) -> bool:
    """Whether libgit2 is in this process, which has read its sources."""
    assert gathered
    return any(name.partition(".")[0] == "pygit2" for name in sys.modules)


def validate(argument: Mapping[str, Any], gathered: Any) -> list[str]:
    """`children.validate`, and one plan; what was tried meanwhile."""
    tried: list[str] = []
    sys.addaudithook(lambda event, given: tried.append(f"{event} {given[0]}") if event in _TOLD else None)
    found = children.validate(argument, gathered)
    wrong = [problem for problem in found["problems"] if problem.get("severity") != "warning"]
    if argument["good"] and (wrong or not found["rendered"]):
        return [f"not planned: {wrong}"]
    if found["rendered"]:
        shared = {"number": 0, "most": 1, "progress": 2}
        asked = {"base": None, "hosts": found["rendered"][:1], "revision": "x", **shared}
        if not wrong:
            children.plan(asked, gathered)
            children.explain({"host": found["rendered"][0], "name": "kolla_base_distro"}, gathered)
            with contextlib.suppress(errors.ReconcilerError):  # the made-up ciphertext is none
                prepare_child.of_folder({"host": found["rendered"][0]}, gathered)
    return tried
