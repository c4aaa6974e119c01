"""`upgrade-site`: a site's files for another release of OpenStack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler import errors
from reconciler.cli import output, problems
from reconciler.cli.options import json_option, key_options, site_argument
from reconciler.cli.site import in_child, source
from reconciler.codec import to_json
from reconciler.phrases import count

if TYPE_CHECKING:
    from reconciler.secrets.passwords import PasswordSpec


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What `children.upgraded` answers: files that change by path; each change; what is left to an operator; what is wrong with the site
    then."""

    files: Mapping[str, str]
    done: tuple[errors.Problem, ...]
    left: tuple[errors.Problem, ...]
    problems: tuple[errors.Problem, ...]


@click.command("upgrade-site")
@site_argument
@click.option("--to", "release", required=True, help="The release of OpenStack to go to, for example 2026.1.")
@click.option("--check", is_flag=True, help="Change nothing, and say what would change.")
@key_options
@json_option
def upgrade_site(
    site: Path, release: str, check: bool, ssh_key_file: Path | None, age_key_file: Path | None, json_: bool
) -> int:
    """Rewrite a site's variables for another release.

    Sets openstack_release, renames what has another name there, makes a comment of what is gone, and fills in passwords that
    passwords.yml lacks; everything else keeps every byte. Lists what is left to you. Nothing is committed.

    Exits with 0 when the site is ready for a merge request, 1 when something is left to do.
    """
    from reconciler.cli.secrets import FILE
    from reconciler.cli.wanted import wanted_passwords
    from reconciler.secrets import passwords, sops

    with output.progress("reading"):
        found = in_child("upgraded", {"source": source(site), "release": release}, Rewritten)
    wanted = wanted_passwords(site)
    lacking = _lacking(site, wanted)
    filled: list[str] = []
    if not check:
        _write(site, found.files)
        if lacking:
            filled = passwords.generate(site / FILE, wanted, keys=sops.Keys(age_key_file, ssh_key_file))
    known = {(left.file, left.line) for left in found.left}
    wrong = [
        one
        for one in found.problems
        if one.severity == "error" and (one.file, one.line) not in known and not _is_lacking(one, lacking)
    ]
    left = [*found.left, *wrong]
    if json_:
        output.as_json({
            "check": check,
            "files": sorted(found.files),
            "done": to_json(found.done),
            "left": to_json(left),
            "passwords": lacking if check else filled,
        })  # fmt: skip
    else:
        _tell(found, left, lacking if check else filled, check)
    return 1 if left else 0


def _lacking(site: Path, wanted: "Sequence[PasswordSpec]") -> list[str]:
    """The passwords to be made: passwords.yml has no value for them; all where there is no such file."""
    from reconciler.cli.secrets import FILE, Sealed, unset

    there = (site / FILE).exists()
    present = in_child("sealed", {"source": source(site), "file": FILE}, Sealed).names if there else {}
    return unset(wanted, present)[0]


def _is_lacking(problem: errors.Problem, lacking: Sequence[str]) -> bool:
    """Whether a problem is that of a password which is filled in, or would be."""
    return problem.file == "passwords.yml" and any(
        f"'{name}'" in problem.message or name in problem.message.split() for name in lacking
    )


def _write(site: Path, files: Mapping[str, str]) -> None:
    """All of those that are there or none, and then those that are new.

    Where the files are is what the child says, which read what others wrote: nothing beside the site is touched.
    """
    from reconciler.secrets import in_place
    from reconciler.system import files as disk

    there: list[in_place.Replacement] = []
    new: list[str] = []
    for path, text in files.items():
        try:
            there.append(in_place.Replacement(site / path, disk.read_nofollow(site, path)[0], text.encode()))
        except FileNotFoundError:
            new.append(path)
    in_place.replace(there)
    for path in new:
        disk.write_under(site, path, files[path].encode(), mode=0o644)


def _tell(found: Rewritten, left: Sequence[errors.Problem], secrets: Sequence[str], check: bool) -> None:
    for one in found.done:
        output.line(f"{one.place}: {one.message}")
    if secrets:
        output.line(
            f"passwords.yml: {count(len(secrets), 'password')} {'to be made' if check else 'made'}: {', '.join(secrets)}"
        )
    if left:
        output.line()
        output.line("left to you:")
        output.line(problems.text(left, 0))
    elif check:
        output.line("nothing was changed; without --check the site would be ready for a merge request", "ok")
    else:
        output.line(
            "next: git diff; reconciler plan; then a merge request, whose review makes the checks before the upgrade",
            "ok",
        )
