"""The steps of the demo, in their order. Each shows what a program really printed, and checks what it claims."""

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import requests

from tests.demo import site
from tests.demo.bed import Bed, DemoFailed, Identity
from tests.demo.show import Show, short

FIRST, LATER = 600.0, 180.0
MISTAKE = "An address with a misspelt name"
_TOLD = ("create", "run")  # of a first convergence, what is worth a line each
Step = Callable[[Bed, Show], None]


def make_site(bed: Bed, show: Show) -> None:
    """A site"""
    show.say(
        f"A clone of an empty repository gets site-example/, fitted to this machine: one controller on {site.ADDRESS}, the cloud's address "
        f"{site.VIP}, passwords encrypted for the node's own ssh host key."
    )
    site.write(bed.site, bed.recipient, bed.config_root)
    show.command(f"cd {short(bed.site)}")
    show.command("reconciler secrets generate .")
    show.output(bed.call("reconciler", "secrets", "generate", "."))
    show.command("reconciler validate .")
    show.output(bed.call("reconciler", "validate", "."))
    show.command("reconciler plan --base nothing --no-diffs .")
    show.output(bed.call("reconciler", "plan", "--base", "nothing", "--no-diffs", "."), limit=6)
    bed.push("A control plane")
    show.command("git push --quiet origin main")
    url = bed.server.url("site.git")
    show.fact(f"{bed.head[:12]} is at {url}, which asks for a token; its certificate is of a private authority")


def converge(bed: Bed, show: Show) -> None:
    """The node converges"""
    show.say("The daemon, a process of its own, asks the Git server every 2 s (60 s by default).")
    begin(bed, show, FIRST)
    show.command("source ../openrc; openstack token issue -c expires -c project_id -c user_id")
    with show.waiting("asking the identity service"):
        show.output(_issue(bed))
    show.fact(f"Keystone issues tokens at http://{site.VIP}:5000, through haproxy")


def change(bed: Bed, show: Show) -> None:
    """A change: tokens that live for two hours"""
    before = bed.seen()
    site.append(bed.site / "config/keystone.conf", site.EXPIRATION)
    show.say("Two lines more in config/keystone.conf. What a merge request would show:")
    show.command("reconciler plan .")
    planned = bed.call("reconciler", "plan", ".")
    show.output(planned)
    bed.push("Tokens live for two hours")
    with show.waiting("converging"):
        seconds = converged(bed, LATER)
    changed = _changed(before, bed.seen())
    if changed != _restarted(planned):
        raise DemoFailed(
            f"the plan said that {', '.join(sorted(_restarted(planned)))} restart, and these changed: "
            f"{', '.join(sorted(changed)) or 'none'}"
        )
    show.fact(f"converged {seconds:.1f} s after the push; restarted, as planned: {', '.join(sorted(changed))}")
    show.fact(f"the other {len(before.keys() - changed)} containers kept their id, process id and start time")
    lifetime = _lifetime(bed)
    if abs(lifetime - 7200) > 5:
        raise DemoFailed(f"a new token lives for {lifetime:.0f} s, not 7200")
    show.fact(f"a new token lives for {lifetime:.0f} s")


def refuse(bed: Bed, show: Show) -> None:
    """A mistake is refused"""
    before = bed.seen()
    site.edit(bed.site / "globals.yml", site.RIGHT, site.WRONG)
    bed.push(MISTAKE)
    show.say(f"globals.yml now says {site.WRONG}, and was pushed without validating it first.")
    _event(bed, "the commit is refused", lambda e: e["event"] == "revision.refused" and e["revision"] == bed.head)
    show.command("reconciler status")
    with show.waiting("asking the node"):
        bed.wait("status tells the reason", lambda: site.WRONG in bed.call("reconciler", "status"), 30)
    show.output(bed.call("reconciler", "status"))
    if changed := _changed(before, bed.seen()):
        raise DemoFailed(f"these containers are not what they were: {', '.join(sorted(changed))}")
    show.fact(f"nothing was touched: {len(before)} containers with the same id, process id and start time")
    bed.git("revert", "--no-edit", "HEAD")
    bed.git("push", "--quiet", "origin", "main")
    bed.head = bed.git("rev-parse", "HEAD").strip()
    show.command("git revert --no-edit HEAD; git push")
    seconds = converged(bed, LATER)
    if changed := _changed(before, bed.seen()):
        raise DemoFailed(f"these containers are not what they were: {', '.join(sorted(changed))}")
    show.fact(f"accepted again {seconds:.1f} s later, with nothing to do")


def heal(bed: Bed, show: Show) -> None:
    """A container killed by hand"""
    before = bed.seen()
    show.command("docker kill memcached")
    with bed.engine() as client:
        if shutil.which("docker"):
            bed.call("docker", "kill", "memcached")
        else:
            client.kill("memcached")
        killed = time.monotonic()

        def state(field: str) -> Any:
            return client.inspect_container("memcached")["State"][field]

        with show.waiting("waiting for memcached"):
            bed.wait("memcached runs again", lambda: state("Running") and state("Pid") != before["memcached"].pid, 60)
            running = time.monotonic() - killed
            bed.wait("memcached is healthy", lambda: state("Health")["Status"] == "healthy", 120)
            healthy = time.monotonic() - killed
    show.fact(f"running again after {running:.1f} s, healthy after {healthy:.1f} s")
    with show.waiting("waiting for the report"):
        bed.wait("it is in the history", lambda: "memcached" in bed.call("reconciler", "history", "-n", "1"), 60)
    show.command("reconciler history -n 1")
    show.output(bed.call("reconciler", "history", "-n", "1"))
    show.command("reconciler events")
    show.output(bed.call("reconciler", "events"))
    if changed := _changed(before, bed.seen()) - {"memcached"}:
        raise DemoFailed(f"other containers changed, too: {', '.join(sorted(changed))}")
    show.fact("no other container was touched")


