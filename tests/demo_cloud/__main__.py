"""`python -m tests.demo_cloud run` makes a whole cloud on this machine and uses it; `clean` removes everything that it made."""

import sys

from tests.demo import stage
from tests.demo.bed import Plot
from tests.demo_cloud import site, steps

_API = (80, 5000, 6080, 8000, 8004, 8774, 8775, 8776, 8780, 9292, 9311, 9696)
PLAY = stage.Play(
    target="demo-cloud",
    module="tests.demo_cloud",
    plot=Plot(
        "demo-cloud",
        site.NAME,
        site.HOST,
        site.VIP,
        site.CONTAINERS,
        site.VOLUMES,
        {
            "127.0.0.1": (4369, 6633, 6640),  # Erlang's name service; the switch, its agent and its database
            site.ADDRESS: (1984, 3306, 4567, 4569, 5672, 8023, 9101, 11211, 15672, 25672, 61313, *_API),
            site.VIP: (3306, 15672, 61313, *_API),
        },
        ("ovs-netdev", "br-int"),
    ),
    steps=steps.STEPS,
    look=(
        "openstack server list",
        "openstack network agent list; openstack compute service list",
        "openstack image list; openstack volume list",
        f"# the dashboard: http://{site.VIP}, user admin, password $OS_PASSWORD",
        "reconciler status; reconciler history",
    ),
)

if __name__ == "__main__":
    sys.exit(stage.main(PLAY))
