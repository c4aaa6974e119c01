"""`init`: a new site that validates and plans at once."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from reconciler import errors
from reconciler.cli import checkout, output, problems, written
from reconciler.cli.aside import aside, settle
from reconciler.cli.options import json_option
from reconciler.cli.site import Validated, in_child, source
from reconciler.phrases import few
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.cli.scaffold import NewHost
    from reconciler.model import Plan
    from reconciler.secret import Secret

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Key:
    """Somebody's age key: its file, its recipient, and what the file is to hold when it is not there yet."""

    file: Path
    recipient: str
    content: "Secret | None" = None


@dataclass(frozen=True, slots=True)
class _Made:
    """A site that is there: the passwords that were filled, warnings, and what each host would do."""

    passwords: list[str]
    warnings: list[errors.Problem]
    plans: "list[Plan]"


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--name", help="The site's name. Default: the folder's.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME=ADDRESS[,GROUP...]",
    help="A host and its address in the management network; may be repeated. Without groups the first is a controller "
    "(control, network), the others run instances (compute).",
)
@click.option("--vip", help="A free address of that network, under which the services are reached.")
@click.option("--interface", help="The hosts' interface in that network.")
@click.option(
    "--host-key",
    "host_keys",
    multiple=True,
    metavar="HOST=FILE",
    help="A host's /etc/ssh/ssh_host_ed25519_key.pub: it opens the passwords with its own key; may be repeated.",
)
@click.option(
    "--age-key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Your age key; made if it does not exist. Default: ~/.config/reconciler/NAME.agekey.",
)
@click.option("--no-age-key", is_flag=True, help="Encrypt for the hosts' keys only.")
@click.option("--git", "commit", is_flag=True, help="Commit it, in a new Git repository if it is in none.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: take the defaults.")
@json_option
def init(
    directory: Path,
    name: str | None,
    hosts: tuple[str, ...],
    vip: str | None,
    interface: str | None,
    host_keys: tuple[str, ...],
    age_key_file: Path | None,
    no_age_key: bool,
    commit: bool,
    yes: bool,
    json_: bool,
) -> None:
    """Make a new site in an empty folder.

    Asks for what the options leave open, writes the site's files with explanations in them, makes the key that opens
    its passwords, fills those, and ends with what `validate` and `plan` say about it. A clone of an empty repository is an
    empty folder, too. When anything goes wrong nothing is left behind.
    """
    from reconciler.cli import scaffold

    written.require_unlinked(directory)
    target = directory.resolve()
    _require_empty(target)
    site = ask("Name of the site", name, as_name(target.name), yes, scaffold.parse_name)
    machines = _machines(hosts, yes)
    vip = ask(
        "A free address, for the services",
        vip,
        scaffold.suggested_vip(machines),
        yes,
        lambda text: scaffold.parse_vip(text, machines),
    )
    interface = ask("Interface of the management network", interface, "eth0", yes, scaffold.parse_interface)
    recipients = _host_recipients(host_keys, machines)
    key = None if no_age_key else _key(age_key_file or _config_home() / "reconciler" / f"{site}.agekey", target)
    if key is None and not recipients:
        raise errors.Terminal(
            "without an age key somebody has to open the passwords: give --host-key", reason=Reason.AnswerInvalid
        )
    told = _told_keys(recipients, machines, key)
    everybody = (*recipients.values(), *((key.recipient,) if key else ()))
    files = scaffold.make(scaffold.Answers(site, machines, vip, interface, everybody, told, recipients))
    with output.progress("making the site"):
        made = _build(target, files, key)
    committed = _commit(target) if commit else ""
    names = sorted([*files, "passwords.yml"])
    if json_:
        output.as_json(
            {
                "directory": str(target),
                "files": names,
                "age_key_file": str(key.file) if key else None,
                "recipients": list(everybody),
                "passwords": made.passwords,
                "warnings": [str(problem) for problem in made.warnings],
                "actions": {plan.host: len(plan.actions) for plan in made.plans},
                "commit": committed or None,
            }
        )
    else:
        _tell(target, directory, len(names), key, made, told, committed)


