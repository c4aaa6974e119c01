"""Figures about sites: what validating, rendering and planning cost where there is no node."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from tests.bench.measure import Context, Row, repeat
from tests.bench.processes import Ran, run
from tests.git import servers
from tests.site.generate import make_site
from tests.support.lab import CHECKOUT

_BARE_YAML = """\
import sys, yaml, pathlib
for path in pathlib.Path(sys.argv[1]).rglob("*.yml"):
    yaml.load(path.read_bytes(), yaml.CSafeLoader)
"""


def validate(context: Context) -> Iterator[Row]:
    """`reconciler validate` for one host and for 500."""
    yield from _validated(context, 1, None)
    yield from _validated(context, 500, 5.0)


def _validated(context: Context, hosts: int, budget: float | None) -> Iterator[Row]:
    site = _site(context.folder / f"site-{hosts}", hosts)
    ran = [_program(site, "validate", ".") for _ in range(context.runs(5, 2))]
    floor = repeat(context.runs(5, 2), lambda: _python(site, "-c", _BARE_YAML, str(site)))
    yield Row(f"validate a site of {hosts} host{'s' * (hosts > 1)}", "s", tuple(r.seconds for r in ran), budget, floor,
              "Python parses the same YAML")  # fmt: skip
    yield Row("  peak memory, all processes", "MiB", tuple(r.peak for r in ran))


def render(context: Context) -> Iterator[Row]:
    """`reconciler render` for one controller of a site of three hosts, all shipped services that are on by default."""
    site = _site(context.folder / "site", 3)
    ran = []
    for number in range(context.runs(5, 2)):
        out = context.folder / f"out-{number}"
        ran.append(_program(site, "render", ".", "--host", "ctl01", "--out", str(out)))
        files = sum(path.is_file() for path in out.rglob("*"))
    floor = repeat(context.runs(5, 2), lambda: _program(site, "version"))
    yield Row(f"render one controller ({files} files)", "s", tuple(r.seconds for r in ran), None, floor,
              "`reconciler version`")  # fmt: skip
    yield Row("  peak memory, all processes", "MiB", tuple(r.peak for r in ran))


def plan(context: Context) -> Iterator[Row]:
    """`reconciler diff BASE HEAD`: every host rendered twice and compared, as the job on a merge request does."""
    for hosts in (10, 100) if context.quick else (10, 100, 500):
        work = _site(context.folder / f"site{hosts}", hosts)
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
        budget = (60.0, 1024.0) if hosts == 500 else (None, None)
        note = f"{os.cpu_count()} cores"
        yield Row(f"plan {hosts} hosts from base to head", "s", tuple(r.seconds for r in ran), budget[0], note=note)
        yield Row("  processor time", "s", tuple(r.processor for r in ran))
        yield Row("  peak memory, all processes", "MiB", tuple(r.peak for r in ran), budget[1])


def _site(folder: Path, hosts: int) -> Path:
    """A site on disk, with passwords of its own."""
    for name, content in make_site(hosts).items():
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
