"""A review says who can read a site's secrets from now on, and who speaks for its hosts: no host changes for that."""

from pathlib import Path

import pytest

from reconciler.review import ci, gate, headline, note, page, risks
from tests.support import certificates, sealed

from . import sites

US, THEM = sealed.age_recipient("us"), sealed.age_recipient("them")
NODE, OTHER = sealed.ssh_recipient("node"), sealed.ssh_recipient("other")


def rules(*to: str, more: str = "") -> str:
    return f"creation_rules:\n  - path_regex: passwords\\.yml$\n    age: {','.join(to)}\n{more}"


def site(to: str = rules(US), readers: tuple[str, ...] = (US,), key: str = NODE) -> dict[str, str]:
    files = sites.small(2)
    inventory = files["inventory.yml"].replace("10.0.0.1}", f"10.0.0.1}}, report_key: {key}")
    return {**files, "inventory.yml": inventory, ".sops.yaml": to, "passwords.yml": sealed.text({"x": "y"}, readers)}


@pytest.mark.parametrize(
    ("after", "kind", "text", "detail"),
    [
        (site(rules(US, THEM)), "secret", ".sops.yaml", f"for {THEM[:15]}…{THEM[-8:]} as well"),
        (site(rules(US, more=f"    key_groups: [{{age: ['{THEM}']}}]\n")), "secret", ".sops.yaml", f"{THEM[-8:]} as well"),
        (site(rules(US).replace("passwords", "p[a]sswords")), "secret", ".sops.yaml", "for others"),
        (site(readers=(US, OTHER)), "secret", "passwords.yml", f"opened by {OTHER[:15]}…{OTHER[-8:]} as well"),
        (site(key=OTHER), "inventory", "have another report_key", "whoever holds that key speaks for them"),
    ],
)  # fmt: skip
def test_what_is_given_to_others(tmp_path: Path, after: dict[str, str], kind: str, text: str, detail: str) -> None:
    repository = sites.Repository(tmp_path / "repository")
    base, head = repository.commit(site()), repository.commit(after)
    found = ci.review(ci.Source(repository.root, base), ci.Source(repository.root, head))
    assert found.valid and headline(found).startswith("no host changes")
    (risk,) = risks(found)
    (item,) = risk.items
    assert (risk.kind, risk.grave, item.text) == (kind, True, text) and detail in item.detail
    assert gate.kinds(found) == (kind,)
    assert text in note(found) and text in page(found)


@pytest.mark.parametrize(
    "after", [site("# nobody else\n" + rules(US)), site(rules(US).replace(US, f"'{US}'")), site(readers=(US,), key=NODE + " web1")]
)  # fmt: skip
def test_what_is_the_same_in_other_words(tmp_path: Path, after: dict[str, str]) -> None:
    repository = sites.Repository(tmp_path / "repository")
    base, head = repository.commit(site()), repository.commit(after)
    found = ci.review(ci.Source(repository.root, base), ci.Source(repository.root, head))
    assert found.valid and risks(found) == []


def test_whom_nodes_believe(tmp_path: Path) -> None:
    certificates.authority(tmp_path)
    root = {"config/certificates/ca/root.crt": (tmp_path / "ca.pem").read_text()}
    repository = sites.Repository(tmp_path / "repository")
    base, head = repository.commit(site()), repository.commit({**site(), **root, "reconciler.yml": "name: another\n"})
    found = ci.review(ci.Source(repository.root, base), ci.Source(repository.root, head))
    (risk,) = risks(found)
    assert risk.kind == "policy" and {item.text for item in risk.items} == {"config/certificates/ca", "name"}
    assert "(none) → 1 certificate " in {item.text: item.detail for item in risk.items}["config/certificates/ca"]


@pytest.mark.parametrize(
    "name",
    ["config/certificates/.sops.yaml", "passwords/.sops.yaml", "services/x/.sops.yaml", "docs/.sops.yaml", ".hidden/.sops.yaml",
     "config/.SOPS.YAML", "config/.sops.yml", ".sops.yml", ".Sops.yaml"],
)  # fmt: skip
def test_rules_of_sops_are_at_the_top_or_nowhere(tmp_path: Path, name: str) -> None:
    """sops takes the nearest ones: a key that is made below them would be for whom they name, and no review would have said so."""
    files = {key: content for key, content in site().items() if key.casefold() != name.casefold()}
    repository = sites.Repository(tmp_path / "repository")
    base, head = repository.commit(files), repository.commit({**files, name: rules(THEM)})
    found = ci.review(ci.Source(repository.root, base), ci.Source(repository.root, head))
    (problem,) = [one for one in found.problems if one.file == name]
    assert (
        not found.valid and "at its top, and nowhere else" in problem.message and "beside inventory.yml" in problem.hint
    )
