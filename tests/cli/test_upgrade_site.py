"""`upgrade-site`: what can be told is rewritten with its comments, what cannot is listed, and secrets that are there stay byte for byte."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from reconciler import catalogue, errors
from reconciler.cli import upgrading
from reconciler.cli.main import program
from reconciler.reasons import Reason
from reconciler.secrets import sops
from reconciler.site import upgrade
from reconciler.source import prepare
from reconciler.system import run as system
from tests.cli.conftest import write
from tests.git.servers import ssh_key
from tests.render.test_release_variables import VARIABLES
from tests.review import sites

GLOBALS = """\
# The site's own words.
enable_openstack_core: no
kolla_internal_vip_address: 10.0.0.250
openstack_release: "2025.1"   # since spring

web_old: hello   # said by the page
# Of the old world:
nova_wsgi_provider: apache
neutron_tls_proxy_max_connections:
  # more than enough
  40000

web_greeting: "{{ web_old }}"
"""
REWRITTEN = """\
# The site's own words.
enable_openstack_core: no
kolla_internal_vip_address: 10.0.0.250
openstack_release: "2026.1"   # since spring

web_new: hello   # said by the page
# Of the old world:
# gone in 2026.1: uWSGI alone serves it since then
# nova_wsgi_provider: apache
# gone in 2026.1: Neutron speaks TLS by itself since then
# neutron_tls_proxy_max_connections:
#   # more than enough
#   40000

