"""Site repositories for tests: a small site of our own service, the example site, and the git around them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.source import prepare
from tests.support import sealed
from tests.support.paths import CHECKOUT

_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "author",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "author",
    "GIT_COMMITTER_EMAIL": "author@example.org",
}

Files = Mapping[str, str | bytes]

_SERVICE = """\
description: Two containers that say who they are
groups: {web: []}
containers:
  web:
    group: web
    kolla: false
    image: "{{ web_image }}"
    command: [httpd, -f, -h, /srv]
    data_plane: true
    files:
      - {name: index.html, template: index.html.j2, destination: /srv/index.html}
  store:
    group: web
    kolla: false
    image: "{{ web_image }}"
    command: [sleep, inf]
    stateful: true
    enabled: "{{ enable_store }}"
"""
_VARIABLES = """\
web_image: {description: The image., type: string, default: "busybox:1.36"}
enable_store: {description: Whether there is a store., type: boolean, default: true}
web_greeting: {description: What the page says., type: string, default: Hello}
"""


def small(hosts: int = 3, **files: str) -> dict[str, str]:
    """A site with one service of its own on `hosts` hosts, and nothing of the catalogue."""
    lines = "".join(f"  web{n}: {{addresses: {{network: 10.0.0.{n}}}, groups: [web]}}\n" for n in range(1, hosts + 1))
    return {
        "inventory.yml": f"hosts:\n{lines}",
        "globals.yml": "enable_openstack_core: false\nkolla_internal_vip_address: 10.0.0.250\n",
        "reconciler.yml": "name: small\n",
        "services/web/service.yml": _SERVICE,
        "services/web/variables.yml": _VARIABLES,
        "services/web/templates/index.html.j2": "{{ web_greeting }} from {{ inventory_hostname }}\nat {{ api_interface_address }}\n",
        **files,
    }


def example() -> dict[str, str | bytes]:
    """site-example/ with passwords that look encrypted."""
    root = CHECKOUT / "site-example"
    files: dict[str, str | bytes] = {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    return {**files, "passwords.yml": passwords()}


def passwords(**changed: str) -> str:
    """A passwords.yml with a ciphertext for everything the catalogue asks for; `changed` gives another salt by name."""
    values = {}
    for name, definition in prepare.shipped().passwords().items():
        salt = name + changed.get(name, "")
        values[name] = (
            {"private_key": salt, "public_key": f"{salt} public"} if definition.get("kind") == "ssh_key" else salt
        )
    return sealed.text(dict(sorted(values.items())))


@dataclass
class Repository:
    """A work tree with one branch; `commit` replaces its whole content."""

    root: Path
    path: str = ""  # the site's folder
    commits: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def site(self) -> Path:
        return self.root / self.path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments], env=_ENV, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: Files) -> None:
        """Make the site's folder hold `files` and nothing else."""
        if self.path:
            shutil.rmtree(self.site, ignore_errors=True)
        else:
            for entry in self.root.iterdir():
                if entry.name != ".git":
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        for name, content in files.items():
            target = self.site / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Files | None = None) -> str:
        """Commit `files` as the whole site, or what is in the work tree. Returns the commit's id."""
        if files is not None:
            self.write(files)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", f"Change {len(self.commits)}")
        self.commits.append(self.git("rev-parse", "HEAD"))
        return self.commits[-1]


def program_environment(**more: str) -> dict[str, str]:
    """What a job of ours starts with: nothing of this process's CI variables or tokens."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "RECONCILER_TEST_SESSION")}
    return {**kept, "HOME": "/nonexistent", "PYTHONPATH": str(CHECKOUT), **more}