def statuses(bed: Bed, show: Show) -> None:
    """Commit statuses"""
    show.say("What the node posted to the stand-in for GitLab:")
    wanted = {"success": 2, "failed": 1}
    bed.wait(
        "a status for every commit",
        lambda: all(sum(row[2] == state for row in bed.posted()) >= count for state, count in wanted.items()),
        60,
    )
    last = ""
    for sha, subject, state, description in bed.posted():
        if sha != last:
            show.output(f"{sha[:8]}  {subject}")
        last = sha
        show.output(f"    {state:<8} {description}")
    failed = [subject for _, subject, state, _ in bed.posted() if state == "failed"]
    if failed != [MISTAKE]:
        raise DemoFailed(f"only the mistake fails, but these commits have that status: {', '.join(failed)}")
    if bed.forge.violations:
        raise DemoFailed("GitLab's API description does not allow this:\n" + "\n".join(bed.forge.violations[:5]))
    with bed.forge.lock:
        count = len(bed.forge.seen)
    show.fact(f"{count} requests and their answers checked against GitLab's OpenAPI description: none violates it")


STEPS: tuple[Step, ...] = (make_site, converge, change, refuse, heal, statuses)


# --- waiting and comparing ------------------------------------------------------------------------------------------


def action(event: dict[str, Any]) -> str:
    """The action that an event is about: `create:keystone`; empty when it is about none."""
    return str(event.get("action", ""))


def _event(bed: Bed, what: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60) -> float:
    return bed.wait(what, lambda: any(map(wanted, bed.events())), seconds)


def begin(bed: Bed, show: Show, limit: float) -> None:
    """Start the daemon and wait for its first convergence, telling what is done. Raises DemoFailed after `limit` seconds."""
    pushed = time.monotonic()
    pid = bed.start_daemon()
    show.command(f"reconciler run  # process {pid}, with {short(bed.config)}")
    with show.waiting("converging"):
        seconds = converged(bed, limit, lambda event: told(event, show, pushed))
    counts = Counter(action(e).partition(":")[0] for e in bed.events() if e["event"] == "action.done")
    show.output(", ".join(f"{count} {verb}" for verb, count in counts.items()))
    seen = bed.seen()
    if absent := set(bed.plot.containers) - seen.keys():
        raise DemoFailed(f"these containers do not run: {', '.join(sorted(absent))} (see {bed.root}/daemon.log)")
    show.fact(f"{len(seen)} containers converged {seconds:.0f} s after the daemon was started")
    bed.write_openrc()


def converged(bed: Bed, seconds: float, tell: Callable[[dict[str, Any]], None] | None = None) -> float:
    """Wait until a pass found the node to be as HEAD says; `tell` hears of every event once."""
    told = len(bed.events())

    def ready() -> bool:
        nonlocal told
        fresh = bed.events()[told:]
        told += len(fresh)
        for event in fresh:
            if tell:
                tell(event)
        return any(
            e["event"] == "cycle.finished" and e["revision"] == bed.head[:12] and e["ready"] is True
            for e in bed.events()
        )

    return bed.wait(f"the node converges to {bed.head[:12]}", ready, seconds)


def told(event: dict[str, Any], show: Show, start: float) -> None:
    """A line for what counts in a first convergence, and for everything that failed."""
    verb, _, target = action(event).partition(":")
    if event["event"] == "action.done" and verb in _TOLD:
        done = "healthy" if verb == "create" else "job done"
        show.output(f"{time.monotonic() - start:5.1f} s  {target:<24} {done}")
    elif event["event"] in ("action.failed", "action.rolled-back"):
        show.failure(f"{action(event)}: {event.get('message', '')}")


def _changed(before: dict[str, Identity], after: dict[str, Identity]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _restarted(plan: str) -> set[str]:
    return set(re.findall(r"^ +(?:restart|create|replace) +(\w+) ", plan, re.MULTILINE))


def _issue(bed: Bed) -> str:
    command = f". {bed.root}/openrc; openstack token issue -c expires -c project_id -c user_id"
    return bed.call("bash", "-c", command, seconds=120)


def _lifetime(bed: Bed) -> float:
    """How long a new token lives, in seconds, as Keystone says."""
    found = dict(re.findall(r"^export (\w+)='?([^'\n]*)", (bed.root / "openrc").read_text(), re.MULTILINE))
    domain = {"name": "Default"}
    user = {"name": found["OS_USERNAME"], "password": found["OS_PASSWORD"], "domain": domain}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    answer = requests.post(f"{found['OS_AUTH_URL']}/auth/tokens", json=body, timeout=60)
    answer.raise_for_status()
    token = answer.json()["token"]
    stamps = [time.mktime(time.strptime(token[key][:19], "%Y-%m-%dT%H:%M:%S")) for key in ("expires_at", "issued_at")]
    return stamps[0] - stamps[1]
