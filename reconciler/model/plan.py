"""What a pass will do, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from reconciler.model.told import Told, clean
from reconciler.phrases import few
from reconciler.reasons import Reason
from reconciler.secret import known
from reconciler.text import printable


class Verb(StrEnum):
    """What an action does."""

    PULL = "pull"
    VALIDATE = "validate"
    PRECHECK = "precheck"
    WRITE = "write"
    CHMOD = "chmod"
    DELETE = "delete"
    CREATE = "create"
    REPLACE = "replace"
    RENAME = "rename"
    UPDATE = "update"
    RESTART = "restart"
    RELOAD = "reload"
    START = "start"
    STOP = "stop"
    REMOVE = "remove"
    ADOPT = "adopt"
    RUN = "run"
    REGISTER = "register"
    UNREGISTER = "unregister"
    SET = "set"
    RESET = "reset"


RUNNING_CONFIGURATION: Final = (
    "running configuration"  # the field that differs when what runs has not got what its files say
)
FORMER: Final = (
    "former password"  # the field that differs where a user is let in with the password before the present one
)
_SHOWN: Final = 8  # of what an action gains
# What is felt, or cannot be undone, when an action is carried out.
Hazard = Literal["data-plane", "stateful", "deletion", "prune", "migration", "image", "secret", "host", "power"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs. Values are printable: secrets are shown as tokens."""

    field: str
    desired: str
    actual: str

    def __post_init__(self) -> None:
        clean(self, "actual")

    @property
    def inside(self) -> bool:
        """Whether only a look into the container shows it."""
        return self.field == RUNNING_CONFIGURATION


@dataclass(frozen=True, slots=True)
class Action:
    """One engine or file operation, with its cause. `id` is `verb:target`, unique in a plan."""

    verb: Verb
    target: str  # container, path, image, job, registration id
    cause: str
    needs: tuple[str, ...] = ()  # ids of actions that must have succeeded before
    container: str = ""  # whose rollback covers it
    service: str = ""
    drift: bool = False
    differences: tuple[Difference, ...] = ()
    diff: str = ""  # unified diff of a file, redacted
    risks: tuple[Hazard, ...] = ()
    disables: str = ""  # the systemd unit of another tool that starts the container as well
    origin: str = ""  # another program that asks for this change: "reconciler 0.3.1 → 0.3.2"; "": a commit does
    claim: str = ""  # of a job that the cluster runs once: the nonce of its record among the hosts
    gains: tuple[
        str, ...
    ] = ()  # between two revisions: the power over the host that its container has then, and had not
    unmakes: tuple[str, ...] = ()  # jobs that filled it once: where it is made anew they are to run again

    def __post_init__(self) -> None:
        clean(self, "cause")
        if self.diff:  # whoever shows it makes it printable: it may be long
            object.__setattr__(self, "diff", known()(self.diff))

    @property
    def id(self) -> str:
        return f"{self.verb}:{self.target}"

    @property
    def is_absent(self) -> bool:
        """Whether what it makes was looked for and is not there."""
        return any(one.field == "state" for one in self.differences)

    @property
    def ends_former(self) -> bool:
        """Whether all that it does is to end a former password."""
        return bool(self.differences) and all(one.field == FORMER for one in self.differences)

    @property
    def gained(self) -> str:
        """What it gains in a few words."""
        return few(self.gains) if len(self.gains) > _SHOWN else ", ".join(self.gains)

    @property
    def line(self) -> str:
        """The one line that the CLI, the log, the merge-request note and the tests all show."""
        cause = f"{self.origin}: {self.cause}" if self.origin else self.cause
        cause += f"; gains {self.gained}" if self.gains else ""
        return printable(f"{self.verb:<10} {self.target}  ({cause})")


@dataclass(frozen=True, slots=True)
class Held(Told):
    """Something that differs and that nothing will be done about, and why."""

    target: str
    reason: Reason
    message: str
    differences: tuple[Difference, ...] = ()
    drift: bool = False
    acknowledge: tuple[str, ...] = ()  # the containers that reconciler.yml would have to acknowledge, all of them


@dataclass(frozen=True, slots=True)
class InFlight:
    """An action that is under way: on what, what it is at ("waiting for keystone to become healthy"), and since when."""

    target: str
    text: str
    since: datetime
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in an order in which they could be carried out one by one, and what is held back."""

    host: str
    revision: str
    actions: tuple[Action, ...] = ()
    held: tuple[Held, ...] = ()
    leftovers: tuple[str, ...] = ()  # volumes that nothing uses any more; never removed
    program: str = ""  # how the program is another one than what was carried out last, or the base, was made by

    @property
    def empty(self) -> bool:
        return not self.actions


@dataclass(frozen=True, slots=True)
class Outcome(Told):
    """What became of one action."""

    action: Action
    result: Literal["done", "failed", "skipped", "rolled-back", "unknown"]
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckResult(Told):
    """How a check went; `message` says what was wrong."""

    name: str
    service: str
    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Condition(Told):
    """What the node says about itself. `type` is Ready, Reconciling, Stalled, Drifted or Suspended."""

    type: str
    status: bool
    reason: Reason
    message: str
    since: datetime
    revision: str = ""
