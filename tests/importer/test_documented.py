"""docs/migrating.md names every option and every verdict of the import, and every verb of kolla-ansible."""

import configparser
import re

import pytest

from reconciler.cli.importing import kolla_ansible
from reconciler.importer.types import Fate
from tests.parity import environment
from tests.support.paths import CHECKOUT

PAGE = (CHECKOUT / "docs" / "migrating.md").read_text()


def first_cells(section: str) -> str:
    """The first column of a section's table."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))


def test_every_option_of_the_import_is_there() -> None:
    options = {option for parameter in kolla_ansible.params for option in parameter.opts if option.startswith("--")}
    assert [option for option in sorted(options) if f"`{option}" not in PAGE] == []


def test_every_verdict_is_there() -> None:
    assert set(first_cells("The report").split()) == {"word", *Fate}


@pytest.mark.slow
@pytest.mark.parametrize("release", environment.RELEASES)
def test_every_verb_of_kolla_ansible_has_a_row(release: str) -> None:
    folder, _ = environment.prepare(release)
    (declared,) = folder.glob("lib/python*/site-packages/kolla_ansible-*.dist-info/entry_points.txt")
    found = configparser.ConfigParser(delimiters="=")
    found.read_string(declared.read_text())
    verbs = {verb.replace("_", "-") for verb in found["kolla_ansible.cli"]}
    verbs |= {name.removeprefix("kolla-") for name in found["console_scripts"] if name != "kolla-ansible"}
    named = set(re.findall(r"`([a-z-]+)", first_cells("What you do now")))
    assert len(verbs) > 25 and verbs - named == set()
