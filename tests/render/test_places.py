"""Where a site may put files, with what modes and owners, and what it may call a volume."""

import pytest

from reconciler.errors import SiteInvalid
from tests.render.sites import file, rendered

PLAIN = """
containers:
  web:
    kolla: false
    image: web:1
    {}
"""
KOLLA = """
containers:
  web:
    image: web:1
    command: web
    {}
"""


def refused(body: str, **more: str) -> str:
    with pytest.raises(SiteInvalid) as caught:
        rendered(body, more or None)
    return "\n".join(str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize(
    "root", ["/etc/kolla/..", "/etc/../root", "etc/kolla", "/", "//", "..", "/etc/kolla\\n", "/a\\u202eb"]
)
def test_a_folder_for_files_that_cannot_be_meant(root: str) -> None:
    text = refused(PLAIN.format(""), **{"globals.yml": f'node_config: "{root}"\n'})
    assert "globals.yml:1:" in text and "is not a folder for configuration files" in text


@pytest.mark.parametrize(
    ("root", "meant"),
    [("/srv/kolla/", "/srv/kolla"), ("//srv//kolla/./", "/srv/kolla"), ("/srv/..kolla", "/srv/..kolla")],
)
def test_one_spelling_for_a_folder(root: str, meant: str) -> None:
    assert rendered(PLAIN.format(""), {"globals.yml": f"node_config: {root}\n"}).config_root == meant


@pytest.mark.parametrize(
    "mode", ["4755", "04755", "2750", "1777", "0777", "0666", "0602", "7", "+s", "u+s", "0o644", "٠٦٤٤"]
)
@pytest.mark.parametrize("expression", [False, True])
def test_modes_that_hand_a_file_over(mode: str, expression: bool) -> None:
    """On the node and in the container, for files and for permissions; written out or out of an expression."""
    text = f"\"{{{{ '{mode}' }}}}\"" if expression else f"'{mode}'"
    for body in (
        PLAIN.format(f"files: [{{name: a, content: x, mode: {text}}}]"),
        PLAIN.format(f"files: [{{name: a, content: x, perm: {text}}}]"),
        KOLLA.format(f"files: [{{name: a, content: x, destination: /a, mode: {text}}}]"),
        KOLLA.format(f"files: [{{name: a, content: x, destination: /a, perm: {text}}}]"),
        KOLLA.format(f"permissions: [{{path: /a, owner: 'a:a', perm: {text}}}]"),
    ):
        assert mode in refused(body)


def test_modes_that_are_fine() -> None:
    for mode in ("0600", "600", "0775", "0755", "0664", "444"):
        made = file(rendered(PLAIN.format(f"files: [{{name: a, content: x, mode: '{mode}'}}]")), "web/a")
        assert made.mode == int(mode, 8)


def test_owners_are_numbers_that_there_are() -> None:
    assert (
        file(rendered(PLAIN.format("files: [{name: a, content: x, owner: '4294967294:0'}]")), "web/a").owner
        == 2**32 - 2
    )
    for owner in ("4294967295", "0:4294967295", "99999999999999999999", "-1", "root"):
        assert "number" in refused(PLAIN.format(f"files: [{{name: a, content: x, owner: '{owner}'}}]"))


@pytest.mark.parametrize("source", ["../etc", "./x", "a/b", "~", ".hidden", "-x", "/etc/../root", "/srv/a/..", "ä"])
def test_a_mount_is_of_an_absolute_path_or_a_volume(source: str) -> None:
    assert repr(source) in refused(PLAIN.format(f"volumes: ['{source}:/x']"))


def test_a_file_is_no_folder() -> None:
    two = "files: [{name: a, content: x}, {name: a/b/c, content: x}]"
    assert "web/a is a file and a folder of other files" in refused(PLAIN.format(two))
    other = "\n  api: {kolla: false, image: i, config_directory: web/a, files: [{name: b, content: x}]}\n"
    assert "web/a is a file and a folder" in refused(
        PLAIN.format("files: [{name: a, content: x}]") + other.lstrip("\n")
    )
    assert rendered(PLAIN.format("files: [{name: a, content: x}, {name: a.d/b, content: x}, {name: ab, content: x}]"))


@pytest.mark.parametrize("directory", ["..", "a/../b", ".", "a/./b", "a//b"])
def test_a_containers_folder_is_below_the_root(directory: str) -> None:
    assert repr(directory) in refused(
        PLAIN.format(f"config_directory: '{directory}'\n    files: [{{name: a, content: x}}]")
    )
    assert "not a path below" in refused(PLAIN.format(f"files: [{{name: '{directory}/..', content: x}}]"))


def test_what_a_job_makes_is_in_its_volume() -> None:
    job = "jobs: {init: {container: web, command: x, creates: 'data:../../x'}}\n"
    assert "leads upwards" in refused(PLAIN.format("") + job)
