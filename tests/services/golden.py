"""Golden renders of the catalogue: `<case>/site` is what goes in, `<case>/expected` what came out and was reviewed.

`python -m tests.services.golden` writes the expected files anew; read the difference before you commit it. Secrets are tokens
throughout: passwords.yml is made up of the names that the catalogue declares.
"""

import difflib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from reconciler import catalogue, site
from reconciler.codec import to_json
from reconciler.model import Desired
from reconciler.render import render
from tests.support import sealed

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "services"
EXAMPLE = HERE.parents[1] / "site-example"
# Case → the hosts whose render is kept, each with the folders of the config root that are (None: all).
CASES: Mapping[str, Mapping[str, tuple[str, ...] | None]] = {
    "one_node": {"aio": None},
    "keys": {
        "aio": ("barbican-api", "barbican-keystone-listener", "keystone", "placement-api"),
        "hsm": ("barbican-worker",),
    },
    "compute": {
        "ctl": (
            "neutron-dhcp-agent",
            "neutron-server",
            "nova-api",
            "nova-conductor",
            "nova-map-cell",
        ),
        "cmp": ("nova-compute", "nova-libvirt"),
    },
    "cells": {
        "ctl": (
            "haproxy",
            "nova-api",
            "nova-conductor",
            "nova-map-cell",
            "nova-map-cell0",
            "nova-super-conductor",
            "proxysql",
        ),
        "west-1": ("nova-cell-db-sync-west", "nova-conductor", "nova-map-cell-west", "nova-novncproxy"),
        "west-cmp": ("nova-compute",),
    },
    "ovn": {
        "ctl": ("neutron-ovn-metadata-agent", "ovn-nb-db", "ovn-nb-db-create"),
        "db": ("ovn-nb-db-create", "ovn-sb-db-relay-1"),
        "cmp": ("ovn-controller",),
    },
    "monitoring": {
        "mon-1": (
            "grafana",
            "prometheus-alertmanager",
            "prometheus-blackbox-exporter",
            "prometheus-openstack-exporter",
            "prometheus-server",
        ),
        "ctl-1": (
            "opensearch",
            "opensearch-dashboards",
            "opensearch-retention",
            "prometheus-mysqld-exporter",
            "prometheus-node-exporter",
        ),
    },
    "volumes": {
        "aio": (
            "heat-api",
            "heat-api-cfn",
            "heat-engine",
            "horizon",
            "cinder-api",
            "iscsid",
            "multipathd",
            "ironic-api",
            "ironic-conductor",
            "ironic-inspector",
            "ironic-dnsmasq",
            "ironic-http",
            "ironic-tftp",
            "magnum-conductor",
            "octavia-api",
            "octavia-worker",
            "manila-share",
            "designate-worker",
            "designate-backend-bind9",
            "designate-mdns",
        ),
        "vol": ("cinder-volume", "cinder-backup"),
    },
    "letsencrypt": {
        "lb-1": ("fluentd", "haproxy", "haproxy-ssh", "letsencrypt-lego", "letsencrypt-webserver"),
        "lb-2": ("letsencrypt-lego",),
    },
    "three_nodes": {
        "ctl-a": (
            "mariadb",
            "mariadb-bootstrap",
            "rabbitmq",
            "keystone",
            "keystone-fernet",
            "keystone-ssh",
            "memcached",
            "etcd",
            "valkey-server",
            "valkey-sentinel",
        ),
        "lb-2": ("haproxy", "keepalived", "proxysql", "fluentd"),
        "cmp-1": None,
    },
}


