"""The program as it is, but it goes by the day's own clock: `python -m tests.day.node run`.

The file that RECONCILER_DAY_CLOCK names holds the time of the day that it was when the file was written, so that nobody has to wait for the night.
"""

import os
import time
from datetime import datetime, timedelta
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
    file = Path(os.environ[CLOCK])
    passed = time.time() - file.stat().st_mtime
    return datetime.fromisoformat(file.read_text()) + timedelta(seconds=passed)


if __name__ == "__main__":
    service.Node = _Node  # type: ignore[attr-defined]
    main()
