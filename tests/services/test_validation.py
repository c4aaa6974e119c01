"""A configuration that the image's own checker refuses: said by that checker, before anything of it is put to use."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import docker
import pytest

from reconciler import data
from reconciler.apply import OneShot, Validator
from reconciler.engine import Engine
from reconciler.model import VALIDATING, Container, Desired
from reconciler.render import tokens
from tests.conftest import PREFIX
from tests.images import build, kolla
from tests.services import golden
from tests.support import certificates

OWN = f"{PREFIX}{os.getpid()}-"  # of this run: another checkout's may use the same engine at the same time
SECRET = "a1B2c3D4e5F6g7H8i9J0ku"  # can be the salt of bcrypt as well
pytestmark = [pytest.mark.images, pytest.mark.engine]

# Container → its file, what somebody writes into it, and what is said of that.
MISTAKES = {
    "keystone": ("keystone.conf", "[token]\nexpiration = banana\n", "[token] expiration: invalid literal for int"),
    "haproxy": ("haproxy.cfg", "\nfrontend broken\n    bind nonsense\n", "haproxy.cfg"),
    "mariadb": ("galera.cnf", "\n[mysqld]\nmax_connections = banana\n", "max_connections"),
    "rabbitmq": ("rabbitmq.conf", "\nvm_memory_high_watermark.relative = banana\n", '"banana" cannot be converted'),
}
MORE = {
    "rabbitmq": ("advanced.config", "[{rabbit, [}].\n", "advanced.config"),
    "mariadb": ("galera.cnf", "\n[mysqld]\nno_such_option = 1\n", "no_such_option"),
    "keystone": ("keystone.conf", "[database]\nmax_pool_size = many\n", "[database] max_pool_size"),
}
# Containers of the whole cloud: (golden case, host, file, what somebody writes into it, what is said of that).
_OSLO = "[database]\nmax_pool_size = many\n"
_APACHE = "\nNoSuchDirective on\n"
CLOUD = {
    "cron": ("one_node", "aio", "logrotate.conf", "\n/x {\n  rotate many\n}\n", "bad rotation count"),
    "glance_api": ("one_node", "aio", "glance-api.conf", _OSLO, "[database] max_pool_size"),
    "keystone_ssh": ("one_node", "aio", "sshd_config", "\nNoSuchOption yes\n", "NoSuchOption"),
    "keystone_fernet": ("one_node", "aio", "keystone.conf", _OSLO, "[database] max_pool_size"),
    "keepalived": ("three_nodes", "lb-2", "keepalived.conf", "\nno_such_keyword yes\n", "no_such_keyword"),
    "barbican_api": ("keys", "aio", "barbican.conf", _OSLO, "[database] max_pool_size"),
    "placement_api": ("keys", "aio", "placement.conf", "[placement_database]\nmax_pool_size = many\n", "[placement_database] max_pool_size"),
    "neutron_server": ("compute", "ctl", "ml2_conf.ini", "[securitygroup]\nenable_ipset = perhaps\n", "[securitygroup] enable_ipset"),
    "neutron_dhcp_agent": ("compute", "ctl", "dhcp_agent.ini", "[DEFAULT]\nresync_interval = often\n", "resync_interval"),
    "neutron_l3_agent": ("compute", "ctl", "l3_agent.ini", "[DEFAULT]\nmetadata_port = nine\n", "metadata_port"),
    "neutron_openvswitch_agent": ("compute", "ctl", "openvswitch_agent.ini", "[ovs]\nof_listen_port = x\n", "of_listen_port"),
    "neutron_metadata_agent": ("compute", "ctl", "metadata_agent.ini", "[DEFAULT]\nmetadata_workers = some\n", "metadata_workers"),
    "nova_api": ("compute", "ctl", "nova.conf", "[api_database]\nmax_pool_size = many\n", "[api_database] max_pool_size"),
    "nova_super_conductor": ("cells", "ctl", "nova.conf", "[conductor]\nworkers = many\n", "[conductor] workers"),
    "nova_compute": ("compute", "cmp", "nova.conf", "[libvirt]\ncpu_mode = fast\n", "[libvirt] cpu_mode"),
    "prometheus_server": ("monitoring", "mon-1", "prometheus.yml", "\nno_such_word: 1\n", "no_such_word"),
    "prometheus_alertmanager": ("monitoring", "mon-1", "prometheus-alertmanager.yml", "\nno_such_word: 1\n", "no_such_word"),
    "prometheus_blackbox_exporter": ("monitoring", "mon-1", "prometheus-blackbox-exporter.yml", "\nno_such_word: 1\n", "no_such_word"),
    "cinder_api": ("volumes", "aio", "cinder.conf", _OSLO, "[database] max_pool_size"),
    "heat_api": ("volumes", "aio", "wsgi-heat-api.conf", _APACHE, "NoSuchDirective"),
    "heat_engine": ("volumes", "aio", "heat.conf", _OSLO, "[database] max_pool_size"),
    "horizon": ("volumes", "aio", "_9998-kolla-settings.py", "\nTIME_ZONE = = 1\n", "invalid syntax"),
    "haproxy_ssh": ("letsencrypt", "lb-1", "sshd_config", "\nNoSuchOption yes\n", "NoSuchOption"),
    "letsencrypt_lego": ("letsencrypt", "lb-1", "letsencrypt-lego-run.sh", "\nif true; then\n", "syntax error"),
    "letsencrypt_webserver": ("letsencrypt", "lb-1", "letsencrypt-webserver.conf", _APACHE, "NoSuchDirective"),
    "ironic_api": ("volumes", "aio", "ironic.conf", _OSLO, "[database] max_pool_size"),
}  # fmt: skip


@pytest.fixture
def engine(engine_url: str, docker_client: docker.DockerClient) -> Iterator[Engine]:
    made = Engine(engine_url, owner="rt-validation/aio", timeout=60)
    yield made
    made.close()
    assert not [c.name for c in docker_client.containers.list(all=True) if c.name.startswith(f"{VALIDATING}{OWN}")]


def checked(
    engine: Engine,
    tmp_path: Path,
    images: dict[str, str],
    name: str,
    file: str = "",
    more: str = "",
    *,
    case: tuple[str, str] = ("one_node", "aio"),
) -> str:
    found: Desired = golden.desired(*case)
    container = next(item for item in found.containers if item.name == name)
    files = [item for item in found.files if item.container == name]
    contents = {}
    for item in files:
        names = tokens.names(item.content)
        text = tokens.bind(item.content, {n: _certificate() if n.endswith("certificate") else SECRET for n in names})
        contents[item.path] = (text + (more if item.path.endswith(f"/{file}") else "")).encode()
    tmp_path.mkdir(exist_ok=True)
    container = replace(container, name=f"{OWN}{name}", image=_image(images, container), ulimits=())
    validator = Validator()
    # The container's files are bound from below the config root that it was rendered for.
    container = replace(
        container,
        mounts=tuple(replace(m, source=m.source.replace(found.config_root, str(tmp_path))) for m in container.mounts),
    )
    wanted = OneShot(container, files, contents, part_digest=f"{name}{more}", config_root=tmp_path)
    said = validator.run(engine, wanted)
    assert not list((tmp_path / ".reconciler-validate").glob("*")), "nothing of it stays"
    again = validator.run(engine, replace(wanted, contents={})) if said else ""
    assert again == said, "what was refused once is known"
    return said


@cache
def _certificate() -> str:
    """What haproxy wants of the passwords that are certificates: the certificate, then its private key."""
    with tempfile.TemporaryDirectory() as folder:
        certificates.authority(Path(folder), "front")
        return (Path(folder) / "front.pem").read_text() + (Path(folder) / "front.key").read_text()


def _image(images: dict[str, str], container: Container) -> str:
    wanted = container.image.rpartition("/")[2].partition(":")[0]
    return images[wanted]


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_shipped_passes_and_a_mistake_does_not(
    name: str, engine: Engine, tmp_path: Path, kolla_images: dict[str, str]
) -> None:
    assert checked(engine, tmp_path, kolla_images, name) == ""
    for file, text, said in (MISTAKES[name], *([MORE[name]] if name in MORE else ())):
        found = checked(engine, tmp_path, kolla_images, name, file, text)
        assert said in found, found
        assert SECRET not in found


@pytest.fixture
def cloud_images(docker_client: docker.DockerClient) -> dict[str, str]:
    """The genuine images that this engine has, by their short name."""
    tags = (tag for image in docker_client.images.list() for tag in image.tags)
    return {tag.rpartition("/")[2].partition(":")[0]: tag for tag in tags if "openstack.kolla" in tag}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOUD)
def test_a_mistake_in_the_cloud_is_told(
    name: str, engine: Engine, tmp_path: Path, cloud_images: dict[str, str]
) -> None:
    case, host, file, text, said = CLOUD[name]
    container = next(item for item in golden.desired(case, host).containers if item.name == name)
    image = container.image.rpartition("/")[2].partition(":")[0]
    if image not in cloud_images:
        pytest.skip(f"the image {image} is not built here")
    assert checked(engine, tmp_path, cloud_images, name, case=(case, host)) == ""
    found = checked(engine, tmp_path, cloud_images, name, file, text, case=(case, host))
    assert said in found, found
    assert SECRET not in found


_EVERYWHERE = [(case, host) for case, hosts in golden.CASES.items() for host in hosts]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "host"), _EVERYWHERE)
def test_checkers_accept_every_golden_host(
    case: str, host: str, engine: Engine, tmp_path: Path, cloud_images: dict[str, str]
) -> None:
    with_checker = [item for item in golden.desired(case, host).containers if item.validation is not None]
    here = [item.name for item in with_checker if item.image.rpartition("/")[2].partition(":")[0] in cloud_images]
    if not here:
        pytest.skip("the images of this host are not built here")
    refused = {
        name: said for name in here if (said := checked(engine, tmp_path / name, cloud_images, name, case=(case, host)))
    }
    assert not refused


# Containers with configuration files of their own whose image has nothing that reads them without running the service.
NO_CHECKER = frozenset(
    (
        *(
            "etcd",
            "grafana",
            "iscsid",
            "ironic_tftp",
            "mariadb_clustercheck",
            "multipathd",
            "nova_libvirt",
            "opensearch",
        ),
        *(
            "opensearch_dashboards",
            "ovn_sb_db_relay_1",
            "mariadb_backup",  # shell scripts, and an option file that only a backup reads
            "mariadb_backup_remote",
            "prometheus_mysqld_exporter",
            "prometheus_openstack_exporter",
            "proxysql",
        ),
        *("prometheus_openstack_network_exporter", "prometheus_valkey_exporter", "valkey_sentinel", "valkey_server"),
    )
)


def test_whatever_can_be_checked_is_checked() -> None:
    """So that a new container does not go without."""
    without = {
        container.name
        for case, hosts in golden.CASES.items()
        for host in hosts
        for found in [golden.desired(case, host)]
        for container in found.containers
        if container.validation is None
        and any(file.container == container.name and not file.path.endswith("config.json") for file in found.files)
    }
    assert without <= NO_CHECKER, without - NO_CHECKER


OSLO = sorted(
    name for name, (_, _, file, _, _) in CLOUD.items() if file.endswith((".conf", ".ini")) and name not in ("cron", "keepalived", "heat_api", "letsencrypt_webserver")
)  # fmt: skip


# Options that kolla-ansible writes for who reads its files, and that the service has no more.
AS_KOLLA_HAS_THEM = {"barbican_api": ("backlog", "bind_host", "bind_port")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["keystone", *OSLO])
def test_no_option_that_is_shipped_is_unknown(
    name: str, engine: Engine, tmp_path: Path, cloud_images: dict[str, str]
) -> None:
    """What is asked before an upgrade, of the release that it is written for; and of an option that is none."""
    case, host, file, *_ = CLOUD.get(name, ("one_node", "aio", "keystone.conf"))
    found = golden.desired(case, host)
    container = next(item for item in found.containers if item.name == name)
    if container.image.rpartition("/")[2].partition(":")[0] not in cloud_images:
        pytest.skip("the image is not built here")
    said = "".join(
        f"error: [DEFAULT] {option} in /etc/{name.partition('_')[0]}/{file} is not known here\n"
        for option in AS_KOLLA_HAS_THEM.get(name, ())
    )
    assert unknown(engine, tmp_path, cloud_images, container, found, file, "") == (int(bool(said)), said.strip())
    code, said = unknown(engine, tmp_path, cloud_images, container, found, file, "\n[DEFAULT]\nno_such_option = 1\n")
    assert code == 1 and "[DEFAULT] no_such_option" in said, said


@pytest.mark.slow
def test_no_option_that_is_shipped_is_unknown_to_the_next_release(
    engine: Engine, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    image = kolla.default_target(kolla.NEXT).name("keystone")
    if not build.present(docker_client, image):
        pytest.skip(f"{image} is not built here")
    found = golden.desired("one_node", "aio", kolla.NEXT.name)
    container = next(item for item in found.containers if item.name == "keystone")
    images, old = {"keystone": image}, "\n[DEFAULT]\nno_such_option = 1\n"
    assert unknown(engine, tmp_path, images, container, found, "keystone.conf", "") == (0, "")
    assert unknown(engine, tmp_path, images, container, found, "keystone.conf", old)[0] == 1


def unknown(
    engine: Engine, folder: Path, images: dict[str, str], container: Container, site: Desired, file: str, more: str
) -> tuple[int, str]:
    """The exit code and what is said of options that no program of the image knows."""
    assert container.validation is not None
    script = data.services()["common/templates/check-options.py.j2"].decode()
    mounts = tuple(replace(m, source=m.source.replace(site.config_root, str(folder))) for m in container.mounts)
    made = replace(container, name=f"{OWN}{container.name}", image=_image(images, container), ulimits=(), mounts=mounts)
    files = [item for item in site.files if item.container == container.name]
    contents = {
        item.path: tokens.bind(item.content, dict.fromkeys(tokens.names(item.content), SECRET)) for item in files
    }
    texts = {path: (text + (more if path.endswith(f"/{file}") else "")).encode() for path, text in contents.items()}
    one = OneShot(made, files, texts, part_digest=f"{container.name}{len(more)}", config_root=folder)
    return one.run(engine, f"{VALIDATING}{OWN}options", container.validation.command, script=script, timeout=120)
