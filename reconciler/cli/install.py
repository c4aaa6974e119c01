"""`node install`: turns a machine into a node."""

import dataclasses
import difflib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import adopting, installed, output
from reconciler.cli.doctor import show as show_checks
from reconciler.cli.options import json_option
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.node.doctor import Check
    from reconciler.report import Report
    from reconciler.settings import Settings

_PROGRAM = "/usr/local/bin/reconciler"  # as the shipped unit has it
_FIRST_CHECKS = frozenset({"versions", "engine", "git", "clock", "sops key", "permissions"})
_PATH = click.Path(path_type=Path)

# Option → section and key of the settings.
_KEYS: Mapping[str, tuple[str, str]] = {
    "host": ("", "host"),
    "state_dir": ("", "state_dir"),
    "mode": ("", "mode"),
    "url": ("git", "url"),
    "branch": ("git", "branch"),
    "path": ("git", "path"),
    "token_file": ("git", "token_file"),
    "ca_file": ("git", "ca_file"),
    "ssh_key": ("git", "ssh_key"),
    "known_hosts": ("git", "known_hosts"),
    "age_key_file": ("secrets", "age_key_file"),
    "ssh_key_file": ("secrets", "ssh_key_file"),
    "engine": ("engine", "url"),
    "metrics": ("daemon", "metrics"),
    "config_roots": ("policy", "config_roots"),
}


@click.group()
def node() -> None:
    """Set this machine up as a node."""


@node.command()
@click.option("--url", required=True, help="https, ssh or file URL of the site repository.")
@click.option("--branch", help="Branch to follow (main).")
@click.option("--path", help="Folder of the site in the repository.")
@click.option("--host", help="This node's name in the inventory (default: the host name).")
@click.option("--token-file", type=_PATH, help="File with a read-only access token, for https.")
@click.option("--ca-file", type=_PATH, help="CA certificates to trust, for https.")
@click.option("--ssh-key", type=_PATH, help="Private key, for ssh URLs.")
@click.option("--known-hosts", type=_PATH, help="Host keys to trust, for ssh URLs.")
@click.option("--age-key-file", type=_PATH, help="age identities that open passwords.yml.")
@click.option("--ssh-key-file", type=_PATH, help="SSH key that opens passwords.yml (default: the host's ed25519 key).")
@click.option("--engine", help="Address of the Docker Engine's API.")
@click.option("--state-dir", type=_PATH, help="What the node remembers (/var/lib/reconciler).")
@click.option("--config-root", "config_roots", multiple=True, help="Where files may be written (/etc/kolla).")
@click.option("--metrics", help="Address and port of /metrics; empty: none.")
@click.option("--mode", type=click.Choice(["apply", "report"]), help="report: never change anything.")
@click.option("--root", type=_PATH, default=Path("/"), help="Install below this folder; nothing is started.")
@click.option("--adopt", is_flag=True, help="Show what would be taken over from kolla-ansible, ask, and take it over.")
@click.option("--yes", is_flag=True, help="With --adopt: do not ask, as long as nothing that runs need be touched.")
@click.option("--force", is_flag=True, help="Overwrite settings that differ.")
@click.option("--no-check", is_flag=True, help="Install though a check fails.")
@click.option("--start/--no-start", default=True, show_default=True, help="Enable and start the service.")
@json_option
def install(
    root: Path, adopt: bool, yes: bool, force: bool, no_check: bool, start: bool, json_: bool, **options: Any
) -> int:
    """Turn this machine into a node.

    Writes the settings and the systemd unit, checks keys and reachability, and shows what the first cycle would do. Run
    again with the same options it changes nothing. With --adopt nothing is written before you have seen what would be taken over
    from kolla-ansible and said yes; `node remove` gives it back. Exits with 0 when the node is ready to run, 1 otherwise.
    """
    from reconciler import log
    from reconciler import settings as settings_of_node
    from reconciler.cli.node import show
    from reconciler.report import as_json

    if adopt and (json_ or root != Path("/")):
        raise click.UsageError("--adopt shows and asks, on the host itself: it goes with neither --json nor --root")
    text = settings_text(_chosen(options))
    path = root / installed.SETTINGS
    say: Callable[..., None] = (lambda *_: None) if json_ else output.line
    _require_same(path, text, force, say)
    loaded = settings_of_node.parse(text, path)
    # What a pass logs, the lines below say.
    log.configure(dataclasses.replace(loaded.log, level="error"))
    checks = [] if no_check else _check(loaded, quiet=json_)
    report = None
    if adopt:
        report = _first_cycle(loaded)
        if report.plan is None:
            show(report)
            return 1
        adopting.confirm(report, yes=yes)
    wanted = {path: (text, 0o600)} | {target: (unit, 0o644) for target, unit in _units(root, path, loaded).items()}
    written = {str(target): _write(target, content, mode) for target, (content, mode) in wanted.items()}
    well = adopting.carry_out(loaded, report.plan) if report is not None and report.plan is not None else True
    report = report or _first_cycle(loaded)
    if json_:
        rows = [dataclasses.asdict(check) for check in checks]
        output.as_json({"written": written, "checks": rows, "report": as_json(report)})
    else:
        for name, changed in written.items():
            output.line(f"{'wrote    ' if changed else 'unchanged'}  {name}", "ok" if changed else "")
        if not adopt:
            output.line("\nwhat the first pass will do (nothing was changed yet):")
            show(dataclasses.replace(report, conditions=()))
    _start(root, path, start=start, anew=any(written.values()), say=say)
    return 0 if report.plan is not None and well else 1


