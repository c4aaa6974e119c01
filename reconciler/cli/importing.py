"""`import kolla-ansible`: a site from kolla-ansible's own folder and inventory."""

import difflib
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import import_addresses, output, problems, written
from reconciler.cli.aside import aside, settle
from reconciler.cli.options import json_option, key_options
from reconciler.cli.site import Validated, in_child, source
from reconciler.codec import to_json
from reconciler.phrases import count, few
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.catalogue import Catalogue
    from reconciler.importer.convert import Options
    from reconciler.importer.types import Input, Result, Source
    from reconciler.secret import Secret
    from reconciler.secrets.sops import Keys

_ROUNDS = 10  # what validation refuses is left out, which may make more be refused


@click.group("import")
def import_() -> None:
    """Make a site from what another tool is given today. That tool's files are only read."""


@import_.command("kolla-ansible")
@click.option(
    "--etc",
    required=True,
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="The folder with globals.yml.",
)
@click.option(
    "--inventory", "inventories", required=True, multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Its inventory, a file or a folder, INI or YAML; may be repeated. group_vars and host_vars beside it are read, too.",
)  # fmt: skip
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder of the new site."
)
@click.option(
    "--age-recipient",
    "recipients",
    multiple=True,
    metavar="KEY",
    help="For whom secrets are encrypted: age1…, or an SSH public key or its file; may be repeated.",
)
@click.option(
    "--facts",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Ansible's fact cache, one JSON file a host.",
)
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="HOST[:NETWORK]=ADDRESS",
    help="A host's address in a network, the management network where none is named; may be repeated.",
)
@click.option(
    "--vault-password-file", "vault_files", multiple=True, type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="What opens files of ansible-vault; may be repeated.",
)  # fmt: skip
@click.option("--ask-vault-password", is_flag=True, help="Ask for it.")
@click.option("--name", help="The site's name. Default: the folder's.")
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), help="File to write the report into, as a page."
)
@click.option(
    "--all", "everything", is_flag=True, help="Show every input, not only those that somebody has to look at."
)
@click.option("--yes", is_flag=True, help="Ask for no address: list those that are missing.")
@click.option("--check", is_flag=True, help="Write nothing: say what would differ from the site that is there.")
@key_options
@json_option
def kolla_ansible(
    etc: Path,
    inventories: tuple[Path, ...],
    out: Path,
    recipients: tuple[str, ...],
    facts: Path | None,
    addresses: tuple[str, ...],
    vault_files: tuple[Path, ...],
    ask_vault_password: bool,
    name: str | None,
    page: Path | None,
    everything: bool,
    yes: bool,
    check: bool,
    ssh_key_file: Path | None,
    age_key_file: Path | None,
    json_: bool,
) -> int:
    """Make a site from kolla-ansible's globals.yml, passwords.yml, inventory and config/.

    Every input ends in the report exactly once. Secrets are encrypted before they reach a disk. What validation refuses is
    left out, as a comment with the reason. Into a folder that holds a site already nothing is written: it is compared, and
    --age-key-file (or --ssh-key-file) lets that look at secrets, too.

    Addresses of hosts come from --address, else --facts, else the inventory. What none of them says is asked at a terminal, and
    listed elsewhere.

    Exits with 0 when the site validates and nothing is missing (or, compared, nothing differs), 1 otherwise.
    """
    from reconciler import catalogue, data
    from reconciler.cli import scaffold
    from reconciler.importer import collect, convert, report
    from reconciler.importer.vault import Vault
    from reconciler.secrets import sops
    from reconciler.system import scratch

    vault = Vault(*_vault_passwords(vault_files, ask_vault_password))
    read = collect.collect(etc, inventories, facts, vault)
    shipped = catalogue.load(data.services(), "catalogue", trusted=True)
    recipients = tuple(map(_recipient, recipients))
    options = convert.Options(
        name or _name(out), recipients, import_addresses.parse(addresses, read), now=datetime.now(UTC)
    )
    written.require_unlinked(out)
    target = out.resolve()
    there = target.is_dir() and any(path.name != ".git" for path in target.iterdir())
    if check and not there:
        raise errors.Terminal(f"{out} holds no site to compare with", reason=Reason.ImportImpossible)
    first = convert.convert(read, shipped, options)
    if first.missing and there:
        options = replace(options, addresses=import_addresses.of_site(target, first.missing, options.addresses))
    elif first.missing and not (yes or json_) and import_addresses.somebody_is_there():
        _Encrypted(recipients).require(first)
        options = replace(options, addresses=import_addresses.ask(first.missing, options.addresses))
    with output.progress("importing"):
        if there:
            with scratch.folder("reconciler-import-") as made:
                result, left = _tried(
                    read, shipped, options, made, _Encrypted((scaffold.new_identity(datetime.now(UTC))[1],))
                )
            compared = _compare(result, target, sops.Keys(age_key_file, ssh_key_file), bool(recipients))
        else:
            with aside(target) as made:
                result, left = _tried(read, shipped, options, made, _Encrypted(recipients))
                settle(made, target)
    if page:
        written.write(page, report.page(result, options.name))
    if there:
        return _tell_compared(out, compared, json_)
    _tell(out, result, left, everything, json_)
    return 1 if problems.count(left)[0] else 0


