"""What a service does where the site says little: what its defaults hang together with, and what is refused because nothing could come of it."""

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from tests.services import golden

IDENTIFIERS = 'octavia_auto_configure: "no"\noctavia_amp_flavor_id: f\noctavia_amp_boot_network_list: n\n'


def octavia(more: str, files: dict[str, bytes] | None = None) -> Desired:
    return golden.saying("volumes", "aio", more, files)


def text(made: Desired, path: str) -> str:
    (found,) = (str(file.content) for file in made.files if file.path == path)
    return found


def mounted(made: Desired, name: str) -> set[str]:
    (found,) = (container for container in made.containers if container.name == name)
    return {mount.source for mount in found.mounts}


# --- Octavia


def test_amphorae_are_provided_for_unless_the_site_does_it() -> None:
    said = (golden.HERE / "volumes" / "site" / "globals.yml").read_text()
    left_out = said.replace('octavia_auto_configure: "yes"\n', "")
    assert "octavia_auto_configure" not in left_out
    made = golden.saying("volumes", "aio", "", {"globals.yml": left_out.encode()})
    assert {"nova:flavor:amphora", "neutron:network:lb-mgmt-net"} <= {item.id for item in made.registrations}
    assert "amp_flavor_id = <<id:" in text(made, "octavia-worker/octavia.conf")


def test_without_one_of_their_identifiers_the_site_is_refused() -> None:
    with pytest.raises(SiteInvalid) as failed:
        octavia('octavia_auto_configure: "no"\n')
    assert ["octavia_amp_boot_network_list" in str(one) for one in failed.value.problems].count(True) == 1
    with pytest.raises(
        SiteInvalid, match="no load balancer can be made without amp_secgroup_list: say octavia_auto_configure"
    ):
        octavia(IDENTIFIERS)
    assert "amp_secgroup_list = s" in text(
        octavia(f"{IDENTIFIERS}octavia_amp_secgroup_list: s\n"), "octavia-worker/octavia.conf"
    )


@pytest.mark.parametrize("path", ["octavia.conf", "octavia/octavia-worker.conf", "octavia/aio/octavia.conf"])
def test_they_may_be_in_a_file_of_the_sites_own(path: str) -> None:
    own = {f"config/{path}": b"[controller_worker]\namp_secgroup_list = s\n"}
    assert "amp_secgroup_list = s" in text(octavia(IDENTIFIERS, own), "octavia-worker/octavia.conf")


def test_without_amphorae_nobody_asks_for_them() -> None:
    more = 'octavia_provider_drivers: "ovn:OVN provider"\noctavia_auto_configure: "no"\nenable_octavia_jobboard: "no"\n'
    assert "amp_flavor_id" not in text(octavia(more), "octavia-worker/octavia.conf")


def test_workers_ask_the_sentinels_by_the_name_that_these_have() -> None:
    made = octavia('enable_octavia_jobboard: "yes"\nenable_valkey: "yes"\nvalkey_sentinel_monitor_name: cloud\n')
    assert "jobboard_redis_sentinel = cloud\n" in text(made, "octavia-worker/octavia.conf")
    assert "sentinel monitor cloud " in text(made, "valkey-sentinel/valkey.conf")


# --- Nova's volumes


@pytest.mark.parametrize("backend", ["nfs", "quobyte"])
def test_volumes_that_are_mounted_are_seen_by_libvirt(backend: str) -> None:
    more = f'enable_cinder: "yes"\nenable_cinder_backend_{backend}: "yes"\n'
    made = golden.saying(
        "compute", "cmp", more, {"config/nfs_shares": b"192.0.2.9:/volumes\n"} if backend == "nfs" else {}
    )
    for name in ("nova_compute", "nova_libvirt", "nova_ssh"):
        assert "/var/lib/nova/mnt" in mounted(made, name), name


def test_a_libvirt_of_the_hosts_own_finds_ceph() -> None:
    def files(more: str, own: dict[str, bytes] | None = None) -> dict[str, str]:
        made = golden.saying("compute", "cmp", more, own)
        return {one.name: one.fields["content"] for one in made.host_settings if one.kind == "file"}

    assert "/etc/ceph/ceph.conf" not in files("")
    own = 'enable_nova_libvirt_container: "no"\n'
    assert "mon_host" in files(own)["/etc/ceph/ceph.conf"]
    assert "mine" in files(own, {"config/nova/cmp/ceph.conf": b"[global]\nmine = 1\n"})["/etc/ceph/ceph.conf"]
    other = {"config/nova/other.conf": b"[global]\nfsid = 1\n", "config/nova/other.client.cinder.keyring": b"k"}
    assert "/etc/ceph/other.conf" in files(f"{own}ceph_cluster: other\n", other)


# --- the dashboard


@pytest.mark.parametrize(
    ("release", "haproxy", "tls", "port", "user"),
    [
        ("2026.1", "yes", "no", 8080, "horizon"),
        ("2026.1", "no", "no", 80, "root"),
        ("2026.1", "no", "yes", 443, "root"),
        ("2025.1", "yes", "no", 80, ""),
        ("2025.1", "no", "no", 80, ""),
    ],
)
def test_without_a_load_balancer_the_dashboard_is_where_users_look(
    release: str, haproxy: str, tls: str, port: int, user: str
) -> None:
    more = f'openstack_release: "{release}"\nenable_horizon: "yes"\nenable_haproxy: "{haproxy}"\nhorizon_enable_tls_backend: "{tls}"\n'
    pair = {f"config/certificates/backend-{part}.pem": b"pem" for part in ("cert", "key")}
    made = golden.saying("one_node", "aio", more, pair)
    (horizon,) = (container for container in made.containers if container.name == "horizon")
    assert horizon.healthcheck and horizon.healthcheck.test[-1].endswith(f":{port}")
    if user:
        lines = text(made, "horizon/horizon-uwsgi.ini").splitlines()
        assert f"uid = {user}" in lines and [
            line for line in lines if line.startswith(("http =", "https =")) and f":{port}" in line
        ]