def read(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def load(
    folder: Path, files: Mapping[str, bytes] | None = None, services: Mapping[str, bytes] | None = None
) -> site.Site:
    """The site in a folder, over the catalogue that ships, with a ciphertext for every secret that can be generated.

    `files` are put over those of the site, `services` are whole folders, in the place of the catalogue's.
    """
    replaced = {path.partition("/")[0] for path in services or {}}
    kept = {path: content for path, content in read(SHIPPED).items() if path.partition("/")[0] not in replaced}
    shipped = catalogue.load({**kept, **(services or {})}, "catalogue")
    return site.load({**read(folder), **(files or {}), "passwords.yml": passwords(shipped)}, shipped)


def passwords(shipped: catalogue.Catalogue) -> bytes:
    """A file with a ciphertext for every secret of a catalogue that can be generated."""
    secrets: dict[str, Any] = {}
    for name, declared in sorted(shipped.passwords().items()):
        pair = {"private_key": "private", "public_key": "public"}
        secrets[name] = pair if declared["kind"] == "ssh_key" else name
    return sealed.text(secrets).encode()


# Release → the one before, which its golden is the difference from: what differs between releases is said, and reviewed, once.
RELEASES: Mapping[str, str] = {"2026.1": "2025.1"}
RELEASED = ("one_node", "aio")


def desired(case: str, host: str, release: str = "") -> Desired:
    """The desired state of a host of a case; `release`: of another release of OpenStack than the catalogue's default."""
    site = HERE / case / "site"
    said = (site / "globals.yml").read_bytes() + f'openstack_release: "{release}"\n'.encode()
    return render(load(site, {"globals.yml": said} if release else None), host, "0" * 40)


def saying(case: str, host: str, more: str, files: Mapping[str, bytes] | None = None) -> Desired:
    """A host of a case where globals.yml says `more` in the place of what it says of the same variables; `files` as for `load`."""
    folder = HERE / case / "site"
    taken = {line.partition(":")[0] for line in more.splitlines()}
    own = [line for line in (folder / "globals.yml").read_text().splitlines() if line.partition(":")[0] not in taken]
    return render(load(folder, {"globals.yml": "\n".join((*own, more)).encode(), **(files or {})}), host, "0" * 40)


def between(before: str, after: str) -> str:
    """What one release changes of the other, as a unified diff of everything that is rendered."""
    case, host = RELEASED
    old, new = (dict(outcome(desired(case, host, release), None)) for release in (before, after))
    lines: list[str] = []
    for path in sorted({*old, *new}):
        texts = [content.splitlines() for content in (old.get(path, ""), new.get(path, ""))]
        lines += difflib.unified_diff(*texts, f"{before}/{path}", f"{after}/{path}", lineterm="", n=1)  # type: ignore[arg-type, call-arg]
    return "\n".join(lines) + "\n"


def released(release: str) -> Path:
    """Where the golden of a release is."""
    return HERE / RELEASED[0] / f"{release}.diff"


def outcome(found: Desired, folders: tuple[str, ...] | None) -> Iterator[tuple[str, str]]:
    """Path and text of what is kept of a render: its files, and `state.yml` with the rest.

    A job has all files of its container beside its own: only its own are kept.
    """
    jobs = {job.name: job.container.config_directory for job in found.jobs}
    contents = {(Path(file.path).name, file.content) for file in found.files if file.container not in jobs}
    for file in found.files:
        folder = file.path.split("/")[0]
        own = file.container not in jobs or (Path(file.path).name, file.content) not in contents
        if own and (folders is None or folder in folders):
            yield file.path, file.content
    state = json.loads(json.dumps(to_json(found)))
    for container in state.get("containers", ()):
        if script := container.get("validation", {}).get("script"):
            container["validation"]["script"] = script.splitlines()[0]
    state["files"] = {
        file.path: {
            key: value for key, value in to_json(file).items() if key not in ("path", "content", "container", "service")
        }
        for file in found.files
        if file.container not in jobs and (folders is None or file.path.split("/")[0] in folders)
    }
    # The groups of a host are those of the whole catalogue.
    for name in ("secrets", "policy", "site", "revision", "groups"):
        state.pop(name, None)
    yield "state.yml", yaml.safe_dump(state, sort_keys=False, width=120, allow_unicode=True)


def main() -> None:
    """Write every expected file."""
    for case, hosts in CASES.items():
        for host, folders in hosts.items():
            target = HERE / case / "expected" / host
            shutil.rmtree(target, ignore_errors=True)
            for path, content in outcome(desired(case, host), folders):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_text(content)
            print(target.relative_to(HERE), file=sys.stderr)
    for release, before in RELEASES.items():
        released(release).write_text(between(before, release))


if __name__ == "__main__":
    main()
