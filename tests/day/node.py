"""The program as it is, but maintenance windows go by the day's own clock: `python -m tests.day.node run`.

The file that RECONCILER_DAY_CLOCK names holds the time of the day that is told, so that nobody has to wait for the night.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from reconciler.cli.main import main
from reconciler.daemon import service
from reconciler.node.node import Node

CLOCK = "RECONCILER_DAY_CLOCK"


class _Node(Node):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.clock = _now


def _now() -> datetime:
    return datetime.fromisoformat(Path(os.environ[CLOCK]).read_text())


if __name__ == "__main__":
    service.Node = _Node  # type: ignore[attr-defined]
    main()
