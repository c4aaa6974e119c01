"""The set-up of a genuine kolla-build: its environment, base image, sources and configuration.

Only PyPI, through pip, and a Debian mirror, through apt's tools, are asked. Everything is kept in the cache folder
and made again only when it is missing, so an interrupted build goes on where it was.
"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support import environments, paths

HERE = Path(__file__).parent
BASE_IMAGE = "local/debian"


@dataclass(frozen=True, slots=True)
class Release:
    """An OpenStack release: the kolla-build that makes its images, the Debian they stand on, and what is installed in them.

    Sources are a section of kolla-build.conf -> the sdist on PyPI that it installs, with its version; `cloud` are those of the whole
    cloud, fetched only when one of its images is asked for. Their checksums, and what kolla-build needs, are in *.lock.
    """

    name: str
    kolla: str
    debian: str
    sources: Mapping[str, tuple[str, str]]
    cloud: Mapping[str, tuple[str, str]]

    @property
    def tag(self) -> str:
        return f"{self.name}-debian-{self.debian}"

    @property
    def constraints(self) -> Path:
        return HERE / f"upper-constraints-{self.name}.txt"

    def lock(self, name: str) -> Path:
        """`kolla`, `sources` or `sources-cloud`."""
        return HERE / f"{name}-{self.name}.lock"

    @property
    def folder(self) -> Path:
        """Where what is made for it is kept."""
        return paths.cache("images", self.name)


FIRST = Release(
    "2025.1",
    kolla="20.6.0",
    debian="bookworm",
    sources={
        "keystone-base": ("keystone", "27.1.0"),
        "glance-base": ("glance", "30.2.0"),
    },
    cloud={
        "barbican-base": ("barbican", "20.0.0"),
        "cinder-base": ("cinder", "26.3.0"),
        "heat-base": ("openstack-heat", "24.1.2"),
        "horizon": ("horizon", "25.3.2"),
        "horizon-plugin-heat-dashboard": ("heat-dashboard", "13.0.0"),
        "ironic-base": ("ironic", "29.0.5"),
        "neutron-base": ("neutron", "26.0.6"),
        "nova-base": ("nova", "31.3.1"),
        "placement-base": ("openstack-placement", "13.0.1"),
    },
)
# What is upgraded to. Of a cloud it has what tests/clusters take there.
NEXT = Release(
    "2026.1",
    kolla="22.2.0",
    debian="trixie",
    sources={
        "keystone-base": ("keystone", "29.1.0"),
        "glance-base": ("glance", "32.0.0"),
    },
    cloud={
        "nova-base": ("nova", "33.0.2"),
        "placement-base": ("openstack-placement", "15.0.0"),
    },
)
RELEASES = {release.name: release for release in (FIRST, NEXT)}
_OWN_AUTHORITIES = Path("/usr/local/share/ca-certificates")


class BuildError(Exception):
    """A step of the set-up or of the build failed; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class Target:
    """Names of the images: `{registry}/{namespace}/<image>:{tag}`."""

    registry: str
    namespace: str
    tag: str

    def name(self, image: str) -> str:
        """The full name of one image."""
        return f"{self.registry}/{self.namespace}/{image}:{self.tag}"


def default_target(release: Release = FIRST) -> Target:
    """The names Kolla sites use, or those that KOLLA_REGISTRY, KOLLA_NAMESPACE and, for the first release, KOLLA_TAG give."""
    return Target(
        registry=os.environ.get("KOLLA_REGISTRY") or "quay.io",
        namespace=os.environ.get("KOLLA_NAMESPACE") or "openstack.kolla",
        tag=(release is FIRST and os.environ.get("KOLLA_TAG")) or release.tag,
    )


def run(argv: list[str | Path], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run one step with its output in `log`. Raises BuildError with the log's end."""
    with log.open("ab") as output:
        output.write(f"$ {' '.join(map(str, argv))}\n".encode())
        output.flush()
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            check=False,
        )
    if done.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        raise BuildError(f"`{Path(str(argv[0])).name}` ended with {done.returncode}; the end of {log}:\n{last}")


def environment(release: Release, log: Path) -> Path:
    """The folder of the virtual environment that holds kolla-build; made when missing or of another lock."""
    return environments.environment(release.folder / "venv", release.lock("kolla"), lambda words: run([*words], log))


def base_tar(release: Release, log: Path) -> Path:
    """A minimal Debian of the release's as a tar; it trusts the same authorities as this machine."""
    tar = paths.cache("images") / f"debian-{release.debian}.tar"
    if tar.exists():
        return tar
    unfinished = tar.with_suffix(".part.tar")
    hooks = []
    own = sorted(_OWN_AUTHORITIES.glob("*.crt"))
    if own:
        names = " ".join(str(file) for file in own)
        hooks = [
            f'--customize-hook=mkdir -p "$1{_OWN_AUTHORITIES}"',
            f"--customize-hook=copy-in {names} {_OWN_AUTHORITIES}",
            '--customize-hook=chroot "$1" update-ca-certificates',
        ]
    command = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", *hooks, release.debian, str(unfinished)]
    run([*command, mirror()], log, env={**os.environ, "TMPDIR": str(paths.cache("images", "tmp"))})
    unfinished.rename(tar)
    return tar


