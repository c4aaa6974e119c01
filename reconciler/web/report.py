"""`/report`: the signed report of a node, for a reporter to read. It holds no secret, and no more than a commit status does."""

import structlog

from reconciler import errors
from reconciler.report.signed import Signer
from reconciler.web.message import Answer, Handler, Request

log = structlog.get_logger()


def report_handlers(sign: Signer) -> dict[str, Handler]:
    """Path → handler, for `Server`."""

    def handle(request: Request) -> Answer:
        try:
            signed = sign.answer()
        except errors.ReconcilerError as error:
            log.error("report.unsigned", reason=error.reason, message=str(error))
            return Answer(503, f"{error.reason}; the log of the daemon says more\n".encode())
        if signed is None:
            return Answer(503, b"no pass has ended yet\n")
        return Answer(200, signed)

    return {"/report": handle}
