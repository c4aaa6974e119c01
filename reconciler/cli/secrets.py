"""`secrets generate`, `rotate`, `check`: the encrypted passwords of a site."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import json_option, key_options, site_argument
from reconciler.cli.recipients import recipients as recipients_group
from reconciler.cli.site import answer_of, in_child, source
from reconciler.cli.wanted import fixed_passwords, password_rows, specs, wanted_passwords
from reconciler.phrases import count
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.secrets import sops
    from reconciler.secrets.passwords import PasswordSpec
    from reconciler.site.users import Renamed

FILE = "passwords.yml"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What `children.sealed` answers: dotted name → whether it is set, for whom the file is encrypted, and what sops is given
    of it."""

    names: dict[str, bool]
    recipients: tuple[str, ...]
    text: str


@click.group()
def secrets() -> None:
    """Fill, rotate and check a site's passwords, and change who can read them.

    They are in passwords.yml, encrypted with sops for age recipients.
    """


secrets.add_command(recipients_group)


@secrets.command()
@site_argument
@click.option(
    "--recipient", "recipients", multiple=True, help="For whom to encrypt a new file; default: as .sops.yaml says."
)
@click.option("--service", "services", multiple=True, help="Only the passwords of this service; may be repeated.")
@key_options
@json_option
def generate(
    site: Path,
    recipients: tuple[str, ...],
    services: tuple[str, ...],
    ssh_key_file: Path | None,
    age_key_file: Path | None,
    json_: bool,
) -> None:
    """Fill in what passwords.yml lacks and nothing else: everything that is there keeps its ciphertext."""
    from reconciler.secrets import passwords, sops

    wanted = wanted_passwords(site, services)
    keys = sops.Keys(age_key_file, ssh_key_file)
    if output.fancy():
        filled = _with_progress(site / FILE, wanted, recipients, keys)
    else:
        filled = passwords.generate(site / FILE, wanted, recipients or None, keys=keys)
    if json_:
        output.as_json({"file": str(site / FILE), "filled": filled})
    elif filled:
        output.line(f"{len(filled)} filled in {site / FILE}: {', '.join(filled)}")
    else:
        output.line(f"{site / FILE} is complete: nothing changed")


@secrets.command()
@site_argument
@click.option("--name", "name", required=True, help="The password to replace.")
@click.option("--same-user", is_flag=True, help="Keep the user's name, where its server knows one password for it.")
@key_options
@json_option
def rotate(
    site: Path, name: str, same_user: bool, ssh_key_file: Path | None, age_key_file: Path | None, json_: bool
) -> None:
    """Give one password a fresh value; the others keep their ciphertext.

    A user whose server knows one password for it (RabbitMQ's) gets another name in globals.yml as well: both are let in until the last
    host has carried out the commit, and then the former user goes.
    """
    from reconciler.document.words import suggest
    from reconciler.plan import rotation
    from reconciler.secrets import passwords, sops
    from reconciler.site.layout import GLOBALS

    rows = password_rows(site)
    spec = next((spec for spec in specs(rows) if spec.name == name), None)
    if spec is None:
        near = suggest(name, [spec.name for spec in specs(rows)])
        hint = f" ({near})" if near else ""
        raise errors.Terminal(f"no service uses a password {name!r}{hint}", reason=Reason.SecretUnknown)
    variable = next((row["user"] for row in rows if row["name"] == name and row.get("user")), "")
    user = None if same_user or not variable else _another_user(site, variable)
    passwords.rotate(site / FILE, name, spec, keys=sops.Keys(age_key_file, ssh_key_file))
    if user and user.text:
        put(site / GLOBALS, user.text)
    if json_:
        changed = {"variable": variable, "before": user.before, "after": user.after} if user and user.text else None
        output.as_json({"file": str(site / FILE), "rotated": [name], "user": changed})
    else:
        output.line(f"{name} rotated in {site / FILE}")
        if user and user.text:
            output.line(
                f"{variable} is {user.after} in {site / GLOBALS}: {user.before} goes when no host needs it any more"
            )
    if user and user.refused:
        output.line(
            f"{user.refused}: give the user another name there in the same commit. With the same one, hosts whose turn has not come are not let "
            "in anew meanwhile",
            "warn",
            err=json_,
        )
    for felt in dict.fromkeys(row["meanwhile"] for row in rows if row["name"] == name and row.get("meanwhile")):
        output.line(f"until every host has it: {' '.join(felt.split())}", "warn", err=json_)
    if instead := fixed_passwords(rows).get(name):
        output.line(rotation.message(name, instead), "warn", err=json_)


