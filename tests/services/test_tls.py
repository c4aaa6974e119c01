"""TLS behind the load balancer: whose certificate a service shows, and who sees its private key."""

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import render
from reconciler.render.tokens import SecretRef
from tests.services import golden
from tests.support import sealed

SITE = golden.HERE / "one_node" / "site"
GLOBALS = 'kolla_enable_tls_backend: "yes"\nenable_proxysql: "yes"\nkolla_copy_ca_into_containers: "yes"\n'
KEYS = ("backend", "keystone")
FILES = {
    "config/certificates/ca/root.crt": b"the authority\n",
    "config/certificates/backend-cert.pem": b"of all\n",
    "config/certificates/keystone-cert.pem": b"of keystone\n",
    "config/certificates/aio/glance-cert.pem": b"of glance here\n",
    **{f"config/certificates/{name}-key.pem": sealed.whole(name).encode() for name in KEYS},
}


def desired(files: dict[str, bytes], more: str = "") -> Desired:
    said = (SITE / "globals.yml").read_text().replace('enable_proxysql: "no"\n', "") + GLOBALS + more
    return render(golden.load(SITE, {"globals.yml": said.encode(), **files}), "aio", "0" * 40)


def test_the_first_certificate_that_is_found_counts() -> None:
    files = {file.path: file.content for file in desired(FILES).files}
    assert files["keystone/keystone-cert.pem"] == "of keystone\n"
    assert files["mariadb/mariadb-cert.pem"] == files["proxysql/mariadb-cert.pem"] == "of all\n"
    assert files["glance-tls-proxy/glance-cert-and-key.pem"].startswith("of glance here\n")
    on_the_host = {**FILES, "config/certificates/aio-cert.pem": b"of the host\n"}
    files = {file.path: file.content for file in desired(on_the_host).files}
    assert files["keystone/keystone-cert.pem"] == "of the host\n"
    assert files["glance-tls-proxy/glance-cert-and-key.pem"].startswith("of glance here\n")


def test_a_private_key_stays_a_secret_and_goes_only_where_it_is_used() -> None:
    made = desired(FILES)
    running = {container.name for container in made.containers}
    found = [file for file in made.files if file.container in running]  # a job has what its container has
    assert {file.path for file in found if file.secrets and file.path.endswith(".pem")} == {
        "glance-tls-proxy/glance-cert-and-key.pem",
        "keystone/keystone-key.pem",
        "mariadb/mariadb-key.pem",
        "proxysql/mariadb-key.pem",
    }
    assert isinstance(next(file.content for file in found if file.path == "keystone/keystone-key.pem"), SecretRef)
    assert {file.mode for file in found if file.path.endswith(("keystone-key.pem", "mariadb-key.pem"))} == {0o600}


def test_authorities_are_in_every_container_that_speaks_to_others() -> None:
    found = {file.path for file in desired(FILES).files}
    assert {f"{name}/ca-certificates/root.crt" for name in ("keystone", "glance-api", "haproxy", "proxysql")} <= found


def test_a_service_without_a_certificate_is_refused_with_the_places_where_one_may_be() -> None:
    without = {path: content for path, content in FILES.items() if not path.endswith("backend-cert.pem")}
    with pytest.raises(SiteInvalid) as error:
        desired(without)
    text = "\n".join(map(str, error.value.problems))
    assert (
        "config/certificates/backend-cert.pem:1:1: is missing (write it, or let `reconciler certificates` make it"
        in text
    )
    assert "config/certificates/aio/mariadb-cert.pem or config/certificates/aio-cert.pem" in text
    assert len(error.value.problems) == 1, "for all services at once"
    assert "keystone-cert.pem" not in text.replace("certificates/keystone-cert.pem", "")


INSIDE = 'kolla_enable_tls_internal: "yes"\ndatabase_enable_tls_internal: "yes"\nopenstack_cacert: /etc/ca.crt\n'
INTERNAL = {
    **FILES,
    "config/certificates/proxysql-cert.pem": b"of proxysql\n",
    "config/certificates/proxysql-key.pem": sealed.whole("proxysql").encode(),
    "config/certificates/aio/glance-key.pem": sealed.whole("glance").encode(),
}


@pytest.mark.parametrize(
    ("release", "over"),
    [
        ("2025.1", {"keystone", "keystone-fernet"}),
        ("2026.1", {"keystone", "keystone-fernet", "glance-api", "barbican-api", "heat-api", "heat-engine"}),
    ],
)
def test_since_2026_1_every_service_asks_the_database_over_tls(release: str, over: set[str]) -> None:
    more = f'{INSIDE}enable_barbican: "yes"\nenable_heat: "yes"\nopenstack_release: "{release}"\n'
    made = desired(INTERNAL, more)
    running = {container.name.replace("_", "-") for container in made.containers}
    asking = {
        file.path.partition("/")[0]: str(file.content)
        for file in made.files
        if "\nconnection = mysql" in str(file.content)
    }
    found = {name for name, text in asking.items() if name in running and "?ssl_ca=/etc/ca.crt\n" in text}
    assert over <= found
    assert found == (over if release == "2025.1" else asking.keys() & running)


def test_since_2026_1_glance_speaks_tls_itself() -> None:
    made = desired(INTERNAL, 'openstack_release: "2026.1"\n')
    files = {file.path: str(file.content) for file in made.files}
    (glance,) = (container for container in made.containers if container.service == "glance")
    assert glance.name == "glance_api" and glance.healthcheck is not None
    assert "https://" in glance.healthcheck.test[1] and ":9292/" in glance.healthcheck.test[1]
    assert (
        ":9292,/etc/glance/certs/glance-cert.pem,/etc/glance/certs/glance-key.pem"
        in files["glance-api/glance-api-uwsgi.ini"]
    )
    assert files["glance-api/glance-cert.pem"] == "of glance here\n" and "glance-api/glance-key.pem" in files
    servers = [
        line for line in files["haproxy/services.d/glance-api.cfg"].splitlines() if line.strip().startswith("server ")
    ]
    assert servers and all(" ssl verify required " in line for line in servers)
