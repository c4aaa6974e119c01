"""Figures about sites: what validating, rendering and planning cost where there is no node."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from tests.bench.measure import Context, Figure, Row, repeat
from tests.bench.processes import Ran, run
from tests.git import servers
from tests.site.generate import make_cloud, make_site
from tests.support.lab import CHECKOUT

_BARE_YAML = """\
import sys, yaml, pathlib
for path in pathlib.Path(sys.argv[1]).rglob("*.yml"):
    yaml.load(path.read_bytes(), yaml.CSafeLoader)
"""


def _validated(context: Context, what: str, files: Mapping[str, bytes], budget: float | None) -> Iterator[Row]:
    site = _site(context.folder / what.replace(" ", "-"), files)
    ran = [_program(site, "validate", ".") for _ in range(context.runs(5, 2))]
    floor = repeat(context.runs(5, 2), lambda: _python(site, "-c", _BARE_YAML, str(site)))
    yield Row(f"validate {what}", "s", tuple(r.seconds for r in ran), budget, floor,
              "Python parses the same YAML")  # fmt: skip
    yield Row("  processor time", "s", tuple(r.processor for r in ran))
    yield Row("  peak memory, all processes", "MiB", tuple(r.peak for r in ran))


VALIDATE: Final = Figure(
    "`reconciler validate` for one host, for 500, and for a whole cloud of 500: every service that goes together.",
    {
        "1 host": lambda context: _validated(context, "a site of 1 host", make_site(1), None),
        "500 hosts": lambda context: _validated(context, "a site of 500 hosts", make_site(500), 5.0),
        "a whole cloud": lambda context: _validated(context, "a whole cloud of 500 hosts", make_cloud(500), 5.0),
    },
)


def _rendered(context: Context, what: str, files: Mapping[str, bytes], budget: float | None) -> Iterator[Row]:
    site = _site(context.folder / what.replace(" ", "-"), files)
    ran = []
    for number in range(context.runs(5, 2)):
        out = context.folder / f"{site.name}-{number}"
        ran.append(_program(site, "render", ".", "--host", "ctl01", "--out", str(out)))
        count = sum(path.is_file() for path in out.rglob("*"))
    floor = repeat(context.runs(5, 2), lambda: _program(site, "version"))
    yield Row(f"render {what} ({count} files)", "s", tuple(r.seconds for r in ran), None, floor,
              "`reconciler version`")  # fmt: skip
    yield Row("  processor time", "s", tuple(r.processor for r in ran), budget)
    yield Row("  peak memory, all processes", "MiB", tuple(r.peak for r in ran))


RENDER: Final = Figure(
    "`reconciler render` for one controller: all services that are on by default, and a whole cloud's.",
    {
        "one controller": lambda context: _rendered(context, "one controller", make_site(3), None),
        "of a whole cloud": lambda context: _rendered(context, "one controller of a whole cloud", make_cloud(500), 1.0),
    },
)


def _planned(context: Context, hosts: int, make: Callable[[int], Mapping[str, bytes]]) -> Iterator[Row]:
    """From one commit to the next: one global changed, and one host. Few hosts where it has to be quick."""
    whole = make is make_cloud
    full, hosts = hosts == 500 and not context.quick, 50 if context.quick and hosts == 500 else hosts
    budget = (None, None) if not full else (15.0, 512.0) if whole else (60.0, 1024.0)
    what = f"a whole cloud of {hosts} hosts" if whole else f"{hosts} hosts"
    work = _site(context.folder / what.replace(" ", "-"), make(hosts))
    servers.git(work, "init", "-q", "-b", "main", ".")
    _commit(work, "base")
    globals_ = work / "globals.yml"
    globals_.write_text(
        globals_.read_text().replace('mariadb_max_connections: "10000"', 'mariadb_max_connections: "9000"')
    )
    host = work / "hosts" / "cmp0001.yml"
    host.write_text(host.read_text().replace("docker_log_max_size", "# docker_log_max_size"))
    _commit(work, "head")
    ran = [_program(work, "diff", "HEAD~1", "HEAD", "--no-diffs") for _ in range(context.runs(3, 1))]
    note = f"{os.cpu_count()} cores"
    yield Row(f"plan {what} from base to head", "s", tuple(r.seconds for r in ran), budget[0], note=note)
    yield Row("  processor time", "s", tuple(r.processor for r in ran))
    yield Row("  peak memory, all processes", "MiB", tuple(r.peak for r in ran), budget[1])


PLAN: Final = Figure(
    "`reconciler diff BASE HEAD`: every host rendered twice and compared, as the job on a merge request does.",
    {
        "10 hosts": lambda context: _planned(context, 10, make_site),
        "100 hosts": lambda context: _planned(context, 100, make_site),
        "500 hosts": lambda context: _planned(context, 500, make_site),
        "a whole cloud": lambda context: _planned(context, 500, make_cloud),
    },
)


def _site(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A site on disk, with passwords of its own."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    key = servers.ssh_key(folder.parent / f"{folder.name}-key")
    _program(
        folder, "secrets", "generate", ".", "--recipient", " ".join(key.with_suffix(".pub").read_text().split()[:2])
    )
    assert yaml.safe_load((folder / "passwords.yml").read_bytes())["sops"]
    return folder


def _commit(work: Path, message: str) -> None:
    servers.git(work, "add", "-A")
    servers.git(work, "commit", "-q", "-m", message)


def _program(cwd: Path, *words: str) -> Ran:
    done = run([sys.executable, "-m", "reconciler", *words], cwd=cwd, env=_environment())
    assert done.code == 0, f"{words}: exit {done.code}\n{done.output[-3000:]}"
    return done


def _python(cwd: Path, *words: str) -> None:
    subprocess.run([sys.executable, *words], cwd=cwd, env=_environment(), check=True)


def _environment() -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(CHECKOUT)}