def sources(release: Release, log: Path, *, cloud: bool = False) -> dict[str, Path]:
    """The sdists, by section of kolla-build.conf; with `cloud` those of the whole cloud, too."""
    found = _fetched(release, release.sources, "sources", log)
    if cloud:
        found |= _fetched(release, release.cloud, "sources-cloud", log)
    requirements = paths.cache("images", "sources") / f"requirements-{release.name}.tar.gz"
    with tarfile.open(requirements, "w:gz") as archive:
        archive.add(release.constraints, arcname=f"requirements-{release.name}/upper-constraints.txt")
    return {**found, "openstack-base": requirements}


def _fetched(release: Release, wanted: Mapping[str, tuple[str, str]], lock: str, log: Path) -> dict[str, Path]:
    """The sdists of one lock. Files alone are fetched: pip would build each to learn what it already says."""
    folder = paths.cache("images", "sources")
    found = {
        section: folder / f"{project.replace('-', '_')}-{version}.tar.gz"
        for section, (project, version) in wanted.items()
    }
    if not all(file.exists() for file in found.values()):
        pip = environment(release, log) / "bin" / "pip"
        options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        run([pip, "download", *options, "--dest", folder, "-r", release.lock(lock)], log)
    return found


def mirror() -> str:
    """The Debian mirror that this machine's apt uses. Raises BuildError when it names none."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in files:
        if file.is_file():
            for line in file.read_text(errors="replace").splitlines():
                match = re.match(r"(?:deb\s+(?:\[[^]]*]\s*)?|URIs:\s*)(https?://\S+/debian/?)(?:\s|$)", line)
                if match:
                    return match[1].rstrip("/")
    raise BuildError(
        "/etc/apt names no Debian mirror by http or https: name one there, images are built from its packages"
    )


def configuration(release: Release, target: Target, threads: int, log: Path, *, cloud: bool = False) -> Path:
    """Write kolla-build.conf and repos.yaml; returns the path of the former."""
    work = release.folder / "work"
    work.mkdir(exist_ok=True)
    repos = work / "repos.yaml"
    # Vendors' repositories that images ask for by name: of bookworm's, RabbitMQ alone comes from elsewhere, which is trixie; there it is all
    # Debian's own. `gpg_key` is looked up in /etc/kolla/apt-keys (override.j2).
    entry = {"url": mirror(), "suite": "trixie", "component": "main", "gpg_key": "debian-archive.gpg", "arch": ""}
    names = ["rabbitmq"] if release.debian == "bookworm" else known_repositories(release, log)
    repos.write_text(yaml.safe_dump({"debian": dict.fromkeys(names, entry)}))
    config = configparser.ConfigParser(interpolation=None)
    config["DEFAULT"] = {
        "base": "debian",
        "base_image": BASE_IMAGE,
        "base_tag": release.debian,
        "registry": target.registry,
        "namespace": target.namespace,
        "tag": target.tag,
        "openstack_release": release.name,
        "pull": "false",
        "push": "false",
        "network_mode": "host",
        "threads": str(threads),
        "retries": "1",
        "repos_yaml": str(repos),
        "template_override": str(HERE / "override.j2"),
        "work_dir": str(work),
        "logs_dir": str(paths.cache("images", "logs")),
    }
    for section, file in sources(release, log, cloud=cloud).items():
        config[section] = {"type": "local", "location": str(file)}
    # What has no source of ours would be fetched from its own host: plugins go without, programs come from override.j2.
    for section in known_sources(release, log):
        if section not in config:
            config[section] = {"enabled": "false"}
    # Which member of a database's cluster is in step: a script beside the server until 2025.1, one in its image since.
    for section, folder in (
        ("mariadb-base-additions-clustercheck", "clustercheck"),
        ("mariadb-server-additions-healthcheck", "healthcheck"),
    ):
        config[section] = {"type": "local", "location": str(HERE / "additions" / folder)}
    constraints = work / "constraints"
    constraints.mkdir(exist_ok=True)
    shutil.copyfile(release.constraints, constraints / "upper-constraints.txt")
    config["kolla-toolbox-additions-constraints"] = {"type": "local", "location": str(constraints)}
    file = work / "kolla-build.conf"
    with file.open("w") as output:
        config.write(output)
    return file


def known_sources(release: Release, log: Path) -> list[str]:
    """The sections of kolla-build.conf that kolla-build itself has a source for."""
    python = environment(release, log) / "bin" / "python"
    listing = "from kolla.common import sources; print(*sources.SOURCES)"
    return subprocess.run([python, "-c", listing], check=True, capture_output=True, text=True).stdout.split()


def known_repositories(release: Release, log: Path) -> list[str]:
    """The names of vendors' repositories that kolla-build knows, of whatever distribution."""
    (file,) = environment(release, log).glob("lib/python3*/site-packages/kolla/template/repos.yaml")
    return sorted({name for section in yaml.safe_load(file.read_text()).values() for name in section})


def supported() -> str | None:
    """Why this machine cannot build, or None."""
    if os.geteuid() != 0:
        return "building images needs root (mmdebstrap and the engine)"
    return None if sys.platform == "linux" else "building images needs Linux"
