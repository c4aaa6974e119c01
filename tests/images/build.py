"""Bring the genuine Kolla images into the engine: found there, pulled from their registry, or built.

    python -m tests.images.build [--release 2026.1] [--extra] [--set cloud] [--without IMAGE] [IMAGE …]

Safe to interrupt and to repeat: what is finished stays. Logs: `images/logs/` of the cache folder.
"""

import argparse
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import docker
import filelock
from docker import errors as docker_errors

from tests.images import kolla
from tests.support import engine, packages, paths

# What the demo and the scenario tests run, in the order in which the build is asked for them.
WANTED = (
    "cron",
    "memcached",
    "haproxy",
    "mariadb-server",
    "mariadb-clustercheck",
    "rabbitmq",
    "keystone",
    "keystone-fernet",
    "keystone-ssh",
)
EXTRA = ("keepalived", "glance-api")
# What a whole cloud runs beside that: `make demo-cloud` and its scenario.
CLOUD = (
    "glance-api",
    "placement-api",
    "nova-api",
    "nova-conductor",
    "nova-scheduler",
    "nova-compute",
    "nova-novncproxy",
    "neutron-server",
    "heat-api",
    "heat-api-cfn",
    "heat-engine",
    "horizon",
    "cinder-api",
    "cinder-scheduler",
    "cinder-volume",
    "barbican-api",
    "barbican-keystone-listener",
    "barbican-worker",
    "openvswitch-db-server",
    "openvswitch-vswitchd",
    "neutron-openvswitch-agent",
    "neutron-dhcp-agent",
    "neutron-l3-agent",
    "neutron-metadata-agent",
)
METAL = ("ironic-api", "ironic-conductor")
VIRT = ("nova-libvirt",)
ACME = ("haproxy-ssh", "letsencrypt-lego", "letsencrypt-webserver")
OVN = ("ovn-nb-db-server", "ovn-sb-db-server", "ovn-northd", "ovn-controller")
# What watches it, and stores that services coordinate by. Their programs are as Debian builds them (override.j2).
WATCH = (
    "prometheus-server",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "prometheus-mysqld-exporter",
    "prometheus-blackbox-exporter",
    "etcd",
    "valkey-server",
    "valkey-sentinel",
)
# Images that cannot be built from Debian's archive and PyPI alone, and why.
_VENDOR = "its program comes from its vendor's own package repository"
_BINARY = "its program is a binary of its project's own release page, and Debian does not build it"
IMPOSSIBLE = {
    **dict.fromkeys(("fluentd", "grafana", "opensearch", "opensearch-dashboards", "proxysql"), _VENDOR),
    **dict.fromkeys(("prometheus-memcached-exporter", "prometheus-cadvisor"), _BINARY),
}
# What a release of Kolla's has no image of any more.
GONE = {"2026.1": ("mariadb-clustercheck", "letsencrypt-webserver")}
SETS = {
    "core": WANTED,
    "extra": EXTRA,
    "cloud": CLOUD,
    "watch": WATCH,
    "metal": METAL,
    "virt": VIRT,
    "acme": ACME,
    "ovn": OVN,
}
# What `make test-all` wants of a release: of the first one all there is, of the next one what an upgrade goes to.
ALL = {
    kolla.FIRST.name: (*dict.fromkeys(image for images in SETS.values() for image in images), "kolla-toolbox"),
    kolla.NEXT.name: (
        *WANTED,
        *ACME,
        "etcd",
        "glance-api",
        "httpd",
        "placement-api",
        "nova-api",
        "nova-conductor",
        "nova-scheduler",
    ),
}
BUSYBOX = "reconciler-test/busybox:1"
THREADS = 2
BUILD_SECONDS = 75 * 60


