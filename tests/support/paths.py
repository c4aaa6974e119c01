"""Where the set-up keeps what it downloads and builds: one cache folder per user, outside every clone."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def cache(*parts: str) -> Path:
    """A folder under `RECONCILER_CACHE` (default `~/.cache/reconciler`); made when missing."""
    root = Path(os.environ.get("RECONCILER_CACHE") or Path.home() / ".cache" / "reconciler")
    folder = root.joinpath(*parts).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
