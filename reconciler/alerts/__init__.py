"""Tells people directly what is wrong on this host: GitLab's alert endpoint, a webhook, e-mail and the like.

For sites without Prometheus. `alerts_of` says what a report has to tell, the ledger who was told what, and `Teller` does it in
the background.
"""

from reconciler.alerts.items import Alert, Rules, alerts_of
from reconciler.alerts.teller import Statistics, Teller

__all__ = ["Alert", "Rules", "Statistics", "Teller", "alerts_of"]
