"""`make demo-fleet`: six nodes of one site and three etcd members on this machine, and what they agree upon, as it happens.

Each node is the real daemon with a state of its own; they share the engine, and run one plain container each. Everything is removed at the
end.
"""

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import docker

from tests.images import build
from tests.support import engine
from tests.support.etcd import Cluster
from tests.support.lab import wait_for
from tests.support.many import Many

HOSTS = ("ctl1", "ctl2", "ctl3", "cmp1", "cmp2", "cmp3")
# The default's waves, in words of this site: its hosts run no service of the catalogue.
POLICY = """
  waves:
    - {name: canaries, hosts: [{group: computes, first: 1}, {group: controllers, last: 1}]}
    - {name: controllers, hosts: [{group: controllers}]}
  rest: 1
  bake: 3
  deadline: 120
"""
PATIENCE = 300.0


class Show:
    """Prints what happens, with the seconds since the beginning."""

    def __init__(self, many: Many) -> None:
        self.many, self.began, self.pages = many, time.monotonic(), dict.fromkeys(HOSTS, "")

    def head(self, text: str) -> None:
        print(f"\n== {text}", flush=True)

    def line(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def look(self) -> None:
        """Tell which pages became others."""
        for host in HOSTS:
            try:
                page = self.many.told(host)
            except Exception:  # between two containers there is none to ask
                continue
            if page and page != self.pages[host] and "OCI" not in page and "No such" not in page:
                self.pages[host] = page
                self.line(f"{host} serves {page!r}")

    def until(self, what: str, ready: Callable[[], object]) -> None:
        """Look until it is so."""

        def looked() -> object:
            self.look()
            return ready()

        wait_for(what, looked, PATIENCE, pause=0.3)

    def status(self, host: str = "ctl2") -> str:
        told = self.many.run(host, "fleet", "status")
        print("\n".join(f"           | {row}" for row in told.splitlines()), flush=True)
        return told


def proved(many: Many, commit: str) -> int:
    with many.store() as store:
        return sum(1 for name in store.everything() if name.startswith(f"proof/{commit}/"))


def halted(many: Many) -> bool:
    with many.store() as store:
        return b'"halt"' in store.everything()["roll"].value


def play(many: Many, etcd: Cluster) -> None:
    """The whole story; raises AssertionError where it does not go as told."""
    show = Show(many)
    show.head("a site of three controllers and three computes; three members of etcd")
    first = many.push("the first page", text="first")
    for host in HOSTS:
        many.start(host)
    show.until("all converge to the first page", lambda: proved(many, first) == len(HOSTS))
    show.status()

    show.head("a good commit: one compute and one controller first, then controllers, then the rest; one at a time")
    second = many.push("the second page", text="second")
    show.until("all are proved at the second", lambda: proved(many, second) == len(HOSTS))
    show.status()

    show.head("a bad commit: it halts at the canary")
    many.push("a bad page", text="bad")
    show.until("it is halted", lambda: halted(many))
    told = show.status()
    failed = told.split("HALTED by ")[1].partition(":")[0]
    assert sorted(show.pages.values()).count("second") >= len(HOSTS) - 1, show.pages
    show.line(f"{failed} failed, every other host still serves the second page")

    show.head(f"the commit that mends it: {failed} first; a controller and a member of etcd are killed in the middle")
    third = many.push("the third page", text="third")
    show.until(f"{failed} has it", lambda: show.pages[failed] == "third")
    assert [host for host in HOSTS if show.pages[host] == "third"] == [failed], show.pages
    many.stop("ctl1", signal.SIGKILL)
    etcd.kill(0)
    show.line("kill -9: the daemon of ctl1, and one member of etcd")
    show.until("another host has it", lambda: sum(page == "third" for page in show.pages.values()) >= 2)
    show.status()
    many.start("ctl1")
    show.line("ctl1's daemon is started again")
    show.until("all are proved at the third", lambda: proved(many, third) == len(HOSTS))
    show.status()

    show.head("a maintenance: cmp2 is lent, healing elsewhere waits for it")
    show.line(many.run("cmp2", "fleet", "lend", "--reason", "a new disk").splitlines()[0])
    next((many.folder("cmp3") / "kolla").rglob("page.conf")).write_text("by hand\n")
    show.until("cmp3 waits", lambda: "WaitsForBudget" in many.run("cmp3", "status"))
    show.line("cmp3's file was changed by hand; its node waits, because healing restarts the container")
    show.line(many.run("cmp2", "fleet", "give-back").splitlines()[0])
    held = many.started("cmp3")
    show.until("cmp3 is healed", lambda: many.started("cmp3") != held)
    show.line("cmp3 was healed")
    show.head("that is all")


def main() -> int:
    url = engine.ensure("demo-fleet").url
    with closing(docker.DockerClient(base_url=url)) as client:
        build.busybox(client)
    try:
        _show(url)
    finally:
        engine.release("demo-fleet")
    return 0


def _show(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "etcd").mkdir()
        (Path(folder) / "many").mkdir()
        with (
            Cluster(Path(folder) / "etcd") as etcd,
            Many(Path(folder) / "many", url, HOSTS, etcd=etcd.urls, policy=POLICY) as many,
        ):
            play(many, etcd)


if __name__ == "__main__":
    sys.exit(main())
