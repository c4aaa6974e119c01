"""What the daemon answers over HTTP: metrics, the status page, the signed report, webhooks. Reads, and asks for a poll."""

from reconciler.web.hooks import Hooks
from reconciler.web.message import Answer, Handler, Request
from reconciler.web.node import NodePage
from reconciler.web.page import handlers
from reconciler.web.report import report_handlers
from reconciler.web.server import Server

__all__ = ["Answer", "Handler", "Hooks", "NodePage", "Request", "Server", "handlers", "report_handlers"]
