"""A configuration that the image's own checker refuses: said by that checker, before anything of it is put to use."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from reconciler.apply import Validator
from reconciler.engine import Engine
from reconciler.model import Container, Desired
from reconciler.render import tokens
from tests.services import golden

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


@pytest.fixture
def engine(engine_url: str, docker_client: docker.DockerClient) -> Iterator[Engine]:
    made = Engine(engine_url, owner="rt-validation/aio", timeout=60)
    yield made
    made.close()
    assert not [c.name for c in docker_client.containers.list(all=True) if c.name.startswith("reconciler-validate-")]


def checked(engine: Engine, tmp_path: Path, images: dict[str, str], name: str, file: str = "", more: str = "") -> str:
    found: Desired = golden.desired("one_node", "aio")
    container = next(item for item in found.containers if item.name == name)
    files = [item for item in found.files if item.container == name]
    contents = {}
    for item in files:
        text = tokens.bind(item.content, dict.fromkeys(item.secrets, "s3cret"))
        contents[item.path] = (text + (more if item.path.endswith(f"/{file}") else "")).encode()
    container = replace(container, image=_image(images, container), ulimits=())
    validator = Validator()
    # The container's files are bound from below the config root that it was rendered for.
    container = replace(
        container,
        mounts=tuple(replace(m, source=m.source.replace(found.config_root, str(tmp_path))) for m in container.mounts),
    )
    said = validator.run(engine, container, files, contents, part_digest=f"{name}{more}", config_root=tmp_path)
    assert not list((tmp_path / ".reconciler-validate").glob("*")), "nothing of it stays"
    again = validator.run(
        engine, container, files, {}, part_digest=f"{name}{more}", config_root=tmp_path
    ) if said else ""  # fmt: skip
    assert again == said, "what was refused once is known"
    return said


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
        assert "s3cret" not in found
