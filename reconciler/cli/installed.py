"""The files that `node install` writes and `node remove` takes away again, below the folder that is installed into."""

from pathlib import Path

SETTINGS = Path("etc/reconciler/reconciler.toml")
UNIT = Path("etc/systemd/system/reconciler.service")
DROP_IN = UNIT.with_name("reconciler.service.d") / "paths.conf"
TMPFILES = Path("etc/tmpfiles.d/reconciler.conf")
