"""Services of Kolla's that the catalogue may not have yet."""

from collections.abc import Collection

# What Kolla has a switch `enable_…` for, by the first word; those that the catalogue has are told apart when it is asked.
KOLLA_SERVICES = frozenset((
    "aodh", "barbican", "bifrost", "blazar", "ceilometer", "cinder", "cloudkitty", "collectd", "cyborg", "designate",
    "etcd", "fluentd", "gnocchi", "grafana", "hacluster", "heat", "horizon", "influxdb", "ironic", "iscsid", "kuryr",
    "letsencrypt", "magnum", "manila", "masakari", "mistral", "multipathd", "neutron", "nova", "octavia",
    "opensearch", "openvswitch", "ovn", "ovs", "placement", "prometheus", "proxysql", "redis", "sahara", "senlin",
    "skyline", "swift", "tacker", "telegraf", "trove", "valkey", "venus", "vitrage", "watcher", "zun",
))  # fmt: skip


def later(services: Collection[str]) -> frozenset[str]:
    """Those that a catalogue with these services does not have."""
    return KOLLA_SERVICES.difference(services)


def not_yet(service: str, services: Collection[str]) -> str:
    """What to do about something of a service that a catalogue with these services does not have; "" where it is none of Kolla's, or there."""
    if service not in later(services):
        return ""
    return f"{service} is not in the catalogue yet: remove it, or bring it as a service of your own below services/"