# --- what is asked ---------------------------------------------------------------------------------------------------


def _name(out: Path) -> str:
    from reconciler.cli.init import as_name

    return as_name(out.resolve().name)


def _recipient(given: str) -> str:
    """As given, or out of a file that is named: an SSH public key without its comment."""
    from reconciler.document import sealed

    path = Path(given)
    if given.startswith("age1") or not path.is_file():
        return given
    return sealed.bare(path.read_text(encoding="utf-8"))


def _vault_passwords(paths: tuple[Path, ...], ask: bool) -> "list[Secret]":
    from reconciler.secret import Secret

    found = []
    for path in paths:
        content = path.read_bytes()
        if content.startswith(b"#!"):
            message = f"{path} is a program: write what it prints into a file, and name that"
            raise errors.Terminal(message, reason=Reason.ImportImpossible)
        found.append(Secret(content.decode().strip()))
    if ask:
        found.append(Secret(click.prompt("Vault password", hide_input=True, err=True)))
    return found


# --- the site --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Encrypted:
    """Encrypts what is secret, each value once however often the site is made."""

    recipients: tuple[str, ...]
    _done: dict[str, tuple[Any, bytes]] = field(default_factory=dict, repr=False)

    def require(self, result: "Result") -> None:
        """Raise errors.Terminal when there are secrets and nobody who could read them."""
        number = len(result.secrets) + len(result.sealed)
        if number and not self.recipients:
            message = (
                f"{count(number, 'file')} of secrets and nobody to encrypt for: give --age-recipient "
                "(an operator's age1…, a host's /etc/ssh/ssh_host_ed25519_key.pub)"
            )
            raise errors.Terminal(message, reason=Reason.SopsNoRecipients)

    def files(self, result: "Result") -> dict[str, bytes]:
        """The encrypted files of a site by path. Raises errors.Terminal."""
        from reconciler.secrets import sops

        self.require(result)
        wanted: dict[str, Any] = {**result.secrets, **result.sealed}
        for path, value in wanted.items():
            if path not in self._done or self._done[path][0] != value:
                if path in result.sealed:
                    content = sops.encrypt_whole(result.sealed[path], self.recipients, name=Path(path).name)
                else:
                    content = sops.encrypt(value, self.recipients)
                self._done[path] = value, content
        return {path: self._done[path][1] for path in wanted}