node.add_command(adopting.remove)


def settings_text(chosen: Mapping[str, Any]) -> str:
    """A settings file with what was chosen; everything else keeps its default."""
    lines = ["# Settings of this node: see docs/operations.md. Written by `reconciler node install`."]
    sections: dict[str, list[str]] = {}
    for option, value in chosen.items():
        section, key = _KEYS[option]
        # JSON's strings and lists of strings are TOML's too.
        sections.setdefault(section, []).append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    for section in sorted(sections, key=lambda name: (name != "", name)):
        lines += ["", f"[{section}]"] if section else []
        lines += sections[section]
    return "\n".join(lines) + "\n"


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    from reconciler.settings import SSH_HOST_KEY

    chosen: dict[str, Any] = {}
    for name in _KEYS:
        value = options[name]
        if value is None or value == ():
            continue
        chosen[name] = (
            str(value.absolute()) if isinstance(value, Path) else list(value) if name == "config_roots" else value
        )
    if not {"age_key_file", "ssh_key_file"} & chosen.keys() and SSH_HOST_KEY.exists():
        chosen["ssh_key_file"] = str(SSH_HOST_KEY)
    return chosen


def _require_same(path: Path, text: str, force: bool, say: Callable[..., None]) -> None:
    if not path.exists():
        return
    before = path.read_text(encoding="utf-8")
    if before == text:
        return
    changes = difflib.unified_diff(before.splitlines(), text.splitlines(), str(path), "these options", lineterm="", n=1)
    shown = "\n".join(f"    {line}" for line in changes)
    if not force:
        output.diff(shown)
        raise errors.Terminal(
            f"{path} is there and differs (edit it, or overwrite it with --force)", reason=Reason.SettingsDiffer
        )
    kept = path.with_name(f"{path.name}.before")
    _write(kept, before, 0o600)
    say(f"{path} differs and is overwritten; what it was is in {kept}", "warn")
    say(shown)


def _check(loaded: "Settings", *, quiet: bool) -> list["Check"]:
    from reconciler.node.doctor import examine

    with output.progress("checking"):
        found = list(examine(loaded, only=_FIRST_CHECKS))
    failed = any(check.verdict == "fail" for check in found)
    if failed or not quiet:
        show_checks(found)
    if failed:
        raise errors.Terminal(
            "something this node needs is not right: nothing was installed (see above, or use --no-check)",
            reason=Reason.CheckFailed,
        )
    return found


def _write(path: Path, text: str, mode: int) -> bool:
    """Whether there was something to change."""
    from reconciler.system import files

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
        return False
    files.write_atomic(path, text.encode(), mode=mode)
    return True