web_greeting: "{{ web_old }}"
"""


def site(folder: Path, **files: str) -> Path:
    every = {
        **sites.small(2),
        "services/web/variables.yml": VARIABLES,
        "globals.yml": GLOBALS,
        "passwords.yml": sites.passwords(),
        **files,
    }
    return write(folder, every)


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(program, ["upgrade-site", str(folder), *words])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_comments_stay_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = site(tmp_path)
    before = content(folder)
    checked = run(folder, "--to", "2026.1", "--check")
    assert content(folder) == before, "--check changes nothing"
    done = run(folder, "--to", "2026.1")
    after = content(folder)
    assert after["globals.yml"].decode() == REWRITTEN
    assert {path for path in after if after[path] != before[path]} == {"globals.yml"}
    for said in (checked.output, done.output):
        assert "globals.yml:4:1: openstack_release: 2025.1 → 2026.1" in said, said
        assert (
            "globals.yml:6:1: web_old → web_new" in said
            and "globals.yml:8:1: nova_wsgi_provider made a comment" in said
        )
    assert done.exit_code == 0, done.output
    again = upgraded(**{"globals.yml": after["globals.yml"].decode()})
    assert not again.files and not again.left, "once more changes nothing"


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (
            "hosts/web1.yml",
            'openstack_release: "{{ site_release }}"\nsite_release: "2026.1"\n',
            "openstack_release is an expression",
        ),
        ("hosts/web1.yml", "web_image: local/web:2025.1-mine\n", "web_image names 2025.1 itself"),
        ("hosts/web1.yml", "{web_old: x}\n", "do it by hand"),
        ("hosts/web1.yml", "web_old: x\nweb_new: y\n", "web_old is web_new now, and that is set here as well"),
        ("groups/web.yml", "kolla_base_distro_version: bookworm\n", "kolla_base_distro_version is set"),
    ],
)
def test_what_is_left(path: str, text: str, words: str) -> None:
    found = upgraded(**{path: text})
    assert path not in found.files, "what cannot be done whole is not begun"
    assert [problem.line for problem in found.left if problem.file == path and words in problem.text] == [1], found.left


def test_a_value_of_several_lines_goes_as_a_whole() -> None:
    text = "ironic_inspector_database_user: >-\n  some\n  one\nsite_list:\n- a\n- b\n"
    made = upgraded(**{"groups/web.yml": text}).files["groups/web.yml"]
    assert yaml.safe_load(made) == {"site_list": ["a", "b"]}
    assert [line.removeprefix("# ") for line in made.splitlines()[1:]] == text.splitlines()
    inventory = "hosts:\n  web1:\n    variables:\n      web_gone: yes\n      # mine\n      site_x: 1\n"
    made = upgraded(**{"inventory.yml": inventory}).files["inventory.yml"]
    assert "      # web_gone: yes\n      # mine\n      site_x: 1\n" in made


def test_a_site_that_did_not_say_its_release() -> None:
    said = "enable_openstack_core: no\nkolla_internal_vip_address: 10.0.0.250"  # without an end of line
    assert upgraded(**{"globals.yml": said}).files == {"globals.yml": f'{said}\nopenstack_release: "2026.1"\n'}
    assert upgraded(**{"groups/all.yml": "site_x: 1\n"}).files == {"globals.yml": 'openstack_release: "2026.1"\n'}


def test_steps_that_are_none(tmp_path: Path) -> None:
    back = upgraded("2025.1", **{"globals.yml": 'openstack_release: "2026.1"\n'})
    assert "there is no way back" in back.refused and not back.files
    folder = site(tmp_path)
    unknown = run(folder, "--to", "2024.1")
    assert unknown.exit_code == 1 and "2025.1, 2026.1" in unknown.output and "ReleaseUnknown" in unknown.output


def upgraded(release: str = "2026.1", **files: str) -> upgrade.Upgraded:
    own = {"web/service.yml": sites.small()["services/web/service.yml"], "web/variables.yml": VARIABLES}
    templates = {"web/templates/index.html.j2": "x"}
    found = catalogue.load({path: text.encode() for path, text in {**own, **templates}.items()}, "site")
    whole = catalogue.merge(prepare.shipped(), found)
    return upgrade.upgraded({path: text.encode() for path, text in files.items()}, whole, release)


@pytest.mark.slow  # four pairs of RSA keys are made
def test_a_new_password_is_made_and_the_others_keep_every_byte(tmp_path: Path) -> None:
    folder, key = site(tmp_path / "site"), ssh_key(tmp_path / "key")
    recipient = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    (folder / ".sops.yaml").write_text(f"creation_rules:\n  - age: {recipient}\n")
    (folder / "passwords.yml").unlink()
    cli = ("--ssh-key-file", str(key))
    made = CliRunner().invoke(program, ["secrets", "generate", str(folder)])
    assert made.exit_code == 0, made.output
    words = [str(sops.find_program(None)), "unset", "passwords.yml", '["rabbitmq_monitoring_password"]']
    environment = {"SOPS_AGE_SSH_PRIVATE_KEY_FILE": str(key)}
    done = system.program(words, env=environment, cwd=folder)
    assert done.code == 0, done.message
    before = ciphertexts(folder)
    checked = run(folder, "--to", "2026.1", "--check", "--json")
    assert json.loads(checked.output)["passwords"] == ["rabbitmq_monitoring_password"], checked.output
    assert ciphertexts(folder) == before
    made = run(folder, "--to", "2026.1", *cli)
    assert made.exit_code == 0 and "1 password made: rabbitmq_monitoring_password" in made.output, made.output
    after = ciphertexts(folder)
    assert after.pop("rabbitmq_monitoring_password") and after == before


def ciphertexts(folder: Path) -> dict[str, str]:
    content = yaml.safe_load((folder / "passwords.yml").read_text())
    return {name: text for name, text in content.items() if name != "sops"}


@pytest.mark.parametrize("path", ["../beside.yml", "/beside.yml", "link/beside.yml", "globals.yml"])
def test_nothing_beside_the_site_is_written_whatever_the_child_answers(tmp_path: Path, path: str) -> None:
    """What read the site may have been taken over by what it read."""
    folder, beside = tmp_path / "site", tmp_path / "beside.yml"
    folder.mkdir()
    beside.write_text("as it was")
    (folder / "link").symlink_to(tmp_path)
    (folder / "globals.yml").symlink_to(beside)
    with pytest.raises(errors.Terminal) as caught:
        upgrading._write(folder, {path if path != "/beside.yml" else str(beside): "written"})
    assert caught.value.reason is Reason.FileUnsafe
    assert beside.read_text() == "as it was" and (folder / "globals.yml").is_symlink()