# --- what is asked ---------------------------------------------------------------------------------------------------


def ask(question: str, given: str | None, default: str, yes: bool, check: Callable[[str], T]) -> T:
    """An answer, through `check`: what an option gave, else the default or what somebody types, asked again until it fits."""
    if given is not None or yes:
        return check(default if given is None else given)

    def checked(text: str) -> T:
        try:
            return check(text)
        except errors.Terminal as error:
            raise click.UsageError(str(error)) from None

    try:
        answer: T = click.prompt(question, default=default, show_default=bool(default), value_proc=checked, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise errors.Terminal(
            f"nobody answers {question!r}: give it as an option, or --yes for the defaults", reason=Reason.AnswerInvalid
        ) from None
    return answer


def _require_empty(target: Path) -> None:
    # A clone of a repository that is still empty is as good as an empty folder.
    if target.is_dir() and (there := sorted(path.name for path in target.iterdir() if path.name != ".git")):
        raise errors.Terminal(f"{target} is not empty ({few(there)}): name a new folder", reason=Reason.OutputNotEmpty)


def as_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:63] or "site"


def _machines(given: Sequence[str], yes: bool) -> "tuple[NewHost, ...]":
    from reconciler.cli.scaffold import NewHost, parse_address, parse_host, parse_name

    found: list[NewHost] = []
    for text in given:
        found.append(parse_host(text, found))
    if not found:
        name = ask("First host's name", None, "ctl1", yes, parse_name)
        address = ask(f"Address of {name} in the management network", None, "10.0.0.11", yes, parse_address)
        found.append(parse_host(f"{name}={address}", found))
        question = "Another host, as NAME=ADDRESS or NAME=ADDRESS,GROUP,GROUP (empty: no more)"
        while not yes and (
            more := ask(question, None, "", yes, lambda text: parse_host(text, found) if text.strip() else None)
        ):
            found.append(more)
    return tuple(found)


# --- keys ------------------------------------------------------------------------------------------------------------


def _host_recipients(given: Sequence[str], machines: "Sequence[NewHost]") -> dict[str, str]:
    """Host → recipient, in the order given."""
    from reconciler.cli.scaffold import public_key

    found = {}
    for text in given:
        name, _, path = text.partition("=")
        if name not in {host.name for host in machines} or not path:
            raise errors.Terminal(
                f"--host-key {text}: write it HOST=FILE, with one of {', '.join(host.name for host in machines)}",
                reason=Reason.AnswerInvalid,
            )
        try:
            content = Path(path).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not a text"
            raise errors.Terminal(f"{path} cannot be read: {why}", reason=Reason.AnswerInvalid) from None
        found[name] = public_key(content, path)
    return found


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _key(file: Path, target: Path) -> _Key:
    """The key in a file, or a fresh one for it."""
    from reconciler.cli.scaffold import new_identity
    from reconciler.secrets import sops

    path = file.expanduser().resolve()
    if path.is_relative_to(target):
        raise errors.Terminal(f"{path} would lie in the site itself: keys stay outside", reason=Reason.AnswerInvalid)
    if path.exists():
        known = sops.identities(sops.Keys(path))
        if not known:
            raise errors.Terminal(
                f"{path} names no recipient: it needs the line `# public key: age1…` that age-keygen writes",
                reason=Reason.AnswerInvalid,
            )
        return _Key(path, known[0])
    content, recipient = new_identity(datetime.now(UTC))
    return _Key(path, recipient, content)


def _told_keys(recipients: Mapping[str, str], machines: "Sequence[NewHost]", key: _Key | None) -> str:
    """How hosts open the passwords, for the README and the terminal."""
    own = [host.name for host in machines if host.name in recipients]
    others = [host.name for host in machines if host.name not in recipients]
    lines = []
    if own:
        lines.append(f"{', '.join(own)}: opens the passwords with its own ssh host key; there is nothing to copy.")
    if others:
        lines.append(
            f"{', '.join(others)}: run `reconciler secrets recipients add KEY` with the host's /etc/ssh/ssh_host_ed25519_key.pub, commit."
        )
    if others and key:
        lines.append(
            f"Or copy {key.file.name} to the host as /etc/reconciler/age.key (owner root, mode 0600) and add "
            "`--age-key-file /etc/reconciler/age.key`."
        )
    return "\n".join(lines)


