"""What nodes of every released version left on the disk: `formats/<version>/` is a whole state directory, never changed again.

`python -m tests.state.formats` writes that of the present version, before it is released.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from reconciler import __version__
from reconciler.model import (
    Applied,
    Container,
    Desired,
    Difference,
    Failure,
    File,
    Healthcheck,
    Job,
    JobResult,
    Mount,
    Registrar,
    Registration,
    Reload,
)
from reconciler.reasons import Blame, Reason
from reconciler.secrets.locked import Locked
from reconciler.state import Anchor, StateDirectory, Suspension, Trial

HERE = Path(__file__).parent / "formats"
THEN = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
WEB = Container(
    "web",
    "img/web:1",
    command=("serve", "--port", "80"),
    environment={"A": "b"},
    mounts=(Mount("web_data", "/data"), Mount("/etc/localtime", "/etc/localtime", "ro")),
    healthcheck=Healthcheck(("CMD-SHELL", "true"), interval=5.0),
    service="web",
    reload=Reload(signal="HUP"),
    config_directory="web",
)
DESIRED = Desired(
    site="north",
    host="ctl1",
    revision="a" * 40,
    config_root="/etc/kolla",
    containers=(WEB,),
    files=(File("web/web.conf", "key = <<secret:web_key>>\n", container="web", service="web", secrets=("web_key",)),),
    jobs=(Job("web_sync", WEB, inputs="i1", migration=True),),
    registrations=(Registration("mariadb", "database", "web", {"name": "web"}, owner="ctl1"),),
    registrars=(Registrar("mariadb", {"host": "db", "password": "<<secret:web_key>>"}),),
    secrets={"web_key": "c" * 64},
    policy={"name": "north", "prune": {"max": 5}},
    program="0.1.0",
    catalogue="d" * 64,
)


def fill(state: StateDirectory) -> None:
    """Remember something of everything that there is to remember."""
    state.create()
    state.identify("k" * 32)
    state.move_anchor(Anchor("a" * 40, THEN, signer="somebody"))
    state.begin_trial(Trial("testing/ctl1", "b" * 40, THEN))
    state.suspend(Suspension("maintenance", THEN, by="root"))
    state.converged(DESIRED, [Locked("passwords.yml", "Y2lwaGVy", ("age1x",))], also=("old",))
    state.begin("b" * 40, ["web", "web/web.conf"])
    state.applied("web", Applied("id1", THEN, "f1.f2"))
    state.job_done("web_sync", JobResult("i1", True, THEN))
    state.quarantine("web", "p" * 64, Failure(Reason.Unhealthy, "it does not answer", Blame.CONFIGURATION, THEN))
    state.unachieved({"container:web": (Difference("pids_limit", "5", "0"),)})
    state.answered("web", ["web_api"])
    state.registered(DESIRED.registrations[0])
    state.plain(now=["web/plain.conf"])
    state.interrupted("web", 9.5)
    state.note_written("/etc/kolla", {"web/web.conf": ["e" * 64]})


def names(folder: Path) -> list[str]:
    """The files of a state directory that are JSON."""
    return sorted(path.name for path in folder.glob("*.json"))


def main() -> None:
    """Write the present version's."""
    target = HERE / __version__
    shutil.rmtree(target, ignore_errors=True)
    fill(StateDirectory(target))
    owner = target / "owner.json"
    owner.write_text(json.dumps({**json.loads(owner.read_text()), "path": "/var/lib/reconciler"}, indent=1))
    for path in target.iterdir():
        if path.suffix != ".json":
            path.unlink()


if __name__ == "__main__":
    main()
