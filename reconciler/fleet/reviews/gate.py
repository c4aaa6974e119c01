"""The commit status at the heads of merge requests: pending until a head is planned, failed until it is valid and everybody who
must have seen it has, success then.

Who must have seen it is said by the branch that it is to be merged into, never by its own. Who has is asked of the forge in every
round, for approvals come and go without a push. What cannot be read counts as missing.
"""

from collections.abc import Callable
from dataclasses import replace

import structlog

from reconciler import errors
from reconciler.fleet.reviews.queue import Reviewed, Told
from reconciler.forge import Forge, OpenRequest, Status
from reconciler.forge.api import State, shows
from reconciler.review import gate
from reconciler.review.gate import Rules, Verdict

log = structlog.get_logger()

_PLANNED = "is being planned; who must have seen it is known then"
_MOVED = "the branch has gone on since it was planned: it is planned again"
_LEFT = "nobody asks to merge this head any more: what it would do now is not known"
_AGAIN = 3600.0  # seconds until a status that the forge did not take is tried again


class Gate:
    """Used by one thread. Raises errors.Transient when the forge fails."""

    def __init__(self, forge: Forge, url: str, clock: Callable[[], float]) -> None:
        self._forge, self._url, self._clock = forge, url, clock
        self._refused: dict[Told, float] = {}  # statuses that the forge did not take → when it was asked

    def arrived(self, request: OpenRequest, known: Reviewed) -> Reviewed:
        """Remember since when a head has been listed."""
        return known if known.arrived[0] == request.head else replace(known, arrived=(request.head, self._clock()))

    def tell(self, request: OpenRequest, known: Reviewed, rules: Rules, target: str) -> Reviewed:
        """Make the status at the head say what is so now. Nothing is asked or posted where nothing can have changed. `target`: where the
        branch is that it is to be merged into."""
        outcome = known.outcome
        if outcome is None or outcome.head != request.head:
            if not rules.required:
                return known  # nobody relies on it, and it comes in a moment
            return self._post(request, known, rules, "pending", _PLANNED)
        if not outcome.valid:
            return self._post(request, known, rules, "failed", outcome.text)
        wanted = gate.demands(outcome.risks, rules)
        found = self._verdict(request, known, wanted, rules) if wanted else Verdict("success", "")
        if found.state == "success" and rules.required and not (known.site and known.target == target):
            # Who has seen it saw what it did to the branch as it was.
            return self._post(request, known, rules, "pending", _MOVED)
        text = f"{found.text}: {outcome.text}" if found.text and found.state == "success" else found.text
        return self._post(request, known, rules, found.state, text or outcome.text, wanted=bool(wanted))

    def withdraw(self, told: Told) -> None:
        """Take back a success at a head that nobody asks to merge: asked again later, it would be merged before anybody looked."""
        try:
            self._forge.post_status(Status(told.head, told.context, "canceled", _LEFT, self._url or None), told.ref)
        except errors.Terminal as error:
            log.warning("review.status", head=told.head, reason=error.reason, message=str(error))

    def _verdict(
        self, request: OpenRequest, known: Reviewed, wanted: dict[gate.Rule, tuple[str, ...]], rules: Rules
    ) -> Verdict:
        labels = {rule.label for rule in wanted if rule.label}
        approvals = any(not rule.label for rule in wanted)
        try:
            given = self._forge.sign_offs(request, approvals=approvals, labels=labels, seen=known.arrived[1])
        except errors.Terminal as error:
            log.warning("review.unread", merge_request=request.iid, reason=error.reason, message=str(error))
            return Verdict(
                "failed",
                f"who has seen it cannot be read, so nobody counts [{error.reason}]: the reporter's log says why",
            )
        return gate.verdict(wanted, given, rules, known.outcome.since if known.outcome else None)

    def _post(
        self, request: OpenRequest, known: Reviewed, rules: Rules, state: State, text: str, *, wanted: bool = False
    ) -> Reviewed:
        """`wanted`: somebody must have seen it. A token that may post no status is no reason to write no note."""
        # A branch of the project names its own pipeline; a fork's branch may be called like one of the project's.
        ref = request.branch or request.ref
        told = Told(request.head, rules.context, state, text, ref)
        # On some forges whoever may write can post over a status of ours: where somebody may want to, it is looked at again.
        tempting = wanted and state == "failed"
        if (known.told == told and not tempting) or told in self._refused_lately():
            return known
        status = Status(request.head, rules.context, state, text, self._url or None)
        try:
            shown = self._forge.find_status(request.head, rules.context, ref)
            if not shows(shown, status, self._forge.description_limit):
                self._forge.post_status(status, ref)
        except errors.Terminal as error:
            log.warning("review.status", merge_request=request.iid, reason=error.reason, message=str(error))
            self._refused = {**self._refused_lately(), told: self._clock()}
            return replace(known, missing=f"its status cannot be posted: {error} [{error.reason}]")
        return replace(known, told=told, missing=text if state == "failed" and wanted else "")

    def _refused_lately(self) -> dict[Told, float]:
        """What the forge refused to take, and when. What lies in the future was before the clock was set back."""
        now = self._clock()
        return {told: at for told, at in self._refused.items() if 0 <= now - at < _AGAIN}
