"""What a host may do next, as a decision says it. Pure."""

from dataclasses import dataclass

from reconciler.reasons import Reason
from reconciler.rollout.records import Halt, Transaction


@dataclass(frozen=True, slots=True)
class Go:
    """The plan may be carried out."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Only what disrupts nothing may be carried out."""

    why: Reason
    message: str
    pulls: bool = False  # only for its images, which it may pull now


@dataclass(frozen=True, slots=True)
class Write:
    """The transaction to try, and what it is for. Whatever becomes of it, the next thing is to read again: an answer may be lost."""

    transaction: Transaction
    what: str


Step = Go | Wait | Write


def halted(halt: Halt) -> Wait:
    """What everybody says who would begin something."""
    return Wait(Reason.RolloutHalted, f"{halt.by} halted the rollout: {halt.why}")
