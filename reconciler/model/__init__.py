"""The data every stage passes to the next, as frozen dataclasses: desired state, actual state, plan, outcome.

Desired state holds no secret. Where a rendered text needs one, it holds a *token*, `<<secret:NAME>>`, that is
replaced by the value only when a file is written or a registration made (`render/tokens.py`). So a plan, its
diffs, its JSON and its hash can be shown to anybody, and the planner in CI needs no key.

Everything here converts to and from plain JSON (`codec.py`), because desired state is made in a
child process.

What is there of a node (actual state, memory, plan) is imported when it is first asked for: who renders a site needs none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reconciler.model.desired import (
    START_TIMEOUT,
    Check,
    Container,
    Desired,
    Drain,
    File,
    Handover,
    HostKept,
    HostKind,
    HostSetting,
    Job,
    Maintenance,
    OnChange,
    Order,
    Precheck,
    Registrar,
    Registration,
    Reload,
    Validation,
    is_asked,
    shared_with,
)
from reconciler.model.names import (
    ASIDE,
    LEFTOVER_SUFFIX,
    MAINTAINING,
    ONE_SHOTS,
    OURS,
    PRECHECKING,
    VALIDATING,
    aside,
    below,
    is_ours,
)
from reconciler.options.values import Healthcheck, Mount, Ulimit

if TYPE_CHECKING:
    from reconciler.model.actual import Actual, FileState, Image, Running, State, Volume
    from reconciler.model.memory import (
        Applied,
        Asked,
        AsMade,
        Failure,
        Interruption,
        JobResult,
        Memory,
        OtherTool,
        Worked,
    )
    from reconciler.model.plan import (
        FORMER,
        RUNNING_CONFIGURATION,
        Action,
        CheckResult,
        Condition,
        Difference,
        Hazard,
        Held,
        InFlight,
        Outcome,
        Plan,
        Verb,
    )

__all__ = [
    "ASIDE",
    "FORMER",
    "LEFTOVER_SUFFIX",
    "MAINTAINING",
    "ONE_SHOTS",
    "OURS",
    "PRECHECKING",
    "RUNNING_CONFIGURATION",
    "START_TIMEOUT",
    "VALIDATING",
    "Action",
    "Actual",
    "Applied",
    "AsMade",
    "Asked",
    "Check",
    "CheckResult",
    "Condition",
    "Container",
    "Desired",
    "Difference",
    "Drain",
    "Failure",
    "File",
    "FileState",
    "Handover",
    "Hazard",
    "Healthcheck",
    "Held",
    "HostKept",
    "HostKind",
    "HostSetting",
    "Image",
    "InFlight",
    "Interruption",
    "Job",
    "JobResult",
    "Maintenance",
    "Memory",
    "Mount",
    "OnChange",
    "Order",
    "OtherTool",
    "Outcome",
    "Plan",
    "Precheck",
    "Registrar",
    "Registration",
    "Reload",
    "Running",
    "State",
    "Ulimit",
    "Validation",
    "Verb",
    "Volume",
    "Worked",
    "aside",
    "below",
    "is_asked",
    "is_ours",
    "shared_with",
]

_LATER = ("plan", "memory", "actual")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _LATER:
            if hasattr(module := import_module(f"{__name__}.{home}"), name):
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
