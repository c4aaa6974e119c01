"""GitLab, GitHub and Gitea/Forgejo behind one small interface: commit statuses, one note per merge request."""

from reconciler.forge.api import Forge, ForgeSettings, MergeRequest, OpenRequest, SignOff, State, Status
from reconciler.forge.makers import connect
from reconciler.forge.many import Deployments, Statuses
from reconciler.forge.outbox import Statistics, StatusReporter

__all__ = [
    "Deployments",
    "Forge",
    "ForgeSettings",
    "MergeRequest",
    "OpenRequest",
    "SignOff",
    "State",
    "Statistics",
    "Status",
    "StatusReporter",
    "Statuses",
    "connect",
]
