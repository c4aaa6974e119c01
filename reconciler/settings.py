"""What a node knows on its own, outside Git: settings in TOML, checked against schemas/settings.schema.json."""

import contextlib
import hashlib
import socket
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from reconciler import data, errors
from reconciler.reasons import Reason
from reconciler.system import run

DEFAULT_PATH = Path("/etc/reconciler/reconciler.toml")
SSH_HOST_KEY = Path("/etc/ssh/ssh_host_ed25519_key")


@dataclass(frozen=True, slots=True)
class Git:
    url: str
    branch: str = "main"
    testing: bool = False
    prechecks: str = ""
    path: str = ""
    username: str = "oauth2"
    token_file: Path | None = None
    ca_file: Path | None = None
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    timeout: float = 20.0
    deadline: float = 120.0


@dataclass(frozen=True, slots=True)
class Trust:
    signatures: Literal["none", "ssh", "gpg", "any"] = "none"
    allowed_signers: Path | None = None
    gpg_keys: Path | None = None


@dataclass(frozen=True, slots=True)
class Secrets:
    age_key_file: Path | None = None
    ssh_key_file: Path | None = None
    program: Path | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    url: str = "unix:///var/run/docker.sock"
    timeout: float = 60.0
    parallel: int = 4


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who may ask for a poll: whoever knows the secret."""

    secret_file: Path
    kinds: tuple[Literal["gitlab", "github", "gitea"], ...] = ("gitlab",)


@dataclass(frozen=True, slots=True)
class Daemon:
    interval: float = 60.0
    splay: float = 0.2
    look_interval: float = 120.0
    deep_interval: float = 600.0
    metrics: str = "127.0.0.1:9777"
    names: tuple[str, ...] = ()
    textfile: Path | None = None
    webhook: Webhook | None = None


@dataclass(frozen=True, slots=True)
class Forge:
    kind: Literal["gitlab", "github", "gitea"]
    url: str
    project: str
    token_file: Path
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class SignedReports:
    """How this node's signed report is served to a reporter."""

    listen: str = ""
    key_file: Path = SSH_HOST_KEY


@dataclass(frozen=True, slots=True)
class Reporter:
    """What `reconciler reporter` does; times in seconds."""

    state_dir: Path = Path("/var/lib/reconciler-reporter")
    listen: str = "127.0.0.1:9779"
    names: tuple[str, ...] = ()
    interval: float = 60.0
    network: str = "network"
    port: int = 9778
    timeout: float = 5.0
    parallel: int = 32
    stale_after: float = 300.0
    patience: float = 900.0
    url: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """Whether `reconciler reporter` reviews open merge requests, and what it may spend on them; times in seconds."""

    enabled: bool = False
    interval: float = 60.0
    forks: bool = True
    most: int = 200
    per_round: int = 10
    per_hour: int = 60
    time_limit: float = 300.0
    host_limit: float = 20.0


@dataclass(frozen=True, slots=True)
class AlertTarget:
    """Where alerts go. `key_file`: GitLab's authorization key, or the secret that signs a webhook's body."""

    kind: Literal["gitlab", "webhook", "apprise"]
    url: str = ""
    key_file: Path | None = None
    ca_file: Path | None = None
    url_file: Path | None = None  # apprise: its address holds the password, so it is a file's content


@dataclass(frozen=True, slots=True)
class Alerts:
    """When somebody is told, and where; all times in seconds."""

    repeat: float = 14_400.0
    settle: float = 120.0
    source_after: float = 900.0
    failing_after: float = 300.0
    suspended_after: float = 86_400.0
    waiting_after: float = 86_400.0
    per_hour: int = 60
    runbook: str = "docs/operations.md"
    targets: Mapping[str, AlertTarget] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a commit may ask of this host. None: as `base` has it; "" as base: see `target.host_policy`."""

    base: Literal["", "kolla", "strict"] = ""
    privileged: bool | None = None
    pid_host: bool | None = None
    ipc_host: bool | None = None
    cgroupns_host: bool | None = None
    ports: bool | None = None
    oom_score: bool | None = None
    propagation: bool | None = None
    shared_paths: bool | None = None
    networks: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    security_opt: tuple[str, ...] | None = None
    devices: bool | tuple[str, ...] | None = None
    sysctls: tuple[str, ...] | None = None
    ulimits: tuple[str, ...] | None = None
    log_drivers: tuple[str, ...] | None = None
    registries: tuple[str, ...] | None = None
    volumes: tuple[str, ...] | None = None
    binds: tuple[str, ...] | None = None
    exact: tuple[str, ...] | None = None
    host_sysctls: tuple[str, ...] | None = None
    host_modules: tuple[str, ...] | None = None
    host_names: bool | None = None
    host_switches: bool | None = None
    host_files: tuple[str, ...] | None = None
    config_roots: tuple[str, ...] = ("/etc/kolla",)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The etcd through which the hosts of the site agree on who goes when; no endpoint: this host asks nobody."""

    etcd: tuple[str, ...] = ()
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout: float = 3.0