def _tried(
    read: "Source", shipped: "Catalogue", options: "Options", scratch: Path, encrypted: _Encrypted
) -> "tuple[Result, list[errors.Problem]]":
    """The site in `scratch`, without what validation refuses of it; and what is wrong with it all the same."""
    from reconciler.importer.convert import convert

    for _ in range(_ROUNDS):
        result = convert(read, shipped, options)
        texts = {path: text.encode() for path, text in result.files.items()}
        _write(scratch, {**texts, **result.binary, **encrypted.files(result)})
        found = list(in_child("validate", {"source": source(scratch), "all_hosts": True}, Validated).problems)
        # Without a host's address nothing that names it can be said, and no variable is to blame for that.
        refused = {} if result.missing else _refused(result, found)
        if not refused:
            break
        options = replace(options, refused={**options.refused, **refused})
    return result, found


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put exactly these files into a folder."""
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def _refused(result: "Result", found: list[errors.Problem]) -> "Mapping[Input, str]":
    """Which inputs validation refuses, with its words."""
    refused: dict[Input, str] = {}
    files = {
        entry.target: entry.input
        for entry in result.entries
        if entry.input.kind == "file" and entry.target.startswith("config/")
    }
    for problem in found:
        if problem.severity == "error":
            of = result.lines.get(problem.file, {}).get(problem.line) or files.get(problem.file)
            if of is not None:
                refused.setdefault(of, problem.text)
    return refused


# --- comparing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Compared:
    """What the import would make otherwise, as lines, and the files of which that is not known."""

    differing: list[str]
    unknown: list[str]


def _compare(result: "Result", target: Path, keys: "Keys", rules: bool) -> _Compared:
    """The import against the site that is there. Without a key only the names of secrets are compared."""
    found = _Compared([], [])
    for path, text in result.files.items():
        if path == ".sops.yaml" and not rules:
            continue
        try:
            there = (target / path).read_bytes()
        except OSError:
            found.differing.append(f"{path}: is not there")
            continue
        if there != text.encode():
            found.differing.extend(_lines(path, there.decode(errors="replace"), text))
    for path, content in result.binary.items():
        file = target / path
        if not file.is_file() or file.read_bytes() != content:
            found.differing.append(f"{path}: {'has another content' if file.is_file() else 'is not there'}")
    for path, value in {**result.secrets, **{path: {"data": whole} for path, whole in result.sealed.items()}}.items():
        _compare_secrets(path, value, target, keys, found)
    return found


def _lines(path: str, there: str, made: str) -> list[str]:
    """Which lines differ, without those of the site: whatever was typed there may be anything."""
    old, new = there.splitlines(), made.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [(i1 + 1, i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in blocks if kind != "equal"]
    return [f"{path}:{line}: {count(gone, 'line')} there, {come} in the import" for line, gone, come in changed]


def _compare_secrets(path: str, value: "Mapping[str, Any]", target: Path, keys: "Keys", found: _Compared) -> None:
    from reconciler.secrets import sops

    try:
        content = (target / path).read_bytes()
    except OSError:
        found.differing.append(f"{path}: is not there")
        return
    if not (keys.age_key_file or keys.ssh_key_file):
        names = sops.names(content, name=path)
        found.differing.extend(f"{path}: {name} is not there" for name in value if name not in names)
        found.unknown.append(path)
        return
    examined = sops.examine(content, name=path)
    there = sops.unlock(examined.text, name=path, recipients=examined.recipients, keys=keys, exact=True)
    for name, secret in value.items():
        if name not in there:
            found.differing.append(f"{path}: {name} is not there")
        elif there[name] != secret:
            found.differing.append(f"{path}: {name} has another value")


# --- what is told ----------------------------------------------------------------------------------------------------


def _tell_compared(out: Path, compared: _Compared, json_: bool) -> int:
    if json_:
        output.as_json({"differing": compared.differing, "not_compared": compared.unknown})
        return 1 if compared.differing else 0
    for line in compared.differing:
        output.line(line)
    if compared.unknown:
        output.line(f"only names were compared of {few(compared.unknown)}: give --age-key-file", "warn")
    if compared.differing:
        output.line(f"{out} has moved on: {count(len(compared.differing), 'difference')}; nothing was written", "warn")
        return 1
    output.line(f"{out} is what the import makes: nothing was written", "ok")
    return 0


def _tell(out: Path, result: "Result", left: list[errors.Problem], everything: bool, json_: bool) -> None:
    from reconciler.importer import report

    if json_:
        output.as_json({**report.document(result), "directory": str(out), "problems": to_json(left)})
        return
    output.line(report.text(result, everything))
    output.line()
    _tell_problems(result, left)
    output.line(
        f"{len(result.files) + len(result.binary) + len(result.secrets) + len(result.sealed)} files in {out}", "ok"
    )
    if result.secrets or result.sealed:
        output.line("secrets are encrypted; what no service here uses yet is in .kolla-ansible/")
    output.line(f"next: cd {shlex.quote(str(out))}; reconciler validate; reconciler plan --base nothing")


def _tell_problems(result: "Result", left: list[errors.Problem]) -> None:
    """What validation says. Of hosts without an address it says much that follows from that alone."""
    failed = [one for one in left if one.severity == "error"]
    if not failed:
        output.line(f"the site validates ({count(len(left), 'warning')})", "ok")
        return
    if any(what.network == "network" for what in result.missing):
        output.line(f"validation finds {count(len(failed), 'error')}; first give the missing addresses", "fail")
        return
    output.line(problems.text(left, 0))
    if any("is missing" in one.message and one.file == "passwords.yml" for one in failed):
        output.line(
            "passwords of a cloud that runs cannot be made up: put them into passwords.yml with `sops edit`", "warn"
        )
