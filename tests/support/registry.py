"""A container registry on loopback (Debian's docker-registry), so that pulls, digests and pull failures are real."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
import yaml

from tests.support import engine, packages, paths

START_SECONDS = 120.0


class RegistryError(Exception):
    """The registry did not start, or a push failed; the message says why."""


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry. `address` is `127.0.0.1:PORT`, which every Docker Engine takes without TLS."""

    address: str
    engine_url: str
    process: subprocess.Popen[bytes]

    def name(self, repository: str, tag: str = "1") -> str:
        """The full name of an image of this registry."""
        return f"{self.address}/{repository}:{tag}"

    def push(self, image: str, name: str) -> str:
        """Push the engine's `image` as `name` (`repository` or `repository:tag`); returns its digest, `sha256:…`.

        The engine keeps no tag of it: a test starts with the image not pulled. Raises RegistryError.
        """
        repository, _, tag = name.partition(":")
        target, tag = f"{self.address}/{repository}", tag or "1"
        with contextlib.closing(docker.DockerClient(base_url=self.engine_url, timeout=600)) as client:
            client.images.get(image).tag(target, tag=tag)
            try:
                for line in client.images.push(target, tag=tag, stream=True, decode=True):
                    if "error" in line:
                        raise RegistryError(f"pushing {image} to {target}:{tag} failed: {line['error']}")
            finally:
                client.images.remove(f"{target}:{tag}")
        return self.digest(repository, tag)

    def digest(self, repository: str, tag: str = "1") -> str:
        """The digest that the registry serves for a tag. Raises RegistryError when it has none."""
        answer = requests.head(
            f"http://{self.address}/v2/{repository}/manifests/{tag}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
            timeout=10,
        )
        digest = answer.headers.get("Docker-Content-Digest")
        if not answer.ok or not digest:
            raise RegistryError(f"{self.address} has no {repository}:{tag} ({answer.status_code})")
        return digest

    def stop(self) -> None:
        """End the process; the storage stays in the cache."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(engine_url: str, storage: Path | None = None, port: int = 0) -> Registry:
    """Start a registry on a free port (or on `port`) of 127.0.0.1. Raises RegistryError, packages.PackagesMissing.

    `storage` (default: a folder of the cache, shared by all) keeps what was pushed; a fresh folder makes an empty one.
    """
    packages.install(["docker-registry"])
    port = port or engine.free_port()
    folder = storage or paths.cache("registry")
    config = folder / f"config-{port}.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "version": 0.1,
                "log": {"level": "warn", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
                "http": {"addr": f"127.0.0.1:{port}", "secret": os.urandom(16).hex()},
            }
        )
    )
    log = folder / f"registry-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [packages.which("docker-registry") or "docker-registry", "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ.get("PATH", ""), "OTEL_TRACES_EXPORTER": "none"},
        )
    registry = Registry(f"127.0.0.1:{port}", engine_url, process)
    deadline = time.monotonic() + START_SECONDS
    while not _answers(registry.address):
        if process.poll() is not None or time.monotonic() > deadline:
            registry.stop()
            raise RegistryError(f"docker-registry did not come up:\n{engine.tail(log)}")
        time.sleep(0.1)
    config.unlink()
    return registry


def _answers(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/v2/", timeout=2).ok
    except requests.RequestException:
        return False
