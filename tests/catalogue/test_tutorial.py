"""The service that docs/services.md ports works as it stands there."""

import re
from pathlib import Path

from reconciler.render import render
from tests.render.sites import container, file, job
from tests.services import golden

GUIDE = Path(__file__).parents[2] / "docs" / "services.md"
FILE = re.compile(r"^<!-- (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_service_of_the_guide_renders_on_the_shipped_catalogue() -> None:
    services = {path: text.encode() for path, text in FILE.findall(GUIDE.read_text())}
    assert sorted(services) == [
        f"placement/{name}" for name in ("service.yml", "templates/placement.conf.j2", "variables.yml")
    ]
    services["placement/templates/placement-api-wsgi.conf.j2"] = b"Listen {{ placement_api_listen_port }}\n"
    files = {"config/placement/placement-api.conf": b"[api]\nauth_strategy = keystone\n"}
    folder = golden.HERE / "one_node" / "site"
    files["globals.yml"] = folder.joinpath("globals.yml").read_bytes() + b"enable_placement: true\n"
    site = golden.load(folder, files, services)
    desired = render(site, "aio", "r")
    made = container(desired, "placement_api")
    assert made.image == "quay.io/openstack.kolla/placement-api:2025.1-debian-bookworm"
    assert made.healthcheck and made.healthcheck.test[1].endswith(":8780")
    assert {"keystone", "mariadb"} <= set(made.depends_on)
    assert job(desired, "placement_db_sync").owner == "aio"
    text = file(desired, "placement-api/placement.conf").content
    assert "auth_strategy = keystone" in text
    assert "debug = False" in text
    assert file(desired, "placement-api/placement.conf").secrets == ("placement_database_password",)
    assert ("keystone", "service", "placement") in {(one.kind, one.type, one.key) for one in desired.registrations}
