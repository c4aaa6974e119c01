"""`memcache_secret_key` changes without an overlap: what services keep of tokens is not found with another key, and Keystone is asked again. The
genuine Memcached and the genuine keystonemiddleware."""

import json
import os
from pathlib import Path

import docker
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]

CACHE = """
import json, logging
from keystonemiddleware.auth_token import _cache
def made(key):
    cache = _cache.SecureTokenCache(
        logging.getLogger(), "ENCRYPT", key, cache_time=300, use_advanced_pool=False, memcached_servers=["127.0.0.1:11211"]
    )
    cache.initialize({})
    return cache
former, new = made(b"former"), made(b"new")
told = []
for cache in (former, new):
    cache.set("token", {"user": "somebody"})
    told.append([former.get("token"), new.get("token")])
print(json.dumps(told))
"""


def test_a_token_is_not_found_with_another_key_and_each_keeps_its_own(
    docker_client: docker.DockerClient, kolla_images: dict[str, str], tmp_path: Path
) -> None:
    if not {"keystone", "memcached"} <= kolla_images.keys():
        pytest.skip("needs the images keystone and memcached (`make images`)")
    tmp_path.chmod(0o755)
    (tmp_path / "cache.py").write_text(CACHE)
    server = docker_client.containers.run(
        kolla_images["memcached"],
        ["memcached", "-u", "nobody", "-l", "127.0.0.1"],
        entrypoint="",
        name=f"rt-token-cache-{os.getpid()}",
        network_mode="none",
        detach=True,
    )
    try:
        output = docker_client.containers.run(
            kolla_images["keystone"],
            ["/var/lib/kolla/venv/bin/python", "/srv/cache.py"],
            entrypoint="",
            network_mode=f"container:{server.id}",
            volumes={str(tmp_path): {"bind": "/srv", "mode": "ro"}},
            remove=True,
        )
    finally:
        server.remove(force=True, v=True)
    kept = {"user": "somebody"}
    assert json.loads(output.decode().splitlines()[-1]) == [[kept, None], [kept, kept]]