@secrets.command()
@site_argument
@key_options
@json_option
def check(site: Path, ssh_key_file: Path | None, age_key_file: Path | None, json_: bool) -> int:
    """Tell whether passwords.yml is encrypted and complete, and for whom; with a key also whether it opens, and whether every
    value can be written where it is used.

    Exits with 0 when all is well, 1 otherwise.
    """
    from reconciler.secrets import sops
    from reconciler.system import files

    try:
        files.read_nofollow(site, FILE)
    except FileNotFoundError:
        raise errors.Terminal(
            f"{site / FILE} does not exist (make it with `reconciler secrets generate {site}`)",
            reason=Reason.SecretMissing,
        ) from None
    found = in_child("sealed", {"source": source(site), "file": FILE}, Sealed)
    present, recipients = found.names, found.recipients
    wanted = wanted_passwords(site)
    missing, open_ = unset(wanted, present)
    names = {spec.name for spec in wanted}
    unused = sorted(name for name in {key.partition(".")[0] for key in present} if name not in names)
    opened: bool | None = None
    unwritable: list[str] = []
    untried = ""
    if ssh_key_file or age_key_file:
        keys = sops.Keys(age_key_file, ssh_key_file)
        sops.unlock(found.text.encode(), name=FILE, recipients=recipients, keys=keys)
        opened = True
        unwritable, untried = _unwritable(site, keys)
    if json_:
        lists = {"missing": missing, "left_to_you": open_, "unused": unused, "unwritable": unwritable}
        output.as_json({**lists, "recipients": recipients, "opened": opened})
        return 1 if missing or unwritable else 0
    output.line(f"{FILE}: {count(len(present), 'value')}, encrypted for {count(len(recipients), 'recipient')}")
    for recipient in recipients:
        output.line(f"  {recipient}")
    if opened:
        output.line("the given key opens it", "ok")
    if unused:
        output.line(f"used by no service: {', '.join(unused)}", "warn")
    if open_:
        output.line(f"yours to choose, where they are used: {', '.join(open_)} (sops edit {site / FILE})")
    if missing:
        output.line(f"missing: {', '.join(missing)} (run `reconciler secrets generate {site}`)", "fail")
    for message in unwritable:
        output.line(message, "fail")
    if untried:
        output.line(
            f"whether every value can be written is not known: {untried} (run `reconciler validate {site}`)", "warn"
        )
    return 1 if missing or unwritable else 0


def _unwritable(site: Path, keys: "sops.Keys") -> tuple[list[str], str]:
    """Values that cannot be written where they are used; or why that could not be tried."""
    from reconciler.render import formats
    from reconciler.source import prepare

    found: dict[str, None] = {}
    try:
        for host in in_child("kinds", {"source": source(site)}, tuple[str, ...]):
            answer = answer_of(site, host)
            try:
                opened = prepare.unlock(answer.locked, answer.desired, keys)
            except errors.Terminal as error:
                if error.reason != Reason.SopsNoKey:
                    raise
                continue  # a host whose own files this key does not open
            for file in answer.desired.files:
                found.update({str(error): None for error in formats.unwritable(file, opened)})
    except errors.SiteInvalid as error:
        return [], str(error)
    return list(found), ""


def _another_user(site: Path, variable: str) -> "Renamed":
    from reconciler.site.users import Renamed

    return in_child("renamed", {"source": source(site), "variable": variable}, Renamed)


def put(path: Path, text: str) -> None:
    """Write a file of the site that may not be there yet. Raises errors.Terminal where somebody else changed it meanwhile."""
    from reconciler.secrets import in_place
    from reconciler.system import files

    try:
        before, _ = files.read_nofollow(path.parent, path.name)
    except FileNotFoundError:
        files.write_atomic(path, text.encode(), mode=0o644)
        return
    in_place.replace([in_place.Replacement(path, before, text.encode())])


def unset(wanted: Sequence["PasswordSpec"], present: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """The passwords without a value: those that can be generated, and those that are an operator's to choose. `present` as in Sealed."""
    found = [spec for spec in wanted if not _has(spec.name, present)]
    return [s.name for s in found if s.kind != "blank"], [s.name for s in found if s.kind == "blank"]


def _has(name: str, present: Mapping[str, bool]) -> bool:
    return any(is_set for key, is_set in present.items() if key == name or key.startswith(f"{name}."))


def _with_progress(path: Path, wanted: list["PasswordSpec"], recipients: tuple[str, ...], keys: Any) -> list[str]:
    from rich.progress import Progress

    from reconciler.secrets import passwords

    with Progress(transient=True) as bar:
        task = bar.add_task("generating", total=None)
        return passwords.generate(
            path,
            wanted,
            recipients or None,
            keys=keys,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
