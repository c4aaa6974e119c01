"""etcd, through which the hosts of a site agree: its JSON gateway (`client.py`), what a rollout reads and writes there (`store.py`),
hearing of a change (`watch.py`), and all of it at once for people (`snapshot.py`).

Nothing here decides anything: `rollout/` does, from what was read.
"""

from reconciler.etcd.client import Client, Endpoint, UnavailableError, connect
from reconciler.etcd.snapshot import snapshot
from reconciler.etcd.store import Store
from reconciler.etcd.watch import Watch, listen

__all__ = ["Client", "Endpoint", "Store", "UnavailableError", "Watch", "connect", "listen", "snapshot"]
