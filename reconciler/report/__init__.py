"""What the node says about itself: the report of a cycle, its conditions, summaries and views."""

from reconciler.report.cause import Cause, Symptom, sick
from reconciler.report.cycle import Refusal, Report, Source, as_json, conditions
from reconciler.report.graph import Graph, beneath, graph
from reconciler.report.summary import StatusText, history_entry, is_repetition, status_text

__all__ = [
    "Cause",
    "Graph",
    "Refusal",
    "Report",
    "Source",
    "StatusText",
    "Symptom",
    "as_json",
    "beneath",
    "conditions",
    "graph",
    "history_entry",
    "is_repetition",
    "sick",
    "status_text",
]
