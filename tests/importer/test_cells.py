"""A cloud of kolla-ansible's with several cells of Nova: what its groups say comes over, and means the same."""

from pathlib import Path

from reconciler import site
from reconciler.importer.convert import Options
from reconciler.importer.types import Fate
from reconciler.render import render
from tests.importer.sources import SHIPPED, read
from tests.importer.test_convert import made
from tests.services import golden
from tests.support.paths import CHECKOUT

CLOUD = CHECKOUT / "tests/parity/sites/cells"
# What Kolla's own inventory has below these.
GROUPS = "".join(
    f"[{name}:children]\ncontrol\n" for name in ("nova-api", "nova-super-conductor", "rabbitmq", "mariadb")
)


def test_a_cloud_with_cells_comes_over_whole(tmp_path: Path) -> None:
    given = {str(path.relative_to(CLOUD)): path.read_text() for path in CLOUD.rglob("*") if path.is_file()}
    files = {"etc/globals.yml": given["globals.yml"], "inventory/hosts": given["inventory"] + GROUPS}
    files |= {f"inventory/{path}": text for path, text in given.items() if path.startswith("group_vars/")}
    hosts = ["ctl", "cc-east", "cc-west", "cmp-e1", "cmp-e2", "cmp-w1"]
    addresses = {(host, "network"): f"10.140.0.{number}" for number, host in enumerate(hosts, 11)}
    result = made(read(tmp_path, files), Options("hill", ("age1xyz",), addresses=addresses))
    assert not [one for one in result.entries if one.fate in (Fate.UNSUPPORTED, Fate.UNKNOWN)]

    text = {path: content.encode() for path, content in result.files.items() if not path.startswith(".")}
    imported = site.load({**text, "passwords.yml": golden.passwords(SHIPPED)}, SHIPPED)
    assert not [problem for problem in imported.warnings if "'east'" in problem.message]
    jobs = {
        host: {
            job.name: job.owner for job in render(imported, host, "r").jobs if "cell_" in job.name or "map" in job.name
        }
        for host in hosts
    }
    assert jobs["cc-west"] == dict.fromkeys(
        ("nova_cell_db_sync_west", "nova_cell_online_migration_west", "nova_map_cell_west"), "cc-west"
    )
    assert set(jobs["ctl"]) == {"nova_map_cell0"} and not jobs["cmp-w1"]
    registered = {one.id for one in render(imported, "cc-west", "r").registrations}
    assert registered == {
        "mariadb@nova_cell:database:far_west",
        "mariadb@nova_cell:grant:sheriff@%:far_west.*",
        "mariadb@nova_cell:user:sheriff@%",
    }
    conf = next(file for file in render(imported, "cmp-w1", "r").files if file.path == "nova-compute/nova.conf")
    assert "transport_url = rabbit://sheriff:<<secret:rabbitmq_password>>@10.140.0.91:5672/far_west" in conf.content