def present(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has an image of this name."""
    try:
        client.images.get(name)
    except docker_errors.ImageNotFound:
        return False
    return True


def bring(
    images: Iterable[str] = WANTED, target: kolla.Target | None = None, release: kolla.Release = kolla.FIRST
) -> dict[str, str]:
    """Make the images available in the running engine; returns short name -> full name.

    What cannot be built does not keep the others from it. Raises kolla.BuildError, engine.EngineError or packages.PackagesMissing when they cannot be had.
    """
    target = target or kolla.default_target(release)
    names = {image: target.name(image) for image in images}
    found = engine.find()
    if found is None:
        raise engine.EngineError("no Docker Engine runs (start one: python -m tests.support.engine ensure)")
    with contextlib.closing(docker.DockerClient(base_url=found.url, timeout=600)) as client:
        busybox(client)
        with filelock.FileLock(paths.cache("images") / "lock", timeout=BUILD_SECONDS):
            absent = [image for image, name in names.items() if not present(client, name)]
            if absent and reachable(target.registry):
                absent = [image for image in absent if not _pulled(client, names[image])]
            if absent:
                _build(client, found.url, target, release, absent)
    return names


def busybox(client: docker.DockerClient) -> str:
    """The small plain image: Debian's static busybox with a link for each of its programs; returns its name."""
    if present(client, BUSYBOX):
        return BUSYBOX
    packages.install(["busybox-static"])
    binary = packages.which("busybox")
    if binary is None:
        raise packages.PackagesMissing("busybox is not installed")
    listing = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder in ("bin", "etc", "root", "tmp", "var", "run", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        archive.add(binary, arcname="bin/busybox")
        for program in listing:
            if program != "busybox":
                link = tarfile.TarInfo(f"bin/{program}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
            ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    repository, _, tag = BUSYBOX.rpartition(":")
    client.api.import_image_from_data(
        content.getvalue(), repository=repository, tag=tag, changes=['CMD ["/bin/sh"]', "ENV PATH=/bin"]
    )
    return BUSYBOX


def reachable(registry: str, seconds: float = 3.0) -> bool:
    """Whether the registry's name resolves and its port accepts a connection."""
    host, _, port = registry.partition(":")
    try:
        socket.create_connection((host, int(port or 443)), timeout=seconds).close()
    except (OSError, ValueError):
        return False
    return True


def _pulled(client: docker.DockerClient, name: str) -> bool:
    say(f"pull   {name}")
    try:
        client.images.pull(name)
    except docker_errors.APIError as error:
        say(f"       not pulled: {error.explanation or error}")
        return False
    return True


def _build(
    client: docker.DockerClient, url: str, target: kolla.Target, release: kolla.Release, images: list[str]
) -> None:
    reason = kolla.supported()
    if reason:
        raise kolla.BuildError(f"{target.registry} cannot be reached and {reason}")
    for image in images:
        if image in IMPOSSIBLE:
            raise kolla.BuildError(
                f"{image} cannot be built here: {IMPOSSIBLE[image]} (`--without {image}` leaves it out)"
            )
    cloud = bool({*images} & {*CLOUD, *METAL} - {*EXTRA})
    packages.install(["mmdebstrap"])
    logs = release.folder / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / "prepare.log"
    log.write_text("")
    say(
        f"build  {', '.join(images)}\n"
        f"  with kolla-build {release.kolla}; a set takes 10 to 30 minutes on 2 cores (logs: {logs})"
    )
    step("kolla's environment", lambda: kolla.environment(release, log))
    step("sources", lambda: kolla.sources(release, log, cloud=cloud))
    step("Debian base image", lambda: _import_base(client, release, kolla.base_tar(release, log)))
    config = kolla.configuration(release, target, THREADS, log, cloud=cloud)
    program = kolla.environment(release, log) / "bin" / "kolla-build"
    patterns = [f"^{image}$" for image in images]
    output = logs / "kolla-build.log"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [program, "--config-file", config, "--skip-existing", *patterns],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DOCKER_HOST": url},
            start_new_session=True,
        )
        try:
            _watch(client, target, images, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    absent = [image for image in images if not present(client, target.name(image))]
    if absent:
        raise kolla.BuildError(
            f"not built: {', '.join(absent)} (`--without NAME` leaves one out)\n{_failures(logs, output, absent)}"
        )


def _watch(
    client: docker.DockerClient, target: kolla.Target, images: list[str], process: subprocess.Popen[bytes]
) -> None:
    """Print a line when an image, or a parent of one, is there; return when kolla-build has ended."""
    started = time.monotonic()
    waiting = {name for name in ("base", "openstack-base", *images) if not present(client, target.name(name))}
    running = True
    while running:
        running = process.poll() is None
        for name in sorted(waiting):
            if present(client, target.name(name)):
                waiting.discard(name)
                say(f"  {name:<24} built after {time.monotonic() - started:4.0f} s")
        if time.monotonic() - started > BUILD_SECONDS:
            raise kolla.BuildError(f"kolla-build did not end within {BUILD_SECONDS // 60} minutes")
        time.sleep(2 if running else 0)


def _import_base(client: docker.DockerClient, release: kolla.Release, tar: Path) -> None:
    if not present(client, f"{kolla.BASE_IMAGE}:{release.debian}"):
        client.api.import_image_from_file(str(tar), repository=kolla.BASE_IMAGE, tag=release.debian)


def _failures(logs: Path, output: Path, absent: list[str]) -> str:
    """The end of the log of each image that failed, and of kolla-build's own."""
    parents = {"base", "openstack-base", *(f"{name.split('-')[0]}-base" for name in absent)}
    parts = [f"the end of {output}:\n{engine.tail(output)}"]
    for name in sorted({*absent, *parents}):
        log = logs / f"{name}.log"
        if log.exists() and "ERROR" in log.read_text(errors="replace"):
            parts.append(f"the end of {log}:\n{engine.tail(log)}")
    return "\n".join(parts)


def step(name: str, action: object) -> None:
    """Run one step of the preparation and print how long it took."""
    assert callable(action)
    started = time.monotonic()
    action()
    say(f"  {name:<24} ready after {time.monotonic() - started:4.0f} s")


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(prog="python -m tests.images.build")
    parser.add_argument("images", nargs="*", help=f"default: {' '.join(WANTED)}")
    parser.add_argument("--release", choices=kolla.RELEASES, default=kolla.FIRST.name)
    parser.add_argument("--extra", action="store_true", help=f"also {' '.join(EXTRA)}")
    parser.add_argument("--set", choices=(*SETS, "all"), action="append", default=[], help="several add up")
    parser.add_argument("--without", metavar="IMAGE", action="append", default=[], help="leave this one out")
    options = parser.parse_args(arguments)
    release = kolla.RELEASES[options.release]
    sets = {**SETS, "all": ALL[release.name]}
    asked = options.images or [image for name in options.set or ["core"] for image in sets[name]]
    without = {*options.without, *GONE.get(release.name, ())}
    wanted = [i for i in dict.fromkeys([*asked, *(EXTRA if options.extra else ())]) if i not in without]
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that kolla-build is ended too
    try:
        names = bring(wanted, release=release)
    except (kolla.BuildError, engine.EngineError, packages.PackagesMissing) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what is finished stays, run it again to go on", file=sys.stderr)
        return 130
    say(f"{len(names)} images are in the engine ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
