"""`secrets recipients list`, `add`, `remove`, `follow`: who can read a site's encrypted files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import json_option, key_options, site_argument
from reconciler.cli.site import in_child, source
from reconciler.cli.wanted import fixed_passwords, password_rows, specs
from reconciler.document import sealed
from reconciler.phrases import count
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.secrets import sops
    from reconciler.secrets.recipients import Done, File

AUTHORITY_KEY = (
    ".authority/root.key"  # what `reconciler certificates` signs with: for operators, and no part of what nodes read
)


@dataclass(frozen=True, slots=True)
class Host:
    """A host's SSH key as the inventory declares it, and the files that it reads, those that do not exist yet among them."""

    key: str
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What `children.encrypted` answers: encrypted file → whether it is one secret as a whole, and the hosts."""

    files: dict[str, bool]
    hosts: dict[str, Host]


@click.group()
def recipients() -> None:
    """Show and change who can read the site's encrypted files.

    A recipient is a host of the inventory (its ssh host key, which the inventory has as report_key) or a key: age1…, an
    ssh-ed25519 or ssh-rsa public key, or a file with one.
    """


@recipients.command("list")
@site_argument
@json_option
def list_(site: Path, json_: bool) -> None:
    """Show who can read which files, and where files and .sops.yaml differ."""
    from reconciler.secrets import recipients as work

    answer = _encrypted(site)
    now, said = work.state(site.resolve(), _files(site, answer))
    whose = {host.key: name for name, host in answer.hosts.items() if host.key}
    rows: dict[str, list[str]] = {}
    for file, keys in now.items():
        for key in keys:
            rows.setdefault(key, []).append(file)
    lacking = [(file, key) for file, keys in said.items() for key in keys if not sealed.among(key, now[file])]
    unsaid = [(file, key) for file, keys in said.items() for key in now[file] if not sealed.among(key, keys)]
    unruled = [file for file in now if file not in said]
    if json_:
        output.as_json(
            {
                "recipients": [{"key": k, "host": whose.get(sealed.bare(k), ""), "files": v} for k, v in rows.items()],
                "lacking": [{"file": file, "key": key} for file, key in lacking],
                "unsaid": [{"file": file, "key": key} for file, key in unsaid],
                "unruled": unruled,
            }
        )
        return
    if not now:
        output.line(f"{site} has no encrypted files yet (make passwords.yml with `reconciler secrets generate {site}`)")
    else:
        shown = [[whose.get(sealed.bare(k), "-"), ", ".join(v), k] for k, v in rows.items()]
        output.table(["HOST", "FILES", "RECIPIENT"], shown)
    for file, key in lacking:
        output.line(f"{file} is not encrypted for {key}, whom .sops.yaml names for it", "warn")
    for file, key in unsaid:
        output.line(f"{file} is encrypted for {key}, whom .sops.yaml does not name for it", "warn")
    if lacking or unsaid:
        output.line(f"`reconciler secrets recipients follow {site}` makes the files what .sops.yaml says")
    if unruled:
        output.line(f"no rule of a .sops.yaml fits {', '.join(unruled)}", "warn")


@recipients.command()
@click.argument("who", metavar="HOST|KEY")
@site_argument
@key_options
@json_option
def add(who: str, site: Path, ssh_key_file: Path | None, age_key_file: Path | None, json_: bool) -> None:
    """Let a host or a key read the site's encrypted files.

    A host gets those that it reads, a key gets all; what the same rules of .sops.yaml are about goes along. No value and no ciphertext
    changes, so a node has nothing to do.
    """
    from reconciler.secrets import recipients as work

    answer = _encrypted(site)
    key, host = _recipient(who, answer)
    done = work.add(
        site.resolve(),
        key,
        _files(site, answer),
        reads=answer.hosts[host].reads if host else None,
        note=host,
        keys=_keys(age_key_file, ssh_key_file),
    )
    if json_:
        output.as_json({**_as_json(done), "recipient": key, "host": host})
        return
    name = f"{host} ({key})" if host else key
    if not done.files and not done.rules:
        output.line(f"{name} can read all of that already: nothing changed")
    else:
        output.line(f"{name} added to {_changed(done)}", "ok")
        output.line("commit and push it: no value changed, no ciphertext either")
    _warn_unruled(done)


@recipients.command()
@click.argument("who", metavar="HOST|KEY")
@site_argument
@click.option("--rotate", is_flag=True, help="Also give fresh values to the generated passwords that it could read.")
@key_options
@json_option
def remove(
    who: str, site: Path, rotate: bool, ssh_key_file: Path | None, age_key_file: Path | None, json_: bool
) -> None:
    """Take a host or a key out of all encrypted files and of .sops.yaml.

    The files get new data keys. What it could read it still can, in the history of the repository: those secrets are listed, and
    --rotate gives the generated ones fresh values. The others, and those that a server keeps, stay for you to change.
    """
    answer = _encrypted(site)
    key, host = _recipient(who, answer)
    done = _shut_out(site, answer, key, rotate, _keys(age_key_file, ssh_key_file))
    if json_:
        output.as_json({**done.as_json(), "recipient": key, "host": host})
        return
    output.line(f"{f'{host} ({key})' if host else key} removed from {_changed(done.done)}", "ok")
    _tell_shut_out(done)
    if host:
        output.line(
            f"{host} is still in the inventory, and its node cannot read what it needs any more: in the same commit take it out, or, "
            f"where it has another key now, give that as its report_key and run `reconciler secrets recipients add {host}`",
            "warn",
        )


@recipients.command()
@site_argument
@click.option("--rotate", is_flag=True, help="As with remove, for whoever is shut out.")
@key_options
@json_option
def follow(site: Path, rotate: bool, ssh_key_file: Path | None, age_key_file: Path | None, json_: bool) -> None:
    """Encrypt every file for whom .sops.yaml says that it is, and for nobody else: after .sops.yaml was edited by hand."""
    done = _shut_out(site, _encrypted(site), None, rotate, _keys(age_key_file, ssh_key_file))
    if json_:
        output.as_json(done.as_json())
    elif done.done.files:
        output.line(f"{_changed(done.done)} encrypted as .sops.yaml says", "ok")
        _tell_shut_out(done)
    else:
        output.line("all files are encrypted as .sops.yaml says: nothing changed")
    if not json_:
        _warn_unruled(done.done)


@dataclass(frozen=True, slots=True)
class _ShutOut:
    """What came of shutting somebody out. `generated`: secrets that --rotate can give fresh values; `fixed`: those that a commit cannot
    change → what to do instead."""

    done: "Done"
    generated: frozenset[str]
    fixed: Mapping[str, str]

    @property
    def could(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.done.readable.values() for name in names))

    @property
    def yours(self) -> list[str]:
        return [name for name in self.could if name not in self.generated]

    def as_json(self) -> dict[str, Any]:
        lists = {file: list(names) for file, names in self.done.readable.items()}
        return {**_as_json(self.done), "readable": lists, "yours": self.yours}


def _shut_out(site: Path, answer: Encrypted, key: str | None, rotate: bool, keys: "sops.Keys") -> _ShutOut:
    """Take `key` out; None: whomever .sops.yaml does not name."""
    from reconciler.secrets import recipients as work

    rows = password_rows(site)
    fixed = fixed_passwords(rows)
    generated = [spec for spec in specs(rows) if spec.kind != "blank" and spec.name not in fixed]
    found, chosen = _files(site, answer), generated if rotate else []
    if key is None:
        done = work.follow(site.resolve(), found, rotate=chosen, keys=keys)
    else:
        done = work.remove(site.resolve(), key, found, rotate=chosen, keys=keys)
    return _ShutOut(done, frozenset(spec.name for spec in generated), fixed)


def _tell_shut_out(found: _ShutOut) -> None:
    """What could be read, and what to do about each."""
    if not found.could:
        return
    output.line(f"readable were {count(len(found.could), 'secret')}, and still are in the history of the repository:")
    if found.done.rotated:
        output.line(f"  have fresh values now: {', '.join(found.done.rotated)}", "ok")
    same = [name for name in found.could if name in found.generated and name not in found.done.rotated]
    if same:
        output.line(f"  could get fresh values: {', '.join(same)}", "warn")
        output.line("  for that `git restore` what was changed, and run this again with --rotate", "warn")
    for name in found.yours:
        output.line(f"  yours to replace: {name}{f': {found.fixed[name]}' if name in found.fixed else ''}", "warn")
    if kept := [name for name in found.could if name in found.fixed]:
        output.line(
            "every ciphertext of these files is new. So that the review passes, name in `changed_by_hand` of reconciler.yml with this "
            f"commit: {', '.join(kept)}"
        )


def _recipient(who: str, answer: Encrypted) -> tuple[str, str]:
    """The recipient that an argument means, and the host whose it is, or "".

    Raises errors.Terminal: ReportKeyMissing for a host without a key, SopsNoRecipients for what is neither host nor key.
    """
    text = who.strip()
    if text in answer.hosts:
        key = answer.hosts[text].key
        if not key:
            raise errors.Terminal(
                f"inventory.yml declares no report_key for {text}, so its key is not known (add its /etc/ssh/ssh_host_ed25519_key.pub "
                f"as report_key there, or say the key or its file in the place of {text}: `reconciler secrets recipients list` has them)",
                reason=Reason.ReportKeyMissing,
            )
        return key, text
    if not sealed.is_recipient(text) and Path(text).is_file():
        text = Path(text).read_text(errors="replace").strip()
        if "PRIVATE KEY" in text or "AGE-SECRET-KEY" in text:
            raise errors.Terminal(
                f"{who} is a private key: it stays where it is (give its public half)", reason=Reason.SopsNoRecipients
            )
    if not sealed.is_recipient(text):
        hosts = ", ".join(sorted(answer.hosts)[:8])
        raise errors.Terminal(
            f"{who[:80]!r} is neither a host of the inventory ({hosts}) nor a key (age1…, an ssh-ed25519 or ssh-rsa public key, or a file "
            "with one; of a host that is not there any more say the key: `reconciler secrets recipients list` has it)",
            reason=Reason.SopsNoRecipients,
        )
    key = sealed.bare(text)
    return key, next((name for name, host in answer.hosts.items() if host.key and sealed.same_key(host.key, key)), "")


def _keys(age_key_file: Path | None, ssh_key_file: Path | None) -> "sops.Keys":
    """What the options of keys say."""
    from reconciler.secrets import sops

    return sops.Keys(age_key_file, ssh_key_file)


def _encrypted(site: Path) -> Encrypted:
    return in_child("encrypted", {"source": source(site)}, Encrypted)


def _files(site: Path, answer: Encrypted) -> "list[File]":
    """The encrypted files of a site, the key of its authority among them."""
    from reconciler.secrets.recipients import File

    apart = [File(AUTHORITY_KEY, True, apart=True)] if (site / AUTHORITY_KEY).exists() else []
    return [*(File(name, whole) for name, whole in answer.files.items()), *apart]


def _changed(done: "Done") -> str:
    """What was changed, in words."""
    files = f"{count(len(done.files), 'file')} ({', '.join(done.files)})" if done.files else ""
    return " and ".join(part for part in (str(done.rules) if done.rules else "", files) if part)


def _as_json(done: "Done") -> dict[str, Any]:
    return {
        "files": list(done.files),
        "rules": str(done.rules) if done.rules else None,
        "unruled": list(done.unruled),
        "rotated": list(done.rotated),
    }


def _warn_unruled(done: "Done") -> None:
    if done.unruled:
        output.line(f"no rule of a .sops.yaml fits {', '.join(done.unruled)}: only the files themselves count", "warn")
