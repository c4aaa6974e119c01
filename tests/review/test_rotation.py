"""A commit that changes a password which only its server can change is refused in the review and by `plan`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import program
from reconciler.model import Desired
from reconciler.plan import rotation
from reconciler.review import ci

from . import sites

BY_HAND = "name: example\nchanged_by_hand: [barbican_crypto_key]\n"


def example(policy: str = "", **changed: str) -> dict[str, str | bytes]:
    files = {**sites.example(), "passwords.yml": sites.passwords(**changed)}
    before = files["globals.yml"]
    files["globals.yml"] = f"{before if isinstance(before, str) else before.decode()}\nenable_barbican: true\n"
    return {**files, "reconciler.yml": policy} if policy else files


@pytest.mark.parametrize(
    ("head", "refused"),
    [
        (example(barbican_crypto_key="other"), True),
        (example(barbican_crypto_key="other", keystone_database_password="other"), True),
        (example(BY_HAND, barbican_crypto_key="other"), False),
        (example(keystone_database_password="other"), False),
        (example(database_password="other", rabbitmq_password="other", keystone_admin_password="other"), False),
    ],
    ids=["Barbican's", "Barbican's and another", "by hand", "a service's", "the administrators'"],
)
def test_a_review(tmp_path: Path, head: dict[str, str | bytes], refused: bool) -> None:
    repository = sites.Repository(tmp_path / "repository")
    base, commit = repository.commit(example()), repository.commit(head)
    review = ci.review(ci.Source(repository.root, base), ci.Source(repository.root, commit))
    said = [problem for problem in review.problems if problem.severity == "error"]
    assert bool(said) is refused, said
    if refused:
        assert len(said) == 1, "once, however many hosts there are"
        assert said[0].file == "passwords.yml" and "barbican_crypto_key cannot be changed" in said[0].message
        assert "every secret that it keeps" in said[0].message and "changed_by_hand" in said[0].message
    shown = CliRunner().invoke(program, ["plan", str(repository.root), "--base", base])
    assert (shown.exit_code, "every secret that it keeps" in shown.output) == ((1, True) if refused else (0, False)), (
        shown.output
    )


def test_a_name_that_a_commit_can_change_is_not_excused(tmp_path: Path) -> None:
    repository = sites.Repository(tmp_path / "repository")
    repository.commit(example(BY_HAND.replace("barbican_crypto_key", "keystone_admin_pasword")))
    shown = CliRunner().invoke(program, ["validate", str(repository.root)])
    assert shown.exit_code == 1 and "changed_by_hand" in shown.output and "reconciler.yml:2" in shown.output


def test_a_name_that_an_earlier_version_needed_is_no_error(tmp_path: Path) -> None:
    repository = sites.Repository(tmp_path / "repository")
    repository.commit(example(BY_HAND.replace("barbican_crypto_key", "database_password")))
    shown = CliRunner().invoke(program, ["validate", str(repository.root)])
    assert shown.exit_code == 0 and "is changed by the commit itself" in shown.output


def test_only_what_changed_counts() -> None:
    fixed = {"root": "ask the server"}
    before = Desired("s", "h", "r1", "/etc/kolla", secrets={"root": "c1", "other": "c1"}, fixed=fixed)
    for secrets, names in (
        ({"root": "c1", "other": "c2"}, []),
        ({"root": "c2"}, ["root"]),
        ({"other": "c1"}, []),
    ):
        after = Desired("s", "h", "r2", "/etc/kolla", secrets=secrets, fixed=fixed)
        assert list(rotation.refused(before, after)) == names
    new = Desired("s", "h", "r1", "/etc/kolla", secrets={"other": "c1"})
    assert not rotation.refused(new, before), "a first installation of it"
