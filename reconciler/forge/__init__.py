"""GitLab, GitHub and Gitea/Forgejo behind one small interface: commit statuses, one note per merge request."""

from reconciler.forge.api import Forge, ForgeSettings, MergeRequest, State, Status, connect
from reconciler.forge.outbox import Statistics, StatusReporter

__all__ = [
    "Forge",
    "ForgeSettings",
    "MergeRequest",
    "State",
    "Statistics",
    "Status",
    "StatusReporter",
    "connect",
]