# --- the site --------------------------------------------------------------------------------------------------------


def _build(target: Path, files: Mapping[str, str], key: _Key | None) -> _Made:
    """Make everything aside and move it into place when it is complete. Raises errors.SiteInvalid, errors.ReconcilerError."""
    from reconciler.cli.plan import site_plans
    from reconciler.cli.secrets import FILE
    from reconciler.cli.wanted import wanted_passwords
    from reconciler.secrets import passwords, sops

    with aside(target) as scratch:
        for path, content in files.items():
            (scratch / path).parent.mkdir(parents=True, exist_ok=True)
            (scratch / path).write_text(content)
        filled = passwords.generate(
            scratch / FILE, wanted_passwords(scratch), keys=sops.Keys(key.file if key else None)
        )
        answer = in_child("validate", {"source": source(scratch), "all_hosts": True}, Validated)
        found = list(answer.problems)
        if problems.count(found)[0]:
            raise errors.SiteInvalid(found)
        plans, _, _ = site_plans(scratch, (), None)
        settle(scratch, target, _written(key))
    return _Made(filled, found, plans)


def _written(key: _Key | None) -> list[Path]:
    """Write the key where it is not there yet."""
    from reconciler.system import files

    if key is None or not key.content:
        return []
    key.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write_atomic(key.file, key.content.reveal().encode(), mode=0o600)
    return [key.file]


def _commit(target: Path) -> str:
    """Commit everything; the commit's id. Raises errors.Terminal (GitFailed)."""
    from reconciler.system import run

    who = {name: value for name, value in os.environ.items() if name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_"))}
    environment = {**who, "HOME": os.environ.get("HOME", "/")}
    steps: list[list[str]] = [] if checkout.find(target) else [["init", "-q", "--initial-branch=main"]]
    steps += [
        ["add", "--all", "."],
        ["commit", "-q", "-m", "A site that validates and plans", "--", "."],
        ["rev-parse", "HEAD"],
    ]
    text = ""
    for words in steps:
        done = run.program(["git", *words], cwd=target, env=environment)
        if done.code:
            raise errors.Terminal(
                f"the site is made, and not committed: git {words[0]}: {done.message} (commit it yourself)",
                reason=Reason.GitFailed,
            )
        text = done.stdout.decode().strip()
    return text


def _tell(target: Path, directory: Path, count: int, key: _Key | None, made: _Made, told: str, committed: str) -> None:
    from reconciler.report import text

    output.line(f"{count} files in {target}" + (f", committed as {committed[:12]}" if committed else ""), "ok")
    output.line(f"{len(made.passwords)} passwords in passwords.yml, encrypted")
    if key:
        origin = "keep a copy of it" if key.content else "it was there already"
        output.line(f"your key, which opens them: {key.file} ({origin})", "warn")
    output.line(problems.text(made.warnings, len(made.plans)))
    for hosts, plan in text.grouped(made.plans):
        output.line(f"{text.host_list(hosts)}: {text.summary(plan)}")
    output.line()
    output.line("next:")
    if target != Path.cwd():
        output.line(f"  cd {shlex.quote(str(directory))}")
    if key:
        output.line(f"  export SOPS_AGE_KEY_FILE={shlex.quote(str(key.file))}   # for sops edit passwords.yml")
    output.line("  reconciler plan --base nothing .   # all that the hosts would do")
    if not committed:
        started = checkout.find(target)
        output.line(f"  {'' if started else 'git init -b main && '}git add --all . && git commit -m 'A new site'")
    output.line("  git push   # to a branch that only reviewed merge requests change")
    output.line("  reconciler node install --url URL --branch main --host HOST   # on each host, as root")
    for line in told.splitlines():
        output.line(f"    {line}")
