"""What the node says about itself: the report of a cycle, its conditions, summaries and views."""

from reconciler.report.cause import Cause, Symptom, symptom_of
from reconciler.report.conditions import conditions
from reconciler.report.cycle import Agreed, Refusal, Report, RepositoryStatus
from reconciler.report.graph import Graph, beneath, graph
from reconciler.report.summary import StatusText, as_json, history_entry, is_repetition, read_status, status_text
from reconciler.report.verdict import OTHER_TOOL, State, Verdict, verdict

__all__ = [
    "OTHER_TOOL",
    "Agreed",
    "Cause",
    "Graph",
    "Refusal",
    "Report",
    "RepositoryStatus",
    "State",
    "StatusText",
    "Symptom",
    "Verdict",
    "as_json",
    "beneath",
    "conditions",
    "graph",
    "history_entry",
    "is_repetition",
    "read_status",
    "status_text",
    "symptom_of",
    "verdict",
]
