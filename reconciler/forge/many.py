"""For who speaks for many hosts: what a `StatusReporter` posts to, with few questions and for deployments as well.

A reporter that lost its memory asks what is shown. One at a time that would be two requests for each name; here the first
question brings the answers to all of them. What may have changed since, because it was posted from here, is asked anew.
"""

from reconciler.forge.api import DeploymentState, Forge, State, Status

_STATES: dict[str, State] = {"success": "success", "failed": "failed", "canceled": "canceled"}


class Statuses:
    """Commit statuses: a `Poster`. Used by one thread."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._listed: tuple[tuple[str, str | None], dict[str, Status]] | None = None
        self._posted: set[tuple[str, str]] = set()  # context, commit

    def post_status(self, status: Status, ref: str) -> None:
        """See `Forge`."""
        self._posted.add((status.context, status.commit))
        self._forge.post_status(status, ref)

    def find_status(self, commit: str, context: str, ref: str | None = None) -> Status | None:
        """See `Forge`."""
        if (context, commit) in self._posted:
            return self._forge.find_status(commit, context, ref)
        if self._listed is None or self._listed[0] != (commit, ref):
            self._posted = {place for place in self._posted if place[1] == commit}
            self._listed = ((commit, ref), self._forge.statuses(commit, ref))
        return self._listed[1].get(context)


class Deployments:
    """Deployments in the guise of statuses, whose context is the environment: a `Poster`. Used by one thread.

    What is pending is no deployment yet and must not be submitted.
    """

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._listed: dict[str, tuple[str, str]] | None = None
        self._posted: set[str] = set()

    def post_status(self, status: Status, ref: str) -> None:
        """Record a deployment: `success` or `failed`. Raises as `Forge` says."""
        self._posted.add(status.context)
        state: DeploymentState = "success" if status.state == "success" else "failed"
        # Who posts remembers what is there, and asked where he does not.
        self._forge.deployment(status.context, status.commit, ref, state, known=True)

    def find_status(self, commit: str, context: str, ref: str | None = None) -> Status | None:
        """What the newest deployment of an environment says about `commit`; None when it is of another one."""
        if context in self._posted:
            found = self._forge.deployments(context)
        else:
            if self._listed is None:
                self._listed = self._forge.deployments()
            found = self._listed
        of, state = found.get(context, ("", ""))
        return Status(commit, context, _STATES.get(state, "pending")) if of == commit else None
