"""The planner: desired and actual state in, an ordered list of actions with their causes out. Pure."""

from reconciler.plan.as_made import taken as taken_as_made
from reconciler.plan.diff import diff
from reconciler.plan.draft import Basis
from reconciler.plan.files import staying
from reconciler.plan.in_flight import superseded, without
from reconciler.plan.origins import program_change
from reconciler.plan.preview import as_actual, preview
from reconciler.plan.recall import in_force, migrated, quarantined, worked

__all__ = [
    "Basis",
    "as_actual",
    "diff",
    "in_force",
    "migrated",
    "preview",
    "program_change",
    "quarantined",
    "staying",
    "superseded",
    "taken_as_made",
    "without",
    "worked",
]
