"""Tells people directly what is wrong on this host: GitLab's alert endpoint, a webhook, e-mail and the like.

For sites without Prometheus. `alerts_of` says what a report has to tell, the ledger who was told what, and `Notifier` does it in
the background.
"""

from reconciler.alerts.items import Alert, Rules, alerts_of
from reconciler.alerts.notifier import Notifier, Statistics

__all__ = ["Alert", "Notifier", "Rules", "Statistics", "alerts_of"]