@dataclass(frozen=True, slots=True)
class Log:
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything in the settings file, with defaults filled in."""

    git: Git
    host: str = field(default_factory=lambda: socket.gethostname().partition(".")[0])
    state_dir: Path = Path("/var/lib/reconciler")
    mode: Literal["apply", "report"] = "apply"
    trust: Trust = Trust()
    secrets: Secrets = Secrets()
    engine: EngineSettings = EngineSettings()
    daemon: Daemon = Daemon()
    forge: Forge | None = None
    report: SignedReports = SignedReports()
    reporter: Reporter = Reporter()
    review: Review = Review()
    alerts: Alerts = field(default_factory=Alerts)
    policy: Policy = Policy()
    root: Path = Path("/")
    fleet: Fleet = Fleet()
    log: Log = Log()
    # Of the file's text: which settings a daemon has that read them some time ago.
    digest: str = field(default="", compare=False)

    def kept_apart(self) -> tuple[Path, ...]:
        """What no container may see and no commit may write to: the state, the keys and tokens, the engine's socket."""
        sections: list[Any] = [
            self.git,
            self.trust,
            self.secrets,
            self.report,
            self.fleet,
            self.daemon.webhook,
            self.forge,
        ]
        sections += self.alerts.targets.values()
        held = [getattr(part, item.name) for part in sections if part is not None for item in fields(part)]
        socket = [Path(self.engine.url.removeprefix("unix://"))] if self.engine.url.startswith("unix:///") else []
        return tuple(dict.fromkeys((self.state_dir, *(path for path in held if isinstance(path, Path)), *socket)))


_SECTIONS: Mapping[str, type] = {
    "git": Git,
    "trust": Trust,
    "secrets": Secrets,
    "engine": EngineSettings,
    "daemon": Daemon,
    "forge": Forge,
    "report": SignedReports,
    "reporter": Reporter,
    "review": Review,
    "alerts": Alerts,
    "policy": Policy,
    "fleet": Fleet,
    "log": Log,
}


def load(path: Path = DEFAULT_PATH, *, in_child: bool = False) -> Settings:
    """Read and check a settings file. Raises errors.Terminal (SettingsInvalid) that names everything wrong in it.

    `in_child`: check it in a child process, so that who lives long does not keep the checker in memory.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _invalid(
            f"{path} does not exist (make it with `reconciler node install`, or name one with --config)"
        ) from None
    except OSError as error:
        raise _invalid(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _invalid(f"{path}: {error}") from None
    return parse(text, path, in_child=in_child)


def parse(text: str, path: Path, *, in_child: bool = False) -> Settings:
    """Settings from TOML; `path` is how messages call it. Raises as `load`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(f"{path}: {error}") from None
    if in_child:
        run.python("reconciler.settings:check", [raw, str(path)], limits=run.Limits(seconds=300.0))
    else:
        check((raw, str(path)))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    settings = Settings(**{name: _convert(name, value) for name, value in raw.items()}, digest=digest)
    keys = settings.secrets
    if keys.age_key_file is None and keys.ssh_key_file is None and SSH_HOST_KEY.exists():
        return replace(settings, secrets=replace(keys, ssh_key_file=SSH_HOST_KEY))
    return settings


def warm(_: str) -> None:
    """For `run_child`: a file with a pattern in it, a fault, and a word that is nearly another."""
    with contextlib.suppress(errors.Terminal):
        check(({"root": "/", "hots": 1}, ""))


def check(argument: Sequence[Any]) -> None:
    """[what was in a settings file, its name]: raises errors.Terminal (SettingsInvalid) for what the schema does not allow."""
    from reconciler.document.grammar import Grammar

    raw, path = argument
    found = sorted(
        (".".join(map(str, where)) or "top level", wrong)
        for where, wrong in Grammar(data.schema("settings")).breaches(raw)
    )
    if found:
        raise _invalid("\n".join(f"{path}: {where}: {wrong}" for where, wrong in found))


def _convert(name: str, value: Any) -> Any:
    if name in _SECTIONS:
        section = _SECTIONS[name]
        return section(**{key: _typed(section, key, content) for key, content in value.items()})
    return Path(value) if name in ("state_dir", "root") else value


def _typed(section: type, key: str, value: Any) -> Any:
    if section is Alerts and key == "targets":
        return {name: AlertTarget(**{k: _typed(AlertTarget, k, v) for k, v in t.items()}) for name, t in value.items()}
    if section is Daemon and key == "webhook":
        return Webhook(**{k: _typed(Webhook, k, v) for k, v in value.items()})
    if "Path" in str(section.__annotations__[key]):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _invalid(message: str) -> errors.Terminal:
    return errors.Terminal(message, reason=Reason.SettingsInvalid)
