"""The steps of the demo of the whole cloud, in their order. Each checks what it claims."""

import time
from collections.abc import Callable
from typing import Any

from tests.demo.bed import Bed, DemoFailed
from tests.demo.show import Show, short
from tests.demo.steps import begin, converged, told
from tests.demo_cloud import cloud, dashboard, monitoring, site
from tests.review.browser import browser, missing

FIRST, LATER = 1800.0, 900.0  # seconds
URL = f"http://{site.VIP}"


def make_site(bed: Bed, show: Show) -> None:
    """A site"""
    show.say(
        f"`reconciler init` makes a site of one host, {site.HOST} with the address {site.ADDRESS}; the cloud is reached under {site.VIP}. "
        "globals.yml switches on block storage and keys; nova's fake driver takes the place of a hypervisor, a folder that of an NFS share."
    )
    words = site.init(bed.host_key.with_suffix(".pub"))
    show.command(f"reconciler {' '.join(words[:-3])} {short(bed.site)}")
    show.output(bed.call("reconciler", *words, str(bed.site)), limit=4)
    site.complete(bed.site, bed.config_root)
    show.command("reconciler validate .")
    show.output(bed.call("reconciler", "validate", ".").splitlines()[-1])
    site.edit(bed.config, "config_roots = ", f"{site.CONSENT}config_roots = ")
    bed.push("A whole cloud")
    show.fact(f"{bed.head[:12]} is at {bed.server.url('site.git')}")


def converge(bed: Bed, show: Show) -> None:
    """The node converges"""
    begin(bed, show, FIRST)


def use(bed: Bed, show: Show) -> None:
    """What users do"""
    with cloud.connect(bed.root / "openrc") as user:
        name, state = user.ready_compute()
        show.fact(f"the cell has the compute {name} ({state}), and placement knows it")
        made, written = user.made(site.MADE), (bed.config_root / "heat-engine/heat.conf").read_text()
        if absent := [what for what, identifier in made.items() if f"{what} = {identifier}\n" not in written]:
            raise DemoFailed(f"heat.conf lacks the identifier of {', '.join(absent)}")
        show.fact(
            f"the commit made a flavor, a network, a subnet and a security group; heat.conf has their identifiers: {made['network']} …"
        )
        image, digest = user.image()
        show.fact(f"an image of {image.size} bytes came back as it was sent (SHA-256 {digest[:16]}…)")
        network, subnet, port = user.network()
        show.fact(f"network {network.name}, subnet {subnet.cidr}, port {port.fixed_ips[0]['ip_address']}")
        began = time.monotonic()
        server = user.server(image, port)
        show.fact(
            f"server {server.name} is {server.status} after {time.monotonic() - began:.1f} s, on {server.compute_host}"
        )
        stack = user.stack()
        show.fact(f"stack {stack.name} is {stack.status}: a word, a network and its subnet")
        volume = user.volume()
        show.fact(f"volume {volume.name} of {volume.size} GiB is {volume.status}")
        secret, length = user.secret()
        show.fact(f"secret {secret.name} of {length} characters came back as it was sent")


def look(bed: Bed, show: Show) -> None:
    """The dashboard, in a browser"""
    if absent := missing():
        raise DemoFailed(f"no browser: install {absent}")
    password = bed.secret("keystone_admin_password")
    with browser() as window:
        window.screen(1280, 800)
        dashboard.log_in(window, URL, "admin", password)
        names = dashboard.servers(window, URL)
        if names != ["first"]:
            raise DemoFailed(f"the dashboard lists the servers {', '.join(names) or 'none'}")
        (bed.root / "dashboard.png").write_bytes(window.picture())
    show.fact(f"somebody logged in at {URL} and sees the server; the picture is {short(bed.root / 'dashboard.png')}")


def watch(bed: Bed, show: Show) -> None:
    """The cloud is watched"""
    site.watched(bed.site)
    bed.push("Watched, and coordinated")
    show.say(
        "A second commit: Prometheus with exporters and Alertmanager, etcd and Valkey. Whatever does not answer is an alert."
    )
    with show.waiting("converging"):
        seconds = converged(bed, LATER, lambda event: told(event, show, time.monotonic()))
    if absent := set(site.WATCHING) - bed.seen().keys():
        raise DemoFailed(f"these containers do not run: {', '.join(sorted(absent))}")
    show.fact(f"{len(bed.seen())} containers, converged {seconds:.0f} s after the push")
    watcher = monitoring.Watcher(site.ADDRESS, bed.secret)
    targets = bed_wait(bed, "every target of Prometheus is up", watcher.all_up)
    show.fact(f"{len(targets)} targets are up: {', '.join(sorted({job for job, _ in targets}))}")
    show.command("reconciler suspend --reason demo; docker stop prometheus_mysqld_exporter")
    bed.call("reconciler", "suspend", "--reason", "demo")
    with bed.engine() as client:
        client.stop("prometheus_mysqld_exporter")
    began = time.monotonic()
    alert = bed_wait(bed, "an alert", lambda: watcher.alerts("NobodyAnswers"))[0]
    show.fact(f"Alertmanager has {alert['alertname']} of {alert['job']} after {time.monotonic() - began:.0f} s")
    show.command("reconciler resume")
    bed.call("reconciler", "resume")
    began = time.monotonic()
    bed_wait(bed, "the alert is resolved", lambda: not watcher.alerts("NobodyAnswers"))
    show.fact(f"the daemon started it again, and the alert was resolved {time.monotonic() - began:.0f} s later")


def bed_wait(bed: Bed, what: str, found: Callable[[], Any], seconds: float = 300) -> Any:
    """What is found, in the end."""
    last: list[Any] = []

    def ready() -> bool:
        last[:] = [found()]
        return bool(last[0])

    bed.wait(what, ready, seconds)
    return last[0]


def rest(bed: Bed, show: Show) -> None:
    """Nothing changed means nothing done"""
    before = bed.seen()
    started = time.monotonic()
    show.command("reconciler reconcile")
    show.output(bed.call("reconciler", "reconcile", seconds=300), limit=4)
    if bed.seen() != before:
        raise DemoFailed("a pass with nothing to do changed containers")
    show.fact(f"{len(before)} containers kept their id, process id and start time ({time.monotonic() - started:.1f} s)")


STEPS = (make_site, converge, use, look, watch, rest)
