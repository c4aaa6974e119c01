"""The program in this process, with a folder of its own where somebody's keys would lie."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import program

Cli = Callable[..., Result]


@dataclass(frozen=True)
class Made:
    """A site that `init --yes` made: not to be changed."""

    site: Path
    key: Path
    result: Result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        result = CliRunner().invoke(program, ["init", str(folder / "new/my-site"), "--yes"])
    assert result.exit_code == 0, result.output
    return Made(folder / "new/my-site", folder / "config/reconciler/my-site.agekey", result)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where keys are made: ~/.config of somebody."""
    folder = tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder


@pytest.fixture
def cli(config: Path) -> Cli:
    """Run a verb as `cli("init", folder, answers="…")`."""

    def run(*words: str | Path, answers: str | None = None) -> Result:
        return CliRunner().invoke(program, [str(word) for word in words], input=answers)

    return run


@pytest.fixture
def host_key(tmp_path: Path) -> Path:
    """A host's fresh ed25519 key, with its public part beside it."""
    path = tmp_path / "ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "root@ctl1", "-f", path], check=True)
    return path
