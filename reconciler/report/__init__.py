"""What the node says about itself: the report of a cycle, its conditions, summaries and views."""

from reconciler.report.cycle import Refusal, Report, Source, conditions
from reconciler.report.summary import StatusText, history_entry, status_text

__all__ = ["Refusal", "Report", "Source", "StatusText", "conditions", "history_entry", "status_text"]