def _units(root: Path, path: Path, loaded: "Settings") -> dict[Path, str]:
    """The unit with this program's path and what these settings ask for beyond its defaults."""
    from reconciler import data
    from reconciler.node.policy import KOLLA
    from reconciler.settings import DEFAULT_PATH, Policy, Settings

    unit = data.path("systemd", "reconciler.service").read_text(encoding="utf-8").replace(_PROGRAM, _program())
    result = {root / installed.UNIT: unit}
    tmpfiles = data.path("systemd", "reconciler.tmpfiles.conf").read_text(encoding="utf-8")
    extra = [r for r in loaded.policy.config_roots if r not in Policy().config_roots]
    result[root / installed.TMPFILES] = tmpfiles + "".join(f"d {folder} 0755 root root -\n" for folder in extra)
    more = [f"ReadWritePaths=-{folder}" for folder in extra]
    if loaded.state_dir != Settings.__dataclass_fields__["state_dir"].default:
        more.append(f"ReadWritePaths=-{loaded.state_dir}")
    more += _kernel(loaded.policy.host_sysctls or ())
    more += [f"ReadWritePaths=-{name}" for name in loaded.policy.host_files or () if name not in KOLLA.host_files]
    if path != DEFAULT_PATH and root == Path("/"):
        more.append(f"Environment=RECONCILER_CONFIG={path}")
    if more:
        drop_in = root / installed.DROP_IN
        result[drop_in] = "\n".join(["# Written by `reconciler node install`.", "[Service]", *more]) + "\n"
    return result


def _kernel(names: Iterable[str]) -> list[str]:
    """Lines of the unit for kernel settings that may be set here: what is below /proc/sys is read-only otherwise."""
    from reconciler.host.sysctl import path_of

    if "*" in names:
        return ["ProtectKernelTunables=no"]
    return [f"ReadWritePaths=-{path_of(name.rstrip('.'))}" for name in names]


def _program() -> str:
    beside = Path(sys.executable).with_name("reconciler")
    return str(beside) if beside.exists() else _PROGRAM


def _first_cycle(loaded: "Settings") -> "Report":
    """One cycle that changes nothing, with the plan that the first one of the daemon will have."""
    from reconciler.cli.plan import node_plan
    from reconciler.node import cycle
    from reconciler.node.node import Node

    node = Node(dataclasses.replace(loaded, mode="report"), forge=False)
    try:
        with output.progress("looking at the repository and at the engine"):
            report = cycle.reconcile(node, trigger="command", deep=False)
            return dataclasses.replace(report, plan=node_plan(loaded)) if report.plan is not None else report
    finally:
        node.close()


def _start(root: Path, path: Path, *, start: bool, anew: bool, say: Callable[..., None]) -> None:
    """`anew`: what a daemon reads when it starts was changed."""
    from reconciler.system import run

    by_hand = f"{_program()} --config {path} run"
    if root != Path("/"):
        say(f"\ninstalled below {root}: nothing is started (by hand: {by_hand})")
        return
    if not Path("/run/systemd/system").is_dir():
        say(f"\nsystemd does not run here: start the daemon with whatever supervises this machine: {by_hand}", "warn")
        return
    for words in (["systemd-tmpfiles", "--create", f"/{installed.TMPFILES}"], ["systemctl", "daemon-reload"]):
        run.program(words, seconds=60)
    if not start:
        say("\nto start it: systemctl enable --now reconciler")
        return
    runs = run.program(["systemctl", "is-active", "--quiet", "reconciler"], seconds=60).code == 0
    done = run.program(["systemctl", "enable", "--now", "reconciler"], seconds=120)
    if done.code == 0 and anew and runs:
        done = run.program(["systemctl", "restart", "reconciler"], seconds=120)
    if done.code != 0:
        raise errors.Terminal(
            f"the service did not start: {done.message} (see journalctl -u reconciler)", reason=Reason.ServiceFailed
        )
    say("\nthe service runs (reconciler status, journalctl -u reconciler)", "ok")
