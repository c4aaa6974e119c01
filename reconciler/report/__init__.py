"""What the node says about itself: the report of a cycle, its conditions, summaries and views."""

from reconciler.report.cycle import OUTSIDE_WINDOW, Refusal, Report, Source, conditions
from reconciler.report.summary import StatusText, history_entry, is_repetition, status_text

__all__ = [
    "OUTSIDE_WINDOW",
    "Refusal",
    "Report",
    "Source",
    "StatusText",
    "conditions",
    "history_entry",
    "is_repetition",
    "status_text",
]
